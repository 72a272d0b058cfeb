"""What holds for any value: round trips of all that the Gemini format can express, and no surprises from bytes that it cannot."""

import json
import string
from contextlib import suppress
from typing import Any

import msgspec
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from rini.canon import (
    Audio,
    Choice,
    Document,
    Image,
    Media,
    Message,
    Opaque,
    PartStart,
    PartStop,
    Reasoning,
    Refusal,
    Reply,
    Request,
    ResponseFormat,
    Start,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    UsageUpdate,
    Video,
    collect,
)
from rini.canon import Finish as FinishEvent
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.gemini import GEMINI
from rini.wire.gemini.tool import strict

settings.register_profile("gemini", max_examples=60, deadline=None)
profile = settings.get_profile("gemini")

texts = st.text(max_size=12)
names = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(names, values, max_size=3)
signatures = st.none() | st.just("c2ln")
base64 = st.sampled_from(["", "AA==", "+/+/"])
counts = st.integers(0, 2**31)
extras = st.none() | st.just({"gemini": {"videoMetadata": {"fps": 2}}})


def media(mime: str) -> st.SearchStrategy[Media]:
    return st.builds(Media, data=base64, mime_type=st.just(mime)) | st.builds(
        Media, url=st.just("gs://a/b"), mime_type=st.just(mime)
    )


@st.composite
def calls(draw: st.DrawFn) -> ToolCall:
    arguments = json.dumps(draw(objects), ensure_ascii=False, separators=(",", ":"))
    # Number and escape spelling are the encoder's: take its own.
    body = GEMINI.encode_request(Request(model="m", messages=(Message("assistant", (ToolCall("", "f", arguments),)),)))
    part = GEMINI.decode_request(body.body, model="m").messages[0].parts[0]
    assert isinstance(part, ToolCall)
    return ToolCall(draw(st.sampled_from(["", "id1"])), draw(names), part.arguments, signature=draw(signatures))


results = st.builds(
    ToolResult,
    call_id=st.sampled_from(["", "id1"]),
    content=st.tuples(st.builds(Text, texts)),
    name=names,
    is_error=st.booleans(),
)
opaques = st.builds(lambda code: Opaque("gemini", {"executableCode": {"code": code, "language": "PYTHON"}}), texts)
shown = (
    st.builds(Text, texts, signature=signatures)
    | st.builds(Image, media("image/png"), signature=signatures, extras=extras)
    | st.builds(Audio, media("audio/wav"), extras=extras)
    | st.builds(Video, media("video/mp4"), extras=extras)
    | st.builds(Document, media("application/pdf"), extras=extras)
    | results
    | opaques
)
written = shown | st.builds(Thinking, texts, signature=signatures) | calls()

systems = st.builds(Message, st.just("system"), st.lists(st.builds(Text, texts), min_size=1, max_size=2).map(tuple))
users = st.builds(Message, st.just("user"), st.lists(shown, min_size=1, max_size=3).map(tuple))
assistants = st.builds(
    Message, st.just("assistant"), st.lists(written, min_size=1, max_size=3).map(tuple), origin=st.just("gemini")
)
schemas = st.builds(
    lambda kinds: {"type": "object", "properties": {name: {"type": kind} for name, kind in kinds.items()}},
    st.dictionaries(names, st.sampled_from(["string", "integer", "boolean"]), max_size=2),
)
tools = st.builds(Tool, names, description=st.none() | texts, parameters=st.none() | schemas) | st.just(
    Tool("googleSearch", wire="gemini", opaque={"googleSearch": {}})
)
choices_of_tools = st.sampled_from(
    [
        ToolChoice("auto"),
        ToolChoice("auto", ("f",)),
        ToolChoice("required"),
        ToolChoice("required", ("f", "g")),
        ToolChoice("none"),
        ToolChoice("tool", ("f",)),
    ]
)
formats = (
    st.just(ResponseFormat("text"))
    | st.just(ResponseFormat("json"))
    | st.builds(ResponseFormat, st.just("json_schema"), schema=schemas)
)
reasonings = st.sampled_from(
    [
        Reasoning(),
        Reasoning(enabled=False),
        Reasoning(budget_tokens=5, include=True),
        Reasoning(effort="low", extras={"gemini": {"thinkingLevel": "LOW"}}),
    ]
)
requests = st.builds(
    Request,
    model=names,
    messages=st.tuples(
        st.lists(systems, max_size=1), st.lists(users | assistants, min_size=1, max_size=4)
    ).map(lambda both: (*both[0], *both[1])),
    tools=st.lists(tools, max_size=3).map(tuple),
    tool_choice=st.none() | choices_of_tools,
    max_tokens=st.none() | counts,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | counts,
    stop=st.none() | st.lists(texts, max_size=5).map(tuple),
    seed=st.none() | st.integers(-(2**31), 2**31 - 1),
    presence_penalty=st.none() | st.floats(-2, 2),
    frequency_penalty=st.none() | st.floats(-2, 2),
    n=st.none() | st.integers(1, 8),
    logprobs=st.none() | st.booleans(),
    top_logprobs=st.none() | st.integers(0, 20),
    response_format=st.none() | formats,
    reasoning=st.none() | reasonings,
    stream=st.booleans(),
    extras=st.none() | st.just({"gemini": {"cachedContent": "c", "generationConfig": {"mediaResolution": "X"}}}),
)  # fmt: skip


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    thoughts = draw(st.none() | counts)
    return Usage(
        input_tokens=draw(counts),
        output_tokens=draw(counts) + (thoughts or 0),
        cache_read_tokens=draw(st.none() | counts),
        reasoning_tokens=thoughts,
    )


