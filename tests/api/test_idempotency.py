"""Idempotency-Key: a request that is sent again is answered again, and done once."""

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import openai
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from rini.accounts import users
from rini.accounts.access import Access
from rini.accounts.tokens import TokenIssuer
from rini.api.idempotency import keys, layer, request
from rini.api.idempotency.layer import Idempotency
from rini.api.idempotency.request import ReadRequest
from rini.api.idempotency.sweep import keep_swept
from rini.api.idempotency.tables import idempotency_keys
from rini.api.routes import as_problem
from rini.canon import Text
from rini.db import Database
from rini.db.migrate import migrate
from rini.kit import lasting
from rini.kit.clock import now
from rini.turns.tables import workers
from tests.conftest import DATABASES
from tests.support.model import MODELS, reply, user_of
from tests.support.server import Answer, Client, Server
from tests.support.upstream import Conversation, Script, Upstream, openai_chunks, openai_reply

MODEL = {"provider": "openai", "model": "gpt-test"}
TEXT = "/llm/text-completion/"
REPLAYED = "idempotent-replayed"


def keyed(client: Client, key: str, path: str, body: Any, **headers: str) -> Answer:
    return client.request("POST", path, body, Idempotency_Key=key, **headers)


def ask(client: Client, key: str, text: str = "hello", **fields: Any) -> Answer:
    return keyed(client, key, TEXT, {"text": text} | fields | MODEL)


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["code"]


def said(client: Client, session: str) -> list[str]:
    return [each["content"] for each in client.get(f"/sessions/{session}/messages/").json]


def held(go: threading.Event, text: str = "at last") -> Script:
    """Answer when it is told to."""

    async def script(conversation: Conversation) -> None:
        stream = conversation.seen.json.get("stream")
        first, *rest = openai_chunks(text)
        if stream:
            await conversation.head()
            await conversation.chunk(first)
        while not go.is_set():
            await asyncio.sleep(0.01)
        if not stream:
            await conversation.whole(openai_reply(text))
            return
        for event in rest:
            await conversation.chunk(event)
        await conversation.end()

    return script


@pytest.fixture
def go() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def until(true: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


CHAT = {"model": "openai/gpt-test", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TEXT, {"text": "hello"} | MODEL),
        (TEXT, {"text": "hello", "stream": True} | MODEL),
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", CHAT | {"stream": True}),
        ("/v1/messages", CHAT | {"max_tokens": 9}),
        ("/v1/messages", CHAT | {"max_tokens": 9, "stream": True}),
        ("/llm/chat-completions/", {"messages": CHAT["messages"]} | MODEL),
    ],
)
def test_a_stateless_call_is_made_and_billed_once(user: Client, upstream: Upstream, path: str, body: Any):
    first, second = (keyed(user, "k", path, body) for _ in range(2))
    assert (first.status, second.status, second.body) == (200, 200, first.body)
    assert (first.headers.get(REPLAYED), second.headers[REPLAYED]) == (None, "true")
    told = {name: value for name, value in first.headers.items() if name not in ("x-request-id", "date")}
    told.pop("transfer-encoding", None)
    assert told.items() <= second.headers.items()
    assert len(upstream.calls(user.provider_key)) == 1
    assert len(user.get("/usage/records/").json) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_is_stored_once(user: Client, upstream: Upstream, stream: bool):
    session = user.session()
    first, second = (ask(user, "k", session_id=session, stream=stream) for _ in range(2))
    assert (first.status, second.body) == (200, first.body)
    assert said(user, session) == ["hello", "echo: hello"]
    assert len(upstream.calls(user.provider_key)) == 1


def test_a_background_answer_is_begun_once(user: Client, upstream: Upstream, go: threading.Event):
    upstream.scripts[user.provider_key] = held(go)
    session = user.session()
    first, second = (ask(user, "k", session_id=session, background=True) for _ in range(2))
    assert (first.status, second.status, second.body) == (202, 202, first.body)
    assert second.headers[REPLAYED] == "true"
    go.set()
    answer = f"/messages/{first.json['assistant_message_id']}"
    until(lambda: user.get(answer).json["status"] == "complete")
    # What was answered is told again, not what became of it.
    assert ask(user, "k", session_id=session, background=True).body == first.body
    assert said(user, session) == ["hello", "at last"]
    assert len(upstream.calls(user.provider_key)) == 1


