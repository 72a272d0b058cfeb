"""How a server ends: with one process and with several, by SIGTERM and by Ctrl-C."""

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.cli.conftest import group_is_empty
from tests.support.server import Client, Event, Server, StreamReader
from tests.support.upstream import Conversation, Script, Upstream, openai_chunks, openai_reply


@pytest.fixture(params=["1", "2"], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> str:
    return request.param


def held(go: threading.Event) -> Script:
    """Answer half, wait for ``go``, answer the rest."""

    async def script(conversation: Conversation) -> None:
        async def wait() -> None:
            while not go.is_set():
                await asyncio.sleep(0.02)

        if not conversation.seen.json.get("stream"):
            await wait()
            await conversation.whole(openai_reply("whole"))
            return
        await conversation.head()
        first, second, *rest = openai_chunks("one ", "two")
        await conversation.chunk(first + second)
        await wait()
        for event in rest:
            await conversation.chunk(event)
        await conversation.end()

    return script


@pytest.fixture
def go() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


@pytest.fixture
def start(new_server: Callable[..., Server], upstream: Upstream, workers: str, go: threading.Event):
    """Return a function that starts a server and a streamed answer that stands still after its first word."""

    readers: list[StreamReader] = []

    def make(**settings: str) -> tuple[Server, Client, Iterator[Event]]:
        server = new_server("--workers", workers, **settings)
        user = server.user()
        upstream.scripts[user.provider_key] = held(go)
        readers.append(user.open_stream(session_id=user.session()))
        events = iter(readers[0])
        assert [next(events).event, next(events).data] == ["start", {"text": "one "}]
        return server, user, events

    yield make
    for reader in readers:
        reader.close()


def until_draining(client: Client) -> None:
    until = time.monotonic() + 10
    while client.get("/readyz").status != 503:
        assert time.monotonic() < until
        time.sleep(0.02)


def stored(server: Server, query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(server.data_dir / "rini.db")) as connection, connection:
        rows = connection.execute(query).fetchall()
    connection.close()
    return rows


def test_sigterm_lets_a_stream_finish_and_takes_nothing_new(start, go):
    server, user, events = start()
    server.process.send_signal(signal.SIGTERM)
    until_draining(user)
    refused = user.get("/sessions/")
    assert (refused.status, refused.json["code"], refused.headers["retry-after"]) == (503, "shutting_down", "1")
    assert user.ask().status == 503
    assert user.get("/healthz").status == 200
    assert user.get("/readyz").json == {"status": "shutting down"}
    go.set()
    rest = list(events)
    assert [event.event for event in rest] == ["text", "usage", "done"]
    assert rest[-1].data["assistant_message"]["content"] == "one two"
    assert server.process.wait(5) == 0
    assert group_is_empty(server.process.pid)
    assert "Traceback" not in server.logged()


def test_ctrl_c_interrupts_what_runs_when_the_grace_period_is_over(start, go):
    server, _, events = start(RINI_SHUTDOWN_GRACE_SECONDS="0.7")
    began = time.monotonic()
    os.killpg(server.process.pid, signal.SIGINT)
    (last,) = events
    assert 0.7 <= last.at - began < 3
    assert (last.event, last.data["code"]) == ("error", "shutting_down")
    assert server.process.wait(5) == 0
    assert group_is_empty(server.process.pid)
    answers = stored(server, "SELECT content, status, status_reason FROM messages WHERE role = 'assistant'")
    assert answers == [("one ", "partial", "interrupted")]
    assert stored(server, "SELECT outcome FROM usage_records") == [("interrupted",)]
    assert not list((server.data_dir / "run").glob("*.journal"))
    assert "Traceback" not in server.logged()


def test_a_whole_answer_that_is_interrupted_is_refused(start, upstream, go):
    server, user, _ = start(RINI_SHUTDOWN_GRACE_SECONDS="0.3")
    answers = []
    asking = threading.Thread(target=lambda: answers.append(user.ask()))
    asking.start()
    while len(upstream.calls(user.provider_key)) < 2:
        time.sleep(0.02)
    server.process.send_signal(signal.SIGTERM)
    asking.join(10)
    (answer,) = answers
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "shutting_down", "1")
    assert server.process.wait(5) == 0
    assert stored(server, "SELECT outcome FROM usage_records") == [("interrupted",)] * 2
    assert '"level":"error"' not in server.logged()


def test_a_second_sigterm_ends_at_once(start, go):
    server, user, events = start()
    server.process.send_signal(signal.SIGTERM)
    until_draining(user)
    # One worker told of it; to another one that has not noticed yet both signals would be one.
    time.sleep(1)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    (last,) = events
    assert (last.event, last.data["code"]) == ("error", "shutting_down")
    assert server.process.wait(5) == 0
    assert time.monotonic() - began < 3
    assert group_is_empty(server.process.pid)
    assert stored(server, "SELECT status FROM messages WHERE role = 'assistant'") == [("partial",)]
