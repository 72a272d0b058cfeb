"""What another wire format's extras mean to a provider that does not know them: nothing dropped in silence.

A field that changes what the answer is refuses the request; any other is left out and named by its path (``service_tier``,
``messages[0].parts[1].cache_control``). The fields listed here are those of the providers' references of November 2026; a field that
is not listed is left out and named.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from rini.canon import Extras
from rini.wire.codec import UnsupportedError

_MEANT: Final[Mapping[str, Mapping[str, str]]] = {
    "openai_chat": {
        "logit_bias": "it changes which tokens may come, and only chat completions have it",
        "modalities": "the answer is to come in another form than text",
        "audio": "the answer is to be spoken",
        "web_search_options": "only OpenAI's own models search the web so",
        "response_format": "it is a form of answer that only the server of this format knows",
        "tool_choice": "it is a choice that only the server of this format knows",
    },
    "openai_responses": {
        "previous_response_id": "only OpenAI holds the conversation that it continues",
        "conversation": "only OpenAI holds it",
        "prompt": "only OpenAI holds the template",
        "text.format": "it is a form of answer that only OpenAI knows",
        "tool_choice": "it is a choice that only OpenAI knows",
    },
    "anthropic": {
        "mcp_servers": "only Anthropic calls them for the model",
        "container": "only Anthropic runs it",
        "thread": "only Anthropic holds the conversation",
        "max_tokens": "nothing is to be written but the cache, and only Anthropic does so",
        "inference_geo": "only Anthropic says where the model runs",
        "tool_choice": "it is a choice that only Anthropic knows",
        "output_config.format": "it is a form of answer that only Anthropic knows",
        "output_format": "it is a form of answer that only Anthropic knows",
    },
    "gemini": {
        "cachedContent": "only Google holds what it names",
        "generationConfig.speechConfig": "the answer is to be spoken",
        "generationConfig.imageConfig": "the answer is to be a picture",
        "generationConfig.responseModalities": "the answer is to come in another form than text",
        "generationConfig.responseMimeType": "it is a form of answer that only Gemini knows",
        "generationConfig.responseSchema": "it is a form of answer that only Gemini knows",
        "generationConfig.responseJsonSchema": "it is a form of answer that only Gemini knows",
        "generationConfig.responseFormat": "it is a form of answer that only Gemini knows",
        "toolConfig.functionCallingConfig.mode": "it is a choice that only Gemini knows",
        "toolConfig.functionCallingConfig.allowedFunctionNames": "it is a choice that only Gemini knows",
    },
}

# These ask for what is so anyway.
_HARMLESS: Final[Mapping[str, Any]] = {
    "modalities": ["text"],
    "generationConfig.responseModalities": ["TEXT"],
    "logit_bias": {},
    "store": False,
    "background": False,
    "truncation": "disabled",
    "stream_options.include_obfuscation": False,
    "mcp_servers": [],
    "safetySettings": [],
    "toolConfig.functionCallingConfig.mode": "MODE_UNSPECIFIED",
}

# Fields whose own fields are named one by one.
_GROUPS: Final = frozenset({
    "generationConfig", "toolConfig", "toolConfig.functionCallingConfig", "output_config", "metadata", "stream_options", "text",
})  # fmt: skip

# What a codec keeps to give a value back in the client's own words; canon says the same.
_RESTATED: Final[Mapping[str, frozenset[str]]] = {
    "openai_chat": frozenset({"stream_options.include_usage", "tool_choice", "reasoning"}),
    "openai_responses": frozenset({"id", "status"}),  # an item's own; calls and results are told apart by another
    "anthropic": frozenset({"temperature", "top_p", "top_k", "input_schema", "schema", "output_format", "budget_tokens", "thinking"}),
    "gemini": frozenset({
        "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "responseMimeType", "responseFormat", "toolIndex",
        "thinkingLevel", "mode", "functionResponse", "contents", "parts", "role", "model",
    }),
}  # fmt: skip
# At the top of a request, and of a tool, these are fields of their own, which canon has no words for.
_NOT_AT_TOP: Final = frozenset({"tool_choice", "reasoning", "thinking", "output_format"})
_NOT_OF_TOOLS: Final = frozenset({"responseSchema", "responseJsonSchema"})

_NOTE: Final = "~"
_ITEM: Final = "item."  # what belongs to the item around a part


def name_foreign(extras: Extras | None, wire: str, path: str, dropped: list[str]) -> None:
    """Add the fields of other wire formats than ``wire`` to ``dropped``; ``path`` is that of what they belong to, ``""`` the request."""
    for other, fields in (extras or {}).items():
        if other != wire:
            dropped.extend(f"{path}.{name}" if path else name for name in _named(other, fields, path))


def refuse_foreign(extras: Extras | None, wire: str) -> None:
    """Raise UnsupportedError where the request's own ``extras`` hold what only another wire format can answer."""
    for other, fields in (extras or {}).items():
        if other == wire:
            continue
        meant = _MEANT.get(other, {})
        for name, value in _flat(fields):
            if name in meant and not _is_said_anyway(name, value):
                raise UnsupportedError(wire, name, meant[name])


def _named(wire: str, fields: Mapping[str, Any], path: str) -> list[str]:
    restated = _RESTATED.get(wire, frozenset[str]())
    if not path:
        restated -= _NOT_AT_TOP
    elif path.startswith("tools["):
        restated -= _NOT_OF_TOOLS
    return [
        name
        for full, value in _flat(fields)
        if (name := full.removeprefix(_ITEM)) not in restated
        and not name.startswith(_NOTE)
        and not _is_said_anyway(name, value)
    ]


def _is_said_anyway(name: str, value: object) -> bool:
    return value is None or value == _HARMLESS.get(name)


def _flat(fields: Mapping[str, Any], group: str = "") -> list[tuple[str, Any]]:
    """Return the fields, those of groups one by one as ``group.field``."""
    found: list[tuple[str, Any]] = []
    for name, value in fields.items():
        if group + name in _GROUPS and isinstance(value, dict):
            found += _flat(cast("dict[str, Any]", value), f"{group}{name}.")
        else:
            found.append((group + name, value))
    return found
