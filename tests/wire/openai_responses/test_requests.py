"""Requests by example: each feature of the format in a few hand-made lines, and what other formats' requests become."""

import json
from typing import Any

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
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import Codec, EncodedRequest, MalformedError, UnsupportedError
from rini.wire.gemini import GEMINI
from rini.wire.openai_chat import OPENAI_CHAT
from rini.wire.openai_responses import OPENAI_RESPONSES

NAME = "openai_responses"


def decoded(**fields: Any) -> Request:
    return OPENAI_RESPONSES.decode_request(json.dumps({"model": "m", "input": [], **fields}).encode())


def encoded(request: Request) -> dict[str, Any]:
    return json.loads(OPENAI_RESPONSES.encode_request(request).body)


def back(**fields: Any) -> dict[str, Any]:
    """What a request of this format is after decoding and encoding."""
    return encoded(decoded(**fields))


def asked(*messages: Message, **fields: Any) -> dict[str, Any]:
    return encoded(Request(model="m", messages=messages, **fields))


def dropped(*messages: Message, **fields: Any) -> tuple[str, ...]:
    return OPENAI_RESPONSES.encode_request(Request(model="m", messages=messages, **fields)).dropped


def refused(*messages: Message, **fields: Any) -> str:
    with pytest.raises(UnsupportedError) as found:
        asked(*messages, **fields)
    return found.value.field


USER = Message("user", (Text("Hi"),))

# -- input -----------------------------------------------------------------------------------------


def test_a_text_is_the_users_message():
    request = decoded(input="Hi")
    assert request.messages == (USER,)
    assert encoded(request) == {"model": "m", "input": "Hi"}
    assert back(input=[{"role": "user", "content": "Hi"}])["input"] == [{"role": "user", "content": "Hi"}]


def test_instructions_are_told_from_a_system_message_in_the_input():
    given = {"instructions": "Be brief.", "input": [{"role": "system", "content": "Be kind."}]}
    request = decoded(**given)
    assert [message.role for message in request.messages] == ["system", "system"]
    assert back(**given) == {"model": "m", **given}
    alone = {"input": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]}
    assert decoded(**alone).messages[0].parts == (Text("Be kind."),)
    assert back(**alone) == {"model": "m", **alone}


def test_other_formats_system_prompts_become_instructions():
    assert asked(Message("system", (Text("Be brief."),)), USER)["instructions"] == "Be brief."
    two = asked(Message("system", (Text("a"), Text("b"))), Message("developer", (Text("c"),)), USER)
    assert "instructions" not in two
    assert two["input"][0] == {
        "role": "system",
        "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
    }
    assert two["input"][1] == {"role": "developer", "content": "c"}


TURN: list[dict[str, Any]] = [
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
        "encrypted_content": "secret",
    },
    {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "phase": "commentary",
        "content": [
            {"type": "output_text", "text": "a", "annotations": [{"type": "url_citation", "url": "u"}]},
            {"type": "refusal", "refusal": "b"},
        ],
    },
    {
        "type": "message",
        "id": "msg_2",
        "role": "assistant",
        "content": [{"type": "output_text", "annotations": [], "text": "c"}],
    },
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "g", "input": "free"},
]


def test_what_a_model_wrote_is_one_message():
    request = decoded(input=[{"role": "user", "content": "Hi"}, *TURN, {"role": "user", "content": "More"}])
    user, assistant, _ = request.messages
    assert user == USER
    assert (assistant.role, assistant.origin) == ("assistant", NAME)
    thoughts = [part for part in assistant.parts if isinstance(part, Thinking)]
    assert [(part.text, part.signature) for part in thoughts] == [("one", None), ("two", "secret")]
    assert [part.text for part in assistant.parts if isinstance(part, Text | Refusal)] == ["a", "b", "c"]
    calls = [part for part in assistant.parts if isinstance(part, ToolCall)]
    assert [(call.id, call.name, call.arguments) for call in calls] == [("c1", "f", "{}"), ("c2", "g", "free")]
    assert assistant.parts[5] == Opaque(NAME, TURN[3])
    assert encoded(request)["input"][1:-1] == TURN


def test_two_messages_without_ids_stay_two():
    items = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert len(decoded(input=items).messages) == 1
    assert [json.dumps(item["content"]) for item in back(input=items)["input"]] == ['"a"', '"b"']


