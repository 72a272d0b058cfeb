"""Clients, processes and deletions at the worst moments: whatever they do, no answer stays running and no session stays blocked."""

import asyncio
import contextlib
import json
import random
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from rini.canon import Reply, Request, Text, plain_text
from rini.turns.queueing import Queues
from rini.turns.values import Ask
from tests.support.model import reply, scripted, until
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Upstream, openai_chunks, openai_reply

CHAT = "/v1/chat/completions"


class Slow:
    """An upstream that streams the beginning of an answer, and the rest when it is let."""

    def __init__(self) -> None:
        self.open = threading.Event()

    async def __call__(self, conversation: Conversation) -> None:
        if conversation.seen.json.get("stream"):
            await conversation.head()
            chunks = openai_chunks("some", "thing")
            for chunk in chunks[:2]:
                await conversation.chunk(chunk)
            await self._wait()
            for chunk in chunks[2:]:
                await conversation.chunk(chunk)
            await conversation.end()
        else:
            await self._wait()
            await conversation.whole(openai_reply("something"))

    async def _wait(self) -> None:
        while not self.open.is_set():
            await asyncio.sleep(0.01)


@pytest.fixture
def slow(user: Client, upstream: Upstream) -> Slow:
    made = Slow()
    upstream.scripts[user.provider_key] = made
    return made


def query(server: Server, text: str, **values: Any) -> list[Any]:
    url = server.settings.get("RINI_DATABASE_URL", f"sqlite:///{server.data_dir / 'rini.db'}")
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = list(connection.execute(sa.text(text), values).scalars())
    engine.dispose()
    return found


def left(server: Server, session: str) -> list[Any]:
    """Return what is still said to run in a session."""
    turns = query(server, "select answer_id from running_turns where session_id = :session", session=session)
    answers = "select id from messages where session_id = :session and status = 'running'"
    return [*turns, *query(server, answers, session=session)]


def booked(server: Server, user: Client) -> int:
    """Return how many calls of a user's are in the ledger."""
    user_id = user.get("/users/me").json["id"]
    return query(server, "select count(*) from usage_records where user_id = :user", user=user_id)[0]


def goes_on(server: Server, user: Client, session: str) -> None:
    """Assert that nothing runs any more and the next question is answered at once."""
    assert until(lambda: not left(server, session), 10), left(server, session)
    answer = user.ask("and now?", session_id=session, if_busy="reject")
    assert answer.status == 200, answer.body
    assert not left(server, session)


def send(client: Client, path: str, body: Any, **headers: str) -> socket.socket:
    """Send a request and return its connection, with nothing of the answer read."""
    host, port = client.url.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {client.token}\r\n{more}Content-Length: {len(data)}\r\n"
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + data)
    return connection


def native(client: Client, session: str, **more: Any) -> socket.socket:
    body = {"text": "x", "provider": "openai", "model": "m", "session_id": session, "stream": True}
    return send(client, "/llm/text-completion/", body | more)


def in_dialect(client: Client, session: str, **more: Any) -> socket.socket:
    body = {"model": "openai/m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    return send(client, CHAT, body | more, x_rini_session=session)


@pytest.mark.parametrize("ask", [native, in_dialect])
def test_clients_that_leave_at_any_moment(server: Server, user: Client, upstream: Upstream, ask: Callable[..., Any]):
    chance = random.Random(ask.__name__)

    async def slowly(conversation: Conversation) -> None:
        await asyncio.sleep(chance.uniform(0, 0.02))
        if not conversation.seen.json.get("stream"):
            await conversation.whole(openai_reply("x"))
            return
        await conversation.head()
        for chunk in openai_chunks("some", "thing", "more"):
            await conversation.chunk(chunk)
            await asyncio.sleep(chance.uniform(0, 0.01))
        await conversation.end()

    upstream.scripts[user.provider_key] = slowly
    session = user.session()

    def leave(moment: float) -> None:
        with ask(user, session, stream=chance.random() < 0.7):
            time.sleep(moment)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(leave, [chance.uniform(0, 0.09) for _ in range(60)]))
    goes_on(server, user, session)
    rows = user.get(f"/sessions/{session}/messages/?limit=1000").json
    ids = {row["id"] for row in rows}
    assert all(row["parent_message_id"] in ids for row in rows if row["parent_message_id"] is not None)
    assert all(row["parent_message_id"] is not None for row in rows if row["role"] == "assistant")


