"""Answers in the background outlast their process: what was asked is kept, and another process asks again.

A process that ends, or is gone without a sign of life for half a minute, leaves its background answers to whoever looks next. The call that was cut off is booked; the
model is asked anew, and what it had said is replaced. An answer of which three processes died without a word is given up. Whether a process is gone is a guess: one
that was only late goes on, and stores nothing more of what was taken from it (rini.turns.settle).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.canon import Message, Part, ReplyBuilder
from rini.db import Database, seconds_ago
from rini.errors import StorageUnavailableError
from rini.kit.clock import monotonic
from rini.kit.draining import process as draining
from rini.sessions import messages
from rini.telemetry import logs
from rini.turns import following, runs
from rini.turns.context import Policy
from rini.turns.settle import said_last
from rini.turns.tables import running_turns, workers
from rini.turns.values import Ask, Given
from rini.turns.workers import LIVE_FOR_SECONDS
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import Codec
from rini.wire.gemini import GEMINI
from rini.wire.openai_chat import OPENAI_CHAT
from rini.wire.openai_responses import OPENAI_RESPONSES

LOOKED_EVERY_SECONDS = 5.0
SWEPT_EVERY_LOOKS = 120
MOST_AT_ONCE = 100
"""Answers that a process takes over in one look, so that others get some too."""

MOST_ATTEMPTS = 3
LOST_AFTER_SECONDS = 600.0
"""So long after a worker's last sign of life nobody waits for its journal any more: its answers are told as interrupted."""

INTERRUPTED = "interrupted"

_log = logs.get_logger(__name__)
_table = running_turns.c
_codecs: Mapping[str, Codec] = {codec.name: codec for codec in (ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES)}
_seen_before = workers.c.seen_at < seconds_ago(sa.bindparam("seconds", type_=sa.Float))
_is_left = workers.c.seen_at.is_(None)
_is_dead = sa.or_(_is_left, _seen_before)
_with_worker = running_turns.outerjoin(workers, workers.c.id == _table.worker_id)
_others = (
    sa.select(_table.answer_id, _table.worker_id, _table.ask, _table.attempts, _table.ending)
    .select_from(_with_worker)
    .where(sa.or_(_table.background, _table.ending.is_not(None)), _table.worker_id != sa.bindparam("worker"))
    .order_by(_table.answer_id)
    .limit(MOST_AT_ONCE)
)
_left = _others.where(_is_left)
_orphans = _others.where(_is_dead)
_lost = sa.select(_table.answer_id).select_from(_with_worker).where(~_table.background, _is_dead)
_take = (
    running_turns.update()
    .where(_table.answer_id == sa.bindparam("answer"), _table.worker_id == sa.bindparam("before"))
    .values(worker_id=sa.bindparam("worker"), attempts=_table.attempts + 1)
)


