"""Streamed answers, both ways."""

import json
from typing import Any

import pytest

from rini.canon import (
    Event,
    Failure,
    Finish,
    Meta,
    Opaque,
    PartDelta,
    PartStart,
    PartStop,
    Refusal,
    Reply,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageUpdate,
    collect,
)
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import MalformedError

START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 1, "service_tier": "standard"},
    },
}
STOP = {"type": "message_stop"}
OVERLOADED = {"type": "error", "error": {"details": None, "type": "overloaded_error", "message": "Overloaded"}}


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def more(index: int, type_: str, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": type_, **delta}}


def end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def finish(reason: str | None = "end_turn", **fields: Any) -> dict[str, Any]:
    delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": None}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}, **fields}


def sse(*events: dict[str, Any], padding: int = 7) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b%b\n\n" % (event["type"].encode(), json.dumps(event).encode(), b" " * padding)
        for event in events
    )


def decode(*pieces: bytes) -> list[Event]:
    decoder = ANTHROPIC.stream_decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


def parts(*events: dict[str, Any]) -> tuple[Any, ...]:
    return collect(decode(sse(START, *events, finish(), STOP))).choices[0].parts


def encode(*events: Event) -> bytes:
    encoder = ANTHROPIC.stream_encoder()
    return b"".join(encoder.feed(event) for event in events) + encoder.close()


def events_in(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: ")]


HELLO = (begin(0, type="text", text=""), more(0, "text_delta", text="Hel"), more(0, "text_delta", text="lo"), end(0))


def test_a_stream_is_events():
    assert decode(sse(START, *HELLO, {"type": "ping"}, finish(), STOP)) == [
        Start("msg_1", "claude", extras={"anthropic": {"stop_details": None}}),
        UsageUpdate(Usage(10, 1, 7, extras={"anthropic": {"service_tier": "standard"}})),
        PartStart(0, Text("")),
        PartDelta(0, "Hel"),
        PartDelta(0, "lo"),
        PartStop(0),
        Meta(),
        UsageUpdate(Usage(10, 9, 7, extras={"anthropic": {"service_tier": "standard"}})),
        Finish("stop", "end_turn"),
    ]


def test_the_last_usage_adds_to_the_first():
    usage = {"input_tokens": None, "output_tokens": 9, "cache_creation_input_tokens": 5, "iterations": [{"type": "m"}]}
    reply = collect(decode(sse(START, finish(usage=usage), STOP)))
    assert reply.usage == Usage(
        15, 9, 7, 5, extras={"anthropic": {"service_tier": "standard", "iterations": [{"type": "m"}]}}
    )


def test_thinking_grows_and_is_signed():
    assert parts(
        begin(0, type="thinking", thinking="", signature=""),
        more(0, "thinking_delta", thinking="h", estimated_tokens=None),
        more(0, "thinking_delta", thinking="", estimated_tokens=50),
        more(0, "thinking_delta", thinking="m"),
        more(0, "signature_delta", signature="c2ln"),
        end(0),
        begin(1, type="thinking", thinking="", signature=""),
        more(1, "signature_delta", signature="b25seQ"),
        end(1),
        begin(2, type="redacted_thinking", data="eA=="),
        end(2),
    ) == (Thinking("hm", signature="c2ln"), Thinking("", signature="b25seQ"), Thinking(redacted="eA=="))


@pytest.mark.parametrize(
    ("first", "fragments", "arguments"),
    [
        ({}, ["", '{"a"', ": 1}"], '{"a": 1}'),
        ({}, [""], "{}"),
        ({}, [], "{}"),
        ({"a": 1}, [], '{"a":1}'),
        ({}, ['{"a": "cut'], '{"a": "cut'),
    ],
)
def test_arguments_of_a_tool_call(first: dict[str, Any], fragments: list[str], arguments: str):
    (call,) = parts(
        begin(0, type="tool_use", id="t", name="f", input=first, caller={"type": "direct"}),
        *(more(0, "input_json_delta", partial_json=fragment) for fragment in fragments),
        end(0),
    )
    assert call == ToolCall("t", "f", arguments, extras={"anthropic": {"caller": {"type": "direct"}}})


def test_citations_gather():
    (text,) = parts(
        begin(0, type="text", text="", citations=[]),
        more(0, "citations_delta", citation={"n": 1}),
        more(0, "text_delta", text="x"),
        more(0, "citations_delta", citation={"n": 2}),
        end(0),
    )
    assert text == Text("x", extras={"anthropic": {"citations": [{"n": 1}, {"n": 2}]}})


def test_opaque_blocks_grow():
    assert [part.value for part in parts(
        begin(0, type="server_tool_use", id="s", name="web_search", input={}),
        more(0, "input_json_delta", partial_json='{"query": '),
        more(0, "input_json_delta", partial_json='"q"}'),
        end(0),
        begin(1, type="web_search_tool_result", tool_use_id="s", content=[{"a": 1}]),
        end(1),
        begin(2, type="compaction", content=None),
        more(2, "compaction_delta", content="short", encrypted_content="e"),
        end(2),
        begin(3, type="novelty", words="a", list=[1]),
        more(3, "novelty_delta", words="b", list=[2], flag=True),
        end(3),
        begin(4, type="mcp_tool_use", id="m", name="n", server_name="s", input={}),
        more(4, "input_json_delta", partial_json='{"cut'),
        end(4),
    )] == [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"a": 1}]},
        {"type": "compaction", "content": "short", "encrypted_content": "e"},
        {"type": "novelty", "words": "ab", "list": [1, 2], "flag": True},
        {"type": "mcp_tool_use", "id": "m", "name": "n", "server_name": "s", "input": '{"cut'},
    ]  # fmt: skip


