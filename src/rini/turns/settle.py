"""The second unit of work of a turn: the answer and its ledger row, together or not at all."""

import msgspec
from sqlalchemy.engine import Connection

from rini.canon import Part, Reply, plain_text
from rini.db import AnyRow
from rini.sessions import messages, repository
from rini.usage import ledger
from rini.usage.ledger import UsageRecord


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be stored of a turn. ``reason`` says why the answer broke off; None: it is complete.

    ``wire`` names the format whose provider wrote the answer.
    """

    record: UsageRecord
    wire: str
    reply: Reply
    session_id: str
    question_id: int
    reason: str | None = None


def settle(connection: Connection, turn: Settlement) -> AnyRow | None:
    """Store the answer below its question, make it the branch's tip, and book the call. Returns the answer's row.

    A turn that broke off before anything came stores no answer; its question stays. Booking the same call twice raises
    IntegrityError, so that an answer is never stored twice.
    """
    answer = _store_answer(connection, turn)
    record = turn.record
    if answer is not None:
        record = msgspec.structs.replace(record, message_id=answer.id)
    ledger.insert(connection, [record])
    return answer


def _store_answer(connection: Connection, turn: Settlement) -> AnyRow | None:
    choice = turn.reply.choices[0] if turn.reply.choices else None
    parts: tuple[Part, ...] = choice.parts if choice else ()
    if turn.reason is not None and not parts:
        return None
    record = turn.record
    row = messages.add(
        connection,
        session_id=turn.session_id,
        user_id=record.user_id,
        role="assistant",
        content=plain_text(parts),
        parts=parts,
        origin=turn.wire,
        parent_message_id=turn.question_id,
        status="complete" if turn.reason is None else "partial",
        status_reason=turn.reason,
        finish_reason=choice.finish_reason if choice else None,
        model_used=(turn.reply.model or record.model).replace("\x00", "\ufffd"),
        token_count=record.output_tokens,
        prompt_tokens=record.input_tokens,
        completion_tokens=record.output_tokens,
        response_time_ms=record.latency_ms,
    )
    repository.move_head(connection, turn.session_id, row.id)
    return row
