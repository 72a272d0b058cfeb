"""/llm: the native endpoints, whole and streamed."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access, Caller
from rini.api import native_shown
from rini.api.allowed import check_names
from rini.api.credentials import current_caller
from rini.api.lean import ClientLeftError, header, read_body, send_json, while_connected
from rini.api.native_asks import Posted
from rini.api.native_follow import Follower
from rini.api.native_schemas import Begun
from rini.api.native_stream import EventWriter, NativeStream
from rini.errors import RiniError, ShuttingDownError
from rini.kit.draining import process as draining
from rini.models.naming import ModelName
from rini.turns.turn import Turns
from rini.turns.values import Answer, Ask

_encode = msgspec.json.Encoder(decimal_format="string").encode


async def posted(scope: Scope, receive: Receive, caller: Caller) -> Posted:
    """Return the request of ``caller``, read. Raises ClientLeftError."""
    return Posted(
        caller.user_id,
        scope.get("rini.request_id"),
        header(scope, b"content-type") or "",
        await read_body(receive),
        scope.get("path_params", {}),
    )


def check_allowed(caller: Caller, ask: Ask) -> None:
    """Raise ModelNotAllowedError for a model that the caller's token may not call."""
    caller.check_model(ask.provider, ask.model)
    if caller.models is not None:
        check_names(ask.params, ModelName(ask.provider, ask.model))


class TurnEndpoint(ABC):
    """One of the native endpoints: ``show`` makes the answer's document of a finished turn."""

    def __init__(
        self, turns: Turns, access: Access, follower: Follower, show: Callable[[Answer], msgspec.Struct]
    ) -> None:
        self._turns = turns
        self._access = access
        self._follower = follower
        self._show = show

    @abstractmethod
    async def asked(self, posted: Posted) -> tuple[Ask, bool]:
        """Return the turn that a request asks for, and whether to stream it. Raises RiniError."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = await current_caller(scope, self._access)
        request_id: str | None = scope.get("rini.request_id")
        try:
            # The body has no name here: it may be an image's, and would be held as long as the turn takes.
            ask, streamed = await self.asked(await posted(scope, receive, caller))
            check_allowed(caller, ask)
            if ask.background:
                await self._behind(ask, receive, send, request_id, streamed=streamed)
            elif streamed:
                await while_connected(receive, lambda: self._stream(ask, send, request_id))
            else:
                answer = await while_connected(receive, lambda: self._whole(ask))
                await send_json(send, 200, _encode(self._show(answer)))
        except ClientLeftError:
            return

    async def _behind(self, ask: Ask, receive: Receive, send: Send, request_id: str | None, *, streamed: bool) -> None:
        """Begin an answer that does not end with its client, and follow it where it is streamed."""
        loaded = await while_connected(receive, lambda: self._turns.background.start(ask))
        if not streamed:
            begun = Begun(
                session_id=loaded.session_id,
                user_message=native_shown.question(loaded),
                assistant_message_id=loaded.answer_id,
            )
            await send_json(send, 202, _encode(begun))
            return
        await while_connected(
            receive, lambda: self._follower.follow(ask.user_id, loaded.answer_id, send, 0, request_id)
        )

    async def _whole(self, ask: Ask) -> Answer:
        try:
            return await self._turns.take(ask)
        except asyncio.CancelledError:
            if draining.over:
                raise ShuttingDownError from None
            raise

    async def _stream(self, ask: Ask, send: Send, request_id: str | None) -> None:
        writer = EventWriter(send)
        stream = NativeStream(writer, ask.model)
        try:
            answer = await self._turns.take(ask, stream)
        except RiniError as error:
            if not stream.begun:
                raise
            await stream.error(error, request_id)
        except asyncio.CancelledError:
            if not draining.over:
                raise
            if not stream.begun:
                raise ShuttingDownError from None
            await stream.error(ShuttingDownError(), request_id)
        else:
            await stream.done(_encode(self._show(answer)), native_shown.usage(answer.records))
        finally:
            writer.close()


class NativeEndpoint(TurnEndpoint):
    """An endpoint whose request says all: ``ask`` makes a turn of it."""

    def __init__(
        self,
        turns: Turns,
        access: Access,
        follower: Follower,
        ask: Callable[[Posted], tuple[Ask, bool]],
        show: Callable[[Answer], msgspec.Struct],
    ) -> None:
        super().__init__(turns, access, follower, show)
        self._ask = ask

    async def asked(self, posted: Posted) -> tuple[Ask, bool]:
        """Return the turn that a request asks for, and whether to stream it. Raises InvalidRequestError."""
        return self._ask(posted)
