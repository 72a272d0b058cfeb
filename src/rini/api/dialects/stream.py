"""A streamed answer in a client's dialect: a provider's own bytes, or written anew from the events."""

from starlette.types import Send

from rini.api.dialects.answer import head
from rini.api.dialects.dialect import EVENT_STREAM, JSON, Asked, Dialect
from rini.api.dialects.errors import failure_of
from rini.api.signs_of_life import BLANK_LINE, COMMENT, SignsOfLife
from rini.canon import Event, Finish, PartDelta, PartStart, StreamFailure, ToolCall, ToolResult
from rini.canon.proofs import Unproving
from rini.errors import RiniError, TurnCancelledError
from rini.kit.sse import WholeEvents
from rini.turns.values import Begun
from rini.wire import logprobs
from rini.wire.codec import StreamEncoder
from rini.wire.gemini import GEMINI
from rini.wire.openai_chat.usage_hider import without_usage

MOST_HELD_BYTES = 1024 * 1024
"""As much is held back at most, and the last piece at any rate."""


class DialectStream:
    """Writes one streamed answer. Listens to a turn.

    What comes once the answer is finished is held back until it is booked: so the last bytes leave after the ledger's row is there.
    A provider's own bytes are passed on in whole events: so an error can follow them, and a sign of life. To be closed.
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
        self._whole = WholeEvents()
        self._signs = SignsOfLife(send, _sign_of_life(dialect, asked), self._whole)
        self._held = bytearray()
        self._failed = False

    async def begin(self, begun: Begun) -> None:
        """Open the answer."""
        outgoing = begun.outgoing
        if not outgoing.passes:
            self._encoder = self._dialect.encoder(self._asked, begun)
            wire = self._dialect.codec.name
            if outgoing.wire != wire or self._asked.hides_proofs:
                self._unproving = Unproving()
            if outgoing.wire != wire and logprobs.are_wanted(outgoing.request, outgoing.wire, wire):
                self._logprobs = logprobs.LogprobsTranslation(outgoing.wire, wire)
        kind = JSON if self._asked.json_array else EVENT_STREAM
        await self._send({"type": "http.response.start", "status": 200, "headers": head(begun, kind, self._headers)})
        self.begun = True
        self._signs.begin()

    def close(self) -> None:
        """Send nothing more by itself."""
        self._signs.end()

    async def piece(self, data: bytes, events: list[Event]) -> None:
        """Pass on what came; without any bytes, what is left of the provider's."""
        encoder = self._encoder
        if encoder is not None:
            if self._unproving is not None:
                events = [self._unproving.event(event) for event in events]
            if self._logprobs is not None:
                events = self._logprobs.events(events)
            data = b"".join([encoder.feed(event) for event in events])
        else:
            data = self._passed(data, events)
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
                self._failed = encoder is not None or bool(data)
            elif kind is PartDelta or kind is PartStart:  # another choice goes on
                ends = False
        if ends and len(self._held) + len(data) <= MOST_HELD_BYTES:
            self._held += data
        elif ends:
            held, self._held = self._held, bytearray(data)
            await self._write(bytes(held))
        elif data or self._held:
            self._held += data
            await self._write(self._take_held())

    async def tool_called(self, call: ToolCall) -> None:
        """Show nothing: the tools of a dialect are its client's."""

    async def tool_answered(self, result: ToolResult, ms: int) -> None:
        """Show nothing."""

    async def done(self) -> None:
        """Close a whole answer, which is booked by now."""
        if self._encoder is not None:
            self._held += self._encoder.close()
        await self._write(self._take_held(), last=True)

    async def error(self, error: RiniError) -> None:
        """Close an answer that broke off; the provider may have told of it already."""
        encoder = self._encoder
        failure = failure_of(error, self._dialect.codec)
        if encoder is not None:
            if not self._failed:
                is_cancelled = isinstance(error, TurnCancelledError) and error.fields["reason"] == "cancelled"
                # As whoever follows a stored response is told of it.
                ended = is_cancelled and self._asked.stored is not None
                self._held += encoder.feed(Finish("other", "cancelled") if ended else StreamFailure(failure))
            self._held += encoder.close()
        elif not self._failed or self._whole.holds:
            if self._whole.torn:
                self._held += b"\n\n"
            self._held += self._dialect.broken_off(failure)
        await self._write(self._take_held(), last=True)

    def _passed(self, data: bytes, events: list[Event]) -> bytes:
        """Return what is passed on of the provider's own bytes."""
        if data:
            data = self._whole.feed(data)
        elif not events or type(events[-1]) is not StreamFailure:
            data = self._whole.close()
        return without_usage(data) if self._asked.hides_usage else data

    def _take_held(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held

    async def _write(self, data: bytes, *, last: bool = False) -> None:
        self._signs.is_silent = False
        if last:
            self._signs.end()
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})


def _sign_of_life(dialect: Dialect, asked: Asked) -> bytes | None:
    """Return what is sent on a silent stream; None: nothing has a place within an array."""
    if asked.json_array:
        return None
    return BLANK_LINE if dialect.codec.name == GEMINI.name else COMMENT
