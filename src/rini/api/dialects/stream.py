"""A streamed answer in a client's dialect: a provider's own bytes, or written anew from the events."""

from starlette.types import Send

from rini.api.dialects.answer import head
from rini.api.dialects.dialect import EVENT_STREAM, JSON, Asked, Dialect
from rini.api.dialects.errors import failure_of
from rini.canon import Event, Finish, PartDelta, PartStart, StreamFailure, ToolCall, ToolResult
from rini.canon.proofs import Unproving
from rini.errors import RiniError
from rini.turns.values import Begun
from rini.wire import logprobs
from rini.wire.codec import StreamEncoder
from rini.wire.openai_chat.usage_hider import UsageHider

_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class DialectStream:
    """Writes one streamed answer. Listens to a turn.

    What comes once the answer is finished is held back until it is booked: so the last bytes leave after the ledger's row is there.
    """

    def __init__(self, send: Send, dialect: Dialect, asked: Asked, headers: list[tuple[bytes, bytes]]) -> None:
        self.begun = False
        self._headers = headers
        self._send = send
        self._dialect = dialect
        self._asked = asked
        self._encoder: StreamEncoder | None = None
        self._unproving: Unproving | None = None
        self._logprobs: logprobs.LogprobsTranslation | None = None
        self._hider: UsageHider | None = None
        self._held = b""
        self._last = b""
        self._failed = False

    async def begin(self, begun: Begun) -> None:
        """Open the answer."""
        outgoing = begun.outgoing
        if not outgoing.passes:
            self._encoder = self._dialect.encoder(self._asked, outgoing)
            wire = self._dialect.codec.name
            if outgoing.wire != wire:
                self._unproving = Unproving()
                if logprobs.are_wanted(outgoing.request, outgoing.wire, wire):
                    self._logprobs = logprobs.LogprobsTranslation(outgoing.wire, wire)
        elif self._asked.hides_usage:
            self._hider = UsageHider()
        kind = JSON if self._asked.json_array else EVENT_STREAM
        await self._send({"type": "http.response.start", "status": 200, "headers": head(begun, kind, self._headers)})
        self.begun = True

    async def piece(self, data: bytes, events: list[Event]) -> None:
        """Pass on what came."""
        encoder = self._encoder
        if encoder is not None:
            if self._unproving is not None:
                events = [self._unproving.event(event) for event in events]
            if self._logprobs is not None:
                events = self._logprobs.events(events)
            data = b"".join([encoder.feed(event) for event in events])
        elif self._hider is not None:
            data = self._hider.feed(data)
        if len(events) == 1 and type(events[0]) is PartDelta and not self._held:  # as nearly all are
            if data:
                await self._write(data)
            return
        ends = bool(self._held)
        for event in events:
            kind = type(event)
            if kind is Finish:
                ends = True
            elif kind is StreamFailure:
                self._failed = True
            elif kind is PartDelta or kind is PartStart:  # another choice goes on
                ends = False
        if ends:
            self._held += data
        elif data or self._held:
            held, self._held = self._held, b""
            await self._write(held + data)

    async def tool_called(self, call: ToolCall) -> None:
        """Show nothing: the tools of a dialect are its client's."""

    async def tool_answered(self, result: ToolResult, ms: int) -> None:
        """Show nothing."""

    async def done(self) -> None:
        """Close a whole answer, which is booked by now."""
        if self._encoder is not None:
            self._held += self._encoder.close()
        elif self._hider is not None:
            self._held += self._hider.close()
        await self._write(self._held, last=True)

    async def error(self, error: RiniError) -> None:
        """Close an answer that broke off; the provider may have told of it already."""
        data = self._held
        encoder = self._encoder
        if not self._failed:
            if encoder is None:
                encoder = self._dialect.codec.stream_encoder()
                if self._last and not self._last.endswith(_ENDS):
                    data += b"\n\n"
            data += encoder.feed(StreamFailure(failure_of(error, self._dialect.codec))) + encoder.close()
        elif encoder is not None:
            data += encoder.close()
        await self._write(data, last=True)

    async def _write(self, data: bytes, *, last: bool = False) -> None:
        self._last = data or self._last
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})
