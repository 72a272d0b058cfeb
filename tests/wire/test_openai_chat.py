"""OpenAI chat completions by example: each feature of the format in a few hand-made lines."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from rini.canon import (
    Audio,
    Choice,
    Document,
    Failure,
    Finish,
    Image,
    Media,
    Message,
    Meta,
    Opaque,
    PartDelta,
    PartStart,
    PartStop,
    Reasoning,
    Refusal,
    Reply,
    Request,
    ResponseFormat,
    Start,
    StreamFailure,
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
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.openai_chat import OPENAI_CHAT, OPENAI_COMPATIBLE_CHAT, ChatCodec

NAME = "openai_chat"


def decoded(codec: ChatCodec = OPENAI_CHAT, **fields: Any) -> Request:
    return codec.decode_request(json.dumps({"model": "m", "messages": [], **fields}).encode())


def message(**fields: Any) -> Message:
    return decoded(messages=[fields]).messages[0]


def encoded(request: Request, codec: ChatCodec = OPENAI_CHAT) -> dict[str, Any]:
    return json.loads(codec.encode_request(request).body)


def asked(*messages: Message, codec: ChatCodec = OPENAI_CHAT, **fields: Any) -> dict[str, Any]:
    return encoded(Request(model="m", messages=messages, **fields), codec)


def dropped(*messages: Message, codec: ChatCodec = OPENAI_CHAT, **fields: Any) -> tuple[str, ...]:
    return codec.encode_request(Request(model="m", messages=messages, **fields)).dropped


def back(codec: ChatCodec = OPENAI_CHAT, **fields: Any) -> dict[str, Any]:
    """A request's fields after decoding and encoding."""
    body = encoded(decoded(codec, **fields), codec)
    del body["model"]
    return body


def answered(choice: dict[str, Any] | None = None, **fields: Any) -> Reply:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, **(choice or {})}],
        **fields,
    }
    return OPENAI_CHAT.decode_reply(json.dumps(body).encode())


def said(message: dict[str, Any], **choice: Any) -> Choice:
    return answered({"message": {"role": "assistant", **message}, **choice}).choices[0]


def chunk(delta: dict[str, Any] | None = None, reason: Any = None, /, **fields: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "m",
        "choices": choices,
        "obfuscation": "xyz",
        **fields,
    }


def sse(*chunks: Any, end: bytes = b"data: [DONE]\n\n") -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks) + end


def streamed(*chunks: Any, end: bytes = b"data: [DONE]\n\n") -> list[Any]:
    decoder = OPENAI_CHAT.stream_decoder()
    return decoder.feed(sse(*chunks, end=end)) + decoder.close()


def told(*chunks: Any, end: bytes = b"data: [DONE]\n\n") -> Choice:
    return collect(streamed(*chunks, end=end)).choices[0]


def written(events: list[Any], *, include_usage: bool = True) -> list[Any]:
    encoder = OPENAI_CHAT.stream_encoder(include_usage=include_usage)
    data = b"".join(encoder.feed(event) for event in events) + encoder.close()
    lines = [line.removeprefix("data: ") for line in data.decode().split("\n\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def again(events: list[Any]) -> Reply:
    encoder = OPENAI_CHAT.stream_encoder()
    decoder = OPENAI_CHAT.stream_decoder()
    return collect(
        [
            *decoder.feed(b"".join(encoder.feed(event) for event in events) + encoder.close()),
            *decoder.close(),
        ]
    )


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = ToolCall("call_1", "weather", '{"city":"Seoul"}')


# -- requests: messages ----------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["system", "developer", "user"])
def test_content_is_a_string_or_parts(role):
    assert message(role=role, content="Hi", name="Ann") == Message(role, (Text("Hi"),), "Ann")
    parts = [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ]
    assert back(messages=[{"role": role, "content": parts}])["messages"] == [{"role": role, "content": parts}]


@pytest.mark.parametrize("content", ["", None])
def test_empty_content_stays_legal(content):
    assert back(messages=[{"role": "user", "content": content}])["messages"] == [{"role": "user", "content": ""}]
    assert back(messages=[{"role": "assistant", "content": content}])["messages"] == [
        {"role": "assistant", "content": ""}
    ]


def test_pictures_sound_and_files():
    parts = [
        {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml;utf8,<svg/>"}},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "T2dn", "format": "ogg"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "new_thing", "new_thing": {"a": [1, None]}},
    ]
    got = message(role="user", content=parts).parts
    assert got == (
        Image(Media(url="https://a.example/x.png"), "low"),
        Image(Media(data="AAAA", mime_type="image/png")),
        Image(Media(url="data:image/svg+xml;utf8,<svg/>")),
        Audio(Media(data="UklG", mime_type="audio/wav")),
        Audio(Media(data="T2dn", mime_type="audio/ogg"), extras={NAME: {"input_audio": {"format": "ogg"}}}),
        Document(Media(data="JVBE", mime_type="application/pdf"), "a.pdf"),
        Document(Media(file_id="file-1")),
        Opaque(NAME, {"type": "new_thing", "new_thing": {"a": [1, None]}}),
    )
    assert back(messages=[{"role": "user", "content": parts}])["messages"][0]["content"] == parts


def test_an_assistants_message_comes_back_with_all_its_fields():
    sent = {
        "role": "assistant",
        "content": "Let me see.",
        "reasoning_content": "Hm.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{"}, "index": 0},
            {"id": "call_2", "type": "custom", "custom": {"name": "sum", "input": "4 + 4"}},
        ],
        "audio": {"id": "audio_1"},
        "refusal": "No.",
        "annotations": [],
        "novelty": 1,
    }
    got = message(**sent)
    assert got.origin == NAME
    assert got.parts[:2] == (Thinking("Hm."), Text("Let me see."))
    assert [(part.id, part.name, part.arguments) for part in got.parts if isinstance(part, ToolCall)] == [
        ("call_1", "weather", "{"),
        ("call_2", "sum", "4 + 4"),
    ]
    assert back(messages=[sent])["messages"] == [sent]


def test_thinking_goes_back_in_the_field_it_came_in():
    details = [{"type": "reasoning.encrypted", "data": "x", "index": 0}]
    sent = {"role": "assistant", "content": "a", "reasoning": "Hm.", "reasoning_details": details}
    assert back(messages=[sent])["messages"] == [sent]
    both = {"role": "assistant", "content": "a", "reasoning": "Hm.", "reasoning_content": "Hm."}
    assert message(**both).parts == (Thinking("Hm."), Text("a"))


