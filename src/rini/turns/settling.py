"""The end of a turn: its answer is stored and its calls are booked, whatever became of it."""

import asyncio
from functools import partial

import msgspec
from sqlalchemy import exc

from rini.canon import Reply
from rini.db import AnyRow, Database
from rini.errors import InternalError, NotFoundError, RiniError, StorageUnavailableError, TurnCancelledError
from rini.telemetry import logs, metrics
from rini.turns import runs, thoughts
from rini.turns.finishing import Finishing
from rini.turns.following import BrokeOff, Streams
from rini.turns.journal import Journal
from rini.turns.running import RunningCall
from rini.turns.settle import AnswerGoneError, Settlement, fail, settle
from rini.turns.values import Answer, Loaded
from rini.usage.ledger import Ledger
from rini.usage.usage_record import Outcome, UsageRecord

_log = logs.get_logger(__name__)


class Settling:
    """Settles turns. One for each process."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        journal: Journal,
        streams: Streams,
        finishing: Finishing,
        worker_id: str,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._journal = journal
        self._streams = streams
        self._finishing = finishing
        self._worker_id = worker_id

    def of(self, call: RunningCall, outcome: Outcome, error: RiniError | None = None) -> asyncio.Task[Answer]:
        """Settle it in a task of its own. ``error`` is what the client is told; it gets the messages' ids."""
        return self._finishing.to_its_end(self._settle(call, outcome, error))

    def soon(self, call: RunningCall) -> Answer | None:
        """Settle a stateless turn by the journal, which is as safe as the database and need not be waited for; None where it is not written.

        The rows are committed a moment later, those of many turns together (docs/adr/0005).
        """
        records = call.close("complete")
        if not self._journal.book(records):
            return None
        self._ledger.soon(records, self._journal.end)
        return Answer(call.beginning, call.reply, records, call.parts, body=call.body)

    async def leave(self, call: RunningCall, loaded: Loaded) -> None:
        """Leave an answer in the background to another process, and book what it took so far."""
        records = call.close("interrupted")
        if (log := self._streams.of(loaded.answer_id)) is not None:
            self._streams.close(log)
        await self._ledger.record(*records)
        await self._database.write(runs.leave, loaded.answer_id, loaded.worker_id)
        self._journal.end(records[-1].call_id)

    async def _settle(self, call: RunningCall, outcome: Outcome, error: RiniError | None) -> Answer:
        reply, parts, loaded = call.reply, call.parts, call.loaded
        records = call.close(outcome, error)
        late = False
        try:
            if loaded is not None:
                answer = await self._settle_stored(call, loaded, records, outcome, error)
                return Answer(call.beginning, reply, records, parts, loaded.question, answer, call.body)
            await self._ledger.record(*records)
            if outcome == "complete" and call.has_thoughts_to_keep:
                await self._keep_thoughts(call, reply)
            return Answer(call.beginning, reply, records, parts, body=call.body)
        except StorageUnavailableError:
            late = loaded is not None  # the journal has it until it is stored: see _store
            raise
        finally:
            if not late:
                self._journal.end(records[-1].call_id)

    async def _settle_stored(
        self,
        call: RunningCall,
        loaded: Loaded,
        records: tuple[UsageRecord, ...],
        outcome: Outcome,
        error: RiniError | None,
    ) -> AnyRow | None:
        reply, parts = call.reply, call.parts
        stays = loaded.background or outcome == "cancelled"
        if error is not None:
            error.fields["user_message_id"] = None if loaded.question is None else loaded.question.id
            error.fields["assistant_message_id"] = loaded.answer_id if parts or stays else None
        log = self._streams.of(loaded.answer_id)
        if log is not None and error is not None:
            log.add((BrokeOff(error.problem()),))
        try:
            return await self._store(
                Settlement(
                    records=records,
                    wire=call.target.codec.name,
                    parts=parts,
                    session_id=loaded.session_id,
                    answer_id=loaded.answer_id,
                    head_id=loaded.head_id,
                    moves_head=loaded.moves_head,
                    stays=stays,
                    model=reply.model,
                    finish_reason=reply.choices[0].finish_reason if reply.choices else None,
                    memory_ids=loaded.memory_ids,
                    tool_ms=call.tool_ms,
                    reason=reason_of(outcome, error),
                    told=None if error is None else error.detail,
                    streamed=None if log is None else await log.rest(),
                    worker_id=loaded.worker_id if loaded.background else None,
                )
            )
        finally:
            if log is not None:
                self._streams.close(log)

    async def _store(self, settlement: Settlement) -> AnyRow | None:
        try:
            row = await self._database.write(settle, settlement)
        except (exc.IntegrityError, AnswerGoneError):
            # The question, its session or its user was deleted meanwhile. What was spent is booked all the same.
            for record in settlement.records:
                record.message_id = None
            await self._ledger.record(*settlement.records)
            raise NotFoundError("The question, or its session, was deleted while the model answered.") from None
        except Exception as error:
            # Whatever kept the answer from being stored: what was spent is booked, and the answer kept when the storage is there again.
            if isinstance(error, StorageUnavailableError):
                late = msgspec.structs.replace(settlement, records=(), reason=error.code)
                ended = partial(self._journal.end, settlement.records[-1].call_id)
                self._finishing.write(settle, late, then=ended)
            else:
                self._finishing.write(fail, settlement.answer_id, self._worker_id, InternalError.code)
            await self._ledger.record(*settlement.records)
            raise
        metrics.observe_ledger_rows(len(settlement.records))
        return row

    async def _keep_thoughts(self, call: RunningCall, reply: Reply) -> None:
        user_id, model = call.meter.record.user_id, call.outgoing.model
        try:
            await self._database.write(thoughts.keep, user_id, call.outgoing.wire, model, reply)
        except exc.IntegrityError:
            return  # the user was deleted meanwhile
        except StorageUnavailableError as error:
            # A paid answer is not withheld for them: the model goes on without its thoughts.
            _log.warning("thoughts_not_kept", reason=str(error), model=model, request_id=call.meter.record.request_id)


def reason_of(outcome: Outcome, error: RiniError | None) -> str | None:
    """Return why an answer is partial; None where it is whole."""
    if outcome == "complete":
        return None
    if isinstance(error, TurnCancelledError):
        return error.fields["reason"]
    return outcome if error is None else error.code
