"""Requests, both ways: what came over this wire, and what comes from another."""

import base64
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
from rini.wire.anthropic import ANTHROPIC, DEFAULT_MAX_TOKENS
from rini.wire.codec import MalformedError, UnsupportedError

HELLO = Message("user", (Text("Hello"),))
EPHEMERAL = {"type": "ephemeral"}


def decode(**fields: Any) -> Request:
    whole = {"model": "claude", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}], **fields}
    return ANTHROPIC.decode_request(json.dumps(whole).encode())


def encode(*messages: Message, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = ANTHROPIC.encode_request(Request(model="claude", messages=messages or (HELLO,), **fields))
    return json.loads(encoded.body), encoded.dropped


def refused(*messages: Message, **fields: Any) -> str:
    with pytest.raises(UnsupportedError) as caught:
        encode(*messages, **fields)
    assert caught.value.wire == "anthropic"
    return caught.value.field


def back(**fields: Any) -> dict[str, Any]:
    encoded = ANTHROPIC.encode_request(decode(**fields))
    assert encoded.dropped == ()
    return json.loads(encoded.body)


def user(*parts: Any) -> Message:
    return Message("user", parts)


def assistant(*parts: Any, origin: str | None = None) -> Message:
    return Message("assistant", parts, origin=origin)


# What came over this wire


def test_every_named_field_has_its_place():
    request = decode(
        system="Be brief.",
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["END"],
        stream=True,
        metadata={"user_id": "u1"},
        tools=[{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": False}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )
    assert request == Request(
        model="claude",
        messages=(Message("system", (Text("Be brief."),)), HELLO),
        tools=(Tool("f", "d", {"type": "object"}, strict=False),),
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        max_tokens=100,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=("END",),
        user="u1",
        stream=True,
    )


def test_model_and_stream_of_the_caller_win():
    body = b'{"model":"a","messages":[],"stream":true}'
    request = ANTHROPIC.decode_request(body, model="b", stream=False)
    assert (request.model, request.stream) == ("b", False)


@pytest.mark.parametrize(
    "fields",
    [
        {"cache_control": EPHEMERAL, "container": {"id": "c", "skills": []}, "betas": ["x"], "service_tier": "auto"},
        {
            "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
            "mcp_servers": [{"url": "https://x"}],
        },
        {"metadata": {"user_id": "u", "unknown": 1}},
        {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}, "max_tokens": 4096},
        {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "updates"}, "max_tokens": 4096},
        {"thinking": {"type": "enabled", "budget_tokens": 9000}},  # interleaved thinking may exceed max_tokens
        {"thinking": {"type": "enabled", "budget_tokens": 5}},
        {"thinking": {"type": "enabled", "budget_tokens": 0}},
        {"thinking": {"type": "enabled"}},
        {"thinking": {"type": "adaptive", "display": "summarized", "block_binding": {}}},
        {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "between_tools"}},
        {"thinking": {"type": "adaptive"}, "temperature": 0.2, "top_k": 3, "top_p": 0.1},
        {"temperature": 1.5, "top_p": 1},
        {"temperature": 1.0, "top_p": 0.5},
        {"output_config": {"effort": "xhigh"}},
        {"output_config": {"effort": "low", "task_budget": {"type": "tokens", "total": 5}}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {"output_config": {"format": {"type": "text", "schema": 1}}},
        {"output_format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}}},
        {"output_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}},
        {"tools": [{"type": "web_search_20260318", "name": "web_search", "max_uses": 3}]},
        {"tools": [{"type": "mcp_toolset", "mcp_server_name": "s"}]},
        {"tools": [{"name": "f", "input_schema": {"$ref": "x"}, "cache_control": EPHEMERAL, "defer_loading": True}]},
        {
            "tools": [{"name": "f", "input_schema": {"type": "object"}, "strict": False}],
            "tool_choice": {"type": "none"},
        },
        {"tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": False}},
        {"tool_choice": {"type": "auto", "unknown": [1]}},
        {"tool_choice": {"type": "sometimes"}},
        {"system": [{"type": "text", "text": "a", "cache_control": EPHEMERAL}, {"type": "text", "text": "b"}]},
        {"anything": {"new": [1, 2.5, None, "x"]}, "fallbacks": "default"},
    ],
    ids=",".join,
)
def test_fields_go_back_as_they_came(fields: dict[str, Any]):
    encoded = back(**fields)
    whole = {"model": "claude", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}], **fields}
    assert encoded == whole
    assert ANTHROPIC.decode_request(json.dumps(encoded).encode()) == decode(**fields)


CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "1", "cache_control": None}]}
BLOCKS = [
    {"type": "text", "text": "x", "citations": [{"type": "char_location", "cited_text": "y"}]},
    {"type": "text", "text": "x", "cache_control": EPHEMERAL},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}, "cache_control": EPHEMERAL},
    {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
    {"type": "image", "source": {"type": "hologram", "data": 1}},
    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}, "title": "t"},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}, "context": "c"},
    {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}, "citations": {"enabled": True}},
    {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}, "title": "t"},
    {"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": {}}]}},
    {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "a"}]},
    {"type": "container_upload", "file_id": "file_1"},
    {"type": "compaction", "content": None},
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
    {"type": "mcp_tool_result", "tool_use_id": "m", "is_error": False, "content": []},
    {"type": "from_the_future", "deep": {"er": [{}]}},
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block['type']}-{block.get('source', {})!s:.20}")
def test_user_blocks_go_back_as_they_came(block: dict[str, Any]):
    assert back(messages=[{"role": "user", "content": [block, {"type": "text", "text": "?"}]}])["messages"] == [
        {"role": "user", "content": [block, {"type": "text", "text": "?"}]}
    ]


