"""From every dialect to every provider's format: what a request becomes, or which field is refused.

A feature is asked for in each dialect's own words (``asked``), and what each format is sent for it is told by path (``sent``): the same
whichever dialect asked, but for the exceptions of single pairs (``but``). To its own format a request goes as it came.

A fourth format is one more entry in FORMATS, and one in ``asked`` and ``sent`` of each feature; a feature that lacks it skips it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from rini.canon import Finish, PartDelta, PartStart, PartStop, Start, Text, Thinking, ToolCall, UsageUpdate, collect
from rini.canon.proofs import unproven
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import Codec, UnsupportedError
from rini.wire.gemini import GEMINI
from rini.wire.openai_chat import OPENAI_CHAT


@dataclass(frozen=True)
class Format:
    """A wire format, a model that is spoken to in it, and its plainest request."""

    codec: Codec
    model: str
    plain: Mapping[str, Any]


FORMATS = {
    "openai_chat": Format(OPENAI_CHAT, "gpt-5.2", {"messages": [{"role": "user", "content": "Hi"}]}),
    "anthropic": Format(
        ANTHROPIC, "claude-opus-4-6", {"max_tokens": 2000, "messages": [{"role": "user", "content": "Hi"}]}
    ),
    "gemini": Format(GEMINI, "gemini-2.5-flash", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}),
}


@dataclass(frozen=True)
class Refused:
    """The field, in canon's terms, that the format has no equivalent for."""

    field: str


Outcome = Mapping[str, Any] | Refused
ABSENT = object()


@dataclass(frozen=True)
class Feature:
    """``dropped``: what each format leaves out and names, whichever dialect asked."""

    asked: Mapping[str, Mapping[str, Any]]
    sent: Mapping[str, Outcome]
    but: Mapping[tuple[str, str], Outcome] = field(default_factory=dict)
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
    "additionalProperties": False,
}
HINTED = {**SCHEMA, "properties": {**SCHEMA["properties"], "days": {"description": "(minimum: 1)", "type": "integer"}}}
PLAIN = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS = [{"type": "function", "function": {"name": name, "parameters": PLAIN}} for name in ("weather", "time")]
CLAUDE_TOOLS = [{"name": name, "input_schema": PLAIN} for name in ("weather", "time")]
GEMINI_TOOLS = [{"functionDeclarations": [{"name": n, "parametersJsonSchema": PLAIN} for n in ("weather", "time")]}]
PNG, PDF = "iVBORw0KGgo=", "JVBERi0xLjcK"
IMAGE_FROM = "From the result of the tool call {}:"


def chat_call(call_id: str, name: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": '{"city":"Seoul"}'}}


def claude_call(call_id: str, name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": {"city": "Seoul"}}


def gemini_call(call_id: str, name: str) -> dict[str, Any]:
    return {"functionCall": {"id": call_id, "name": name, "args": {"city": "Seoul"}}}


def chat_image(data: str = PNG) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def claude_media(kind: str, mime: str, data: str) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "base64", "media_type": mime, "data": data}}


def gemini_media(mime: str, data: str) -> dict[str, Any]:
    return {"inlineData": {"data": data, "mimeType": mime}}


def gemini_result(call_id: str, name: str, text: str) -> dict[str, Any]:
    return {"functionResponse": {"id": call_id, "name": name, "response": {"result": text}}}


CHAT_CALLS = {"role": "assistant", "content": None, "tool_calls": [chat_call("c1", "weather"), chat_call("c2", "time")]}
CLAUDE_CALLS = {"role": "assistant", "content": [claude_call("c1", "weather"), claude_call("c2", "time")]}
GEMINI_CALLS = {"role": "model", "parts": [gemini_call("c1", "weather"), gemini_call("c2", "time")]}
CHAT_HI, GEMINI_HI = FORMATS["openai_chat"].plain["messages"][0], FORMATS["gemini"].plain["contents"][0]


def three(chat: Mapping[str, Any], anthropic: Mapping[str, Any], gemini: Mapping[str, Any]) -> dict[str, Any]:
    return {"openai_chat": chat, "anthropic": anthropic, "gemini": gemini}


