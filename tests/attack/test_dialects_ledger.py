"""One row for each call in a dialect, whoever leaves or dies, and nothing that waits for the database."""

import asyncio
import http.client
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from rini.accounts import users
from rini.canon import Choice, Reply, Thinking, ToolCall
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import StorageUnavailableError
from rini.kit.clock import now
from rini.turns.settling import Settling
from rini.usage import ledger as ledger_module
from rini.usage.ledger import Ledger
from rini.usage.tables import usage_records
from rini.usage.usage_record import UsageRecord
from tests.dialects.test_passing import _EVENTS, SAMPLES, call
from tests.dialects.test_usage import newest, since
from tests.support.dialects import World, user_of_all, world
from tests.support.model import until
from tests.support.server import Server
from tests.support.upstream import Conversation, Upstream

CHAT = SAMPLES["chat"]
EVENTS = [event.encode() for event in _EVENTS["chat"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("ledger"), upstream) as one:
        yield one


def allowing(new_server: Callable[..., Server], upstream: Upstream, **settings: str) -> Server:
    return new_server(RINI_ALLOWED_PRIVATE_HOSTS=f"127.0.0.1:{upstream.port}", **settings)


class Open:
    """A client that reads as far as it likes."""

    def __init__(self, url: str, token: str | None, path: str, body: bytes) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        self._connection.request("POST", path, body, {"authorization": f"Bearer {token}"})

    def head(self) -> None:
        self.answer = self._connection.getresponse()

    def until(self, text: bytes) -> None:
        came = b""
        while text not in came:
            piece = self.answer.read1(65536)
            assert piece, came
            came += piece

    def rest(self) -> bytes:
        return self.answer.read()

    def leave(self) -> None:
        self._connection.close()
        if hasattr(self, "answer"):
            self.answer.close()


@pytest.mark.parametrize("moment", ["before the head", "in the stream", "held back", "whole"])
def test_who_leaves_ends_the_call_at_once_and_there_is_one_row(made: World, moment: str):
    key = made.keys["openai"]
    asked, sent, read = threading.Event(), threading.Event(), threading.Event()

    async def script(conversation: Conversation) -> None:
        asked.set()
        if moment in ("in the stream", "held back"):
            await conversation.head()
            await conversation.chunk(EVENTS[0])
            await asyncio.to_thread(read.wait, 10)
        if moment == "held back":
            await conversation.chunk(EVENTS[2])
        sent.set()
        await conversation.until_left()

    made.upstream.scripts[key] = script
    made.upstream.seen.pop(key, None)
    last = newest(made)
    client = Open(made.server.url, made.user.token, CHAT.path, CHAT.asked(stream=moment != "whole"))
    assert asked.wait(10)
    if moment in ("in the stream", "held back"):
        client.head()
        client.until(b"chat.completion.chunk")
        read.set()
        assert sent.wait(10)
    client.leave()
    (seen,) = made.upstream.calls(key)
    assert until(lambda: seen.left_at), "the provider's call is ended"
    (row,) = since(made, last, 1)
    assert (row["outcome"], row["usage_estimated"]) == ("client_left", True)


def test_what_was_finished_waits_for_its_row_and_a_kill_books_it_once(
    new_server: Callable[..., Server], upstream: Upstream
):
    server = allowing(new_server, upstream)
    with user_of_all(server, upstream) as one:
        read, sent = threading.Event(), threading.Event()

        async def script(conversation: Conversation) -> None:
            await conversation.head()
            await conversation.chunk(EVENTS[0])
            await asyncio.to_thread(read.wait, 10)
            for event in EVENTS[2:-1]:
                await conversation.chunk(event)
            sent.set()
            await conversation.until_left()

        upstream.scripts[one.keys["openai"]] = script
        client = Open(server.url, one.user.token, CHAT.path, CHAT.asked(stream=True))
        client.head()
        client.until(b"\\u00e9")
        read.set()
        assert sent.wait(10)
        server.kill()
        client.leave()
    for _ in range(2):
        again = new_server()
        with sqlite3.connect(server.data_dir / "rini.db") as database:
            rows = list(database.execute("select outcome from usage_records"))
        assert rows == [("interrupted",)]
        again.kill()


def test_streams_end_with_their_dialects_own_error_when_the_server_does(
    new_server: Callable[..., Server], upstream: Upstream
):
    server = allowing(new_server, upstream, RINI_SHUTDOWN_GRACE_SECONDS="0.3")
    with user_of_all(server, upstream) as one:
        clients: dict[str, Open] = {}
        for dialect, sample in SAMPLES.items():

            async def script(conversation: Conversation) -> None:
                path = conversation.seen.path
                of = (
                    "gemini"
                    if "Content" in path
                    else path.rsplit("/", 1)[1].replace("messages", "anthropic").replace("completions", "chat")
                )
                first = _EVENTS[of][0].encode()
                await conversation.head()
                await conversation.chunk(first + b'data: {"cut')
                await conversation.until_left()

            upstream.scripts[one.keys[sample.provider]] = script
            clients[dialect] = Open(server.url, one.user.token, sample.stream_path, sample.asked(stream=True))
            clients[dialect].head()
            clients[dialect].until(b"\n\n" if dialect != "gemini" else b"\r\n\r\n")
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        for dialect, client in clients.items():
            end = client.rest()
            assert b"cut" not in end, "half an event would be no error to an SDK"
            assert b"response.created" not in end, "there was one already"
            line = next(each for each in end.split(b"\n") if each.startswith(b"data: {"))
            assert "shutting down" in json.dumps(json.loads(line[6:])), dialect
            client.leave()
        stopping.join(20)
    with sqlite3.connect(server.data_dir / "rini.db") as database:
        assert list(database.execute("select outcome from usage_records")) == [("interrupted",)] * len(SAMPLES)
    assert not list(Path(server.data_dir).rglob("*.journal"))


def test_a_locked_database_delays_no_answer_and_each_row_comes_once(
    new_server: Callable[..., Server], upstream: Upstream
):
    server = allowing(new_server, upstream)
    with user_of_all(server, upstream) as one:

        async def script(conversation: Conversation) -> None:
            await conversation.whole(CHAT.answer)

        upstream.scripts[one.keys["openai"]] = script
        assert call(one, CHAT.path, CHAT.body).status == 200
        assert newest(one)
        lock = sqlite3.connect(server.data_dir / "rini.db", isolation_level=None)
        lock.execute("begin immediate")
        began = time.monotonic()
        for _ in range(5):
            assert call(one, CHAT.path, CHAT.body).status == 200
        assert time.monotonic() - began < 10, "the lock would be waited for 15 seconds"
        assert lock.execute("select count(*) from usage_records").fetchone() == (1,)
        lock.execute("rollback")
        lock.close()
        assert len(one.user.get("/usage/records/?limit=100").json) == 6


# -- parts that fail ---------------------------------------------------------------------------------


class Away:
    """A database that does not answer, until it does."""

    def __init__(self, database: Database | None = None) -> None:
        self._database = database
        self.away = True

    async def write(self, *args: Any) -> Any:
        if self.away or self._database is None:
            raise StorageUnavailableError("away")
        return await self._database.write(*args)


def test_a_paid_answer_is_not_withheld_for_its_thoughts():
    away: Any = Away()
    none: Any = None
    settling = Settling(away, none, none, none, none, "w")

    class Call:
        class meter:  # noqa: N801  # as the call has it
            record = UsageRecord(call_id="c", user_id=1, endpoint="/x", provider="p", model="m", created_at=now())

        class outgoing:  # noqa: N801
            wire = model = "m"

    running: Any = Call()
    reply = Reply((Choice((Thinking("t", signature="s"), ToolCall("id", "name", "{}")), "tool_calls"),))
    asyncio.run(settling._keep_thoughts(running, reply))


def test_rows_that_are_too_many_to_be_kept_stay_in_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledger_module, "MOST_KEPT_ROWS", 2)
    monkeypatch.setattr(ledger_module, "RETRY_SECONDS", 0.01)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    migrate(url)
    database = Database(url)
    user_id = database.write_sync(users.create)
    away: Any = Away(database)
    told: list[str] = []

    def written(*call_ids: str) -> None:
        told.extend(call_ids)

    async def main() -> None:
        ledger = Ledger(away)
        for number in range(4):
            record = UsageRecord(
                call_id=f"c{number}", user_id=user_id, endpoint="/x", provider="p", model="m", created_at=now()
            )
            ledger.soon((record,), written)
        await ledger.flush()
        assert told == []
        away.away = False
        while not ledger.healthy or not told:
            await asyncio.sleep(0.01)
        await ledger.close()

    asyncio.run(asyncio.wait_for(main(), 20))
    rows = database.read_sync(lambda connection: list(connection.execute(sa.select(usage_records.c.call_id)).scalars()))
    assert sorted(rows) == ["c0", "c1"]
    assert sorted(told) == ["c0", "c1"], "the others are still to be booked by the next start"
    database.close()