def test_a_conversation_with_tools_and_thinking_goes_back_as_it_came():
    messages = [
        {"role": "user", "content": "Go"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "thinking", "thinking": "", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "eA=="},
                CALL,
            ],
        },
        {"role": "user", "content": [RESULT, {"type": "text", "text": "And?"}]},
        {"role": "system", "content": "Now in French.", "clear_at": "never"},
        {"role": "assistant", "content": [CALL | {"id": "t2", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True}]},
        {"role": "assistant", "content": "The answer is:"},
    ]
    assert back(messages=messages)["messages"] == messages


def test_a_document_of_blocks_shows_its_text_to_others():
    block = BLOCKS[10]
    (part,) = decode(messages=[{"role": "user", "content": [block]}]).messages[0].parts
    assert isinstance(part, Document)
    assert (part.text, part.name) == ("a", "t")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xef\xbb\xbf{}",
        b'{"model":"m"}',
        b'{"model":1,"messages":[]}',
        b'{"model":"m","messages":{}}',
        b'{"model":"m","messages":["x"]}',
        b'{"model":"m","messages":[{"role":"king","content":"x"}]}',
        b'{"model":"m","messages":[{"role":"user","content":5}]}',
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":5}]}]}',
        b'{"model":"m","messages":[{"role":"user","content":[{"text":"x"}]}]}',
        b'{"model":"m","messages":[],"max_tokens":"5"}',
        b'{"model":"m","messages":[],"max_tokens":true}',
        b'{"model":"m","messages":[],"tools":[5]}',
        b'{"model":"m","messages":[],"tools":[{"name":"f","input_schema":[]}]}',
        b'{"model":"m","messages":[],"thinking":"yes"}',
        b'{"model":"m","messages":[],"thinking":{"type":"enabled","budget_tokens":"9"}}',
        b'{"model":"m","messages":[],"output_config":[1]}',
        b'{"model":"m","messages":[],"stop_sequences":[1]}',
        b'{"model":"m","messages":[],"metadata":"u"}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","messages":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"model":"m","messages":[{"role":"user","content":'
        + b'[{"type":"tool_result","tool_use_id":"t","content":' * 450
        + b'"x"'
        + b"}]" * 450
        + b"}]}",
    ],
    ids=lambda body: body[:60].decode(errors="replace"),
)
def test_what_is_no_request_is_malformed(body: bytes):
    with pytest.raises(MalformedError):
        ANTHROPIC.decode_request(body)


