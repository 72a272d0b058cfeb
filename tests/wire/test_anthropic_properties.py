"""What holds for any value: round trips, rules of the API, and that nothing but MalformedError comes out of bad bytes."""

import json
import re
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rini.canon import (
    Choice,
    Finish,
    Message,
    PartDelta,
    PartStart,
    PartStop,
    Refusal,
    Reply,
    Request,
    Start,
    Text,
    ToolCall,
    UsageUpdate,
    collect,
)
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import MalformedError, UnsupportedError
from tests.wire.anthropic_values import (
    foreign_extras,
    foreign_parts,
    foreign_requests,
    own_replies,
    own_requests,
    words,
)

quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@settings(quick, max_examples=60)
@given(own_requests())
def test_a_request_comes_back(request: Request):
    encoded = ANTHROPIC.encode_request(request)
    assert encoded.dropped == ()
    assert ANTHROPIC.decode_request(encoded.body) == request


@quick
@given(own_replies())
def test_a_reply_comes_back(reply: Reply):
    assert ANTHROPIC.decode_reply(ANTHROPIC.encode_reply(reply)) == reply


@quick
@given(own_replies(), st.randoms(use_true_random=False))
def test_a_reply_comes_back_as_a_stream(reply: Reply, random: Any):
    (choice,) = reply.choices
    events = [Start(reply.id, reply.model, extras=reply.extras), UsageUpdate(reply.usage)]  # type: ignore[arg-type]
    for index, part in enumerate(choice.parts):
        if isinstance(part, Text | ToolCall):
            # Whole in the start, or letter by letter.
            value = part.text if isinstance(part, Text) else part.arguments
            cut = random.randint(0, len(value))
            fields = {"text" if isinstance(part, Text) else "arguments": value[:cut]}
            events.append(
                PartStart(index, type(part)(**{**{f: getattr(part, f) for f in part.__struct_fields__}, **fields}))
            )
            events.extend(PartDelta(index, letter) for letter in value[cut:])
        else:
            events.append(PartStart(index, part))
        events.append(PartStop(index))
    events.append(Finish(choice.finish_reason, choice.raw_finish_reason, choice.stop_sequence))  # type: ignore[arg-type]
    encoder = ANTHROPIC.stream_encoder()
    body = b"".join(encoder.feed(event) for event in events) + encoder.close()
    decoder = ANTHROPIC.stream_decoder()
    assert collect([*decoder.feed(body), *decoder.close()]) == reply


@quick
@given(foreign_requests)
def test_a_request_of_others_is_refused_or_accepted_by_the_api(request: Request):
    try:
        encoded = ANTHROPIC.encode_request(request)
    except UnsupportedError:
        return
    body = json.loads(encoded.body)
    obeys(body)
    assert "do not send" not in encoded.body.decode()
    nothing_is_lost(request, body, encoded.dropped)
    assert ANTHROPIC.decode_request(encoded.body).model == request.model


def obeys(body: dict[str, Any]) -> None:
    """Check the rules of the API that a body must keep."""
    assert body["max_tokens"] >= 0
    messages = body["messages"]
    assert messages[0]["role"] == "user"
    calls: list[str] = []
    for position, message in enumerate(messages):
        content = message["content"]
        assert content, "a message holds something"
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        kinds = [block["type"] for block in blocks]
        assert all(block["text"] for block in blocks if block["type"] == "text")
        if message["role"] == "system":
            assert messages[position - 1]["role"] == "user" or kinds == []
            assert position == len(messages) - 1 or messages[position + 1]["role"] == "assistant"
        results = [kind == "tool_result" for kind in kinds]
        assert results == sorted(results, reverse=True), "results come first"
        for block in blocks:
            if block["type"] == "tool_use":
                assert isinstance(block["input"], dict)
                calls.append(block["id"])
            if block["type"] in {"tool_use", "tool_result"}:
                assert re.fullmatch("[a-zA-Z0-9_-]+", block.get("id") or block["tool_use_id"])
    assert len(calls) == len(set(calls)), "ids are unique"
    if messages[-1]["role"] == "assistant" and isinstance(messages[-1]["content"], str):
        assert messages[-1]["content"] == messages[-1]["content"].rstrip()
    assert 0 <= body.get("temperature", 0) <= 1
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] != "disabled":
        assert body.get("temperature", 1) == 1
        assert body.get("top_p", 1) >= 0.95
        assert "top_k" not in body
    if thinking["type"] == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]
    assert all(tool["input_schema"]["type"] == "object" for tool in body.get("tools", []))


