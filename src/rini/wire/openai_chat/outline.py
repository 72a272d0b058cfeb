"""What stands beside the parts of a whole answer: all that the ledger needs of one that is passed on as it came."""

from typing import Any

import msgspec

from rini.canon import Choice, Reply
from rini.wire.openai_chat.json_value import NAME
from rini.wire.openai_chat.reply import decode_finish_reason, decode_reply
from rini.wire.openai_chat.usage import decode_usage


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: dict[str, Any] | None = None
    id: str | None = None
    model: str | None = None
    service_tier: str | None = None


_answer = msgspec.json.Decoder(_Answer)


def decode_outline(body: bytes) -> Reply:
    """Return the answer without its parts. Raises MalformedError."""
    try:
        answer = _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return decode_reply(body)  # some server's own way of writing it, or nothing that can be read
    return Reply(
        choices=tuple([_choice(choice.finish_reason) for choice in answer.choices]),
        usage=None if answer.usage is None else decode_usage(answer.usage),
        id=answer.id or None,
        model=answer.model or None,
        extras={NAME: {"service_tier": answer.service_tier}} if answer.service_tier else None,
    )


def _choice(word: str | None) -> Choice:
    return Choice((), decode_finish_reason(word)[0] if word else None, word)
