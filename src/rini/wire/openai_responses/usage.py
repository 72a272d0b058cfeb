"""Tokens: the ``usage`` of a response and canon's Usage, which count alike."""

from typing import Any

from rini.canon import Usage
from rini.wire.openai_chat.json_value import Json, as_object, nested_extras, pop_integer, pop_object, put_back
from rini.wire.openai_responses.fields import left_as_extras, own_extras


def decode_usage(value: Any) -> Usage:
    """Return the tokens in ``value``, which is taken apart. Raises MalformedError."""
    usage = as_object(value, "usage")
    read = pop_object(usage, "input_tokens_details") or {}
    written = pop_object(usage, "output_tokens_details") or {}
    tokens_in = pop_integer(usage, "input_tokens")
    tokens_out = pop_integer(usage, "output_tokens")
    total = pop_integer(usage, "total_tokens")
    cached = pop_integer(read, "cached_tokens")
    cache_write = pop_integer(read, "cache_write_tokens")
    reasoning = pop_integer(written, "reasoning_tokens")
    if total is not None and total != (tokens_in or 0) + (tokens_out or 0):
        usage["total_tokens"] = total
    put_back(usage, "input_tokens_details", read)
    put_back(usage, "output_tokens_details", written)
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cache_read_tokens=cached,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
        extras=left_as_extras(usage),
    )


def encode_usage(usage: Usage) -> Json:
    """Return the ``usage`` object, in which every count must stand: 0 where the provider did not say."""
    own = own_extras(usage.extras)
    read: Json = {
        "cached_tokens": usage.cache_read_tokens or 0,
        "cache_write_tokens": usage.cache_write_tokens or 0,
        **nested_extras(own, "input_tokens_details"),
    }
    written: Json = {
        "reasoning_tokens": usage.reasoning_tokens or 0,
        **nested_extras(own, "output_tokens_details"),
    }
    return {
        "input_tokens": usage.input_tokens or 0,
        "input_tokens_details": read,
        "output_tokens": usage.output_tokens or 0,
        "output_tokens_details": written,
        "total_tokens": usage.total_tokens,
        **own,
    }
