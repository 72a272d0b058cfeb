"""A call while it runs: what came so far, and how long it took."""

from rini.canon import Event, Part, PartDelta, PartStart, Reply, ReplyBuilder, Request, StreamFailure, ToolResult
from rini.errors import RiniError
from rini.inference.call import Stream, complete
from rini.inference.meter import Meter
from rini.inference.target import Target
from rini.kit.http import Transport
from rini.providers.failures import blocked_error, failure_error, malformed_error
from rini.telemetry import metrics
from rini.turns.journal import Journal, Open
from rini.turns.tool_use import with_ids
from rini.turns.values import Listener, Loaded
from rini.usage.usage_record import Outcome, UsageRecord


class RunningCall:
    """One call of a provider on behalf of a turn. ``loaded`` is None in a stateless one.

    ``earlier`` are the calls of the same turn that are over, ``before`` is what they and the tools said, ``tool_ms`` how long tools took.
    ``begun`` says that the provider began to answer, ``answered`` that its whole answer is there.
    """

    def __init__(
        self,
        target: Target,
        request: Request,
        loaded: Loaded | None,
        meter: Meter,
        journal: Journal,
        earlier: tuple[UsageRecord, ...] = (),
        before: tuple[Part, ...] = (),
        tool_ms: int = 0,
    ) -> None:
        self.target = target
        self.request = request
        self.loaded = loaded
        self.meter = meter
        self.earlier = earlier
        self.begun = False
        self.answered = False
        self.tool_ms = tool_ms
        self._before = before
        self._results: tuple[ToolResult, ...] = ()
        self._journal = journal
        self._builder = ReplyBuilder()
        self._whole: Reply | None = None
        record, wire = meter.record, target.provider.codec.name
        if loaded is None:
            journal.begin(Open(record, wire, earlier=earlier, before=before))
            return
        record.session_id = loaded.session_id
        record.message_id = loaded.question.id
        journal.begin(
            Open(record, wire, loaded.session_id, loaded.question.id, loaded.memory_ids, earlier=earlier, before=before)
        )

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
            self._whole = with_ids(await complete(transport, self.target, self.request), self._before)
        else:
            await self._stream(transport, listener)
            self._whole = with_ids(self._builder.reply(), self._before)
        self._refuse_empty()
        self.answered = True
        self.meter.close("complete", self.request, self._whole)

    def pause(self, results: tuple[ToolResult, ...] = (), tool_ms: int = 0) -> None:
        """Note that the turn goes on with a tool, or with its ``results``: on the disk before the client sees them."""
        self._results = results
        self.tool_ms += tool_ms
        self._journal.pause(self.meter.record, self.parts)

    def close(self, outcome: Outcome, error: RiniError | None = None) -> tuple[UsageRecord, ...]:
        """Complete the ledger's row of this call, unless its answer was whole, and return those of the whole turn."""
        if not self.answered:
            self.meter.close(outcome, self.request, self.reply, error)
        return (*self.earlier, self.meter.record)

    async def _stream(self, transport: Transport, listener: Listener) -> None:
        async with Stream(transport, self.target, self.request) as stream:
            self.begun = True
            metrics.stream_opened()
            try:
                if not self.earlier:
                    await listener.begin(self.loaded)
                while (events := await stream.read()) is not None:
                    if events:
                        await self._pass_on(events, listener)
                if events := stream.close_decoder():
                    await self._pass_on(events, listener)
            finally:
                metrics.stream_closed()

    def _refuse_empty(self) -> None:
        """Raise RefusedBySafetyError for an answer that a filter left nothing of, ProviderMalformedError for one that is none."""
        choices = self.reply.choices
        if not choices:
            raise malformed_error("it holds no answer.", self.target.provider)
        if all(not choice.parts and choice.finish_reason == "safety" for choice in choices):
            raise blocked_error(self.target.provider, self.request.model)

    async def _pass_on(self, events: list[Event], listener: Listener) -> None:
        if self.meter.awaits_first_token and any(isinstance(event, PartStart | PartDelta) for event in events):
            self.meter.first_token()
        add = self._builder.add
        for event in events:
            add(event)
        if self.loaded is not None:
            # On the disk before the client sees it, so that kill -9 loses nothing that was seen.
            self._journal.add(self.meter.record.call_id, events)
        failed = events[-1]
        if isinstance(failed, StreamFailure):
            await listener.events(events[:-1])
            raise failure_error(failed.failure, self.target.provider, self.request.model, self.target.key)
        await listener.events(events)