endings = st.sampled_from(
    [("stop", "STOP"), ("length", "MAX_TOKENS"), ("safety", "SPII"), ("other", "NEW"), ("length", "2")]
)


@st.composite
def choices(draw: st.DrawFn, *, streamed: bool = False) -> Choice:
    parts = draw(st.lists(written, max_size=4))
    if streamed:
        # Neighbouring texts of one kind are one part in a stream, and an empty one is none.
        parts = [
            part for index, part in enumerate(parts)
            if not isinstance(part, Text | Thinking)
            or part.signature
            or (part.text and (not index or type(parts[index - 1]) is not type(part)))
        ]  # fmt: skip
        parts = [
            part for index, part in enumerate(parts)
            if not index or part.__class__ is not parts[index - 1].__class__
            or not isinstance(part, Text | Thinking) or part.signature
        ]  # fmt: skip
    reason, raw = draw(endings)
    waiting: list[tuple[str, str | None]] = []
    for part in parts:
        if isinstance(part, ToolCall):
            waiting.append((part.id, part.name))
        elif isinstance(part, ToolResult) and (part.call_id, part.name) in waiting:
            waiting.remove((part.call_id, part.name))
    kept = draw(st.none() | st.just({"gemini": {"groundingMetadata": {}, "safetyRatings": [{"a": 1}]}}))
    return Choice(tuple(parts), "tool_calls" if waiting and reason == "stop" else reason, raw, extras=kept)


def replies(*, streamed: bool = False) -> st.SearchStrategy[Reply]:
    return st.builds(
        Reply,
        choices=st.lists(choices(streamed=streamed), min_size=1, max_size=2).map(tuple),
        usage=st.none() | usages(),
        id=st.none() | texts,
        model=st.none() | texts,
        extras=st.none() | st.just({"gemini": {"createTime": "t", "list": [1]}}),
    )


@given(requests)
@settings(profile)
def test_requests_survive(request: Request):
    if request.tool_choice == ToolChoice("auto", ("f",)):
        # Names go with VALIDATED only, which holds all calls to their schemas.
        request = msgspec.structs.replace(request, tools=strict(request.tools))
    encoded = GEMINI.encode_request(request)
    assert encoded.dropped == ()
    assert GEMINI.decode_request(encoded.body, model=request.model, stream=request.stream) == request


@given(replies())
@settings(profile)
def test_replies_survive(reply: Reply):
    assert GEMINI.decode_reply(GEMINI.encode_reply(reply)) == reply


@given(replies(streamed=True), st.booleans(), st.integers(1, 40))
@settings(profile)
def test_streams_survive(reply: Reply, json_array: bool, size: int):
    encoder = GEMINI.stream_encoder(json_array=json_array)
    sent = [encoder.feed(Start(id=reply.id, model=reply.model, extras=reply.extras))]
    if reply.usage is not None:
        sent.append(encoder.feed(UsageUpdate(reply.usage)))
    for place, choice in enumerate(reply.choices):
        for index, part in enumerate(choice.parts):
            sent += [encoder.feed(PartStart(index, part, place)), encoder.feed(PartStop(index, place))]
        assert choice.finish_reason is not None
        end = FinishEvent(choice.finish_reason, choice.raw_finish_reason, choice=place, extras=choice.extras)
        sent.append(encoder.feed(end))
    data = b"".join([*sent, encoder.close()])
    decoder = GEMINI.stream_decoder()
    events = [event for at in range(0, len(data), size) for event in decoder.feed(data[at : at + size])]
    assert collect([*events, *decoder.close()]) == reply


# Any request of any format: it is asked in a way that Gemini takes, or refused by name.

strange = (
    written
    | st.builds(Refusal, texts)
    | st.builds(Image, st.builds(Media, url=st.just("https://x/a.png"), file_id=st.none()), detail=st.just("low"))
    | st.builds(Document, st.just(Media()), name=names, text=texts)
    | st.builds(ToolResult, st.just("id1"), st.lists(st.builds(Text, texts) | st.builds(Image, media("image/png")), max_size=2).map(tuple))
    | st.builds(ToolCall, texts, names, st.sampled_from(["", "{}", "[1]", '{"a":']))
    | st.builds(Thinking, texts, redacted=st.just("x"), extras=st.just({"anthropic": {"x": 1}}))
    | st.sampled_from([Opaque("anthropic", {"type": "x"}), Opaque("gemini", 5)])
)  # fmt: skip
messages = st.builds(
    Message,
    st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    st.lists(strange, max_size=3).map(tuple),
    name=st.none() | names,
    origin=st.sampled_from([None, "gemini", "anthropic"]),
)


