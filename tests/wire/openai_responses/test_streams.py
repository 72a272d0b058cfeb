"""Streams by example: every kind of event, servers that leave some out, and how a stream ends."""

import json
from contextlib import suppress
from typing import Any

import pytest

from rini.canon import (
    Event,
    Finish,
    Meta,
    Opaque,
    PartDelta,
    PartStart,
    PartStop,
    Refusal,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageUpdate,
    collect,
)
from rini.wire.codec import MalformedError
from rini.wire.openai_responses import OPENAI_RESPONSES
from tests.wire.openai_responses.spec import event_faults, events_in

NAME = "openai_responses"
CREATED = {
    "type": "response.created",
    "response": {"id": "resp_1", "model": "m", "created_at": 5, "status": "in_progress"},
}
COMPLETED = {
    "type": "response.completed",
    "response": {"id": "resp_1", "model": "m", "created_at": 5, "status": "completed"},
}


def sse(*events: dict[str, Any], named: bool = True) -> bytes:
    return b"".join(
        (b"event: %b\n" % event["type"].encode() if named else b"") + b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in events
    )


def decoded(*events: dict[str, Any], named: bool = True) -> list[Event]:
    decoder = OPENAI_RESPONSES.stream_decoder()
    return [*decoder.feed(sse(*events, named=named)), *decoder.close()]


def parts(events: list[Event]) -> list[Any]:
    return list(collect(events).choices[0].parts)


def again(events: list[Event]) -> list[Event]:
    """What the events are after the way to the wire and back; what is written there must be as the specification has it."""
    encoder = OPENAI_RESPONSES.stream_encoder()
    data = b"".join(encoder.feed(event) for event in events) + encoder.close()
    assert [fault for event in events_in(data) for fault in event_faults(event)] == []
    decoder = OPENAI_RESPONSES.stream_decoder()
    return [*decoder.feed(data), *decoder.close()]