def test_an_openai_response_is_stored_once(server: Server, upstream: Upstream):
    user = user_of(server, upstream, "anthropic", lambda _request: reply(Text("Hello.")))
    body = {"model": f"anthropic/{MODELS['anthropic']}", "input": "hello"}
    for stream in (False, True):
        first, second = (keyed(user, f"r{stream}", "/v1/responses", body | {"stream": stream}) for _ in range(2))
        assert (first.status, second.body, second.headers[REPLAYED]) == (200, first.body, "true")
    assert len(upstream.calls(user.provider_key)) == 2
    assert len(user.get("/sessions/").json) == 2


def test_what_is_made_is_made_once(user: Client):
    first, second = (keyed(user, "s", "/sessions/", {"alias": "once"}) for _ in range(2))
    assert (first.status, second.status, second.json) == (201, 201, first.json)
    message = {"role": "user", "content": "hi"}
    path = f"/sessions/{first.json['id']}/messages/"
    assert keyed(user, "m", path, message).json == keyed(user, "m", path.rstrip("/"), message).json
    assert said(user, first.json["id"]) == ["hi"]
    assert len(user.get("/sessions/").json) == 1


def test_a_key_belongs_to_one_request_of_one_user(server: Server, user: Client):
    session = user.session()
    assert ask(user, "k", session_id=session).status == 200
    for other in (
        ask(user, "k", "other", session_id=session),
        ask(user, "k", session_id=session, stream=True),
        keyed(user, "k", "/llm/chat-completions/", {"text": "hello"} | MODEL),
        keyed(user, "k", TEXT + "?a=b", {"text": "hello", "session_id": session} | MODEL),
        keyed(user, "k", TEXT, {"text": "hello", "session_id": session} | MODEL, X_Rini_Session=session),
    ):
        assert code(other) == (422, "idempotency_key_reused")
    dialect = keyed(user, "k", "/v1/chat/completions", CHAT)
    assert (dialect.status, dialect.headers["x-rini-code"]) == (422, "idempotency_key_reused")
    assert dialect.json["error"]["type"] == "invalid_request_error"
    assert ask(server.user(), "k").headers.get(REPLAYED) is None
    assert said(user, session) == ["hello", "echo: hello"]


def test_nothing_but_a_post_has_a_key(user: Client):
    session = user.session()
    path = f"/sessions/{session}"
    assert ask(user, "k", session_id=session).status == 200
    assert user.request("GET", path, Idempotency_Key="k").status == 200
    assert user.request("PUT", path, {"alias": "x"}, Idempotency_Key="k").json["alias"] == "x"


@pytest.mark.parametrize(
    "key", ["", " ", "x" * 256, "x" * 10_000, "caf\u00e9", "\ud55c\uae00".encode().decode("latin-1"), "a\tb"]
)
def test_a_key_is_printable_and_short(user: Client, key: str):
    answer = ask(user, key)
    assert code(answer) == (422, "invalid_request")
    assert "1 to 255 printable" in answer.json["detail"]


def test_the_pages_tell_of_the_key_wherever_it_holds(user: Client):
    document = user.get("/openapi.json").json
    assert document["components"]["schemas"]["IdempotencyKey"]["maxLength"] == layer.LONGEST_KEY
    told: list[str] = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            mine = [each for each in operation.get("parameters", ()) if each["name"].lower() == "idempotency-key"]
            assert bool(mine) == (method == "post" and "security" in operation), (method, path)
            if mine:
                told.append(path)
                assert mine[0]["in"] == "header"
                answers = operation["responses"]
                assert all("idempotent-replayed" in answers[each]["headers"] for each in answers if each[0] == "2")
    assert len(told) > 30
    for path in told:
        answer = keyed(user, "x" * 256, re.sub(r"{\w+}", "1", path), {})
        assert answer.status in (400, 422), path
        assert b"printable ASCII" in answer.body


def test_without_a_good_token_the_endpoint_answers(server: Server, user: Client):
    nobody = Client(server.url)
    assert code(ask(nobody, "k")) == (401, "not_authenticated")
    assert keyed(nobody, "x" * 300, "/users/", None).status == 201
    nobody.token = "wrong"
    assert keyed(nobody, "k", "/v1/messages", CHAT).json["error"]["type"] == "authentication_error"
    assert ask(user, "k").status == 200