FEATURES = {
    "plain": Feature(
        three({}, {}, {}),
        three(
            {"messages": [CHAT_HI], "model": "gpt-5.2"},
            {"messages": [{"role": "user", "content": "Hi"}], "model": "claude-opus-4-6"},
            {"contents": [{"parts": [{"text": "Hi"}], "role": "user"}]},
        ),
        but={("openai_chat", "anthropic"): {"max_tokens": 32000}, ("gemini", "anthropic"): {"max_tokens": 32000}},
    ),
    "stream": Feature(
        three({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}, {}),
        three({"stream": True, "stream_options.include_usage": True}, {"stream": True}, {"stream": ABSENT}),
        but={("gemini", "openai_chat"): {"stream": ABSENT}, ("gemini", "anthropic"): {"stream": ABSENT}},
    ),
    "system": Feature(
        three(
            {"messages": [{"role": "system", "content": "Be brief."}, CHAT_HI]},
            {"system": "Be brief."},
            {"systemInstruction": {"parts": [{"text": "Be brief."}]}},
        ),
        three(
            {"messages.0": {"role": "system", "content": "Be brief."}, "messages.1": CHAT_HI},
            {"system": "Be brief.", "messages": [CHAT_HI]},
            {"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [GEMINI_HI]},
        ),
    ),
    "several tools": Feature(
        three({"tools": CHAT_TOOLS}, {"tools": CLAUDE_TOOLS}, {"tools": GEMINI_TOOLS}),
        three({"tools": CHAT_TOOLS}, {"tools": CLAUDE_TOOLS}, {"tools": GEMINI_TOOLS}),
    ),
    "forced tool": Feature(
        three(
            {"tools": CHAT_TOOLS, "tool_choice": {"type": "function", "function": {"name": "time"}}},
            {"tools": CLAUDE_TOOLS, "tool_choice": {"type": "tool", "name": "time"}},
            {
                "tools": GEMINI_TOOLS,
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["time"]}},
            },
        ),
        three(
            {"tool_choice": {"type": "function", "function": {"name": "time"}}},
            {"tool_choice": {"type": "tool", "name": "time"}},
            {"toolConfig.functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["time"]}},
        ),
    ),
    "any tool": Feature(
        three(
            {"tools": CHAT_TOOLS, "tool_choice": "required"},
            {"tools": CLAUDE_TOOLS, "tool_choice": {"type": "any"}},
            {"tools": GEMINI_TOOLS, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
        ),
        three(
            {"tool_choice": "required"},
            {"tool_choice": {"type": "any"}},
            {"toolConfig.functionCallingConfig.mode": "ANY"},
        ),
    ),
    "forbidden tools": Feature(
        three(
            {"tools": CHAT_TOOLS, "tool_choice": "none"},
            {"tools": CLAUDE_TOOLS, "tool_choice": {"type": "none"}},
            {"tools": GEMINI_TOOLS, "toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
        ),
        three(
            {"tool_choice": "none"},
            {"tool_choice": {"type": "none"}},
            {"toolConfig.functionCallingConfig.mode": "NONE"},
        ),
    ),
    "one call at a time": Feature(
        {
            "openai_chat": {"tools": CHAT_TOOLS, "tool_choice": "auto", "parallel_tool_calls": False},
            "anthropic": {"tools": CLAUDE_TOOLS, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        },
        {
            "openai_chat": {"parallel_tool_calls": False},
            "anthropic": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            "gemini": Refused("parallel_tool_calls"),
        },
    ),
    "parallel calls and their results": Feature(
        three(
            {
                "messages": [
                    CHAT_HI,
                    CHAT_CALLS,
                    {"role": "tool", "tool_call_id": "c1", "content": "12°"},
                    {"role": "tool", "tool_call_id": "c2", "content": "noon"},
                ]
            },
            {
                "messages": [
                    CHAT_HI,
                    CLAUDE_CALLS,
                    {
                        "role": "user",
                        "content": [
                            {"type": "tool_result", "tool_use_id": "c1", "content": "12°"},
                            {"type": "tool_result", "tool_use_id": "c2", "content": "noon"},
                        ],
                    },
                ]
            },
            {
                "contents": [
                    GEMINI_HI,
                    GEMINI_CALLS,
                    {
                        "role": "user",
                        "parts": [gemini_result("c1", "weather", "12°"), gemini_result("c2", "time", "noon")],
                    },
                ]
            },
        ),
        three(
            {
                "messages.1.tool_calls": CHAT_CALLS["tool_calls"],
                "messages.2.tool_call_id": "c1",
                "messages.2.content": "12°",
                "messages.3.tool_call_id": "c2",
                "messages.3.content": "noon",
            },
            {
                "messages.1": CLAUDE_CALLS,
                "messages.2.content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "12°"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "noon"},
                ],
            },
            {
                "contents.1": GEMINI_CALLS,
                "contents.2.parts": [gemini_result("c1", "weather", "12°"), gemini_result("c2", "time", "noon")],
            },
        ),
    ),
    "tool results with images": Feature(
        {
            "anthropic": {
                "messages": [
                    CHAT_HI,
                    CLAUDE_CALLS,
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "c1",
                                "content": [
                                    {"type": "text", "text": "A map."},
                                    claude_media("image", "image/png", PNG),
                                ],
                            },
                            {
                                "type": "tool_result",
                                "tool_use_id": "c2",
                                "content": [claude_media("document", "application/pdf", PDF)],
                            },
                            {"type": "text", "text": "Go on."},
                        ],
                    },
                ]
            }
        },
        {
            "openai_chat": {
                "messages.2": {"role": "tool", "tool_call_id": "c1", "content": "A map."},
                "messages.3.tool_call_id": "c2",
                "messages.3.content": "The result follows in the user's next message.",
                "messages.4": {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": IMAGE_FROM.format("c1")},
                        chat_image(),
                        {"type": "text", "text": IMAGE_FROM.format("c2")},
                        {
                            "type": "file",
                            "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "document.pdf"},
                        },
                    ],
                },
                "messages.5": {"role": "user", "content": "Go on."},
            },
            "gemini": {
                "contents.2.parts": [
                    gemini_result("c1", "weather", "A map."),
                    gemini_media("image/png", PNG),
                    gemini_result("c2", "time", ""),
                    gemini_media("application/pdf", PDF),
                    {"text": "Go on."},
                ]
            },
        },
    ),
    "structured output": Feature(
        three(
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "trip", "schema": SCHEMA, "strict": False},
                }
            },
            {"output_config": {"format": {"type": "json_schema", "schema": HINTED}}},
            {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
        ),
        three(
            {"response_format.type": "json_schema", "response_format.json_schema.strict": False},
            {"output_config.format": {"type": "json_schema", "schema": HINTED}},
            {
                "generationConfig.responseMimeType": "application/json",
                "generationConfig.responseJsonSchema.required": ["city"],
            },
        ),
    ),
    "image": Feature(
        three(
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, chat_image()]}]},
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "What?"}, claude_media("image", "image/png", PNG)],
                    }
                ]
            },
            {"contents": [{"role": "user", "parts": [{"text": "What?"}, gemini_media("image/png", PNG)]}]},
        ),
        three(
            {"messages.0.content": [{"type": "text", "text": "What?"}, chat_image()]},
            {"messages.0.content": [{"type": "text", "text": "What?"}, claude_media("image", "image/png", PNG)]},
            {"contents.0.parts": [{"text": "What?"}, gemini_media("image/png", PNG)]},
        ),
    ),
    "image by address": Feature(
        three(
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "https://a.example/a.png"}}],
                    }
                ]
            },
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}}],
                    }
                ]
            },
            {
                "contents": [
                    {
                        "role": "user",
                        "parts": [{"fileData": {"fileUri": "https://a.example/a.png", "mimeType": "image/png"}}],
                    }
                ]
            },
        ),
        three(
            {"messages.0.content.0.image_url.url": "https://a.example/a.png"},
            {"messages.0.content.0.source": {"type": "url", "url": "https://a.example/a.png"}},
            {"contents.0.parts.0.fileData": {"fileUri": "https://a.example/a.png", "mimeType": "image/png"}},
        ),
    ),
    "PDF": Feature(
        three(
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "file",
                                "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "document.pdf"},
                            }
                        ],
                    }
                ]
            },
            {"messages": [{"role": "user", "content": [claude_media("document", "application/pdf", PDF)]}]},
            {"contents": [{"role": "user", "parts": [gemini_media("application/pdf", PDF)]}]},
        ),
        three(
            {"messages.0.content.0.file.file_data": f"data:application/pdf;base64,{PDF}"},
            {"messages.0.content.0.source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
            {"contents.0.parts.0": gemini_media("application/pdf", PDF)},
        ),
    ),
    "PDF by address": Feature(
        {
            "anthropic": {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "document", "source": {"type": "url", "url": "https://a.example/a.pdf"}}],
                    }
                ]
            },
            "gemini": {
                "contents": [
                    {
                        "role": "user",
                        "parts": [{"fileData": {"fileUri": "https://a.example/a.pdf", "mimeType": "application/pdf"}}],
                    }
                ]
            },
        },
        three(
            Refused("messages[0].parts[0].media.url"),
            {"messages.0.content.0.source": {"type": "url", "url": "https://a.example/a.pdf"}},
            {"contents.0.parts.0.fileData": {"fileUri": "https://a.example/a.pdf", "mimeType": "application/pdf"}},
        ),
    ),
    "text document": Feature(
        {
            "anthropic": {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "document",
                                "source": {"type": "text", "media_type": "text/plain", "data": "Buy milk."},
                                "cache_control": {"type": "ephemeral"},
                            }
                        ],
                    }
                ]
            }
        },
        {
            "openai_chat": {"messages.0.content": "Buy milk."},
            "gemini": {"contents.0.parts.0.inlineData": {"data": "QnV5IG1pbGsu", "mimeType": "text/plain"}},
        },
        dropped={
            "openai_chat": ("messages[0].parts[0].cache_control",),
            "gemini": ("messages[0].parts[0].cache_control",),
        },
    ),
    "thinking with an effort": Feature(
        {
            "openai_chat": {"reasoning_effort": "high"},
            "anthropic": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        },
        {
            "openai_chat": {"reasoning_effort": "high"},
            "anthropic": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            "gemini": {"generationConfig.thinkingConfig": {"thinkingBudget": 24576}},
        },
    ),
    "thinking with a budget": Feature(
        {
            "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 1500}},
            "gemini": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1500}}},
        },
        three(
            {"reasoning_effort": "low"},
            {"thinking": {"type": "enabled", "budget_tokens": 1500}},
            {"generationConfig.thinkingConfig.thinkingBudget": 1500},
        ),
        dropped={"openai_chat": ("reasoning.budget_tokens",)},
    ),
    "no thinking": Feature(
        three(
            {"reasoning_effort": "none"},
            {"thinking": {"type": "disabled"}},
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
        ),
        three(
            {"reasoning_effort": "none"},
            {"thinking": {"type": "disabled"}},
            {"generationConfig.thinkingConfig.thinkingBudget": 0},
        ),
    ),
    "stop": Feature(
        three({"stop": ["END"]}, {"stop_sequences": ["END"]}, {"generationConfig": {"stopSequences": ["END"]}}),
        three({"stop": ["END"]}, {"stop_sequences": ["END"]}, {"generationConfig.stopSequences": ["END"]}),
    ),
    "six stop strings": Feature(
        {"anthropic": {"stop_sequences": list("abcdef")}},
        {"openai_chat": Refused("stop"), "gemini": Refused("stop")},
    ),
    "limits and sampling": Feature(
        three(
            {"max_completion_tokens": 50, "temperature": 0.5},
            {"max_tokens": 50, "temperature": 0.5},
            {"generationConfig": {"maxOutputTokens": 50, "temperature": 0.5}},
        ),
        three(
            {"max_completion_tokens": 50, "temperature": 0.5},
            {"max_tokens": 50, "temperature": 0.5},
            {"generationConfig": {"maxOutputTokens": 50, "temperature": 0.5}},
        ),
    ),
    "top_k": Feature(
        {"anthropic": {"top_k": 40}, "gemini": {"generationConfig": {"topK": 40}}},
        three(Refused("top_k"), {"top_k": 40}, {"generationConfig.topK": 40}),
    ),
    "seed and penalties": Feature(
        {
            "openai_chat": {"seed": 7, "presence_penalty": 0.5},
            "gemini": {"generationConfig": {"seed": 7, "presencePenalty": 0.5}},
        },
        three(
            {"seed": 7, "presence_penalty": 0.5},
            {"seed": ABSENT},
            {"generationConfig.seed": 7, "generationConfig.presencePenalty": 0.5},
        ),
        dropped={"anthropic": ("seed", "presence_penalty")},
    ),
    "logprobs": Feature(
        {
            "openai_chat": {"logprobs": True, "top_logprobs": 3},
            "gemini": {"generationConfig": {"responseLogprobs": True, "logprobs": 3}},
        },
        three(
            {"logprobs": True, "top_logprobs": 3},
            Refused("logprobs"),
            {"generationConfig.responseLogprobs": True, "generationConfig.logprobs": 3},
        ),
    ),
    "two answers": Feature(
        {"openai_chat": {"n": 2}, "gemini": {"generationConfig": {"candidateCount": 2}}},
        three({"n": 2}, Refused("n"), {"generationConfig.candidateCount": 2}),
    ),
    "user": Feature(
        {"openai_chat": {"user": "u1"}, "anthropic": {"metadata": {"user_id": "u1"}}},
        {"openai_chat": {"user": "u1"}, "anthropic": {"metadata": {"user_id": "u1"}}, "gemini": {}},
        dropped={"gemini": ("user",)},
    ),
    "service tier": Feature(
        {"openai_chat": {"service_tier": "flex"}, "anthropic": {"service_tier": "standard_only"}},
        three({}, {}, {}),
        but={("openai_chat", "openai_chat"): {"service_tier": "flex"}},
        dropped={"gemini": ("service_tier",)},
    ),
    "safety settings": Feature(
        {"gemini": {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]}},
        {"openai_chat": {"safetySettings": ABSENT}, "anthropic": {"safetySettings": ABSENT}},
        dropped={"openai_chat": ("safetySettings",), "anthropic": ("safetySettings",)},
    ),
    "a provider's own tool": Feature(
        {
            "anthropic": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            "gemini": {"tools": [{"googleSearch": {}}]},
        },
        three(Refused("tools[0]"), Refused("tools[0]"), Refused("tools[0]")),
    ),
    "what only OpenAI has": Feature(
        {"openai_chat": {"logit_bias": {"50256": -100}}},
        {"anthropic": Refused("logit_bias"), "gemini": Refused("logit_bias")},
    ),
    "what only Anthropic has": Feature(
        {"anthropic": {"mcp_servers": [{"type": "url", "url": "https://a.example/mcp", "name": "a"}]}},
        {"openai_chat": Refused("mcp_servers"), "gemini": Refused("mcp_servers")},
    ),
    "what only Gemini has": Feature(
        {"gemini": {"cachedContent": "cachedContents/1"}},
        {"openai_chat": Refused("cachedContent"), "anthropic": Refused("cachedContent")},
    ),
    "an answer that is not text": Feature(
        {
            "openai_chat": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
            "gemini": {"generationConfig": {"responseModalities": ["IMAGE"]}},
        },
        {},
        but={
            ("openai_chat", "anthropic"): Refused("modalities"),
            ("openai_chat", "gemini"): Refused("modalities"),
            ("gemini", "openai_chat"): Refused("generationConfig.responseModalities"),
            ("gemini", "anthropic"): Refused("generationConfig.responseModalities"),
        },
    ),
}