# What comes from another wire


def test_a_request_without_a_limit_gets_the_default():
    assert encode()[0]["max_tokens"] == DEFAULT_MAX_TOKENS
    assert encode(max_tokens=7)[0]["max_tokens"] == 7
    body, _ = encode(reasoning=Reasoning(enabled=True, budget_tokens=31_999))
    assert body["max_tokens"] > body["thinking"]["budget_tokens"] == 31_999


def test_leading_system_messages_become_one_field():
    body, dropped = encode(Message("system", (Text("One."),)), Message("developer", (Text(""), Text("Two."))), HELLO)
    assert body["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert dropped == ("messages[1].parts[0]",)


def test_later_system_messages_stand_behind_the_users_turn_as_one():
    body, _ = encode(
        HELLO,
        assistant(Text("Hi")),
        Message("system", (Text("a"),)),
        user(Text("More")),
        Message("developer", (Text("b"),)),
        assistant(Text("ok")),
        user(Text("x")),
    )
    assert [message["role"] for message in body["messages"]] == [
        "user",
        "assistant",
        "user",
        "system",
        "assistant",
        "user",
    ]
    assert body["messages"][3]["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


def test_a_later_system_message_with_no_turn_to_follow_is_refused():
    assert refused(HELLO, assistant(Text("Hi")), Message("system", (Text("a"),))) == "messages[2]"
    search = Opaque("anthropic", {"type": "web_search_tool_result", "tool_use_id": "s", "content": []})
    body, _ = encode(HELLO, assistant(search), Message("system", (Text("a"),)))
    assert body["messages"][-1] == {"role": "system", "content": "a"}


def test_tool_messages_become_one_user_message():
    body, dropped = encode(
        HELLO,
        assistant(ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g")),
        Message("tool", (ToolResult("a", (Text("1"),), name="f"),)),
        Message("tool", (ToolResult("b", is_error=True),)),
        user(Text("Thanks")),
    )
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {"type": "tool_result", "tool_use_id": "b", "is_error": True},
            ],
        },
        {"role": "user", "content": "Thanks"},
    ]
    assert dropped == ()


def test_results_come_first_in_the_turn():
    body, _ = encode(
        HELLO,
        assistant(ToolCall("a", "f"), ToolCall("b", "f")),
        user(Text("Here:"), ToolResult("a", (Text("1"),))),
        Message("tool", (ToolResult("b", (Text("2"),)),)),
    )
    (answer,) = body["messages"][2:]
    assert [block["type"] for block in answer["content"]] == ["tool_result", "tool_result", "text"]


def test_ids_of_calls_are_made_to_fit_and_stay_apart():
    conversation = (
        HELLO,
        assistant(ToolCall("", "f"), ToolCall("", "g"), ToolCall("x:1/ü", "f"), ToolCall("x:1/é", "f")),
        user(
            ToolResult("", (Text("g"),), name="g"),
            ToolResult("", (Text("f"),), name="f"),
            ToolResult("x:1/é", (Text("é"),)),
            ToolResult("x:1/ü", (Text("ü"),)),
        ),
        assistant(ToolCall("call_0", "f")),
        user(ToolResult("call_0", (Text("1"),))),
        assistant(ToolCall("call_0", "f")),
        user(ToolResult("call_0", (Text("2"),))),
    )
    body, _ = encode(*conversation)
    calls = [b["id"] for m in body["messages"] if m["role"] == "assistant" for b in m["content"]]
    assert len(set(calls)) == 6
    assert all(set(call) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for call in calls)
    results = {b["content"]: b["tool_use_id"] for m in body["messages"][2::2] for b in m["content"]}
    assert [results[name] for name in ("f", "g", "ü", "é", "1", "2")] == calls
    assert encode(*conversation)[0] == body