def nothing_is_lost(request: Request, body: dict[str, Any], dropped: tuple[str, ...]) -> None:
    """Check that all text, calls and results are in the body."""
    system = body.get("system", [])
    blocks = [{"text": system}] if isinstance(system, str) else list(system)
    for message in body["messages"]:
        content = message["content"]
        blocks += [{"text": content}] if isinstance(content, str) else content
    parts = [part for message in request.messages for part in message.parts]
    spoken = sorted(part.text for part in parts if isinstance(part, Text | Refusal) and part.text)
    written = sorted(block["text"] for block in blocks if "text" in block)
    transcripts = [part.transcript for part in parts if getattr(part, "transcript", None)]
    if not any(name.endswith(".text") for name in dropped):
        assert written == sorted([*spoken, *transcripts])
    for type_, kind in (("tool_use", "ToolCall"), ("tool_result", "ToolResult")):
        found = [block for block in blocks if block.get("type") == type_]
        assert len(found) == sum(type(part).__name__ == kind for part in parts)


@quick
@given(st.lists(foreign_parts, max_size=4), st.none() | words, foreign_extras)
def test_a_reply_of_others_can_be_read(parts: list[Any], id_: str | None, extras: Any):
    # A stream cannot know at the start of a sound whether words come with it.
    parts = [part for part in parts if getattr(part, "transcript", "x")]
    reply = Reply((Choice(tuple(parts), "stop"),), id=id_, extras=extras)
    again = ANTHROPIC.decode_reply(ANTHROPIC.encode_reply(reply))
    events = [Start(id_, extras=extras)]
    for index, part in enumerate(parts):
        events += [PartStart(index, part), PartStop(index)]  # type: ignore[list-item]
    encoder = ANTHROPIC.stream_encoder()
    body = b"".join(map(encoder.feed, [*events, Finish("stop")])) + encoder.close()
    decoder = ANTHROPIC.stream_decoder()
    streamed = collect([*decoder.feed(body), *decoder.close()])
    assert "do not send" not in body.decode()
    assert streamed.text == again.text
    assert [type(part) for part in streamed.choices[0].parts] == [type(part) for part in again.choices[0].parts]


REQUEST = {
    "model": "m",
    "max_tokens": 10,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x", "is_error": True}]},
        {"role": "system", "content": "x"},
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "metadata": {"user_id": "u"},
    "temperature": 1,
    "stop_sequences": ["x"],
}
REPLY = {
    "id": "i",
    "model": "m",
    "content": [
        {"type": "text", "text": "t", "citations": []},
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "t"},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation": {},
        "output_tokens_details": {"thinking_tokens": 1},
    },
}
STREAM = [
    {"type": "message_start", "message": {"id": "i", "model": "m", "content": [], "usage": {"input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {}}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "server_tool_use", "input": {}}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
ODD = st.sampled_from([None, True, 0, -1, 1.5, 2**80, "", "x", "\ud800", [], {}, [None], {"type": "text"}, {"type": 5}])


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """Put something odd in one place of a JSON value, or take the place away."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
        copy = dict(value) if isinstance(value, dict) else list(value)
        if draw(st.integers(0, 5)):
            copy[key] = draw(mutated(copy[key]))
        else:
            del copy[key]
        return copy
    return draw(ODD)


def written(value: Any) -> bytes:
    return json.dumps(value).encode()


broken = st.binary(max_size=60)


@settings(quick, max_examples=300)
@given(mutated(REQUEST).map(written) | broken)
def test_any_bytes_are_a_request_or_malformed(body: bytes):
    try:
        request = ANTHROPIC.decode_request(body)
    except MalformedError:
        return
    with suppress(UnsupportedError):
        ANTHROPIC.encode_request(request)


@settings(quick, max_examples=300)
@given(mutated(REPLY).map(written) | broken)
def test_any_bytes_are_a_reply_or_malformed(body: bytes):
    assert ANTHROPIC.decode_failure(500, {}, body).message
    try:
        reply = ANTHROPIC.decode_reply(body)
    except MalformedError:
        return
    ANTHROPIC.encode_reply(reply)


@settings(quick, max_examples=300)
@given(
    mutated(STREAM).filter(lambda events: isinstance(events, list)), st.integers(0, 5000), st.integers(0, 5000), broken
)
def test_any_bytes_are_a_stream_or_malformed(events: list[Any], cut: int, at: int, noise: bytes):
    body = b"".join(b"data: %b\n\n" % written(event) for event in events)
    if cut % 3 == 0:
        body = body[:cut] + noise + body[cut:]
    decoder, encoder = ANTHROPIC.stream_decoder(), ANTHROPIC.stream_encoder()
    found = []
    try:
        found += decoder.feed(body[:at])
        found += decoder.feed(body[at:])
        found += decoder.close()
    except MalformedError:
        pass
    collect(found)
    for event in found:
        encoder.feed(event)
    encoder.close()


@quick
@given(st.lists(st.builds(Message, st.just("user"), st.just((Text("x"),))), min_size=1, max_size=3))
def test_messages_of_one_role_stay_apart(messages: list[Message]):
    encoded = ANTHROPIC.encode_request(Request(model="m", messages=tuple(messages)))
    assert json.loads(encoded.body)["messages"] == [{"role": "user", "content": "x"}] * len(messages)