def test_raw_thoughts_stay_apart_from_summaries():
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "s"}],
        "content": [{"type": "reasoning_text", "text": "r"}],
    }
    assert back(input=[item])["input"] == [item]


def test_what_a_message_holds_that_is_unknown():
    content = [{"type": "output_text", "annotations": [], "text": "a"}, {"type": "hologram", "data": 1}]
    items = [{"type": "message", "id": "msg_1", "role": "assistant", "content": content}]
    assert back(input=items)["input"] == items
    items[0]["content"] = content[::-1]
    assert back(input=items)["input"] == items
    assert back(input=[{**items[0], "content": []}])["input"] == [{**items[0], "content": []}]


@pytest.mark.parametrize(
    "output",
    [
        "sunny",
        [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}],
        [{"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}],
    ],
)
@pytest.mark.parametrize("kind", ["function_call_output", "custom_tool_call_output"])
def test_results_of_tools(output, kind):
    item = {"type": kind, "call_id": "c1", "output": output}
    request = decoded(input=[item])
    assert request.messages[0].role == "tool"
    assert isinstance(request.messages[0].parts[0], ToolResult)
    assert encoded(request)["input"] == [item]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"id": "msg_1"},
        {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot"}},
        {"type": "mcp_approval_response", "approval_request_id": "m", "approve": True},
        {"type": "additional_tools", "role": "developer", "tools": []},
        {"type": "compaction", "id": "cmp", "encrypted_content": "x"},
        {"type": "not_heard_of", "a": None},
    ],
)
def test_other_items_are_kept_whole(item):
    request = decoded(input=[item, {"role": "user", "content": "Hi"}])
    assert request.messages[0].parts == (Opaque(NAME, item),)
    assert encoded(request)["input"][0] == item


PARTS = [
    ({"type": "input_text", "text": "a"}, Text("a")),
    (
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
        Image(Media(data="AAAA", mime_type="image/png"), "low"),
    ),
    ({"type": "input_image", "image_url": "https://a.example/x.png"}, Image(Media(url="https://a.example/x.png"))),
    ({"type": "input_image", "file_id": "file-1"}, Image(Media(file_id="file-1"))),
    (
        {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
        Document(Media(data="AAAA", mime_type="application/pdf"), "a.pdf"),
    ),
    ({"type": "input_file", "file_url": "https://a.example/a.pdf"}, Document(Media(url="https://a.example/a.pdf"))),
    (
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        Audio(Media(data="AAAA", mime_type="audio/wav")),
    ),
]


@pytest.mark.parametrize(("wire", "canon"), PARTS)
def test_parts_of_messages(wire, canon):
    items = [{"role": "user", "content": [wire, {"type": "input_text", "text": "?", "prompt_cache_breakpoint": {}}]}]
    request = decoded(input=items)
    assert request.messages[0].parts[0] == canon
    assert encoded(request)["input"] == items
    assert asked(Message("user", (canon, Text("?"))))["input"][0]["content"][0] == wire


# -- options ---------------------------------------------------------------------------------------

OPTIONS: dict[str, Any] = {
    "tools": [
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True, "defer_loading": True},
        {"type": "custom", "name": "g", "format": {"type": "text"}},
        {"type": "web_search", "search_context_size": "low"},
    ],
    "parallel_tool_calls": False,
    "max_output_tokens": 20,
    "max_tool_calls": 2,
    "temperature": 0.5,
    "top_p": 1,
    "top_logprobs": 2,
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {}, "strict": True}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "detailed", "context": "auto"},
    "user": "u",
    "metadata": {"a": "b"},
    "store": True,
    "truncation": "auto",
    "service_tier": "flex",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "background": True,
    "previous_response_id": "resp_1",
    "conversation": {"id": "conv_1"},
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "unheard_of": [1],
}


def test_options_come_back_as_they_were():
    assert back(input="Hi", **OPTIONS) == {"model": "m", "input": "Hi", **OPTIONS}


