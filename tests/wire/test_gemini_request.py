"""Requests of the Gemini format, both ways, by example."""

import json

import pytest

from rini.canon import (
    Audio,
    Document,
    Image,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Request,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.gemini import GEMINI

HELLO = {"role": "user", "parts": [{"text": "Hello"}]}


def decode(model="gemini-2.5-flash", *, stream=False, **body):
    return GEMINI.decode_request(json.dumps({"contents": [HELLO], **body}).encode(), model=model, stream=stream)


def again(request):
    return json.loads(GEMINI.encode_request(request).body)


def same(**body):
    """Decode and encode; the JSON is the same, and so is what it decodes to."""
    request = decode(**body)
    out = again(request)
    assert out == {"contents": [HELLO], **body}
    assert GEMINI.decode_request(json.dumps(out).encode(), model=request.model) == request
    return request


def same_part(part, role="user"):
    return same(contents=[{"role": role, "parts": [part]}]).messages[0].parts[0]


def encode(*messages, model="gemini-2.5-flash", **fields):
    encoded = GEMINI.encode_request(Request(model=model, messages=messages, **fields))
    return json.loads(encoded.body), encoded.dropped


def refused(*messages, **fields):
    with pytest.raises(UnsupportedError) as caught:
        encode(*messages, **fields)
    return caught.value.field


USER = Message("user", (Text("Hello"),))


def test_the_address_gives_model_and_stream():
    request = decode(model="gemini-3-pro", stream=True)
    assert (request.model, request.stream) == ("gemini-3-pro", True)


def test_a_model_in_the_body_counts_when_the_address_has_none():
    body = json.dumps({"model": "models/gemini-2.0-flash", "contents": [HELLO]}).encode()
    assert GEMINI.decode_request(body).model == "models/gemini-2.0-flash"
    with pytest.raises(MalformedError):
        GEMINI.decode_request(json.dumps({"contents": [HELLO]}).encode())


def test_the_bodys_model_is_not_sent_to_another_one():
    body = json.dumps({"model": "models/gemini-2.0-flash", "contents": [HELLO]}).encode()
    request = GEMINI.decode_request(body, model="gemini-2.0-flash")
    assert again(request)["model"] == "models/gemini-2.0-flash"
    moved = Request(model="gemini-3-pro", messages=request.messages, extras=request.extras)
    assert "model" not in again(moved)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("models/gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("tunedModels/mine", "/v1beta/tunedModels/mine:generateContent"),
        ("../../files?x=1#", "/v1beta/models/..%2F..%2Ffiles%3Fx%3D1%23:generateContent"),
        ("models/../x", "/v1beta/models/..%2Fx:generateContent"),
    ],
)
def test_path(model, path):
    assert GEMINI.path(model, stream=False) == path
    assert GEMINI.path(model, stream=True) == path.replace(":generate", ":streamGenerate") + "?alt=sse"