def test_of_many_at_once_one_runs(user: Client, upstream: Upstream, go: threading.Event):
    upstream.scripts[user.provider_key] = held(go)
    session = user.session()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, user, "k", session_id=session) for _ in range(8)]
        until(lambda: upstream.calls(user.provider_key))
        assert code(ask(user, "k", "another")) == (422, "idempotency_key_reused")
        go.set()
        answers = [each.result() for each in asked]
    assert {each.status for each in answers} == {200}
    assert len({each.body for each in answers}) == 1
    assert sum(REPLAYED in each.headers for each in answers) == 7
    assert said(user, session) == ["hello", "at last"]
    assert len(upstream.calls(user.provider_key)) == 1


def leave_after(client: Client, key: str, body: Any, then: Callable[[], Any]) -> None:
    """Ask, and close the connection when ``then`` comes true."""
    host, port = client.url.removeprefix("http://").split(":")
    data = json.dumps(body | MODEL).encode()
    head = f"POST {TEXT} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {client.token}\r\nIdempotency-Key: {key}\r\n"
    head += "Content-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(data) + data)
        until(then)


@pytest.mark.parametrize("stream", [False, True])
def test_who_left_finds_the_answer_when_it_comes_back(
    user: Client, upstream: Upstream, go: threading.Event, stream: bool
):
    upstream.scripts[user.provider_key] = held(go)
    session = user.session()
    body = {"text": "hello", "session_id": session, "stream": stream}
    leave_after(user, "k", body, lambda: upstream.calls(user.provider_key))
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(ask, user, "k", **body)
        # Neither who left nor who left while it waited ends the call.
        leave_after(user, "k", body, lambda: True)
        time.sleep(0.1)
        assert not again.done()
        go.set()
        answer = again.result()
    assert (answer.status, answer.headers[REPLAYED]) == (200, "true")
    assert b"at last" in answer.body
    assert said(user, session) == ["hello", "at last"]
    (call,) = upstream.calls(user.provider_key)
    assert call.left_at is None


def test_an_sdk_that_repeats_joins_the_call_that_runs(user: Client, upstream: Upstream, go: threading.Event):
    upstream.scripts[user.provider_key] = held(go)
    session = user.session()
    again = {"Idempotency-Key": "k", "x-rini-session": session}
    with (
        ThreadPoolExecutor(1) as pool,
        openai.OpenAI(base_url=user.url + "/v1", api_key=user.token, max_retries=9) as client,
    ):
        asked = pool.submit(
            client.with_options(timeout=0.3).chat.completions.create,
            **CHAT,
            extra_headers=again,  # type: ignore[arg-type]
        )
        until(lambda: upstream.calls(user.provider_key))
        time.sleep(0.5)
        go.set()
        answer = asked.result(20)
    assert answer.choices[0].message.content == "at last"
    assert len(upstream.calls(user.provider_key)) == 1
    assert said(user, session) == ["hello", "at last"]


def failing_once(status: int, body: Any = None) -> Script:
    count = 0

    async def script(conversation: Conversation) -> None:
        nonlocal count
        count += 1
        if count == 1:
            await conversation.whole({"error": {"message": "no"}} if body is None else body, status)
        else:
            await conversation.whole(openai_reply("fine"))

    return script


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_an_error_that_cost_nothing_frees_the_key(user: Client, script: Callable[[Script], None], status: int):
    script(failing_once(status))
    first, second, third = (ask(user, "k") for _ in range(3))
    assert first.status >= 400
    assert (second.status, second.headers.get(REPLAYED)) == (200, None)
    assert (third.body, third.headers[REPLAYED]) == (second.body, "true")


@pytest.mark.parametrize("key", ["k", "0", "a b", "x" * 255, "\"'\\;--%00<>"])
def test_any_other_key_is_one(user: Client, upstream: Upstream, key: str):
    first, second = ask(user, key), ask(user, key)
    assert (first.status, second.headers[REPLAYED], second.body) == (200, "true", first.body)
    assert len(upstream.calls(user.provider_key)) == 1


def test_bad_input_frees_the_key(user: Client):
    assert ask(user, "k", session_id="00000000-0000-0000-0000-000000000000").status == 404
    assert ask(user, "k", llm_params={"nonsense": 1}).status == 422
    assert ask(user, "k").status == 200