def test_a_result_without_an_id_must_answer_a_call():
    assert refused(HELLO, user(ToolResult("", (Text("x"),)))) == "messages[1].parts[0].call_id"


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", '"x"', "null", "not json", '{"a":1}x'])
def test_arguments_that_are_no_object_are_wrapped_and_unwrapped(arguments: str):
    body, _ = encode(HELLO, assistant(ToolCall("t", "f", arguments)), user(ToolResult("t")))
    assert body["messages"][1]["content"][0]["input"] == {"INVALID_JSON": arguments}
    again = ANTHROPIC.decode_request(json.dumps(body).encode())
    assert again.messages[1].parts == (ToolCall("t", "f", arguments),)


def test_thinking_and_signatures_of_others_are_left_out_and_named():
    body, dropped = encode(
        HELLO,
        assistant(
            Thinking("hm", signature="s"), Text("a", signature="g"), ToolCall("t", "f", signature="g"), origin="gemini"
        ),
        user(ToolResult("t")),
        assistant(Thinking("unsigned"), Thinking("mine", signature="s"), origin="anthropic"),
        assistant(Thinking("only this"), origin="openai-chat"),
    )
    assert dropped == (
        "messages[1].parts[0]",
        "messages[1].parts[1].signature",
        "messages[1].parts[2].signature",
        "messages[3].parts[0]",
        "messages[4].parts[0]",
        "messages[4]",
    )
    assert [block["type"] for block in body["messages"][1]["content"]] == ["text", "tool_use"]
    assert body["messages"][3]["content"] == [{"type": "thinking", "thinking": "mine", "signature": "s"}]


def test_extras_of_others_are_not_sent():
    foreign = {"gemini": {"secret": 1}}
    body, _ = encode(
        Message("user", (Text("x", extras=foreign),), extras=foreign),
        tools=(Tool("f", extras=foreign),),
        tool_choice=ToolChoice("auto", extras=foreign),
        reasoning=Reasoning(effort="high", extras=foreign),
        extras=foreign,
    )
    assert "secret" not in json.dumps(body)