def test_a_refusal_has_two_places():
    for sent in (
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ):
        assert [part.text for part in message(**sent).parts if isinstance(part, Refusal)] == ["No."]
        assert back(messages=[sent])["messages"] == [sent]


def test_legacy_functions_stay_legacy():
    sent = {
        "functions": [{"name": "weather", "parameters": {"type": "object"}, "extra": 1}],
        "function_call": {"name": "weather"},
        "messages": [
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
            {"role": "function", "name": "weather", "content": "sunny"},
        ],
    }
    got = decoded(**sent)
    assert (got.tools[0].name, got.tool_choice.mode, got.tool_choice.names) == ("weather", "tool", ("weather",))
    assert got.messages[1].parts[0].content == (Text("sunny"),)
    assert back(**sent) == sent


def test_legacy_functions_become_tools_beside_tools():
    request = decoded(functions=[{"name": "weather"}], function_call="auto")
    both = Request(model="m", messages=(), tools=(*request.tools, Tool("clock")), tool_choice=request.tool_choice)
    body = encoded(both)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather", "clock"]
    assert body["tool_choice"] == "auto"
    assert "function_call" not in body


# -- requests: parameters --------------------------------------------------------------------------


def test_parameters_come_back_as_they_were():
    sent = {
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0,
        "top_p": 0.9,
        "seed": 42,
        "presence_penalty": 0.5,
        "frequency_penalty": -1,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "user": "u",
        "stop": ["a", "b"],
        "reasoning_effort": "low",
        "verbosity": "low",
        "store": True,
        "metadata": {"a": "b"},
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "mp3"},
        "prediction": {"type": "content", "content": "x"},
        "service_tier": "flex",
        "web_search_options": {"search_context_size": "low"},
        "prompt_cache_key": "k",
        "logit_bias": {"15339": -100},
        "a_new_one": {"x": None},
    }
    assert back(**sent) == sent


def test_both_names_of_the_token_limit():
    assert back(max_tokens=5)["max_tokens"] == 5
    assert back(max_completion_tokens=5)["max_completion_tokens"] == 5
    assert decoded(max_tokens=5).max_tokens == decoded(max_completion_tokens=5).max_tokens == 5
    both = {"max_tokens": 4, "max_completion_tokens": 5, "messages": []}
    assert decoded(**both).max_tokens == 5
    assert back(**both) == both
    assert asked(max_tokens=5)["max_completion_tokens"] == 5
    # What a compatible server knows is the old name, whichever the client used.
    for name in ("max_tokens", "max_completion_tokens"):
        body = encoded(decoded(**{name: 5}), OPENAI_COMPATIBLE_CHAT)
        assert body["max_tokens"] == 5
        assert "max_completion_tokens" not in body


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"type": "text"}, ResponseFormat("text")),
        ({"type": "json_object"}, ResponseFormat("json")),
        (
            {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": True, "description": "d"}},
            ResponseFormat("json_schema", {}, "a", "d", True),
        ),
        ({"type": "grammar", "grammar": "root ::= a"}, None),
    ],
)
def test_response_formats(sent, expected):
    assert decoded(response_format=sent).response_format == expected
    assert back(response_format=sent)["response_format"] == sent


@pytest.mark.parametrize(
    ("sent", "mode", "names"),
    [
        ("auto", "auto", ()),
        ("none", "none", ()),
        ("required", "required", ()),
        ("any", "required", ()),
        ({"type": "function", "function": {"name": "weather"}}, "tool", ("weather",)),
        ({"type": "custom", "custom": {"name": "sum"}}, "tool", ("sum",)),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [WEATHER]}},
            "auto",
            ("weather",),
        ),
    ],
)
def test_tool_choices(sent, mode, names):
    choice = decoded(tool_choice=sent, tools=[WEATHER]).tool_choice
    assert (choice.mode, choice.names) == (mode, names)
    assert back(tool_choice=sent, tools=[WEATHER])["tool_choice"] == sent


def test_a_choice_among_some_tools_is_sent_as_allowed_tools():
    tools = (Tool("a"), Tool("b"), Tool("c", wire=NAME, opaque={"type": "custom", "custom": {"name": "c"}}))
    assert asked(tools=tools, tool_choice=ToolChoice("required", ("a", "c")))["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "required",
            "tools": [{"type": "function", "function": {"name": "a"}}, {"type": "custom", "custom": {"name": "c"}}],
        },
    }
    assert asked(tools=tools, tool_choice=ToolChoice("tool", ("c",)))["tool_choice"]["type"] == "custom"


def test_unknown_fields_of_tools_survive():
    tools = [
        {"type": "function", "function": {"name": "a", "strict": False, "description": "", "requires": 1}, "cache": {}},
        {"type": "custom", "custom": {"name": "b", "format": {"type": "text"}}},
        {"type": "web_search"},
    ]
    assert back(tools=tools)["tools"] == tools
    assert [tool.name for tool in decoded(tools=tools).tools] == ["a", "b", ""]


def test_what_goes_with_tools_only_is_left_out_without_them():
    assert "tool_choice" not in asked(tool_choice=ToolChoice("auto"), parallel_tool_calls=True)
    assert dropped(tool_choice=ToolChoice("auto"), parallel_tool_calls=True) == ("parallel_tool_calls", "tool_choice")
    with pytest.raises(UnsupportedError, match="tool_choice"):
        asked(tool_choice=ToolChoice("required"))


def test_streams_ask_for_usage_unless_told_otherwise():
    assert back(stream=True)["stream_options"] == {"include_usage": True}
    no = {"include_usage": False, "include_obfuscation": False}
    assert back(stream=True, stream_options=no)["stream_options"] == no
    whole = OPENAI_CHAT.decode_request(b'{"model":"m","messages":[],"stream":true,"stream_options":{}}', stream=False)
    assert not {"stream", "stream_options"} & encoded(whole).keys()
    assert OPENAI_CHAT.decode_request(b'{"messages":[]}', model="deployed", stream=True).stream is True


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        (Reasoning(effort="HIGH"), "high"),
        (Reasoning(enabled=False), "none"),
        (Reasoning(enabled=True, budget_tokens=2000), "low"),
        (Reasoning(budget_tokens=10000), "medium"),
        (Reasoning(budget_tokens=32000), "high"),
        (Reasoning(budget_tokens=-1), None),
        (Reasoning(enabled=True), None),
    ],
)
def test_reasoning_of_other_formats_becomes_effort(reasoning, expected):
    assert asked(reasoning=reasoning).get("reasoning_effort") == expected
    if expected is None or reasoning.budget_tokens is not None:
        assert dropped(reasoning=reasoning)