def test_snake_case_means_the_same():
    snake = decode(
        system_instruction={"parts": {"text": "Be brief."}},
        generation_config={
            "max_output_tokens": 9,
            "top_p": 0.5,
            "stop_sequences": ["x"],
            "thinking_config": {"thinking_budget": 7, "include_thoughts": True},
            "response_mime_type": "application/json",
        },
        tools={"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]},
        tool_config={"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f", "g"]}},
        safety_settings=[{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"}],
    )
    camel = decode(
        systemInstruction={"parts": [{"text": "Be brief."}]},
        generationConfig={
            "maxOutputTokens": 9,
            "topP": 0.5,
            "stopSequences": ["x"],
            "thinkingConfig": {"thinkingBudget": 7, "includeThoughts": True},
            "responseMimeType": "application/json",
        },
        tools=[{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}},
        safetySettings=[{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"}],
    )
    assert snake == camel
    assert camel.max_tokens == 9
    assert camel.messages[0] == Message("system", (Text("Be brief."),))
    assert camel.tool_choice == ToolChoice("required", ("f", "g"))


def test_parameters():
    request = same(
        generationConfig={
            "temperature": 0,
            "topP": 0.95,
            "topK": 40,
            "maxOutputTokens": 100,
            "stopSequences": ["a", "b"],
            "seed": 7,
            "presencePenalty": 0.5,
            "frequencyPenalty": -0.5,
            "candidateCount": 2,
            "responseLogprobs": True,
            "logprobs": 3,
            "responseModalities": ["TEXT", "IMAGE"],
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
        },
        cachedContent="cachedContents/x",
        labels={"team": "a"},
        newField={"any": 1},
    )
    assert request.top_k == 40
    assert request.n == 2
    assert (request.logprobs, request.top_logprobs) == (True, 3)
    assert request.stop == ("a", "b")
    assert request.extras is not None
    assert set(request.extras["gemini"]) == {"generationConfig", "cachedContent", "labels", "newField"}


@pytest.mark.parametrize(
    ("config", "reasoning"),
    [
        ({"thinkingBudget": 0}, Reasoning(enabled=False)),
        ({"thinkingBudget": -1, "includeThoughts": True}, Reasoning(budget_tokens=-1, include=True)),
        ({"thinkingLevel": "low"}, Reasoning(effort="low", extras={"gemini": {"thinkingLevel": "low"}})),
        ({"thinkingLevel": "HIGH"}, Reasoning(effort="high", extras={"gemini": {"thinkingLevel": "HIGH"}})),
    ],
)
def test_reasoning(config, reasoning):
    assert same(generationConfig={"thinkingConfig": config}).reasoning == reasoning


@pytest.mark.parametrize(
    ("model", "reasoning", "config"),
    [
        ("gemini-3-pro", Reasoning(effort="low"), {"thinkingLevel": "LOW"}),
        ("gemini-2.5-pro", Reasoning(effort="low"), {"thinkingBudget": 1024}),
        ("models/gemini-2.5-pro", Reasoning(effort="high"), {"thinkingBudget": 24576}),
        ("gemini-2.5-flash", Reasoning(effort="none"), {"thinkingBudget": 0}),
        ("gemini-2.5-flash", Reasoning(enabled=False, effort="none"), {"thinkingBudget": 0}),
        ("gemini-2.5-flash", Reasoning(enabled=True), {"thinkingBudget": -1}),
        ("gemini-2.5-flash", Reasoning(enabled=True, budget_tokens=5), {"thinkingBudget": 5}),
    ],
)
def test_reasoning_from_elsewhere(model, reasoning, config):
    body, dropped = encode(USER, model=model, reasoning=reasoning)
    assert body["generationConfig"]["thinkingConfig"] == config
    assert not dropped


def test_of_budget_and_effort_one_is_sent():
    body, dropped = encode(USER, model="gemini-3-pro", reasoning=Reasoning(effort="high", budget_tokens=100))
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 100}
    assert dropped == ("reasoning.effort",)


def test_the_dialects_schema_is_read_as_json_schema_and_sent_back_as_it_came():
    schema = {
        "type": "OBJECT",
        "properties": {
            "name": {"type": "STRING", "nullable": True},
            "size": {"type": 3, "format": "int32"},
            "kind": {"type": "STRING", "format": "enum", "enum": ["a", "b"]},
            "tags": {"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]}, "minItems": "1"},
            "nullable": {"type": "BOOLEAN"},
        },
        "required": ["name"],
        "propertyOrdering": ["name", "size"],
    }
    meant = {
        "type": "object",
        "properties": {
            "name": {"type": ["string", "null"]},
            "size": {"type": "integer", "format": "int32"},
            "kind": {"type": "string", "enum": ["a", "b"]},
            "tags": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}, "minItems": 1},
            "nullable": {"type": "boolean"},
        },
        "required": ["name"],
    }
    request = same(
        tools=[{"functionDeclarations": [{"name": "f", "description": "d", "parameters": schema}]}],
        generationConfig={"responseMimeType": "application/json", "responseSchema": schema},
    )
    assert request.tools[0].parameters == meant
    assert request.response_format is not None
    assert (request.response_format.kind, request.response_format.schema) == ("json_schema", meant)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"responseMimeType": "text/plain"}, "text"),
        ({"responseMimeType": "application/json"}, "json"),
        ({"responseMimeType": "application/json", "responseJsonSchema": {"$ref": "#/$defs/a"}}, "json_schema"),
        ({"responseSchema": {"type": "STRING"}}, "json_schema"),
        ({"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}}, None),
        ({"responseFormat": [{"text": {"mimeType": "APPLICATION_JSON", "schema": {"type": "object"}}}]}, "json_schema"),
        ({"responseFormat": [{"image": {"aspectRatio": "1:1"}}]}, None),
    ],
)
def test_response_format(config, kind):
    form = same(generationConfig=config).response_format
    assert (form and form.kind) == kind


