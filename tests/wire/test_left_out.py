"""What a request loses on its way to another format is named, what it does not lose is not, and what changes its meaning is refused."""

import json
from typing import Any

import msgspec
import pytest

from rini.canon import (
    Choice,
    Image,
    Media,
    Message,
    Reply,
    Request,
    ResponseFormat,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    UsageUpdate,
)
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import Codec, EncodedRequest, UnsupportedError
from rini.wire.gemini import GEMINI
from rini.wire.openai_chat import OPENAI_CHAT, OPENAI_COMPATIBLE_CHAT
from rini.wire.openai_responses import OPENAI_RESPONSES

CODECS: list[Codec] = [OPENAI_CHAT, OPENAI_COMPATIBLE_CHAT, OPENAI_RESPONSES, ANTHROPIC, GEMINI]
MODELS = {
    "openai_chat": "gpt-5.2",
    "openai_responses": "gpt-5.2",
    "anthropic": "claude-opus-4-6",
    "gemini": "gemini-3-pro",
}
PLAIN: dict[str, dict[str, Any]] = {
    "openai_chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "openai_responses": {"input": "Hi"},
    "anthropic": {"max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}
STRICT = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
UNPADDED = {"stream": True, "stream_options": {"include_obfuscation": False}}
USER = Message("user", (Text("Hi"),))


def sent(asked: Codec, target: Codec, fields: dict[str, Any], model: str = "") -> EncodedRequest:
    body = {"model": MODELS[asked.name], **PLAIN[asked.name], **fields}
    request = asked.decode_request(json.dumps(body).encode(), model=MODELS[asked.name])
    return target.encode_request(msgspec.structs.replace(request, model=model or MODELS[target.name]))


def body_of(encoded: EncodedRequest) -> dict[str, Any]:
    return json.loads(encoded.body)


def others(codec: Codec) -> list[Codec]:
    return [each for each in CODECS if each.name != codec.name]


def cells(*rows: tuple[Any, ...]) -> list[Any]:
    """Each row's codec with every other format."""
    return [pytest.param(row[0], target, *row[1:]) for row in rows for target in others(row[0])]


# -- named, or not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "target", "fields"),
    cells(
        (OPENAI_CHAT, {"modalities": ["text"], "logit_bias": {}, "store": False, **UNPADDED}),
        (OPENAI_RESPONSES, {"store": False, "background": False, "truncation": "disabled", "text": {}, **UNPADDED}),
        (ANTHROPIC, {"container": None, "mcp_servers": []}),
        (GEMINI, {"safetySettings": [], "toolConfig": {"functionCallingConfig": {"mode": "MODE_UNSPECIFIED"}}}),
    ),
)
def test_what_is_so_anyway_is_not_named(asked: Codec, target: Codec, fields: dict[str, Any]):
    assert sent(asked, target, fields).dropped == ()


@pytest.mark.parametrize(
    ("asked", "target", "fields", "field"),
    cells(
        (ANTHROPIC, {"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
        (ANTHROPIC, {"max_tokens": 0}, "max_tokens"),
        (OPENAI_RESPONSES, {"text": {"format": {"type": "grammar"}}}, "text.format"),
        (
            GEMINI,
            {"toolConfig": {"functionCallingConfig": {"mode": "WHATEVER"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
    ),
)
def test_what_changes_the_meaning_is_refused(asked: Codec, target: Codec, fields: dict[str, Any], field: str):
    with pytest.raises(UnsupportedError) as caught:
        sent(asked, target, fields)
    assert caught.value.field == field


def test_a_limit_of_nothing_goes_back_to_anthropic():
    assert body_of(sent(ANTHROPIC, ANTHROPIC, {"max_tokens": 0}))["max_tokens"] == 0


@pytest.mark.parametrize("target", others(GEMINI))
def test_streamed_arguments_are_no_choice(target: Codec):
    fields = {"toolConfig": {"functionCallingConfig": {"streamFunctionCallArguments": True}}}
    encoded = sent(GEMINI, target, fields)
    assert encoded.dropped == ("toolConfig.functionCallingConfig.streamFunctionCallArguments",)
    assert "tool_choice" not in body_of(encoded)


@pytest.mark.parametrize("target", others(GEMINI))
def test_the_schema_of_a_tools_result_is_named(target: Codec):
    tool = {"name": "f", "parametersJsonSchema": STRICT, "responseJsonSchema": {"type": "string"}}
    assert sent(GEMINI, target, {"tools": [{"functionDeclarations": [tool]}]}).dropped == (
        "tools[0].responseJsonSchema",
    )


@pytest.mark.parametrize("target", others(OPENAI_RESPONSES))
def test_the_phase_of_an_answer_is_named_and_its_id_is_not(target: Codec):
    answer = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "phase": "commentary",
        "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
    }
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
    }
    result = {"type": "function_call_output", "id": "fco_1", "call_id": "c", "output": "1"}
    given = [{"role": "user", "content": "Hi"}, answer, call, result]
    assert "messages[1].parts[0].phase" in (dropped := sent(OPENAI_RESPONSES, target, {"input": given}).dropped)
    assert not [name for name in dropped if name.endswith((".id", ".status"))]


@pytest.mark.parametrize("target", CODECS)
def test_a_results_name_is_only_named_where_its_call_has_another(target: Codec):
    def dropped(name: str) -> tuple[str, ...]:
        conversation = (
            USER,
            Message("assistant", (ToolCall("c", "f", "{}"),)),
            Message("tool", (ToolResult("c", (Text("1"),), name=name),)),
        )
        return target.encode_request(Request(model=MODELS[target.name], messages=conversation)).dropped

    assert dropped("f") == ()
    if target in (ANTHROPIC, OPENAI_RESPONSES):
        assert dropped("g") == ("messages[2].parts[0].name",)


@pytest.mark.parametrize("target", [ANTHROPIC, GEMINI])
def test_of_an_answers_form_only_what_is_lost_is_named(target: Codec):
    def dropped(**fields: Any) -> tuple[str, ...]:
        wanted = ResponseFormat("json_schema", STRICT, "trip", **fields)
        request = Request(model=MODELS[target.name], messages=(USER,), response_format=wanted)
        return target.encode_request(request).dropped

    assert dropped(strict=True) == ()
    assert dropped(description="Where to.", strict=False) == ("response_format.description", "response_format.strict")


@pytest.mark.parametrize("target", [ANTHROPIC, GEMINI])
@pytest.mark.parametrize(("detail", "named"), [("auto", ()), ("low", ("messages[0].parts[0].detail",))])
def test_a_pictures_detail_is_named_where_it_is_told(target: Codec, detail: str, named: tuple[str, ...]):
    picture = Image(Media(data="iVBORw0KGgo=", mime_type="image/png"), detail)
    request = Request(model=MODELS[target.name], messages=(Message("user", (picture,)),))
    assert target.encode_request(request).dropped == named


@pytest.mark.parametrize("target", others(ANTHROPIC))
def test_adaptive_thinking_with_an_effort_is_the_effort(target: Codec):
    fields = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    encoded = sent(ANTHROPIC, target, fields)
    assert encoded.dropped == ()
    assert "high" in encoded.body.decode().lower()


@pytest.mark.parametrize(("default", "kept", "named"), [(30, "(default: 30)", []), (["a"], None, ["default"])])
def test_a_default_is_told_or_named(default: object, kept: str | None, named: list[str]):
    schema = {"type": "object", "properties": {"a": {"type": "array", "default": default}}}
    encoded = sent(ANTHROPIC, GEMINI, {"tools": [{"name": "f", "input_schema": schema}]})
    tool = body_of(encoded)["tools"][0]["functionDeclarations"][0]
    assert tool["parametersJsonSchema"]["properties"]["a"].get("description") == kept
    assert list(encoded.dropped) == [f"tools[0].parameters.properties.a.{name}" for name in named]


def test_a_refused_recursion_is_where_the_client_wrote_it():
    schema = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
        "additionalProperties": False,
    }
    wanted = ResponseFormat("json_schema", schema, "n", strict=True)
    with pytest.raises(UnsupportedError) as caught:
        ANTHROPIC.encode_request(Request(model="claude-opus-4-6", messages=(USER,), response_format=wanted))
    assert caught.value.field == "response_format.schema.properties.next.anyOf[0].$ref"


@pytest.mark.parametrize("target", others(OPENAI_RESPONSES))
def test_tools_added_in_the_conversation_are_openais_alone(target: Codec):
    added = {"type": "additional_tools", "role": "developer", "tools": []}
    with pytest.raises(UnsupportedError, match=r"it is a part that only openai_responses knows\.$"):
        sent(OPENAI_RESPONSES, target, {"input": [{"role": "user", "content": "Hi"}, added]})


# -- what means the same elsewhere -----------------------------------------------------------------


@pytest.mark.parametrize("target", [OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC])
@pytest.mark.parametrize("mode", ["VALIDATED", 4])
def test_validated_calls_are_strict_tools(target: Codec, mode: object):
    fields = {
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": STRICT}]}],
        "toolConfig": {"functionCallingConfig": {"mode": mode}},
    }
    encoded = sent(GEMINI, target, fields)
    tool = body_of(encoded)["tools"][0]
    assert tool.get("function", tool)["strict"] is True
    assert encoded.dropped == ()
    again = sent(GEMINI, GEMINI, fields)
    assert body_of(again)["toolConfig"] == fields["toolConfig"]
    assert again.dropped == ()


@pytest.mark.parametrize("target", [OPENAI_CHAT, OPENAI_RESPONSES])
def test_a_strict_tool_from_elsewhere_that_openai_cannot_hold_is_not_strict(target: Codec):
    loose = {"type": "object", "properties": {"a": {"type": "string"}}}
    encoded = sent(ANTHROPIC, target, {"tools": [{"name": "f", "input_schema": loose, "strict": True}]})
    tool = body_of(encoded)["tools"][0]
    assert tool.get("function", tool)["strict"] is False
    assert encoded.dropped == ("tools[0].strict",)


def test_a_schema_from_elsewhere_is_enforced_by_responses_where_it_can_be():
    def strict(schema: dict[str, Any]) -> object:
        fields = {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema}}
        return body_of(sent(GEMINI, OPENAI_RESPONSES, fields))["text"]["format"]["strict"]

    assert strict(STRICT) is True
    assert strict({"type": "object", "properties": {"a": {"type": "string"}}}) is False
    with pytest.raises(UnsupportedError, match="the answer must be an object"):
        strict({"type": "array", "items": {"type": "string"}})


# -- what OpenAI answers 400 to --------------------------------------------------------------------

SAMPLED = {"generationConfig": {"temperature": 0.5, "topP": 0.9, "presencePenalty": 0.1}}


@pytest.mark.parametrize("target", [OPENAI_CHAT, OPENAI_RESPONSES])
@pytest.mark.parametrize("model", ["o3", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "gpt-5.2-pro", "gpt-5.1-codex"])
def test_a_model_that_reasons_is_not_told_how_to_sample(target: Codec, model: str):
    encoded = sent(GEMINI, target, SAMPLED, model)
    assert not body_of(encoded).keys() & {"temperature", "top_p", "presence_penalty"}
    assert set(encoded.dropped) == {"temperature", "top_p", "presence_penalty"}
    default = sent(GEMINI, target, {"generationConfig": {"temperature": 1, "topP": 1.0}}, model)
    assert not body_of(default).keys() & {"temperature", "top_p"}
    assert default.dropped == ()


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5-chat-latest", "gpt-5.2-chat-latest", "gpt-5.2", "gpt-5.4-mini"])
def test_a_model_that_does_not_reason_is(model: str):
    encoded = sent(GEMINI, OPENAI_CHAT, SAMPLED, model)
    assert body_of(encoded).items() >= {"temperature": 0.5, "top_p": 0.9, "presence_penalty": 0.1}.items()
    assert encoded.dropped == ()


def test_a_model_that_reasons_because_it_is_asked_to_is_not_told_how_to_sample():
    fields = {"temperature": 0.5, "output_config": {"effort": "high"}}
    assert "temperature" in sent(ANTHROPIC, OPENAI_CHAT, fields, "gpt-5.2").dropped
    assert "temperature" in body_of(sent(ANTHROPIC, OPENAI_CHAT, {"temperature": 0.5}, "gpt-5.2"))


def test_openais_own_client_and_other_servers_are_told_as_they_ask():
    asked = {"model": "o3", **PLAIN["openai_chat"], "temperature": 0.5}
    again = OPENAI_CHAT.encode_request(OPENAI_CHAT.decode_request(json.dumps(asked).encode()))
    assert body_of(again) == asked
    assert body_of(sent(GEMINI, OPENAI_COMPATIBLE_CHAT, SAMPLED, "o3"))["temperature"] == 0.5
    asked = {"model": "o3", "input": "Hi", "temperature": 0.5}
    again = OPENAI_RESPONSES.encode_request(OPENAI_RESPONSES.decode_request(json.dumps(asked).encode()))
    assert body_of(again) == asked


JSON_MODE = {"generationConfig": {"responseMimeType": "application/json"}}
SENTENCE = {"role": "system", "content": "Answer in JSON."}


def test_json_without_the_word_gets_a_sentence_that_has_it():
    briefly = {"systemInstruction": {"parts": [{"text": "Be brief."}]}}
    assert body_of(sent(GEMINI, OPENAI_CHAT, {**JSON_MODE, **briefly}))["messages"] == [
        {"role": "system", "content": "Be brief."},
        SENTENCE,
        {"role": "user", "content": "Hi"},
    ]
    # Responses look for it in the input.
    body = body_of(
        sent(GEMINI, OPENAI_RESPONSES, {**JSON_MODE, "systemInstruction": {"parts": [{"text": "As JSON."}]}})
    )
    assert body["instructions"] == "As JSON."
    assert body["input"] == [SENTENCE, {"role": "user", "content": "Hi"}]


def test_json_with_the_word_is_asked_as_it_is():
    said = {"contents": [{"role": "user", "parts": [{"text": "A Json list."}]}]}
    for target in (OPENAI_CHAT, OPENAI_RESPONSES):
        assert "Answer in JSON." not in sent(GEMINI, target, {**JSON_MODE, **said}).body.decode()
    assert "Answer in JSON." not in sent(GEMINI, OPENAI_COMPATIBLE_CHAT, JSON_MODE).body.decode()


@pytest.mark.parametrize("target", [OPENAI_CHAT, OPENAI_RESPONSES])
def test_openais_own_client_is_left_to_openais_rule(target: Codec):
    form = {"response_format": {"type": "json_object"}}
    assert "Answer in JSON." not in sent(OPENAI_CHAT, target, form).body.decode()


# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "counts"),
    [(Usage(), (0, 0, 0)), (Usage(output_tokens=42), (0, 42, 42)), (Usage(input_tokens=7), (7, 0, 7))],
)
def test_chat_tells_three_counts_always(usage: Usage, counts: tuple[int, int, int]):
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    body = json.loads(OPENAI_CHAT.encode_reply(Reply((Choice((Text("Hi"),), "stop"),), usage=usage)))
    assert tuple(body["usage"].get(name) for name in names) == counts
    encoder = OPENAI_CHAT.stream_encoder()
    data = encoder.feed(UsageUpdate(usage)) + encoder.close()
    chunk = json.loads(data.decode().split("data: ")[1])
    assert tuple(chunk["usage"].get(name) for name in names) == counts
