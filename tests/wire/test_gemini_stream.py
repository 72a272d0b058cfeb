"""Streamed answers of the Gemini format, both ways, by example."""

import json
from itertools import pairwise

import pytest

from rini.canon import (
    Audio,
    Choice,
    Failure,
    Finish,
    Media,
    Meta,
    Opaque,
    PartDelta,
    PartStart,
    PartStop,
    Refusal,
    Reply,
    ReplyBuilder,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
    UsageUpdate,
    collect,
)
from rini.wire.codec import MalformedError
from rini.wire.gemini import GEMINI
from tests.wire.gemini_oracle import chunks_of, read_by_sdk
from tests.wire.recordings import cuts


def chunk(*parts, finish=None, **more):
    fields = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        fields["finishReason"] = finish
    return {"candidates": [{**fields, **more}], "modelVersion": "m", "responseId": "r"}


def sse(*chunks):
    return b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in chunks)


def array(*chunks):
    return b"[" + b"\n,\r\n".join(json.dumps(one, indent=2).encode() for one in chunks) + b"]\n"


def events(data, pieces=None):
    decoder = GEMINI.stream_decoder()
    found = [event for piece in pieces or [data] for event in decoder.feed(piece)]
    return [*found, *decoder.close()]


def encoded(found, **options):
    encoder = GEMINI.stream_encoder(**options)
    return b"".join(map(encoder.feed, found)) + encoder.close()


def same(*chunks):
    """Decode as events and as an array, in all cuts, encode and decode again: always the same answer."""
    reply = collect(events(sse(*chunks)))
    for data in (sse(*chunks), array(*chunks), sse(*chunks).replace(b"\r\n", b"\n")):
        assert collect(events(data, [data[at : at + 1] for at in range(len(data))])) == reply
        for seed in range(5):
            assert collect(events(data, list(cuts(data, seed)))) == reply
    for json_array in (False, True):
        assert collect(events(encoded(events(sse(*chunks)), json_array=json_array))) == reply
    return reply


def test_texts_of_one_kind_are_one_part():
    found = events(sse(chunk({"text": "a"}), chunk({"text": "b"}, {"text": "c"}), chunk({"text": ""}, finish="STOP")))
    assert found == [
        Start(id="r", model="m"),
        PartStart(0, Text("")),
        PartDelta(0, "a"),
        PartDelta(0, "b"),
        PartDelta(0, "c"),
        PartStop(0),
        Finish("stop", "STOP"),
    ]


def test_thinking_is_a_part_of_its_own():
    reply = same(
        chunk({"text": "h", "thought": True}),
        chunk({"text": "m", "thought": True}),
        chunk({"text": "a", "thought": False}),
        chunk({"text": "b"}, finish="STOP"),
    )
    assert reply.choices[0].parts == (Thinking("hm"), Text("ab"))


def test_a_signature_stays_where_it_stood():
    reply = same(
        chunk({"text": "a"}),
        chunk({"text": "b", "thoughtSignature": "c2ln"}),
        chunk({"text": "c"}),
        chunk({"text": "", "thoughtSignature": "bm9j"}, finish="STOP"),
    )
    assert reply.choices[0].parts == (Text("a"), Text("b", signature="c2ln"), Text("c"), Text("", signature="bm9j"))


def test_quotes_and_braces_in_a_text_are_text():
    reply = same(chunk({"text": 'a"}]\\'}), chunk({"text": '\\"{[\n'}, finish="STOP"))
    assert reply.text == 'a"}]\\\\"{[\n'


def test_calls():
    call = {"functionCall": {"name": "f", "args": {"a": "é"}}, "thoughtSignature": "c2ln"}
    reply = same(
        chunk({"text": "x"}), chunk(call), chunk({"functionCall": {"name": "g", "id": "2"}}), chunk(finish="STOP")
    )
    assert reply.choices == (
        Choice(
            (Text("x"), ToolCall("", "f", '{"a":"é"}', signature="c2ln"), ToolCall("2", "g", "{}")),
            finish_reason="tool_calls",
            raw_finish_reason="STOP",
        ),
    )


def test_a_call_that_google_runs_itself_is_not_waited_for():
    reply = same(
        chunk({"functionCall": {"name": "f", "args": {}}}, finish="STOP", finishMessage="called"),
        chunk({"functionResponse": {"name": "f", "response": {"a": 1}}}),
        chunk({"text": "x"}, finish="STOP"),
    )
    choice = reply.choices[0]
    assert [type(part) for part in choice.parts] == [ToolCall, ToolResult, Text]
    assert choice.finish_reason == "stop"


