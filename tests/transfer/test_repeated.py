"""A large import that is sent again with its Idempotency-Key: done once, whatever happened on the way."""

import contextlib
import http.client
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rini.api.idempotency.request import HELD_BYTES
from rini.kit.clock import now
from rini.turns.tables import workers
from tests.support.server import Answer, Client, Server
from tests.transfer.files import SESSION, end, message, rini
from tests.transfer.test_crash import stored, wait_for

REPLAYED = "idempotent-replayed"
LARGE = b"\n".join(
    rini(
        SESSION,
        *(message(n, n - 1 or None, content=f"{n} " + "x" * 20_000) for n in range(1, 221)),
        end(220, 220),
    ).splitlines()
)
"""More than a body of which all is held."""


def pieces(file: bytes, size: int = 60_000) -> Iterator[bytes]:
    for start in range(0, len(file), size):
        yield file[start : start + size]


def send(user: Client, body: Iterable[bytes], key: str, length: int | None = None) -> Answer:
    """Import a file in chunks, or with its length, on a connection of its own."""
    connection = http.client.HTTPConnection(user.url.removeprefix("http://"), timeout=60)
    headers = {"Authorization": f"Bearer {user.token}", "Idempotency-Key": key}
    if length is not None:
        headers["Content-Length"] = str(length)
    with contextlib.closing(connection):
        connection.request("POST", "/sessions/import", body, headers, encode_chunked=length is None)
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def sessions(user: Client) -> int:
    return int(user.get("/sessions/?limit=1").headers["x-total-count"])


def test_it_is_stored_once(user: Client, server: Server):
    assert len(LARGE) > 4 * HELD_BYTES
    first = send(user, pieces(LARGE), "k")
    again = send(user, pieces(LARGE, 17_001), "k", len(LARGE))
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    for other in (LARGE[:-2] + b" }", LARGE + b"\n", LARGE[: 2 * HELD_BYTES], b"x" + LARGE[1:]):
        answer = send(user, pieces(other), "k")
        assert (answer.status, answer.json["code"]) == (422, "idempotency_key_reused")
    assert sessions(user) == 1
    assert not list((server.data_dir / "imports").glob("*.upload"))


def test_as_a_form_too(user: Client):
    first, again = (
        user.request(
            "POST",
            "/sessions/import",
            raw=b"".join(
                (f'--{mark}\r\nContent-Disposition: form-data; name="file"\r\n\r\n'.encode(), LARGE, f"\r\n--{mark}--\r\n".encode())
            ),
            Content_Type=f"multipart/form-data; boundary={mark}",
            Idempotency_Key="k",
        )
        for mark in ("one", "another-boundary")
    )  # fmt: skip
    assert (first.status, again.body, again.headers[REPLAYED]) == (201, first.body, "true")
    assert sessions(user) == 1


def test_of_several_at_once_one_is_stored(user: Client):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: send(user, pieces(LARGE), "k"), range(4)))
    assert {each.status for each in answers} == {201}
    assert len({each.body for each in answers}) == 1
    assert sum(REPLAYED in each.headers for each in answers) == 3
    assert sessions(user) == 1


def test_a_refusal_that_stored_nothing_frees_the_key(user: Client):
    broken = LARGE[:-40]
    assert send(user, pieces(broken), "k").json["code"] == "import_refused"
    assert send(user, pieces(broken), "k").headers.get(REPLAYED) is None
    assert send(user, pieces(LARGE), "k").status == 201
    assert sessions(user) == 1


def test_a_refusal_behind_a_session_that_was_stored_is_told_again(user: Client):
    broken = LARGE + b"\n{"
    first, again = (send(user, pieces(broken), "k") for _ in range(2))
    assert (first.status, again.body, again.headers[REPLAYED]) == (422, first.body, "true")
    assert first.json["session_ids"] == again.json["session_ids"] != []
    assert sessions(user) == 1


def test_whose_connection_broke_within_the_body_sends_it_again(user: Client, server: Server):
    def half() -> Iterator[bytes]:
        yield from pieces(LARGE[: len(LARGE) // 2])
        wait_for(lambda: bool(list(folder.glob("*.upload"))))
        raise ConnectionResetError

    folder = server.data_dir / "imports"
    for _ in range(2):
        with contextlib.suppress(ConnectionResetError):
            send(user, half(), "k")
        wait_for(lambda: not list(folder.glob("*.upload")))
    assert sessions(user) == 0
    answer = send(user, pieces(LARGE), "k")
    assert (answer.status, REPLAYED in answer.headers) == (201, False)
    assert sessions(user) == 1
    assert "Traceback" not in server.logged()


def test_after_a_kill_it_is_told_as_interrupted_and_nothing_half_stays(
    new_server: Callable[..., Server], tmp_path: Path
):
    server = new_server()
    user = server.user()
    many = rini(SESSION, *(message(n, n - 1 or None, content="안녕 " * 50) for n in range(1, 4001)), end(4000, 4000))
    answers: list[Any] = []

    def importing() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answers.append(send(user, pieces(many), "k"))

    thread = threading.Thread(target=importing)
    thread.start()
    database = tmp_path / "data" / "rini.db"
    wait_for(lambda: stored(database, "messages") > 500)
    server.kill()
    thread.join()
    assert answers == []
    user.url = new_server(data_dir=tmp_path / "data").url
    engine = sa.create_engine(f"sqlite:///{database}", poolclass=sa.pool.NullPool)
    with engine.begin() as connection:  # as if half a minute had gone by
        connection.execute(
            workers.update().where(workers.c.seen_at < now()).values(seen_at=now() - timedelta(seconds=31))
        )
    engine.dispose()
    again = send(user, pieces(many), "k")
    assert (again.status, again.json["code"]) == (409, "idempotency_interrupted")
    assert (sessions(user), stored(database, "messages")) == (0, 0)
    assert send(user, pieces(many), "new").status == 201
    assert (sessions(user), stored(database, "messages")) == (1, 4000)
    assert not list((tmp_path / "data" / "imports").iterdir())


def test_a_body_is_never_whole_in_memory(new_server: Callable[..., Server]):
    server = new_server(RINI_MAX_IMPORT_BYTES=str(60 * 1024 * 1024))
    user = server.user()
    line = json.dumps({"x": os.urandom(30_000).hex()}).encode() + b"\n"
    whole = LARGE + b"\n" + line * 600  # 40 MB
    assert send(user, pieces(LARGE), "warm").status == 201
    before = peak(server)
    first = send(user, pieces(whole), "k", len(whole))
    assert (first.status, first.json["code"]) == (422, "import_refused"), first
    again = send(user, pieces(whole), "k", len(whole))
    assert (again.body, again.headers.get(REPLAYED)) == (first.body, "true")
    assert peak(server) - before < 20 * 1024 * 1024


def peak(server: Server) -> int:
    """Return the most bytes that the server's process ever had in memory."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