def test_a_schema_from_elsewhere_goes_where_json_schema_is_read():
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/a"}, "n": {"type": "integer", "minimum": 1}},
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"a": {"type": "string", "enum": ["x"]}},
    }
    body, dropped = encode(
        USER,
        tools=(Tool("f", parameters=schema, strict=True),),
        response_format=ResponseFormat("json_schema", schema=schema, name="x", strict=True),
    )
    assert body["tools"] == [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}]}]
    assert body["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": schema}
    assert dropped == ("tools[0].strict",)


@pytest.mark.parametrize(
    "tools",
    [
        [{"functionDeclarations": [{"name": "a"}, {"name": "b"}]}],
        [{"functionDeclarations": [{"name": "a"}]}, {"functionDeclarations": [{"name": "b"}]}],
        [{"functionDeclarations": [{"name": "a"}, {"name": "b"}], "codeExecution": {}}, {"googleSearch": {}}],
        [{"googleSearch": {"timeRangeFilter": {"startTime": "x"}}}, {"urlContext": {}}, {"functionDeclarations": [{"name": "a"}]}],
        [{"retrieval": {"vertexRagStore": {}}}],
        [{"functionDeclarations": [{"name": "a", "behavior": "NON_BLOCKING", "response": {"type": "STRING"}, "new": 1}]}],
    ],
)  # fmt: skip
def test_tools_stay_grouped(tools):
    same(tools=tools)