CELLS = [
    pytest.param(feature, dialect, target, id=f"{name}: {dialect} to {target}")
    for name, feature in FEATURES.items()
    for dialect in feature.asked
    for target in FORMATS
    if dialect == target or target in feature.sent or (dialect, target) in feature.but
]


def at(body: Any, path: str) -> Any:
    """What stands at ``messages.0.content``; ABSENT where nothing does."""
    for step in path.split("."):
        if isinstance(body, list):
            body = body[int(step)] if int(step) < len(body) else ABSENT
        else:
            body = body.get(step, ABSENT) if isinstance(body, dict) else ABSENT
    return body


def translated(feature: Feature, dialect: str, target: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    source, wanted = FORMATS[dialect], FORMATS[target]
    body = {**source.plain, **feature.asked[dialect]}
    if dialect != "gemini":
        body["model"] = source.model
    request = source.codec.decode_request(json.dumps(body).encode(), model=source.model)
    encoded = wanted.codec.encode_request(msgspec.structs.replace(request, model=wanted.model))
    return json.loads(encoded.body), encoded.dropped


@pytest.mark.parametrize(("feature", "dialect", "target"), CELLS)
def test_a_cell(feature: Feature, dialect: str, target: str):
    outcome = feature.but.get((dialect, target), feature.sent.get(target, {}))
    if dialect == target:
        source = FORMATS[dialect]
        body, dropped = translated(feature, dialect, target)
        assert {name: body.get(name) for name in {**source.plain, **feature.asked[dialect]}} == {
            **source.plain,
            **feature.asked[dialect],
        }
        assert dropped == ()
    elif isinstance(outcome, Refused):
        with pytest.raises(UnsupportedError) as caught:
            translated(feature, dialect, target)
        assert caught.value.field == outcome.field
    else:
        body, dropped = translated(feature, dialect, target)
        assert {path: at(body, path) for path in outcome} == dict(outcome)
        assert set(feature.dropped.get(target, ())) <= set(dropped)


def test_every_pair_of_formats_has_its_cells():
    pairs = {(cell.values[1], cell.values[2]) for cell in CELLS}
    assert pairs == {(dialect, target) for dialect in FORMATS for target in FORMATS}


# -- answers -----------------------------------------------------------------------------------------

ANSWERS = three(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hm, see.",
                    "reasoning_content": "I think.",
                    "tool_calls": [chat_call("c1", "weather"), chat_call("c2", "time")],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 30,
            "total_tokens": 130,
            "prompt_tokens_details": {"cached_tokens": 40},
            "completion_tokens_details": {"reasoning_tokens": 10},
        },
    },
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "I think.", "signature": "c2ln"},
            {"type": "text", "text": "Hm, see."},
            claude_call("c1", "weather"),
            claude_call("c2", "time"),
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 60,
            "cache_read_input_tokens": 40,
            "output_tokens": 30,
            "output_tokens_details": {"thinking_tokens": 10},
        },
    },
    {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "I think.", "thought": True},
                        {"text": "Hm, see."},
                        gemini_call("c1", "weather"),
                        gemini_call("c2", "time"),
                    ],
                },
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 40,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 10,
            "totalTokenCount": 130,
        },
        "modelVersion": "m",
        "responseId": "r1",
    },
)

