"""What the four dialects can ask for: one row for each thing, with the SDKs' own arguments for it and what must come of them.

A dialect that has no way to ask for a thing has no arguments in its row.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rini.canon import (
    Choice,
    Document,
    Image,
    Refusal,
    Reply,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    plain_text,
)
from tests.support.dialects import Got, Tokens
from tests.support.model import reply

HELLO = reply(Text("hello there, you"))

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c636060606000000005000100"
        "a5f645400000000049454e44ae426082"
    )
).decode()
PICTURE_URL = "https://pictures.example/cat.png"
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Its name"}},
    "required": ["city"],
    "additionalProperties": False,
}
TIME = {
    "type": "object",
    "properties": {"zone": {"type": "string"}},
    "required": ["zone"],
    "additionalProperties": False,
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def said(request: Request) -> list[tuple[str, str]]:
    """The roles and texts of a request."""
    return [
        ("system" if each.role == "developer" else each.role, plain_text(each.parts)) for each in request.messages
    ]  # fmt: skip


@dataclass(frozen=True)
class Feature:
    """One row.

    ``asks`` are the arguments by dialect. ``reached`` says what of the request reached the provider, ``wanted`` what that must be (a value, or
    a function that says whether it is right): left out, and named as such, it is None or empty. ``got`` says what the SDK got, ``told`` what
    that must be (a value, or values by dialect). ``thinks`` asks a model that thinks.
    """

    name: str
    asks: Mapping[str, Mapping[str, Any]]
    answer: Reply = HELLO
    reached: Callable[[Request], Any] = said
    wanted: Any = field(default_factory=lambda: [("user", "hi")])
    got: Callable[[Got], Any] = lambda got: got.text
    told: Any = "hello there, you"
    thinks: bool = False


class ByDialect(dict[str, Any]):
    """A value that depends on the dialect."""


def asking(
    chat: Mapping[str, Any] | None = None,
    responses: Mapping[str, Any] | None = None,
    anthropic: Mapping[str, Any] | None = None,
    gemini: Mapping[str, Any] | None = None,
    text: str = "hi",
) -> Mapping[str, Mapping[str, Any]]:
    """The arguments of each dialect that has any, beside a message of the user's where they bring no messages themselves."""
    messages = {"messages": [{"role": "user", "content": text}]}
    base = {"chat": messages, "responses": {"input": text}, "anthropic": messages, "gemini": {"contents": text}}
    given = {"chat": chat, "responses": responses, "anthropic": anthropic, "gemini": gemini}
    return {name: {**base[name], **each} for name, each in given.items() if each is not None}


def config(**fields: Any) -> Mapping[str, Any]:
    """Gemini's arguments with these fields of the config."""
    return {"config": fields}


STOPPED = ByDialect(chat="stop", responses="completed", anthropic="end_turn", gemini="STOP")
CUT = ByDialect(chat="length", responses="max_output_tokens", anthropic="max_tokens", gemini="MAX_TOKENS")
CALLED = ByDialect(chat="tool_calls", responses="completed", anthropic="tool_use", gemini="STOP")
FILTERED = ByDialect(chat="content_filter", responses="content_filter", anthropic="refusal", gemini="SAFETY")


def with_finish(value: Any, finishes: Mapping[str, str]) -> ByDialect:
    """``value`` beside each dialect's word for how the answer ended."""
    return ByDialect({name: (value, word) for name, word in finishes.items()})


# -- tools -------------------------------------------------------------------------------------------

_TOOLS = (("weather", "Tells the weather", CITY), ("clock", "Tells the time", TIME))

CHAT_TOOLS = [
    {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}
    for name, about, schema in _TOOLS
]
RESPONSES_TOOLS = [
    {"type": "function", "name": name, "description": about, "parameters": schema, "strict": False}
    for name, about, schema in _TOOLS
]
ANTHROPIC_TOOLS = [
    {"name": name, "description": about, "input_schema": schema} for name, about, schema in _TOOLS
]  # fmt: skip
GEMINI_TOOLS = [
    {
        "function_declarations": [
            {"name": name, "description": about, "parameters_json_schema": schema} for name, about, schema in _TOOLS
        ]
    }
]

