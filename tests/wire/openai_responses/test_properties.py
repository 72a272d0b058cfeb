"""What holds for every value: what the format can express survives, the rest is refused, and no bytes break the codec."""

import json
import sys
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from rini.canon import (
    Audio,
    Choice,
    Document,
    Finish,
    Image,
    Media,
    Message,
    Opaque,
    PartDelta,
    PartStart,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Start,
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
from rini.wire.openai_responses import OPENAI_RESPONSES
from tests.wire.openai_responses.spec import event_faults, events_in, faults
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

NAME = "openai_responses"
quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# -- what the format can express -------------------------------------------------------------------

fields = st.dictionaries(st.sampled_from(["x_one", "x_two"]), json_values(1), max_size=2)


def own(found: dict[str, Any]) -> Any:
    return {NAME: found} if found else None


unknown = fields.map(own)
statuses = st.sampled_from(["completed", "incomplete"])


@st.composite
def written(draw: Any) -> tuple[Any, ...]:
    """The parts of what a model wrote, in the items that it wrote them in."""
    parts: list[Any] = []
    for number in range(draw(st.integers(1, 4))):
        match draw(st.sampled_from(["message", "reasoning", "call", "custom", "opaque"])):
            case "message":
                first = {"item.id": f"msg_{number}", **draw(st.just({}) | st.just({"item.phase": "commentary"}))}
                found = draw(
                    st.lists(st.tuples(st.sampled_from([Text, Refusal]), words, fields), min_size=1, max_size=2)
                )
                for at, (kind, text, more) in enumerate(found):
                    last = {"item.status": draw(statuses)} if at == len(found) - 1 else {}
                    parts.append(kind(text, extras=own({**more, **(first if at == 0 else {}), **last})))
            case "reasoning":
                texts = draw(st.lists(words, max_size=2)) or [""]
                for at, text in enumerate(texts):
                    extras = own({"item.id": f"rs_{number}"} if at == 0 else {})
                    proof = draw(st.none() | words) if at == len(texts) - 1 else None
                    parts.append(Thinking(text, proof, extras=extras))
            case "call":
                more = {"id": f"fc_{number}", "status": draw(statuses), **draw(fields)}
                parts.append(ToolCall(f"call_{number}", draw(names), draw(words), extras=own(more)))
            case "custom":
                more = {"id": f"ctc_{number}", "type": "custom_tool_call", **draw(fields)}
                parts.append(ToolCall(f"call_{number}", draw(names), draw(words), extras=own(more)))
            case _:
                value = {"type": "web_search_call", "id": f"ws_{number}", "status": "completed", **draw(fields)}
                parts.append(Opaque(NAME, value))
    return tuple(parts)


base64 = st.sampled_from(["", "AAAA"])
texts = st.builds(Text, words, extras=unknown)
user_parts = st.one_of(
    texts,
    st.builds(
        Image, st.builds(Media, url=st.just("https://a.example/x")), st.sampled_from([None, "low"]), extras=unknown
    ),
    st.builds(Image, st.builds(Media, data=base64, mime_type=st.just("image/png")), extras=unknown),
    st.builds(Document, st.builds(Media, data=base64, mime_type=st.just("application/pdf")), words, extras=unknown),
    st.builds(Document, st.builds(Media, file_id=st.just("file-1")), extras=unknown),
    st.builds(Audio, sounds, extras=unknown),
    st.builds(Opaque, st.just(NAME), st.just({"type": "unheard", "unheard": 1})),
)
results = st.builds(
    ToolResult,
    ids,
    st.lists(texts | user_parts.filter(lambda part: isinstance(part, Image)), min_size=1, max_size=2).map(tuple),
    extras=unknown | st.just({NAME: {"type": "custom_tool_call_output"}}),
)
messages = st.one_of(
    st.builds(
        Message,
        st.sampled_from(["system", "developer"]),
        st.lists(texts, min_size=1, max_size=2).map(tuple),
        extras=unknown,
    ),
    st.builds(Message, st.just("user"), st.lists(user_parts, min_size=1, max_size=3).map(tuple), extras=unknown),
    results.map(lambda result: Message("tool", (result,))),
)


@st.composite
def conversations(draw: Any) -> tuple[Message, ...]:
    found: list[Message] = []
    for _ in range(draw(st.integers(0, 2))):
        found.append(draw(messages))
        if draw(st.booleans()):
            found.append(Message("assistant", draw(written()), origin=NAME))
    return tuple(found)


tools = st.builds(Tool, names, st.none() | words, schemas, st.booleans(), extras=unknown) | st.just(
    Tool("web_search", wire=NAME, opaque={"type": "web_search"})
)


@st.composite
def requests(draw: Any) -> Request:
    logprobs = draw(st.none() | st.just(True))
    conversation = draw(conversations())
    extras = {**draw(fields), "~input": "items"}
    if logprobs:
        extras["~include"] = ["reasoning.encrypted_content", "message.output_text.logprobs"]
    return Request(
        model=draw(words),
        messages=conversation,
        tools=tuple(draw(st.lists(tools, max_size=2))),
        tool_choice=draw(st.none() | st.sampled_from(CHOICES)),
        parallel_tool_calls=draw(st.none() | st.booleans()),
        max_tokens=draw(maybe),
        temperature=draw(fractions),
        top_p=draw(fractions),
        logprobs=logprobs,
        top_logprobs=draw(maybe) if logprobs else None,
        response_format=draw(forms),
        reasoning=draw(
            st.none()
            | st.sampled_from(
                [
                    Reasoning(effort="low"),
                    Reasoning(enabled=False, effort="none"),
                    Reasoning(include=True, extras={NAME: {"summary": "concise"}}),
                ]
            )
        ),
        user=draw(st.none() | words),
        stream=draw(st.booleans()),
        extras={NAME: extras},
    )


usages = st.builds(
    Usage,
    numbers,
    numbers,
    cache_read_tokens=numbers,
    cache_write_tokens=numbers,
    reasoning_tokens=numbers,
    extras=unknown,
)
# What a response object always has.
FIXED: dict[str, Any] = {
    "background": False,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "truncation": "disabled",
}


@st.composite
def replies(draw: Any) -> Reply:
    parts = draw(written())
    calls = any(isinstance(part, ToolCall) for part in parts)
    reason, raw = draw(
        st.sampled_from(
            [
                ("tool_calls" if calls else "stop", "completed"),
                ("length", "max_output_tokens"),
                ("safety", "content_filter"),
                ("other", "cancelled"),
            ]
        )
    )
    return Reply(
        (Choice(parts, reason, raw),),
        draw(st.none() | usages),
        f"resp_{draw(numbers)}",
        draw(words),
        draw(st.integers(1, 2**40)),
        {NAME: {**FIXED, **draw(fields)}},
    )


def streamed(events: list[Any]) -> bytes:
    encoder = OPENAI_RESPONSES.stream_encoder()
    return b"".join(encoder.feed(event) for event in events) + encoder.close()


def heard(data: bytes) -> Reply:
    decoder = OPENAI_RESPONSES.stream_decoder()
    return collect([*decoder.feed(data), *decoder.close()])


@quick
@given(requests())
def test_requests_survive(request_):
    encoded = OPENAI_RESPONSES.encode_request(request_)
    assert encoded.dropped == ()
    assert OPENAI_RESPONSES.decode_request(encoded.body) == request_


@quick
@given(replies())
def test_whole_answers_survive(reply):
    assert OPENAI_RESPONSES.decode_reply(OPENAI_RESPONSES.encode_reply(reply)) == reply


@quick
@given(replies(), st.integers(0, 3))
def test_streams_survive(reply, split):
    assert heard(streamed(events_of(reply, split))) == reply


# -- what came from anywhere -----------------------------------------------------------------------

parts = any_parts("anthropic", "gemini")


@quick
@given(any_requests(parts, st.builds(Tool, names), st.none()))
def test_any_request_is_mapped_or_refused(request_):
    try:
        encoded = OPENAI_RESPONSES.encode_request(request_)
    except UnsupportedError:
        return
    sent = json.loads(encoded.body)
    # Nothing that a reader would see is lost in silence.
    shown = plain_text(
        part for message in request_.messages for part in message.parts if isinstance(part, Text | Refusal)
    )
    said = json.dumps([sent["input"], sent.get("instructions")], ensure_ascii=False)
    assert all(json.dumps(letter, ensure_ascii=False)[1:-1] in said for letter in shown)
    for index, message in enumerate(request_.messages):
        for at, part in enumerate(message.parts):
            if isinstance(part, Thinking) and message.origin != NAME:
                assert f"messages[{index}].parts[{at}]" in encoded.dropped
    for item in sent["input"]:
        if "call_id" in item:
            assert 0 < len(item["call_id"]) <= 64
            assert item["call_id"].isascii()
    OPENAI_RESPONSES.decode_request(encoded.body)


@settings(quick, max_examples=50)
@given(any_replies(parts, usages), st.integers(0, 3))
def test_any_answer_becomes_one_that_the_sdk_reads(reply, split):
    body = OPENAI_RESPONSES.encode_reply(reply)
    assert faults("Response", json.loads(body)) == []
    response = Response.model_validate_json(body)
    # There is one choice here.
    data = streamed(events_of(msgspec.structs.replace(reply, choices=reply.choices[:1]), split))
    told = events_in(data)
    assert [fault for event in told for fault in event_faults(event)] == []
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    for kind in ("output_item", "content_part", "reasoning_summary_part"):
        added = [event for event in told if event["type"] == f"response.{kind}.added"]
        done = [event for event in told if event["type"] == f"response.{kind}.done"]
        places = [
            sorted((event["output_index"], event.get("content_index"), event.get("summary_index")) for event in found)
            for found in (added, done)
        ]
        assert places[0] == places[1]
        assert len(set(places[0])) == len(places[0])
    parts = reply.choices[0].parts
    text = plain_text(part for part in parts if isinstance(part, Text | Audio))
    assert response.output_text == text
    for again in (OPENAI_RESPONSES.decode_reply(body), heard(data)):
        found = again.choices[0].parts
        assert plain_text(part for part in found if isinstance(part, Text)) == text
        assert [(part.name, part.arguments) for part in found if isinstance(part, ToolCall)] == [
            (part.name, part.arguments) for part in parts if isinstance(part, ToolCall)
        ]
        assert "".join(part.text for part in found if isinstance(part, Thinking)) == "".join(
            part.text for part in parts if isinstance(part, Thinking)
        )


# -- what is not the format ------------------------------------------------------------------------

ITEMS: list[Any] = [
    {
        "type": "reasoning",
        "id": "rs",
        "summary": [{"type": "summary_text", "text": "a"}],
        "content": [{"type": "reasoning_text", "text": "b"}],
        "encrypted_content": "c",
    },
    {
        "type": "message",
        "id": "msg",
        "status": "completed",
        "role": "assistant",
        "content": [
            {"type": "output_text", "text": "a", "annotations": [{"type": "x"}], "logprobs": [{"token": "a"}]},
            {"type": "refusal", "refusal": "b"},
            {"type": "hologram", "~item": {}},
        ],
    },
    {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
    {"type": "custom_tool_call", "id": "ctc", "call_id": "d", "name": "g", "input": "x"},
    {"type": "web_search_call", "id": "ws", "status": "completed", "~item": 1},
]
REQUEST: Any = {
    "model": "m",
    "instructions": "s",
    "input": [
        {"role": "system", "content": "s"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "input_file", "file_data": "AAAA", "filename": "a", "file_url": "u"},
            ],
        },
        *ITEMS,
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "r"}]},
        {"type": "item_reference", "id": "x"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}, {"type": "custom", "name": "g"}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {}}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["message.output_text.logprobs"],
    "stream": True,
    "stream_options": {"include_obfuscation": True},
    "max_output_tokens": 5,
    "temperature": 1,
    "extra": {"x": [1]},
}
USAGE: Any = {
    "input_tokens": 1,
    "output_tokens": 2,
    "total_tokens": 3,
    "input_tokens_details": {"cached_tokens": 1},
    "output_tokens_details": {"reasoning_tokens": 1},
}
ANSWER: Any = {
    "id": "resp_1",
    "created_at": 1,
    "model": "m",
    "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"},
    "output": ITEMS,
    "usage": USAGE,
    "error": None,
    "tools": [{}],
}
ERROR: Any = {"error": {"message": "m", "type": "t", "code": "c", "param": "p"}}


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "output_index": 0, **fields}


