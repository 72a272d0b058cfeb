"""The beginning of a turn: what its model is to read is loaded and made to fit, the question and the answer's place are stored."""

import asyncio
from collections.abc import Awaitable, Callable, Container
from functools import partial

import msgspec
from sqlalchemy import exc
from sqlalchemy.engine import Connection

from rini.canon import Request, ToolResult
from rini.db import Database
from rini.errors import (
    ContextTooLongError,
    InternalError,
    InvalidRequestError,
    NotFoundError,
    RiniError,
    StorageUnavailableError,
    TurnCancelledError,
    UnsupportedParameterError,
)
from rini.inference.estimate import tools_tokens
from rini.inference.meter import Meter
from rini.inference.outgoing import Outgoing
from rini.inference.target import Router, Target
from rini.inference.window import Windows
from rini.kit import lasting
from rini.providers.parameters import request_with
from rini.providers.windows import told_window
from rini.sessions.context import store_cut
from rini.telemetry import logs
from rini.tools.toolbox import Offer, Toolbox
from rini.turns import runs, thoughts
from rini.turns.compaction import compacted
from rini.turns.context import Reader, Reading, after_refusal
from rini.turns.finishing import Finishing
from rini.turns.given import as_it_came, instructions_apart, left_headers, read, results_apart
from rini.turns.history import readable
from rini.turns.images import Images
from rini.turns.journal import Journal
from rini.turns.known_texts import KnownTexts
from rini.turns.load import Busy, load
from rini.turns.queueing import Place
from rini.turns.register import Register
from rini.turns.running import RunningCall
from rini.turns.settle import abandon, fail, take_back
from rini.turns.settling import reason_of
from rini.turns.tool_use import continued, offering
from rini.turns.values import Answer, Ask, Given, Loaded
from rini.usage.prices import Prices

Told = asyncio.Future[Loaded] | None
"""Is told what a turn found, as soon as that is stored."""

_log = logs.get_logger(__name__)