def test_a_call_that_google_runs_itself_without_an_end_is_broken_off():
    data = sse(
        chunk({"functionCall": {"name": "f", "args": {}}}, finish="STOP"),
        chunk({"functionResponse": {"name": "f", "response": {"a": 1}}}),
    )
    with pytest.raises(MalformedError):
        events(data)


def test_arguments_in_pieces():
    def piece(path, more=True, **value):
        arg = {"jsonPath": path, **value, **({"willContinue": True} if more else {})}
        return chunk({"functionCall": {"partialArgs": [arg], "willContinue": True}})

    reply = same(
        chunk({"functionCall": {"name": "cook", "willContinue": True}, "thoughtSignature": "c2ln"}),
        piece("$.recipe.steps[0].name", stringValue="Bo"),
        piece("$.recipe.steps[0].name", more=False, stringValue="il"),
        piece("$.recipe.steps[1]['how long']", more=False, numberValue=5),
        piece("$.recipe.vegan", more=False, boolValue=True),
        piece("$.recipe.note", more=False, nullValue="NULL_VALUE"),
        chunk({"functionCall": {}}),
        chunk({"functionCall": {"name": "next", "willContinue": True}}),
        chunk({"functionCall": {}}, finish="STOP"),
    )
    first, second = reply.choices[0].parts
    assert isinstance(first, ToolCall)
    assert json.loads(first.arguments) == {
        "recipe": {"steps": [{"name": "Boil"}, {"how long": 5}], "vegan": True, "note": None}
    }
    assert first.signature == "c2ln"
    assert second == ToolCall("", "next", "{}")


@pytest.mark.parametrize("path", ["a", "$", "$.a..", "$.a[99999999]", "$[0]", "$.x.y"])
def test_pieces_that_fit_nowhere(path):
    start = chunk({"functionCall": {"name": "f", "willContinue": True}})
    arg = [{"jsonPath": "$.x", "stringValue": "1"}, {"jsonPath": path, "stringValue": "2"}]
    with pytest.raises(MalformedError):
        events(sse(start, chunk({"functionCall": {"partialArgs": arg}}, finish="STOP")))


def test_other_parts_come_whole():
    code = {"executableCode": {"code": "1", "language": "PYTHON"}}
    picture = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}
    marked = {"text": "y", "partMetadata": {"a": 1}}
    reply = same(chunk({"text": "x"}), chunk(code, picture), chunk(marked), chunk({"text": "z"}, finish="STOP"))
    assert reply.choices[0].parts[1] == Opaque("gemini", code)
    assert reply.choices[0].parts[3:] == (Text("y", extras={"gemini": {"partMetadata": {"a": 1}}}), Text("z"))


def test_candidates_side_by_side():
    def both(first, second, **more):
        return {
            "candidates": [
                {"content": {"parts": [{"text": first}]}, **more},
                {"content": {"parts": [{"text": second}]}, "index": 1, **more},
            ]
        }

    reply = same(both("a", "x"), both("b", "y", finishReason="STOP"))
    assert [choice.parts for choice in reply.choices] == [(Text("ab"),), (Text("xy"),)]


def test_usage_comes_with_its_chunk_and_the_last_one_counts():
    reply = same(
        {**chunk({"text": "a"}), "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}},
        {**chunk({"text": "b"}, finish="STOP"), "usageMetadata": {"trafficType": "ON_DEMAND"}},
        {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}},
    )
    assert reply.usage == Usage(input_tokens=3, output_tokens=2)
    found = events(sse({**chunk({"text": "a"}, finish="STOP"), "usageMetadata": {"promptTokenCount": 3}}))
    assert isinstance(found[1], UsageUpdate)
    data = encoded(found)
    assert len(chunks_of(data.decode())) == 2
    assert b"usageMetadata" not in encoded(found, include_usage=False)


