"""What stands beside the blocks of a whole answer: all that the ledger needs of one that is passed on as it came."""

from typing import Any

import msgspec

from rini.canon import Choice, Reply
from rini.wire.anthropic.reply import decode_reply, finish_reason
from rini.wire.anthropic.usage import decode_usage


class _Answer(msgspec.Struct):
    content: list[msgspec.Raw]
    usage: dict[str, Any] | None = None
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None


_answer = msgspec.json.Decoder(_Answer)


def decode_outline(body: bytes) -> Reply:
    """Return the answer without its blocks. Raises MalformedError."""
    try:
        answer = _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return decode_reply(body)  # with what is wrong, if it is
    return Reply(
        (Choice((), finish_reason(answer.stop_reason), answer.stop_reason),),
        usage=None if answer.usage is None else decode_usage(answer.usage),
        id=answer.id or None,
        model=answer.model or None,
    )