ONE_CALL = reply(ToolCall("call_1", "weather", '{"city": "Seoul"}'))
TWO_CALLS = reply(
    Text("I look."), ToolCall("call_1", "weather", '{"city": "Seoul"}'), ToolCall("call_2", "clock", '{"zone": "KST"}')
)
CALLS = (("weather", {"city": "Seoul"}), ("clock", {"zone": "KST"}))


def offered(request: Request) -> Any:
    """The names, sentences and schemas of the tools."""
    return [(tool.name, tool.description, _bare(tool)) for tool in request.tools]


def _bare(tool: Tool) -> Any:
    # Google's schemas have no such field, and OpenAI's need not.
    return {name: value for name, value in (tool.parameters or {}).items() if name != "additionalProperties"}


OFFERED = [
    (name, about, {key: value for key, value in schema.items() if key != "additionalProperties"})
    for name, about, schema in _TOOLS
]


def tools(
    chat: Mapping[str, Any] | None = None,
    responses: Mapping[str, Any] | None = None,
    anthropic: Mapping[str, Any] | None = None,
    gemini: Mapping[str, Any] | None = None,
) -> Mapping[str, Mapping[str, Any]]:
    """The arguments that offer both tools, and more."""
    return asking(
        chat=None if chat is None else {"tools": CHAT_TOOLS, **chat},
        responses=None if responses is None else {"tools": RESPONSES_TOOLS, **responses},
        anthropic=None if anthropic is None else {"tools": ANTHROPIC_TOOLS, **anthropic},
        gemini=None
        if gemini is None
        else config(tools=GEMINI_TOOLS, automatic_function_calling={"disable": True}, **gemini),
    )


def _choice(mode: str, *names: str) -> Mapping[str, Any]:
    found: dict[str, Any] = {"mode": mode}
    if names:
        found["allowed_function_names"] = list(names)
    return {"tool_config": {"function_calling_config": found}}


def chosen(request: Request) -> Any:
    """Which tools must be called. One that must be called alone, of one that is offered, is the same as it by name."""
    choice = request.tool_choice
    if choice is None:
        return None
    if choice.mode == "required" and len(choice.names) == 1:
        return ("tool", choice.names)
    if choice.mode == "required" and len(request.tools) == 1:
        return ("tool", (request.tools[0].name,))
    return (choice.mode, choice.names)