def test_an_error_after_the_question_was_stored_is_kept(user: Client, script: Callable[[Script], None]):
    script(failing_once(503))
    session = user.session()
    first, second = (ask(user, "k", session_id=session) for _ in range(2))
    assert (first.status, second.status, second.body) == (503, 503, first.body)
    assert second.headers[REPLAYED] == "true"
    assert said(user, session) == ["hello"]


def test_an_error_that_was_billed_is_kept(user: Client, upstream: Upstream, script: Callable[[Script], None]):
    script(failing_once(200, b"{nonsense"))
    first, second = (ask(user, "k") for _ in range(2))
    assert (first.status, second.body) == (502, first.body)
    assert len(upstream.calls(user.provider_key)) == 1


def test_an_answer_with_a_secret_is_not_kept(user: Client):
    first, second = (keyed(user, "k", "/users/me/tokens", {"name": "sdk"}) for _ in range(2))
    assert first.status == 201
    assert code(second) == (409, "idempotency_answer_not_kept")
    assert second.json["first_status"] == 201
    assert second.json["first_request_id"] == first.headers["x-request-id"]
    assert len(user.get("/users/me/tokens").json) == 1


def test_over_two_processes_one_runs(user: Client, neighbour: Server, upstream: Upstream, go: threading.Event):
    there = Client(neighbour.url, user.token)
    upstream.scripts[user.provider_key] = held(go)
    session = user.session()
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, client, "k", session_id=session) for client in (user, there) * 3]
        until(lambda: upstream.calls(user.provider_key))
        assert code(ask(there, "k", "x")) == code(ask(user, "k", "x")) == (422, "idempotency_key_reused")
        go.set()
        answers = [each.result() for each in asked]
    assert {each.status for each in answers} == {200}
    assert len({each.body for each in answers}) == 1
    assert sum(REPLAYED in each.headers for each in answers) == 5
    assert said(user, session) == ["hello", "at last"]
    assert len(upstream.calls(user.provider_key)) == 1


def test_a_killed_workers_request_is_told_as_interrupted(
    server: Server, new_server: Callable[..., Server], upstream: Upstream, go: threading.Event
):
    one = new_server(data_dir=server.data_dir, **server.settings)
    user = one.user()
    user_id = user.get("/users/me").json["id"]
    there = Client(server.url, user.token)
    upstream.scripts[user.provider_key] = held(go)
    session = user.session()
    leave_after(user, "k", {"text": "hello", "session_id": session}, lambda: upstream.calls(user.provider_key))
    one.kill()
    url = server.settings.get("RINI_DATABASE_URL", f"sqlite:///{server.data_dir}/rini.db")
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.pool.NullPool)
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(ask, there, "k", session_id=session)
        time.sleep(0.2)
        assert not again.done()  # for a while the worker may be living
        with engine.begin() as connection:
            running = sa.select(idempotency_keys.c.worker_id).where(idempotency_keys.c.user_id == user_id)
            aged = workers.update().where(workers.c.id.in_(running)).values(seen_at=now() - timedelta(seconds=31))
            assert connection.execute(aged).rowcount == 1
        answer = again.result()
    engine.dispose()
    assert code(answer) == (409, "idempotency_interrupted")
    assert "use a new key" in answer.json["detail"]
    assert code(ask(there, "k", session_id=session)) == (409, "idempotency_interrupted")
    go.set()
    assert len(upstream.calls(user.provider_key)) == 1
    assert ask(there, "new").status == 200


def test_a_server_that_ends_answers_who_has_left(
    shared_server: Callable[..., Server], new_server: Callable[..., Server], upstream: Upstream, go: threading.Event
):
    beside = shared_server()
    server = new_server(data_dir=beside.data_dir, **beside.settings)
    user = server.user()
    upstream.scripts[user.provider_key] = held(go)
    session = user.session()
    body = {"text": "hello", "session_id": session}
    leave_after(user, "k", body, lambda: upstream.calls(user.provider_key))
    server.process.send_signal(signal.SIGTERM)
    until(lambda: user.get("/readyz").status == 503)
    go.set()
    assert server.process.wait(10) == 0
    user.url = beside.url
    answer = ask(user, "k", **body)
    assert (answer.status, answer.headers[REPLAYED]) == (200, "true")
    assert said(user, session) == ["hello", "at last"]


