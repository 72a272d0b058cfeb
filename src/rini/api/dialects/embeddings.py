"""Embeddings in a dialect.

OpenAI's POST /v1/embeddings, Gemini's POST /v1beta/models/{model}:embedContent and :batchEmbedContents.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Protocol, cast

import msgspec
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.allowed import only_allowed
from rini.api.credentials import current_caller
from rini.api.dialects.answer import ESTIMATED, content_type_of, names_of_dropped, passed_on
from rini.api.dialects.dialect import changed
from rini.api.dialects.gemini_names import check_same_model, resource
from rini.api.embeddings import send_pieces
from rini.api.lean import ClientLeftError, decode_body, read_body, while_connected
from rini.canon import EmbeddingReply, EmbeddingRequest, Usage, VectorEncoding, extras_of
from rini.errors import InvalidRequestError, ShuttingDownError, UnsupportedParameterError
from rini.inference.embed import Embedded, EmbeddingAsk, Embeddings
from rini.inference.embedding_passed import GivenEmbeddings
from rini.inference.estimate import text_tokens
from rini.kit.draining import process as draining
from rini.models.naming import ModelName, ModelNames
from rini.providers.catalog import PROVIDERS
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.embedding_codec import EmbeddingCodec
from rini.wire.gemini_embeddings import GEMINI_EMBEDDING, GEMINI_EMBEDDINGS
from rini.wire.openai_embeddings import OPENAI_EMBEDDINGS


class EmbeddingDialect(Protocol):
    """One dialect's call."""

    codec: EmbeddingCodec

    def name(self, scope: Scope, body: bytes) -> str:
        """Return the model's name as the client wrote it. Raises InvalidRequestError."""
        ...

    def passed(self, body: bytes, named: str, model: str) -> bytes:
        """Return the body as a provider of the same format gets it: as it came, but for the name of the ``model``."""
        ...


class _Head(msgspec.Struct):
    model: str | None = None


class OpenAIEmbedding:
    """OpenAI's."""

    codec: EmbeddingCodec = OPENAI_EMBEDDINGS

    def name(self, scope: Scope, body: bytes) -> str:  # noqa: ARG002  # the body says it all
        """Return the model's name. Raises InvalidRequestError."""
        head = decode_body(_head, body)
        if not head.model:
            raise InvalidRequestError("model: is missing; name one as provider/model.")
        return head.model

    def passed(self, body: bytes, named: str, model: str) -> bytes:
        """Return the body as OpenAI gets it."""
        return body if named == model else changed(body, model=model)


class _EmbedContent(msgspec.Struct):
    model: str | None = None


class _BatchEmbedContents(msgspec.Struct):
    requests: list[_EmbedContent] = []


class _Requests(msgspec.Struct):
    requests: list[dict[str, msgspec.Raw]] = []


class GeminiEmbedding:
    """Gemini's: one content, or with ``batch`` a list of them."""

    def __init__(self, *, batch: bool) -> None:
        self._batch = batch
        self.codec: EmbeddingCodec = GEMINI_EMBEDDINGS if batch else GEMINI_EMBEDDING

    def name(self, scope: Scope, body: bytes) -> str:
        """Return the model's name, which is that of the address and of all requests. Raises InvalidRequestError."""
        named: str = scope["path_params"]["model"]
        if self._batch:
            requests = decode_body(_many, body).requests
            if not requests:
                raise InvalidRequestError("requests: must be a list of at least one request.")
            for at, each in enumerate(requests):
                check_same_model(named, each.model, f"requests[{at}].model")
        else:
            check_same_model(named, decode_body(_one, body).model, "model")
        return named

    def passed(self, body: bytes, named: str, model: str) -> bytes:  # noqa: ARG002  # each body says whether it has it
        """Return the body as Google gets it."""
        name = resource(model)
        if not self._batch:
            return body if _one.decode(body).model in (None, name) else changed(body, model=name)
        if all(each.model in (None, name) for each in _many.decode(body).requests):
            return body
        requests = [{**each, "model": name} for each in _requests.decode(body).requests]
        return changed(body, requests=requests)


