"""What holds for every value: what OpenAI chat can express survives, the rest is refused, and no bytes break the codec."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from rini.canon import (
    Audio,
    Choice,
    Document,
    Image,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Reply,
    Request,
    ResponseFormat,
    StreamFailure,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    collect,
    plain_text,
)
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.openai_chat import OPENAI_CHAT, OPENAI_COMPATIBLE_CHAT
from tests.wire.strategies import (
    CHOICES,
    any_parts,
    any_replies,
    any_requests,
    anything,
    events_of,
    forms,
    fractions,
    fuzz,
    ids,
    json_values,
    maybe,
    mutated,
    names,
    numbers,
    schemas,
    sounds,
    words,
)

NAME = "openai_chat"
quick = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# -- what the format can express -------------------------------------------------------------------

unknown = st.none() | st.dictionaries(st.sampled_from(["x_one", "x_two"]), json_values(), min_size=1).map(
    lambda fields: {NAME: fields}
)
mime = st.sampled_from(["image/png", "application/pdf"])
base64 = st.sampled_from(["", "AAAA", "JVBERi0="])
plain = st.builds(Text, words)
texts = st.builds(Text, words, extras=unknown)
located = st.builds(Media, url=st.just("https://a.example/x")) | st.builds(Media, data=base64, mime_type=mime)
documents = st.builds(Document, st.builds(Media, data=base64, mime_type=mime), words, extras=unknown) | st.builds(
    Document, st.builds(Media, file_id=st.just("file-1")), extras=unknown
)
user_parts = st.one_of(
    texts,
    st.builds(Image, located, st.sampled_from([None, "low"]), extras=unknown),
    st.builds(Audio, sounds, extras=unknown),
    documents,
    st.builds(Opaque, st.just(NAME), st.just({"type": "unheard", "unheard": 1})),
)
calls = st.builds(ToolCall, ids, names, words, extras=unknown)


def in_order(*groups: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*groups).map(lambda found: tuple(part for group in found for part in group))


def some(part: st.SearchStrategy[Any], most: int = 1, least: int = 0) -> st.SearchStrategy[list[Any]]:
    return st.lists(part, min_size=least, max_size=most)


assistant = st.builds(
    Message,
    st.just("assistant"),
    in_order(
        some(st.builds(Thinking, words)),
        some(texts, 2, 1),
        some(st.builds(Refusal, words)),
        some(st.builds(Audio, st.just(Media()), words)),
        some(calls, 2),
    ),
    st.none() | names,
    st.just(NAME),
    unknown,
)
messages = st.one_of(
    assistant,
    st.builds(
        Message,
        st.sampled_from(["system", "developer"]),
        st.lists(texts, min_size=1, max_size=2).map(tuple),
        extras=unknown,
    ),
    st.builds(
        Message,
        st.just("user"),
        st.lists(user_parts, min_size=1, max_size=3).map(tuple),
        st.none() | names,
        extras=unknown,
    ),
    st.builds(
        ToolResult, ids, st.lists(texts, min_size=1, max_size=2).map(tuple), st.none() | names, extras=unknown
    ).map(lambda result: Message("tool", (result,))),
)
tools = st.builds(Tool, names, st.none() | words, schemas, st.none() | st.booleans(), extras=unknown)


@st.composite
def requests(draw: Any) -> Request:
    offered = draw(st.lists(tools, max_size=2).map(tuple))
    streams = draw(st.booleans())
    extras = dict((draw(unknown) or {NAME: {}})[NAME])
    if streams:
        extras["stream_options"] = {"include_usage": draw(st.booleans())}
    response_format = draw(forms)
    if response_format == ResponseFormat("json"):
        extras["~own_json"] = True  # no message has the word, as in no other request of this format
    return Request(
        model=draw(words),
        messages=tuple(draw(st.lists(messages, max_size=3))),
        tools=offered,
        tool_choice=draw(st.none() | st.sampled_from(CHOICES)) if offered else None,
        parallel_tool_calls=draw(st.none() | st.booleans()) if offered else None,
        max_tokens=draw(maybe),
        temperature=draw(fractions),
        top_p=draw(fractions),
        stop=draw(st.none() | st.lists(words, min_size=1, max_size=4).map(tuple)),
        seed=draw(maybe),
        presence_penalty=draw(fractions),
        n=draw(maybe),
        logprobs=draw(st.none() | st.booleans()),
        top_logprobs=draw(maybe),
        response_format=response_format,
        reasoning=draw(st.none() | st.sampled_from([Reasoning(effort="low"), Reasoning(enabled=False, effort="none")])),
        user=draw(st.none() | words),
        stream=streams,
        extras={NAME: extras} if extras else None,
    )


usages = st.builds(
    Usage,
    numbers,
    numbers,
    cache_read_tokens=maybe,
    cache_write_tokens=maybe,
    reasoning_tokens=maybe,
    input_audio_tokens=maybe,
    output_audio_tokens=maybe,
    extras=unknown,
)
endings = st.sampled_from(
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("tool_calls", "function_call"),
        ("safety", "content_filter"),
    ]
)


@st.composite
def choices(draw: Any) -> Choice:
    reason, raw = draw(endings)
    parts = in_order(
        some(st.builds(Thinking, words)),
        some(plain),
        some(st.builds(Refusal, words)),
        some(st.builds(Audio, st.builds(Media, data=st.just("AAAA")), words, words)),
        some(calls, 2),
    )
    found = draw(parts)
    # A stream tells calls apart by their ids where servers repeat an index.
    unique = {part.id: part for part in found if isinstance(part, ToolCall)}
    kept = tuple(part for part in found if not isinstance(part, ToolCall) or unique[part.id] is part)
    logprobs = st.lists(st.just({"token": "a", "logprob": -0.5, "top_logprobs": []}), min_size=1, max_size=2)
    extras = draw(st.none() | st.builds(lambda tokens: {NAME: {"logprobs.content": tokens}}, logprobs) | unknown)
    return Choice(kept, reason, raw, extras=extras)


replies = st.builds(
    Reply,
    st.lists(choices(), min_size=1, max_size=2).map(tuple),
    st.none() | usages,
    words,
    words,
    st.integers(1, 2**40),
    unknown,
)


def through_a_stream(events: list[Any]) -> Reply:
    encoder = OPENAI_CHAT.stream_encoder()
    data = b"".join(encoder.feed(event) for event in events) + encoder.close()
    for line in data.split(b"\n\n"):
        if line.startswith(b"data: {"):
            ChatCompletionChunk.model_validate_json(line[6:])
    decoder = OPENAI_CHAT.stream_decoder()
    return collect([*decoder.feed(data), *decoder.close()])


@quick
@given(requests())
def test_requests_survive(request_):
    encoded = OPENAI_CHAT.encode_request(request_)
    assert encoded.dropped == ()
    assert OPENAI_CHAT.decode_request(encoded.body) == request_


@quick
@given(replies)
def test_whole_answers_survive(reply):
    assert OPENAI_CHAT.decode_reply(OPENAI_CHAT.encode_reply(reply)) == reply


@quick
@given(replies, st.integers(0, 3))
def test_streams_survive(reply, split):
    assert through_a_stream(events_of(reply, split)) == reply


# -- what came from anywhere -----------------------------------------------------------------------

parts = any_parts(NAME, "anthropic", "gemini")
any_tools = st.builds(Tool, names) | st.builds(
    Tool, names, wire=st.sampled_from([NAME, "gemini"]), opaque=st.just({"type": "search"})
)


@quick
@given(any_requests(parts, any_tools, st.none() | st.just(4)), st.sampled_from([OPENAI_CHAT, OPENAI_COMPATIBLE_CHAT]))
def test_any_request_is_mapped_or_refused(request_, codec):
    try:
        encoded = codec.encode_request(request_)
    except UnsupportedError:
        return
    # Nothing that a reader would see is lost in silence.
    sent = json.loads(encoded.body)
    shown = plain_text(
        part for message in request_.messages for part in message.parts if isinstance(part, Text | Refusal)
    )
    told = json.dumps(sent["messages"], ensure_ascii=False)
    assert all(json.dumps(letter, ensure_ascii=False)[1:-1] in told for letter in shown)
    for index, message in enumerate(request_.messages):
        for at, part in enumerate(message.parts):
            if isinstance(part, Thinking) and message.origin != NAME:
                assert f"messages[{index}].parts[{at}]" in encoded.dropped
    for message in sent["messages"]:
        assert message["role"] != "tool" or message["tool_call_id"]
        assert all(call["id"] for call in message.get("tool_calls", ()))
        assert message["content"] is not None or message.keys() & {"tool_calls", "refusal", "audio"}
    if not any(isinstance(part, Opaque) for message in request_.messages for part in message.parts):
        codec.decode_request(encoded.body)


reply_parts = parts.filter(
    lambda part: not isinstance(part, Image) or part.media.data != "AAAA" or part.media.mime_type
)
reply_parts = reply_parts.filter(lambda part: not isinstance(part, Image) or not part.media.file_id)
reply_parts = reply_parts.filter(lambda part: not isinstance(part, Image) or part.media != Media())
reply_parts = reply_parts.filter(lambda part: not isinstance(part, Opaque) or part.wire != NAME)


@quick
@given(any_replies(reply_parts, usages), st.integers(0, 3))
def test_any_answer_becomes_one_that_the_sdk_reads(reply, split):
    body = OPENAI_CHAT.encode_reply(reply)
    completion = ChatCompletion.model_validate_json(body)
    whole = OPENAI_CHAT.decode_reply(body)
    streamed = through_a_stream(events_of(reply, split))
    for choice, read, one, other in zip(
        reply.choices, completion.choices, whole.choices, streamed.choices, strict=True
    ):
        text = plain_text(part for part in choice.parts if isinstance(part, Text))
        assert (read.message.content or "") == text
        for again in (one, other):
            assert plain_text(part for part in again.parts if isinstance(part, Text)) == text
            assert [(part.name, part.arguments) for part in again.parts if isinstance(part, ToolCall)] == [
                (part.name, part.arguments) for part in choice.parts if isinstance(part, ToolCall)
            ]
            assert "".join(part.text for part in again.parts if isinstance(part, Thinking)) == "".join(
                part.text for part in choice.parts if isinstance(part, Thinking)
            )


# -- what is not the format ------------------------------------------------------------------------

REQUEST: Any = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_data": "AAAA", "filename": "a"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            "audio": {"id": "a"},
            "reasoning_content": "r",
            "reasoning_details": [{}],
            "function_call": {"name": "f", "arguments": "{}"},
            "refusal": "r",
        },
        {"role": "tool", "tool_call_id": "1", "content": "r"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}, {"type": "custom"}],
    "functions": [{"name": "f"}],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "f"}}]}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
    "reasoning": {"max_tokens": 1, "exclude": True},
    "reasoning_effort": "low",
    "stream": True,
    "stream_options": {"include_usage": True},
    "stop": ["a"],
    "max_tokens": 5,
    "temperature": 1,
    "extra": {"x": [1]},
}
USAGE: Any = {
    "prompt_tokens": 1,
    "completion_tokens": 2,
    "total_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
MESSAGE: Any = {
    "role": "assistant",
    "content": "a",
    "reasoning": "r",
    "refusal": "n",
    "audio": {"id": "a", "data": "AAAA", "transcript": "t", "expires_at": 1},
    "tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    "function_call": {"name": "f", "arguments": "{}"},
    "images": [{"type": "image_url", "image_url": {"url": "u"}}],
    "annotations": [{}],
}
ANSWER: Any = {
    "id": "1",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop", "logprobs": {"content": [{}]}}],
    "usage": USAGE,
    "service_tier": "default",
}
CHUNK: Any = {
    "id": "1",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": MESSAGE, "finish_reason": None, "logprobs": {"content": [{}]}}],
    "usage": USAGE,
}
LAST: Any = {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
ERROR: Any = {"error": {"message": "m", "type": "t", "code": "c", "param": "p"}}


@fuzz
@given(mutated(REQUEST) | anything)
def test_no_request_breaks_the_codec(body):
    for codec in (OPENAI_CHAT, OPENAI_COMPATIBLE_CHAT):
        try:
            request_ = codec.decode_request(body)
        except MalformedError:
            return
        with suppress(UnsupportedError):
            codec.encode_request(request_)
        msgspec.json.encode(request_)


@fuzz
@given(mutated(ANSWER) | mutated(ERROR) | anything)
def test_no_answer_breaks_the_codec(body):
    failure = OPENAI_CHAT.decode_failure(400, {"retry-after": body.decode("latin-1")}, body)
    assert isinstance(failure.message, str)
    OPENAI_CHAT.encode_failure(failure)
    try:
        reply = OPENAI_CHAT.decode_reply(body)
    except MalformedError:
        return
    again = OPENAI_CHAT.decode_reply(OPENAI_CHAT.encode_reply(reply))
    # A call without an id gets one, so that a client can answer it.
    assert (
        "" in {part.id for choice in reply.choices for part in choice.parts if isinstance(part, ToolCall)}
        or again == reply
    )


@fuzz
@given(
    st.lists(mutated(CHUNK), max_size=3),
    mutated(LAST) | mutated(ERROR) | anything,
    st.sampled_from([b"data: ", b"data:", b"event: error\ndata: ", b""]),
)
def test_no_stream_breaks_the_codec(chunks, last, field):
    decoder = OPENAI_CHAT.stream_decoder()
    encoder = OPENAI_CHAT.stream_encoder()
    events: list[Any] = []
    try:
        for chunk in chunks:
            events += decoder.feed(b"data: " + chunk + b"\n\n")
        events += decoder.feed(field + last + b"\n\n")
        events += decoder.close()
    except MalformedError:
        pass
    broken = [index for index, event in enumerate(events) if isinstance(event, StreamFailure)]
    assert broken in ([], [len(events) - 1])
    collect(events)
    try:
        b"".join(encoder.feed(event) for event in events)
        encoder.close()
    except UnsupportedError:
        pytest.fail("what a stream holds can always be told again")


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_what_is_nested_deeply_is_refused_or_survives(depth):
    nest = b"[" * depth + b"]" * depth
    try:
        request_ = OPENAI_CHAT.decode_request(b'{"model":"m","messages":[],"x":%b}' % nest)
    except MalformedError:
        return
    with suppress(UnsupportedError):
        assert OPENAI_CHAT.decode_request(OPENAI_CHAT.encode_request(request_).body) == request_
