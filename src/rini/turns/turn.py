"""A turn, from top to bottom: load, fit, call, settle.

Nothing is held while the provider is called: no transaction, no connection. The question is stored before the call; the answer and its
ledger row before the last bytes leave. A turn that breaks off settles what had come.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeVar

import msgspec
from sqlalchemy import exc

from rini.canon import Reply, Request, ToolCall, ToolResult
from rini.db import AnyRow, Database
from rini.errors import (
    ContextTooLongError,
    InternalError,
    NotFoundError,
    RiniError,
    ShuttingDownError,
    StorageUnavailableError,
    TurnCancelledError,
    UnsupportedParameterError,
)
from rini.inference.estimate import tools_tokens
from rini.inference.meter import Meter
from rini.inference.outgoing import Outgoing
from rini.inference.target import Router, Target
from rini.inference.window import window_of
from rini.kit import lasting
from rini.kit.clock import monotonic
from rini.kit.draining import process as draining
from rini.kit.http import Transport
from rini.providers.parameters import request_with
from rini.providers.windows import told_window
from rini.sessions import messages
from rini.sessions.context import store_cut
from rini.telemetry import logs, metrics
from rini.tools.toolbox import Offer, Toolbox
from rini.turns import runs, thoughts
from rini.turns.compaction import compacted
from rini.turns.context import Reader, Reading, after_refusal
from rini.turns.following import BrokeOff, Recording, Streams, Unheard
from rini.turns.given import as_it_came, instructions_apart, left_headers, read, results_apart
from rini.turns.images import Images
from rini.turns.journal import Journal
from rini.turns.known_texts import KnownTexts
from rini.turns.load import Busy, load
from rini.turns.queueing import Place, Queues
from rini.turns.register import Register
from rini.turns.running import RunningCall
from rini.turns.settle import AnswerGoneError, Settlement, abandon, fail, settle
from rini.turns.tool_use import calls_to_make, continued, offering, results_of
from rini.turns.values import Answer, Ask, Given, Listener, Loaded
from rini.usage.ledger import Ledger
from rini.usage.prices import Prices
from rini.usage.usage_record import Outcome, UsageRecord

T = TypeVar("T")

LONGEST_END_SECONDS = 10.0
END_PAUSE_SECONDS = 0.05
"""How long an answer that is cancelled has to end, and how often it is looked whether it has."""

LATE_PAUSES_SECONDS = (0.5, 1, 2, 4, 8, 15, 30, 60)
"""When what could not be stored of an answer is tried again; the last one again and again."""

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
        register: Register,
        streams: Streams,
        *,
        memory_tokens: int,
        queue_seconds: float,
    ) -> None:
        self._database = database
        self._router = router
        self._transport = transport
        self._ledger = ledger
        self._prices = prices
        self._journal = journal
        self._images = images
        self._toolbox = toolbox
        self._register = register
        self._streams = streams
        self._memory_tokens = memory_tokens
        self._system_texts = KnownTexts()
        self._queues = Queues(queue_seconds, register.end)
        self._ending: set[asyncio.Task[Any]] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._closing = False

    async def take(
        self, ask: Ask, listener: Listener | None = None, begun: "asyncio.Future[Loaded] | None" = None
    ) -> Answer:
        """Ask the model and return its answer, stored and booked; with a ``listener``, stream it on the way. ``begun`` is told what was loaded.

        Where the model asks for one of the tools that it was offered, the tool is called, once, and the model answers over its result.
        Raises RiniError. When the caller is cancelled, so is the provider's call, at once, and what had come is settled.
        """
        if not ask.continues_branch:
            return await self._take(ask, listener, None, begun)
        async with self._queues.place(ask) as place:
            return await self._take(ask, listener, place, begun)

    async def _take(
        self,
        ask: Ask,
        listener: Listener | None,
        place: Place | None,
        begun: "asyncio.Future[Loaded] | None" = None,
    ) -> Answer:
        call, offer = await self._begin(ask, place, stream=listener is not None)
        if call.loaded is not None and listener is not None:
            listener = Recording(listener, self._streams.open(call.loaded.answer_id))
        if begun is not None and call.loaded is not None:
            begun.set_result(call.loaded)
        running = self._register.running(call.loaded)
        try:
            with running:
                if place is not None and place.is_interrupted:
                    running.end("interrupted")  # at the next thing that it waits for
                try:
                    await call.run(self._transport, listener)
                except ContextTooLongError as error:
                    call = await self._again(ask, call, error)
                    await call.run(self._transport, listener)
                if offer is not None and (calls := calls_to_make(call.reply)):
                    results = await self._use(offer, call, calls, listener)
                    call = self._go_on(ask, call, results)
                    await call.run(self._transport, listener)
        except RiniError as error:
            await asyncio.shield(self._settling_of(call, "provider_failed" if call.begun else "refused", error))
            raise
        except asyncio.CancelledError:
            if call.loaded is not None and call.loaded.background and self._closing:
                self._to_its_end(self._leave(call, call.loaded)).add_done_callback(_log_failure)
                raise
            if running.ending is not None:
                _uncancel()
                ended = TurnCancelledError(
                    f"The answer was {running.ending} while the model wrote it.", reason=running.ending
                )
                await asyncio.shield(self._settling_of(call, running.ending, ended))
                raise ended from None
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

    async def start(self, ask: Ask) -> Loaded:
        """Begin a turn in the background and return what it found; it goes on by itself. Raises RiniError where it cannot begin."""
        begun: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        task = self._behind(self._take_unheard(ask, begun))
        await asyncio.wait((begun, task), return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            return begun.result()
        if task.cancelled():
            raise ShuttingDownError
        await task  # raises what kept it from beginning
        raise AssertionError("a turn that is over has begun")

    async def resume(self, ask: Ask) -> None:
        """Complete an answer whose process died, in the background."""
        self._behind(self._take_again(ask))

    def _behind(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it in a task of its own, which the process ends when it closes."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(_log_fault)
        return task

    async def _take_unheard(self, ask: Ask, begun: "asyncio.Future[Loaded]") -> None:
        """Take a turn of which the client hears no more than that it ``begun``. Raises RiniError where it cannot begin."""
        draining.in_flight += 1  # the process ends when it is done, or its grace period is over
        try:
            await self.take(ask, Unheard(), begun)
        except RiniError:
            if not begun.done():
                raise
        finally:
            draining.in_flight -= 1

    async def _take_again(self, ask: Ask) -> None:
        """Take a turn that another process began. What keeps it from beginning is told with the answer, as any other failure is."""
        begun: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        assert ask.completes is not None
        mine = ask.completes, self._register.worker_id
        try:
            await self._take_unheard(ask, begun)
        except asyncio.CancelledError:
            if not begun.done():
                self._write_in_the_end(runs.leave, *mine)
            raise
        except RiniError as error:
            self._write_in_the_end(fail, *mine, _reason("refused", error))
        except Exception:
            if not begun.done():
                self._write_in_the_end(fail, *mine, InternalError.code)
            raise

    async def _leave(self, call: RunningCall, loaded: Loaded) -> None:
        """Leave an answer in the background to another process, and book what it took so far."""
        records = call.close("interrupted")
        if (log := self._streams.of(loaded.answer_id)) is not None:
            self._streams.close(log)
        await self._ledger.record(*records)
        await self._database.write(runs.leave, loaded.answer_id, loaded.worker_id)
        self._journal.end(records[-1].call_id)

    async def cancel(self, user_id: int, answer_id: int) -> AnyRow:
        """End an answer that is running, in whichever process, and return its row; one that is over stays as it is. Raises NotFoundError."""
        row = await self._database.read(messages.get, user_id, answer_id)
        until = monotonic() + LONGEST_END_SECONDS
        if row.status == messages.RUNNING:
            await self._register.end(answer_id, "cancelled")
        while row.status == messages.RUNNING and monotonic() < until:
            await asyncio.sleep(END_PAUSE_SECONDS)
            row = await self._database.read(messages.get, user_id, answer_id)
        return row

    async def close(self) -> None:
        """Wait until all that broke off is settled, and all that is over is booked."""
        self._closing = True
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        while self._ending:
            await asyncio.wait(self._ending)
        if self._late:  # the storage had its chance
            _, missed = await asyncio.wait(self._late, timeout=LATE_PAUSES_SECONDS[0] * 2)
            for late in missed:
                late.cancel()
            if missed:
                _log.error("answer_not_kept", answers=len(missed))
        await self._ledger.flush()

    async def _begin(self, ask: Ask, place: Place | None, *, stream: bool) -> tuple[RunningCall, Offer | None]:
        if ask.given is not None:
            return await self._begin_given(ask, ask.given, place), None
        target = await self._router.target(ask.user_id, ask.provider, ask.model, ask.key_id)
        request = request_with(
            target.provider, ask.model, ask.params, Request(model=ask.model, messages=ask.messages, stream=stream)
        )
        offer = await self._offer(ask, target)
        if ask.image is not None:
            ask = await self._images.received(ask)
            request = msgspec.structs.replace(request, messages=ask.messages)
        loaded = None
        if ask.stored:
            # A client that leaves meanwhile leaves no file behind that no message names.
            reader = _reader(target, request)
            tools = 0 if offer is None else tools_tokens(offer.tools, ask.provider)
            ask, loaded = await (self._load if ask.image is None else self._keep)(ask, reader, tools, place)
        try:
            if loaded is not None:
                loaded = await self._fit(ask, loaded)
                request = msgspec.structs.replace(request, messages=await self._images.shown(ask, loaded.messages))
            request = offering(request, offer, ask.provider) if loaded is not None or offer is not None else request
            meter = self._meter(ask, target, stream=stream)
            return RunningCall(target, Outgoing.of(target, request), loaded, meter, self._journal), offer
        except BaseException as error:
            if loaded is not None:
                self._abandon(ask, loaded, error)
            raise

    async def _begin_given(self, ask: Ask, given: Given, place: Place | None) -> RunningCall:
        """Begin with a request in the client's own format: as it came where the provider speaks it too, else translated."""
        target = await self._router.target(ask.user_id, ask.provider, ask.model, ask.key_id, given.codec.name)
        if ask.stored:
            return await self._begin_given_in_session(ask, given, target, place)
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

    async def _begin_given_in_session(self, ask: Ask, given: Given, target: Target, place: Place | None) -> RunningCall:
        """Begin with new messages in the client's own format, before which come those that are stored."""
        request = read(target, ask.model, given)
        instructions, messages = instructions_apart(request.messages, given.instructions)
        # What is asked again is stored already.
        asked = results_apart(messages) if ask.completes is None else ()
        ask = msgspec.structs.replace(ask, instructions=instructions, messages=asked)
        ask, loaded = await self._load(ask, _reader(target, request), tools_tokens(request.tools, ask.provider), place)
        try:
            loaded = await self._fit(ask, loaded)
            shown = await self._images.shown(ask, loaded.messages)
            outgoing = Outgoing.of(target, msgspec.structs.replace(request, messages=shown))
            outgoing.dropped = tuple(left_headers(given))
            meter = self._meter(ask, target, stream=given.stream)
            return RunningCall(target, outgoing, loaded, meter, self._journal, given=given)
        except BaseException as error:
            self._abandon(ask, loaded, error)
            raise

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

    async def _load(self, ask: Ask, reader: Reader, tools: int, place: Place | None) -> tuple[Ask, Loaded]:
        """Load, when no other process answers the session's current branch. Raises RiniError."""
        known = self._system_texts.of(ask.user_id)
        worker_id = self._register.worker_id
        while True:
            work = self._database.write(load, ask, reader, tools, worker_id, self._memory_tokens, known)
            loading = self._to_its_end(work)
            try:
                found = await asyncio.shield(loading)
            except asyncio.CancelledError as error:
                loading.add_done_callback(partial(self._abandon_loaded, ask, error))
                raise
            if not isinstance(found, Busy):
                if found.question is not None:
                    lasting.note()  # it is stored, whatever becomes of the answer
                if place is not None:
                    place.holds(found.answer_id)
                self._system_texts.add(ask.user_id, found.system_digest)
                return ask, found
            assert place is not None
            await place.wait_for(found.answer_id)

    async def _keep(self, ask: Ask, reader: Reader, tools: int, place: Place | None) -> tuple[Ask, Loaded]:
        """Keep the question's image, and load."""
        keeping = self._to_its_end(self._images.kept(ask))
        try:
            ask = await asyncio.shield(keeping)
        except asyncio.CancelledError:
            keeping.add_done_callback(self._forget_kept)
            raise
        try:
            return await self._load(ask, reader, tools, place)
        except RiniError:
            await asyncio.shield(self._to_its_end(self._images.forget(ask)))
            raise

    async def _fit(self, ask: Ask, loaded: Loaded) -> Loaded:
        """Have what is left out summarised, where that is wanted; what is not summarised is left out all the same.

        Raises TurnCancelledError, NotFoundError.
        """
        if not loaded.reading.wants_summary:
            return loaded
        with self._register.running(loaded) as running:
            try:
                return await self._compacted(ask, loaded, loaded.reading)
            except asyncio.CancelledError:
                if running.ending is None:
                    raise
                _uncancel()
                raise TurnCancelledError(
                    f"The answer was {running.ending} before the model began it.", reason=running.ending
                ) from None

    async def _compacted(self, ask: Ask, loaded: Loaded, reading: Reading) -> Loaded:
        """Have what ``reading`` leaves out summarised, if that is wanted, and store the cut at which the answer's path begins."""
        cut = reading.cut
        assert cut is not None
        if reading.wants_summary:
            cut = await compacted(self._take_apart, ask, loaded.session_id, reading)
        storing = self._to_its_end(self._database.write(store_cut, ask.user_id, cut, loaded.answer_id))
        try:
            cut = await asyncio.shield(storing)
        except exc.IntegrityError:
            raise NotFoundError("The messages before the question were deleted meanwhile.") from None
        return msgspec.structs.replace(loaded, reading=reading.with_cut(cut))

    async def _take_apart(self, ask: Ask) -> Answer:
        return await self._take(ask, None, None)

    async def _again(self, ask: Ask, call: RunningCall, error: ContextTooLongError) -> RunningCall:
        """Return the call with less to read than its provider refused. Raises ``error`` where nothing can be left out."""
        loaded = call.loaded
        reading = None if loaded is None else after_refusal(loaded.reading, told_window(error.detail))
        if loaded is None or reading is None or call.begun:
            raise error
        loaded = await self._compacted(ask, loaded, reading)
        shown = await self._images.shown(ask, loaded.messages)
        outgoing = Outgoing.of(call.target, msgspec.structs.replace(call.outgoing.request, messages=shown))
        outgoing.dropped = tuple(left_headers(ask.given)) if ask.given is not None else ()
        meter = self._meter(ask, call.target, stream=outgoing.stream)
        _log.info("context_cut_and_asked_again", provider=ask.provider, model=ask.model, request_id=ask.request_id)
        return call.again(outgoing, loaded, meter, error)

    def _forget_kept(self, keeping: "asyncio.Task[Ask]") -> None:
        if not keeping.cancelled() and keeping.exception() is None:
            self._to_its_end(self._images.forget(keeping.result()))

    def _abandon_loaded(self, ask: Ask, error: BaseException, loading: "asyncio.Task[Loaded | Busy]") -> None:
        if not loading.cancelled() and loading.exception() is None and isinstance(found := loading.result(), Loaded):
            self._abandon(ask, found, error)

    def _abandon(self, ask: Ask, loaded: Loaded, error: BaseException) -> None:
        """Take back the answer's place, whose model is not called; one that was cancelled stays, so that whoever did that finds it."""
        if ask.completes is not None:
            return  # it was there before
        if isinstance(error, TurnCancelledError) and error.fields["reason"] == "cancelled":
            self._write_in_the_end(fail, loaded.answer_id, loaded.worker_id, "cancelled")
        else:
            self._write_in_the_end(abandon, loaded.answer_id)

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
        meter = Meter(
            self._prices,
            target,
            ask.model,
            user_id=ask.user_id,
            endpoint=ask.endpoint,
            stream=stream,
            request_id=ask.request_id,
        )
        meter.record.session_id = ask.booked_to
        return meter

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
            if loaded is not None:
                answer = await self._settle_stored(call, loaded, records, outcome, error)
                return Answer(call.beginning, reply, records, parts, loaded.question, answer, call.body)
            await self._ledger.record(*records)
            if outcome == "complete" and call.has_thoughts_to_keep:
                await self._keep_thoughts(call, reply)
            return Answer(call.beginning, reply, records, parts, body=call.body)
        finally:
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
                    reason=_reason(outcome, error),
                    streamed=None if log is None else await log.rest(),
                    worker_id=loaded.worker_id if loaded.background else None,
                )
            )
        finally:
            if log is not None:
                self._streams.close(log)

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
                self._write_in_the_end(settle, late)
            else:
                worker_id = self._register.worker_id
                self._write_in_the_end(fail, settlement.answer_id, worker_id, InternalError.code)
            await self._ledger.record(*settlement.records)
            raise
        metrics.observe_ledger_rows(len(settlement.records))
        return row

    def _write_in_the_end(self, unit: Callable[..., Any], *args: Any) -> None:
        """Write what becomes of an answer, now or when the storage is there again: until then it looks as if it were being written."""
        late = asyncio.create_task(self._keep_writing(unit, *args))
        self._late.add(late)
        late.add_done_callback(self._late.discard)
        late.add_done_callback(_log_failure)

    async def _keep_writing(self, unit: Callable[..., Any], *args: Any) -> None:
        for pause in chain(LATE_PAUSES_SECONDS, repeat(LATE_PAUSES_SECONDS[-1])):
            try:
                await self._database.write(unit, *args)
            except StorageUnavailableError:
                await asyncio.sleep(pause)
            except (exc.IntegrityError, AnswerGoneError):
                return  # it was deleted meanwhile, or is another process's
            else:
                return


def _reader(target: Target, request: Request) -> Reader:
    return Reader(
        provider=target.provider.name,
        model=request.model,
        window=window_of(target.provider.name, request.model),
        max_tokens=request.max_tokens,
    )


def _reason(outcome: Outcome, error: RiniError | None) -> str | None:
    """Return why an answer is partial; None where it is whole."""
    if outcome == "complete":
        return None
    if isinstance(error, TurnCancelledError):
        return error.fields["reason"]
    return outcome if error is None else error.code


def _uncancel() -> None:
    """Let the task go on: it was cancelled to end the call of its model, and that has ended."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


def _log_fault(task: asyncio.Task[None]) -> None:
    """Tell the log of a fault of this server's own in a turn that nobody waits for."""
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, RiniError):
        _log.error("turn_failed", exc_info=error)


def _log_failure(settling: asyncio.Task[Any]) -> None:
    """Tell the log what the client, who left, will not hear."""
    if not settling.cancelled() and (error := settling.exception()) is not None:
        _log.error("turn_not_settled", exc_info=None if isinstance(error, RiniError) else error, reason=str(error))