EVENTS: list[Any] = [
    event("response.created", response={**ANSWER, "output": []}),
    *(
        event("response.output_item.added", output_index=at, item={**item, "content": []})
        for at, item in enumerate(ITEMS)
    ),
    *(event("response.output_item.done", output_index=at, item=item) for at, item in enumerate(ITEMS)),
    event("response.content_part.added", output_index=1, content_index=0, part=ITEMS[1]["content"][0]),
    event("response.content_part.done", output_index=1, content_index=2, part=ITEMS[1]["content"][2]),
    event("response.output_text.delta", output_index=1, content_index=0, delta="a"),
    event("response.output_text.annotation.added", output_index=1, content_index=0, annotation={}),
    event("response.refusal.delta", output_index=1, content_index=1, delta="a"),
    event("response.reasoning_summary_part.added", summary_index=0),
    event("response.reasoning_summary_text.delta", summary_index=0, delta="a"),
    event("response.reasoning_text.delta", content_index=0, delta="a"),
    event("response.function_call_arguments.delta", output_index=2, delta="a"),
    event("response.custom_tool_call_input.done", output_index=3, input="a"),
    event("response.web_search_call.searching", output_index=4),
    event("response.completed", response=ANSWER),
    event("response.failed", response={**ANSWER, "error": {"code": "c", "message": "m"}}),
    event("error", error=ERROR["error"]),
    event("keepalive"),
]


