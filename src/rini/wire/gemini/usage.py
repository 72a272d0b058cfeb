"""Token counts: ``usageMetadata`` and canon's.

Gemini's promptTokenCount includes cached tokens but not what its server-side tools put into the prompt, and its
candidatesTokenCount excludes thoughts; a count of zero is left out (UsageMetadata, Gemini API reference, 2026).
"""

from typing import Any, cast

from rini.canon import Usage, extras_of
from rini.wire.codec import MalformedError
from rini.wire.gemini.fields import WIRE

_NAMED = frozenset({"promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount"})
_COUNTS = {int, type(None)}
_AUDIO = ("AUDIO", 4)


def decode_usage(value: object) -> Usage:
    """Return the counts in a ``usageMetadata``. Raises MalformedError."""
    if type(value) is not dict:
        raise MalformedError("usageMetadata is not an object.")
    fields = cast("dict[str, Any]", value)
    get = fields.get
    prompt, tools, cached = get("promptTokenCount"), get("toolUsePromptTokenCount"), get("cachedContentTokenCount")
    written, thoughts, total = get("candidatesTokenCount"), get("thoughtsTokenCount"), get("totalTokenCount")
    # Every chunk of a stream counts anew, so this is a hot path.
    if not {type(prompt), type(tools), type(cached), type(written), type(thoughts), type(total)} <= _COUNTS:
        raise MalformedError("A token count is not an integer.")
    if min(prompt or 0, tools or 0, cached or 0, written or 0, thoughts or 0, total or 0) < 0:
        raise MalformedError("A token count is negative.")
    read = None if prompt is None and tools is None else (prompt or 0) + (tools or 0)
    output = None if written is None and thoughts is None else (written or 0) + (thoughts or 0)
    if output is None and read is not None:
        output = 0
    extras = {name: count for name, count in fields.items() if name not in _NAMED and count is not None}
    if total is None:
        if read is not None or output is not None:
            extras["totalTokenCount"] = None
    elif total == (read or 0) + (output or 0) and (read is not None or output is not None):
        del extras["totalTokenCount"]
    if tools is not None and prompt is None:
        extras["promptTokenCount"] = None
    return Usage(
        input_tokens=read,
        output_tokens=output,
        cache_read_tokens=cached,
        reasoning_tokens=thoughts,
        input_audio_tokens=_audio(get("promptTokensDetails"), get("toolUsePromptTokensDetails")),
        output_audio_tokens=_audio(get("candidatesTokensDetails")),
        cache_audio_read_tokens=_audio(get("cacheTokensDetails")),
        extras={WIRE: extras} if extras else None,
    )


def encode_usage(usage: Usage) -> dict[str, Any]:
    """Return the ``usageMetadata`` that says ``usage``."""
    extras = extras_of(usage.extras, WIRE)
    fields: dict[str, Any] = {}
    read, output = usage.input_tokens, usage.output_tokens
    if read is not None and "promptTokenCount" not in extras:
        fields["promptTokenCount"] = max(0, read - int(extras.get("toolUsePromptTokenCount") or 0))
    if usage.cache_read_tokens is not None:
        fields["cachedContentTokenCount"] = usage.cache_read_tokens
    written = None if output is None else max(0, output - (usage.reasoning_tokens or 0))
    if written or (written == 0 and read is None):
        fields["candidatesTokenCount"] = written
    if usage.reasoning_tokens is not None:
        fields["thoughtsTokenCount"] = usage.reasoning_tokens
    if read is not None or output is not None:
        fields["totalTokenCount"] = (read or 0) + (output or 0)
    for name, count, audio in (
        ("promptTokensDetails", fields.get("promptTokenCount"), usage.input_audio_tokens),
        ("candidatesTokensDetails", written, usage.output_audio_tokens),
        ("cacheTokensDetails", usage.cache_read_tokens, usage.cache_audio_read_tokens),
    ):
        told = name in extras or (name == "promptTokensDetails" and "toolUsePromptTokensDetails" in extras)
        if audio is not None and not told:
            rest = (count or 0) - audio
            fields[name] = [{"modality": "AUDIO", "tokenCount": audio}]
            if rest > 0:
                fields[name].append({"modality": "TEXT", "tokenCount": rest})
    for name, value in extras.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value
    return fields


def has_counts(fields: object) -> bool:
    """Whether a ``usageMetadata`` counts anything; some chunks of a stream only name the traffic's type."""
    return type(fields) is dict and any(name.endswith("TokenCount") for name in cast("dict[str, Any]", fields))


def _audio(*lists: Any) -> int | None:
    """Return the audio tokens in lists of counts by modality; ``None`` where none is told."""
    found: int | None = None
    for details in lists:
        if type(details) is not list:
            continue
        for detail in cast("list[Any]", details):
            if type(detail) is not dict:
                continue
            counted = cast("dict[str, Any]", detail)
            tokens = counted.get("tokenCount")
            if counted.get("modality") in _AUDIO and type(tokens) is int:
                found = (found or 0) + tokens
    return found