def test_a_tool_added_to_grouped_ones_comes_after_them():
    tools = decode(tools=[{"functionDeclarations": [{"name": "a"}]}, {"functionDeclarations": [{"name": "b"}]}]).tools
    body, _ = encode(USER, tools=(*tools, Tool("c")))
    names = [[each["name"] for each in group["functionDeclarations"]] for group in body["tools"]]
    assert names == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({"mode": "ANY"}, ToolChoice("required")),
        ({"mode": "NONE"}, ToolChoice("none")),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("tool", ("f",))),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, ToolChoice("required", ("f", "g"))),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ToolChoice("auto", ("f",))),
        ({"mode": "VALIDATED"}, ToolChoice("auto", extras={"gemini": {"mode": "VALIDATED"}})),
        ({"mode": "none"}, ToolChoice("none", extras={"gemini": {"mode": "none"}})),
        ({"mode": 2}, ToolChoice("required", extras={"gemini": {"mode": 2}})),
        ({"streamFunctionCallArguments": True}, None),
        ({"mode": "MODE_OF_TOMORROW"}, None),
    ],
)
def test_tool_choice(config, choice):
    request = same(toolConfig={"functionCallingConfig": config, "includeServerSideToolInvocations": True})
    assert request.tool_choice == choice


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"text": "x", "thoughtSignature": "c2ln"}, Text("x", signature="c2ln")),
        ({"text": "", "thoughtSignature": "c2ln"}, Text("", signature="c2ln")),
        ({"text": "x", "thought": True}, Thinking("x")),
        ({"text": "x", "thought": True, "thoughtSignature": "c2ln"}, Thinking("x", signature="c2ln")),
        (
            {"functionCall": {"name": "f", "args": {"a": [1, 2.5, None]}, "id": "1"}, "thoughtSignature": "c2ln"},
            ToolCall("1", "f", '{"a":[1,2.5,null]}', signature="c2ln"),
        ),
        ({"functionCall": {"name": "f", "args": {}}}, ToolCall("", "f", "{}")),
        (
            {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thoughtSignature": "c2ln"},
            Image(Media(data="AA==", mime_type="image/png"), signature="c2ln"),
        ),
        ({"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}, Audio(Media(data="AA==", mime_type="audio/wav"))),
        ({"inlineData": {"mimeType": "text/plain", "data": "AA=="}}, Document(Media(data="AA==", mime_type="text/plain"))),
        (
            {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://a/b"}, "videoMetadata": {"fps": 1}},
            Video(Media(url="gs://a/b", mime_type="video/mp4"), extras={"gemini": {"videoMetadata": {"fps": 1}}}),
        ),
        ({"fileData": {"fileUri": "https://youtu.be/x"}}, Document(Media(url="https://youtu.be/x"))),
        ({"executableCode": {"code": "1", "language": "PYTHON"}}, Opaque("gemini", {"executableCode": {"code": "1", "language": "PYTHON"}})),
        ({"toolCall": {"toolType": "X"}, "thoughtSignature": "c2ln"}, Opaque("gemini", {"toolCall": {"toolType": "X"}, "thoughtSignature": "c2ln"})),
        ({"partOfTomorrow": {"a": 1}}, Opaque("gemini", {"partOfTomorrow": {"a": 1}})),
        ({}, Opaque("gemini", {})),
    ],
)  # fmt: skip
def test_parts(part, expected):
    assert same_part(part, role="model") == expected


def test_a_picture_that_is_a_thought_is_no_part_of_the_answer():
    part = {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thought": True}
    assert same_part(part, role="model") == Opaque("gemini", part)


def test_a_files_name_is_read_and_kept():
    part = same_part({"inlineData": {"mimeType": "application/pdf", "data": "AA==", "displayName": "a.pdf"}})
    assert isinstance(part, Document)
    assert part.name == "a.pdf"


def test_url_safe_base64_becomes_the_standard_one():
    request = decode(contents=[{"parts": [{"inline_data": {"mime_type": "image/png", "data": "_-8"}}]}])
    part = request.messages[0].parts[0]
    assert isinstance(part, Image)
    assert part.media.data == "/+8="


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        ({"result": "sunny"}, "sunny", False),
        ({"error": "no"}, "no", True),
        ({"output": "sunny"}, "sunny", False),
        ({"result": {"a": 1}}, '{"a":1}', False),
        ({"result": '{"a":1}'}, '{"a":1}', False),
        ({"temperature": 20, "unit": "C"}, '{"temperature":20,"unit":"C"}', False),
        ({"error": "no", "code": 5}, '{"error":"no","code":5}', True),
    ],
)
def test_tool_results_are_readable_and_go_back_whole(response, text, is_error):
    part = same_part({"functionResponse": {"name": "f", "id": "1", "response": response}})
    assert isinstance(part, ToolResult)
    assert (part.content, part.is_error, part.call_id, part.name) == ((Text(text),), is_error, "1", "f")


def test_a_tool_result_with_media_and_options():
    part = same_part(
        {
            "functionResponse": {
                "name": "f",
                "response": {"result": "see"},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}],
                "willContinue": True,
                "scheduling": "SILENT",
            }
        }
    )
    assert isinstance(part, ToolResult)
    assert part.content == (Text("see"), Image(Media(data="AA==", mime_type="image/png")))


def test_an_edited_tool_result_goes_out_as_edited():
    part = (
        decode(contents=[{"parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}]}]).messages[0].parts[0]
    )
    assert isinstance(part, ToolResult)
    edited = ToolResult(part.call_id, (Text("shorter"),), name="f", extras=part.extras)
    body, _ = encode(Message("user", (edited,)))
    assert body["contents"][0]["parts"] == [{"functionResponse": {"name": "f", "response": {"result": "shorter"}}}]


@pytest.mark.parametrize(
    "content",
    [
        {"parts": [{"text": "x"}]},
        {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {"result": "x"}}}]},
        {"role": "someone", "parts": [{"text": "x"}]},
        {"role": "model", "parts": []},
        {"role": "user", "parts": [{"text": "x"}], "new": 1},
    ],
)
def test_contents(content):
    same(contents=[content])


@pytest.mark.parametrize(
    "content", [{"parts": []}, {"parts": [{"text": ""}]}, {"role": "user", "parts": [{"text": "x"}]}]
)
def test_system_instruction(content):
    assert same(systemInstruction=content).messages[0].role == "system"