_head = msgspec.json.Decoder(_Head)
_one = msgspec.json.Decoder(_EmbedContent)
_many = msgspec.json.Decoder(_BatchEmbedContents)
_requests = msgspec.json.Decoder(_Requests)
_any = msgspec.json.Decoder()


class EmbeddingEndpoint:
    """Answers one dialect's requests for embeddings."""

    def __init__(self, dialect: EmbeddingDialect, embeddings: Embeddings, access: Access, names: ModelNames) -> None:
        self._dialect = dialect
        self._embeddings = embeddings
        self._access = access
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises RiniError before it began to."""
        caller = await current_caller(scope, self._access)
        try:
            body = await read_body(receive)
            named = self._dialect.name(scope, body)
            name = await self._names.resolve(caller.user_id, named)
            caller.check_model(name.provider, name.model)
            body = only_allowed(caller, name, body)
            request, given = self._read(body, named, name)
            ask = EmbeddingAsk(
                user_id=caller.user_id,
                provider=name.provider,
                model=name.model,
                inputs=request.inputs,
                endpoint=scope["route"].path_format,
                dimensions=request.dimensions,
                request_id=scope.get("rini.request_id"),
                extras=request.extras if given is not None else None,
                given=given,
            )
            dropped = () if given is not None else tuple(extras_of(request.extras, self._dialect.codec.name))
            embedded = await while_connected(receive, lambda: self._embed(ask))
            await self._send(embedded, request.encoding, dropped, send)
        except ClientLeftError:
            return

    def _read(self, body: bytes, named: str, name: ModelName) -> tuple[EmbeddingRequest, GivenEmbeddings | None]:
        """Return what is asked, and the client's own request where the provider speaks its format.

        What canon cannot hold such a provider may well take, and what is wrong it tells in its own words.
        """
        codec = self._dialect.codec
        call = PROVIDERS[name.provider].embedding
        given = None
        if call is not None and call.codec.name == codec.name:
            given = GivenEmbeddings(codec=codec, body=self._dialect.passed(body, named, name.model))
        try:
            return codec.decode_request(body, model=name.model), given
        except MalformedError as error:
            if given is None:
                raise InvalidRequestError(str(error)) from None
        except UnsupportedError as error:
            if given is None:
                raise UnsupportedParameterError(str(error), parameter=error.field, provider=name.provider) from None
        tokens = sum(map(text_tokens, _texts(decode_body(_any, body))))
        return EmbeddingRequest(name.model, ()), msgspec.structs.replace(given, uncuttable=True, tokens=tokens)

    async def _embed(self, ask: EmbeddingAsk) -> Embedded:
        try:
            return await self._embeddings.embed(ask)
        except asyncio.CancelledError:
            if draining.over:
                raise ShuttingDownError from None
            raise

    async def _send(self, embedded: Embedded, encoding: VectorEncoding, dropped: tuple[str, ...], send: Send) -> None:
        answer = embedded.answer
        if answer is not None:
            kind = content_type_of(answer.headers)
            headers = [(b"content-type", kind), (b"content-length", b"%d" % len(answer.body))]
            headers += passed_on(answer.headers)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body})
            return
        record = embedded.record
        headers = [names_of_dropped(dropped)] if dropped else []
        if record.usage_estimated:
            headers.append(ESTIMATED)
        usage = Usage(input_tokens=record.input_tokens or 0, output_tokens=0)
        reply = EmbeddingReply(tuple(embedded.vectors), embedded.model, usage)
        await send_pieces(send, self._dialect.codec.encode_reply(reply, encoding), headers)


def _texts(value: Any) -> Iterator[str]:
    """Return all that is called a text in a request."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, list):
            left += cast("list[Any]", each)
        elif isinstance(each, dict):
            for name, inner in cast("dict[str, Any]", each).items():
                if name != "text":
                    left.append(inner)
                elif isinstance(inner, str):
                    yield inner
