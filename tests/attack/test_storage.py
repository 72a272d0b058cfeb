"""A database that goes away exactly when a turn needs it: nothing that a client saw is lost or billed twice, and nothing stays running."""

import asyncio
import resource
import select
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa

from rini.canon import Reply, Request, Text, Usage, plain_text
from rini.inference.estimate import request_tokens
from tests.support.ledger import rows as rows_of_ledger
from tests.support.model import reply, scripted, until
from tests.support.server import Client, Event, Server
from tests.support.upstream import Conversation, Upstream, openai_chunks, openai_reply

When = Literal["before", "after"]


class Link:
    """The way to Postgres. It breaks at the commit of the transaction in which ``mark`` is said: before that reaches Postgres, or after."""

    def __init__(self, url: str) -> None:
        self._to = sa.make_url(url)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = self._to.set(host="127.0.0.1", port=self.port, query={}).render_as_string(hide_password=False)
        self.mark: bytes | None = None
        self.when: When = "before"
        self.broken = 0
        self.away = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def break_at(self, mark: bytes, when: When) -> None:
        self.mark, self.when, self.broken = mark, when, 0

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            if self.away.is_set():
                client.close()
            else:
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        said = b""
        with suppress(OSError), client, self._connected() as server:
            while not self.away.is_set():
                for readable in select.select([client, server], [], [], 0.05)[0]:
                    data = readable.recv(65536)
                    if not data:
                        return
                    if readable is server:
                        client.sendall(data)
                        continue
                    said += data
                    commits = b"COMMIT" in data
                    breaks = commits and self.mark is not None and self.mark in said
                    if breaks:
                        self.mark = None
                        self.broken += 1
                        if self.when == "after":
                            server.sendall(data)
                            server.recv(65536)
                        return
                    server.sendall(data)
                    if commits or b"ROLLBACK" in data:
                        said = b""

    def _connected(self) -> socket.socket:
        folder = self._to.query.get("host")
        if isinstance(folder, str):
            found = socket.socket(socket.AF_UNIX)
            found.connect(f"{folder}/.s.PGSQL.{self._to.port or self._to.query.get('port') or 5432}")
            return found
        return socket.create_connection((self._to.host or "127.0.0.1", self._to.port or 5432))


@pytest.fixture(scope="module")
def direct_url(new_postgres_url: Callable[[], str]) -> str:
    return new_postgres_url()