def test_options_have_their_names_in_canon():
    request = decoded(input="Hi", **OPTIONS)
    assert (request.max_tokens, request.temperature, request.top_p, request.user) == (20, 0.5, 1, "u")
    assert (request.logprobs, request.top_logprobs, request.parallel_tool_calls) == (True, 2, False)
    assert request.stream
    assert request.response_format is not None
    assert (request.response_format.kind, request.response_format.name) == ("json_schema", "a")
    assert request.reasoning is not None
    assert (request.reasoning.effort, request.reasoning.include) == ("low", True)
    function, custom, search = request.tools
    assert (function.name, function.strict, function.opaque) == ("f", True, None)
    assert (custom.name, custom.wire) == ("g", NAME)
    assert (search.name, search.opaque) == ("web_search", OPTIONS["tools"][2])


@pytest.mark.parametrize(
    ("wire", "canon"),
    [
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("required")),
        ("none", ToolChoice("none")),
        ({"type": "function", "name": "f"}, ToolChoice("tool", ("f",))),
        ({"type": "custom", "name": "g"}, ToolChoice("tool", ("g",))),
        ({"type": "web_search"}, ToolChoice("tool", ("web_search",))),
        ({"type": "mcp", "server_label": "s", "name": "x"}, ToolChoice("tool", ("x",))),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice("required", ("f",)),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "s"}]},
            ToolChoice("auto", ("s",)),
        ),
    ],
)
def test_choices_of_tools(wire, canon):
    request = decoded(tools=OPTIONS["tools"], tool_choice=wire)
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.names) == (canon.mode, canon.names)
    assert encoded(request)["tool_choice"] == wire


def test_choices_of_tools_from_elsewhere():
    tools = decoded(tools=OPTIONS["tools"]).tools

    def chosen(choice: ToolChoice) -> Any:
        return asked(USER, tools=tools, tool_choice=choice)["tool_choice"]

    assert chosen(ToolChoice("tool", ("f",))) == {"type": "function", "name": "f"}
    assert chosen(ToolChoice("tool", ("g",))) == {"type": "custom", "name": "g"}
    assert chosen(ToolChoice("required", ("web_search",))) == {"type": "web_search"}
    assert chosen(ToolChoice("required", ("f", "g"))) == {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}],
    }
    assert refused(USER, tool_choice=ToolChoice("required")) == "tool_choice"
    assert dropped(USER, tool_choice=ToolChoice("auto"), parallel_tool_calls=True) == (
        "parallel_tool_calls",
        "tool_choice",
    )


def test_a_stored_prompt_needs_no_model_and_no_input():
    body = {"prompt": {"id": "pmpt_1", "variables": {"a": "b"}}}
    request = OPENAI_RESPONSES.decode_request(json.dumps(body).encode())
    assert encoded(request) == body
    assert OPENAI_RESPONSES.decode_request(json.dumps(body).encode(), model="n", stream=True).model == "n"
    with pytest.raises(MalformedError):
        OPENAI_RESPONSES.decode_request(b'{"input":"Hi"}')


# -- what comes from other formats -----------------------------------------------------------------


def test_requests_of_other_formats_are_not_stored_and_ask_for_thoughts_that_can_be_sent_back():
    assert asked(USER) == {"model": "m", "input": [{"role": "user", "content": "Hi"}], "store": False}
    thinking = asked(USER, reasoning=Reasoning(effort="low", include=True))
    assert thinking["include"] == ["reasoning.encrypted_content"]
    assert thinking["reasoning"] == {"effort": "low", "summary": "auto"}
    assert thinking["store"] is False
    for nothing in (Reasoning(enabled=False), Reasoning(effort="none"), Reasoning(budget_tokens=0)):
        assert "include" not in asked(USER, reasoning=nothing)
    own = asked(USER, reasoning=Reasoning(effort="low"), extras={NAME: {"store": True, "include": []}})
    assert own["store"] is True
    # A client of this format decides by itself.
    assert back(input="Hi", reasoning={"effort": "low"}) == {
        "model": "m",
        "input": "Hi",
        "reasoning": {"effort": "low"},
    }


def test_functions_of_other_formats_are_not_made_strict():
    tool = Tool("f", "d", {"type": "object"})
    assert asked(USER, tools=(tool,))["tools"] == [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False}
    ]
    own = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    assert back(tools=own)["tools"] == own
    assert refused(USER, tools=(Tool("s", wire="anthropic", opaque={"type": "s"}),)) == "tools[0]"


