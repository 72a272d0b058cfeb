"""/llm/embeddings/: texts in, vectors out."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.credentials import current_caller
from rini.api.lean import (
    JSON_HEADERS,
    ClientLeftError,
    decode_body,
    read_body,
    while_connected,
)
from rini.api.native_schemas import Id, ModelName, ProviderField
from rini.errors import EmbeddingInputError, InvalidRequestError, ShuttingDownError
from rini.inference.embed import MOST_DIMENSIONS, MOST_INPUTS, Embedded, EmbeddingAsk, Embeddings
from rini.kit.draining import process as draining
from rini.kit.text import storable
from rini.usage.usage_record import UsageRecord
from rini.wire.vectors import gathered, vector_as_json

PATH = "/llm/embeddings/"

Input = Annotated[
    msgspec.Raw,
    Meta(
        description=f"A text, or a list of 1 to {MOST_INPUTS} texts. None of them may be empty.",
        extra_json_schema={
            "oneOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1},
                    "minItems": 1,
                    "maxItems": MOST_INPUTS,
                },
            ]
        },
    ),
]
"""Not read with the rest: the texts are counted first."""


class EmbeddingsRequest(msgspec.Struct, kw_only=True):
    """What to embed. ``dimensions`` shortens the vectors, where the model can do that."""

    input: Input
    provider: ProviderField = "openai"
    model: ModelName = "text-embedding-3-large"
    dimensions: Annotated[int, Meta(ge=1, le=MOST_DIMENSIONS)] | None = None
    api_key_id: Id | None = None


class EmbeddingShown(msgspec.Struct, kw_only=True):
    """The vector of the text at ``index`` of the input."""

    embedding: list[float]
    index: int


class EmbeddingsUsage(msgspec.Struct, kw_only=True):
    """What the call used. ``estimated``: not all of it was counted; ``cost_usd`` is null when unpriced."""

    prompt_tokens: int
    total_tokens: int
    estimated: bool
    cost_usd: str | None


class EmbeddingsResponse(msgspec.Struct, kw_only=True):
    """The vectors, in the order of the input."""

    data: list[EmbeddingShown]
    model: str
    usage: EmbeddingsUsage | None = None


_request = msgspec.json.Decoder(EmbeddingsRequest)
_text = msgspec.json.Decoder(str)
_texts = msgspec.json.Decoder(list[str])
_encode = msgspec.json.Encoder().encode
_PLACE = re.compile(r" - at `\$\[(\d+)\]")


class EmbeddingsEndpoint:
    """The endpoint."""

    def __init__(self, embeddings: Embeddings, access: Access) -> None:
        self._embeddings = embeddings
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = await current_caller(scope, self._access)
        request_id: str | None = scope.get("rini.request_id")
        try:
            ask = embedding_ask(caller.user_id, request_id, await read_body(receive))
            caller.check_model(ask.provider, ask.model)
            await while_connected(receive, lambda: self._answer(ask, send))
        except ClientLeftError:
            return

    async def _answer(self, ask: EmbeddingAsk, send: Send) -> None:
        try:
            embedded = await self._embeddings.embed(ask)
        except asyncio.CancelledError:
            if draining.over:
                raise ShuttingDownError from None
            raise
        await send_pieces(send, gathered(_shown(embedded)))


def embedding_ask(user_id: int, request_id: str | None, body: bytes) -> EmbeddingAsk:
    """Return what a body of /llm/embeddings/ asks for. Raises InvalidRequestError, EmbeddingInputError."""
    asked = decode_body(_request, body)
    try:
        model = storable(asked.model)
    except ValueError as error:
        raise InvalidRequestError(f"model: {error}.") from None
    return EmbeddingAsk(
        user_id=user_id,
        provider=asked.provider,
        model=model,
        inputs=_inputs(bytes(asked.input)),
        endpoint=PATH,
        dimensions=asked.dimensions,
        key_id=asked.api_key_id,
        request_id=request_id,
    )


def _inputs(raw: bytes) -> tuple[str, ...]:
    """Return the texts of a JSON text or list of texts."""
    if raw.startswith(b'"'):
        return (_text.decode(raw),)
    if not raw.startswith(b"["):
        raise InvalidRequestError("input: must be a text or a list of texts.")
    # Each text has an opening quote, which no backslash precedes, and may have a closing one that looks the same. So this many
    # are too many, without a look at each.
    if raw.count(b'"') - raw.count(b'\\"') > 2 * MOST_INPUTS:
        raise InvalidRequestError(f"input: must not have more than {MOST_INPUTS} texts; send them in several requests.")
    try:
        return tuple(_texts.decode(raw))
    except msgspec.ValidationError as error:
        found = _PLACE.search(str(error))
        index = int(found[1]) if found else 0
        raise EmbeddingInputError(f"input[{index}]: must be a text.", index=index) from None


def _shown(embedded: Embedded) -> Iterator[bytes]:
    """Return the answer's document in pieces; each vector is let go once it is written."""
    yield b'{"data":['
    vectors = embedded.vectors
    vectors.reverse()
    index = 0
    while vectors:
        yield b'%s{"embedding":' % (b"," if index else b"")
        yield vector_as_json(vectors.pop())
        yield b',"index":%d}' % index
        index += 1
    yield b'],"model":%s,"usage":%s}' % (_encode(embedded.model), _encode(_usage(embedded.record)))


def _usage(record: UsageRecord) -> EmbeddingsUsage:
    tokens = record.input_tokens or 0
    return EmbeddingsUsage(
        prompt_tokens=tokens,
        total_tokens=tokens,
        estimated=record.usage_estimated,
        cost_usd=None if record.cost_usd is None else f"{record.cost_usd.normalize():f}",
    )


async def send_pieces(send: Send, pieces: Iterator[bytes], headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send a JSON answer piece by piece, and let others be served in between."""
    piece = next(pieces)
    following = next(pieces, None)
    head = [JSON_HEADERS, *headers]
    if following is None:
        head.append((b"content-length", b"%d" % len(piece)))
    await send({"type": "http.response.start", "status": 200, "headers": head})
    while following is not None:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)
        piece, following = following, next(pieces, None)
    await send({"type": "http.response.body", "body": piece})
