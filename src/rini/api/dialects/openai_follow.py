"""A response's stream once more, from any event on, while it runs and after: GET /v1/responses/{response_id}?stream=true.

The events are written anew from what was kept of the answer, as they were written first: so their numbers are the same.
"""

from contextlib import aclosing

from starlette.types import Send

from rini.api.dialects.dialect import EVENT_STREAM
from rini.canon import Event, Failure, Finish, Start, StreamFailure, UsageUpdate
from rini.canon.proofs import Unproving
from rini.db import Database
from rini.errors import AnswerBrokeOffError, NotFoundError, StreamGoneError
from rini.responses import repository
from rini.responses.ids import response_id
from rini.responses.items import parts_of
from rini.responses.repository import Found
from rini.responses.shown import stored_as
from rini.turns.following import BrokeOff, Followed, Streams, ToolAnswered, ToolCalled
from rini.turns.stored import as_events
from rini.wire.codec import StreamEncoder
from rini.wire.openai_responses import OPENAI_RESPONSES

FROM_THE_BEGINNING = -1
"""In place of the number of the event after which to go on."""


class ResponseFollower:
    """Writes streams of responses. One for each process."""

    def __init__(self, streams: Streams, database: Database) -> None:
        self._streams = streams
        self._database = database

    async def follow(self, user_id: int, answer_id: int, send: Send, after: int, *, proofs: bool) -> None:
        """Write the events of a response that come after number ``after``, to its end. Raises NotFoundError, StreamGoneError."""
        named = response_id(answer_id)
        found = await self._database.read(repository.find, user_id, named)
        written = _Written(send, found, after, proofs=proofs)
        seen = False
        try:
            async with aclosing(
                self._streams.follow(user_id, answer_id, resumes=after != FROM_THE_BEGINNING)
            ) as events:
                async for some in events:
                    await written.begin()
                    await written.take(some)
                    seen = seen or bool(some)
            found = await self._database.read(repository.find, user_id, named)
        except (NotFoundError, AnswerBrokeOffError) as error:
            if not written.begun:
                raise
            await written.fail(
                Failure("not_found" if isinstance(error, NotFoundError) else "server_error", error.detail)
            )
            seen = True
        if not seen:
            if not written.begun and after != FROM_THE_BEGINNING:
                raise StreamGoneError(f"The events of {named} are not kept; read it, or follow it from its beginning.")
            await written.begin()
            usage = await self._database.read(repository.usage_of, found.answer)
            told: list[Followed] = [] if usage is None else [UsageUpdate(usage)]
            await written.take([*as_events(parts_of(found.answer)), *told])
        await written.end(found)


class _Written:
    """One stream as it is written."""

    def __init__(self, send: Send, found: Found, after: int, *, proofs: bool) -> None:
        self._send = send
        self._after = after
        self._next = 0
        self._unproving = None if proofs else Unproving()
        self._encoder: StreamEncoder = OPENAI_RESPONSES.stream_encoder(stored=stored_as(found))
        self._start = Start(model=found.answer.model_used or found.answer.model_asked)
        self._started = False
        self._over = False
        self.begun = False

    async def begin(self) -> None:
        """Open the answer, once."""
        if self.begun:
            return
        self.begun = True
        headers = [(b"content-type", EVENT_STREAM), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def take(self, some: list[Followed]) -> None:
        """Write what came; an empty list: a sign of life."""
        events = [each for each in some if not isinstance(each, ToolCalled | ToolAnswered | BrokeOff)]
        if not some:
            await self._write(b": still here\n\n")
            return
        await self._feed(events)
        for each in some:
            if isinstance(each, BrokeOff) and not self._over:
                await self.fail(_failure(each))

    async def end(self, found: Found) -> None:
        """Write the end of an answer that is settled."""
        answer = found.answer
        if not self._over:
            if answer.status == "complete":
                await self._feed([Finish(answer.finish_reason or "stop")])
            else:
                await self.fail(Failure("server_error", f"The answer broke off: {answer.status_reason}."))
        await self._write(self._numbered(self._encoder.close()), last=True)

    async def fail(self, failure: Failure) -> None:
        """Write that the answer broke off."""
        await self._feed([StreamFailure(failure)])

    async def _feed(self, events: list[Event]) -> None:
        out = bytearray()
        for each in events:
            event = each if self._unproving is None else self._unproving.event(each)
            if not self._started and not isinstance(event, Start):
                out += self._encoder.feed(self._start)
            self._started = True
            self._over = self._over or isinstance(event, StreamFailure | Finish)
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
        if data or last:
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})


def _failure(broke_off: BrokeOff) -> Failure:
    problem = broke_off.problem
    return Failure("server_error", problem["detail"], code=problem["code"])
