"""Images from clients that lie, leave or send too much, and from a storage that loses them."""

import random
import socket
import sqlite3
import threading
import time
from base64 import b64decode
from contextlib import closing
from pathlib import Path

import pytest

from rini.canon import Image, Text
from rini.turns.images import LOST
from tests.files.pictures import gif, noise, opened, png, saved
from tests.support.model import MODELS, reply, until, user_of
from tests.support.server import Server

PATH = "/llm/image-completion/"


@pytest.fixture(scope="module")
def server(tmp_path_factory, upstream):
    hosts = {"RINI_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{upstream.port}"}
    running = Server(tmp_path_factory.mktemp("server"), hosts, upstream.url).start()
    yield running
    running.stop()


class Looker:
    """A user whose model remembers what it was sent."""

    def __init__(self, server, upstream, provider="openai") -> None:
        self.seen = []
        self.provider = provider
        self.user = user_of(server, upstream, provider, self._answer)
        self.session = self.user.session()

    def _answer(self, request):
        self.seen.append(request)
        return reply(Text("fine"))

    def show(self, data, filename="a.png", **fields):
        asked = {"provider": self.provider, "model": MODELS[self.provider], "session_id": self.session} | fields
        return self.user.form(PATH, {"image_file": (filename, data)}, **asked)

    def ask(self, **fields):
        asked = {"provider": self.provider, "model": MODELS[self.provider], "session_id": self.session} | fields
        return self.user.ask("And now?", **asked)

    def told(self):
        """Return the images and the texts of the last request, in order."""
        parts = [part for message in self.seen[-1].messages for part in message.parts]
        return [b64decode(p.media.data) if isinstance(p, Image) else p.text for p in parts]


def _stored(server):
    with closing(sqlite3.connect(server.data_dir / "rini.db")) as database:
        named = {row[0] for row in database.execute("select file_reference from messages") if row[0]}
        return named, {row[0] for row in database.execute("select reference from stored_files")}


def _files(server):
    return {path.name for path in (server.data_dir / "files").rglob("*") if path.is_file()}


@pytest.mark.parametrize("provider", sorted(MODELS))
def test_two_images_in_a_session(server, upstream, provider):
    looker = Looker(server, upstream, provider)
    first, second = saved("PNG", noise(40, 30)), saved("JPEG", noise(30, 40))
    for data in (first, second, first):
        assert looker.show(data).status == 200
    assert looker.ask().status == 200
    what = "Describe this image."
    assert looker.told() == [first, what, "fine", second, what, "fine", first, what, "fine", "And now?"]
    references = {
        message["file_reference"] for message in looker.user.get(f"/sessions/{looker.session}/messages/").json
    }
    assert len(references) == 4  # the same file twice is two files, and three messages have none


def test_many_images_become_smaller_where_the_provider_says_so(server, upstream):
    looker = Looker(server, upstream, "anthropic")
    data = png(2400, 10)
    for _ in range(20):
        assert looker.show(data).status == 200
    assert {opened(each).width for each in looker.told() if isinstance(each, bytes)} == {2400}
    for _ in range(5):
        assert looker.show(data).status == 200
    images = [opened(each).width for each in looker.told() if isinstance(each, bytes)]
    assert images == [2000] * 25


def test_a_session_outlives_its_files(new_server, upstream):
    server = new_server()
    looker = Looker(server, upstream)
    pictures = [saved("PNG", noise(20, 20 + number)) for number in range(4)]
    for data in pictures:
        assert looker.show(data).status == 200
    listed = [m for m in looker.user.get(f"/sessions/{looker.session}/messages/").json if m["file_reference"]]
    paths = [next((server.data_dir / "files").rglob(message["file_reference"])) for message in listed]
    assert server.stop() == 0
    paths[0].unlink()
    paths[1].write_bytes(b"")
    paths[2].write_bytes(pictures[2][:20])
    server.start()
    looker.user.url = server.url
    answer = looker.ask()
    assert answer.status == 200, answer
    assert [each for each in looker.told() if isinstance(each, bytes)] == pictures[3:]
    assert looker.told().count(LOST) == 3


def test_a_model_that_reads_no_images_is_told_before_anything_is_stored(server, upstream):
    looker = Looker(server, upstream)
    looker.show(saved("PNG"))
    answer = looker.ask(model="gpt-3.5-turbo")
    assert (answer.status, answer.json["code"]) == (422, "no_vision"), answer
    assert len(looker.user.get(f"/sessions/{looker.session}/messages/").json) == 2
    assert looker.ask().status == 200


NAMES = {
    "../../etc/passwd": "passwd",
    "C:\\\\Windows\\\\x.png": "x.png",
    "a%0D%0Ab.png": "a%0D%0Ab.png",
    "\u202egnp.exe": "gnp.exe",
    "x" * 3000 + ".png": "x" * 251 + ".png",
    "..": None,
    "": None,
}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:12]))
def test_tricks_with_names(server, upstream, name):
    looker = Looker(server, upstream)
    answer = looker.show(saved("PNG"), name)
    assert answer.status == 200, answer
    message = answer.json["user_message"]
    assert message["original_filename"] == NAMES[name]
    file = looker.user.get(f"/messages/{message['id']}/file")
    assert file.body == saved("PNG")
    assert "\r" not in file.headers["content-disposition"]