def item(kind: str, at: int, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.output_item.{kind}", "output_index": at, "item": fields}


def at(kind: str, index: int = 0, content: int | None = 0, **fields: Any) -> dict[str, Any]:
    place = {} if content is None else {"content_index": content}
    return {"type": f"response.{kind}", "item_id": "x", "output_index": index, **place, **fields}


MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant"}
EMPTY = {"type": "output_text", "text": "", "annotations": []}
CITED = [{"type": "url_citation", "url": "https://a.example", "title": "t", "start_index": 0, "end_index": 1}]
TOKEN = {"token": "Hi", "logprob": -1, "bytes": [72, 105], "top_logprobs": []}
WHOLE_TEXT = {"type": "output_text", "text": "Hi", "annotations": CITED, "logprobs": [TOKEN]}
TEXT: list[dict[str, Any]] = [
    item("added", 0, **MESSAGE, status="in_progress", content=[]),
    at("content_part.added", part=EMPTY),
    at("output_text.delta", delta="H", logprobs=[{"token": "Hi", "logprob": -1}], obfuscation="xxxx"),
    at("output_text.delta", delta="i"),
    at("output_text.annotation.added", annotation_index=0, annotation=CITED[0]),
    at("output_text.done", text="Hi", logprobs=[TOKEN]),
    at("content_part.done", part=WHOLE_TEXT),
    item("done", 0, **MESSAGE, status="completed", phase="final_answer", content=[WHOLE_TEXT]),
]


@pytest.mark.parametrize("named", [True, False])
def test_a_text(named):
    events = decoded(CREATED, *TEXT, COMPLETED, named=named)
    own = {"item.id": "msg_1", "item.phase": "final_answer", "item.status": "completed"}
    assert parts(events) == [Text("Hi", extras={NAME: {**own, "annotations": CITED, "logprobs": [TOKEN]}})]
    assert events[0] == Start("resp_1", "m", 5)
    assert [type(event) for event in events[1:4]] == [PartStart, PartDelta, PartDelta]
    assert events[2] == PartDelta(0, "H", extras={NAME: {"logprobs": [TOKEN]}})
    assert events[-2:] == [PartStop(0), Finish("stop", "completed")]
    assert parts(again(events)) == parts(events)


def test_a_text_without_deltas_or_without_the_events_around_them():
    whole = [Text("Hi", extras={NAME: {"item.id": "msg_1", "item.status": "completed"}})]
    done = item("done", 0, **MESSAGE, status="completed", content=[{**EMPTY, "text": "Hi"}])
    assert parts(decoded(CREATED, done, COMPLETED)) == whole
    assert parts(decoded(CREATED, TEXT[0], at("output_text.done", text="Hi"), done, COMPLETED)) == whole
    deltas = [at("output_text.delta", delta="H"), at("output_text.delta", delta="i")]
    assert parts(decoded(CREATED, TEXT[0], *deltas, done, COMPLETED)) == whole
    last = {**COMPLETED, "response": {**COMPLETED["response"], "output": [done["item"]]}}
    assert parts(decoded(CREATED, last)) == whole
    assert parts(decoded(last)) == whole
    assert parts(decoded(CREATED, TEXT[0], *deltas, last)) == whole
    assert parts(decoded(*deltas, COMPLETED)) == [Text("Hi")]


def test_probabilities_come_with_their_text():
    exact = [{**TOKEN, "logprob": -0.06243133544921875}, {**TOKEN, "token": "!", "logprob": -0.5}]
    rounded = {**WHOLE_TEXT, "annotations": [], "text": "Hi!", "logprobs": [{**TOKEN, "logprob": -0.0624}, exact[1]]}
    events = decoded(
        CREATED,
        *TEXT[:2],
        at("output_text.delta", delta="Hi", logprobs=exact[:1]),
        at("output_text.delta", delta="!", logprobs=exact[1:]),
        at("output_text.delta", delta="", logprobs={"a": 1}),
        at("content_part.done", part=rounded),
        item("done", 0, **MESSAGE, status="completed", content=[rounded]),
        COMPLETED,
    )
    deltas = [event for event in events if isinstance(event, PartDelta) and event.text]
    assert deltas == [
        PartDelta(0, "Hi", extras={NAME: {"logprobs": exact[:1]}}),
        PartDelta(0, "!", extras={NAME: {"logprobs": exact[1:]}}),
    ]
    (text,) = parts(events)
    assert text.extras[NAME]["logprobs"] == exact
    assert [event for event in again(events) if event in deltas] == deltas


def test_a_message_of_several_parts():
    refusal = {"type": "refusal", "refusal": "No"}
    unknown = {"type": "hologram", "data": 1}
    events = decoded(
        CREATED,
        TEXT[0],
        at("content_part.added", part=EMPTY),
        at("output_text.delta", delta="Hi"),
        at("content_part.added", content=1, part={"type": "refusal", "refusal": ""}),
        at("refusal.delta", content=1, delta="N"),
        at("refusal.delta", content=1, delta="o"),
        at("refusal.done", content=1, refusal="No"),
        at("content_part.done", content=1, part=refusal),
        at("content_part.added", content=2, part=unknown),
        at("content_part.done", content=2, part={**unknown, "data": 2}),
        item(
            "done", 0, **MESSAGE, status="completed", content=[{**EMPTY, "text": "Hi"}, refusal, {**unknown, "data": 2}]
        ),
        COMPLETED,
    )
    text, no, hologram = parts(events)
    assert text == Text("Hi", extras={NAME: {"item.id": "msg_1"}})
    assert no == Refusal("No")
    assert hologram == Opaque(NAME, {"type": "hologram", "data": 2, "~item": {"item.status": "completed"}})
    # The specification knows no such part, but what is written is what came.
    encoder = OPENAI_RESPONSES.stream_encoder()
    data = b"".join(encoder.feed(event) for event in events) + encoder.close()
    assert events_in(data)[-1]["response"]["output"][0]["content"][2] == {"type": "hologram", "data": 2}
    assert parts([*OPENAI_RESPONSES.stream_decoder().feed(data)]) == parts(events)


def summary(kind: str, index: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": f"response.reasoning_summary_{kind}",
        "item_id": "rs",
        "output_index": 0,
        "summary_index": index,
        **fields,
    }


def test_thoughts():
    done = {
        "type": "reasoning",
        "id": "rs",
        "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
        "encrypted_content": "secret",
    }
    events = decoded(
        CREATED,
        item("added", 0, type="reasoning", id="rs", summary=[], encrypted_content="sec"),
        summary("part.added", 0, part={"type": "summary_text", "text": ""}),
        summary("text.delta", 0, delta="on"),
        summary("text.delta", 0, delta="e"),
        summary("text.done", 0, text="one"),
        summary("part.done", 0, part={"type": "summary_text", "text": "one"}),
        summary("part.added", 1, part={"type": "summary_text", "text": ""}),
        summary("text.delta", 1, delta="two"),
        item("done", 0, **done),
        COMPLETED,
    )
    assert parts(events) == [Thinking("one", extras={NAME: {"item.id": "rs"}}), Thinking("two", signature="secret")]
    starts = [event.index for event in events if isinstance(event, PartStart)]
    stops = [event.index for event in events if isinstance(event, PartStop)]
    assert starts == stops == [0, 1]
    assert parts(again(events)) == parts(events)


def test_raw_thoughts_and_none_at_all():
    raw = {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    events = decoded(
        CREATED,
        item("added", 0, type="reasoning", id="rs", summary=[]),
        at("content_part.added", part={"type": "reasoning_text", "text": ""}),
        at("reasoning_text.delta", delta="h"),
        at("reasoning_text.delta", delta="m"),
        at("reasoning_text.done", text="hm"),
        at("content_part.done", part={"type": "reasoning_text", "text": "hm"}),
        item("done", 0, **raw),
        item("added", 1, type="reasoning", id="rs_2", summary=[]),
        item("done", 1, type="reasoning", id="rs_2", summary=[], encrypted_content="secret"),
        COMPLETED,
    )
    assert parts(events) == [
        Thinking("hm", extras={NAME: {"item.id": "rs", "~raw": True}}),
        Thinking(signature="secret", extras={NAME: {"item.id": "rs_2"}}),
    ]
    assert parts(again(events)) == parts(events)


def test_parallel_calls():
    first = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f"}
    second = {"type": "custom_tool_call", "id": "ctc_2", "call_id": "c2", "name": "g"}
    events = decoded(
        CREATED,
        item("added", 0, **first, arguments="", status="in_progress"),
        item("added", 1, **second, input=""),
        at("function_call_arguments.delta", 0, None, delta='{"a"'),
        at("custom_tool_call_input.delta", 1, None, delta="fre"),
        at("function_call_arguments.delta", 0, None, delta=":1}"),
        at("custom_tool_call_input.delta", 1, None, delta="e"),
        at("function_call_arguments.done", 0, None, arguments='{"a":1}', name="f"),
        item("done", 0, **first, arguments='{"a":1}', status="completed"),
        at("custom_tool_call_input.done", 1, None, input="free"),
        item("done", 1, **second, input="free"),
        COMPLETED,
    )
    assert parts(events) == [
        ToolCall("c1", "f", '{"a":1}', extras={NAME: {"id": "fc_1", "status": "completed"}}),
        ToolCall("c2", "g", "free", extras={NAME: {"id": "ctc_2", "type": "custom_tool_call"}}),
    ]
    assert events[-1] == Finish("tool_calls", "completed")
    assert parts(again(events)) == parts(events)


def test_what_openais_own_tools_do():
    search = {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "q"}}
    events = decoded(
        CREATED,
        item("added", 0, **search, status="in_progress"),
        at("web_search_call.in_progress", 0, None),
        at("web_search_call.searching", 0, None),
        at("web_search_call.completed", 0, None),
        item("done", 0, **search, status="completed"),
        item(
            "added",
            1,
            type="code_interpreter_call",
            id="ci_1",
            status="in_progress",
            code="",
            container_id="c",
            outputs=None,
        ),
        at("code_interpreter_call_code.delta", 1, None, delta="1"),
        at("code_interpreter_call.interpreting", 1, None),
        item(
            "done",
            1,
            type="code_interpreter_call",
            id="ci_1",
            status="completed",
            code="1",
            container_id="c",
            outputs=None,
        ),
        COMPLETED,
    )
    assert [event.value["status"] for event in events if isinstance(event, PartDelta)] == [
        "searching",
        "completed",
        "interpreting",
        "completed",
    ]
    one, two = parts(events)
    assert one == Opaque(NAME, {**search, "status": "completed"})
    assert two.value["code"] == "1"
    assert parts(again(events)) == [one, two]
    encoder = OPENAI_RESPONSES.stream_encoder()
    told = [event["type"] for event in events_in(b"".join(encoder.feed(event) for event in events))]
    assert [name.removeprefix("response.") for name in told if "_call." in name] == [
        "web_search_call.in_progress",
        "web_search_call.searching",
        "web_search_call.completed",
        "code_interpreter_call.in_progress",
        "code_interpreter_call.interpreting",
        "code_interpreter_call.completed",
    ]


def test_what_is_known_only_at_the_end():
    late = {
        **COMPLETED["response"],
        "service_tier": "flex",
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
    }
    events = decoded(CREATED, {"type": "response.in_progress", "response": {}}, *TEXT, {**COMPLETED, "response": late})
    reply = collect(events)
    assert reply.usage == Usage(3, 2)
    assert reply.extras == {NAME: {"service_tier": "flex"}}
    assert isinstance(events[-3], UsageUpdate)
    assert isinstance(events[-2], Meta)


@pytest.mark.parametrize(
    ("status", "details", "reason", "raw"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, "length", "max_output_tokens"),
        ("incomplete", {"reason": "content_filter"}, "safety", "content_filter"),
        ("incomplete", None, "other", "incomplete"),
        ("cancelled", None, "other", "cancelled"),
    ],
)
def test_how_an_answer_may_end(status, details, reason, raw):
    last = {"type": f"response.{status}", "response": {"id": "resp_1", "status": status, "incomplete_details": details}}
    events = decoded(CREATED, *TEXT[:4], last)
    assert events[-1] == Finish(reason, raw)
    assert events[-2] == PartStop(0)
    encoder = OPENAI_RESPONSES.stream_encoder()
    data = b"".join(encoder.feed(event) for event in events) + encoder.close()
    decoder = OPENAI_RESPONSES.stream_decoder()
    assert [*decoder.feed(data), *decoder.close()][-1] == events[-1]
    whole = OPENAI_RESPONSES.decode_reply(json.dumps({**last["response"], "output": []}).encode())
    assert (whole.choices[0].finish_reason, whole.choices[0].raw_finish_reason) == (reason, raw)
    assert OPENAI_RESPONSES.decode_reply(OPENAI_RESPONSES.encode_reply(whole)).choices == whole.choices