@pytest.mark.parametrize(
    ("model", "reasoning", "expected", "named"),
    [
        ("o3-mini", Reasoning(effort="xhigh"), "high", ("reasoning.effort",)),
        ("o3", Reasoning(enabled=False), "low", ("reasoning.enabled",)),
        ("gpt-5", Reasoning(enabled=False), "minimal", ("reasoning.enabled",)),
        ("gpt-5-pro", Reasoning(effort="low"), "high", ("reasoning.effort",)),
        ("gpt-5.1", Reasoning(effort="minimal"), "none", ("reasoning.effort",)),
        ("gpt-5.1", Reasoning(enabled=True, budget_tokens=-1), "medium", ("reasoning.budget_tokens",)),
        ("gpt-5.2", Reasoning(effort="max"), "xhigh", ("reasoning.effort",)),
        ("gpt-4o", Reasoning(enabled=True, budget_tokens=2000), None, ("reasoning.budget_tokens",)),
        ("gpt-4.1", Reasoning(enabled=False), None, ()),
        ("a-model-of-tomorrow", Reasoning(effort="max"), "max", ()),
    ],
)
def test_an_effort_that_a_model_lacks_becomes_the_nearest(model, reasoning, expected, named):
    encoded = OPENAI_CHAT.encode_request(Request(model=model, messages=(), reasoning=reasoning))
    assert json.loads(encoded.body).get("reasoning_effort") == expected
    assert encoded.dropped == named


def test_openrouters_reasoning_object():
    sent = {"max_tokens": 2000, "exclude": True, "new": 1}
    got = decoded(reasoning=sent).reasoning
    assert (got.budget_tokens, got.include) == (2000, False)
    assert back(reasoning=sent)["reasoning"] == sent


# -- requests that came from elsewhere -------------------------------------------------------------


def test_results_in_a_users_message_become_messages_of_their_own_and_come_first():
    body = asked(
        Message("assistant", (CALL, ToolCall("call_2", "clock", "{}")), origin="anthropic"),
        Message("user", (Text("Well?"), ToolResult("call_1", (Text("sun"),)), ToolResult("call_2", (), is_error=True))),
    )
    assert body["messages"][1:] == [
        {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
        {"role": "tool", "tool_call_id": "call_2", "content": ""},
        {"role": "user", "content": "Well?"},
    ]


def test_pictures_of_results_follow_the_last_result_of_the_turn():
    picture = Image(Media(url="https://a.example/a.png"))
    messages = (
        Message("assistant", (CALL, ToolCall("call_2", "weather"))),
        Message("tool", (ToolResult("call_1", (Text("sunny"), picture)),)),
        Message("tool", (ToolResult("call_2", (Text("rain"),)),)),
    )
    shown = {"type": "image_url", "image_url": {"url": "https://a.example/a.png"}}
    said = {"type": "text", "text": "From the result of the tool call call_1:"}
    for after in ((), (Message("user", (Text("And?"),)),), (Message("assistant", (Text("Well."),)),)):
        body = asked(*messages, *after)["messages"]
        assert [entry["role"] for entry in body[:4]] == ["assistant", "tool", "tool", "user"]
        assert [entry["content"] for entry in body[1:4]] == ["sunny", "rain", [said, shown]]
        assert len(body) == 4 + len(after)


def test_a_schema_that_came_over_this_wire_is_never_rewritten():
    odd = {"anyOf": [{"type": "object"}], "minProperties": 1}
    tools = [{"type": "function", "function": {"name": "f", "parameters": odd, "strict": True}}]
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": odd, "strict": True}}
    sent = back(tools=tools, response_format=form)
    assert (sent["tools"], sent["response_format"]) == (tools, form)


def test_a_schema_from_elsewhere_is_enforced_only_where_it_can_be():
    loose = {"type": "object", "properties": {"a": {"type": "string"}}}
    tight = {**loose, "required": ["a"], "additionalProperties": False}
    for schema, strict in ((loose, False), (tight, True)):
        body = asked(
            tools=(Tool("f", parameters=schema, strict=True),),
            response_format=ResponseFormat("json_schema", schema=schema),
        )
        assert body["tools"][0]["function"]["strict"] is strict
        assert body["response_format"]["json_schema"] == {"name": "response", "schema": schema, "strict": strict}
    assert dropped(tools=(Tool("f", parameters=loose, strict=True),)) == ("tools[0].strict",)
    with pytest.raises(UnsupportedError, match="must be an object"):
        asked(response_format=ResponseFormat("json_schema", schema={"type": "array", "items": tight}))


def test_a_union_as_a_tools_root_becomes_one_object():
    union = {"anyOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "string"}}}]}
    assert asked(tools=(Tool("f", parameters=union),))["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
    }
    assert dropped(tools=(Tool("f", parameters=union),)) == ("tools[0].parameters.anyOf",)


def test_a_picture_that_only_its_provider_holds_is_left_out_of_an_answer():
    reply = Reply((Choice((Text("a"), Image(Media(file_id="f"))), "stop"),))
    assert "images" not in json.loads(OPENAI_CHAT.encode_reply(reply))["choices"][0]["message"]
    assert written([Start(), PartStart(0, Image(Media(file_id="f"))), PartStop(0), Finish("stop")])


def test_calls_without_ids_get_them_and_their_results_the_same():
    body = asked(
        Message("assistant", (ToolCall("", "a"), ToolCall("", "b"), ToolCall("call_0", "c")), origin="gemini"),
        Message("user", (ToolResult("", name="b"), ToolResult("", name="a"), ToolResult("call_0"))),
        Message("assistant", (ToolCall("", "a"),), origin="gemini"),
        Message("user", (ToolResult(""),)),
    )
    ids = {call["function"]["name"]: call["id"] for call in body["messages"][0]["tool_calls"]}
    assert len(set(ids.values())) == 3
    assert [entry["tool_call_id"] for entry in body["messages"][1:4]] == [ids["b"], ids["a"], "call_0"]
    assert body["messages"][5]["tool_call_id"] == body["messages"][4]["tool_calls"][0]["id"]
    with pytest.raises(UnsupportedError, match="call_id"):
        asked(Message("user", (ToolResult(""),)))


def test_a_result_finds_its_call_though_only_the_client_was_told_an_id():
    body = asked(
        Message("assistant", (ToolCall("", "a"),), origin="gemini"),
        Message("tool", (ToolResult("call_from_the_answer"),)),
    )
    assert body["messages"][1]["tool_call_id"] == body["messages"][0]["tool_calls"][0]["id"]


@pytest.mark.parametrize("origin", ["anthropic", "openai_chat"])
def test_ids_that_are_too_long_for_openai_are_shortened(origin):
    long = "toolu_" + "x" * 60
    messages = (Message("assistant", (ToolCall(long, "a"),), origin=origin), Message("user", (ToolResult(long),)))
    body = asked(*messages)
    assert len(body["messages"][1]["tool_call_id"]) <= 40
    assert body["messages"][1]["tool_call_id"] == body["messages"][0]["tool_calls"][0]["id"]
    assert asked(*messages, codec=OPENAI_COMPATIBLE_CHAT)["messages"][1]["tool_call_id"] == long


def test_what_only_its_origin_can_read_is_left_out_and_named():
    messages = (
        Message(
            "assistant",
            (
                Thinking("Hm.", signature="s"),
                Text("a", signature="t", extras={"gemini": {"x": 1}}),
                ToolCall("1", "f", "{}", signature="u"),
            ),
            origin="gemini",
            extras={"gemini": {"y": 1}},
        ),
        Message("tool", (ToolResult("1", (Text("r", extras={"anthropic": {"cache_control": {}}}),), is_error=True),)),
    )
    assert set(dropped(*messages, extras={"anthropic": {"unheard_of": "c"}})) == {
        "unheard_of",
        "messages[0].y",
        "messages[0].parts[0]",
        "messages[0].parts[1].x",
        "messages[0].parts[1].signature",
        "messages[0].parts[2].signature",
        "messages[1].parts[0].is_error",
        "messages[1].parts[0].content[0].cache_control",
    }
    assert asked(*messages)["messages"][0] == {
        "role": "assistant",
        "content": "a",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([Message("user", (Video(Media(url="https://a.example/v.mp4")),))], "messages[0].parts[0]"),
        ([Message("user", (Document(Media(url="https://a.example/a.pdf")),))], "messages[0].parts[0].media.url"),
        ([Message("user", (Document(Media()),))], "messages[0].parts[0].media"),
        ([Message("user", (Image(Media(file_id="f")),))], "messages[0].parts[0].media.file_id"),
        ([Message("user", (Image(Media(data="AAAA")),))], "messages[0].parts[0].media"),
        ([Message("user", (Image(Media(url="gs://a/b")),))], "messages[0].parts[0].media.url"),
        ([Message("user", (Audio(Media(url="https://a.example/a.wav")),))], "messages[0].parts[0].media"),
        ([Message("user", (Audio(Media(data="A", mime_type="audio/ogg")),))], "messages[0].parts[0].media.mime_type"),
        (
            [
                Message("user", (Text("a"), Opaque("anthropic", {}))),
            ],
            "messages[0].parts[1]",
        ),
        ([Message("user", (CALL,))], "messages[0].parts[0]"),
        ([Message("system", (Image(Media(url="https://a.example/a.png")),))], "messages[0].parts[0]"),
        ([Message("assistant", (Image(Media(url="https://a.example/a.png")),))], "messages[0].parts[0]"),
        ([Message("assistant", (Opaque("gemini", {}),))], "messages[0].parts[0]"),
        ([Message("tool", (Text("a"),))], "messages[0].parts[0]"),
        (
            [Message("tool", (ToolResult("1", (Text("a"), Image(Media(file_id="f")))),))],
            "messages[0].parts[0].content[1].media.file_id",
        ),
        ([Message("tool", (ToolResult("1", (CALL,)),))], "messages[0].parts[0].content[0]"),
    ],
)
def test_what_has_no_equivalent_is_refused_with_its_name(messages, field):
    with pytest.raises(UnsupportedError) as caught:
        asked(*messages)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"top_k": 40}, "top_k"),
        ({"stop": ("a", "b", "c", "d", "e")}, "stop"),
        ({"tools": (Tool("a"), Tool("search", wire="anthropic", opaque={"type": "web_search"}))}, "tools[1]"),
    ],
)
def test_parameters_that_openai_refuses(fields, field):
    with pytest.raises(UnsupportedError) as caught:
        asked(**fields)
    assert caught.value.field == field