SHOWN = three(
    {
        "choices.0.message.content": "Hm, see.",
        "choices.0.message.reasoning_content": "I think.",
        "choices.0.message.tool_calls": [chat_call("c1", "weather"), chat_call("c2", "time")],
        "choices.0.finish_reason": "tool_calls",
        "usage.prompt_tokens": 100,
        "usage.completion_tokens": 30,
        "usage.prompt_tokens_details.cached_tokens": 40,
        "usage.completion_tokens_details.reasoning_tokens": 10,
    },
    {
        "content.0.thinking": "I think.",
        "content.1": {"type": "text", "text": "Hm, see."},
        "content.2": claude_call("c1", "weather"),
        "content.3": claude_call("c2", "time"),
        "stop_reason": "tool_use",
        "usage.input_tokens": 60,
        "usage.cache_read_input_tokens": 40,
        "usage.output_tokens": 30,
    },
    {
        "candidates.0.content.parts.0.text": "I think.",
        "candidates.0.content.parts.0.thought": True,
        "candidates.0.content.parts.1": {"text": "Hm, see."},
        "candidates.0.content.parts.2": gemini_call("c1", "weather"),
        "candidates.0.content.parts.3": gemini_call("c2", "time"),
        "candidates.0.finishReason": "STOP",
        "usageMetadata.promptTokenCount": 100,
        "usageMetadata.cachedContentTokenCount": 40,
        "usageMetadata.candidatesTokenCount": 20,
        "usageMetadata.thoughtsTokenCount": 10,
    },
)