def test_a_chunk_that_only_names_the_traffic_keeps_the_counts():
    reply = collect(
        events(
            sse(
                {**chunk({"text": "a"}, finish="STOP"), "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}},
                {"usageMetadata": {"trafficType": "ON_DEMAND"}},
            )
        )
    )
    assert reply.usage == Usage(input_tokens=3, output_tokens=0, extras={"gemini": {"trafficType": "ON_DEMAND"}})


def test_other_fields_are_replaced_and_citations_add_up():
    reply = same(
        {**chunk({"text": "a"}, safetyRatings=[{"probability": "LOW"}], groundingMetadata={}), "createTime": "t"},
        chunk(
            {"text": "b"}, safetyRatings=[{"probability": "LOW"}], citationMetadata={"citationSources": [{"uri": "1"}]}
        ),
        chunk(
            {"text": "c"},
            finish="STOP",
            safetyRatings=[{"probability": "HIGH"}],
            groundingMetadata={"webSearchQueries": ["q"]},
            citationMetadata={"citationSources": [{"uri": "2"}]},
        ),
    )
    assert reply.extras == {"gemini": {"createTime": "t"}}
    assert reply.choices[0].extras == {
        "gemini": {
            "safetyRatings": [{"probability": "HIGH"}],
            "groundingMetadata": {"webSearchQueries": ["q"]},
            "citationMetadata": {"citationSources": [{"uri": "1"}, {"uri": "2"}]},
        }
    }


def test_a_blocked_prompt():
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    reply = same(blocked)
    assert reply.choices == (Choice(finish_reason="safety"),)
    assert reply == GEMINI.decode_reply(json.dumps(blocked).encode())
    assert "candidates" not in chunks_of(encoded(events(sse(blocked))).decode())[0]


ERROR = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    "data",
    [
        sse(chunk({"text": "a"}), ERROR, chunk({"text": "b"}, finish="STOP")),
        sse(chunk({"text": "a"})) + json.dumps(ERROR, indent=2).encode(),
        sse(chunk({"text": "a"})) + json.dumps([ERROR], indent=2).encode() + b"\n\n",
        array(chunk({"text": "a"}), ERROR),
        json.dumps(ERROR, indent=1).encode(),
        json.dumps([ERROR]).encode(),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_errors_in_the_middle(data, bytewise):
    found = events(data, [data[at : at + 1] for at in range(len(data))] if bytewise else None)
    builder = ReplyBuilder()
    for event in found:
        builder.add(event)
    assert isinstance(found[-1], StreamFailure)
    assert builder.failure is not None
    assert (builder.failure.kind, builder.failure.status) == ("overloaded", None)
    for json_array in (False, True):
        again = events(encoded(found, json_array=json_array))
        assert again[-1] == found[-1]
        assert collect(again) == collect(found)


def test_nothing_comes_after_an_error():
    decoder = GEMINI.stream_decoder()
    assert isinstance(decoder.feed(sse(ERROR))[-1], StreamFailure)
    assert decoder.feed(sse(chunk({"text": "b"}, finish="STOP"))) == []
    assert decoder.close() == []
    encoder = GEMINI.stream_encoder()
    encoder.feed(StreamFailure(Failure("overloaded", "m")))
    assert encoder.feed(Finish("stop")) + encoder.close() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>no</html>",
        b"[",
        b"[]",
        b"null",
        sse(chunk({"text": "a"})),
        sse(chunk({"text": "a"}))[:-10],
        array(chunk({"text": "a"}))[:-20],
        b'data: {"candidates":[{"content":{}}]}\r\n\r\n',
        b"data: 1\r\n\r\n",
        b"data: {\r\n\r\n",
        b'data: {"candidates":{}}\r\n\r\n',
        b'data: {"candidates":[{"content":{"parts":[null]}}]}\r\n\r\n',
        b'data: {"candidates":[{"index":"0"}]}\r\n\r\n',
        b'data: {"candidates":[{"finishReason":{}}]}\r\n\r\n',
        b'data: {"usageMetadata":3}\r\n\r\n',
        b'data: {"modelVersion":3}\r\n\r\n',
        b'data: {"candidates":[{"content":{"parts":[{"text":"\\ud800"}]}}]}\r\n\r\n',
        b"data: " + b'{"a":' * 100_000 + b"\r\n\r\n",
        b"[1]",
        array(chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}))[:-20],
        b"{} x",
    ],
)
def test_what_is_no_stream(data):
    with pytest.raises(MalformedError):
        events(data)


def test_what_came_before_the_break_was_delivered():
    decoder = GEMINI.stream_decoder()
    found = decoder.feed(sse(chunk({"text": "a"})))
    with pytest.raises(MalformedError):
        decoder.close()
    assert collect(found).text == "a"