def answered(
    chat: Any = None, responses: Any = None, anthropic: Any = None, gemini: Any = None
) -> Mapping[str, Mapping[str, Any]]:
    """The arguments of a conversation in which a tool was called and answered with what is given, in the dialect's own form."""
    return {
        name: each
        for name, given, each in (
            (
                "chat",
                chat,
                {
                    "tools": CHAT_TOOLS,
                    "messages": [
                        {"role": "user", "content": "hi"},
                        {
                            "role": "assistant",
                            "content": None,
                            "tool_calls": [
                                {
                                    "id": "call_1",
                                    "type": "function",
                                    "function": {"name": "weather", "arguments": '{"city": "Seoul"}'},
                                }
                            ],
                        },
                        {"role": "tool", "tool_call_id": "call_1", "content": chat},
                    ],
                },
            ),
            (
                "responses",
                responses,
                {
                    "tools": RESPONSES_TOOLS,
                    "input": [
                        {"role": "user", "content": "hi"},
                        {
                            "type": "function_call",
                            "call_id": "call_1",
                            "name": "weather",
                            "arguments": '{"city": "Seoul"}',
                        },
                        {"type": "function_call_output", "call_id": "call_1", "output": responses},
                    ],
                },
            ),
            (
                "anthropic",
                anthropic,
                {
                    "tools": ANTHROPIC_TOOLS,
                    "messages": [
                        {"role": "user", "content": "hi"},
                        {
                            "role": "assistant",
                            "content": [
                                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Seoul"}}
                            ],
                        },
                        {
                            "role": "user",
                            "content": [{"type": "tool_result", "tool_use_id": "call_1", **_dict(anthropic)}],
                        },
                    ],
                },
            ),
            (
                "gemini",
                gemini,
                {
                    "config": {"tools": GEMINI_TOOLS, "automatic_function_calling": {"disable": True}},
                    "contents": [
                        {"role": "user", "parts": [{"text": "hi"}]},
                        {
                            "role": "model",
                            "parts": [{"function_call": {"name": "weather", "args": {"city": "Seoul"}}}],
                        },
                        {"role": "user", "parts": [{"function_response": {"name": "weather", **_dict(gemini)}}]},
                    ],
                },
            ),
        )
        if given is not None
    }


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def results(request: Request) -> Any:
    """Each call with its result's text, and whether the result belongs to it; and how many pictures there are."""
    calls = [part for each in request.messages for part in each.parts if isinstance(part, ToolCall)]
    found = [part for each in request.messages for part in each.parts if isinstance(part, ToolResult)]
    beside = [part for each in request.messages for part in each.parts if isinstance(part, Image | Document)]
    inside = [part for each in found for part in each.content if isinstance(part, Image | Document)]
    return (
        [(call.name, call.arguments.replace(" ", "")) for call in calls],
        [
            "rainy" in plain_text(each.content)
            and (each.call_id == calls[index].id or each.name == calls[index].name)
            for index, each in enumerate(found)
        ],
        len(beside) + len(inside),
    )  # fmt: skip


WEATHER_CALL = ("weather", '{"city":"Seoul"}')

# -- what is seen ------------------------------------------------------------------------------------


def attached(request: Request) -> Any:
    """What is attached to the user's messages: the kind, the type, the first letters of what it holds, and the text beside it."""
    found = [part for each in request.messages for part in each.parts if isinstance(part, Image | Document)]
    texts = [part.text for each in request.messages for part in each.parts if isinstance(part, Text)]
    return (
        [(type(part).__name__, (part.media.data or part.media.url or part.media.file_id or "")[:32]) for part in found],
        texts,
    )


def _shown(kind: str, data: str) -> Any:
    return ([(kind, data[:32])], ["What is it?"])