ERROR = {
    "type": "server_error",
    "code": "rate_limit_exceeded",
    "message": "Wait. Please try again in 2s.",
    "param": None,
}
FAILED = {
    "type": "response.failed",
    "response": {
        "id": "resp_1",
        "status": "failed",
        "error": {"code": "rate_limit_exceeded", "message": ERROR["message"]},
        "usage": {"input_tokens": 3, "output_tokens": 0, "total_tokens": 3},
    },
}


@pytest.mark.parametrize(
    "ending",
    [
        [{"type": "error", "error": ERROR}, FAILED],
        [{**ERROR, "type": "error"}, FAILED],
        [{"type": "error", "error": ERROR}],
        [FAILED],
    ],
)
def test_a_stream_that_fails(ending):
    events = decoded(CREATED, *TEXT[:4], *ending)
    failed = events[-1]
    assert isinstance(failed, StreamFailure)
    assert (failed.failure.kind, failed.failure.message) == ("rate_limited", ERROR["message"])
    assert failed.failure.retry_after == 2.0
    assert parts(events)[0].text == "Hi"
    if FAILED in ending:
        assert events[-2] == UsageUpdate(Usage(3, 0))
    assert again(events)[-1].failure.message == ERROR["message"]


def test_an_error_instead_of_a_stream():
    decoder = OPENAI_RESPONSES.stream_decoder()
    assert decoder.feed(b'{"error":{"message":"No.","code":"invalid_api_key"}}') == []
    (failed,) = decoder.close()
    assert isinstance(failed, StreamFailure)
    assert failed.failure.kind == "authentication"
    assert isinstance(decoded({"type": "", "error": {"message": "No."}}, named=False)[-1], StreamFailure)


