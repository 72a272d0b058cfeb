"""A call while it runs: what came so far, and how long it took."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

import msgspec

from rini.canon import (
    Event,
    Part,
    PartDelta,
    PartStart,
    Reply,
    ReplyBuilder,
    Start,
    StreamFailure,
    ToolResult,
)
from rini.errors import RiniError
from rini.inference.call import Stream, complete
from rini.inference.meter import Meter
from rini.inference.outgoing import Outgoing
from rini.inference.target import Target
from rini.kit.clock import now
from rini.kit.http import Transport
from rini.providers.failures import blocked_error, failure_error, malformed_error
from rini.telemetry import metrics
from rini.turns.journal import Journal, Open
from rini.turns.thoughts import worth_keeping
from rini.turns.tool_use import CallIds
from rini.turns.values import Begun, Given, Listener, Loaded
from rini.usage.usage_record import Outcome, UsageRecord

LAST_WORDS_SECONDS = 10.0
"""How long a provider has for what it says after an answer is whole, or failed: there are servers that never end their streams."""

_NOTHING: Mapping[str, str] = {}

Told = TypeVar("Told", Reply, Start)


class RunningCall:
    """One call of a provider on behalf of a turn. ``loaded`` is None in a stateless one.

    ``given`` is the request in a client's own format, which has a place for an answer of which a filter left nothing; else that is an error.
    ``earlier`` are the calls of the same turn that are over, ``before`` is what they and the tools said, ``tool_ms`` how long tools took.
    ``begun`` says that the provider began to answer, ``answered`` that its whole answer is there.
    """

    def __init__(
        self,
        target: Target,
        outgoing: Outgoing,
        loaded: Loaded | None,
        meter: Meter,
        journal: Journal,
        earlier: tuple[UsageRecord, ...] = (),
        before: tuple[Part, ...] = (),
        tool_ms: int = 0,
        *,
        given: Given | None = None,
    ) -> None:
        self.target = target
        self.outgoing = outgoing
        self.loaded = loaded
        self.meter = meter
        self.earlier = earlier
        self.begun = False
        self.answered = False
        self.tool_ms = tool_ms
        self._before = before
        self._given = given
        self._results: tuple[ToolResult, ...] = ()
        self._journal = journal
        self._builder = ReplyBuilder()
        self._whole: Reply | None = None
        self._body: bytes | None = None
        self._headers = _NOTHING
        self._failure: RiniError | None = None
        self._is_whole = False
        self._broke_off = False
        self._call_ids = CallIds(before)
        record, wire = meter.record, target.codec.name
        if loaded is None:
            journal.begin(Open(record, wire, earlier=earlier, before=before))
            return
        record.session_id = loaded.session_id
        record.message_id = None if loaded.question is None else loaded.question.id
        journal.begin(
            Open(
                record,
                wire,
                loaded.session_id,
                loaded.answer_id,
                loaded.head_id,
                loaded.moves_head,
                loaded.worker_id,
                loaded.background,
                loaded.memory_ids,
                earlier=earlier,
                before=before,
            )
        )

    @property
    def beginning(self) -> Begun:
        """What is known of the answer before any of it."""
        return Begun(self.loaded, self.outgoing, self._headers)

    @property
    def has_thoughts_to_keep(self) -> bool:
        """Whether the model thought before it called a tool, and the client's format has no place for the proofs of that."""
        return self._given is not None and self._given.codec.name != self.outgoing.wire and worth_keeping(self.reply)

    @property
    def body(self) -> bytes | None:
        """The bytes of a whole answer."""
        return self._body

    @property
    def reply(self) -> Reply:
        """What came so far of this call."""
        return self._whole or self._builder.reply()

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the model and its tools said so far in the turn."""
        choices = self.reply.choices
        return (*self._before, *choices[0].parts, *self._results) if choices else self._before

    async def run(self, transport: Transport, listener: Listener | None) -> None:
        """Get the answer; with a ``listener`` piece by piece. Raises RiniError."""
        if listener is None:
            reply, response = await complete(transport, self.target, self.outgoing)
            self._whole = reply if self.outgoing.passes else _dated(self._call_ids.complete(reply))
            self._body, self._headers = response.body, response.headers
        else:
            await self._stream(transport, listener)
            self._whole = self._builder.reply()
        if not self.outgoing.passes:
            self._refuse_empty()
        self.answered = True
        self.meter.close("complete", self.outgoing, self._whole)

    def again(self, outgoing: Outgoing, loaded: Loaded, meter: Meter, error: RiniError) -> "RunningCall":
        """Return the call in place of this one, which its provider refused with ``error``."""
        return RunningCall(
            self.target,
            outgoing,
            loaded,
            meter,
            self._journal,
            earlier=self.close("refused", error),
            given=self._given,
        )

    def pause(self, results: tuple[ToolResult, ...] = (), tool_ms: int = 0) -> None:
        """Note that the turn goes on with a tool, or with its ``results``: on the disk before the client sees them."""
        self._results = results
        self.tool_ms += tool_ms
        self._journal.pause(self.meter.record, self.parts)

    def close(self, outcome: Outcome, error: RiniError | None = None) -> tuple[UsageRecord, ...]:
        """Complete the ledger's row of this call, unless its answer was whole, and return those of the whole turn."""
        if not self.answered:
            self.meter.close(outcome, self.outgoing, self.reply, error)
        return (*self.earlier, self.meter.record)

    async def _stream(self, transport: Transport, listener: Listener) -> None:
        async with Stream(transport, self.target, self.outgoing) as stream:
            self.begun = True
            self._headers = stream.headers
            metrics.stream_opened()
            try:
                if not self._before:
                    await listener.begin(self.beginning)
                while (piece := await self._read(stream)) is not None:
                    await self._take(*piece, listener)
                    if self._failure is not None:
                        await self._pass_the_rest(stream, listener)
                        raise self._failure
                if not self._broke_off:
                    await self._take(b"", stream.close_decoder(), listener)
                    if self._failure is not None:
                        raise self._failure
            finally:
                metrics.stream_closed()

    async def _read(self, stream: Stream) -> tuple[bytes, list[Event]] | None:
        """Return what comes next. An answer that is whole, with what it took, is not lost where its provider breaks off then."""
        if not self._is_whole:
            return await stream.read()
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                return await stream.read()
        except (RiniError, TimeoutError):
            self._broke_off = True
            return None

    async def _take(self, data: bytes, events: list[Event], listener: Listener) -> None:
        if not events:
            if self.outgoing.passes:
                await listener.piece(data, events)
            return
        if self.meter.awaits_first_token:
            if not self.outgoing.passes:
                events[:] = [_dated(event) if type(event) is Start else event for event in events]
            if any(isinstance(event, PartStart | PartDelta) for event in events):
                self.meter.first_token()
        if not self.outgoing.passes:
            self._call_ids.give(events)
        add = self._builder.add
        for event in events:
            add(event)
        if self.loaded is not None:
            # On the disk before the client sees it, so that kill -9 loses nothing that was seen.
            self._journal.add(self.meter.record.call_id, events)
        await listener.piece(data, events)
        last = events[-1]
        if type(last) is not PartDelta:
            self._is_whole = self._builder.finished and self._builder.usage is not None
        if isinstance(last, StreamFailure):
            self._failure = failure_error(last.failure, self.target.provider, self.outgoing.model, self.target.key)

    async def _pass_the_rest(self, stream: Stream, listener: Listener) -> None:
        """Pass on what follows on an error within the stream: OpenAI ends it all the same."""
        if not self.outgoing.passes:
            return
        with suppress(RiniError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                while (piece := await stream.read()) is not None:
                    await listener.piece(piece[0], [])

    def _refuse_empty(self) -> None:
        """Raise RefusedBySafetyError for an answer that a filter left nothing of, ProviderMalformedError for one that is none."""
        choices = self.reply.choices
        if not choices:
            raise malformed_error("it holds no answer.", self.target.provider)
        if self._given is None and all(not choice.parts and choice.finish_reason == "safety" for choice in choices):
            raise blocked_error(self.target.provider, self.outgoing.model)


def _dated(told: Told) -> Told:
    """Return it with a time: an answer whose provider told none (Anthropic, Google) is one of now."""
    return told if told.created else msgspec.structs.replace(told, created=int(now().timestamp()))