def image(chat_url: str, anthropic: Mapping[str, Any], gemini: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The arguments that show an image."""
    return {
        "chat": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image_url", "image_url": {"url": chat_url}},
                    ],
                }
            ]
        },
        "responses": {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is it?"},
                        {"type": "input_image", "image_url": chat_url, "detail": "auto"},
                    ],
                }
            ]
        },
        "anthropic": {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "What is it?"}, {"type": "image", "source": anthropic}],
                }
            ]
        },
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "What is it?"}, gemini]}]},
    }


def pdf() -> Mapping[str, Mapping[str, Any]]:
    """The arguments that show a PDF."""
    data = f"data:application/pdf;base64,{PDF}"
    return {
        "chat": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "file", "file": {"filename": "a.pdf", "file_data": data}},
                    ],
                }
            ]
        },
        "responses": {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is it?"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": data},
                    ],
                }
            ]
        },
        "anthropic": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {
                            "type": "document",
                            "title": "a.pdf",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                        },
                    ],
                }
            ]
        },
        "gemini": {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"text": "What is it?"},
                        {"inline_data": {"mime_type": "application/pdf", "data": base64.b64decode(PDF)}},
                    ],
                }
            ]
        },
    }


# -- the answer's form -------------------------------------------------------------------------------

JSON_ANSWER = '{"name": "Ann", "age": 7}'


def shape(request: Request) -> Any:
    """The form that is asked for: its kind and the properties of its schema."""
    wanted = request.response_format
    if wanted is None:
        return None
    return (wanted.kind, _plain((wanted.schema or {}).get("properties")))


def _plain(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {
            key: value.lower() if key == "type" and isinstance(value, str) else _plain(value)
            for key, value in schema.items()
            if key not in {"additionalProperties", "propertyOrdering", "title"}
        }
    return schema


def schema_of(schema: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The arguments that want an answer of this schema."""
    named = {"name": "answer", "schema": schema, "strict": True}
    return asking(
        chat={"response_format": {"type": "json_schema", "json_schema": named}},
        responses={"text": {"format": {"type": "json_schema", **named}}},
        anthropic={"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        gemini=config(response_mime_type="application/json", response_json_schema=schema),
    )


RECURSIVE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["name", "next"],
    "additionalProperties": False,
}
SHARED = {
    "$defs": {"Place": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}},
    "type": "object",
    "properties": {"home": {"$ref": "#/$defs/Place"}, "work": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]}},
    "required": ["home", "work"],
    "additionalProperties": False,
}  # fmt: skip
RANGED = {
    "type": "object",
    "properties": {
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "when": {"type": "string", "format": "date-time"},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["age", "when", "tags"],
    "additionalProperties": False,
}


# -- thinking ----------------------------------------------------------------------------------------

THOUGHT = reply(
    Thinking("I count the letters.", signature="U0lHTkVE"), Text("hello there, you"),
    usage=Usage(input_tokens=10, output_tokens=25, reasoning_tokens=20),
)  # fmt: skip


def thinks(request: Request) -> Any:
    """Whether, and how much, the model is to think."""
    wanted = request.reasoning
    if wanted is None:
        return None
    if wanted.enabled is False or wanted.effort == "none" or wanted.budget_tokens == 0:
        return "off"
    if wanted.effort is None and wanted.budget_tokens is None:
        return "on" if wanted.enabled else None
    return ("effort", wanted.effort) if wanted.effort is not None else ("budget", wanted.budget_tokens)


# -- the end, and what it took -----------------------------------------------------------------------

COUNTED = Usage(
    input_tokens=100, output_tokens=50, cache_read_tokens=60, reasoning_tokens=20, cache_write_tokens=None,
)  # fmt: skip


def end(got: Got) -> Any:
    """The text and the dialect's word for how it ended."""
    return (got.text, got.finish)


_LIKELY = {
    "token": "hello",
    "logprob": -0.5,
    "bytes": [104],
    "top_logprobs": [{"token": "hello", "logprob": -0.5, "bytes": []}],
}
_CANDIDATE = {"token": "hello", "tokenId": 1, "logProbability": -0.5}
LIKELY = Reply(
    (
        Choice(
            (Text("hello there, you", extras={"openai_responses": {"logprobs": [_LIKELY]}}),),
            "stop",
            extras={
                "openai_chat": {"logprobs.content": [_LIKELY]},
                "gemini": {
                    "logprobsResult": {"chosenCandidates": [_CANDIDATE], "topCandidates": [{"candidates": [_CANDIDATE]}]}
                },
            },
        ),
    ),
    HELLO.usage, "r1", "model-1", 1,
)  # fmt: skip
"""An answer with the probability of a word, in the words of each format."""

FEATURES: tuple[Feature, ...] = (
    Feature("plain text", asking({}, {}, {}, {}), got=end, told=with_finish("hello there, you", STOPPED)),
    Feature(
        "system prompt",
        asking(
            {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]},
            {"instructions": "Be brief."},
            {"system": "Be brief."},
            config(system_instruction="Be brief."),
        ),
        wanted=[("system", "Be brief."), ("user", "hi")],
    ),
    Feature(
        "a conversation",
        {
            "chat": {
                "messages": [
                    {"role": "user", "content": "one"},
                    {"role": "assistant", "content": "two"},
                    {"role": "user", "content": "three"},
                ]
            },
            "responses": {
                "input": [
                    {"role": "user", "content": "one"},
                    {"role": "assistant", "content": "two"},
                    {"role": "user", "content": "three"},
                ]
            },
            "anthropic": {
                "messages": [
                    {"role": "user", "content": "one"},
                    {"role": "assistant", "content": "two"},
                    {"role": "user", "content": "three"},
                ]
            },
            "gemini": {
                "contents": [
                    {"role": "user", "parts": [{"text": "one"}]},
                    {"role": "model", "parts": [{"text": "two"}]},
                    {"role": "user", "parts": [{"text": "three"}]},
                ]
            },
        },
        wanted=[("user", "one"), ("assistant", "two"), ("user", "three")],
    ),
    Feature(
        "several tools", tools({}, {}, {}, {}), ONE_CALL, offered, OFFERED,
        lambda got: (got.calls, got.finish), with_finish(CALLS[:1], CALLED),
    ),
    Feature(
        "parallel calls", tools({}, {}, {}, {}), TWO_CALLS, offered, OFFERED,
        lambda got: (got.text, got.calls, len(set(got.call_ids))), ("I look.", CALLS, 2),
    ),
    Feature(
        "one call at most",
        tools(
            {"parallel_tool_calls": False},
            {"parallel_tool_calls": False},
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        ONE_CALL, lambda request: request.parallel_tool_calls, False, lambda got: got.calls, CALLS[:1],
    ),
    Feature(
        "a tool must be called",
        tools(
            {"tool_choice": "required"}, {"tool_choice": "required"}, {"tool_choice": {"type": "any"}}, _choice("ANY")
        ),
        ONE_CALL, chosen, ("required", ()), lambda got: got.calls, CALLS[:1],
    ),
    Feature(
        "this tool must be called",
        tools(
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
            {"tool_choice": {"type": "function", "name": "weather"}},
            {"tool_choice": {"type": "tool", "name": "weather"}},
            _choice("ANY", "weather"),
        ),
        ONE_CALL, chosen, ("tool", ("weather",)), lambda got: got.calls, CALLS[:1],
    ),
    Feature(
        "no tool may be called",
        tools({"tool_choice": "none"}, {"tool_choice": "none"}, {"tool_choice": {"type": "none"}}, _choice("NONE")),
        reached=chosen, wanted=("none", ()),
    ),
    Feature(
        "a tool's result: text",
        answered("rainy", "rainy", {"content": "rainy"}, {"response": {"result": "rainy"}}),
        reached=results, wanted=([WEATHER_CALL], [True], 0),
    ),
    Feature(
        "a tool's result: an image",
        answered(
            responses=[
                {"type": "input_text", "text": "rainy"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
            ],
            anthropic={
                "content": [
                    {"type": "text", "text": "rainy"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                ]
            },
            gemini={
                "response": {"result": "rainy"},
                "parts": [{"inline_data": {"mime_type": "image/png", "data": base64.b64decode(PIXEL)}}],
            },
        ),
        reached=results, wanted=([WEATHER_CALL], [True], 1),
    ),
    Feature(
        "a tool's result: an error",
        answered(anthropic={"content": "rainy", "is_error": True}, gemini={"response": {"error": "rainy"}}),
        reached=results, wanted=([WEATHER_CALL], [True], 0),
    ),
    Feature(
        "JSON by a schema", schema_of(PERSON), reply(Text(JSON_ANSWER)),
        shape, ("json_schema", PERSON["properties"]), told=JSON_ANSWER,
    ),
    Feature(
        "… with $ref and anyOf", schema_of(SHARED), reply(Text(JSON_ANSWER)),
        lambda request: shape(request) and shape(request)[0], "json_schema", told=JSON_ANSWER,
    ),
    Feature(
        "… with ranges, formats and patterns", schema_of(RANGED), reply(Text(JSON_ANSWER)),
        lambda request: shape(request) and shape(request)[0], "json_schema", told=JSON_ANSWER,
    ),
    Feature(
        "… that is recursive", schema_of(RECURSIVE), reply(Text(JSON_ANSWER)),
        lambda request: shape(request) and shape(request)[0], "json_schema", told=JSON_ANSWER,
    ),
    Feature(
        "JSON of any form",
        asking(
            {"response_format": {"type": "json_object"}},
            {"text": {"format": {"type": "json_object"}}},
            gemini=config(response_mime_type="application/json"),
            text="Answer as JSON",
        ),
        reply(Text(JSON_ANSWER)), lambda request: shape(request) and shape(request)[0], "json", told=JSON_ANSWER,
    ),
    Feature(
        "an image",
        image(
            f"data:image/png;base64,{PIXEL}",
            {"type": "base64", "media_type": "image/png", "data": PIXEL},
            {"inline_data": {"mime_type": "image/png", "data": base64.b64decode(PIXEL)}},
        ),
        reached=attached, wanted=_shown("Image", PIXEL),
    ),
    Feature(
        "an image by its address",
        image(
            PICTURE_URL,
            {"type": "url", "url": PICTURE_URL},
            {"file_data": {"mime_type": "image/png", "file_uri": PICTURE_URL}},
        ),
        reached=attached, wanted=_shown("Image", PICTURE_URL),
    ),
    Feature("a PDF", pdf(), reached=attached, wanted=_shown("Document", PDF)),
    Feature(
        "thinking by effort",
        asking(
            {"reasoning_effort": "high"},
            {"reasoning": {"effort": "high"}},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            config(thinking_config={"thinking_level": "HIGH"}),
        ),
        THOUGHT, thinks, lambda value: value in (("effort", "high"), ("budget", 24576)), thinks=True,
    ),
    Feature(
        "thinking by budget",
        asking(
            anthropic={"thinking": {"type": "enabled", "budget_tokens": 2048}},
            gemini=config(thinking_config={"thinking_budget": 2048}),
        ),
        THOUGHT, thinks, lambda value: value in (("effort", "low"), ("budget", 2048), ("effort", "high")), thinks=True,
    ),
    Feature(
        "no thinking",
        asking(
            {"reasoning_effort": "none"},
            {"reasoning": {"effort": "none"}},
            {"thinking": {"type": "disabled"}},
            config(thinking_config={"thinking_budget": 0}),
        ),
        reached=thinks, wanted="off", thinks=True,
    ),
    Feature(
        "thoughts that are shown",
        asking(
            {},
            {"reasoning": {"effort": "medium", "summary": "auto"}},
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            config(thinking_config={"include_thoughts": True}),
        ),
        THOUGHT, said, [("user", "hi")],
        lambda got: (got.thinking, got.text), ("I count the letters.", "hello there, you"), thinks=True,
    ),
    Feature(
        "stop sequences",
        asking({"stop": ["END", "FIN"]}, anthropic={"stop_sequences": ["END", "FIN"]}, gemini=config(stop_sequences=["END", "FIN"])),
        Reply((Choice((Text("hello"),), "stop_sequence", stop_sequence="END"),), HELLO.usage, "r1", "model-1", 1),
        lambda request: request.stop, ("END", "FIN"), end,
        ByDialect(
            chat=("hello", "stop"), anthropic=("hello", ("stop_sequence", "end_turn")), gemini=("hello", "STOP"),
        ),
    ),
    Feature(
        "a limit of tokens",
        asking({"max_completion_tokens": 20}, {"max_output_tokens": 20}, {"max_tokens": 20}, config(max_output_tokens=20)),
        reply(Text("hello"), finish="length"), lambda request: request.max_tokens, 20, end, with_finish("hello", CUT),
    ),
    Feature(
        "temperature",
        asking({"temperature": 0.5}, {"temperature": 0.5}, {"extra_body": {"temperature": 0.5}}, config(temperature=0.5)),
        reached=lambda request: request.temperature, wanted=0.5,
    ),
    Feature(
        "top_p",
        asking({"top_p": 0.5}, {"top_p": 0.5}, {"extra_body": {"top_p": 0.5}}, config(top_p=0.5)),
        reached=lambda request: request.top_p, wanted=0.5,
    ),
    Feature(
        "top_k",
        asking(anthropic={"extra_body": {"top_k": 5}}, gemini=config(top_k=5)),
        reached=lambda request: request.top_k, wanted=5,
    ),
    Feature(
        "seed",
        asking({"seed": 7}, gemini=config(seed=7)),
        reached=lambda request: request.seed, wanted=7,
    ),
    Feature(
        "penalties",
        asking(
            {"presence_penalty": 0.5, "frequency_penalty": 0.25}, gemini=config(presence_penalty=0.5, frequency_penalty=0.25)
        ),
        reached=lambda request: (request.presence_penalty, request.frequency_penalty), wanted=(0.5, 0.25),
    ),
    Feature(
        "logprobs",
        asking(
            {"logprobs": True, "top_logprobs": 1},
            {"include": ["message.output_text.logprobs"], "top_logprobs": 1},
            gemini=config(response_logprobs=True, logprobs=1),
        ),
        LIKELY, reached=lambda request: (request.logprobs, request.top_logprobs), wanted=(True, 1),
        got=lambda got: (got.text, got.logprobs), told=("hello there, you", (("hello", -0.5),)),
    ),
    Feature(
        "several answers",
        asking({"n": 2}, gemini=config(candidate_count=2)),
        Reply((Choice((Text("one"),), "stop"), Choice((Text("two"),), "stop")), HELLO.usage, "r1", "model-1", 1),
        lambda request: request.n, 2, lambda got: got.texts, ("one", "two"),
    ),
    Feature(
        "a refusal",
        asking({}, {}, {}, {}),
        Reply((Choice((Refusal("I cannot."),), "refusal"),), HELLO.usage, "r1", "model-1", 1),
        got=lambda got: (got.refusal or got.text, got.finish),
        told=ByDialect(
            chat=("I cannot.", ("stop", "content_filter")), responses=("I cannot.", ("completed", "content_filter")),
            anthropic=("I cannot.", ("refusal", "end_turn")), gemini=("I cannot.", ("STOP", "SAFETY", "OTHER", "PROHIBITED_CONTENT")),
        ),
    ),
    Feature(
        "an answer that a filter cut",
        asking({}, {}, {}, {}),
        reply(Text("hello"), finish="safety"), got=end, told=with_finish("hello", FILTERED),
    ),
    Feature(
        "usage",
        asking({}, {}, {}, {}),
        Reply(HELLO.choices, COUNTED, "r1", "model-1", 1),
        got=lambda got: got.tokens,
        told=ByDialect(
            chat=Tokens(100, 50, cache_read=60, reasoning=20),
            responses=Tokens(100, 50, cache_read=60, reasoning=20),
            anthropic=Tokens(40, 50, cache_read=60, reasoning=20),
            gemini=Tokens(100, 30, cache_read=60, reasoning=20),
        ),
    ),
    Feature(
        "who the user is",
        asking({"user": "u-1"}, {"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
        reached=lambda request: request.user, wanted="u-1",
    ),
    Feature(
        "cache_control",
        asking(
            anthropic={
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}],
                    }
                ]
            }
        ),
    ),
    Feature("a service tier", asking({"service_tier": "flex"}, {"service_tier": "flex"}, {"service_tier": "standard_only"})),
    Feature("metadata", asking({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}})),
    Feature(
        "safety settings",
        asking(
            gemini=config(
                safety_settings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
            )
        ),
    ),
)  # fmt: skip
