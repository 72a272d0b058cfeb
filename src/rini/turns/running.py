"""A call while it runs: what came so far, and how long it took."""

from rini.canon import Event, PartDelta, PartStart, Reply, ReplyBuilder, Request, StreamFailure
from rini.inference.call import Stream, complete
from rini.inference.meter import Meter
from rini.inference.target import Target
from rini.kit.http import Transport
from rini.providers.failures import blocked_error, failure_error, malformed_error
from rini.telemetry import metrics
from rini.turns.journal import Journal
from rini.turns.values import Listener, Loaded


class RunningCall:
    """One call of a provider on behalf of a turn. ``loaded`` is None in a stateless one."""

    def __init__(self, target: Target, request: Request, loaded: Loaded | None, meter: Meter, journal: Journal) -> None:
        self.target = target
        self.request = request
        self.loaded = loaded
        self.meter = meter
        self.begun = False
        self._journal = journal
        self._builder = ReplyBuilder()
        self._whole: Reply | None = None
        if loaded is not None:
            meter.record.session_id = loaded.session_id
            meter.record.message_id = loaded.question.id
        journal.begin(
            meter.record,
            target.provider.codec.name,
            loaded.session_id if loaded else None,
            loaded.question.id if loaded else None,
        )

    @property
    def reply(self) -> Reply:
        """What came so far."""
        return self._whole or self._builder.reply()

    async def complete(self, transport: Transport) -> None:
        """Get the whole answer. Raises RiniError."""
        self._whole = await complete(transport, self.target, self.request)
        self._refuse_empty()

    async def stream(self, transport: Transport, listener: Listener) -> None:
        """Get the answer piece by piece and hand each on. Raises RiniError."""
        async with Stream(transport, self.target, self.request) as stream:
            self.begun = True
            metrics.stream_opened()
            try:
                await listener.begin(self.loaded)
                while (events := await stream.read()) is not None:
                    if events:
                        await self._pass_on(events, listener)
                if events := stream.close_decoder():
                    await self._pass_on(events, listener)
                self._whole = self._builder.reply()
                self._refuse_empty()
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
