"""What becomes of followers, of bills and of the tree when the process of an answer dies; answers that nobody comes back for."""

import asyncio
import http.client
import json
import sqlite3
import threading
import zlib
from collections.abc import Callable
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests.support.model import until
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Script, Upstream, openai_chunks, openai_reply

OLD = [f"old{number} " for number in range(5)]
NEW = [f"new{number} " for number in range(20)]


class Model:
    """An upstream that stops after some words; when it is ``let``, it says other words, to the end."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.asked: list[Any] = []

    async def __call__(self, conversation: Conversation) -> None:
        self.asked.append(conversation.seen.json["messages"])
        await conversation.head()
        if not self.let.is_set():
            for event in openai_chunks(*OLD, finish=None):
                await conversation.chunk(event)
            await conversation.until_left(30)
            return
        for event in openai_chunks(*NEW):
            await conversation.chunk(event)
        await conversation.end()


@pytest.fixture
def first(new_server: Callable[..., Server], upstream: Upstream) -> Server:
    """A process that is to die."""
    return new_server()


@pytest.fixture
def dying(first: Server) -> Client:
    return first.user()


@pytest.fixture
def model(dying: Client, upstream: Upstream) -> Model:
    found = upstream.scripts[dying.provider_key] = Model()
    return found


def at(server: Server, user: Client) -> Client:
    return Client(server.url, user.token, user.provider_key)


def begin(user: Client, session: str) -> int:
    begun = user.ask("hello", session_id=session, background=True)
    assert begun.status == 202, begun
    return begun.json["assistant_message_id"]


def message(user: Client, answer_id: int) -> Any:
    return user.get(f"/messages/{answer_id}").json


def ends(user: Client, answer_id: int) -> Any:
    """The answer once it is over."""
    assert until(lambda: message(user, answer_id)["status"] != "running", 15)
    return message(user, answer_id)


@contextmanager
def following(client: Client, answer_id: int, after: int = 0) -> Any:
    host, port = client.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    path = f"/messages/{answer_id}/stream?after={after}"
    connection.request("GET", path, headers={"Authorization": f"Bearer {client.token}"})
    yield connection.getresponse()
    connection.close()


def followed(client: Client, answer_id: int, after: int = 0) -> list[tuple[int, str, Any]]:
    """Return the number, the name and the data of each event."""
    with following(client, answer_id, after) as response:
        blocks = response.read().decode().split("\n\n")[:-1]
    found = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    return [(int(each["id"]), each["event"], json.loads(each["data"])) for each in found]


def read_until(response: http.client.HTTPResponse, mark: bytes) -> None:
    while mark not in response.readline():
        pass


def change(server: Server, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(server.data_dir / "rini.db", isolation_level=None, timeout=10)) as database:
        database.execute(statement, values)


def stored_events(server: Server) -> list[Any]:
    with closing(sqlite3.connect(server.data_dir / "rini.db")) as database:
        row = database.execute("SELECT events FROM answer_events WHERE first = 0").fetchone()
    return [] if row is None else json.loads(zlib.decompress(row[0]))


def test_whoever_follows_an_answer_that_is_begun_anew_is_told(new_server, first: Server, dying: Client, model: Model):
    answer_id = begin(dying, dying.session())
    second = at(new_server(data_dir=first.data_dir), dying)
    with following(second, answer_id) as response:
        read_until(response, b"old4")
        first.kill()
        model.let.set()
        new_server(data_dir=first.data_dir)
        assert b'"reason":"restarted"' in response.read()
    assert ends(second, answer_id)["content"] == "".join(NEW)
    again = followed(second, answer_id)
    assert [event for _, event, _ in again] == ["start", *["text"] * 20, "usage", "done"]
    assert "old" not in str(again)
    # Number 3 was one of other words.
    assert second.get(f"/messages/{answer_id}/stream?after=3").json["code"] == "stream_gone"


def test_a_client_that_saw_more_than_was_kept_is_told_that_the_answer_broke_off(
    new_server, first: Server, dying: Client, model: Model
):
    with dying.open_stream("hello", session_id=dying.session()) as reader:
        events = iter(reader)
        answer_id = next(events).data["assistant_message_id"]
        last = [next(events) for _ in OLD][-1]
        assert until(lambda: stored_events(first))
        first.kill()
    user = at(new_server(data_dir=first.data_dir), dying)
    some = zlib.compress(json.dumps(stored_events(first)[:3]).encode())
    change(first, "UPDATE answer_events SET events = ?", some)
    change(first, "DELETE FROM answer_events WHERE first > 0")
    told = followed(user, answer_id, int(last.id))
    assert [(number, event, data["code"]) for number, event, data in told] == [
        (int(last.id) + 1, "error", "answer_broke_off")
    ]


def test_an_answer_whose_journal_is_lost_ends_with_what_was_streamed(
    new_server, first: Server, dying: Client, model: Model
):
    session = dying.session()
    second = at(new_server(data_dir=first.data_dir), dying)
    with dying.open_stream("hello", session_id=session) as reader:
        answer_id = next(iter(reader)).data["assistant_message_id"]
        with following(second, answer_id) as response:
            read_until(response, b"old4")
        first.kill()  # before its client leaves
    for journal in (first.data_dir / "run").glob("*.journal"):
        journal.unlink()
    change(first, "UPDATE workers SET seen_at = '2020-01-01 00:00:00.000000'")
    user = at(new_server(data_dir=first.data_dir), dying)
    kept = ends(user, answer_id)
    assert (kept["status"], kept["status_reason"], kept["content"]) == ("partial", "interrupted", "".join(OLD))


def test_an_answer_that_was_cancelled_is_not_asked_again(new_server, first: Server, dying: Client, model: Model):
    answer_id = begin(dying, dying.session())
    assert until(lambda: len(model.asked) == 1)
    first.kill()
    change(first, "UPDATE running_turns SET ending = 'cancelled'")
    user = at(new_server(data_dir=first.data_dir), dying)
    assert ends(user, answer_id)["status_reason"] == "cancelled"
    assert len(model.asked) == 1


def test_an_answer_that_is_not_streamed_is_followed_to_its_end(user: Client, script: Callable[[Script], None]):
    asked, let = threading.Event(), threading.Event()

    async def whole(conversation: Conversation) -> None:
        asked.set()
        while not let.is_set():
            await asyncio.sleep(0.01)
        await conversation.whole(openai_reply("all at once"))

    script(whole)
    session = user.session()
    asking = threading.Thread(target=lambda: user.ask("hello", session_id=session))
    asking.start()
    assert asked.wait(10)
    answer_id = user.get(f"/sessions/{session}/messages/").json[-1]["id"]
    with following(user, answer_id) as response:
        read_until(response, b"start")
        let.set()
        rest = response.read()
    asking.join()
    assert b'data: {"text":"all at once"}' in rest
    assert b"event: done" in rest