class Beginning:
    """Begins turns. One for each process; ``take_apart`` takes one that is not stored, for a summary."""

    def __init__(
        self,
        database: Database,
        router: Router,
        prices: Prices,
        windows: Windows,
        journal: Journal,
        images: Images,
        toolbox: Toolbox,
        register: Register,
        finishing: Finishing,
        take_apart: Callable[[Ask], Awaitable[Answer]],
        *,
        memory_tokens: int,
    ) -> None:
        self._database = database
        self._router = router
        self._prices = prices
        self._windows = windows
        self._journal = journal
        self._images = images
        self._toolbox = toolbox
        self._register = register
        self._finishing = finishing
        self._take_apart = take_apart
        self._memory_tokens = memory_tokens
        self._system_texts = KnownTexts()

    async def call(
        self, ask: Ask, place: Place | None, begun: Told, *, stream: bool
    ) -> tuple[RunningCall, Offer | None]:
        """Return the call that is to be made, and the tools that the model is offered. Raises RiniError.

        ``place`` is the question's in its session's queue; ``begun`` is told what was loaded, before that is made to fit.
        """
        if ask.given is not None:
            return await self._begin_given(ask, ask.given, place, begun), None
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
            reader = self._reader(ask, target, request)
            tools = 0 if offer is None else tools_tokens(offer.tools, ask.provider)
            ask, loaded = await (self._load if ask.image is None else self._keep)(ask, reader, tools, place, begun)
        try:
            if loaded is not None:
                loaded = await self._fit(ask, loaded)
                shown, _ = readable(await self._images.shown(ask, loaded.messages), target.codec.name)
                request = msgspec.structs.replace(request, messages=shown)
            request = offering(request, offer, ask.provider) if loaded is not None or offer is not None else request
            outgoing = Outgoing.of(target, request)
            outgoing.write()
        except BaseException as error:
            if loaded is not None:
                await self._refused(ask, loaded, error)
            raise
        return RunningCall(target, outgoing, loaded, self._meter(ask, target, stream=stream), self._journal), offer

    async def again(self, ask: Ask, call: RunningCall, error: ContextTooLongError) -> RunningCall:
        """Return the call with less to read than its provider refused. Raises ``error`` where nothing can be left out."""
        loaded = call.loaded
        told = told_window(error.detail)
        if told is not None:
            self._windows.refused(ask.provider, ask.model, call.target.key_id, told)
        reading = None if loaded is None else after_refusal(loaded.reading, told)
        if loaded is None or reading is None or call.begun:
            raise error
        loaded = await self._compacted(ask, loaded, reading)
        shown, left = readable(await self._images.shown(ask, loaded.messages), call.target.codec.name)
        outgoing = Outgoing.of(call.target, msgspec.structs.replace(call.outgoing.request, messages=shown))
        outgoing.dropped = (*left, *left_headers(ask.given)) if ask.given is not None else left
        meter = self._meter(ask, call.target, stream=outgoing.stream)
        _log.info("context_cut_and_asked_again", provider=ask.provider, model=ask.model, request_id=ask.request_id)
        return call.again(outgoing, loaded, meter, error)

    def go_on(self, ask: Ask, call: RunningCall, results: tuple[ToolResult, ...]) -> RunningCall:
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

    async def _begin_given(self, ask: Ask, given: Given, place: Place | None, begun: Told) -> RunningCall:
        """Begin with a request in the client's own format: as it came where the provider speaks it too, else translated."""
        target = await self._router.target(ask.user_id, ask.provider, ask.model, ask.key_id, given.codec.name)
        if ask.stored:
            return await self._begin_given_in_session(ask, given, target, place, begun)
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

    async def _begin_given_in_session(
        self, ask: Ask, given: Given, target: Target, place: Place | None, begun: Told
    ) -> RunningCall:
        """Begin with new messages in the client's own format, before which come those that are stored."""
        request = read(target, ask.model, given)
        instructions, messages = instructions_apart(request.messages, given.instructions)
        # What is asked again is stored already.
        asked = results_apart(messages) if ask.completes is None else ()
        ask = msgspec.structs.replace(ask, instructions=instructions, messages=asked)
        reader = self._reader(ask, target, request)
        ask, loaded = await self._load(ask, reader, tools_tokens(request.tools, ask.provider), place, begun)
        try:
            loaded = await self._fit(ask, loaded)
            shown, left = readable(await self._images.shown(ask, loaded.messages), target.codec.name)
            outgoing = Outgoing.of(target, msgspec.structs.replace(request, messages=shown))
            outgoing.dropped = (*left, *left_headers(given))
            outgoing.write()
        except BaseException as error:
            await self._refused(ask, loaded, error)
            raise
        meter = self._meter(ask, target, stream=given.stream)
        return RunningCall(target, outgoing, loaded, meter, self._journal, given=given)

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

    async def _load(self, ask: Ask, reader: Reader, tools: int, place: Place | None, begun: Told) -> tuple[Ask, Loaded]:
        """Load, when no other process answers the session's current branch. Raises RiniError."""
        known = self._system_texts.of(ask.user_id)
        worker_id = self._register.worker_id
        while True:
            loading = self._finishing.to_its_end(self._loaded(ask, reader, tools, worker_id, known))
            try:
                found = await asyncio.shield(loading)
            except asyncio.CancelledError:
                loading.add_done_callback(partial(self._abandon_loaded, ask))
                raise
            if not isinstance(found, Busy):
                if found.question is not None:
                    lasting.note()  # it is stored, whatever becomes of the answer
                if place is not None:
                    place.holds(found.answer_id)
                if begun is not None:
                    begun.set_result(found)
                self._system_texts.add(ask.user_id, found.system_digest)
                return ask, found
            assert place is not None
            await place.wait_for(found.answer_id)

    async def _loaded(
        self, ask: Ask, reader: Reader, tools: int, worker_id: str, known: Container[str]
    ) -> Loaded | Busy:
        found: Loaded | Busy | None = None

        def noted(connection: Connection) -> Loaded | Busy:
            nonlocal found
            found = load(connection, ask, reader, tools, worker_id, self._memory_tokens, known)
            return found

        try:
            return await self._database.write(noted)
        except StorageUnavailableError as error:
            # Where it is stored all the same, it would look as if it were being answered.
            if error.in_doubt and isinstance(found, Loaded):
                self._take_back(ask, found)
            raise

    async def _keep(self, ask: Ask, reader: Reader, tools: int, place: Place | None, begun: Told) -> tuple[Ask, Loaded]:
        """Keep the question's image, and load."""
        keeping = self._finishing.to_its_end(self._images.kept(ask))
        try:
            ask = await asyncio.shield(keeping)
        except asyncio.CancelledError:
            keeping.add_done_callback(self._forget_kept)
            raise
        try:
            return await self._load(ask, reader, tools, place, begun)
        except RiniError:
            await asyncio.shield(self._finishing.to_its_end(self._images.forget(ask)))
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
                uncancel()
                raise TurnCancelledError(
                    f"The answer was {running.ending} before the model began it.", reason=running.ending
                ) from None

    async def _compacted(self, ask: Ask, loaded: Loaded, reading: Reading) -> Loaded:
        """Have what ``reading`` leaves out summarised, if that is wanted, and store the cut at which the answer's path begins."""
        cut = reading.cut
        assert cut is not None
        if reading.wants_summary:
            cut = await compacted(self._take_apart, ask, loaded.session_id, reading)
        storing = self._finishing.to_its_end(self._database.write(store_cut, ask.user_id, cut, loaded.answer_id))
        try:
            cut = await asyncio.shield(storing)
        except exc.IntegrityError:
            raise NotFoundError("The messages before the question were deleted meanwhile.") from None
        return msgspec.structs.replace(loaded, reading=reading.with_cut(cut))

    def _forget_kept(self, keeping: "asyncio.Task[Ask]") -> None:
        if not keeping.cancelled() and keeping.exception() is None:
            self._finishing.to_its_end(self._images.forget(keeping.result()))

    def _abandon_loaded(self, ask: Ask, loading: "asyncio.Task[Loaded | Busy]") -> None:
        if not loading.cancelled() and loading.exception() is None and isinstance(found := loading.result(), Loaded):
            self._take_back(ask, found)

    def _take_back(self, ask: Ask, loaded: Loaded) -> None:
        """Take back the answer's place, of which nobody was told; one that another process began stays."""
        if ask.completes is None:
            self._finishing.write(abandon, loaded.answer_id)

    async def _refused(self, ask: Ask, loaded: Loaded, error: BaseException) -> None:
        """Take back what was stored of a turn whose model is not called: of one that asks for what cannot be asked, the question too."""
        if not isinstance(error, InvalidRequestError) or ask.background:
            self._abandon(ask, loaded, error)
            return
        try:
            taking = self._finishing.to_its_end(self._database.write(take_back, ask, loaded))
            await asyncio.shield(taking)
            await self._images.forget(ask)
        except StorageUnavailableError:
            self._take_back(ask, loaded)

    def _abandon(self, ask: Ask, loaded: Loaded, error: BaseException) -> None:
        """Take back the answer's place, whose model is not called.

        One that was cancelled stays, so that whoever did that finds it. So does one in the background, of which somebody was told: it says why it broke
        off, or is another process's where this one ends.
        """
        mine = loaded.answer_id, loaded.worker_id
        is_cancelled = isinstance(error, TurnCancelledError) and error.fields["reason"] == "cancelled"
        if ask.background and isinstance(error, asyncio.CancelledError):
            self._finishing.write(runs.leave, *mine)
        elif ask.background or is_cancelled:
            if isinstance(error, RiniError):
                self._finishing.write(fail, *mine, reason_of("refused", error), error.detail)
            else:
                self._finishing.write(fail, *mine, InternalError.code)
        else:
            self._finishing.write(abandon, loaded.answer_id)

    def _reader(self, ask: Ask, target: Target, request: Request) -> Reader:
        return Reader(
            provider=target.provider.name,
            model=request.model,
            window=self._windows.of(ask.user_id, target.provider.name, request.model, target.key_id),
            max_tokens=request.max_tokens,
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


def uncancel() -> None:
    """Let the task go on: it was cancelled to end the call of its model, and that has ended."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
