"""What stands beside the parts of a whole answer: all that the ledger needs of one that is passed on as it came."""

import msgspec

from rini.canon import Choice, Reply, Usage
from rini.wire.openai_chat.json_value import NAME
from rini.wire.openai_chat.reply import decode_finish_reason, decode_reply


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Read(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class _Written(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


_NOTHING_READ = _Read()
_NOTHING_WRITTEN = _Written()


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Read | None = None
    completion_tokens_details: _Written | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None
    id: str | None = None
    model: str | None = None
    service_tier: str | None = None


# DeepSeek's name for what was read from the cache stands outside the details.
_OWN_WAYS = b'"prompt_cache_hit_tokens"'
_answer = msgspec.json.Decoder(_Answer)


def decode_outline(body: bytes) -> Reply:
    """Return the answer without its parts. Raises MalformedError."""
    if _OWN_WAYS in body:
        return decode_reply(body)
    try:
        answer = _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return decode_reply(body)  # some server's own way of writing it, or nothing that can be read
    usage = answer.usage
    if usage is not None and usage.total_tokens != (usage.prompt_tokens or 0) + (usage.completion_tokens or 0):
        return decode_reply(body)  # some servers count in their own way, see rini.wire.openai_chat.usage
    return Reply(
        choices=tuple([_choice(choice.finish_reason) for choice in answer.choices]),
        usage=None if usage is None else _spent(usage),
        id=answer.id or None,
        model=answer.model or None,
        extras={NAME: {"service_tier": answer.service_tier}} if answer.service_tier else None,
    )


def _spent(usage: _Usage) -> Usage:
    read = usage.prompt_tokens_details or _NOTHING_READ
    written = usage.completion_tokens_details or _NOTHING_WRITTEN
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=read.cached_tokens,
        cache_write_tokens=read.cache_write_tokens,
        reasoning_tokens=written.reasoning_tokens,
        input_audio_tokens=read.audio_tokens,
        output_audio_tokens=written.audio_tokens,
    )


def _choice(word: str | None) -> Choice:
    return Choice((), decode_finish_reason(word)[0] if word else None, word)