def test_files_are_fitted():
    png = "iVBORw0KGgoAAA=="
    body, dropped = encode(
        user(
            Image(Media(data=png), detail="high"),
            Document(Media(data="JVBERi0x"), name="a.pdf"),
            Document(Media(data=base64.b64encode("é".encode()).decode(), mime_type="text/csv")),
            Document(Media(), text="plain", name="n"),
        )
    )
    content = body["messages"][0]["content"]
    assert content[0]["source"] == {"type": "base64", "media_type": "image/png", "data": png}
    assert content[1] == {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"},
        "title": "a.pdf",
    }
    assert content[2]["source"] == {"type": "text", "media_type": "text/plain", "data": "é"}
    assert content[3]["source"]["data"] == "plain"
    assert dropped == ("messages[0].parts[0].detail",)


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ((user(Image(Media(data="aGk=", mime_type="image/heic"))),), "messages[0].parts[0].media.mime_type"),
        ((user(Image(Media(data="aGk="))),), "messages[0].parts[0].media.mime_type"),
        ((user(Image(Media(url="gs://b/x.png"))),), "messages[0].parts[0].media.url"),
        ((user(Image(Media(file_id="file-abc"))),), "messages[0].parts[0].media.file_id"),
        ((user(Image(Media())),), "messages[0].parts[0].media"),
        ((user(Document(Media(data="aGk=", mime_type="application/msword"))),), "messages[0].parts[0].media.mime_type"),
        ((user(Document(Media(url="https://x", mime_type="text/html"))),), "messages[0].parts[0].media.mime_type"),
        ((user(Document(Media(data="/w==", mime_type="text/plain"))),), "messages[0].parts[0].media.data"),
        ((user(Audio(Media(data="aGk="))),), "messages[0].parts[0]"),
        ((user(Video(Media(url="https://x"))),), "messages[0].parts[0]"),
        ((user(ToolCall("t", "f")),), "messages[0].parts[0]"),
        ((user(Opaque("gemini", {})),), "messages[0].parts[0]"),
        ((HELLO, assistant(Image(Media(url="https://x")))), "messages[1].parts[0]"),
        ((HELLO, assistant(ToolCall("t", "bad name"))), "messages[1].parts[0].name"),
        ((HELLO, user(ToolResult("t", (Audio(Media(data="aGk=")),)))), "messages[1].parts[0].content[0]"),
        ((assistant(Text("Hi")), HELLO), "messages[0]"),
        ((Message("system", (Text("x"),)),), "messages"),
        ((user(Text("")),), "messages"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_messages_that_cannot_be_said_are_refused(messages: tuple[Message, ...], field: str):
    assert refused(*messages) == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ("a", "\n")}, "stop[1]"),
        ({"response_format": ResponseFormat("json")}, "response_format"),
        ({"response_format": ResponseFormat("json_schema")}, "response_format.schema"),
        ({"tools": (Tool("x", wire="openai-responses", opaque={"type": "web_search"}),)}, "tools[0]"),
        ({"tools": (Tool("a.b"),)}, "tools[0].name"),
        ({"tool_choice": ToolChoice("tool")}, "tool_choice.names"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fields_that_cannot_be_said_are_refused(fields: dict[str, Any], field: str):
    assert refused(**fields) == field


def test_what_does_not_change_the_meaning_is_left_out_and_named():
    body, dropped = encode(
        Message("user", (Text("x"),), name="bob"), seed=1, presence_penalty=0.5, n=1, temperature=1.7, top_p=1.0
    )
    assert body == {
        "model": "claude",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "temperature": 1,
        "messages": [{"role": "user", "content": "x"}],
    }
    assert set(dropped) == {"messages[0].name", "seed", "presence_penalty", "temperature", "top_p"}


def test_sampling_gives_way_to_thinking():
    body, dropped = encode(reasoning=Reasoning(enabled=True), temperature=0.3, top_k=5, top_p=0.5)
    assert body["thinking"] == {"type": "adaptive"}
    assert not {"temperature", "top_k", "top_p"} & body.keys()
    assert dropped == ("temperature", "top_p", "top_k")


@pytest.mark.parametrize(
    ("reasoning", "thinking", "effort", "dropped"),
    [
        (Reasoning(effort="minimal"), {"type": "adaptive"}, "low", ("reasoning.effort",)),
        (Reasoning(effort="HIGH"), {"type": "adaptive"}, "high", ()),
        (Reasoning(effort="none"), {"type": "disabled"}, None, ()),
        (Reasoning(enabled=True, effort="max"), {"type": "adaptive"}, "max", ()),
        (Reasoning(budget_tokens=-1, include=True), {"type": "adaptive", "display": "summarized"}, None, ()),
        (Reasoning(budget_tokens=0), {"type": "disabled"}, None, ()),
        (Reasoning(budget_tokens=2000), {"type": "enabled", "budget_tokens": 2000}, None, ()),
        (Reasoning(budget_tokens=5), {"type": "enabled", "budget_tokens": 1024}, None, ("reasoning.budget_tokens",)),
        (Reasoning(budget_tokens=9999), {"type": "enabled", "budget_tokens": 4095}, None, ("reasoning.budget_tokens",)),
        (Reasoning(include=True), None, None, ("reasoning.include",)),
    ],
    ids=str,
)
def test_reasoning_of_others_is_fitted(
    reasoning: Reasoning, thinking: dict[str, Any] | None, effort: str | None, dropped: tuple[str, ...]
):
    body, left_out = encode(reasoning=reasoning, max_tokens=4096)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert left_out == dropped


def test_sampling_kept_from_this_wire_gives_way_to_what_canon_says():
    kept = {"anthropic": {"temperature": 1.5, "top_k": 3}}
    body, dropped = encode(temperature=0.2, extras=kept)
    assert (body["temperature"], dropped) == (0.2, ())
    assert "top_k" not in body


def test_no_room_for_thinking_switches_it_off():
    body, dropped = encode(reasoning=Reasoning(budget_tokens=2000), max_tokens=500)
    assert body["thinking"] == {"type": "disabled"}
    assert dropped == ("reasoning.budget_tokens",)


def test_a_schema_of_others_is_closed():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"properties": {}}}, "b": {"$ref": "#/$defs/d"}},
        "$defs": {"d": {"anyOf": [{"type": "null"}, {"properties": {}, "additionalProperties": True}]}},
    }
    body, dropped = encode(response_format=ResponseFormat("json_schema", schema=schema, name="n", strict=True))
    empty = {"type": "object", "properties": {}, "additionalProperties": False}
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"a": {"type": "array", "items": empty}, "b": {"$ref": "#/$defs/d"}},
            "$defs": {"d": {"anyOf": [{"type": "null"}, empty]}},
        },
    }
    assert dropped == ("response_format.schema.$defs.d.anyOf[1].additionalProperties",)