@pytest.fixture(scope="module")
def link(direct_url: str) -> Iterator[Link]:
    made = Link(direct_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(link: Link, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"RINI_DATABASE_URL": link.url, "RINI_CONTEXT_WINDOWS": "openai/small=2048"}
    running = Server(tmp_path_factory.mktemp("server"), settings, upstream.url).start()
    yield running
    running.stop(20)


@pytest.fixture
def query(direct_url: str) -> Iterator[Callable[..., list[Any]]]:
    engine = sa.create_engine(direct_url.replace("postgresql://", "postgresql+psycopg://"))

    def ask(text: str, **values: Any) -> list[Any]:
        with engine.connect() as connection:
            return [*connection.execute(sa.text(text), values)]

    yield ask
    engine.dispose()


def settled(query: Callable[..., list[Any]], session: str) -> bool:
    """Whether nothing of the session is running any more, in a while."""
    rows = "select 1 from running_turns where session_id = :id"
    status = "select 1 from messages where session_id = :id and status = 'running'"
    return until(lambda: not query(rows, id=session) and not query(status, id=session), 10)


def booked(query: Callable[..., list[Any]], session: str) -> list[Any]:
    return query("select call_id, outcome, message_id from usage_records where session_id = :id", id=session)


def goes_on(user: Client, session: str) -> None:
    began = time.monotonic()
    assert user.ask("after", session_id=session).status == 200
    assert time.monotonic() - began < 10, "it waited for an answer that nobody writes"
    tip = user.get(f"/sessions/{session}").json["head_message_id"]
    kept = user.get(f"/sessions/{session}/messages/?limit=100").json
    assert tip == kept[-1]["id"]
    assert kept[-1]["content"] == "echo: after"
    known = {row["id"] for row in kept}
    assert all(row["parent_message_id"] in known for row in kept[1:])


MOMENTS = {
    "load": b"INSERT INTO running_turns",
    "settle": b"DELETE FROM running_turns",
    "response": b"INSERT INTO responses",
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_connection_breaks_at_a_commit(
    server: Server, link: Link, query: Callable[..., list[Any]], upstream: Upstream, moment: str, when: When
) -> None:
    user = server.user()
    session = user.session()
    assert user.ask("before", session_id=session).status == 200
    link.break_at(MOMENTS[moment], when)
    if moment == "response":
        head = {"x_rini_session": session}
        answer = user.request("POST", "/v1/responses", {"model": "openai/m", "input": "now"}, **head)
    else:
        answer = user.ask("now", session_id=session)
    assert link.broken == 1
    # What did not reach the database at all is tried again on another connection.
    assert answer.status in ((200, 503) if when == "before" else (503,)), answer
    if answer.status == 503:
        assert answer.headers.get("x-rini-code", answer.json.get("code")) == "storage_unavailable"
    assert settled(query, session)
    rows = booked(query, session)
    assert len({row.call_id for row in rows}) == len(rows) == len(upstream.calls(user.provider_key))
    goes_on(user, session)


def test_the_connection_breaks_in_the_middle_of_a_stream(
    server: Server, link: Link, query: Callable[..., list[Any]], upstream: Upstream
) -> None:
    """The events that go to the database twice a second cannot: the client sees nothing of it, and whoever follows later reads all."""
    user = server.user()
    session = user.session()
    user.ask("before", session_id=session)

    async def slow(conversation: Conversation) -> None:
        await conversation.head()
        for event in openai_chunks(*(f"w{number} " for number in range(30))):
            await conversation.chunk(event)
            await asyncio.sleep(0.05)
        await conversation.end()

    upstream.scripts[user.provider_key] = slow
    link.break_at(b"INSERT INTO answer_events", "after")
    events = user.stream("tell", session_id=session)
    assert link.broken == 1
    assert events[-1].event == "done"
    said = "".join(event.data["text"] for event in events if event.event == "text")
    answer = events[-1].data["assistant_message"]
    assert said == answer["content"] == "".join(f"w{number} " for number in range(30))
    again = user.get(f"/messages/{answer['id']}/stream").body.decode()
    assert all(again.count(f'"w{number} "') == 1 for number in range(30))
    assert settled(query, session)
    upstream.scripts.pop(user.provider_key)
    goes_on(user, session)


def test_the_connection_breaks_while_a_cut_is_stored(
    server: Server, link: Link, query: Callable[..., list[Any]], upstream: Upstream
) -> None:
    user = server.user()
    session = user.session()

    def model(request: Request) -> Reply:
        summarises = "takes the place of" in plain_text(request.messages[0].parts)
        said = "They spoke." if summarises else "word " * 400
        return reply(Text(said), usage=Usage(input_tokens=request_tokens(request), output_tokens=5))

    upstream.scripts[user.provider_key] = scripted("openai", model)
    link.break_at(b"INSERT INTO context_cuts", "after")
    answers = [user.ask(f"q{number}", session_id=session, model="small") for number in range(8)]
    assert link.broken == 1
    assert sorted({answer.status for answer in answers}) == [200, 503]
    (lost,) = [answer for answer in answers if answer.status == 503]
    assert lost.json["code"] == "storage_unavailable"
    assert settled(query, session)
    rows = booked(query, session)
    assert len({row.call_id for row in rows}) == len(rows) == len(upstream.calls(user.provider_key))
    assert answers[-1].status == 200
    upstream.scripts.pop(user.provider_key)
    goes_on(user, session)


def test_a_database_that_is_away_when_an_answer_is_over_and_the_server_dies_meanwhile(
    link: Link, direct_url: str, query: Callable[..., list[Any]], upstream: Upstream, new_server: Callable[..., Server]
) -> None:
    """What the client had read is there after the next start, and booked once."""
    server = new_server(RINI_DATABASE_URL=link.url)
    user = server.user()
    session = user.session()
    user.ask("before", session_id=session)
    go_on = threading.Event()

    async def model(conversation: Conversation) -> None:
        await conversation.head()
        chunks = openai_chunks("all that ", "was said")
        for chunk in chunks[:3]:
            await conversation.chunk(chunk)
        while not go_on.is_set():
            await asyncio.sleep(0.02)
        for chunk in chunks[3:]:
            await conversation.chunk(chunk)
        await conversation.end()

    upstream.scripts[user.provider_key] = model
    seen: list[Event] = []
    with user.open_stream("tell", session_id=session) as reader, suppress(OSError, ValueError, KeyError):
        for event in reader:
            seen.append(event)
            if event.event == "text" and event.data["text"].endswith("said"):
                link.away.set()
                go_on.set()
    assert "".join(event.data["text"] for event in seen if event.event == "text") == "all that was said"
    assert seen[-1].event == "error"
    assert seen[-1].data["code"] == "storage_unavailable"
    server.kill()
    link.away.clear()
    upstream.scripts.pop(user.provider_key)
    server.start()
    user.url = server.url
    assert settled(query, session)
    kept = user.get(f"/sessions/{session}/messages/").json
    assert [row["content"] for row in kept] == ["before", "echo: before", "tell", "all that was said"]
    assert kept[-1]["status"] == "partial"
    rows = booked(query, session)
    assert len(rows) == 2
    assert {row.message_id for row in rows} == {kept[1]["id"], kept[3]["id"]}
    goes_on(user, session)


def test_a_database_that_another_process_locks_is_waited_for(
    new_server: Callable[..., Server], upstream: Upstream, tmp_path: Path
) -> None:
    server = new_server()
    user = server.user()
    sessions = [user.session() for _ in range(4)]
    with (
        ThreadPoolExecutor() as pool,
        closing(sqlite3.connect(tmp_path / "data" / "rini.db", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        asked = [pool.submit(user.ask, f"q{number}", session_id=session) for number, session in enumerate(sessions)]
        time.sleep(0.7)
        assert not any(each.done() for each in asked)
        assert user.get("/healthz").status == 200
        other.execute("ROLLBACK")
        assert [each.result(20).status for each in asked] == [200] * 4
    for number, session in enumerate(sessions):
        kept = user.get(f"/sessions/{session}/messages/").json
        assert [row["content"] for row in kept] == [f"q{number}", f"echo: q{number}"]
    assert len(rows_of_ledger(server)) == 4


def test_a_database_file_that_may_not_grow(
    new_server: Callable[..., Server], upstream: Upstream, tmp_path: Path
) -> None:
    """Full at the settlement: the client is told, the answer is kept when there is room, and billed once."""
    server = new_server()
    user = server.user()
    session = user.session()
    big = "x" * 300_000

    async def model(conversation: Conversation) -> None:
        limit(1)
        await conversation.whole(openai_reply(big))

    def limit(more: int) -> None:
        """Let the server's files grow by so little, of which the database's is the first to find out."""
        written = (tmp_path / "data" / "rini.db-wal").stat().st_size
        soft = written + more if more else resource.RLIM_INFINITY
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    upstream.scripts[user.provider_key] = model
    answer = user.ask("tell", session_id=session)
    assert answer.status in (503, 507), answer
    assert answer.json["code"] in ("storage_full", "storage_unavailable")
    limit(0)
    upstream.scripts.pop(user.provider_key)
    assert until(lambda: user.get(f"/sessions/{session}/messages/").json[-1]["status"] == "partial", 15)
    kept = user.get(f"/sessions/{session}/messages/").json
    assert [row["content"] for row in kept] == ["tell", big]
    assert until(lambda: len(rows_of_ledger(server)) == 1)
    goes_on(user, session)