def test_what_has_no_equivalent():
    assert refused(USER, top_k=4) == "top_k"
    assert refused(USER, stop=("a",)) == "stop"
    assert refused(USER, n=2) == "n"
    assert refused(USER, max_tokens=5) == "max_tokens"
    assert refused(Message("user", (Video(Media(url="u")),))) == "messages[0].parts[0]"
    assert refused(Message("user", (Opaque("anthropic", {}),))) == "messages[0].parts[0]"
    assert refused(Message("user", (Image(Media(data="AAAA")),))) == "messages[0].parts[0].media"
    assert refused(Message("user", (Image(Media(file_id="file_011C")),))) == "messages[0].parts[0].media.file_id"
    assert refused(Message("assistant", (Image(Media(url="u")),))) == "messages[0].parts[0]"
    assert refused(Message("system", (Image(Media(url="u")),))) == "messages[0].parts[0]"
    assert refused(Message("tool", (ToolResult("c", (Audio(Media(data="A")),)),))) == "messages[0].parts[0].content[0]"
    named = dropped(
        Message("user", (Text("a", signature="s", extras={"gemini": {"x": 1}}),), name="Ann"),
        Message("assistant", (Thinking("hm", signature="s"), ToolCall("c", "f")), origin="anthropic"),
        Message("tool", (ToolResult("c", (Text("r"),), name="f", is_error=True),)),
        seed=1,
        presence_penalty=0.5,
        frequency_penalty=0.5,
        reasoning=Reasoning(enabled=True, budget_tokens=5000),
        extras={"anthropic": {"a": 1}, "gemini": {"~note": 1}},
    )
    assert named == (
        "a",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "messages[0].name",
        "messages[0].parts[0].x",
        "messages[0].parts[0].signature",
        "messages[1].parts[0]",
        "messages[2].parts[0].is_error",
        "reasoning.budget_tokens",
    )
    called = Message("assistant", (ToolCall("c", "f"),), origin="gemini")
    assert dropped(called, Message("tool", (ToolResult("c", name="g"),))) == ("messages[1].parts[0].name",)


def asked_in(codec: Codec, **fields: Any) -> EncodedRequest:
    """What a request of another format becomes."""
    return OPENAI_RESPONSES.encode_request(codec.decode_request(json.dumps({"model": "m", **fields}).encode()))


CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
CLAUDE: dict[str, Any] = {"max_tokens": 100, **CHAT}
GOOGLE: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_what_openai_has_in_both_formats_passes():
    alike = {
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "prompt_cache_options": {"mode": "explicit"},
        "prompt_cache_retention": "24h",
        "safety_identifier": "s",
        "store": True,
        "moderation": {"model": "omni-moderation-latest"},
    }
    streams = {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}}
    result = asked_in(OPENAI_CHAT, **CHAT, **alike, **streams, verbosity="low", response_format={"type": "json_object"})
    assert result.dropped == ()
    assert json.loads(result.body) == {
        "model": "m",
        "input": [{"role": "user", "content": "Hi"}],
        **alike,
        "text": {"verbosity": "low", "format": {"type": "json_object"}},
        "stream": True,
        "stream_options": {"include_obfuscation": False},
    }


@pytest.mark.parametrize(
    ("codec", "fields", "named"),
    [
        (OPENAI_CHAT, {**CHAT, "prediction": {"type": "content"}, "reasoning": {"effort": "low"}}, ("prediction",)),
        (
            ANTHROPIC,
            {**CLAUDE, "service_tier": "auto", "thinking": {"type": "disabled"}, "output_format": None},
            ("service_tier",),
        ),
        (
            GEMINI,
            {**GOOGLE, "safetySettings": [{"category": "X"}], "systemInstruction": {"role": "x", "parts": []}},
            ("safetySettings",),
        ),
    ],
)
def test_other_fields_of_other_formats_are_named_by_their_own_path(codec, fields, named):
    assert asked_in(codec, **fields).dropped == named