@pytest.mark.parametrize(
    ("fields", "choice", "tools"),
    [
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}, 3),
        ({"parallel_tool_calls": True}, None, 3),
        ({"tool_choice": ToolChoice("none"), "parallel_tool_calls": False}, {"type": "none"}, 3),
        ({"tool_choice": ToolChoice("tool", ("b",))}, {"type": "tool", "name": "b"}, 3),
        ({"tool_choice": ToolChoice("required", ("b",))}, {"type": "tool", "name": "b"}, 3),
        ({"tool_choice": ToolChoice("required", ("a", "b"))}, {"type": "any"}, 2),
    ],
    ids=str,
)
def test_the_choice_of_tools(fields: dict[str, Any], choice: dict[str, Any] | None, tools: int):
    body, _ = encode(tools=(Tool("a"), Tool("b"), Tool("c")), **fields)
    assert body.get("tool_choice") == choice
    assert len(body["tools"]) == tools


def test_a_tool_always_has_a_schema_of_an_object():
    body, _ = encode(tools=(Tool("a"), Tool("b", parameters={"properties": {"x": {}}})))
    assert [tool["input_schema"] for tool in body["tools"]] == [
        {"properties": {}, "type": "object"},
        {"properties": {"x": {}}, "type": "object"},
    ]


def test_what_the_model_said_otherwise_is_text():
    body, dropped = encode(HELLO, assistant(Refusal("No."), Audio(Media(data="aGk="), transcript="Spoken.")), HELLO)
    assert [block["text"] for block in body["messages"][1]["content"]] == ["No.", "Spoken."]
    assert dropped == ("messages[1].parts[1].media",)


def test_a_prefill_does_not_end_in_whitespace():
    body, dropped = encode(HELLO, assistant(Text("Answer: \n")))
    assert body["messages"][-1] == {"role": "assistant", "content": "Answer:"}
    assert dropped == ("messages[1].parts[-1].text",)
    assert encode(HELLO, assistant(Text(" ")))[0]["messages"] == [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "effort", "dropped"),
    [
        ("claude-3-5-haiku-latest", Reasoning(effort="high"), None, None, ("reasoning",)),
        ("claude-3-5-haiku-latest", Reasoning(enabled=False), None, None, ()),
        ("claude-3-7-sonnet-20250219", Reasoning(effort="low"), 4096, None, ()),
        ("claude-sonnet-4-20250514", Reasoning(effort="medium"), 12288, None, ()),
        ("claude-opus-4-1", Reasoning(effort="max"), 24576, None, ("reasoning.effort",)),
        ("claude-haiku-4-5", Reasoning(enabled=True), 12288, None, ()),
        ("claude-haiku-4-5-20251001", Reasoning(budget_tokens=9000), 9000, None, ()),
        ("claude-sonnet-4-6", Reasoning(effort="xhigh"), "adaptive", "high", ("reasoning.effort",)),
        ("claude-opus-4-7", Reasoning(effort="xhigh"), "adaptive", "xhigh", ()),
        ("claude-opus-4-7", Reasoning(budget_tokens=9000), "adaptive", "medium", ("reasoning.budget_tokens",)),
        ("claude-sonnet-5", Reasoning(budget_tokens=60000), "adaptive", "high", ("reasoning.budget_tokens",)),
        ("claude-mythos-preview", Reasoning(enabled=False), "disabled", None, ()),
    ],
    ids=str,
)
def test_each_generation_is_told_to_think_in_its_own_way(model, reasoning, thinking, effort, dropped):
    encoded = ANTHROPIC.encode_request(Request(model=model, messages=(HELLO,), reasoning=reasoning))
    body = json.loads(encoded.body)
    expected = {"type": "enabled", "budget_tokens": thinking} if isinstance(thinking, int) else {"type": thinking}
    assert body.get("thinking") == (None if thinking is None else expected)
    assert body.get("output_config", {}).get("effort") == effort
    assert encoded.dropped == dropped