def _part(name, data=b"1", more=b""):
    return b'--x\r\nContent-Disposition: form-data; name="' + name + b'"' + more + b"\r\n\r\n" + data + b"\r\n"


FINE = _part(b"provider", b"openai") + _part(b"model", b"gpt-4o")
FORMS = {
    "51 fields": b"".join(_part(b"f%d" % number) for number in range(51)) + b"--x--\r\n",
    "a field's name of 1 MB": _part(b"n" * 1_000_000) + b"--x--\r\n",
    "a header of 19 MB": _part(b"a", more=b"\r\nX-A: " + b"a" * 19_000_000) + b"--x--\r\n",
    "a hundred thousand headers": _part(b"a", more=b"\r\nA: 1" * 100_000) + b"--x--\r\n",
    "no final boundary": FINE + _part(b"image_file", saved("PNG")),
    "a part that begins and nothing more": FINE + b"--x\r\nContent-Disposition: form-data; na",
    "a name of NUL": _part(b"\0") + b"--x--\r\n",
    "a name that is not UTF-8": _part(b"\xff") + b"--x--\r\n",
    "a field of 2 MB": FINE + _part(b"prompt", b"x" * 2_000_000) + b"--x--\r\n",
    "a form within the form": FINE
    + _part(b"image_file", b'--y\r\nContent-Disposition: file; filename="a.png"\r\n\r\nx\r\n--y--', b"; filename=a")
    + b"--x--\r\n",
    "an image as a text in base64": FINE + _part(b"image_file", b"iVBORw0KGgo=") + b"--x--\r\n",
    "NUL in the prompt": FINE + _part(b"prompt", b"a\0") + _part(b"image_file", saved("PNG")) + b"--x--\r\n",
    "nothing": b"",
    "boundaries alone": b"--x\r\n" * 200_000,
    "almost boundaries": FINE + _part(b"image_file", b"\r\n--" * 1_000_000) + b"--x--\r\n",
}


def test_forms_that_are_none(server, upstream):
    looker = Looker(server, upstream)
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for what, body in FORMS.items():
        answer = looker.user.request("POST", PATH, raw=body, **kind)
        assert answer.status == 422, (what, answer)
        assert len(answer.json["detail"]) < 400, what
    assert looker.seen == []


def test_the_type_that_the_client_names_is_not_believed(server, upstream):
    looker = Looker(server, upstream)
    for kind in (b"text/html", b"image/svg+xml", b"application/x-msdownload", b"\xff\x00"):
        image = _part(b"image_file", saved("PNG"), b'; filename="a.svg"\r\nContent-Type: ' + kind)
        body = FINE + _part(b"session_id", looker.session.encode()) + image + b"--x--\r\n"
        answer = looker.user.request("POST", PATH, raw=body, **{"Content-Type": "multipart/form-data; boundary=x"})
        if answer.status == 422 and kind.startswith(b"\xff"):
            continue
        assert answer.json["user_message"]["mime_type"] == "image/png"
        file = looker.user.get(f"/messages/{answer.json['user_message']['id']}/file")
        assert file.headers["content-type"] == "image/png"


def test_uploads_whose_client_leaves_keep_no_file_without_a_message(server, upstream):
    looker = Looker(server, upstream)
    image = _part(b"image_file", saved("PNG", noise(600, 600)))
    body = FINE + _part(b"session_id", looker.session.encode()) + image + b"--x--\r\n"
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {looker.user.token}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    host, port = server.url.removeprefix("http://").split(":")
    chance = random.Random(7)
    for number in range(60):
        with socket.create_connection((host, int(port)), 10) as client:
            client.sendall(head.encode() + (body if number % 3 else body[: chance.randrange(len(body))]))
            time.sleep(chance.random() * 0.03 if number % 3 else 0)
    assert looker.ask().status == 200

    def settled():
        named, rows = _stored(server)
        return named == rows == _files(server)

    assert until(settled, 10), (_stored(server), _files(server))


def test_a_place_in_the_tree_that_is_not_there_keeps_no_file(server, upstream):
    looker = Looker(server, upstream)
    before = _files(server)
    answer = looker.show(saved("PNG"), parent_message_id="999999")
    assert answer.status == 422, answer
    assert until(lambda: _files(server) == before)
    assert _stored(server)[0] == _stored(server)[1]


def test_large_images_hold_up_nobody_else(server, upstream):
    looker = Looker(server, upstream, "anthropic")
    large = png(10_000, 4_000)
    busy = gif(1)[:-1] + b"\x21\xfe\x01x\0" * 900_000 + b";"
    statuses = []

    def show(data):
        statuses.append(looker.show(data, session_id=looker.user.session()).status)

    threads = [threading.Thread(target=show, args=(data,)) for data in (large, large[:-20], busy, large, large)]
    for thread in threads:
        thread.start()
    answered = 0
    while any(thread.is_alive() for thread in threads):
        assert looker.user.get("/healthz").status == 200
        answered += len(statuses) < len(threads)
    assert sorted(statuses) == [200, 200, 200, 200, 422]
    assert answered > 10
    # Four such images unpacked at once would take 160 MB and their copies as much again.
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) < 900_000
