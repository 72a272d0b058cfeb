"""Whole answers, both ways."""

import json
from typing import Any

import pytest

from rini.canon import (
    Audio,
    Choice,
    Image,
    Media,
    Opaque,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
    Video,
)
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import MalformedError

USAGE = {"input_tokens": 3, "output_tokens": 5}


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
        **fields,
    }


def decode(*content: Any, **fields: Any) -> Reply:
    return ANTHROPIC.decode_reply(json.dumps(message(*content, **fields)).encode())


def test_an_answer_has_its_parts():
    reply = decode(
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "Hi", "citations": None},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, 2.5, None]}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        stop_reason="tool_use",
    )
    assert reply == Reply(
        (
            Choice(
                (
                    Thinking("hm", signature="s"),
                    Thinking(redacted="x"),
                    Text("Hi", extras={"anthropic": {"citations": None}}),
                    ToolCall("t", "f", '{"a":[1,2.5,null]}'),
                    Opaque("anthropic", {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
                ),
                "tool_calls",
                "tool_use",
            ),
        ),
        usage=Usage(3, 5),
        id="msg_1",
        model="claude",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"content": []},
        {"stop_reason": None},
        {"stop_reason": "stop_sequence", "stop_sequence": "END"},
        {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "cyber"}},
        {"stop_reason": "from_the_future"},
        {"stop_details": None, "container": {"id": "c"}, "context_management": {"applied_edits": []}},
        {"usage": {**USAGE, "cache_read_input_tokens": None, "cache_creation_input_tokens": 0}},
        {"usage": {**USAGE, "cache_creation": None, "server_tool_use": None, "output_tokens_details": None}},
        {"usage": {**USAGE, "output_tokens_details": {"thinking_tokens": 2, "more": 1}, "iterations": [{"type": "x"}]}},
        {"usage": {**USAGE, "output_tokens_details": {"thinking_tokens": 2}, "service_tier": "standard"}},
        {"usage": {**USAGE, "output_tokens_details": {}, "inference_geo": "us", "speed": "fast"}},
        {"usage": {**USAGE, "output_tokens_details": {"thinking_tokens": None}}},
        {"usage": {"input_tokens": None, "output_tokens": None}},
    ],
    ids=str,
)
def test_answers_go_back_as_they_came(fields: dict[str, Any]):
    whole = message({"type": "text", "text": "Hi"}, **fields)
    reply = ANTHROPIC.decode_reply(json.dumps(whole).encode())
    assert json.loads(ANTHROPIC.encode_reply(reply)) == whole


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause"),
        ("compaction", "pause"),
        ("refusal", "refusal"),
        ("model_context_window_exceeded", "context_full"),
        ("news", "other"),
        (None, None),
    ],
)
def test_stop_reasons(raw: str | None, reason: str | None):
    (choice,) = decode(stop_reason=raw).choices
    assert (choice.finish_reason, choice.raw_finish_reason) == (reason, raw)


def test_usage_counts_the_cache_among_what_was_read():
    usage = {
        **USAGE,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 15},
        "output_tokens_details": {"thinking_tokens": 4},
    }
    decoded = decode(usage=usage).usage
    assert decoded is not None
    assert (decoded.input_tokens, decoded.output_tokens, decoded.total_tokens) == (123, 5, 128)
    assert (decoded.cache_read_tokens, decoded.cache_write_tokens, decoded.cache_write_1h_tokens) == (100, 20, 15)
    assert decoded.reasoning_tokens == 4


def encoded(*parts: Any, **fields: Any) -> dict[str, Any]:
    return json.loads(ANTHROPIC.encode_reply(Reply((Choice(parts, **fields),), usage=fields.pop("usage", None))))


def test_anothers_usage_is_told_this_formats_way():
    reply = Reply((Choice(),), usage=Usage(100, 9, 30, 20, 5, reasoning_tokens=4))
    assert json.loads(ANTHROPIC.encode_reply(reply))["usage"] == {
        "input_tokens": 50,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5},
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
    }
    assert encoded()["usage"] == {"input_tokens": 0, "output_tokens": 0}


def test_anothers_parts_find_their_place():
    body = encoded(
        Thinking("hm"),
        Refusal("No."),
        ToolCall("", "f", ""),
        ToolCall("", "g", "{broken"),
        Audio(Media(data="aGk="), transcript="Spoken."),
        Image(Media(data="aGk=", mime_type="image/png")),
        Opaque("openai-responses", {"type": "web_search_call"}),
        Video(Media(url="https://x")),
        Image(Media(data="aGk=", mime_type="image/heic")),
        finish_reason="stop",
        raw_finish_reason="STOP",
    )
    assert body["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "No."},
        {"type": "tool_use", "id": "toolu_call_2", "name": "f", "input": {}},
        {"type": "tool_use", "id": "toolu_call_3", "name": "g", "input": {"INVALID_JSON": "{broken"}},
        {"type": "text", "text": "Spoken."},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    ]
    assert body["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("reason", "raw", "written"),
    [
        ("stop", "stop", "end_turn"),
        ("length", "length", "max_tokens"),
        ("tool_calls", "tool_calls", "tool_use"),
        ("safety", "SAFETY", "refusal"),
        ("refusal", None, "refusal"),
        ("pause", "compaction", "compaction"),
        ("other", "RECITATION", "end_turn"),
        ("context_full", None, "model_context_window_exceeded"),
        ("malformed", "MALFORMED_FUNCTION_CALL", "end_turn"),
    ],
)
def test_anothers_finish_reasons_become_stop_reasons(reason: Any, raw: str | None, written: str):
    assert encoded(finish_reason=reason, raw_finish_reason=raw)["stop_reason"] == written


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"\xef\xbb\xbf{}",
        b"{}",
        b"[]",
        b"\xff",
        b'{"content":[',
        b'{"content":{}}',
        b'{"content":["x"]}',
        b'{"content":[{"type":5}]}',
        b'{"content":[{"type":"text"}]}',
        b'{"content":[{"type":"tool_use","id":1,"name":"f","input":{}}]}',
        b'{"content":[{"type":"tool_use","id":"1","name":"f","input":[1]}]}',
        b'{"content":[],"stop_reason":3}',
        b'{"content":[],"usage":"many"}',
        b'{"content":[],"usage":{"input_tokens":"3"}}',
        b'{"content":[],"usage":{"input_tokens":1,"cache_creation":7}}',
        b'{"content":[],"id":5}',
        b'{"content":[{"type":"text","text":"\\udfff"}]}',
        b'{"type":"error","error":{"type":"api_error","message":"x"}}',
        b'{"content":' + b"[" * 9999,
    ],
    ids=lambda body: body[:50].decode(errors="replace"),
)
def test_what_is_no_answer_is_malformed(body: bytes):
    with pytest.raises(MalformedError):
        ANTHROPIC.decode_reply(body)
