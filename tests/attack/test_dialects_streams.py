"""Streams that are passed on as they came: whatever a provider does to them, the SDK raises its own error or has its answer."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from rini.api.dialects.dialect import Asked
from rini.api.dialects.openai_chat import OpenAIChat
from rini.api.dialects.stream import MOST_HELD_BYTES, DialectStream
from rini.canon import Finish, PartStart, Reply, Start, Text, Usage, UsageUpdate
from rini.errors import StalledError
from rini.kit.sse import MAX_HELD_BYTES, WholeEvents
from rini.turns import running
from rini.turns.running import RunningCall
from rini.wire.openai_chat import OPENAI_CHAT
from rini.wire.openai_chat.usage_hider import without_usage
from tests.dialects.test_passing import _EVENTS, SAMPLES, call
from tests.dialects.test_usage import newest, since
from tests.support.dialects import DIALECTS, SDK_ERRORS, World, world
from tests.support.upstream import Conversation, Script, Upstream


@pytest.fixture(scope="module")
def all_of_them(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("streams"), upstream) as made:
        yield made


def whole(dialect: str) -> bytes:
    return "".join(_EVENTS[dialect]).encode()


def first(dialect: str) -> bytes:
    return _EVENTS[dialect][0].encode()


def asked(made: World, dialect: str) -> list[Any]:
    """What the SDK makes of a stream. Raises its errors."""
    clients, sample = made.clients, SAMPLES[dialect]
    hi: Any = [{"role": "user", "content": "hi"}]
    match dialect:
        case "chat":
            options: Any = {"include_usage": True}
            return list(
                clients.openai.chat.completions.create(
                    model="gpt-4o-mini", messages=hi, stream=True, stream_options=options
                )
            )
        case "responses":
            return list(clients.openai.responses.create(model="gpt-4o-mini", input="hi", stream=True))
        case "anthropic":
            model = "claude-haiku-4-5"
            return list(clients.anthropic.messages.create(model=model, max_tokens=9, messages=hi, stream=True))
        case _:
            assert sample.provider == "google"
            return list(clients.google.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))


def sending(*pieces: bytes, cut: bool = False) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        for piece in pieces:
            await conversation.chunk(piece)
        if cut:
            raise ConnectionError
        await conversation.end()

    return script


def serve(made: World, dialect: str, script: Script) -> int:
    """Have the provider answer so, and return the newest row before."""
    made.upstream.scripts[made.keys[SAMPLES[dialect].provider]] = script
    return newest(made)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_cut_within_an_event_is_the_sdks_own_error(all_of_them: World, dialect: str):
    data = whole(dialect)
    for pieces in ((data[:20],), (first(dialect), data[len(first(dialect)) :][:30])):
        last = serve(all_of_them, dialect, sending(*pieces, cut=True))
        with pytest.raises(SDK_ERRORS) as raised:
            asked(all_of_them, dialect)
        assert "broke off" in str(raised.value), type(raised.value)
        (row,) = since(all_of_them, last, 1)
        assert (row["outcome"], row["usage_estimated"]) == ("provider_failed", True)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_that_was_whole_is_not_lost_to_a_cut_behind_it(all_of_them: World, dialect: str):
    data = whole(dialect).removesuffix(b"data: [DONE]\n\n")
    for rest in (b"", b'data: {"id":"c1","cho'):
        last = serve(all_of_them, dialect, sending(data, rest, cut=True) if rest else sending(data, cut=True))
        assert asked(all_of_them, dialect)
        (row,) = since(all_of_them, last, 1)
        assert (row["outcome"], row["usage_estimated"]) == ("complete", False)
        assert (row["prompt_tokens"], row["completion_tokens"]) == (321, 45)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("end", [b"", b"\n\n"], ids=["bare", "ended"])
def test_an_error_that_is_no_event_is_raised_all_the_same(all_of_them: World, dialect: str, end: bytes):
    async def script(conversation: Conversation) -> None:
        await conversation.whole(SAMPLES[dialect].error + end, 200)

    last = serve(all_of_them, dialect, script)
    with pytest.raises(SDK_ERRORS) as raised:
        asked(all_of_them, dialect)
    assert "no \u00e9" in str(raised.value)
    (row,) = since(all_of_them, last, 1)
    assert (row["outcome"], row["error_code"]) == ("provider_failed", "provider_rate_limited")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_page_is_no_stream(all_of_them: World, dialect: str):
    async def script(conversation: Conversation) -> None:
        await conversation.whole(b"<html>hello</html>", 200, "text/html")

    last = serve(all_of_them, dialect, script)
    with pytest.raises(SDK_ERRORS):
        asked(all_of_them, dialect)
    (row,) = since(all_of_them, last, 1)
    assert row["outcome"] == "provider_failed"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_byte_at_a_time_passes_byte_for_byte(all_of_them: World, dialect: str):
    data = whole(dialect)
    sample = SAMPLES[dialect]
    last = serve(all_of_them, dialect, sending(*(data[at : at + 1] for at in range(len(data)))))
    came = call(all_of_them, sample.stream_path, sample.asked(stream=True))
    assert came.body == data
    (row,) = since(all_of_them, last, 1)
    assert row["outcome"] == "complete"


def test_a_stream_without_its_last_blank_line_passes_whole(all_of_them: World):
    data = whole("chat").rstrip()
    sample = SAMPLES["chat"]
    serve(all_of_them, "chat", sending(data))
    assert call(all_of_them, sample.path, sample.asked(stream=True)).body == data


def test_no_journal_is_left(all_of_them: World):
    serve(all_of_them, "chat", sending(whole("chat")))
    asked(all_of_them, "chat")
    newest(all_of_them)
    time.sleep(0.1)
    lines = [
        json.loads(line)
        for path in Path(all_of_them.server.data_dir).rglob("*.journal")
        for line in path.read_bytes().rstrip(b"\0").split(b"\n")
        if line
    ]
    begun = {line[1]["record"]["call_id"] for line in lines if line[0] == "begin"}
    assert begun == {call_id for line in lines if line[0] == "end" for call_id in line[1]}


# -- a provider that does not come to an end ---------------------------------------------------------


class Endless:
    """A provider's answer that is whole, and goes on."""

    def __init__(self, *_: object) -> None:
        self.headers: dict[str, str] = {}
        self._told = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def read(self) -> tuple[bytes, list[Any]]:
        if self._told:
            await asyncio.sleep(60)
            raise StalledError("late")
        self._told = True
        usage = UsageUpdate(Usage(input_tokens=3, output_tokens=4))
        return b"data", [Start(), PartStart(0, Text("hi")), Finish("stop"), usage]

    def close_decoder(self) -> list[Any]:
        raise AssertionError("not called for what broke off")