@given(st.lists(messages, max_size=5).map(tuple), st.sampled_from(["gemini-2.5-flash", "gemini-3-pro"]))
@settings(profile, max_examples=100)
def test_any_conversation_is_asked_or_refused(conversation: tuple[Message, ...], model: str):
    request = Request(model=model, messages=conversation)
    try:
        body = json.loads(GEMINI.encode_request(request).body)
    except UnsupportedError:
        return
    for content in body["contents"]:
        assert content["role"] in ("user", "model")
        assert content["parts"]
        with suppress(TypeError):
            types.Content.model_validate(content)
        assert all("name" in part["functionResponse"] for part in content["parts"] if "functionResponse" in part)
    assert GEMINI.decode_request(json.dumps(body).encode(), model=model)


# Bytes that are almost right.

REQUEST: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}, "id": "1"}, "thoughtSignature": "c2ln"}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 1}, "parts": [{"text": "x"}]}}]},
    ],
    "systemInstruction": {"parts": [{"text": "b"}]},
    "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"a": {"type": 1}}}}]}, {"googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "temperature": 1, "maxOutputTokens": 5, "stopSequences": ["x"], "responseMimeType": "application/json",
        "responseSchema": {"type": "STRING", "nullable": True}, "thinkingConfig": {"thinkingBudget": 5, "includeThoughts": True},
    },
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [
                {"text": "a", "thought": True}, {"text": "b", "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "g", "willContinue": True}},
                {"functionCall": {"partialArgs": [{"jsonPath": "$.a[0].b", "stringValue": "x"}]}},
                {"functionResponse": {"name": "f", "response": {"error": "x"}}}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
            ]},
            "finishReason": "STOP", "index": 0, "safetyRatings": [{"category": "X"}], "citationMetadata": {"citationSources": [{"uri": "u"}]},
        }
    ],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}]},
    "modelVersion": "m", "responseId": "r", "promptFeedback": {"blockReason": "SAFETY"},
}  # fmt: skip
FAILURE: dict[str, Any] = {
    "error": {
        "code": 429, "message": "slow down, limit: 0", "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "x", "reason": "y", "retryDelay": "4s", "metadata": {"quota_limit_value": "0"}, "violations": [{"quotaValue": "0"}]}],
    }
}  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> bytes:
    """``value`` as JSON with some places changed, then perhaps some bytes."""
    copy = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        into = copy
        while True:
            keys = list(into) if isinstance(into, dict) else list(range(len(into)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(into[key], dict | list) and into[key] and draw(st.integers(0, 4)):
                into = into[key]
                continue
            if draw(st.booleans()):
                into[key] = draw(values)
            else:
                del into[key]
            break
    data = json.dumps(copy, ensure_ascii=draw(st.booleans())).encode()
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data)))
        noise = draw(st.binary(max_size=3) | st.sampled_from([b"\\ud800", b"[" * 5000, b"\xef\xbb\xbf"]))
        data = data[:at] + noise + data[at + draw(st.integers(0, 3)) :]
    return data


@given(mutated(REQUEST) | st.binary(max_size=20))
@settings(profile, max_examples=100)
def test_odd_requests(data: bytes):
    try:
        request = GEMINI.decode_request(data, model="gemini-3-pro")
    except MalformedError:
        return
    try:
        again = GEMINI.encode_request(request).body
    except UnsupportedError:
        return
    assert GEMINI.decode_request(again, model="gemini-3-pro") == request


@given(mutated(ANSWER) | st.binary(max_size=20))
@settings(profile, max_examples=100)
def test_odd_answers(data: bytes):
    try:
        reply = GEMINI.decode_reply(data)
    except MalformedError:
        return
    assert GEMINI.decode_reply(GEMINI.encode_reply(reply)) == reply


@given(st.lists(mutated(ANSWER), min_size=1, max_size=2), st.booleans(), st.binary(max_size=8))
@settings(profile, max_examples=100)
def test_odd_streams(chunks: list[bytes], as_array: bool, tail: bytes):
    data = b"[" + b",".join(chunks) + b"]" if as_array else b"".join(b"data: " + one + b"\r\n\r\n" for one in chunks)
    decoder = GEMINI.stream_decoder()
    try:
        events = [*decoder.feed(data + tail), *decoder.close()]
    except MalformedError:
        return
    encoder = GEMINI.stream_encoder()
    again = b"".join(map(encoder.feed, events)) + encoder.close()
    decoder = GEMINI.stream_decoder()
    assert collect([*decoder.feed(again), *decoder.close()]) == collect(events)


@given(mutated(FAILURE) | st.binary(max_size=20), st.integers(400, 599), st.dictionaries(st.just("retry-after"), texts))
@settings(profile, max_examples=100)
def test_odd_failures(data: bytes, status: int, headers: dict[str, str]):
    failure = GEMINI.decode_failure(status, headers, data)
    number, again = GEMINI.encode_failure(failure)
    assert GEMINI.decode_failure(number, headers, again).kind