def test_a_server_whose_time_is_up_leaves_it_open(
    shared_server: Callable[..., Server], new_server: Callable[..., Server], upstream: Upstream, go: threading.Event
):
    beside = shared_server()
    server = new_server(data_dir=beside.data_dir, RINI_SHUTDOWN_GRACE_SECONDS="0.2", **beside.settings)
    user = server.user()
    upstream.scripts[user.provider_key] = held(go)
    body = {"text": "hello"}
    leave_after(user, "k", body, lambda: upstream.calls(user.provider_key))
    assert server.stop() == 0
    user.url = beside.url
    assert code(ask(user, "k", **body)) == (409, "idempotency_interrupted")


# The layer alone, before an application that does what a test wants.


class App:
    """An application of one endpoint, ``answer``."""

    def __init__(self) -> None:
        self.count = 0
        self.status = 200
        self.chunks = [b"one", b"two"]
        self.during: Callable[[], Any] = lambda: None
        self.bodies: list[bytes] = []

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        self.count += 1
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        if (waiting := self.during()) is not None:
            await waiting
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [(b"x-a", b"b"), (b"connection", b"close")],
            }
        )
        for number, chunk in enumerate(self.chunks):
            await send({"type": "http.response.body", "body": chunk, "more_body": number + 1 < len(self.chunks)})

    def render(self, scope: Any, error: Any) -> Any:
        return as_problem(scope, error)