class Hears:
    """A listener."""

    async def begin(self, _begun: object) -> None:
        pass

    async def piece(self, _data: bytes, _events: object) -> None:
        pass


class Silent:
    """A meter and a journal that say nothing."""

    awaits_first_token = False
    record: Any = None

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Outgoing:
    passes = True
    model = wire = "m"


class Target:
    codec = OPENAI_CHAT
    key = ""


def test_a_provider_that_never_ends_a_whole_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "Stream", Endless)
    monkeypatch.setattr(running, "LAST_WORDS_SECONDS", 0.01)
    monkeypatch.setattr(running, "Open", lambda *_, **__: None)
    silent: Any = Silent()
    target: Any = Target()
    outgoing: Any = Outgoing()
    one: Any = RunningCall(target, outgoing, None, silent, silent)
    asyncio.run(asyncio.wait_for(one.run(None, Hears()), 10))
    assert one.answered
    reply: Reply = one.reply
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.choices[0].finish_reason) == (3, "stop")


# -- memory and time ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_pass_whole_wherever_they_are_cut(end: bytes, size: int):
    events = [b"data: one" + end, b": two" + end, b"event: three\ndata: 3" + end]
    data = b"".join(events)
    passing = WholeEvents()
    borders = {len(b"".join(events[:count])) for count in range(len(events) + 1)}
    came = 0
    for at in range(0, len(data), size):
        came += len(passing.feed(data[at : at + size]))
        # A blank line of CR and LF may be cut behind its CR.
        assert came in borders or data[:came].endswith(b"\r\r") or data[:came].isspace()
        assert not passing.torn
    assert came + len(passing.close()) == len(data)


def test_a_huge_event_in_small_pieces_is_held_only_so_far():
    passing = WholeEvents()
    piece = b"x" * 1024
    held = most = 0
    for _ in range(24 * 1024):
        held += len(piece) - len(passing.feed(piece))
        most = max(most, held)
    assert most <= MAX_HELD_BYTES + len(piece)
    assert passing.torn
    passing.feed(b"\n\n")
    assert not passing.torn


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (USAGE, b""),
        (b": ping\n\n" + USAGE + b"data: [DONE]\n\n", b": ping\n\ndata: [DONE]\n\n"),
        (USAGE.replace(b"[]", b"[ \n]").replace(b"\n]", b" ]"), b""),
        (b'data: {"choices":[{"delta":{"content":"\\"choices\\":[]"}}],"usage":{}}\n\n', None),
        (b'data: {"choices":[{"delta":{"x":1,"choices":[]}}],"usage":{}}\n\n', None),
        (b'data: {"choices":[]}\n\n', None),
        (b'data: {"choices":[],"usage":{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}}\n\n", None),
        (b'data: {"choices":[],"usage":{"\xff":1}}\n\n', None),
        (b'data: {"choices":[],"usage":{\n\n', None),
    ],
    ids=range(9),
)
def test_only_the_usage_is_hidden_and_nothing_that_comes_breaks_it(data: bytes, shown: bytes | None):
    assert without_usage(data) == (data if shown is None else shown)


def test_what_a_provider_says_after_the_end_is_held_only_so_far():
    sent: list[int] = []

    async def send(message: Any) -> None:
        sent.append(len(message["body"]))

    async def main() -> int:
        stream = DialectStream(send, OpenAIChat(), Asked(name="m", stream=True, body=b""), [])
        end = b"data: [DONE]\n\n"
        await stream.piece(b"data: {}\n\n", [Finish("stop")])
        piece = b":" + b"y" * 10_000 + b"\n\n"
        passed, most = 10, 0
        for _ in range(1000):
            await stream.piece(piece, [])
            passed += len(piece)
            most = max(most, passed - sum(sent))
        before = sum(sent)
        await stream.piece(end, [])
        assert sum(sent) == before, "the last piece waits for the row"
        await stream.done()
        assert sum(sent) == passed + len(end)
        return most

    assert asyncio.run(main()) <= MOST_HELD_BYTES
