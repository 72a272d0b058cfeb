"""Call parameters (``llm_params``) in each provider's own terms.

A table a wire format: the name that a client uses -> where it stands in the provider's body. The provider's own names come first, names
that other providers use for the same thing follow. What is not in the table the provider does not have; it is refused, never dropped.
Sources: the API references of OpenAI (chat completions), Anthropic (messages) and Gemini (generateContent), read in November 2026.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from rini.canon import Request
from rini.errors import InvalidRequestError, UnsupportedParameterError
from rini.providers.catalog import Provider
from rini.providers.local.parameters import PARAMETERS as LOCAL_PARAMETERS
from rini.wire.codec import MalformedError

Place = tuple[str, ...]

MANAGED = frozenset(
    {
        "model",
        "messages",
        "contents",
        "system",
        "system_instruction",
        "systemInstruction",
        "stream",
        "stream_options",
        "tools",
        "functions",
    }
)
"""What Rini sets itself, from the other fields of the request."""


def _same(*names: str, under: str | None = None) -> dict[str, Place]:
    return {name: (under, name) if under else (name,) for name in names}


_OPENAI: dict[str, Place] = {
    **_same(
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "response_format",
        "reasoning_effort",
        "verbosity",
        "user",
        "metadata",
        "store",
        "service_tier",
        "parallel_tool_calls",
        "prediction",
        "modalities",
        "audio",
        "web_search_options",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
    ),
    "max_output_tokens": ("max_completion_tokens",),
    "maxOutputTokens": ("max_completion_tokens",),
    "stop_sequences": ("stop",),
    "stopSequences": ("stop",),
    "topP": ("top_p",),
    "presencePenalty": ("presence_penalty",),
    "frequencyPenalty": ("frequency_penalty",),
    "candidateCount": ("n",),
}

_ANTHROPIC: dict[str, Place] = {
    **_same(
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "thinking",
        "metadata",
        "service_tier",
        "output_config",
        "container",
        "context_management",
        "inference_geo",
        "cache_control",
    ),
    "max_completion_tokens": ("max_tokens",),
    "max_output_tokens": ("max_tokens",),
    "maxOutputTokens": ("max_tokens",),
    "stop": ("stop_sequences",),
    "stopSequences": ("stop_sequences",),
    "topP": ("top_p",),
    "topK": ("top_k",),
    "user": ("metadata", "user_id"),
    "reasoning_effort": ("output_config", "effort"),
}

_GEMINI: dict[str, Place] = {
    **_same(
        "maxOutputTokens",
        "temperature",
        "topP",
        "topK",
        "stopSequences",
        "seed",
        "presencePenalty",
        "frequencyPenalty",
        "candidateCount",
        "responseLogprobs",
        "logprobs",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "responseModalities",
        "thinkingConfig",
        "speechConfig",
        "mediaResolution",
        "imageConfig",
        "enableEnhancedCivicAnswers",
        under="generationConfig",
    ),
    **_same("generationConfig", "safetySettings", "cachedContent", "labels", "serviceTier"),
    "max_tokens": ("generationConfig", "maxOutputTokens"),
    "max_completion_tokens": ("generationConfig", "maxOutputTokens"),
    "max_output_tokens": ("generationConfig", "maxOutputTokens"),
    "top_p": ("generationConfig", "topP"),
    "top_k": ("generationConfig", "topK"),
    "stop": ("generationConfig", "stopSequences"),
    "stop_sequences": ("generationConfig", "stopSequences"),
    "presence_penalty": ("generationConfig", "presencePenalty"),
    "frequency_penalty": ("generationConfig", "frequencyPenalty"),
    "n": ("generationConfig", "candidateCount"),
    "candidate_count": ("generationConfig", "candidateCount"),
    "response_mime_type": ("generationConfig", "responseMimeType"),
    "response_schema": ("generationConfig", "responseSchema"),
    "response_json_schema": ("generationConfig", "responseJsonSchema"),
    "thinking_config": ("generationConfig", "thinkingConfig"),
    "safety_settings": ("safetySettings",),
    "cached_content": ("cachedContent",),
    "generation_config": ("generationConfig",),
}

_TABLES: Mapping[str, Mapping[str, Place]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "google": _GEMINI,
    "local": {name: place for name, place in _OPENAI.items() if place[0] in LOCAL_PARAMETERS}
    | _same(*LOCAL_PARAMETERS),
}

_LISTS = frozenset({("stop_sequences",), ("generationConfig", "stopSequences")})
"""Places that hold a list where other providers take a single string too."""


def request_with(provider: Provider, model: str, params: Mapping[str, Any], request: Request) -> Request:
    """Return ``request`` with ``params`` added.

    Raises UnsupportedParameterError for what the provider does not have, InvalidRequestError for values it cannot have.
    """
    if not params:
        return request
    body: dict[str, Any] = {}
    for name, value in params.items():
        if name in MANAGED:
            raise InvalidRequestError(
                f"llm_params.{name}: Rini sets this itself, from the other fields of the request."
            )
        if value is not None:
            _put(body, _place(provider, name), value, name)
    try:
        decoded = provider.codec.decode_request(
            msgspec.json.encode(
                {**body, **_EMPTY_CONVERSATION.get(provider.codec.name, {"messages": [], "model": model})}
            ),
            model=model,
            stream=request.stream,
        )
    except MalformedError as error:
        raise InvalidRequestError(f"llm_params: {error}") from None
    if decoded.n is not None and decoded.n != 1:
        raise InvalidRequestError("llm_params: a turn has one answer, so that only one can be asked for (n).")
    return msgspec.structs.replace(
        decoded, model=request.model, messages=request.messages, tools=request.tools, stream=request.stream
    )


_EMPTY_CONVERSATION: Mapping[str, Mapping[str, Any]] = {"gemini": {"contents": []}}


def _place(provider: Provider, name: str) -> Place:
    table = _TABLES.get(provider.name)
    if table is None:  # an OpenAI-compatible server: nobody but itself knows what it takes
        return _OPENAI.get(name, (name,))
    place = table.get(name)
    if place is None:
        others = sorted(other for other, known in _TABLES.items() if name in known)
        hint = (
            f" {', '.join(others)} has it." if len(others) == 1 else f" {', '.join(others)} have it." if others else ""
        )
        raise UnsupportedParameterError(
            f"llm_params.{name}: {provider.label} has no such parameter.{hint}", parameter=name, provider=provider.name
        )
    return place


def _put(body: dict[str, Any], place: Place, value: Any, name: str) -> None:
    if place in _LISTS and isinstance(value, str):
        value = [value]
    into: dict[str, Any] = body
    for step in place[:-1]:
        nested: Any = into.setdefault(step, {})
        if not isinstance(nested, dict):
            raise InvalidRequestError(f"llm_params.{step}: must be an object.")
        into = cast("dict[str, Any]", nested)
    _merge(into, place[-1], value, name, place)


def _merge(into: dict[str, Any], field: str, value: Any, name: str, place: Place) -> None:
    """Set a field; an object joins the object that other parameters made, in whichever order they come."""
    before = into.get(field)
    if isinstance(value, dict) and isinstance(before, dict):
        for inner, nested in cast("dict[str, Any]", value).items():
            _merge(cast("dict[str, Any]", before), inner, nested, name, (*place, inner))
    elif field in into:
        raise InvalidRequestError(f"llm_params.{name}: {'.'.join(place)} is given twice, by another name too.")
    else:
        into[field] = dict(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