@pytest.mark.parametrize(
    ("codec", "fields", "field"),
    [
        (OPENAI_CHAT, {**CHAT, "modalities": ["text", "audio"], "audio": {"voice": "ash"}}, "modalities"),
        (OPENAI_CHAT, {**CHAT, "web_search_options": {}}, "web_search_options"),
        (OPENAI_CHAT, {**CHAT, "logit_bias": {"1": 1}}, "logit_bias"),
        (ANTHROPIC, {**CLAUDE, "mcp_servers": [{"url": "u"}]}, "mcp_servers"),
        (ANTHROPIC, {**CLAUDE, "container": "c"}, "container"),
        (GEMINI, {**GOOGLE, "cachedContent": "cachedContents/1"}, "cachedContent"),
        (GEMINI, {**GOOGLE, "generationConfig": {"speechConfig": {"a": 1}}}, "generationConfig.speechConfig"),
    ],
)
def test_what_only_another_format_can_answer_is_refused(codec, fields, field):
    with pytest.raises(UnsupportedError) as found:
        asked_in(codec, **fields)
    assert found.value.field == field


def test_marks_for_openais_cache_pass():
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    result = asked_in(
        OPENAI_CHAT,
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "a", **mark}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://u"}, **mark}]},
            {"role": "assistant", "content": [{"type": "text", "text": "b", **mark}]},
        ],
    )
    assert result.dropped == ("messages[2].parts[0].prompt_cache_breakpoint",)
    assert json.loads(result.body)["input"] == [
        {"role": "system", "content": [{"type": "input_text", "text": "a", **mark}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://u", **mark}]},
        {"role": "assistant", "content": "b"},
    ]


def test_that_thoughts_are_shown_is_nothing_of_this_format_alone():
    request = decoded(input="Hi", reasoning={"effort": "low", "summary": "auto"})
    assert request.reasoning == Reasoning(effort="low", include=True)
    assert encoded(request)["reasoning"] == {"effort": "low", "summary": "auto"}
    assert GEMINI.encode_request(request).dropped == ()


def test_what_is_asked_of_the_probabilities():
    wanted = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    request = decoded(input="Hi", include=wanted, top_logprobs=2)
    assert (request.logprobs, request.top_logprobs) == (True, 2)
    assert OPENAI_CHAT.encode_request(request).dropped == ()
    # By itself the number asks for nothing here, and is an error elsewhere.
    alone = decoded(input="Hi", top_logprobs=2)
    assert (alone.logprobs, alone.top_logprobs) == (None, None)
    assert OPENAI_CHAT.encode_request(alone).dropped == ("top_logprobs",)
    assert OPENAI_CHAT.encode_request(decoded(input="Hi", top_logprobs=0)).dropped == ()
    for number in (0, 2):
        assert back(input="Hi", top_logprobs=number)["top_logprobs"] == number
    assert json.loads(asked_in(OPENAI_CHAT, **CHAT, logprobs=True, top_logprobs=2).body)["include"] == wanted[:1]


@pytest.mark.parametrize(
    ("reasoning", "effort"),
    [
        (Reasoning(budget_tokens=1024), "low"),
        (Reasoning(budget_tokens=10_000), "medium"),
        (Reasoning(budget_tokens=30_000), "high"),
        (Reasoning(effort="HIGH"), "high"),
        (Reasoning(enabled=False), "none"),
        (Reasoning(budget_tokens=0), "none"),
    ],
)
def test_how_much_a_model_may_think(reasoning, effort):
    assert asked(USER, reasoning=reasoning)["reasoning"] == {"effort": effort}


def test_a_conversation_that_another_provider_began():
    items = asked(
        USER,
        Message(
            "assistant",
            (Text("Let me look."), ToolCall("toolu_1", "f", "{}"), ToolCall("x" * 70, "g", "{}")),
            origin="anthropic",
        ),
        Message(
            "user",
            (
                ToolResult("toolu_1", (Text("r"), Image(Media(data="AAAA", mime_type="image/png")))),
                ToolResult("x" * 70),
                Text("Go on."),
            ),
        ),
    )["input"]
    assert items[1] == {"role": "assistant", "content": "Let me look."}
    assert items[2] == {"type": "function_call", "arguments": "{}", "call_id": "toolu_1", "name": "f"}
    assert items[4]["call_id"] == "toolu_1"
    assert items[4]["output"] == [
        {"type": "input_text", "text": "r"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
    ]
    assert len(items[3]["call_id"]) <= 64
    assert items[3]["call_id"] == items[5]["call_id"]
    assert items[5]["output"] == ""
    assert items[6] == {"role": "user", "content": "Go on."}


def test_calls_without_ids_get_some():
    items = asked(
        Message("assistant", (ToolCall("", "f"), ToolCall("", "g"), ToolCall("a.b:c", "h")), origin="gemini"),
        Message("user", (ToolResult("", name="g"), ToolResult("", name="f"), ToolResult("a.b:c", name="h"))),
    )["input"]
    first, second, third = (item["call_id"] for item in items[:3])
    assert len({first, second, third}) == 3
    assert all(call_id.replace("_", "").isalnum() for call_id in (first, second, third))
    assert [item["call_id"] for item in items[3:]] == [second, first, third]
    assert refused(Message("user", (ToolResult("", name="f"),))) == "messages[0].parts[0].call_id"


def test_thoughts_go_back_where_they_came_from():
    thoughts = Thinking("hm", signature="secret", extras={NAME: {"item.id": "rs_1"}})
    call = ToolCall("c", "f", "{}", extras={NAME: {"id": "fc_1"}})
    items = asked(Message("assistant", (thoughts, call), origin=NAME))["input"]
    assert items[0] == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "secret",
    }
    assert items[1]["id"] == "fc_1"
    # Without their encrypted content OpenAI could not find them, as nothing is stored; nor what it stored together with them.
    unproven = Thinking("hm", extras={NAME: {"item.id": "rs_1"}})
    message = Message("assistant", (unproven, call), origin=NAME)
    assert dropped(message) == ("messages[0].parts[0]",)
    assert asked(message)["input"] == [{"type": "function_call", "arguments": "{}", "call_id": "c", "name": "f"}]


def test_thoughts_of_another_provider_that_a_client_sends_back_are_left_out():
    body = json.loads(
        OPENAI_RESPONSES.encode_reply(
            OPENAI_RESPONSES.decode_reply(
                json.dumps({"id": "chatcmpl", "output": [{"type": "reasoning", "summary": [{"text": "hm"}]}]}).encode()
            )
        )
    )
    request = decoded(input=[*body["output"], {"role": "user", "content": "Hi"}])
    result = OPENAI_RESPONSES.encode_request(request)
    assert result.dropped == ("messages[0].parts[0]",)
    assert json.loads(result.body)["input"] == [{"role": "user", "content": "Hi"}]


def test_files_of_other_formats():
    pdf = Document(Media(data="AAAA", mime_type="application/pdf"))
    assert asked(Message("user", (pdf,)))["input"][0]["content"] == [
        {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "document.pdf"}
    ]
    text = Document(Media(mime_type="text/plain"), "a.txt", "words")
    assert asked(Message("user", (text,)))["input"][0]["content"] == "words"
    assert dropped(Message("user", (text,))) == ("messages[0].parts[0].name",)
    spoken = Message("assistant", (Audio(Media(data="A"), "id", "words"),), origin="openai_chat")
    assert asked(spoken)["input"][0]["content"][0]["text"] == "words"
    assert dropped(spoken) == ("messages[0].parts[0].media",)


def test_forms_of_answers_from_elsewhere():
    form = ResponseFormat("json_schema", {"type": "object"}, strict=True)
    assert asked(USER, response_format=form)["text"] == {
        "format": {"type": "json_schema", "name": "response", "schema": {"type": "object"}, "strict": True}
    }
    assert asked(USER, response_format=ResponseFormat("json"))["text"] == {"format": {"type": "json_object"}}
    assert asked(USER, logprobs=True, top_logprobs=3)["include"] == ["message.output_text.logprobs"]


@pytest.mark.parametrize(
    "fields",
    [
        {"input": 5},
        {"input": [5]},
        {"input": [{"role": "king", "content": "a"}]},
        {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
        {"input": [{"type": "function_call", "call_id": "c"}]},
        {"instructions": 5},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "perhaps"},
        {"tool_choice": {"type": "function"}},
        {"tool_choice": {"type": "allowed_tools", "mode": "none", "tools": []}},
        {"text": []},
        {"include": "all"},
        {"max_output_tokens": "20"},
    ],
)
def test_what_is_not_the_format(fields):
    with pytest.raises(MalformedError):
        decoded(**fields)
