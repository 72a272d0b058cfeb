"""A dialect's endpoint that asks a model, whole and streamed."""

import asyncio

import msgspec
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.allowed import only_allowed
from rini.api.credentials import current_caller
from rini.api.dialects.answer import content_type_of, head, request_id_in
from rini.api.dialects.dialect import JSON, Asked, Dialect
from rini.api.dialects.openai_stored import StoredAnswers
from rini.api.dialects.sessions import InSession, session_in
from rini.api.dialects.stream import DialectStream
from rini.api.lean import ClientLeftError, read_body, while_connected
from rini.canon.proofs import unproven
from rini.errors import RiniError, ShuttingDownError
from rini.kit.draining import process as draining
from rini.models.naming import ModelNames
from rini.turns.turn import Turns
from rini.turns.values import Answer, Ask, Given
from rini.wire import logprobs

STATELESS = InSession()


class DialectEndpoint:
    """Answers requests of one dialect."""

    def __init__(
        self, dialect: Dialect, turns: Turns, access: Access, names: ModelNames, stored: StoredAnswers | None = None
    ) -> None:
        self._dialect = dialect
        self._stored = stored
        self._turns = turns
        self._access = access
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises RiniError before it began to."""
        caller = await current_caller(scope, self._access)
        try:
            asked = self._dialect.read(scope, await read_body(receive))
            name = await self._names.resolve(caller.user_id, asked.name)
            caller.check_model(name.provider, name.model)
            if caller.models is not None:
                asked = msgspec.structs.replace(asked, body=only_allowed(caller, name, asked.body))
            session = session_in(scope)
            if asked.stores and self._stored is not None:
                asked = await self._stored.placed(caller.user_id, name, asked, session)
            session = asked.session or session or STATELESS
            ask = Ask(
                user_id=caller.user_id,
                provider=name.provider,
                model=name.model,
                messages=(),
                endpoint=scope["route"].path_format,
                request_id=scope.get("rini.request_id"),
                session_id=session.session_id,
                new_session=session.new_session,
                parent_message_id=session.parent_message_id,
                if_busy=session.if_busy,
                context_policy=session.context_policy,
                response=asked.stored,
                background=asked.background,
                given=Given(
                    codec=self._dialect.codec,
                    body=asked.body,
                    stream=asked.stream or asked.background,
                    passes=self._dialect.passed(asked, name.provider, name.model),
                    headers=self._dialect.headers(scope),
                    instructions=asked.instructions,
                ),
            )
            headers = request_id_in(self._dialect.request_id, scope)
            if asked.background and self._stored is not None:
                loaded = await while_connected(receive, lambda: self._turns.background.start(ask))
                await self._stored.behind(asked, caller.user_id, loaded.answer_id, receive, send)
            elif asked.stream:
                stream = DialectStream(send, self._dialect, asked, headers)
                await while_connected(receive, lambda: self._stream(ask, stream))
            else:
                answer = await while_connected(receive, lambda: self._whole(ask))
                await self._send(asked, answer, send, headers)
        except ClientLeftError:
            return

    async def _whole(self, ask: Ask) -> Answer:
        try:
            return await self._turns.take(ask)
        except asyncio.CancelledError:
            if draining.over:
                raise ShuttingDownError from None
            raise

    async def _send(self, asked: Asked, answer: Answer, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        begun = answer.begun
        outgoing = begun.outgoing
        kind = JSON
        if outgoing.passes:
            assert answer.body is not None
            body = answer.body
            kind = content_type_of(begun.headers)
        else:
            reply, wire = answer.reply, self._dialect.codec.name
            if outgoing.wire != wire or asked.hides_proofs:
                reply = unproven(reply)
            if outgoing.wire != wire and logprobs.are_wanted(outgoing.request, outgoing.wire, wire):
                reply = logprobs.translated(reply, outgoing.wire, wire)
            body = self._dialect.reply(asked, reply, begun)
        await send({"type": "http.response.start", "status": 200, "headers": head(begun, kind, headers, len(body))})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, ask: Ask, stream: DialectStream) -> None:
        try:
            await self._turns.take(ask, stream)
        except RiniError as error:
            if not stream.begun:
                raise
            await stream.error(error)
        except asyncio.CancelledError:
            if not draining.over:
                raise
            if not stream.begun:
                raise ShuttingDownError from None
            await stream.error(ShuttingDownError())
        else:
            await stream.done()
        finally:
            stream.close()