def test_signs_of_life_and_unheard_of_events():
    events = decoded(
        CREATED,
        {"type": "keepalive", "sequence_number": 2},
        {"type": "response.unheard_of", "output_index": 7},
        *TEXT,
        COMPLETED,
    )
    assert events[1] == Meta()
    assert OPENAI_RESPONSES.stream_encoder().feed(Meta()).startswith(b":")
    assert parts(events)[0].text == "Hi"


def test_the_end_of_a_stream_that_was_not_finished():
    decoder = OPENAI_RESPONSES.stream_decoder()
    assert collect(decoder.feed(sse(CREATED, *TEXT))).choices[0].parts
    with pytest.raises(MalformedError, match="before the answer was finished"):
        decoder.close()


@pytest.mark.parametrize(
    "broken",
    [
        b"event: response.output_text.delta\ndata: {\n\n",
        sse(at("output_text.delta", delta=5)),
        sse(at("output_text.delta", delta="a", index="0"))[:-4] + b"\n\n",
        sse(item("added", 0, **MESSAGE), item("added", 0, **MESSAGE)),
        sse(at("function_call_arguments.delta", 3, None, delta="a")),
        sse(item("added", 0, **MESSAGE), at("function_call_arguments.delta", 0, None, delta="a")),
        sse({"type": "response.completed"}),
        b"data: [1]\n\n",
    ],
)
def test_what_is_not_the_format(broken):
    decoder = OPENAI_RESPONSES.stream_decoder()
    with suppress(MalformedError):
        decoder.feed(broken)
    with pytest.raises(MalformedError):
        decoder.feed(b"")
    with pytest.raises(MalformedError):
        decoder.close()