def test_a_compatible_server_is_sent_what_such_servers_take():
    body = asked(
        Message("developer", (Text("Be brief."),)),
        Message("user", (Video(Media(url="https://a.example/v.mp4")), Audio(Media(data="A", mime_type="audio/ogg")))),
        codec=OPENAI_COMPATIBLE_CHAT,
        top_k=40,
        max_tokens=5,
    )
    assert (body["top_k"], body["max_tokens"]) == (40, 5)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "video_url", "video_url": {"url": "https://a.example/v.mp4"}},
                {"type": "input_audio", "input_audio": {"data": "A", "format": "ogg"}},
            ],
        },
    ]


def test_plain_text_documents_are_sent_as_text():
    document = Document(Media(mime_type="text/plain"), "notes.txt", "Buy milk.")
    assert asked(Message("user", (document,)))["messages"] == [{"role": "user", "content": "Buy milk."}]
    assert dropped(Message("user", (document,))) == ("messages[0].parts[0].name",)


def test_system_messages_stay_where_they_are():
    messages = [Message(role, (Text(role),)) for role in ("system", "system", "user", "system")]
    assert [entry["role"] for entry in asked(*messages)["messages"]] == ["system", "system", "user", "system"]


# -- whole answers ---------------------------------------------------------------------------------


def test_a_whole_answer():
    reply = answered(
        {"message": {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []}},
        usage={
            "prompt_tokens": 9,
            "completion_tokens": 7,
            "total_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1, "text_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 2, "accepted_prediction_tokens": 3},
        },
        service_tier="default",
        system_fingerprint=None,
    )
    assert reply == Reply(
        choices=(Choice((Text("Hi"),), "stop", "stop"),),
        usage=Usage(
            input_tokens=9,
            output_tokens=7,
            cache_read_tokens=4,
            reasoning_tokens=5,
            input_audio_tokens=1,
            output_audio_tokens=2,
            extras={
                NAME: {
                    "prompt_tokens_details": {"text_tokens": 8},
                    "completion_tokens_details": {"accepted_prediction_tokens": 3},
                }
            },
        ),
        id="chatcmpl-1",
        model="m",
        created=5,
        extras={NAME: {"service_tier": "default"}},
    )