def test_thinking_gives_way_to_a_call_that_is_forced():
    body, dropped = encode(
        tools=(Tool("f"),), tool_choice=ToolChoice("required"), reasoning=Reasoning(budget_tokens=2000), temperature=0.5
    )
    assert "thinking" not in body
    assert (body["temperature"], body["tool_choice"], dropped) == (0.5, {"type": "any"}, ("reasoning",))
    own = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "tool_choice": {"type": "any"}, "max_tokens": 4000}
    assert {name: back(tools=[{"name": "f", "input_schema": {"type": "object"}}], **own)[name] for name in own} == own


def test_models_that_take_no_sampling_are_sent_none():
    request = Request(model="claude-opus-4-7", messages=(HELLO,), temperature=0.5, top_k=3)
    encoded = ANTHROPIC.encode_request(request)
    assert not {"temperature", "top_k"} & json.loads(encoded.body).keys()
    assert encoded.dropped == ("temperature", "top_k")


@pytest.mark.parametrize(
    "effort", [{"effort": "high"}, {"effort": "high", "task_budget": {"type": "tokens", "total": 9}}]
)
def test_an_effort_without_thinking_goes_back_as_it_came(effort):
    body = back(output_config=effort)
    assert (body["output_config"], "thinking" in body) == (effort, False)


def test_thinking_with_an_empty_signature_is_no_proof():
    body, dropped = encode(HELLO, assistant(Thinking("hm", signature=""), Text("a"), origin="anthropic"), HELLO)
    assert body["messages"][1]["content"] == "a"
    assert dropped == ("messages[1].parts[0]",)


def test_a_strict_tool_is_fitted_or_sent_without_strictness():
    fine = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    free = {"type": "object", "additionalProperties": {"type": "string"}}
    body, dropped = encode(tools=(Tool("a", parameters=fine, strict=True), Tool("b", parameters=free, strict=True)))
    assert [tool["strict"] for tool in body["tools"]] == [True, False]
    assert body["tools"][0]["input_schema"]["additionalProperties"] is False
    assert body["tools"][1]["input_schema"] == free
    assert dropped == ("tools[0].parameters.properties.n.minimum", "tools[1].strict")
    closed = {"type": "object", "properties": {}, "additionalProperties": False}
    body, dropped = encode(tools=tuple(Tool(f"t{at}", parameters=closed, strict=True) for at in range(22)))
    assert sum(tool["strict"] for tool in body["tools"]) == 20
    assert dropped == ("tools[20].strict", "tools[21].strict")


@pytest.mark.parametrize(
    "schema",
    [{"anyOf": [{"type": "object"}]}, {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}],
)
def test_a_schema_that_came_over_this_wire_is_never_rewritten(schema):
    fields = {
        "tools": [{"name": "f", "input_schema": schema, "strict": True}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }
    body = back(**fields)
    assert {name: body[name] for name in fields} == fields


def test_fields_of_others_are_named():
    _, dropped = encode(
        Message("user", (Text("x", extras={"gemini": {"videoMetadata": {}}}),), extras={"openai_chat": {"x_one": 1}}),
        extras={"openai_chat": {"service_tier": "flex", "~token_limit": "max_tokens", "metadata": {"a": "b"}}},
    )
    assert set(dropped) == {"service_tier", "metadata.a", "messages[0].x_one", "messages[0].parts[0].videoMetadata"}
