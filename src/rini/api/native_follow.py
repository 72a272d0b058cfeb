"""/messages/{message_id}/stream and /cancel: an answer that somebody else asked for, or that went on when its client had left."""

import asyncio
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api import native_shown
from rini.api.credentials import current_caller
from rini.api.lean import ClientLeftError, header, message_id_in, send_json, while_connected
from rini.api.native_stream import EventWriter, NativeStream
from rini.api.problems import problem_document
from rini.canon import Event
from rini.db import Database
from rini.errors import (
    AnswerBrokeOffError,
    InvalidRequestError,
    RiniError,
    ShuttingDownError,
    StorageUnavailableError,
    StreamGoneError,
)
from rini.kit.draining import process as draining
from rini.turns.following import BrokeOff, Followed, Streams, ToolAnswered, ToolCalled
from rini.turns.stored import Stored, as_events, stored_answer
from rini.turns.turn import Turns

STREAM = "/messages/{message_id}/stream"
CANCEL = "/messages/{message_id}/cancel"

LAST_EVENT_ID = b"last-event-id"

_encode = msgspec.json.Encoder(decimal_format="string").encode


class FollowEndpoint:
    """Streams an answer once more, from any event on."""

    def __init__(self, follower: "Follower", access: Access) -> None:
        self._follower = follower
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = await current_caller(scope, self._access)
        answer_id = message_id_in(scope["path_params"])
        after = _after(scope)
        request_id: str | None = scope.get("rini.request_id")
        try:
            await while_connected(
                receive, lambda: self._follower.follow(caller.user_id, answer_id, send, after, request_id)
            )
        except ClientLeftError:
            return


class CancelEndpoint:
    """Ends an answer that is running."""

    def __init__(self, turns: Turns, access: Access) -> None:
        self._turns = turns
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # there is no body
        """Answer one request."""
        caller = await current_caller(scope, self._access)
        row = await self._turns.cancel(caller.user_id, message_id_in(scope["path_params"]))
        await send_json(send, 200, _encode(native_shown.message(row)))


class Follower:
    """Writes answers as they were written first. One for each process."""

    def __init__(self, streams: Streams, database: Database) -> None:
        self._streams = streams
        self._database = database

    async def follow(self, user_id: int, answer_id: int, send: Send, after: int, request_id: str | None) -> None:
        """Write the events of an answer that come after number ``after``, to its end.

        Where the process ends before the answer does, the last event says so and has no number: whoever follows again goes on from the one before.
        Raises StreamGoneError, NotFoundError, InvalidRequestError, ShuttingDownError.
        """
        writer = _Again(send, after)
        try:
            await self._follow(user_id, answer_id, writer, after, request_id)
        except asyncio.CancelledError:
            if not draining.over:
                raise
            if not writer.begun:
                raise ShuttingDownError from None
            await writer.cut_off(problem_document(ShuttingDownError(), request_id))
        finally:
            writer.close()

    async def _follow(self, user_id: int, answer_id: int, writer: "_Again", after: int, request_id: str | None) -> None:
        stored = await self._database.read(stored_answer, user_id, answer_id)
        stream = NativeStream(writer, stored.answer.model_asked)
        broke_off: BrokeOff | None = None
        seen = False
        try:
            async with aclosing(self._streams.follow(user_id, answer_id, resumes=after > 0)) as events:
                async for some in events:
                    if not stream.begun:
                        await _start(stream, stored)
                    seen = seen or bool(some)
                    broke_off = await _write(stream, some) or broke_off
            stored = await self._database.read(stored_answer, user_id, answer_id)
        except RiniError as error:
            if not stream.begun:
                raise
            if isinstance(error, StorageUnavailableError):  # the answer goes on
                await writer.cut_off(problem_document(error, request_id))
                return
            writer.catch_up()
            await stream.error(error, request_id)
            return
        if not seen:
            if after and not stream.begun:
                raise StreamGoneError(
                    f"The events of the message {answer_id} are not kept; read it, or follow it from its beginning."
                )
            if not stream.begun:
                await _start(stream, stored)
            await _write(stream, as_events(stored.parts))
        if stored.answer.status != "complete" and broke_off is None:
            writer.catch_up()  # its process died: the client may have seen more than was kept
        await _end(stream, stored, broke_off, request_id)


class _Again(EventWriter):
    """Writes to a client that may have seen more of an answer than was kept of it."""

    def catch_up(self) -> None:
        """Count on from the last event that the client has."""
        self._sent = max(self._sent, self._after)

    async def cut_off(self, problem: dict[str, Any]) -> None:
        """Say why the stream ends here while the answer goes on: in an event without a number, as it is none of the answer's."""
        await self.write(b"event: error\ndata: %b\n\n" % _encode(problem), last=True)


async def _start(stream: NativeStream, stored: Stored) -> None:
    question = None if stored.question is None else native_shown.message(stored.question, stored.labels)
    await stream.start(stored.answer.session_id, question, stored.answer.id, native_shown.stored_context(stored))


async def _write(stream: NativeStream, some: list[Followed]) -> BrokeOff | None:
    """Write events, and return what the answer broke off with, if that is among them."""
    events: list[Event] = []
    broke_off: BrokeOff | None = None
    for each in some:
        if isinstance(each, BrokeOff):
            broke_off = each
        elif isinstance(each, ToolCalled | ToolAnswered):
            await stream.piece(b"", events)
            events = []
            if isinstance(each, ToolCalled):
                await stream.tool_called(each.call)
            else:
                await stream.tool_answered(each.result, each.ms)
        else:
            events.append(each)
    await stream.piece(b"", events)
    return broke_off


async def _end(stream: NativeStream, stored: Stored, broke_off: BrokeOff | None, request_id: str | None) -> None:
    row = stored.answer
    if row.status == "complete":
        await stream.done(_encode(native_shown.stored_completion(stored)), native_shown.usage(stored.records))
    elif broke_off is not None:
        await stream.broke_off(
            broke_off.problem if request_id is None else {**broke_off.problem, "request_id": request_id}
        )
    else:
        reason = row.status_reason or "interrupted"
        await stream.broke_off(
            problem_document(AnswerBrokeOffError(f"The answer broke off: {reason}.", reason=reason), request_id)
        )


def _after(scope: Scope) -> int:
    """Return the number of the last event that the client has, 0 for none. Raises InvalidRequestError."""
    name = "after"
    text = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("after", [None])[-1]
    if text is None:
        name, text = "Last-Event-ID", header(scope, LAST_EVENT_ID)
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequestError(f"{name}: must be the number of an event, or left out.")
    return int(text)