def test_tokens_that_a_server_counts_apart():
    xai = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "total_tokens": 16,
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    usage = answered({"message": {"content": "a"}}, usage=xai).usage
    assert (usage.output_tokens, usage.reasoning_tokens, usage.total_tokens) == (7, 5, 16)
    deepseek = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "prompt_cache_hit_tokens": 4}
    assert answered({"message": {"content": "a"}}, usage=deepseek).usage.cache_read_tokens == 4


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "safety"),
        ("insufficient_system_resource", "other"),
        ("max_tokens", "length"),
        (None, None),
    ],
)
def test_finish_reasons(word, reason):
    choice = said({"content": "a"}, finish_reason=word)
    assert (choice.finish_reason, choice.raw_finish_reason) == (reason, word)
    assert OPENAI_CHAT.decode_reply(OPENAI_CHAT.encode_reply(Reply((choice,)))).choices == (choice,)


def test_everything_in_a_message_is_found():
    choice = said(
        {
            "content": None,
            "refusal": "No.",
            "reasoning_content": "Hm.",
            "audio": {"id": "audio_1", "data": "AAAA", "transcript": "Hi", "expires_at": 7},
            "annotations": [{"type": "url_citation"}],
            "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Seoul"}'}},
                {"id": "call_2", "type": "custom", "custom": {"name": "sum", "input": "4 + 4"}},
                {"id": "call_3", "type": "later", "later": {"x": 1}},
            ],
            "function_call": {"name": "old", "arguments": "{}"},
        },
        logprobs={"content": [{"token": "a"}], "refusal": None},
        content_filter_results={"hate": {"filtered": False}},
    )
    assert choice.parts[:5] == (
        Thinking("Hm."),
        Image(Media(data="AAAA", mime_type="image/png")),
        Refusal("No."),
        Audio(Media(data="AAAA"), "audio_1", "Hi", extras={NAME: {"expires_at": 7}}),
        CALL,
    )
    assert [(part.id, part.name, part.arguments) for part in choice.parts[5:]] == [
        ("call_2", "sum", "4 + 4"),
        ("call_3", "", ""),
        ("", "old", "{}"),
    ]
    assert choice.extras == {
        NAME: {
            "content_filter_results": {"hate": {"filtered": False}},
            "message.annotations": [{"type": "url_citation"}],
            "logprobs.content": [{"token": "a"}],
        }
    }
    assert OPENAI_CHAT.decode_reply(OPENAI_CHAT.encode_reply(Reply((choice,)))).choices == (choice,)


def test_several_choices_are_put_in_order():
    choices = [{"index": 1, "message": {"content": "b"}}, {"index": 0, "message": {"content": "a"}}]
    reply = answered(choices=choices)
    assert [choice.parts for choice in reply.choices] == [(Text("a"),), (Text("b"),)]