REFUSED_ANSWERS = three(
    {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "refusal": "No."},
                "finish_reason": "stop",
            }
        ]
    },
    {"content": [{"type": "text", "text": "No."}], "stop_reason": "refusal", "usage": {}},
    {"candidates": [{"content": {"parts": [{"text": "No."}]}, "finishReason": "SAFETY", "index": 0}]},
)
REFUSALS_SHOWN = three(
    {"choices.0.finish_reason": "content_filter", "choices.0.message.content": "No."},
    {"content": [{"type": "text", "text": "No."}], "stop_reason": "refusal"},
    {"candidates.0.finishReason": "SAFETY", "candidates.0.content.parts": [{"text": "No."}]},
)

PAIRS = [(dialect, provider) for dialect in ANSWERS for provider in ANSWERS]


@pytest.mark.parametrize(("dialect", "provider"), PAIRS)
def test_an_answer_with_thinking_text_calls_and_usage(dialect: str, provider: str):
    reply = FORMATS[provider].codec.decode_reply(json.dumps(ANSWERS[provider]).encode())
    body = json.loads(FORMATS[dialect].codec.encode_reply(reply))
    assert {path: at(body, path) for path in SHOWN[dialect]} == SHOWN[dialect]


@pytest.mark.parametrize(("dialect", "provider"), PAIRS)
def test_a_streamed_answer_adds_up_to_the_whole_one(dialect: str, provider: str):
    # A turn takes another provider's proofs away before it answers.
    reply = unproven(FORMATS[provider].codec.decode_reply(json.dumps(ANSWERS[provider]).encode()))
    encoder = FORMATS[dialect].codec.stream_encoder()
    decoder = FORMATS[dialect].codec.stream_decoder()
    data = b"".join(encoder.feed(event) for event in events_of(reply)) + encoder.close()
    again = collect([*decoder.feed(data), *decoder.close()])
    body = json.loads(FORMATS[dialect].codec.encode_reply(again))
    assert {path: at(body, path) for path in SHOWN[dialect]} == SHOWN[dialect]


