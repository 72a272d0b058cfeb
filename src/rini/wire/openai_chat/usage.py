"""Tokens: OpenAI's ``usage`` object and canon's Usage.

OpenAI counts as canon does. Some compatible servers (xAI, Gemini's compatibility layer) leave reasoning out of completion_tokens
and show it by a ``total_tokens`` that is larger by just that: then it is added.
"""

from typing import Any

from rini.canon import Usage
from rini.wire.openai_chat.json_value import (
    Json,
    as_object,
    left_as_extras,
    nested_extras,
    own_extras,
    pop_integer,
    pop_object,
    put_back,
)


def decode_usage(value: Any) -> Usage:
    """Return the tokens in ``value``, which is taken apart."""
    usage = as_object(value, "usage")
    prompt = pop_integer(usage, "prompt_tokens")
    completion = pop_integer(usage, "completion_tokens")
    total = pop_integer(usage, "total_tokens")
    read = pop_object(usage, "prompt_tokens_details") or {}
    written = pop_object(usage, "completion_tokens_details") or {}
    cached = pop_integer(read, "cached_tokens")
    if cached is None and type(hit := usage.get("prompt_cache_hit_tokens")) is int:  # DeepSeek's name for it
        cached = hit
    cache_write = pop_integer(read, "cache_write_tokens")
    input_audio = pop_integer(read, "audio_tokens")
    output_audio = pop_integer(written, "audio_tokens")
    reasoning = pop_integer(written, "reasoning_tokens")
    if total is not None:
        counted = (prompt or 0) + (completion or 0)
        if reasoning and total == counted + reasoning:
            completion = (completion or 0) + reasoning
        elif total != counted:
            usage["total_tokens"] = total
    put_back(usage, "prompt_tokens_details", read)
    put_back(usage, "completion_tokens_details", written)
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=cached,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
        input_audio_tokens=input_audio,
        output_audio_tokens=output_audio,
        extras=left_as_extras(usage),
    )


def encode_usage(usage: Usage) -> Json:
    """Return the ``usage`` object: of its details what the provider said, and always its three counts, 0 where it did not say."""
    own = own_extras(usage.extras)
    read: Json = dict(nested_extras(own, "prompt_tokens_details"))
    written: Json = dict(nested_extras(own, "completion_tokens_details"))
    counted: Json = {
        "prompt_tokens": usage.input_tokens or 0,
        "completion_tokens": usage.output_tokens or 0,
        "total_tokens": usage.total_tokens,
    }
    _put(read, "cached_tokens", usage.cache_read_tokens)
    _put(read, "cache_write_tokens", usage.cache_write_tokens)
    _put(read, "audio_tokens", usage.input_audio_tokens)
    _put(written, "reasoning_tokens", usage.reasoning_tokens)
    _put(written, "audio_tokens", usage.output_audio_tokens)
    if read:
        counted["prompt_tokens_details"] = read
    if written:
        counted["completion_tokens_details"] = written
    return counted | own


def _put(target: Json, name: str, tokens: int | None) -> None:
    if tokens is not None:
        target[name] = tokens