def test_neighbours_of_one_role_stay_apart():
    same(
        contents=[
            HELLO,
            HELLO,
            {"parts": [{"text": "a"}], "role": "model"},
            {"parts": [{"text": "b"}], "role": "model"},
        ]
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xef\xbb\xbf{}",
        b'{"contents":"hello"}',
        b'{"contents":[1]}',
        b'{"contents":[{"parts":"x"}]}',
        b'{"contents":[{"parts":[{"text":1}]}]}',
        b'{"contents":[{"parts":[{"text":"\\ud800"}]}]}',
        b'{"contents":[{"parts":[{"functionCall":{"name":"f","args":[1]}}]}]}',
        b'{"contents":[{"role":1,"parts":[]}]}',
        b'{"contents":[],"generationConfig":{"temperature":"hot"}}',
        b'{"contents":[],"generationConfig":{"maxOutputTokens":1.5}}',
        b'{"contents":[],"generationConfig":{"seed":true}}',
        b'{"contents":[],"systemInstruction":"be brief"}',
        b'{"contents":[],"tools":[{"functionDeclarations":["f"]}]}',
        b'{"contents":[],"toolConfig":{"functionCallingConfig":{"mode":[]}}}',
        b'{"contents":' + b"[" * 100_000,
    ],
)
def test_what_is_no_request(body):
    with pytest.raises(MalformedError):
        GEMINI.decode_request(body, model="m")


# From other formats.


def test_leading_instructions_join():
    body, dropped = encode(Message("system", (Text("a"),)), Message("developer", (Text("b"),)), USER)
    assert body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert not dropped


def test_later_instructions_keep_their_authority_and_lose_their_place():
    body, dropped = encode(Message("system", (Text("a"),)), USER, Message("system", (Text("b"),)), USER)
    assert body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert body["contents"] == [HELLO, HELLO]
    assert dropped == ("messages[2].position",)


def test_calls_and_results_of_one_turn_are_one_content_each():
    body, dropped = encode(
        USER,
        Message("assistant", (Text(""), ToolCall("1", "f", '{"a":1}')), origin="openai"),
        Message("assistant", (ToolCall("2", "g"),), origin="openai"),
        Message("tool", (ToolResult("1", (Text("x"),)),)),
        Message("tool", (ToolResult("2", (Text("y"),), is_error=True),)),
    )
    assert body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {"a": 1}, "id": "1"}},
                {"functionCall": {"name": "g", "args": {}, "id": "2"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "f", "id": "1", "response": {"result": "x"}}},
                {"functionResponse": {"name": "g", "id": "2", "response": {"error": "y"}}},
            ],
        },
    ]
    assert dropped == ("messages[1].parts[0]",)


