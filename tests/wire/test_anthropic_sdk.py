"""What the codec writes, read by the official SDK; and what that sends, read by the codec. No socket is opened."""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest

from rini.canon import (
    Choice,
    Failure,
    Finish,
    Image,
    Media,
    Meta,
    PartDelta,
    PartStart,
    PartStop,
    Reply,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageUpdate,
)
from rini.wire.anthropic import ANTHROPIC

ASK: dict[str, Any] = {"model": "claude", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}


def client(answer: Callable[[httpx2.Request], httpx2.Response]) -> anthropic.Anthropic:
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="none", base_url="http://test", http_client=http, max_retries=0)


def answering(body: bytes, status: int = 200, kind: str = "application/json") -> anthropic.Anthropic:
    return client(lambda _: httpx2.Response(status, content=body, headers={"content-type": kind}))


def test_a_whole_answer():
    parts = (
        Thinking("hm", signature="s"),
        Text("Hi", extras={"anthropic": {"citations": None}}),
        ToolCall("t", "f", '{"a":1}'),
        Image(Media(data="aGk=", mime_type="image/png")),
    )
    reply = Reply((Choice(parts, "tool_calls"),), Usage(10, 5, 4, 3, reasoning_tokens=2), "m", "claude")
    message = answering(ANTHROPIC.encode_reply(reply)).messages.create(**ASK)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "image"]
    assert message.content[2].input == {"a": 1}  # pyright: ignore[reportAttributeAccessIssue]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (3, 4, 5)


def test_a_streamed_answer():
    events = [
        Start("m", "gpt"),
        PartStart(0, Thinking("h")),
        PartDelta(0, "m", signature="a"),
        PartDelta(0, signature="b"),
        Meta(),
        PartStart(1, Text("H")),
        PartDelta(1, "i"),
        PartStart(2, ToolCall("", "f")),
        PartStart(3, ToolCall("t", "g")),
        PartDelta(3, '{"a":'),
        PartDelta(2, '{"b":2}'),
        PartDelta(3, "1}"),
        PartStop(3),
        Finish("tool_calls", "tool_calls"),
        UsageUpdate(Usage(10, 5, 4)),
    ]
    encoder = ANTHROPIC.stream_encoder()
    body = b"".join(encoder.feed(event) for event in events) + encoder.close()
    with answering(body, kind="text/event-stream").messages.stream(**ASK) as stream:
        assert "".join(stream.text_stream) == "Hi"
        message = stream.get_final_message()
    thinking, text, first, second = message.content
    assert (thinking.thinking, thinking.signature) == ("hm", "ab")  # pyright: ignore[reportAttributeAccessIssue]
    assert text.text == "Hi"  # pyright: ignore[reportAttributeAccessIssue]
    assert (first.id, first.input) == ("toolu_m_2", {"b": 2})  # pyright: ignore[reportAttributeAccessIssue]
    assert (second.id, second.input) == ("t", {"a": 1})  # pyright: ignore[reportAttributeAccessIssue]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (6, 5)


def test_a_stream_that_breaks_off():
    encoder = ANTHROPIC.stream_encoder()
    events = [Start("m"), PartStart(0, Text("Hi")), StreamFailure(Failure("overloaded", "Busy"))]
    body = b"".join(encoder.feed(event) for event in events) + encoder.close()
    with (
        answering(body, kind="text/event-stream").messages.stream(**ASK) as stream,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        stream.until_done()
    assert caught.value.type == "overloaded_error"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("authentication", anthropic.AuthenticationError),
        ("permission", anthropic.PermissionDeniedError),
        ("rate_limited", anthropic.RateLimitError),
        ("not_found", anthropic.NotFoundError),
        ("context_too_long", anthropic.BadRequestError),
        ("overloaded", anthropic.InternalServerError),
        ("malformed", anthropic.InternalServerError),
    ],
)
def test_an_error(kind: Any, error: type[anthropic.APIStatusError]):
    status, body = ANTHROPIC.encode_failure(Failure(kind, "Sorry", wire="gemini"))
    with pytest.raises(error) as caught:
        answering(body, status).messages.create(**ASK)
    assert "Sorry" in (caught.value.api_message or "")


def test_what_the_sdk_sends():
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, content=ANTHROPIC.encode_reply(Reply((Choice((Text("Hi"),), "stop"),))))

    client(answer).messages.create(
        **ASK,
        system="Be brief.",
        tools=[{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
        tool_choice={"type": "auto"},
        thinking={"type": "adaptive"},
    )
    (sent,) = seen
    assert sent.url.path == ANTHROPIC.path("claude", stream=False)
    request = ANTHROPIC.decode_request(sent.content)
    encoded = ANTHROPIC.encode_request(request)
    assert (json.loads(encoded.body), encoded.dropped) == (json.loads(sent.content), ())
