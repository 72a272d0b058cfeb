"""After a crash: what dead processes left unsettled is settled at the next start."""

from pathlib import Path

import msgspec
from sqlalchemy import exc

from rini.canon import Part, Usage
from rini.db import Database
from rini.inference.estimate import reply_tokens
from rini.inference.meter import plausible
from rini.telemetry import logs
from rini.turns import runs
from rini.turns.journal import Left, abandoned
from rini.turns.settle import AnswerGoneError, Settlement, settle
from rini.turns.tool_use import CallIds
from rini.usage import ledger
from rini.usage.ledger import UsageRecord
from rini.usage.prices import Prices

_log = logs.get_logger(__name__)

REASON = "interrupted"

_COUNTED = tuple(name for name in Usage.__struct_fields__ if name in UsageRecord.__struct_fields__)


def recover(database: Database, prices: Prices, run_dir: Path) -> int:
    """Settle what is left in the journals of dead processes and return how many calls that were.

    What a client had seen of an answer becomes a partial message. A call whose row exists already was settled just before its process died.
    """
    settled = 0
    for path, calls in abandoned(run_dir):
        for left in calls:
            settled += _settle(database, prices, left)
        path.unlink(missing_ok=True)
    if settled:
        _log.warning("turns_recovered", turns=settled)
    return settled


def _settle(database: Database, prices: Prices, left: Left) -> int:
    call = left.call
    if left.booked:
        return _book(database, left.booked)
    record, parts = left.paused or _broken_off(prices, left)
    records = (*call.earlier, record)
    if call.background and call.answer_id is not None:
        # Whoever looks next asks again.
        database.write_sync(runs.lose, call.answer_id, call.worker_id)
    elif call.session_id is not None and call.answer_id is not None:
        settlement = Settlement(
            records=records,
            wire=call.wire,
            parts=parts,
            session_id=call.session_id,
            answer_id=call.answer_id,
            head_id=call.head_id,
            moves_head=call.moves_head,
            model=left.builder.reply().model,
            memory_ids=call.memory_ids,
            reason=REASON,
        )
        # Where the storage was away when it was to be settled, its calls may be booked and its answer is not stored.
        unbooked = msgspec.structs.replace(settlement, records=(), worker_id=call.worker_id)
        for attempt in (settlement, unbooked):
            try:
                database.write_sync(settle, attempt)
            except (exc.IntegrityError, AnswerGoneError):
                pass  # settled already, or the session is gone: what follows tells which
            else:
                return 1
    for each in records:
        each.message_id = None
    return _book(database, records)


def _book(database: Database, records: tuple[UsageRecord, ...]) -> int:
    try:
        database.write_sync(ledger.insert, [*records])
    except exc.IntegrityError:
        return 0
    return 1


def _broken_off(prices: Prices, left: Left) -> tuple[UsageRecord, tuple[Part, ...]]:
    """Return the row of a call that broke off, and all that was said in its turn."""
    call = left.call
    reply = CallIds(call.before).complete(left.builder.reply())
    record = call.record
    record.outcome = "interrupted"
    record.usage_estimated = True
    record.output_tokens = reply_tokens(reply)
    if reply.usage is not None:
        usage = plausible(reply.usage)
        # What a provider counts while it goes on is not all; what it counts at the end is.
        record.usage_estimated = usage.output_tokens is None or not left.builder.finished
        if record.usage_estimated:
            usage = msgspec.structs.replace(usage, output_tokens=max(usage.output_tokens or 0, record.output_tokens))
        for name in _COUNTED:
            setattr(record, name, getattr(usage, name))
        record.cost_usd = prices.price(record.provider, record.model, usage, at=record.created_at).total
    return record, (*call.before, *(reply.choices[0].parts if reply.choices else ()))