def test_calls_of_other_models_get_the_documented_signature_where_one_is_demanded():
    messages = (USER, Message("assistant", (ToolCall("1", "f"), ToolCall("2", "g")), origin="openai"))
    parts = encode(*messages, model="gemini-3-pro-preview")[0]["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == ["skip_thought_signature_validator", None]
    assert "thoughtSignature" not in encode(*messages, model="gemini-2.5-pro")[0]["contents"][1]["parts"][0]
    own = Message("assistant", (ToolCall("1", "f"),), origin="gemini")
    assert "thoughtSignature" not in encode(USER, own, model="gemini-3-pro")[0]["contents"][1]["parts"][0]


def test_signatures_and_thinking_of_another_origin_stay_behind():
    foreign = Message(
        "assistant",
        (
            Thinking("hm", signature="s"),
            Text("a", signature="s", extras={"other": {"x": 1}}),
            ToolCall("1", "f", signature="s"),
            Refusal("no"),
        ),
        origin="anthropic",
        extras={"other": {"y": 1}},
    )
    body, dropped = encode(USER, foreign, extras={"other": {"z": 1}}, user="u")
    assert body["contents"][1]["parts"] == [
        {"text": "a"},
        {"functionCall": {"name": "f", "args": {}, "id": "1"}},
        {"text": "no"},
    ]
    assert set(dropped) == {
        "z",
        "messages[1].y",
        "messages[1].parts[0]",
        "messages[1].parts[1].signature",
        "messages[1].parts[1].x",
        "messages[1].parts[2].signature",
        "user",
    }


def test_a_message_of_nothing_but_foreign_thinking_is_left_out():
    body, dropped = encode(USER, Message("assistant", (Thinking("hm"),), origin="anthropic"), USER)
    assert body["contents"] == [HELLO, HELLO]
    assert dropped == ("messages[1].parts[0]",)


def test_media_from_elsewhere():
    parts = (
        Image(Media(url="https://x/a.png"), detail="high"),
        Image(Media(url="data:image/gif;base64,AA==")),
        Document(Media(mime_type="text/plain"), name="n.txt", text="hé"),
        Audio(Media(data="AA==", mime_type="audio/mp3")),
    )
    body, dropped = encode(Message("user", parts))
    assert body["contents"][0]["parts"] == [
        {"fileData": {"fileUri": "https://x/a.png", "mimeType": "image/png"}},
        {"inlineData": {"data": "AA==", "mimeType": "image/gif"}},
        {"inlineData": {"data": "aMOp", "mimeType": "text/plain"}},
        {"inlineData": {"data": "AA==", "mimeType": "audio/mp3"}},
    ]
    assert dropped == ("messages[0].parts[0].detail", "messages[0].parts[2].name")


def test_what_a_model_said_aloud_goes_back_as_its_words():
    said = Message("assistant", (Audio(Media(), id="audio_1", transcript="hi"),), origin="openai")
    body, dropped = encode(USER, said)
    assert body["contents"][1]["parts"] == [{"text": "hi"}]
    assert dropped == ("messages[1].parts[0].media",)


def test_media_in_a_result_stand_beside_it():
    image = Image(Media(data="AA==", mime_type="image/png"))
    body, _ = encode(
        USER,
        Message("assistant", (ToolCall("1", "f"),), origin="anthropic"),
        Message("user", (ToolResult("1", (Text("a"), image, Text("b"))),)),
    )
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"name": "f", "id": "1", "response": {"result": "a\nb"}}},
        {"inlineData": {"data": "AA==", "mimeType": "image/png"}},
    ]


def test_what_is_refused():
    image = Image(Media(file_id="file-1"))
    assert refused(Message("user", (image,))) == "messages[0].parts[0].media.file_id"
    assert refused(Message("user", (Image(Media(data="AA==")),))) == "messages[0].parts[0].media.mime_type"
    assert refused(Message("user", (Image(Media(url="data:text/plain,x")),))) == "messages[0].parts[0].media.url"
    assert refused(Message("user", (Audio(Media()),))) == "messages[0].parts[0].media"
    assert refused(USER, Message("assistant", (Opaque("anthropic", {}),))) == "messages[1].parts[0]"
    assert refused(USER, Message("assistant", (ToolCall("1", "f", '{"a":'),))) == "messages[1].parts[0].arguments"
    assert refused(Message("user", (ToolResult("9", (Text("x"),)),))) == "messages[0].parts[0].name"
    nested = ToolResult("9", (ToolCall("1", "f"),), name="f")
    assert refused(Message("user", (nested,))) == "messages[0].parts[0].content[0]"
    assert refused(Message("system", (image,)), USER) == "messages[0].parts[0]"
    assert refused(Message("system", (Text("x"),))) == "messages"
    assert refused(USER, tools=(Tool("w", wire="anthropic", opaque={}),)) == "tools[0]"
    assert refused(USER, tools=(Tool("f"),), parallel_tool_calls=False) == "parallel_tool_calls"
    assert refused(USER, stop=("1", "2", "3", "4", "5", "6")) == "stop"
    assert refused(USER, seed=2**40) == "seed"
    assert refused(USER, n=9) == "n"


def test_tool_calls_in_parallel_without_tools_mean_nothing():
    assert encode(USER, parallel_tool_calls=False)[1] == ("parallel_tool_calls",)
    assert encode(USER, parallel_tool_calls=True, tools=(Tool("f"),))[1] == ()


def test_one_forced_tool_is_called_once_anyway():
    """Clients ask for structured output so."""
    forced = {"tools": (Tool("f"), Tool("g")), "tool_choice": ToolChoice("tool", ("f",)), "parallel_tool_calls": False}
    assert encode(USER, **forced)[1] == ("parallel_tool_calls",)
    assert refused(USER, **forced | {"tool_choice": ToolChoice("required")}) == "parallel_tool_calls"