def test_what_came_before_a_fault_is_told_first():
    decoder = OPENAI_RESPONSES.stream_decoder()
    assert collect(decoder.feed(sse(CREATED, *TEXT[:3]) + b"data: {\n\n")).choices[0].parts[0] == Text(
        "H", extras={NAME: {"item.id": "msg_1", "logprobs": [TOKEN]}}
    )
    with pytest.raises(MalformedError):
        decoder.feed(b"")


def test_what_follows_the_end_is_ignored():
    decoder = OPENAI_RESPONSES.stream_decoder()
    events = decoder.feed(sse(CREATED, *TEXT, COMPLETED) + b"data: [DONE]\n\n" + sse(CREATED) + b"data: {")
    assert decoder.close() == []
    assert isinstance(events[-1], Finish)


def test_only_the_first_choice_is_written():
    encoder = OPENAI_RESPONSES.stream_encoder()
    events = [
        Start("a"),
        PartStart(0, Text("A")),
        PartStart(0, Text("B"), choice=1),
        PartDelta(0, "B", choice=1),
        PartDelta(0, "A"),
        Finish("stop"),
        Finish("length", choice=1),
    ]
    data = b"".join(encoder.feed(event) for event in events) + encoder.close()
    last = events_in(data)[-1]["response"]
    assert last["status"] == "completed"
    assert [part["text"] for part in last["output"][0]["content"]] == ["AA"]


def test_annotations_that_come_with_the_end_are_added_to_those_that_came_before():
    more = [*CITED, {**CITED[0], "title": "u"}]
    done = item("done", 0, **MESSAGE, status="completed", content=[{**WHOLE_TEXT, "annotations": more}])
    (text,) = parts(decoded(CREATED, *TEXT[:5], done, COMPLETED))
    assert text.extras[NAME]["annotations"] == more
    other = item("done", 0, **MESSAGE, status="completed", content=[{**WHOLE_TEXT, "annotations": more[::-1]}])
    (text,) = parts(decoded(CREATED, *TEXT[:5], other, COMPLETED))
    assert text.extras[NAME]["annotations"] == CITED


def test_calls_and_texts_count_as_whole_only_with_the_events_around_them():
    encoder = OPENAI_RESPONSES.stream_encoder()
    first = b"".join(
        encoder.feed(event)
        for event in (
            Start("a"),
            PartStart(0, Text("")),
            PartDelta(0, "A"),
            PartStop(0),
            PartStart(1, ToolCall("c", "f")),
        )
    )
    kinds = [event["type"].removeprefix("response.") for event in events_in(first)]
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
    ]
