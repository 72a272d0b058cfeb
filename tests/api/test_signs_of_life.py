"""A stream whose model is silent says now and then that it is there, and no official SDK minds."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rini.api import signs_of_life
from rini.api.signs_of_life import BLANK_LINE, COMMENT, SignsOfLife
from rini.canon import Start, Text
from rini.kit.sse import WholeEvents
from tests.dialects.test_passing import call
from tests.support.dialects import DIALECTS, PROVIDERS, World, user_of_all
from tests.support.mcp import running_tools
from tests.support.model import codec_of, events_of, reply
from tests.support.server import ROOT, Server
from tests.support.upstream import Conversation, Script, Upstream, openai_chunks
from tests.turns.test_tools_in_turns import Caller

OPENAI, _, CLAUDE, GEMINI, _ = PROVIDERS
SILENT_SECONDS = 0.3

PASSED: dict[str, Any] = {"chat": OPENAI, "responses": OPENAI, "anthropic": CLAUDE, "gemini": GEMINI}
TRANSLATED: dict[str, Any] = {"chat": CLAUDE, "responses": GEMINI, "anthropic": OPENAI, "gemini": OPENAI}
BODIES: dict[str, Any] = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "stream": True}),
    "responses": ("/v1/responses", {"input": "hi", "store": False, "stream": True}),
    "anthropic": ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "stream": True}),
    "gemini": ("", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Server]:
    """A server that is not silent for as long as others."""
    folder = tmp_path_factory.mktemp("lively")
    (folder / "sitecustomize.py").write_text(
        "from rini.api import signs_of_life\nsigns_of_life.SIGN_OF_LIFE_SECONDS = 0.05\n"
    )
    paths = {"PYTHONPATH": f"{folder}:{ROOT / 'src'}", "RINI_ALLOWED_PRIVATE_HOSTS": "127.0.0.1"}
    server = Server(folder / "data", paths, upstream.url).start()
    yield server
    server.stop(20)


@pytest.fixture(scope="module")
def world(lively: Server, upstream: Upstream) -> Iterator[World]:
    with user_of_all(lively, upstream) as made:
        yield made


def thinking(provider: str) -> Script:
    """A model that begins at once and says nothing for a while."""

    async def script(conversation: Conversation) -> None:
        path = conversation.seen.path
        encoder = codec_of(provider, path).stream_encoder()
        await conversation.head()
        for event in events_of(reply(Text("one two three")), 3):
            if data := encoder.feed(event):
                await conversation.chunk(data)
            if isinstance(event, Start):
                await asyncio.sleep(SILENT_SECONDS)
        if data := encoder.close():
            await conversation.chunk(data)
        await conversation.end()

    return script


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("behind", [PASSED, TRANSLATED], ids=["passed", "translated"])
def test_a_silent_stream_shows_that_it_lives_and_the_sdk_reads_it(world: World, dialect: str, behind: Any):
    provider = behind[dialect].provider
    world.upstream.scripts[world.keys[provider]] = thinking(provider)
    name = f"{provider}/{behind[dialect].model}"
    path, body = BODIES[dialect]
    if dialect == "gemini":
        path = f"/v1beta/models/{name}:streamGenerateContent?alt=sse"
    else:
        body = {**body, "model": name}
    came = call(world, path, json.dumps(body).encode())
    assert came.status == 200, came
    sign = BLANK_LINE if dialect == "gemini" else COMMENT
    assert re.search(rb"(\n\n|\r\n\r\n|^)" + re.escape(sign), came.body), came.body
    # Whoever reads server-sent events as the standard has them finds every event whole.
    for line in came.body.replace(b"\r\n", b"\n").split(b"\n"):
        assert line.startswith((b"data: ", b"event: ", COMMENT.strip())) or not line
    told = {field: value for field, value in body.items() if field not in ("model", "stream")}
    assert world.clients.ask(dialect, name, told, stream=True).texts == ("one two three",)


def test_nothing_comes_between_the_items_of_an_array(world: World):
    world.upstream.scripts[world.keys["google"]] = world.upstream.scripts[world.keys["openai"]] = thinking("openai")
    path = f"/v1beta/models/openai/{OPENAI.model}:streamGenerateContent"
    came = call(world, path, json.dumps(BODIES["gemini"][1]).encode())
    assert b"\n\n" not in came.body.strip()
    assert json.loads(came.body)


def test_a_native_stream_does_so_while_a_tool_is_called(lively: Server, upstream: Upstream):
    user = lively.user()
    caller = Caller("slow", '{"seconds": 0.4}')

    async def script(conversation: Conversation) -> None:
        from_canon = codec_of("openai", conversation.seen.path)
        answered = caller(from_canon.decode_request(conversation.seen.body, model=None, stream=None))
        encoder = from_canon.stream_encoder()
        await conversation.head()
        for event in events_of(answered):
            await conversation.chunk(encoder.feed(event) or b": \n\n")
        await conversation.chunk(encoder.close())
        await conversation.end()

    upstream.scripts[user.provider_key] = script
    with running_tools() as tools:
        assert user.post("/mcp-connections/", {"name": "calculator", "url": tools.url}).status == 201
        body = {"text": "x", "provider": "openai", "model": "m", "session_id": user.session(), "stream": True}
        data = user.post("/llm/text-completion/", body | {"llm_params": {"tool_choice": "auto"}}).body
    assert COMMENT in data[data.index(b"event: tool_call") : data.index(b"event: tool_result")]
    assert data.count(b"event: done") == 1


def test_models_that_are_compared_do_so_before_any_has_begun(lively: Server, upstream: Upstream):
    user = lively.user()
    question = user.ask("hello", session_id=user.session()).json["user_message"]["id"]

    async def late(conversation: Conversation) -> None:
        await asyncio.sleep(SILENT_SECONDS)
        await conversation.head()
        for event in openai_chunks("late"):
            await conversation.chunk(event)
        await conversation.end()

    upstream.scripts[user.provider_key] = late
    models = [{"provider": "openai", "model": name, "llm_params": {}} for name in ("a", "b")]
    data = user.post(f"/messages/{question}/compare", {"models": models, "stream": True}).body
    assert COMMENT in data[: data.index(b"event: ")], data
    assert data.endswith(b"event: end\ndata: {}\n\n")


def test_nothing_more_is_sent_when_the_client_has_left(lively: Server, upstream: Upstream):
    user = lively.user()
    left = threading.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.chunk(openai_chunks("one", finish=None)[1])
        await conversation.until_left()
        await asyncio.sleep(SILENT_SECONDS)
        left.set()

    upstream.scripts[user.provider_key] = script
    with user.open_stream("hello") as reader:
        next(iter(reader))
    assert left.wait(10)
    assert "Traceback" not in lively.logged()


# -- the timer ---------------------------------------------------------------------------------------


class Sent:
    """What a server is given to send; while it is ``stuck`` the client reads nothing."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.asked = 0
        self.free = asyncio.Event()
        self.free.set()

    async def __call__(self, message: Any) -> None:
        self.asked += 1
        await self.free.wait()
        self.bodies.append(message["body"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs_of_life, "SIGN_OF_LIFE_SECONDS", 0.01)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


def test_a_stream_that_is_written_to_has_no_need_of_signs():
    async def main() -> None:
        sent = Sent()
        signs = SignsOfLife(sent)
        signs.begin()
        looked = 0
        real = signs._look

        def look() -> None:
            nonlocal looked
            looked += 1
            signs.is_silent = False  # somebody wrote since
            real()

        signs._timer.cancel()
        signs._timer = asyncio.get_running_loop().call_later(0, look)
        await until(lambda: looked)
        assert sent.bodies == []
        await until(lambda: sent.bodies)  # nobody wrote since
        signs.end()
        assert set(sent.bodies) == {COMMENT}

    asyncio.run(main())


def test_a_client_that_does_not_read_is_sent_one_sign_at_most():
    async def main() -> None:
        sent = Sent()
        sent.free.clear()
        signs = SignsOfLife(sent, BLANK_LINE)
        signs.begin()
        await until(lambda: sent.asked)
        await asyncio.sleep(0.1)
        assert sent.asked == 1
        signs.end()
        sent.free.set()
        await asyncio.sleep(0.05)
        assert sent.bodies == []  # not even that one, when the stream is over

    asyncio.run(main())


def test_nothing_is_sent_within_an_event():
    async def main() -> None:
        sent, events = Sent(), WholeEvents()
        events.feed(b"data: " + b"x" * 2**21)
        assert events.torn
        signs = SignsOfLife(sent, COMMENT, events)
        signs.begin()
        await asyncio.sleep(0.1)
        assert sent.bodies == []
        events.feed(b"\n\n")
        await until(lambda: sent.bodies)
        signs.end()

    asyncio.run(main())