class Layer:
    """The layer, with a user of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.worker = os.urandom(16).hex()
        issuer = TokenIssuer(b"k" * 32, "HS256", 60)
        self.user_id = self.database.write_sync(users.create, "", 0)
        self.token = issuer.issue(self.user_id)
        self.app = App()
        self.made = Idempotency(self.app, self.database, Access(issuer, self.database), self.worker)
        self.on_the_way: list[list[bytes]] = []
        self.seen(self.worker, 0)

    async def begun(self, *body: bytes) -> "asyncio.Task[Any]":
        """Ask, and return when all of the body has come."""
        count = len(self.on_the_way)
        task = asyncio.create_task(self.ask(*body))
        async with asyncio.timeout(10):
            while len(self.on_the_way) == count or self.on_the_way[count]:
                await asyncio.sleep(0.01)
        return task

    def seen(self, worker: str, seconds_ago: float) -> None:
        row = {"id": worker, "seen_at": now() - timedelta(seconds=seconds_ago)}
        self.database.write_sync(lambda connection: connection.execute(workers.insert(), row) and None)

    def change(self, **values: Any) -> None:
        change = idempotency_keys.update().where(idempotency_keys.c.user_id == self.user_id).values(**values)
        self.database.write_sync(lambda connection: connection.execute(change) and None)

    def forget(self) -> None:
        delete = idempotency_keys.delete().where(idempotency_keys.c.user_id == self.user_id)
        self.database.write_sync(lambda connection: connection.execute(delete) and None)

    async def ask(
        self, *body: bytes, leave: asyncio.Event | None = None, fails: bool = False, cut: bool = False
    ) -> tuple[int, bytes, dict[str, str]]:
        sent: list[Any] = []
        left = leave or asyncio.Event()
        parts = list(body or (b"{}",))
        self.on_the_way.append(parts)

        async def receive() -> Any:
            if parts:
                return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts) or cut}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if fails:
                raise OSError
            sent.append(message)

        headers = [(b"authorization", f"Bearer {self.token}".encode()), (b"idempotency-key", b"k"), (b"host", b"x")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/x",
            "query_string": b"",
            "headers": headers,
            "scheme": "http",
        }
        await self.made(scope, receive, send)
        if not sent:
            return 0, b"", {}
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], b"".join(each["body"] for each in sent[1:]), told


@pytest.fixture(scope="module", params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path_factory.mktemp('layer')}/rini.db"
    if request.param == "postgres":
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    made = Database(url)
    yield made
    made.close()


@pytest.fixture
def alone(database: Database) -> Layer:
    return Layer(database)


def test_the_answers_bytes_and_headers_are_kept(alone: Layer):
    async def twice():
        return await alone.ask(), await alone.ask()

    first, second = asyncio.run(twice())
    assert first == (200, b"onetwo", {"x-a": "b", "connection": "close"})
    assert second == (200, b"onetwo", {"x-a": "b", "content-length": "6", REPLAYED: "true"})
    assert alone.app.count == 1


def test_a_large_answer_is_the_same_too(alone: Layer):
    alone.app.chunks = [os.urandom(200_000), b"", b"end"]

    async def twice():
        return await alone.ask(), await alone.ask()

    first, second = asyncio.run(twice())
    assert second[1] == first[1] == b"".join(alone.app.chunks)


def test_a_long_answer_is_not_kept_and_its_request_not_done_again(alone: Layer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layer, "LARGEST_KEPT_BYTES", 5)

    async def twice():
        return await alone.ask(), await alone.ask()

    first, second = asyncio.run(twice())
    assert first[:2] == (200, b"onetwo")
    assert (second[0], json.loads(second[1])["code"]) == (409, "idempotency_answer_not_kept")
    assert alone.app.count == 1


@pytest.fixture
def ten_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "HELD_BYTES", 10)


@pytest.mark.usefixtures("ten_held")
def test_all_of_a_long_body_counts(alone: Layer):
    async def five():
        return [
            await alone.ask(b"0123456789", b"abc", b"def"),
            await alone.ask(b"01234", b"56789abcd", b"e", b"f", b""),
            await alone.ask(b"0123456789", b"abc", b"xxx"),
            await alone.ask(b"0123456789", b"abc", b"defg"),
            await alone.ask(b"012345678_", b"abc", b"def"),
            await alone.ask(b"0123456789"),
        ]

    statuses = [each[0] for each in asyncio.run(five())]
    assert (statuses, alone.app.bodies) == ([200, 200, 422, 422, 422, 422], [b"0123456789abcdef"])


@pytest.mark.usefixtures("ten_held")
def test_who_comes_with_a_long_body_while_it_runs_waits_for_the_answer(alone: Layer):
    async def three():
        go = asyncio.Event()
        alone.app.during = go.wait
        body = (b"0123456789", b"abc", b"def")
        asked = [await alone.begun(*body), await alone.begun(*body)]
        other = await alone.begun(*body[:2], b"xxx")
        assert not any(each.done() for each in (*asked, other))
        go.set()
        return [each[0] for each in await asyncio.gather(*asked, other)]

    assert asyncio.run(three()) == [200, 200, 422]
    assert alone.app.bodies == [b"0123456789abcdef"]


@pytest.mark.usefixtures("ten_held")
def test_whose_long_body_was_read_in_vain_is_told_to_send_it_again(alone: Layer):
    async def thrice():
        go = asyncio.Event()
        alone.app.during, alone.app.status = go.wait, 503
        body = (b"0123456789", b"abc", b"def")
        asked = [await alone.begun(*body), await alone.begun(*body)]
        go.set()
        first, second = await asyncio.gather(*asked)
        alone.app.status = 200
        return first, second, await alone.ask(*body)

    first, second, third = asyncio.run(thrice())
    assert (first[0], second[0], second[2]["retry-after"], third[0]) == (503, 429, "1", 200)
    assert REPLAYED not in third[2]


@pytest.mark.usefixtures("ten_held")
def test_who_leaves_within_a_long_body_sends_it_again(alone: Layer):
    async def twice():
        left = asyncio.Event()
        left.set()
        with pytest.raises(KeyError):  # what the application finds in place of the body
            await alone.ask(b"0123456789", b"abc", leave=left, cut=True)
        return await alone.ask(b"0123456789", b"abc", b"def")

    assert asyncio.run(twice())[0] == 200
    assert alone.app.bodies == [b"0123456789abcdef"]


def test_a_client_that_cannot_be_sent_to_is_answered_when_it_comes_back(alone: Layer):
    async def twice():
        await alone.ask(fails=True)
        return await alone.ask()

    assert asyncio.run(twice())[1] == b"onetwo"
    assert alone.app.count == 1


@pytest.mark.parametrize(
    ("status", "lasts", "second"),
    [(422, False, 200), (503, False, 200), (422, True, 422), (503, True, 503), (302, False, 302), (204, False, 204)],
)
def test_which_answers_are_kept(alone: Layer, status: int, lasts: bool, second: int):
    alone.app.status = status
    alone.app.during = lasting.note if lasts else lambda: None

    async def twice():
        await alone.ask()
        alone.app.status = 200
        return await alone.ask()

    assert asyncio.run(twice())[0] == second


def test_a_fault_leaves_it_open_how_far_it_came(alone: Layer):
    def fault() -> None:
        raise ZeroDivisionError

    alone.app.during = fault

    async def thrice():
        with pytest.raises(ZeroDivisionError):
            await alone.ask()
        return await alone.ask(), await alone.ask(b"other")

    again, other = asyncio.run(thrice())
    assert (again[0], json.loads(again[1])["code"]) == (409, "idempotency_interrupted")
    assert (other[0], json.loads(other[1])["code"]) == (422, "idempotency_key_reused")


def test_an_answer_that_stops_half_way_leaves_it_open(alone: Layer):
    class StopError(Exception):
        pass

    async def halves(scope: Any, receive: Any, send: Any) -> None:
        lasting.note()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    alone.made._app = halves
    halves.render = as_problem  # type: ignore[attr-defined]

    async def twice():
        await alone.ask()
        return await alone.ask()

    assert asyncio.run(twice())[0] == 409


def test_a_request_without_a_living_worker_is_interrupted(alone: Layer):
    dead = os.urandom(16).hex()
    alone.seen(dead, 31)

    async def run() -> list[int]:
        await alone.ask()
        statuses = []
        for worker in (dead, "unknown", alone.worker):
            alone.change(worker_id=worker, status=None, headers=None, body=None)
            async with asyncio.timeout(10):
                statuses.append((await alone.ask())[0])
        return statuses

    assert asyncio.run(run()) == [409, 409, 409]


def test_who_waits_for_another_process_gets_its_answer_or_its_turn(alone: Layer):
    other = os.urandom(16).hex()
    alone.seen(other, 0)

    async def both() -> list[Any]:
        found = []
        for end in (
            {"worker_id": None, "status": 201, "headers": '[["x-b","c"]]', "body": keys.zlib.compress(b"theirs")},
            None,
        ):
            await alone.ask()
            alone.change(worker_id=other, status=None, headers=None, body=None)
            waiting = asyncio.create_task(alone.ask())
            await asyncio.sleep(0.15)
            assert not waiting.done()
            if end is None:
                alone.forget()
            else:
                alone.change(**end)
            found.append(await waiting)
        return found

    theirs, mine = asyncio.run(both())
    assert theirs == (201, b"theirs", {"x-b": "c", "content-length": "6", REPLAYED: "true"})
    assert (mine[1], REPLAYED in mine[2]) == (b"onetwo", False)


def test_who_leaves_waits_no_longer(alone: Layer):
    other = os.urandom(16).hex()
    alone.seen(other, 0)

    async def leave() -> Any:
        await alone.ask()
        alone.change(worker_id=other, status=None, headers=None, body=None)
        left = asyncio.Event()
        waiting = asyncio.create_task(alone.ask(leave=left))
        await asyncio.sleep(0.05)
        left.set()
        async with asyncio.timeout(5):
            return await waiting

    assert asyncio.run(leave())[0] == 0
    assert alone.made._claims == {}


def test_a_key_is_forgotten_after_a_day(alone: Layer):
    async def run() -> list[int]:
        await alone.ask()
        alone.change(created_at=now() - keys.KEPT_FOR - timedelta(seconds=1))
        await alone.ask()
        counts = [alone.app.count, alone.database.write_sync(keys.sweep)]
        alone.change(created_at=now() - keys.KEPT_FOR - timedelta(seconds=1))
        return [*counts, alone.database.write_sync(keys.sweep), alone.database.write_sync(keys.sweep)]

    assert asyncio.run(run()) == [2, 0, 1, 0]


def test_ten_thousand_keys_are_forgotten_and_one_stays(alone: Layer):
    asyncio.run(alone.ask())
    old = now() - keys.KEPT_FOR - timedelta(seconds=1)
    told = {"user_id": alone.user_id, "fingerprint": "f" * 64, "created_at": old}
    rows = [told | {"digest": f"{number:064}"} for number in range(10_000)]
    alone.database.write_sync(lambda connection: connection.execute(idempotency_keys.insert(), rows) and None)

    def count(connection: Any) -> int:
        here = idempotency_keys.c.user_id == alone.user_id
        return connection.execute(sa.select(sa.func.count()).select_from(idempotency_keys).where(here)).scalar_one()

    async def swept() -> int:
        sweeping = asyncio.create_task(keep_swept(alone.database))
        async with asyncio.timeout(20):
            while alone.database.read_sync(count) > 1:
                await asyncio.sleep(0.05)
        sweeping.cancel()
        return (await alone.ask())[0]

    assert alone.database.read_sync(count) == 10_001
    assert asyncio.run(swept()) == 200
    assert (alone.app.count, alone.database.read_sync(count)) == (1, 1)


def fingerprint(body: bytes = b"{}", query: bytes = b"", path: str = "/x/", **headers: str) -> str:
    async def read() -> str:
        sent = {"content-type": "application/json", "x-request-id": os.urandom(4).hex()} | headers
        told = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
        scope = {"method": "POST", "path": path, "query_string": query, "headers": told}
        message = {"type": "http.request", "body": body}

        async def receive() -> Any:
            return message

        return (await ReadRequest.read(scope, receive)).fingerprint

    return asyncio.run(read())


async def read_in(pieces: list[bytes], **headers: str) -> str:
    """Return the fingerprint of a body that comes in pieces."""
    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"method": "POST", "path": "/x", "query_string": b"", "headers": told}
    waiting = list(pieces)

    async def receive() -> Any:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    read = await ReadRequest.read(scope, receive)
    await read.read_rest()
    return read.fingerprint


@given(
    st.lists(st.sampled_from((b"--xy", b"x", b"-", b"xyx", b"text", b"--x")), min_size=1, max_size=12),
    st.lists(st.integers(0, 40), max_size=5),
    st.sampled_from((3, 10, 1000)),
)
@settings(deadline=None, max_examples=60)
def test_in_which_pieces_a_body_comes_makes_no_difference(words: list[bytes], cuts: list[int], held: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "HELD_BYTES", held)
        body = b"".join(words)
        places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
        pieces = [body[start:end] for start, end in itertools.pairwise(places)]
        kind = {"content_type": "multipart/form-data; boundary=xy"}
        whole = asyncio.run(read_in([body], **kind))
        assert asyncio.run(read_in(pieces, **kind)) == whole
        # Another boundary, and the same fields.
        other = body.replace(b"xy", b"longer-boundary")
        assert asyncio.run(read_in([other], content_type="multipart/form-data; boundary=longer-boundary")) == whole
        assert (asyncio.run(read_in([body + b"z"], **kind)) == whole) is False


def form(mark: str, text: str, quote: str = "") -> str:
    body = f'--{mark}\r\nContent-Disposition: form-data; name="x"\r\n\r\n{text}\r\n--{mark}--\r\n'
    return fingerprint(body.encode(), **{"content-type": f"multipart/form-data; boundary={quote}{mark}{quote}"})


def test_what_is_the_same_request():
    same = fingerprint()
    assert fingerprint(path="/x") == same
    assert fingerprint(query=b"key=abc") == same == fingerprint(query=b"key=another")
    assert fingerprint(user_agent="x", authorization="Bearer another") == same
    assert form("one", "text") == form("another", "text") == form("one", "text", '"')
    assert fingerprint(b"x" * 300_000) == fingerprint(b"x" * 300_000)


def test_what_is_another_request():
    all_of_them = [
        fingerprint(),
        fingerprint(b"{} "),
        fingerprint(path="/y"),
        fingerprint(query=b"a=b"),
        fingerprint(**{"content-type": "text/plain"}),
        fingerprint(x_rini_session="a"),
        fingerprint(x_rini_session="b"),
        fingerprint(b"x" * 300_000),
        form("one", "text"),
        form("one", "text2"),
    ]
    assert len(set(all_of_them)) == len(all_of_them)


def test_the_key_itself_is_not_stored(alone: Layer):
    asyncio.run(alone.ask())
    query = sa.select(idempotency_keys).where(idempotency_keys.c.user_id == alone.user_id)
    row = alone.database.read_sync(lambda connection: connection.execute(query).one())
    assert (len(row.digest), len(row.fingerprint), row.user_id) == (64, 64, alone.user_id)