def test_arguments_that_are_an_object_become_text():
    call = {"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}
    assert said({"tool_calls": [call]}).parts == (ToolCall("1", "f", '{"a":1}'),)


FOREIGN = Reply(
    choices=(
        Choice(
            (
                Thinking("Hm.", signature="sig"),
                Text("It is "),
                Opaque("anthropic", {"type": "server_tool_use"}),
                Text("sunny.", signature="t"),
                ToolCall("", "weather", "{}", signature="s"),
                Audio(Media(data="AAAA", mime_type="audio/wav")),
            ),
            "stop",
            "end_turn",
            extras={"anthropic": {"container": 1}},
        ),
    ),
    usage=Usage(input_tokens=3, output_tokens=4, cache_write_tokens=1),
    id="msg_1",
    model="claude",
    created=9,
    extras={"anthropic": {"x": 1}},
)


def test_another_formats_answer_is_one_that_the_sdk_reads():
    body = json.loads(OPENAI_CHAT.encode_reply(FOREIGN))
    completion = ChatCompletion.model_validate(body)
    answer = completion.choices[0]
    assert answer.message.content == "It is sunny."
    assert answer.message.model_extra == {"reasoning_content": "Hm."}
    assert answer.finish_reason == "stop"
    assert answer.message.tool_calls[0].id
    assert answer.message.audio.data == "AAAA"
    assert completion.usage.prompt_tokens == 3
    assert "container" not in json.dumps(body)


@pytest.mark.parametrize(
    ("reason", "raw", "word"),
    [
        ("stop", "STOP", "stop"),
        ("length", "max_tokens", "length"),
        ("tool_calls", "tool_use", "tool_calls"),
        ("tool_calls", "function_call", "function_call"),
        ("stop_sequence", "stop_sequence", "stop"),
        ("refusal", "refusal", "content_filter"),
        ("safety", "SAFETY", "content_filter"),
        ("pause", "pause_turn", "length"),
        ("context_full", "model_context_window_exceeded", "length"),
        ("malformed", "MALFORMED_FUNCTION_CALL", "stop"),
        ("other", "OTHER", "stop"),
    ],
)
def test_every_reason_has_a_word_that_the_sdk_knows(reason, raw, word):
    body = json.loads(OPENAI_CHAT.encode_reply(Reply((Choice((Text("a"),), reason, raw),))))
    assert body["choices"][0]["finish_reason"] == word
    events = [Start("1", "m", 1), PartStart(0, Text("a")), PartStop(0), Finish(reason, raw)]
    assert written(events)[-1]["choices"][0]["finish_reason"] == word


# -- streams ---------------------------------------------------------------------------------------


def test_a_stream():
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert streamed(
        chunk({"role": "assistant", "content": "", "refusal": None}, usage=None, service_tier="default"),
        chunk({"content": "Hel"}, usage=None, service_tier="default"),
        chunk({"content": "lo"}, usage=None, service_tier="default"),
        chunk({}, "stop", usage=None, service_tier="default"),
        chunk(usage=usage, service_tier="default"),
    ) == [
        Start("chatcmpl-1", "m", 5, {NAME: {"service_tier": "default"}}),
        PartStart(0, Text("")),
        PartDelta(0, "Hel"),
        PartDelta(0, "lo"),
        PartStop(0),
        Finish("stop", "stop"),
        UsageUpdate(Usage(input_tokens=1, output_tokens=2)),
    ]


def test_thinking_text_and_calls_in_a_stream():
    choice = told(
        chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
        chunk({"content": None, "reasoning_content": "Hm"}),
        chunk({"reasoning_content": "."}),
        chunk({"content": "Let me see."}),
        chunk(
            {"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "2", "type": "custom", "custom": {"name": "g", "input": "4"}}]}),
        chunk({"tool_calls": [{"index": 1, "custom": {"input": " + 4"}}]}),
        chunk({}, "tool_calls"),
    )
    assert choice.parts == (
        Thinking("Hm."),
        Text("Let me see."),
        ToolCall("1", "f", '{"a":1}'),
        ToolCall("2", "g", "4 + 4", extras={NAME: {"type": "custom"}}),
    )
    assert choice.finish_reason == "tool_calls"


def test_a_part_is_stopped_before_the_next_one_starts():
    open_parts: set[int] = set()
    for event in streamed(chunk({"reasoning": "Hm."}), chunk({"content": "a"}), chunk({"refusal": "b"}, "stop")):
        if isinstance(event, PartStart):
            assert not open_parts
            open_parts.add(event.index)
        elif isinstance(event, PartStop):
            open_parts.remove(event.index)
    assert not open_parts


def f(name: str | None = "f", arguments: str = "{}", **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    "deltas",
    [
        [[f(index=0, id="1"), f("g", index=1, id="2")]],  # whole, in one delta
        [[f(id="1")], [f("g", id="2")]],  # no index
        [[f(index=0, id="1")], [f("g", index=0, id="2")]],  # always the index 0
        [[f("f", "{", index=0, id="1")], [f("f", "}", index=0, id="1")], [f("g", index=1, id="2")]],  # all repeated
        [[f("f", "{", id="1")], [f(None, "}")], [f("g", id="2")]],  # no index, and the id only once
        [[f(None, "{", index=0, id="1")], [f("f", "}", index=0)], [f("g", index=1, id="2")]],  # the name comes later
        [[f("f", "{", index=0)], [f(None, "}", index=0, id="1")], [f("g", index=1, id="2")]],  # the id comes later
        [
            [f("f", "{", index=0, id="1")],
            [f("g", "{", index=0, id="2")],
            [f(None, "}", index=0, id="1"), f(None, "}", index=0, id="2")],
        ],
        [[f("f", "{", index=0, id="1"), f("g", "{", index=1, id="2")], [f(None, "}", index=0), f(None, "}", index=1)]],
    ],
)
def test_tool_calls_as_servers_stream_them(deltas):
    chunks = [chunk({"tool_calls": calls}) for calls in deltas]
    events = streamed(*chunks, chunk({}, "tool_calls"))
    assert collect(events).choices[0].parts == (ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}"))
    assert again(events) == collect(events)


def test_a_call_without_any_id():
    choice = told(chunk({"tool_calls": [f(index=0), f("g", index=1)]}), chunk({}, "stop"))
    assert choice.parts == (ToolCall("", "f", "{}"), ToolCall("", "g", "{}"))


def test_a_legacy_call_in_a_stream():
    events = streamed(
        chunk({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{"}}),
        chunk({"function_call": {"arguments": "}"}}),
        chunk({}, "function_call"),
    )
    whole = said({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, finish_reason="function_call")
    assert collect(events).choices == (whole,)
    assert again(events) == collect(events)
    assert "tool_calls" not in json.dumps([each["choices"][0]["delta"] for each in written(events) if each["choices"]])


def test_sound_in_a_stream_that_names_no_reason():
    events = streamed(
        chunk({"role": "assistant", "refusal": None}),
        chunk({"content": None, "audio": {"id": "audio_1", "transcript": "Hel"}}),
        {**chunk(), "choices": None},
        chunk({"audio": {"id": "audio_1", "data": "AA"}}),
        chunk({"audio": {"data": "BB", "transcript": "lo"}}),
        chunk(usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}),
        chunk({"audio": {"expires_at": 7}}),
    )
    choice = collect(events).choices[0]
    assert choice.parts == (Audio(Media(data="AABB"), "audio_1", "Hello", extras={NAME: {"expires_at": 7}}),)
    assert (choice.finish_reason, choice.raw_finish_reason) == ("stop", None)
    assert again(events) == collect(events)


def test_logprobs_and_annotations_add_up_to_the_whole_answers():
    events = streamed(
        {**chunk(), "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [{"token": "a"}]}}]},
        {**chunk(), "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [{"token": "a"}]}}]},
        chunk({"annotations": [{"type": "url_citation"}]}),
        chunk({}, "stop"),
    )
    whole = said(
        {"content": "aa", "annotations": [{"type": "url_citation"}]},
        logprobs={"content": [{"token": "a"}, {"token": "a"}]},
    )
    assert collect(events).choices == (whole,)
    assert again(events) == collect(events)
    first = written(events)[1]["choices"][0]
    assert (first["delta"]["content"], first["logprobs"]) == ("a", {"content": [{"token": "a"}]})


def test_reasoning_details_in_a_stream():
    def detail(text: str) -> dict[str, Any]:
        return {"type": "reasoning.text", "text": text, "index": 0}

    events = streamed(
        chunk({"reasoning": "H", "reasoning_details": [detail("H")], "content": ""}),
        chunk({"reasoning": "m", "reasoning_details": [detail("m")], "content": ""}),
        chunk({"content": "a"}, "stop"),
    )
    thinking = collect(events).choices[0].parts[0]
    assert thinking.text == "Hm"
    assert thinking.extras[NAME]["reasoning_details"] == [detail("H"), detail("m")]
    assert again(events) == collect(events)
    body = asked(Message("assistant", collect(events).choices[0].parts, origin=NAME))
    assert body["messages"][0]["reasoning"] == "Hm"


def test_azures_first_chunk():
    first = {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": [{"prompt_index": 0}],
    }
    filtered = {"index": 0, "delta": {"content": "a"}, "content_filter_results": {"hate": {"filtered": False}}}
    last = {"index": 0, "delta": {}, "finish_reason": "stop", "content_filter_results": {}}
    events = streamed(
        first, {**chunk(), "choices": [filtered]}, {**chunk(), "choices": [filtered]}, {**chunk(), "choices": [last]}
    )
    reply = collect(events)
    assert (reply.id, reply.model, reply.text) == ("chatcmpl-1", "m", "aa")
    assert reply.extras == {NAME: {"prompt_filter_results": [{"prompt_index": 0}]}}
    assert reply.choices[0].extras == {NAME: {"content_filter_results": {"hate": {"filtered": False}}}}
    assert again(events) == reply


def test_a_list_that_every_chunk_repeats_is_told_once():
    events = streamed(
        chunk({"content": "a"}, citations=["x"]),
        chunk({"content": "b"}, citations=["x"]),
        chunk({"content": "c"}, "stop", citations=["x", "y"]),
    )
    assert collect(events).extras == {NAME: {"citations": ["x", "y"]}}


def test_the_frame_may_be_odd():
    text = (
        b": OPENROUTER PROCESSING\r\n\r\n"
        b'data:{"id":"1","choices":[{"delta":{"content":"a"},"finish_reason":""}]}\r\n\r\n'
        b"event: ping\r\n\r\n"
        b'data:{"id":"1","choices":[{"delta":{"role":"assistant","content":"b"},"finish_reason":"stop"}]}\r\n\r\n'
        b'data:{"id":"1","choices":[{"delta":{"content":""},"finish_reason":"stop"}]}'
    )
    decoder = OPENAI_CHAT.stream_decoder()
    events = decoder.feed(text) + decoder.close()
    assert collect(events).choices == (Choice((Text("ab"),), "stop", "stop"),)
    assert sum(isinstance(event, Finish) for event in events) == 1


def test_what_comes_after_the_end_is_not_read():
    decoder = OPENAI_CHAT.stream_decoder()
    decoder.feed(sse(chunk({"content": "a"}, "stop")))
    assert decoder.feed(sse(chunk({"content": "b"})) + b"data: {\n\n") == []
    assert decoder.close() == []


@pytest.mark.parametrize(
    "error",
    [
        b'data: {"error":{"message":"Boom.","type":"server_error","code":null},"obfuscation":"x"}\n\n',
        b'data: {"id":"1","choices":[],"error":{"message":"Boom.","code":502}}\n\n',
        b'event: error\ndata: {"message":"Boom."}\n\n',
        b'data: {"object":"error","message":"Boom.","type":"InternalServerError","code":500}\n\n',
        b'data: {"error":"Boom."}\n\n',
        b'{"error":{"message":"Boom."}}\n',
    ],
)
def test_an_error_in_the_middle_ends_the_stream(error):
    decoder = OPENAI_CHAT.stream_decoder()
    events = decoder.feed(sse(chunk({"content": "a"}), end=b"") + error)
    if error.startswith(b"data"):
        events += decoder.feed(sse(chunk({"content": "b"}, "stop")))
    events += decoder.close()
    assert isinstance(events[-1], StreamFailure)
    assert (events[-1].failure.kind, events[-1].failure.message) == ("server_error", "Boom.")
    assert [event.text for event in events if isinstance(event, PartDelta)] == ["a"]
    lines = written(events)
    assert lines[-1] == events[-1].failure.raw
    assert "error" in json.dumps(lines[-1]) or error.startswith(b"event")


@pytest.mark.parametrize("end", [b"", b"data: {", b'data: {"id"'])
def test_a_stream_without_an_end_is_malformed_but_what_came_is_told(end):
    decoder = OPENAI_CHAT.stream_decoder()
    assert PartDelta(0, "a") in decoder.feed(sse(chunk({"content": "a"}), end=end))
    with pytest.raises(MalformedError):
        decoder.close()


def test_a_finished_stream_needs_no_done():
    decoder = OPENAI_CHAT.stream_decoder()
    events = decoder.feed(sse(chunk({"content": "a"}, "stop"), end=b'data: {"id":'))
    assert Finish("stop", "stop") in events
    assert decoder.close() == []


def test_events_before_a_malformed_one_are_delivered_first():
    decoder = OPENAI_CHAT.stream_decoder()
    assert PartDelta(0, "a") in decoder.feed(sse(chunk({"content": "a"}), end=b"data: <html>\n\n"))
    with pytest.raises(MalformedError):
        decoder.feed(b"data: [DONE]\n\n")


def test_a_stream_reads_as_the_sdk_expects_it():
    events: list[Any] = [
        Start("msg_1", "claude", 9, {"anthropic": {"x": 1}}),
        PartStart(0, Thinking()),
        PartDelta(0, "Hm."),
        PartDelta(0, signature="sig"),
        PartStop(0),
        Meta(),
        PartStart(1, Opaque("anthropic", {"type": "server_tool_use"})),
        PartStop(1),
        PartStart(2, Text("")),
        PartDelta(2, 'It\'s "sunny".\n'),
        PartStop(2),
        PartStart(3, ToolCall("toolu_1", "weather")),
        PartDelta(3, '{"a":'),
        PartDelta(3, "1}"),
        PartStop(3),
        UsageUpdate(Usage(input_tokens=3, output_tokens=4)),
        Finish("tool_calls", "tool_use"),
    ]
    lines = [ChatCompletionChunk.model_validate(line) for line in written(events)]
    assert lines[0].choices[0].delta.role == "assistant"
    assert all(line.id == "msg_1" and line.created == 9 for line in lines)
    assert "".join(line.choices[0].delta.content or "" for line in lines if line.choices) == 'It\'s "sunny".\n'
    calls = [line.choices[0].delta.tool_calls[0] for line in lines if line.choices and line.choices[0].delta.tool_calls]
    assert (calls[0].id, calls[0].function.name) == ("toolu_1", "weather")
    assert "".join(call.function.arguments for call in calls) == '{"a":1}'
    assert lines[-2].choices[0].finish_reason == "tool_calls"
    assert lines[-1].choices == []
    assert lines[-1].usage.total_tokens == 7
    assert all("usage" in line for line in written(events))
    assert not any("usage" in line for line in written(events, include_usage=False))
    assert again(events).choices[0].parts == (
        Thinking("Hm."),
        Text('It\'s "sunny".\n'),
        ToolCall("toolu_1", "weather", '{"a":1}'),
    )


def test_choices_of_a_stream_are_kept_apart():
    events: list[Any] = [
        Start("1", "m", 1),
        PartStart(0, Text("")),
        PartStart(0, Refusal(""), 1),
        PartDelta(0, "a"),
        PartDelta(0, "b", choice=1),
        Finish("stop", "stop"),
        Finish("stop", "stop", choice=1),
    ]
    assert again(events) == Reply(
        (Choice((Text("a"),), "stop", "stop"), Choice((Refusal("b"),), "stop", "stop")), id="1", model="m", created=1
    )


# -- failures --------------------------------------------------------------------------------------


def failed(status: int, error: Any, headers: dict[str, str] | None = None) -> Failure:
    body = error if isinstance(error, bytes) else json.dumps(error).encode()
    return OPENAI_CHAT.decode_failure(status, headers or {}, body)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, {"code": "invalid_api_key"}, "authentication"),
        (401, {"message": "You have insufficient permissions for this operation."}, "permission"),
        (403, {"message": "You are not allowed"}, "permission"),
        (403, {"code": "model_not_found"}, "not_found"),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, "billing"),
        (429, {"code": "rate_limit_exceeded", "type": "insufficient_quota"}, "billing"),
        (402, {"message": "Insufficient credits"}, "billing"),
        (429, {"code": "rate_limit_exceeded", "type": "tokens"}, "rate_limited"),
        (429, {"message": "The engine is currently overloaded, please try again later"}, "overloaded"),
        (404, {"code": "model_not_found"}, "not_found"),
        (400, {"code": "context_length_exceeded"}, "context_too_long"),
        (400, {"message": "This model's maximum context length is 8192 tokens."}, "context_too_long"),
        (413, {"message": "Please reduce the length of the messages."}, "context_too_long"),
        (
            429,
            {
                "message": "Request too large. The input or output tokens must be reduced.",
                "code": "rate_limit_exceeded",
            },
            "context_too_long",
        ),
        (413, {"message": "Payload too large"}, "too_large"),
        (400, {"message": "Bad", "type": "invalid_request_error"}, "invalid_request"),
        (422, {"message": "Bad"}, "invalid_request"),
        (400, {"code": "content_filter", "innererror": {}}, "safety"),
        (400, {"code": "content_policy_violation"}, "safety"),
        (503, {"message": "x"}, "overloaded"),
        (500, {"message": "x", "type": "server_error"}, "server_error"),
        (504, {"message": "x"}, "timeout"),
        (408, {"message": "x"}, "timeout"),
    ],
)
def test_kinds_of_failure(status, error, kind):
    assert failed(status, {"error": error}).kind == kind


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, "", 1.5),
        ({"retry-after": "9"}, "try again in 20s", 9),
        ({"retry-after": "Fri, 01 May 2026 00:00:30 GMT", "date": "Fri, 01 May 2026 00:00:00 GMT"}, "", 30),
        ({"retry-after": "Fri, 01 May 2020 00:00:30 GMT"}, "", 0),
        ({"retry-after": "soon"}, "Please try again in 1m2.5s. Visit", 62.5),
        ({"retry-after": "nan"}, "Please try again in 120ms.", 0.12),
        ({"retry-after": "inf", "retry-after-ms": "-1"}, "", None),
    ],
)
def test_how_long_to_wait(headers, message, seconds):
    waited = failed(429, {"error": {"message": message}}, headers).retry_after
    assert waited == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The provider answered with status 503 and nothing else."),
        (b"upstream connect error", "upstream connect error"),
        (b"<html>" + b"x" * 900, "<html>" + "x" * 494),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"detail":"Not here"}', "Not here"),
        (b'{"detail":[{"msg":"x"}]}', '[{"msg":"x"}]'),
        (b'{"object":"error","message":"No","code":40301}', "No"),
        (b'[{"error":{"code":503,"message":"Full"}}]', "Full"),
        (b'{"error":"plain"}', "plain"),
        (b'{"error":null}', '{"error":null}'),
        (b"[" * 5000, "[" * 500),
    ],
)
def test_bodies_of_failures(body, message):
    failure = failed(503, body)
    assert (failure.kind, failure.message, failure.status) == ("overloaded", message, 503)