def test_questions_that_interrupt_each_other_over_two_processes(
    server: Server, neighbour: Server, user: Client, upstream: Upstream
):
    async def a_moment(conversation: Conversation) -> None:
        await asyncio.sleep(0.1)
        await conversation.whole(openai_reply("x"))

    upstream.scripts[user.provider_key] = a_moment
    other = Client(neighbour.url, user.token, user.provider_key)
    session = user.session()
    with ThreadPoolExecutor(16) as pool:
        asked = [
            pool.submit((user, other)[number % 2].ask, f"q{number}", session_id=session, if_busy="interrupt")
            for number in range(24)
        ]
        answers = [each.result() for each in asked]
    assert {answer.status for answer in answers} <= {200, 409}, {answer.body for answer in answers}
    assert {answer.json["code"] for answer in answers if answer.status == 409} <= {"turn_cancelled"}
    assert [answer.status for answer in answers].count(200) >= 1
    goes_on(server, user, session)


def begin(user: Client, session: str, question: int, way: str) -> socket.socket:
    match way:
        case "dialect":
            body = {"model": "openai/m", "messages": [{"role": "user", "content": "x"}], "stream": True}
            return send(user, CHAT, body, x_rini_session=session, x_rini_parent=str(question))
        case "native":
            return native(user, session, parent_message_id=question)
        case "compare":
            models = [{"provider": "openai", "model": name} for name in ("a", "b")]
            return send(user, f"/messages/{question}/compare", {"models": models, "stream": True})
        case _:
            return send(user, f"/messages/{question}/regenerate", {"provider": "openai", "model": "m", "stream": True})


@pytest.mark.parametrize("what", ["question", "session", "answer"])
@pytest.mark.parametrize("way", ["native", "dialect", "compare", "regenerate"])
def test_what_is_deleted_while_it_is_answered(server: Server, user: Client, slow: Slow, what: str, way: str):
    session = user.session()
    question = user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "q"}).json["id"]
    wanted = 2 if way == "compare" else 1
    with begin(user, session, question, way) as connection:
        assert until(lambda: len(running(user, session)) == wanted)
        connection.recv(1)
        if what == "session":
            assert user.delete(f"/sessions/{session}").status == 204
        else:
            victim = running(user, session)[0] if what == "answer" else question
            path = f"/messages/{victim}"
            refused = user.delete(path)
            if refused.status == 409:
                refused = user.delete(f"{path}?count={refused.json['count']}")
            assert refused.status in (200, 204), refused.body
        slow.open.set()
        while connection.recv(65536):
            if what == "session" or way != "compare":
                break
        connection.settimeout(3)
    assert until(lambda: not left(server, session), 10)
    if what != "session":
        goes_on(server, user, session)
    assert until(lambda: booked(server, user) >= wanted), "what a deleted answer took is booked"


def running(user: Client, session: str) -> list[int]:
    rows = user.get(f"/sessions/{session}/messages/").json
    return [row["id"] for row in rows if row["status"] == "running"]


def test_a_model_that_fails_at_once_beside_one_that_answers(server: Server, user: Client, upstream: Upstream):
    async def half(conversation: Conversation) -> None:
        if conversation.seen.json["model"] == "bad":
            await conversation.whole({"error": {"message": "no", "type": "server_error"}}, 500)
        else:
            await asyncio.sleep(0.1)
            await conversation.whole(openai_reply("good"))

    upstream.scripts[user.provider_key] = half
    session = user.session()
    question = user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "q"}).json["id"]
    models = [{"provider": "openai", "model": name} for name in ("bad", "good", "bad")]
    answers = user.post(f"/messages/{question}/compare", {"models": models}).json["answers"]
    assert ["error" in each and each["error"] is not None for each in answers] == [True, False, True]
    assert not left(server, session)
    assert [row["content"] for row in user.get(f"/sessions/{session}/messages/").json] == ["q", "good"]


def make_dead(server: Server) -> None:
    """Let time pass: no worker that is not there any more has been seen for long."""
    with closing(sqlite3.connect(server.data_dir / "rini.db", timeout=10)) as connection, connection:
        connection.execute("update workers set seen_at = '2000-01-01 00:00:00.000000'")


def test_killed_while_another_process_waits(new_server: Callable[..., Server], upstream: Upstream):
    first = new_server()
    second = Server(first.data_dir, first.settings, upstream.url).start()
    try:
        user = first.user()
        other = Client(second.url, user.token, user.provider_key)
        slow = Slow()
        upstream.scripts[user.provider_key] = slow
        session = user.session()
        with native(user, session) as connection, ThreadPoolExecutor() as pool:
            assert until(lambda: running(other, session))
            connection.recv(1)
            waiting = [pool.submit(other.ask, f"q{number}", session_id=session) for number in range(3)]
            time.sleep(0.3)
            assert not any(each.done() for each in waiting)
            slow.open.set()
            upstream.scripts.pop(user.provider_key)
            first.kill()
            make_dead(first)
            assert [each.result(20).status for each in waiting] == [200] * 3
        first.start()
        assert until(lambda: not left(first, session))
        kept = other.get(f"/sessions/{session}/messages/?limit=100").json
        assert [row["content"] for row in kept if row["role"] == "user"].count("x") == 1
        assert {row["status"] for row in kept} <= {"complete", "partial"}
        goes_on(first, other, session)
    finally:
        second.stop()