def test_marks_around_a_stream_are_taken():
    data = b"\xef\xbb\xbf" + sse(chunk({"text": "a"}, finish="STOP")) + b"data: [DONE]\n\n"
    assert collect(events(data, [data[at : at + 1] for at in range(len(data))])).text == "a"
    last = sse(chunk({"text": "a"}, finish="STOP"))[:-4]
    assert collect(events(last)).text == "a"


def test_a_stream_of_another_format_reads_as_one_of_gemini():
    found = [
        Start(id="r", model="claude", extras={"anthropic": {"x": 1}}),
        UsageUpdate(Usage(input_tokens=5)),
        Meta(),
        PartStart(0, Thinking()),
        PartDelta(0, "hm"),
        PartDelta(0, signature="c2ln"),
        PartStop(0),
        PartStart(1, Text("")),
        PartDelta(1, "H"),
        PartDelta(1, "i"),
        PartStart(2, ToolCall("1", "f")),
        PartDelta(2, '{"a"'),
        PartStart(3, ToolCall("2", "g")),
        PartDelta(3, "{}"),
        PartDelta(2, ":1}"),
        PartStop(1),
        PartStop(2),
        PartStart(4, Opaque("anthropic", {"type": "x"})),
        PartStop(4),
        PartStart(5, Refusal("")),
        PartDelta(5, "no"),
        PartStop(5),
        Finish("tool_calls", "tool_use"),
        UsageUpdate(Usage(input_tokens=5, output_tokens=9)),
    ]
    data = encoded(found)
    chunks = chunks_of(data.decode())
    assert [read_by_sdk(one).text for one in chunks[2:4]] == ["H", "i"]
    reply = collect(events(data))
    assert reply.choices[0].parts == (
        Thinking("hm"),
        Thinking("", signature="c2ln"),
        Text("Hi"),
        ToolCall("1", "f", '{"a":1}'),
        Text("no"),
        ToolCall("2", "g", "{}"),
    )
    assert reply.choices[0].finish_reason == "tool_calls"
    assert reply.usage == Usage(input_tokens=5, output_tokens=9)
    assert (reply.id, reply.model) == ("r", "claude")


def test_a_cut_call_of_another_format():
    found = [Start(), PartStart(0, ToolCall("1", "f")), PartDelta(0, '{"a'), PartStop(0), Finish("tool_calls")]
    last = chunks_of(encoded(found).decode())[-1]["candidates"][0]
    assert (last["finishReason"], last["finishMessage"]) == (
        "MALFORMED_FUNCTION_CALL",
        'Malformed function call: f({"a)',
    )


def test_what_broke_off_is_shown_but_not_called():
    sound = Audio(Media(data="AA==", mime_type="audio/wav"))
    begun = [Start(), PartStart(0, sound), PartDelta(0, "Hi"), PartStart(1, ToolCall("1", "f"))]
    for found in (begun, [*begun, StreamFailure(Failure("overloaded", "m"))]):
        parts = chunks_of(encoded(found).decode())[0]["candidates"][0]["content"]["parts"]
        assert [part.get("text") for part in parts] == ["Hi", None]
        assert b"functionCall" not in encoded(found)


def test_every_chunk_names_model_and_answer():
    data = encoded([Start(id="r", model="m"), PartStart(0, Text("")), PartDelta(0, "a"), Finish("stop")])
    assert all((one["modelVersion"], one["responseId"]) == ("m", "r") for one in chunks_of(data.decode()))
    assert data.startswith(b"data: ")
    assert data.endswith(b"\r\n\r\n")


def test_an_array_is_one_json_value():
    text = [PartStart(0, Text("")), PartDelta(0, "a"), PartDelta(0, "b"), PartStop(0), Finish("stop", "STOP")]
    assert len(json.loads(encoded(text, json_array=True))) == 3
    assert json.loads(encoded([], json_array=True)) == []
    for part, following in pairwise(json.loads(encoded(text, json_array=True))):
        assert part != following


def test_an_answer_that_streams_is_the_whole_one():
    whole = Reply(choices=(Choice((Text("ab"),), "stop", "STOP"),), id="r", model="m")
    assert collect(events(sse(chunk({"text": "a"}), chunk({"text": "b"}, finish="STOP")))) == whole
