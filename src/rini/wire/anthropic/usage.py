"""Tokens: on this wire ``input_tokens`` excludes what was read from and written to the cache; in canon it includes both.

Every field that canon has no name for stays in the usage's extras, and so does a null: what was absent stays absent.
"""

from collections.abc import Mapping
from typing import Any

from rini.canon import Usage, extras_of, with_extras
from rini.wire.anthropic.fields import WIRE, Json, as_object, optional_integer


def decode_usage(fields: Mapping[str, Any]) -> Usage:
    """Return the usage in ``fields``. Raises MalformedError."""
    written = optional_integer(fields, "cache_creation_input_tokens", "usage")
    read = optional_integer(fields, "cache_read_input_tokens", "usage")
    uncached = optional_integer(fields, "input_tokens", "usage")
    rest: Json = {
        name: value
        for name, value in fields.items()
        if name != "output_tokens_details" and (value is None or name not in _COUNTS)
    }
    reasoning = None
    if "output_tokens_details" in fields:
        details = fields["output_tokens_details"]
        if details is not None:
            details = as_object(details, "usage.output_tokens_details")
            reasoning = optional_integer(details, "thinking_tokens", "usage.output_tokens_details")
            details = {name: value for name, value in details.items() if value is None or name != "thinking_tokens"}
        if details or reasoning is None:
            rest["output_tokens_details"] = details
    by_lifetime = fields.get("cache_creation")
    return Usage(
        input_tokens=None if uncached is None else uncached + (read or 0) + (written or 0),
        output_tokens=optional_integer(fields, "output_tokens", "usage"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=None
        if by_lifetime is None
        else optional_integer(as_object(by_lifetime, "usage.cache_creation"), _ONE_HOUR, "usage.cache_creation"),
        reasoning_tokens=reasoning,
        extras=with_extras(WIRE, rest),
    )


def encode_usage(usage: Usage | None) -> Json:
    """Return ``usage`` as the SDK expects it: input_tokens and output_tokens are always there."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    own = extras_of(usage.extras, WIRE)
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    uncached = max((usage.input_tokens or 0) - (read or 0) - (written or 0), 0)
    fields: Json = {"input_tokens": None if usage.input_tokens is None and "input_tokens" in own else uncached}
    if written is not None:
        fields["cache_creation_input_tokens"] = written
    if read is not None:
        fields["cache_read_input_tokens"] = read
    if usage.cache_write_1h_tokens is not None and "cache_creation" not in own:
        short = max((written or 0) - usage.cache_write_1h_tokens, 0)
        fields["cache_creation"] = {_FIVE_MINUTES: short, _ONE_HOUR: usage.cache_write_1h_tokens}
    output = usage.output_tokens
    fields["output_tokens"] = output if output is not None or "output_tokens" in own else 0
    for name, value in own.items():
        fields.setdefault(name, value)
    if usage.reasoning_tokens is not None:
        rest: Mapping[str, Any] = own.get("output_tokens_details") or {}
        fields["output_tokens_details"] = {**rest, "thinking_tokens": usage.reasoning_tokens}
    return fields


_ONE_HOUR = "ephemeral_1h_input_tokens"
_FIVE_MINUTES = "ephemeral_5m_input_tokens"
_COUNTS = frozenset({"input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"})