def events_of(reply: Any) -> list[Any]:
    events: list[Any] = [Start(reply.id, reply.model, reply.created)]
    for index, part in enumerate(reply.choices[0].parts):
        name = {Text: "text", Thinking: "text", ToolCall: "arguments"}[type(part)]
        text = getattr(part, name)
        events.append(PartStart(index, msgspec.structs.replace(part, **{name: ""})))
        events += [PartDelta(index, text[at : at + 3]) for at in range(0, len(text), 3)]
        events.append(PartStop(index))
    choice = reply.choices[0]
    return [*events, UsageUpdate(reply.usage), Finish(choice.finish_reason, choice.raw_finish_reason)]


@pytest.mark.parametrize(("dialect", "provider"), PAIRS)
def test_a_refusal(dialect: str, provider: str):
    reply = FORMATS[provider].codec.decode_reply(json.dumps(REFUSED_ANSWERS[provider]).encode())
    body = json.loads(FORMATS[dialect].codec.encode_reply(reply))
    if provider == "openai_chat":
        # OpenAI says "stop" and puts the words in a field of their own.
        shown = {
            "openai_chat": {"choices.0.message.refusal": "No.", "choices.0.finish_reason": "stop"},
            "anthropic": {"content": [{"type": "text", "text": "No."}]},
            "gemini": {"candidates.0.content.parts": [{"text": "No."}]},
        }[dialect]
    else:
        shown = REFUSALS_SHOWN[dialect]
    assert {path: at(body, path) for path in shown} == shown