@pytest.mark.parametrize(
    ("model", "reasoning", "config", "named"),
    [
        ("gemini-2.0-flash", Reasoning(effort="high"), None, ("reasoning",)),
        ("gemini-1.5-pro", Reasoning(enabled=False), None, ()),
        ("gemini-2.5-pro", Reasoning(enabled=False), {"thinkingBudget": 128}, ("reasoning.enabled",)),
        ("gemini-2.5-flash", Reasoning(budget_tokens=60000), {"thinkingBudget": 24576}, ("reasoning.budget_tokens",)),
        ("gemini-2.5-flash", Reasoning(effort="max"), {"thinkingBudget": 24576}, ("reasoning.effort",)),
        ("gemini-2.5-flash-lite", Reasoning(budget_tokens=9), {"thinkingBudget": 512}, ("reasoning.budget_tokens",)),
        ("gemini-3-pro-preview", Reasoning(effort="medium"), {"thinkingLevel": "HIGH"}, ("reasoning.effort",)),
        ("gemini-3-pro-preview", Reasoning(enabled=False), {"thinkingLevel": "LOW"}, ("reasoning.enabled",)),
        ("gemini-3.1-pro", Reasoning(effort="minimal"), {"thinkingLevel": "LOW"}, ("reasoning.effort",)),
        ("gemini-3-flash", Reasoning(effort="minimal"), {"thinkingLevel": "MINIMAL"}, ()),
        ("gemini-3-flash", Reasoning(effort="none"), {"thinkingLevel": "MINIMAL"}, ("reasoning.effort",)),
        ("gemini-3-flash", Reasoning(effort="xhigh"), {"thinkingLevel": "HIGH"}, ("reasoning.effort",)),
    ],
)
def test_each_generation_is_told_to_think_in_its_own_way(model, reasoning, config, named):
    body, dropped = encode(USER, model=model, reasoning=reasoning)
    assert body.get("generationConfig", {}).get("thinkingConfig") == config
    assert dropped == named


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("gemini-2.5-pro", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {"thinkingBudget": 99999}),
        ("gemini-1.5-pro", {"thinkingBudget": 5, "includeThoughts": True}),
        ("gemini-3-pro", {"thinkingLevel": "XHIGH", "thinkingBudget": 4}),
    ],
)
def test_thinking_that_came_over_this_wire_goes_back_as_it_came(model, config):
    sent = {"contents": [HELLO], "generationConfig": {"thinkingConfig": config}}
    request = GEMINI.decode_request(json.dumps(sent).encode(), model=model)
    encoded = GEMINI.encode_request(request)
    assert json.loads(encoded.body)["generationConfig"] == sent["generationConfig"]
    assert encoded.dropped == ()


TREE = {
    "type": "object",
    "properties": {"name": {"type": ["string", "null"]}, "size": {"$ref": "#/$defs/Size"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"Size": {"type": "integer", "exclusiveMinimum": 0, "description": "In metres."}},
}


def test_old_models_read_the_dialects_own_schema():
    body, dropped = encode(
        USER,
        model="gemini-2.0-flash",
        tools=(Tool("f", parameters=TREE), Tool("g", parameters={"type": "object", "properties": {}})),
        response_format=ResponseFormat("json_schema", schema=TREE),
    )
    written = {
        "type": "OBJECT",
        "properties": {
            "name": {"type": "STRING", "nullable": True},
            "size": {"type": "INTEGER", "minimum": 1, "description": "In metres."},
        },
        "required": ["name"],
        "propertyOrdering": ["name", "size"],
    }
    assert body["tools"] == [{"functionDeclarations": [{"name": "f", "parameters": written}, {"name": "g"}]}]
    assert body["generationConfig"] == {"responseMimeType": "application/json", "responseSchema": written}
    assert dropped == ("tools[0].parameters.additionalProperties", "response_format.schema.additionalProperties")


@pytest.mark.parametrize("model", ["gemini-2.0-flash", "gemini-3-pro"])
def test_a_schema_that_came_over_this_wire_is_never_rewritten(model):
    odd = {**TREE, "minProperties": 1}
    sent = {
        "contents": [HELLO],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": odd}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": odd},
    }
    encoded = GEMINI.encode_request(GEMINI.decode_request(json.dumps(sent).encode(), model=model))
    assert json.loads(encoded.body) == sent
    assert encoded.dropped == ()
