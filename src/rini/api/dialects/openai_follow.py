"""A response's stream once more, from any event on, while it runs and after: GET /v1/responses/{response_id}?stream=true.

The events are written anew from what was kept of the answer, as they were written first: so their numbers are the same.
"""

import asyncio
from contextlib import aclosing

from starlette.types import Send

from rini.api.dialects.dialect import EVENT_STREAM
from rini.api.dialects.errors import failure_of
from rini.api.signs_of_life import SignsOfLife
from rini.canon import Event, Failure, Finish, Start, StreamFailure, UsageUpdate
from rini.canon.proofs import Unproving
from rini.db import Database
from rini.errors import (
    AnswerBrokeOffError,
    NotFoundError,
    RiniError,
    ShuttingDownError,
    StorageUnavailableError,
    StreamGoneError,
    TurnCancelledError,
)
from rini.kit.draining import process as draining
from rini.responses import repository
from rini.responses.ids import response_id
from rini.responses.items import parts_of
from rini.responses.repository import Found
from rini.responses.shown import state_of_stored, stored_as
from rini.turns.following import BrokeOff, Followed, Streams, ToolAnswered, ToolCalled
from rini.turns.stored import as_events
from rini.wire.openai_responses import OPENAI_RESPONSES
from rini.wire.openai_responses.stream_encoder import ResponseStreamEncoder

FROM_THE_BEGINNING = -1
"""In place of the number of the event after which to go on."""

CANCELLED = "cancelled"


class ResponseFollower:
    """Writes streams of responses. One for each process."""

    def __init__(self, streams: Streams, database: Database) -> None:
        self.streams = streams
        self._database = database

    async def follow(self, user_id: int, answer_id: int, send: Send, after: int, *, proofs: bool) -> None:
        """Write the events of a response that come after number ``after``, to its end. Raises NotFoundError, StreamGoneError, ShuttingDownError."""
        found = await self._database.read(repository.find, user_id, response_id(answer_id))
        written = _Written(send, found, after, proofs=proofs)
        try:
            await self._follow(user_id, found, written, after)
        except asyncio.CancelledError:
            if not draining.over:
                raise
            if not written.begun:
                raise ShuttingDownError from None
            await written.cut_off(ShuttingDownError())
        except (StorageUnavailableError, NotFoundError, AnswerBrokeOffError) as error:
            if not written.begun:
                raise
            if isinstance(error, NotFoundError):
                await written.fail(failure_of(error, OPENAI_RESPONSES))
                await written.close()
            else:  # the answer goes on, or begins anew
                await written.cut_off(error)
        finally:
            written.leave()

    async def _follow(self, user_id: int, found: Found, written: "_Written", after: int) -> None:
        answer_id, seen = found.answer.id, False
        async with aclosing(self.streams.follow(user_id, answer_id, resumes=after != FROM_THE_BEGINNING)) as events:
            async for some in events:
                await written.begin()
                await written.take(some)
                seen = seen or bool(some)
        named = response_id(answer_id)
        found = await self._database.read(repository.find, user_id, named)
        if not seen:
            if not written.begun and after != FROM_THE_BEGINNING:
                raise StreamGoneError(f"The events of {named} are not kept; read it, or follow it from its beginning.")
            await written.begin()
            usage = await self._database.read(repository.usage_of, found.answer)
            told: list[Followed] = [] if usage is None else [UsageUpdate(usage)]
            await written.take([*as_events(parts_of(found.answer)), *told])
        await written.end(found)


class _Written:
    """One stream as it is written. To be left."""

    def __init__(self, send: Send, found: Found, after: int, *, proofs: bool) -> None:
        self._send = send
        self._signs = SignsOfLife(send)
        self._after = after
        self._next = 0
        self._unproving = None if proofs else Unproving()
        self._encoder = ResponseStreamEncoder(stored=stored_as(found))
        self._start = Start(model=found.answer.model_used or found.answer.model_asked)
        self._in_background = found.record is not None and bool(found.record.background)
        self._started = False
        self._over = False
        self.begun = False

    async def begin(self) -> None:
        """Open the answer, once; one in the background is queued at first."""
        if self.begun:
            return
        self.begun = True
        headers = [(b"content-type", EVENT_STREAM), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._signs.begin()
        if self._in_background:
            await self._write(self._numbered(self._encoder.queue()))

    async def take(self, some: list[Followed]) -> None:
        """Write what came."""
        events = [each for each in some if not isinstance(each, ToolCalled | ToolAnswered | BrokeOff)]
        await self._feed(events)
        for each in some:
            if isinstance(each, BrokeOff) and not self._over:
                await self._feed([_end_of(each)])

    async def end(self, found: Found) -> None:
        """Write the end of an answer that is settled."""
        if not self._over:
            answer, state = found.answer, state_of_stored(found)
            if answer.status != "complete":
                self._catch_up()  # its process died: the client may have seen more than was kept
            if answer.status == "complete":
                await self._feed([Finish(answer.finish_reason or "stop")])
            elif state["status"] == "failed":
                await self.fail(Failure("server_error", state["error"]["message"]))
            else:
                await self._feed([Finish("other", state["status"])])
        await self.close()

    async def fail(self, failure: Failure) -> None:
        """Write that the answer broke off."""
        await self._feed([StreamFailure(failure)])

    async def close(self) -> None:
        """Write what is left."""
        await self._write(self._numbered(self._encoder.close()), last=True)

    async def cut_off(self, error: RiniError) -> None:
        """Write why the stream ends here while the answer goes on."""
        await self._write(self._encoder.cut_off(failure_of(error, OPENAI_RESPONSES)), last=True)

    def leave(self) -> None:
        """Send nothing more by itself."""
        self._signs.end()

    def _catch_up(self) -> None:
        self._encoder.count_on(self._after + 1)
        self._next = max(self._next, self._after + 1)

    async def _feed(self, events: list[Event]) -> None:
        out = bytearray()
        for each in events:
            event = each if self._unproving is None else self._unproving.event(each)
            ends = isinstance(event, StreamFailure | Finish)
            if not (self._started or isinstance(event, Start) or (ends and self._in_background)):
                out += self._encoder.feed(self._start)
            self._started = True
            self._over = self._over or ends
            out += self._encoder.feed(event)
        await self._write(self._numbered(bytes(out)))

    def _numbered(self, data: bytes) -> bytes:
        """Return those of the events that come after the one that the client has."""
        if self._next > self._after:
            return data
        events = data.split(b"\n\n")[:-1]
        kept: list[bytes] = []
        for event in events:
            if event.startswith(b"event:"):
                self._next += 1
            if self._next - 1 > self._after:
                kept.append(event + b"\n\n")
        return b"".join(kept)

    async def _write(self, data: bytes, *, last: bool = False) -> None:
        self._signs.is_silent = False
        if last:
            self._signs.end()
        if data or last:
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})


def _end_of(broke_off: BrokeOff) -> Event:
    problem = broke_off.problem
    if problem["code"] == TurnCancelledError.code and problem.get("reason") == CANCELLED:
        return Finish("other", CANCELLED)
    return StreamFailure(Failure("server_error", problem["detail"], code=problem["code"]))
