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
        "logit_bias": "it changes which tokens may come, and only OpenAI's format has it",
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
        "tool_choice": "it is a choice that only OpenAI knows",
    },
    "anthropic": {
        "mcp_servers": "only Anthropic calls them for the model",
        "container": "only Anthropic runs it",
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
        "toolConfig.functionCallingConfig": "it is a choice that only Gemini knows",
    },
}

# These ask for what is so anyway.
_HARMLESS: Final[Mapping[str, Any]] = {
    "modalities": ["text"],
    "generationConfig.responseModalities": ["TEXT"],
    "logit_bias": {},
    "mcp_servers": [],
}

# Fields whose own fields are named one by one.
_GROUPS: Final = frozenset({"generationConfig", "toolConfig", "output_config", "metadata", "stream_options"})

# What a codec keeps to give a value back in the client's own words; canon says the same.
_RESTATED: Final[Mapping[str, frozenset[str]]] = {
    "openai_chat": frozenset({"stream_options.include_usage", "tool_choice", "reasoning"}),
    "openai_responses": frozenset(),
    "anthropic": frozenset({"temperature", "top_p", "top_k", "input_schema", "schema", "output_format", "budget_tokens", "thinking"}),
    "gemini": frozenset({
        "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "responseMimeType", "responseFormat", "toolIndex",
        "thinkingLevel", "mode", "functionResponse", "contents", "parts", "role", "model",
    }),
}  # fmt: skip
# At the top of a request these are fields of their own, which canon has no words for.
_NOT_AT_TOP: Final = frozenset({"tool_choice", "reasoning", "thinking", "output_format"})

_NOTES: Final = ("~", "item.")


def name_foreign(extras: Extras | None, wire: str, path: str, dropped: list[str]) -> None:
    """Add the fields of other wire formats than ``wire`` to ``dropped``; ``path`` is that of what they belong to, ``""`` the request."""
    for other, fields in (extras or {}).items():
        if other != wire:
            dropped.extend(f"{path}.{name}" if path else name for name in _named(other, fields, top=not path))


def refuse_foreign(extras: Extras | None, wire: str) -> None:
    """Raise UnsupportedError where the request's own ``extras`` hold what only another wire format can answer."""
    for other, fields in (extras or {}).items():
        if other == wire:
            continue
        meant = _MEANT.get(other, {})
        for name, value in _flat(fields):
            if name in meant and value is not None and value != _HARMLESS.get(name):
                raise UnsupportedError(wire, name, meant[name])


def _named(wire: str, fields: Mapping[str, Any], *, top: bool) -> list[str]:
    restated = _RESTATED.get(wire, frozenset[str]())
    return [
        name
        for name, value in _flat(fields)
        if value is not None
        and not name.startswith(_NOTES)
        and (name not in restated or (top and name in _NOT_AT_TOP))
    ]  # fmt: skip


def _flat(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the fields, those of groups one by one as ``group.field``."""
    found: list[tuple[str, Any]] = []
    for name, value in fields.items():
        if name in _GROUPS and isinstance(value, dict):
            found += ((f"{name}.{inner}", each) for inner, each in cast("dict[str, Any]", value).items())
        else:
            found.append((name, value))
    return found
