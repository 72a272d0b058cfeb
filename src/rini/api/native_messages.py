"""/messages/{message_id}/regenerate, /edit and /compare: more answers to a stored question, and the question in other words."""

import asyncio
from collections.abc import Callable

import msgspec
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api import native_shown
from rini.api.credentials import current_caller
from rini.api.lean import ClientLeftError, decode_body, message_id_in, send_json, while_connected
from rini.api.native import TurnEndpoint, check_allowed, posted
from rini.api.native_asks import Posted, call_parameters, checked
from rini.api.native_follow import Follower
from rini.api.native_schemas import (
    Compared,
    ComparedModel,
    CompareRequest,
    CompareResponse,
    EditRequest,
    RegenerateRequest,
)
from rini.api.native_stream import EventWriter, NativeStream
from rini.api.problems import problem_document
from rini.canon import Message, Part, Text
from rini.db import AnyRow, Database
from rini.errors import InvalidRequestError, RiniError, ShuttingDownError
from rini.kit.draining import process as draining
from rini.providers.catalog import provider_named
from rini.responses.items import is_deleted
from rini.sessions.questions import Asked, question_of
from rini.turns.turn import Turns
from rini.turns.values import Ask, StoredFile

REGENERATE = "/messages/{message_id}/regenerate"
EDIT = "/messages/{message_id}/edit"
COMPARE = "/messages/{message_id}/compare"

_encode = msgspec.json.Encoder(decimal_format="string").encode
_regenerate = msgspec.json.Decoder(RegenerateRequest)
_edit = msgspec.json.Decoder(EditRequest)
_compare = msgspec.json.Decoder(CompareRequest)
_parts = msgspec.json.Decoder(tuple[Part, ...])

MakeAsk = Callable[[Posted, Asked], tuple[Ask, bool]]


class MessageEndpoint(TurnEndpoint):
    """An endpoint that asks about a stored message: ``make`` makes a turn of the request and what is stored."""

    def __init__(self, turns: Turns, access: Access, follower: Follower, database: Database, make: MakeAsk) -> None:
        super().__init__(turns, access, follower, native_shown.text_completion)
        self._database = database
        self._make = make

    async def asked(self, posted: Posted) -> tuple[Ask, bool]:
        """Return the turn that is asked for below or beside the message of the path. Raises NotFoundError, InvalidRequestError."""
        found = await self._database.read(question_of, posted.user_id, message_id_in(posted.path_params))
        return self._make(posted, found)


def regenerate(posted: Posted, found: Asked) -> tuple[Ask, bool]:
    """Return the turn that answers a question once more. Raises InvalidRequestError."""
    asked = decode_body(_regenerate, posted.body or b"{}")
    return _ask(posted, found, asked, REGENERATE, answers=found.question.id, background=asked.background), asked.stream


def edit(posted: Posted, found: Asked) -> tuple[Ask, bool]:
    """Return the turn that asks a question in other words, beside the first one. Raises InvalidRequestError."""
    asked = decode_body(_edit, posted.body)
    before = found.question
    if before.role != "user":
        raise InvalidRequestError(f"The message {before.id} is no question: its role is '{before.role}', not 'user'.")
    file = None
    if before.file_reference is not None:
        file = StoredFile(before.file_reference, before.mime_type, before.original_filename)
    # What came by a dialect has its images and documents in the parts alone.
    kept = [part for part in _stored_parts(before) if not isinstance(part, Text) and not is_deleted(part)]
    parts = (*kept, Text(checked("text", asked.text)))
    ask = _ask(
        posted,
        found,
        asked,
        EDIT,
        messages=(Message("user", parts),),
        parent_message_id=before.parent_message_id,
        at_root=before.parent_message_id is None,
        file=file,
        background=asked.background,
    )
    return ask, asked.stream


class CompareEndpoint:
    """Asks several models at once. A model that fails does not keep the others from answering."""

    def __init__(self, turns: Turns, access: Access, database: Database) -> None:
        self._turns = turns
        self._access = access
        self._database = database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = await current_caller(scope, self._access)
        request_id: str | None = scope.get("rini.request_id")
        try:
            request = await posted(scope, receive, caller)
            compared = decode_body(_compare, request.body)
            found = await self._database.read(question_of, request.user_id, message_id_in(request.path_params))
            asks = [
                _ask(request, found, model, COMPARE, answers=found.question.id, moves_head=place == 0)
                for place, model in enumerate(compared.models)
            ]
            for ask in asks:
                check_allowed(caller, ask)
            if compared.stream:
                await while_connected(receive, lambda: self._stream(asks, send, request_id))
            else:
                answers = await while_connected(receive, lambda: self._all(asks, request_id))
                await send_json(send, 200, _encode(CompareResponse(answers=answers)))
        except ClientLeftError:
            return

    async def _all(self, asks: list[Ask], request_id: str | None) -> list[Compared]:
        return await asyncio.gather(*[self._one(ask, request_id, None) for ask in asks])

    async def _stream(self, asks: list[Ask], send: Send, request_id: str | None) -> None:
        writer = EventWriter(send)
        streams = [NativeStream(writer, ask.model, number) for number, ask in enumerate(asks)]
        each = zip(asks, streams, strict=True)
        try:
            await writer.open()
            await asyncio.gather(*[self._one(ask, request_id, stream) for ask, stream in each])
            await writer.write(writer.event("end", b"{}"), last=True)
        finally:
            writer.close()

    async def _one(self, ask: Ask, request_id: str | None, stream: NativeStream | None) -> Compared:
        compared = Compared(provider=ask.provider, model=ask.model, answer=None, error=None)
        try:
            answer = await self._turns.take(ask, stream)
        except RiniError as error:
            await _fail(compared, error, request_id, stream)
        except asyncio.CancelledError:
            if not draining.over:
                raise
            await _fail(compared, ShuttingDownError(), request_id, stream)
        else:
            compared.answer = native_shown.text_completion(answer)
            if stream is not None:
                await stream.done(_encode(compared.answer), native_shown.usage(answer.records))
        return compared


async def _fail(compared: Compared, error: RiniError, request_id: str | None, stream: NativeStream | None) -> None:
    compared.error = problem_document(error, request_id)
    if stream is not None:
        await stream.error(error, request_id)


def _ask(
    posted: Posted,
    found: Asked,
    asked: RegenerateRequest | EditRequest | ComparedModel,
    endpoint: str,
    **changes: object,
) -> Ask:
    provider, model = asked.provider or found.provider, asked.model or found.model
    if asked.provider is not None and asked.model is None and asked.provider != found.provider:
        raise InvalidRequestError("model: is missing; another provider has other models.")
    if provider is None or model is None:
        raise InvalidRequestError("provider: is missing, and model; it is not known who answered here.")
    params, tool_choice = call_parameters(asked.llm_params)
    ask = Ask(
        user_id=posted.user_id,
        provider=provider_named(provider).name,
        model=checked("model", model),
        messages=(),
        endpoint=endpoint,
        session_id=found.question.session_id,
        params=params,
        tool_choice=tool_choice,
        key_id=asked.api_key_id,
        request_id=posted.request_id,
    )
    return msgspec.structs.replace(ask, **changes)


def _stored_parts(row: AnyRow) -> tuple[Part, ...]:
    return _parts.decode(row.parts) if row.parts else ()