@pytest.mark.parametrize("count", [0, 3])
def test_told_to_end_while_questions_wait(new_server: Callable[..., Server], upstream: Upstream, count: int):
    server = new_server(RINI_SHUTDOWN_GRACE_SECONDS="1")
    user = server.user()
    upstream.scripts[user.provider_key] = Slow()
    session = user.session()
    with native(user, session) as connection, ThreadPoolExecutor() as pool:
        connection.recv(1)
        waiting = [pool.submit(told, user, session, number) for number in range(count)]
        time.sleep(0.2)
        server.stop(20)
        assert {each.result(20) for each in waiting} <= {503, None}
    assert not left(server, session)
    upstream.scripts.pop(user.provider_key)
    server.start()
    user.url = server.url
    goes_on(server, user, session)


def test_a_response_that_another_process_completes(new_server: Callable[..., Server], upstream: Upstream):
    """What was asked stands in the session once, and the model that is asked again reads it once."""
    server = new_server()
    user = server.user()

    async def never(conversation: Conversation) -> None:
        await conversation.until_left(30)

    upstream.scripts[user.provider_key] = never
    body = {"model": "openai/gpt-4o-mini", "input": "once", "background": True}
    begun = user.post("/v1/responses", body)
    assert begun.status == 200, begun.body
    assert until(lambda: upstream.calls(user.provider_key))
    read: list[list[str]] = []

    def answer(request: Request) -> Reply:
        read.append([plain_text(message.parts) for message in request.messages])
        return reply(Text("done"))

    server.kill()
    upstream.scripts[user.provider_key] = scripted("openai", answer)
    server.start()
    user.url = server.url
    path = f"/v1/responses/{begun.json['id']}"
    assert until(lambda: user.get(path).json["status"] == "completed", 15), user.get(path).body
    session = user.get("/sessions/").json[0]["id"]
    kept = [(row["role"], row["content"]) for row in user.get(f"/sessions/{session}/messages/").json]
    assert kept == [("user", "once"), ("assistant", "done")]
    assert read == [["once"]]
    assert not left(server, session)


def told(user: Client, session: str, number: int) -> int | None:
    with contextlib.suppress(OSError):
        return user.ask(f"q{number}", session_id=session).status
    return None


MANY = 10_000


def test_ten_thousand_answers_to_one_question(new_server: Callable[..., Server]):
    server = new_server()
    user = server.user()
    session = user.session()
    question = user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "q"}).json["id"]
    one = user.post(
        f"/sessions/{session}/messages/", {"role": "assistant", "content": "a", "parent_message_id": question}
    ).json["id"]
    with closing(sqlite3.connect(server.data_dir / "rini.db", timeout=10)) as connection, connection:
        names = [row[1] for row in connection.execute("pragma table_info(messages)") if row[1] != "id"]
        columns = ", ".join(names)
        connection.execute(
            f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {MANY})"
            f" insert into messages ({columns}) select {columns} from messages, n where id = ?",
            (one,),
        )
    answer = user.ask("below", session_id=session, parent_message_id=one)
    assert answer.status == 200
    again = user.post(f"/messages/{question}/regenerate", {"provider": "openai", "model": "m"})
    assert again.json["assistant_message"]["parent_message_id"] == question
    assert user.get(f"/messages/{one}/siblings?limit=50").status == 200
    tree = user.get(f"/sessions/{session}/tree")
    assert (tree.status, len(tree.body) < 500_000) == (200, True)
    refused = user.delete(f"/messages/{question}?count=1")
    assert (refused.status, refused.json["count"]) == (409, MANY + 5)
    goes_on(server, user, session)


def test_places_in_a_queue_that_are_given_up():
    asyncio.run(give_up_places())


async def give_up_places() -> None:
    """Cancelled at any moment, a question leaves nothing in its queue and keeps nobody waiting."""

    async def end(answer_id: int, reason: str) -> bool:
        await asyncio.sleep(0)
        return True

    chance = random.Random(5)
    queues = Queues(10, end)

    async def wait(number: int) -> None:
        ask = Ask(
            user_id=1,
            provider="openai",
            model="m",
            messages=(),
            endpoint="/",
            session_id="s",
            if_busy=chance.choice(("queue", "interrupt")),
        )
        async with queues.place(ask) as place:
            place.holds(number)
            await asyncio.sleep(chance.uniform(0, 0.004))

    for _round in range(30):
        tasks = [asyncio.create_task(wait(number)) for number in range(8)]
        for _ in tasks:
            await asyncio.sleep(chance.uniform(0, 0.002))
            if chance.random() < 0.7:
                chance.choice(tasks).cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert queues._queues == {}