def test_failures_of_other_formats_are_told_in_openais_words():
    failure = Failure("overloaded", "Full.", status=529, wire="anthropic", raw={"type": "error"})
    status, body = OPENAI_CHAT.encode_failure(failure)
    assert (status, json.loads(body)) == (
        503,
        {"error": {"message": "Full.", "type": "server_error", "param": None, "code": "server_overloaded"}},
    )


@pytest.mark.parametrize(
    "kind",
    [
        "authentication", "permission", "billing", "rate_limited", "not_found", "context_too_long", "too_large",
        "invalid_request", "safety", "overloaded", "server_error", "timeout",
    ],
)  # fmt: skip
def test_a_kind_survives_being_told(kind):
    status, body = OPENAI_CHAT.encode_failure(Failure(kind, "It did not work."))
    assert OPENAI_CHAT.decode_failure(status, {}, body).kind == kind


# -- what is not the format ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b"<html>", b'{"model":"m"}', b'{"messages":[]}', b'{"model":1,"messages":[]}',
        b'{"model":"m","messages":{}}', b'{"model":"m","messages":["a"]}', b'{"model":"m","messages":[{}]}',
        b'{"model":"m","messages":[{"role":["user"]}]}', b'{"model":"m","messages":[{"role":"user","content":1}]}',
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}',
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}',
        b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"1"}]}]}',
        b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"type":["x"]}]}]}',
        b'{"model":"m","messages":[],"tools":[{"type":"function"}]}',
        b'{"model":"m","messages":[],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":[],"tools":[]}}}',
        b'{"model":"m","messages":[],"stop":[1]}', b'{"model":"m","messages":[],"temperature":"1"}',
        b'{"model":"m","messages":[],"stream":1}', b'{"model":"m","messages":[],"stream_options":true}', b'{"model":"m","messages":[],"x":' + b"[" * 5000,
        b'{"model":"m","messages":[],"user":"\\ud800"}', b'{"model":"m","messages":[],"user":"\xff"}',
    ],
)  # fmt: skip
def test_malformed_requests(body):
    with pytest.raises(MalformedError):
        OPENAI_CHAT.decode_request(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"{}", b"<html>", b'{"choices":null}', b'{"choices":[1]}', b'{"choices":[{}]}',
        b'{"choices":[{"message":{"content":1}}]}', b'{"choices":[{"message":{},"finish_reason":1}]}',
        b'{"choices":[{"message":{"tool_calls":{}}}]}', b'{"choices":[],"usage":"none"}',
        b'{"choices":[],"usage":{"prompt_tokens":true}}', b'{"choices":[],"id":1}',
        b'{"error":{"message":"x"}}', b'{"choices":[],"x":' + b"[" * 5000,
    ],
)  # fmt: skip
def test_malformed_answers(body):
    with pytest.raises(MalformedError):
        OPENAI_CHAT.decode_reply(body)
    decoder = OPENAI_CHAT.stream_decoder()
    with pytest.raises(MalformedError):  # noqa: PT012 - one of the two says so
        failure = [event for event in decoder.feed(b"data: " + body + b"\n\n") if isinstance(event, StreamFailure)]
        decoder.close()
        if failure:
            raise MalformedError("It is a failure, which is just as good.")


def test_a_byte_order_mark_is_ignored():
    assert OPENAI_CHAT.decode_request(b'\xef\xbb\xbf{"model":"m","messages":[]}').model == "m"
