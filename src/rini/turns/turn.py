"""A turn, from top to bottom: load, call, settle.

Nothing is held while the provider is called: no transaction, no connection. The question is stored before the call; the answer and its
ledger row before the last bytes leave. A turn that breaks off settles what had come.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
from sqlalchemy import exc

from rini.canon import Reply, Request, ToolCall, ToolResult
from rini.db import AnyRow, Database
from rini.errors import NotFoundError, RiniError, StorageUnavailableError, UnsupportedParameterError
from rini.inference.meter import Meter
from rini.inference.outgoing import Outgoing
from rini.inference.target import Router, Target
from rini.kit.draining import process as draining
from rini.kit.http import Transport
from rini.providers.parameters import request_with
from rini.telemetry import logs, metrics
from rini.tools.toolbox import Offer, Toolbox
from rini.turns import thoughts
from rini.turns.given import as_it_came, left_headers, read
from rini.turns.images import Images
from rini.turns.journal import Journal
from rini.turns.load import load
from rini.turns.running import RunningCall
from rini.turns.settle import Settlement, settle
from rini.turns.tool_use import calls_to_make, continued, offering, results_of
from rini.turns.values import Answer, Ask, Given, Listener, Loaded
from rini.usage.ledger import Ledger
from rini.usage.prices import Prices
from rini.usage.usage_record import Outcome

T = TypeVar("T")

_log = logs.get_logger(__name__)


class Turns:
    """Takes turns. One for each process."""

    def __init__(
        self,
        database: Database,
        router: Router,
        transport: Transport,
        ledger: Ledger,
        prices: Prices,
        journal: Journal,
        images: Images,
        toolbox: Toolbox,
        memory_tokens: int,
    ) -> None:
        self._database = database
        self._router = router
        self._transport = transport
        self._ledger = ledger
        self._prices = prices
        self._journal = journal
        self._images = images
        self._toolbox = toolbox
        self._memory_tokens = memory_tokens
        self._ending: set[asyncio.Task[Any]] = set()

    async def take(self, ask: Ask, listener: Listener | None = None) -> Answer:
        """Ask the model and return its answer, stored and booked; with a ``listener``, stream it on the way.

        Where the model asks for one of the tools that it was offered, the tool is called, once, and the model answers over its result.
        Raises RiniError. When the caller is cancelled, so is the provider's call, at once, and what had come is settled.
        """
        call, offer = await self._begin(ask, stream=listener is not None)
        try:
            await call.run(self._transport, listener)
            if offer is not None and (calls := calls_to_make(call.reply)):
                results = await self._use(offer, call, calls, listener)
                call = self._go_on(ask, call, results)
                await call.run(self._transport, listener)
        except RiniError as error:
            await asyncio.shield(self._settling_of(call, "provider_failed" if call.begun else "refused", error))
            raise
        except asyncio.CancelledError:
            settling = self._settling_of(call, "interrupted" if draining.over else "client_left")
            settling.add_done_callback(_log_failure)
            raise
        except Exception:
            # A fault of this server's own: it is told as what it is, and what the provider did is booked.
            await asyncio.shield(self._settling_of(call, "interrupted"))
            raise
        if call.loaded is None and not call.has_thoughts_to_keep and (answer := self._booked_soon(call)) is not None:
            return answer
        return await asyncio.shield(self._settling_of(call, "complete"))

    async def close(self) -> None:
        """Wait until all that broke off is settled, and all that is over is booked."""
        while self._ending:
            await asyncio.wait(self._ending)
        await self._ledger.flush()

    async def _begin(self, ask: Ask, *, stream: bool) -> tuple[RunningCall, Offer | None]:
        if ask.given is not None:
            return await self._begin_given(ask, ask.given), None
        target = await self._router.target(ask.user_id, ask.provider, ask.model, ask.key_id)
        request = request_with(
            target.provider, ask.model, ask.params, Request(model=ask.model, messages=ask.messages, stream=stream)
        )
        offer = await self._offer(ask, target)
        if ask.image is not None:
            ask = await self._images.received(ask)
            request = msgspec.structs.replace(request, messages=ask.messages)
        loaded = None
        if ask.session_id is not None:
            if ask.image is None:
                loaded = await self._load(ask)
            else:
                # A client that leaves meanwhile leaves no file behind that no message names.
                ask, loaded = await asyncio.shield(self._to_its_end(self._keep(ask)))
            messages = await self._images.shown(ask, (*loaded.context, *ask.messages))
            request = offering(msgspec.structs.replace(request, messages=messages), offer, ask.provider)
        elif offer is not None:
            request = offering(request, offer, ask.provider)
        meter = self._meter(ask, target, stream=stream)
        return RunningCall(target, Outgoing.of(target, request), loaded, meter, self._journal), offer

    async def _begin_given(self, ask: Ask, given: Given) -> RunningCall:
        """Begin with a request in the client's own format: as it came where the provider speaks it too, else translated."""
        target = await self._router.target(ask.user_id, ask.provider, ask.model, ask.key_id, given.codec.name)
        outgoing = as_it_came(target, ask.model, given)
        if outgoing is None:
            request = read(target, ask.model, given)
            answered = thoughts.calls_of(request)
            kept = await self._database.read(thoughts.find, ask.user_id, answered) if answered else {}
            request, left_out = thoughts.put_back(request, target.codec.name, kept)
            outgoing = Outgoing.of(target, request)
            outgoing.dropped = (*left_out, *left_headers(given))
        meter = self._meter(ask, target, stream=given.stream)
        return RunningCall(target, outgoing, None, meter, self._journal, given=given)

    async def _offer(self, ask: Ask, target: Target) -> Offer | None:
        if ask.tool_choice is None:
            return None
        if target.tools:
            return await self._toolbox.offer(ask.user_id, ask.tool_choice)
        if ask.tool_choice == "auto":
            return None
        raise UnsupportedParameterError(
            f"llm_params.tool_choice: the model '{ask.model}' calls no tools; only auto or none can be asked of it.",
            parameter="tool_choice",
            provider=ask.provider,
        )

    async def _load(self, ask: Ask) -> Loaded:
        return await self._database.write(load, ask, self._memory_tokens)

    async def _keep(self, ask: Ask) -> tuple[Ask, Loaded]:
        """Keep the question's image, and load."""
        ask = await self._images.kept(ask)
        try:
            return ask, await self._load(ask)
        except RiniError:
            await self._images.forget(ask)
            raise

    async def _use(
        self, offer: Offer, call: RunningCall, calls: tuple[ToolCall, ...], listener: Listener | None
    ) -> tuple[ToolResult, ...]:
        """Make the first of ``calls`` and return a result for each."""
        call.pause()
        if listener is not None:
            await listener.tool_called(calls[0])
        outcome = await self._toolbox.call(offer, calls[0])
        results = results_of(calls, outcome.result)
        call.pause(results, outcome.ms)
        if listener is not None:
            await listener.tool_answered(outcome.result, outcome.ms)
        return results

    def _go_on(self, ask: Ask, call: RunningCall, results: tuple[ToolResult, ...]) -> RunningCall:
        """Return the call that follows on the tool's."""
        request = continued(call.outgoing.request, call.reply, results, call.target.codec.name)
        meter = self._meter(ask, call.target, stream=request.stream)
        return RunningCall(
            call.target,
            Outgoing.of(call.target, request),
            call.loaded,
            meter,
            self._journal,
            earlier=call.close("complete"),
            before=call.parts,
            tool_ms=call.tool_ms,
        )

    def _meter(self, ask: Ask, target: Target, *, stream: bool) -> Meter:
        return Meter(
            self._prices,
            target,
            ask.model,
            user_id=ask.user_id,
            endpoint=ask.endpoint,
            stream=stream,
            request_id=ask.request_id,
        )

    def _settling_of(self, call: RunningCall, outcome: Outcome, error: RiniError | None = None) -> asyncio.Task[Answer]:
        return self._to_its_end(self._settle(call, outcome, error))

    def _to_its_end(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it in a task of its own: a client that leaves meanwhile does not end it."""
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    def _booked_soon(self, call: RunningCall) -> Answer | None:
        """Settle a stateless turn by the journal, which is as safe as the database and need not be waited for; None where it is not written.

        The rows are committed a moment later, those of many turns together (docs/adr/0005).
        """
        records = call.close("complete")
        if not self._journal.book(records):
            return None
        self._ledger.soon(records, self._journal.end)
        return Answer(call.beginning, call.reply, records, call.parts, body=call.body)

    async def _settle(self, call: RunningCall, outcome: Outcome, error: RiniError | None = None) -> Answer:
        reply, parts, loaded = call.reply, call.parts, call.loaded
        records = call.close(outcome, error)
        try:
            if loaded is None:
                await self._ledger.record(*records)
                if outcome == "complete" and call.has_thoughts_to_keep:
                    await self._keep_thoughts(call, reply)
                return Answer(call.beginning, reply, records, parts, body=call.body)
            answer = await self._store(
                Settlement(
                    records=records,
                    wire=call.target.codec.name,
                    parts=parts,
                    session_id=loaded.session_id,
                    question_id=loaded.question.id,
                    model=reply.model,
                    finish_reason=reply.choices[0].finish_reason if reply.choices else None,
                    memory_ids=loaded.memory_ids,
                    tool_ms=call.tool_ms,
                    reason=None if outcome == "complete" else error.code if error else outcome,
                )
            )
        finally:
            self._journal.end(records[-1].call_id)
        if error is not None:
            error.fields["user_message_id"] = loaded.question.id
            error.fields["assistant_message_id"] = answer.id if answer is not None else None
        return Answer(call.beginning, reply, records, parts, loaded.question, answer, call.body)

    async def _keep_thoughts(self, call: RunningCall, reply: Reply) -> None:
        user_id, model = call.meter.record.user_id, call.outgoing.model
        try:
            await self._database.write(thoughts.keep, user_id, call.outgoing.wire, model, reply)
        except exc.IntegrityError:
            return  # the user was deleted meanwhile
        except StorageUnavailableError as error:
            # A paid answer is not withheld for them: the model goes on without its thoughts.
            _log.warning("thoughts_not_kept", reason=str(error), model=model, request_id=call.meter.record.request_id)

    async def _store(self, settlement: Settlement) -> AnyRow | None:
        try:
            row = await self._database.write(settle, settlement)
        except exc.IntegrityError:
            # The session, or its user, was deleted meanwhile. What was spent is booked all the same.
            for record in settlement.records:
                record.message_id = None
            await self._ledger.record(*settlement.records)
            raise NotFoundError("The session was deleted while the model answered.") from None
        except Exception:
            # Whatever kept the answer from being stored: what was spent is booked.
            await self._ledger.record(*settlement.records)
            raise
        metrics.observe_ledger_rows(len(settlement.records))
        return row


def _log_failure(settling: asyncio.Task[Answer]) -> None:
    """Tell the log what the client, who left, will not hear."""
    if not settling.cancelled() and (error := settling.exception()) is not None:
        _log.error("turn_not_settled", exc_info=None if isinstance(error, RiniError) else error, reason=str(error))