class _KeptGiven(msgspec.Struct, frozen=True, omit_defaults=True):
    codec: str
    body: str
    headers: dict[str, str]
    instructions: int | None


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is needed to ask again; the question itself is stored in its session."""

    user_id: int
    provider: str
    model: str
    endpoint: str
    session_id: str
    params: msgspec.Raw
    key_id: int | None = None
    request_id: str | None = None
    tool_choice: str | None = None
    instructions: tuple[Message, ...] = ()
    moves_head: bool = True
    holds_session: bool = False
    context_policy: Policy | None = None
    head_id: int | None = None
    given: _KeptGiven | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Kept).decode
_params = msgspec.json.Decoder(dict[str, object]).decode


def kept(ask: Ask, session_id: str, head_id: int | None) -> bytes:
    """Return what is to be kept of a question that is answered in the background."""
    given = ask.given
    return _encode(
        _Kept(
            user_id=ask.user_id,
            provider=ask.provider,
            model=ask.model,
            endpoint=ask.endpoint,
            session_id=session_id,
            params=msgspec.Raw(_encode(ask.params)),
            key_id=ask.key_id,
            request_id=ask.request_id,
            tool_choice=ask.tool_choice,
            instructions=ask.instructions,
            moves_head=ask.moves_head,
            holds_session=ask.continues_branch,
            context_policy=ask.context_policy,
            head_id=head_id,
            given=None
            if given is None
            else _KeptGiven(given.codec.name, given.body.decode(), dict(given.headers), given.instructions),
        )
    )


def asked_again(data: bytes, answer_id: int) -> Ask:
    """Return the turn that completes an answer whose process died."""
    told = _decode(data)
    given = told.given
    return Ask(
        user_id=told.user_id,
        provider=told.provider,
        model=told.model,
        messages=(),
        endpoint=told.endpoint,
        session_id=told.session_id,
        params=_params(told.params),
        key_id=told.key_id,
        request_id=told.request_id,
        tool_choice=told.tool_choice,
        instructions=told.instructions,
        moves_head=told.moves_head,
        background=True,
        context_policy=told.context_policy,
        completes=answer_id,
        head_id=told.head_id,
        given=None
        if given is None
        else Given(
            codec=_codecs[given.codec],
            body=given.body.encode(),
            stream=True,
            headers=given.headers,
            instructions=given.instructions,
        ),
    )


def adopt(connection: Connection, worker_id: str, *, left_only: bool) -> list[Ask]:
    """Take over the background answers of other workers that are dead, each by one of those that look.

    ``left_only``: of those alone that said so. What was cancelled, or tried too often, ends as far as it had come.
    """
    found: list[Ask] = []
    told = {"worker": worker_id} if left_only else {"worker": worker_id, "seconds": LIVE_FOR_SECONDS}
    for row in connection.execute(_left if left_only else _orphans, told).all():
        ended = row.ending is not None or row.attempts >= MOST_ATTEMPTS
        ask = None if ended or row.ask is None else _readable(row.ask, row.answer_id)
        if ask is None:
            _break_off(connection, row.answer_id, row.ending or INTERRUPTED, stays=True)
            continue
        taken = connection.execute(_take, {"answer": row.answer_id, "before": row.worker_id, "worker": worker_id})
        if taken.rowcount:
            following.begin_anew(connection, row.answer_id)
            found.append(ask)
    return found


def _readable(ask: bytes, answer_id: int) -> Ask | None:
    """Return what was asked; None where another version of this server kept it, which writes it otherwise."""
    try:
        return asked_again(ask, answer_id)
    except (msgspec.DecodeError, KeyError):
        return None


def give_up(connection: Connection) -> int:
    """Tell the answers of workers that are long dead as interrupted, and return how many those are."""
    answers = list(connection.execute(_lost, {"seconds": LOST_AFTER_SECONDS}).scalars())
    for answer_id in answers:
        _break_off(connection, answer_id, INTERRUPTED)
    connection.execute(workers.delete().where(_seen_before), {"seconds": 2 * LOST_AFTER_SECONDS})
    return len(answers)


def _break_off(connection: Connection, answer_id: int, reason: str, *, stays: bool = False) -> None:
    """End an answer with what was streamed of it, as far as that is stored; one of which nothing came is kept only if it ``stays``."""
    parts = _said(following.stored(connection, answer_id))
    if not parts and not stays:
        messages.drop_answer(connection, answer_id)
    elif messages.break_off(connection, answer_id, reason) and parts:
        messages.finish_answer(
            connection, answer_id, content=said_last(parts), parts=parts, status="partial", status_reason=reason
        )
    runs.end(connection, answer_id)


def _said(events: list[following.Followed]) -> tuple[Part, ...]:
    """Return what the model and its tools said, by the events of that."""
    parts: tuple[Part, ...] = ()
    builder = ReplyBuilder()
    for event in events:
        if isinstance(event, following.ToolAnswered):
            parts = (*parts, *_parts(builder), event.result)
            builder = ReplyBuilder()
        elif not isinstance(event, following.ToolCalled | following.BrokeOff):
            builder.add(event)
    return (*parts, *_parts(builder))


def _parts(builder: ReplyBuilder) -> tuple[Part, ...]:
    choices = builder.reply().choices
    return choices[0].parts if choices else ()


async def keep_watch(
    database: Database, worker_id: str, kept_for: timedelta, resume: Callable[[Ask], Awaitable[None]]
) -> None:
    """Take over what dead workers left, and forget what was kept long enough, until cancelled."""
    looks = 0
    looked = looks_since = monotonic()
    while not draining.begun:
        if monotonic() - looked > 2 * LOOKED_EVERY_SECONDS:
            looks_since = monotonic()  # it slept, or the database did: then nobody could give a sign of life
        looked = monotonic()
        try:
            # At first only what is left expressly.
            left_only = looked - looks_since <= LIVE_FOR_SECONDS
            for ask in await database.write(adopt, worker_id, left_only=left_only):
                _log.warning("answer_taken_over", message_id=ask.completes)
                await resume(ask)
            if looks % SWEPT_EVERY_LOOKS == 0:
                await database.write(following.sweep, kept_for)
                if lost := await database.write(give_up):
                    _log.warning("answers_given_up", answers=lost)
        except StorageUnavailableError:
            looks_since = monotonic()  # the next look finds the same
        looks += 1
        await asyncio.sleep(LOOKED_EVERY_SECONDS)
