"""The second unit of work of a turn: the answer and its ledger rows, together or not at all."""

import msgspec
from sqlalchemy.engine import Connection

from rini.canon import FinishReason, Part, ToolResult, plain_text
from rini.db import AnyRow
from rini.kit.text import storable
from rini.responses import repository as responses
from rini.responses.shown import ENDED, error_of
from rini.sessions import messages, repository
from rini.turns import runs
from rini.turns.following import Followed, packed, store
from rini.turns.values import Ask, Loaded
from rini.usage import ledger
from rini.usage.usage_record import UsageRecord


class AnswerGoneError(Exception):
    """The answer's place, or its session, was deleted while the model wrote; or another process gets the answer by now."""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be stored of a turn: one record for each call of a model, and all that the model and its tools said.

    The session's head is moved from ``head_id``, where the turn found it. ``streamed`` is what is not stored yet of the events. An answer that ``stays`` is
    kept when nothing came of it too. With ``worker_id`` it is stored only while that worker still gets it: a background answer is taken
    over from a process whose signs of life are late, though it may be at it all the same.

    ``wire`` names the format whose provider wrote the answer, ``model`` is the provider's word for who did. ``reason`` says why the
    answer broke off; None: it is complete. ``told`` is the sentence that the client got of it. ``tool_ms`` is how long tools took.
    """

    records: tuple[UsageRecord, ...]
    wire: str
    parts: tuple[Part, ...]
    session_id: str
    answer_id: int
    head_id: int | None
    moves_head: bool = True
    stays: bool = False
    model: str | None = None
    finish_reason: FinishReason | None = None
    memory_ids: tuple[int, ...] = ()
    tool_ms: int = 0
    reason: str | None = None
    told: str | None = None
    streamed: tuple[int, list[Followed]] | None = None
    worker_id: str | None = None


def settle(connection: Connection, turn: Settlement) -> AnyRow | None:
    """Complete the answer, make it the branch's tip, and book the calls. Returns the answer's row.

    A turn that broke off before anything came stores no answer; its question stays. Booking the same call twice raises
    IntegrityError, so that an answer is never stored twice. Raises AnswerGoneError.
    """
    answer = _store_answer(connection, turn)
    if not runs.end(connection, turn.answer_id, turn.worker_id) and turn.worker_id is not None:
        raise AnswerGoneError
    records = turn.records
    if not records:  # they are booked already
        return answer
    if answer is not None:
        records = [msgspec.structs.replace(record, message_id=answer.id) for record in records]
    ledger.insert(connection, [*records])
    return answer


def said_last(parts: tuple[Part, ...]) -> str:
    """Return the text of the answer proper: what the model said after its last tool had answered."""
    for place in range(len(parts) - 1, -1, -1):
        if isinstance(parts[place], ToolResult):
            return plain_text(parts[place + 1 :])
    return plain_text(parts)


def total(counts: list[int | None]) -> int | None:
    """Add up what was counted; None where nothing was."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _store_answer(connection: Connection, turn: Settlement) -> AnyRow | None:
    if turn.reason is not None and not turn.parts and not turn.stays:
        messages.drop_answer(connection, turn.answer_id)
        return None
    # First the session, as everybody who changes its messages does.
    if turn.moves_head and (turn.parts or turn.reason is None):
        repository.advance_head(connection, turn.session_id, turn.head_id, turn.answer_id)
    records = turn.records
    written = total([record.output_tokens for record in records])
    answering_ms = total([record.latency_ms for record in records])
    row = messages.finish_answer(
        connection,
        turn.answer_id,
        content=said_last(turn.parts),
        parts=turn.parts,
        origin=turn.wire,
        status="complete" if turn.reason is None else "partial",
        status_reason=turn.reason,
        finish_reason=turn.finish_reason,
        model_used=_stored(turn.model or (records[-1].model if records else None)),
        token_count=written,
        prompt_tokens=total([record.input_tokens for record in records]),
        completion_tokens=written,
        response_time_ms=None if answering_ms is None else answering_ms + turn.tool_ms,
        memory_ids=msgspec.json.encode(turn.memory_ids).decode() if turn.memory_ids else None,
    )
    if row is None:
        raise AnswerGoneError
    if turn.reason is not None and turn.told is not None:
        _store_error(connection, turn.answer_id, turn.reason, turn.told)
    if turn.streamed is not None:
        first, events = turn.streamed
        store(connection, (turn.answer_id, first, packed(events)))
    return row


def _stored(name: str | None) -> str | None:
    return None if name is None else name.replace("\x00", "\ufffd")


def abandon(connection: Connection, answer_id: int) -> None:
    """Take back the place of an answer whose model was not even called."""
    messages.drop_answer(connection, answer_id)
    runs.end(connection, answer_id)


def take_back(connection: Connection, ask: Ask, loaded: Loaded) -> None:
    """Take back all that was stored of a turn that asks for what cannot be asked. A question that has other answers by now stays."""
    abandon(connection, loaded.answer_id)
    if loaded.question is not None:
        messages.take_back(connection, loaded.question.id, len(ask.messages))
    if ask.new_session is not None:
        repository.delete_empty(connection, loaded.session_id)


def fail(connection: Connection, answer_id: int, worker_id: str, reason: str, told: str | None = None) -> None:
    """Tell a worker's answer whose model was not called as broken off, and why. Raises AnswerGoneError where it is not the worker's any more."""
    messages.break_off(connection, answer_id, reason)
    if told is not None:
        _store_error(connection, answer_id, reason, told)
    if not runs.end(connection, answer_id, worker_id):
        raise AnswerGoneError


def _store_error(connection: Connection, answer_id: int, reason: str, told: str) -> None:
    """Keep what the client was told: a response that failed says so whenever it is read."""
    if reason not in ENDED:
        responses.store_error(connection, answer_id, error_of(reason, storable(told)))