def test_indexes_may_have_gaps_and_interleave():
    stream = sse(
        START,
        begin(3, type="text", text="a"),
        begin(7, type="text", text=""),
        more(3, "text_delta", text="b"),
        more(7, "text_delta", text="c"),
        end(7),
        finish(),
        STOP,
    )
    events = decode(stream)
    assert collect(events).choices[0].parts == (Text("ab"), Text("c"))
    assert [event.index for event in events if isinstance(event, PartStop)] == [1, 0]


def test_fields_of_the_end_belong_to_the_reply():
    start = {"type": "message_start", "message": {**START["message"], "input_transformations": [{"n": 1}]}}
    last = finish(context_management={"applied_edits": []}, input_transformations=[{"n": 2}])
    last["delta"] |= {"container": {"id": "c"}, "stop_details": {"type": "refusal"}}
    events = decode(sse(start, last, STOP))
    expected = {
        "stop_details": {"type": "refusal"},
        "container": {"id": "c"},
        "context_management": {"applied_edits": []},
        "input_transformations": [{"n": 2}],
    }
    assert collect(events).extras == {"anthropic": expected}
    again = encode(*events)
    assert collect(decode(again)) == collect(events)
    (delta,) = (event for event in events_in(again) if event["type"] == "message_delta")
    assert delta["delta"]["container"] == {"id": "c"}
    assert delta["context_management"] == {"applied_edits": []}


def test_unknown_events_and_deltas_do_no_harm():
    events = decode(sse(START, {"type": "news", "x": 1}, *HELLO[:2], more(0, "glow_delta", glow=3), finish(), STOP))
    assert collect(events).choices[0].parts == (Text("Hel", extras={"anthropic": {"glow": 3}}),)
    assert collect(decode(encode(*events))) == collect(events)


@pytest.mark.parametrize("before", [(), (START, *HELLO[:3])], ids=["first thing", "after deltas"])
def test_an_error_ends_the_stream(before: tuple[dict[str, Any], ...]):
    events = decode(sse(*before, OVERLOADED), sse(*HELLO))
    assert isinstance(events[-1], StreamFailure)
    failure = events[-1].failure
    assert (failure.kind, failure.message, failure.type, failure.raw) == (
        "overloaded",
        "Overloaded",
        "overloaded_error",
        OVERLOADED,
    )
    assert len(events) == (1 if not before else 6)
    again = encode(*events)
    assert events_in(again)[-1] == OVERLOADED
    assert decode(again)[-1] == events[-1]


def test_a_bare_error_in_place_of_a_stream_is_a_failure():
    (event,) = decode(json.dumps(OVERLOADED, indent=1).encode())
    assert isinstance(event, StreamFailure)
    assert event.failure.kind == "overloaded"


def test_an_error_event_may_hold_plain_text():
    (event,) = decode(b"event: error\ndata: upstream died\n\n")
    assert event == StreamFailure(Failure("server_error", "upstream died", wire="anthropic"))


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"<html>busy</html>",
        sse(START),
        sse(START, *HELLO),
        sse(START, *HELLO)[:-40],
        sse(START, *HELLO, STOP),
        sse(START, finish(None)),
        sse(START, START),
        sse(*HELLO),
        sse(START, more(0, "text_delta", text="x")),
        sse(START, end(0)),
        sse(START, HELLO[0], more(0, "text_delta", text=5)),
        sse(START, HELLO[0], more(0, "text_delta")),
        sse(START, begin("a", type="text", text="")),  # pyright: ignore[reportArgumentType]
        sse(START, begin(0, type="text")),
        sse({"type": "message_start", "message": []}),
        sse(START, {**finish(), "delta": 5}),
        sse(START, {**finish(), "usage": {"output_tokens": "many"}}),
        b"data: 5\n\n",
        b"data: []\n\n",
        b"data: {}\n\n",
        b'data: {"type":5}\n\n',
        b'data: {"type":"content_block_delta","index":[],"delta":{}}\n\n',
        b"data: {\n\n",
        b"data: \xff\n\n",
        b"data: " + b"[" * 9999 + b"\n\n",
        sse(START, HELLO[0])
        + b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\ud800"}}\n\n',
    ],
    ids=lambda stream: stream[-70:].decode(errors="replace"),
)
def test_what_is_no_finished_answer_is_malformed(stream: bytes):
    with pytest.raises(MalformedError):
        decode(stream)
    with pytest.raises(MalformedError):
        decode(*(stream[i : i + 1] for i in range(min(len(stream), 12000))), stream[12000:])