@fuzz
@given(mutated(REQUEST) | anything)
def test_no_request_breaks_the_codec(body):
    try:
        request_ = OPENAI_RESPONSES.decode_request(body)
    except MalformedError:
        return
    with suppress(UnsupportedError):
        OPENAI_RESPONSES.encode_request(request_)
    OPENAI_RESPONSES.encode_reply(Reply(), request=request_)
    msgspec.json.encode(request_)


@fuzz
@given(mutated(ANSWER) | mutated(ERROR) | anything)
def test_no_answer_breaks_the_codec(body):
    failure = OPENAI_RESPONSES.decode_failure(400, {"retry-after": body.decode("latin-1")}, body)
    OPENAI_RESPONSES.encode_failure(failure)
    try:
        reply = OPENAI_RESPONSES.decode_reply(body)
    except MalformedError:
        return
    again = OPENAI_RESPONSES.decode_reply(OPENAI_RESPONSES.encode_reply(reply))
    assert again.text == reply.text


@fuzz
@given(
    st.lists(st.sampled_from(EVENTS).flatmap(mutated), max_size=5),
    st.sampled_from(EVENTS).flatmap(mutated) | mutated(ERROR) | anything,
    st.sampled_from([b"data: ", b"data:", b"event: error\ndata: ", b"event: response.output_text.delta\ndata: ", b""]),
)
def test_no_stream_breaks_the_codec(chunks, last, field):
    decoder = OPENAI_RESPONSES.stream_decoder()
    events: list[Any] = []
    try:
        for chunk in chunks:
            events += decoder.feed(b"data: " + chunk + b"\n\n")
        events += decoder.feed(field + last + b"\n\n")
        events += decoder.close()
    except MalformedError:
        pass
    broken = [index for index, each in enumerate(events) if isinstance(each, StreamFailure)]
    assert broken in ([], [len(events) - 1])
    started = [each.index for each in events if isinstance(each, PartStart)]
    assert started == list(range(len(started)))
    collect(events)
    try:
        events_in(streamed(events))
    except UnsupportedError:
        pytest.fail("what a stream holds can always be told again")


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_what_is_nested_deeply_is_refused_or_survives(depth):
    nest = b"[" * depth + b"]" * depth
    try:
        request_ = OPENAI_RESPONSES.decode_request(b'{"model":"m","input":[],"x":%b}' % nest)
    except MalformedError:
        return
    with suppress(UnsupportedError):
        assert OPENAI_RESPONSES.decode_request(OPENAI_RESPONSES.encode_request(request_).body) == request_
    decoder = OPENAI_RESPONSES.stream_decoder()
    with suppress(MalformedError):
        for kind in ("added", "done"):
            decoder.feed(
                b'data: {"type":"response.output_item.%b","output_index":0,"item":{"type":"x","a":%b}}\n\n'
                % (kind.encode(), nest)
            )


def work(steps: int) -> int:
    """Count the lines of this package that a stream of ``steps`` deltas and annotations runs, both ways."""
    parts: list[Any] = [Start("resp_1")]
    parts += [
        PartStart(0, Text("", extras={NAME: {"item.id": "msg_1"}})),
        PartStart(1, Opaque(NAME, {"type": "x", "id": "x"})),
    ]
    for step in range(steps):
        parts.append(PartDelta(0, "word "))
        if step % 10 == 0:
            parts.append(PartDelta(0, extras={NAME: {"annotations": [{"type": "x"}]}}))
    parts.append(Finish("stop", "completed"))
    counted = 0

    def trace(frame: Any, what: str, _: Any) -> Any:
        nonlocal counted
        counted += what == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        heard(streamed(parts))
    finally:
        sys.settrace(before)
    return counted


def test_a_long_stream_costs_linear_time():
    short, long = work(200), work(2000)
    assert long < short * 15