def test_what_came_before_a_fault_is_delivered():
    decoder = ANTHROPIC.stream_decoder()
    events = decoder.feed(sse(START, *HELLO[:2]) + b"data: {\n\n")
    assert collect(events).text == "Hel"
    with pytest.raises(MalformedError):
        decoder.feed(b"")
    assert decoder.feed(sse(*HELLO)) == []


# Events of others as a stream


def test_the_finish_waits_for_the_usage():
    body = encode(
        Start("chatcmpl-1", "gpt"),
        PartStart(0, Text("")),
        PartDelta(0, "Hi"),
        PartStop(0),
        Finish("stop", "stop"),
        UsageUpdate(Usage(10, 2, cache_read_tokens=4)),
    )
    assert [event["type"] for event in events_in(body)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    last = events_in(body)[-2]
    assert last["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert last["usage"] == {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 2}
    reply = collect(decode(body))
    assert (reply.id, reply.model, reply.text, reply.usage) == ("chatcmpl-1", "gpt", "Hi", Usage(10, 2, 4))


def test_the_first_usage_is_told_at_the_start():
    encoder = ANTHROPIC.stream_encoder()
    assert encoder.feed(Start("m")) == b""
    (start,) = events_in(encoder.feed(UsageUpdate(Usage(5, 1))))
    assert start["message"]["usage"] == {"input_tokens": 5, "output_tokens": 1}


def test_parts_of_others_find_their_place():
    events = (
        Start("r"),
        PartStart(0, Thinking("I ")),
        PartDelta(0, "think", signature="a"),
        PartDelta(0, signature="b"),
        PartStart(1, Opaque("gemini", {"x": 1})),
        PartDelta(1, value={"x": 2}),
        PartStart(2, ToolCall("", "f")),
        PartStart(3, ToolCall("t", "g", '{"a"')),
        PartDelta(2, "{}"),
        PartDelta(3, ":1}"),
        PartStart(4, Refusal("No")),
        PartStart(5, Thinking(redacted="x")),
        PartDelta(5, data="y"),
        PartStart(0, Text("other choice"), choice=1),
        PartDelta(0, "other choice", choice=1),
        Finish("stop", "STOP"),
    )
    reply = collect(decode(encode(*events)))
    assert reply.choices[0].parts == (
        Thinking("I think", signature="ab"),
        ToolCall("toolu_r_2", "f", "{}"),
        ToolCall("t", "g", '{"a":1}'),
        Text("No"),
        Thinking("", redacted="xy"),
    )
    assert reply.choices[0].finish_reason == "tool_calls"
    signatures = [e for e in events_in(encode(*events)) if e.get("delta", {}).get("type") == "signature_delta"]
    assert [event["delta"]["signature"] for event in signatures] == ["ab"]


def test_an_opaque_part_keeps_its_place_before_the_next():
    value = {"type": "server_tool_use", "id": "s", "name": "n", "input": {}}
    events = (Start("r"), PartStart(0, Opaque("anthropic", value)), PartStart(1, Text("x")), PartStop(1), PartStop(0))
    written = events_in(encode(*events, Finish("stop")))
    assert [event.get("index") for event in written if event["type"] == "content_block_start"] == [0, 1]
    assert collect(decode(encode(*events, Finish("stop")))).choices[0].parts == (Opaque("anthropic", value), Text("x"))


def test_the_last_usage_repeats_the_counts_and_nothing_else_that_was_told():
    usage = Usage(5, 1, extras={"anthropic": {"service_tier": "standard", "iterations": []}})
    last = events_in(encode(Start("m"), UsageUpdate(usage), Finish("stop")))[-2]
    assert last["usage"] == {"input_tokens": 5, "output_tokens": 1}


def test_a_sign_of_life_is_a_ping():
    encoder = ANTHROPIC.stream_encoder()
    assert encoder.feed(Meta()) == b'event: ping\ndata: {"type":"ping"}\n\n'
    encoder.feed(Start("m"))
    assert [event["type"] for event in events_in(encoder.feed(Meta()))] == ["message_start", "ping"]
    assert encoder.feed(Meta({"gemini": {"x": 1}})) == b""


def test_an_answer_that_broke_off_ends_with_an_error():
    last = events_in(encode(Start("m"), PartStart(0, Text("Hi"))))[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    failed = encode(Start("m"), StreamFailure(Failure("rate_limited", "Slow down", wire="gemini", raw={"error": {}})))
    assert events_in(failed)[-1]["error"] == {"type": "rate_limit_error", "message": "Slow down"}
    assert isinstance(decode(failed)[-1], StreamFailure)


def test_a_whole_answer_and_its_stream_agree():
    body = json.dumps(
        {
            **START["message"],
            "content": [{"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}],
            "stop_reason": "tool_use",
            "usage": {**START["message"]["usage"], "output_tokens": 9},
        }
    ).encode()
    call = (begin(1, type="tool_use", id="t", name="f", input={}), more(1, "input_json_delta", partial_json=""), end(1))
    reply: Reply = collect(decode(sse(START, *HELLO, *call, finish("tool_use"), STOP)))
    assert reply == ANTHROPIC.decode_reply(body)
