"""Embeddings: texts in, vectors out, in as many requests as the provider needs, booked as one call."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from rini.canon import EmbeddingInput, EmbeddingRequest, Extras, Reply, Usage, Vector
from rini.errors import (
    EmbeddingInputError,
    InvalidRequestError,
    LocalModelError,
    ModelNotFoundError,
    NoEmbeddingsError,
    RiniError,
    UnsupportedParameterError,
)
from rini.inference.embedding_batches import ProviderWork
from rini.inference.embedding_passed import GivenEmbeddings, PassedWork
from rini.inference.embedding_work import EmbeddingWork, LocalWork
from rini.inference.estimate import text_tokens
from rini.inference.meter import Meter
from rini.inference.target import Router, Target
from rini.kit.draining import process as draining
from rini.kit.http import Response, Transport
from rini.providers.catalog import PROVIDERS
from rini.providers.local import (
    EMBEDDING_DIMENSIONS,
    EMBEDDING_MODEL_ID,
    LocalEmbedder,
    LocalModelUnavailableError,
)
from rini.usage.ledger import Ledger
from rini.usage.prices import Prices
from rini.usage.usage_record import Outcome, UsageRecord

MOST_INPUTS = 8192
"""The most texts of one request."""

MOST_DIMENSIONS = 16_384
"""More than any model makes."""

MOST_TEXT_BYTES = 1024 * 1024
"""The most UTF-8 bytes of one text: no embedding model reads as many."""


class EmbeddingAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What a user wants embedded, and by whom. ``endpoint`` is the path as the ledger names it.

    ``given`` is the client's own request, where the provider takes it as it came: it is sent if one request does.
    """

    user_id: int
    provider: str
    model: str
    inputs: tuple[EmbeddingInput, ...]
    endpoint: str
    dimensions: int | None = None
    key_id: int | None = None
    request_id: str | None = None
    extras: Extras | None = None
    given: GivenEmbeddings | None = None


class Embedded(msgspec.Struct, frozen=True):
    """The vectors, in the order of the inputs, the model that made them, and the call's row in the ledger.

    Where a client's own request was sent there is the provider's ``answer`` in place of the vectors.
    """

    vectors: list[Vector]
    model: str
    record: UsageRecord
    answer: Response | None = None


class Embeddings:
    """Makes embeddings. One for each process; ``local`` is None where the model in the box is switched off."""

    def __init__(
        self, router: Router, transport: Transport, ledger: Ledger, prices: Prices, local: LocalEmbedder | None
    ) -> None:
        self._router = router
        self._transport = transport
        self._ledger = ledger
        self._prices = prices
        self._local = local
        self._decoding = asyncio.Lock()
        self._booking: set[asyncio.Task[Any]] = set()

    async def embed(self, ask: EmbeddingAsk) -> Embedded:
        """Return the vectors of all inputs, booked.

        Raises RiniError, EmbeddingInputError among them. When the caller is cancelled, so are the provider's calls, at once, and what
        they may have cost is booked.
        """
        work = await self._begin(ask)
        meter = Meter(
            self._prices,
            work.target,
            ask.model,
            user_id=ask.user_id,
            endpoint=ask.endpoint,
            stream=False,
            request_id=ask.request_id,
            operation="embeddings",
        )
        try:
            await work.run()
        except RiniError as error:
            await asyncio.shield(self._book(meter, work, "provider_failed" if work.answered else "refused", error))
            raise
        except asyncio.CancelledError:
            self._book(meter, work, "interrupted" if draining.over else "client_left")
            raise
        except Exception:
            # A fault of this server's own: it is told as what it is, and what the provider did is booked.
            await asyncio.shield(self._book(meter, work, "interrupted"))
            raise
        record = await asyncio.shield(self._book(meter, work, "complete"))
        return Embedded(work.vectors, work.model or ask.model, record, work.answer)

    async def close(self) -> None:
        """Wait until all that broke off is booked."""
        while self._booking:
            await asyncio.wait(self._booking)

    async def _begin(self, ask: EmbeddingAsk) -> EmbeddingWork:
        given = ask.given
        if given is None or not given.uncuttable:
            check_inputs(ask.inputs)
        if ask.dimensions is not None and not 1 <= ask.dimensions <= MOST_DIMENSIONS:
            raise InvalidRequestError(f"dimensions: must be between 1 and {MOST_DIMENSIONS}.")
        provider = PROVIDERS.get(ask.provider)
        if provider is not None and provider.address == "local":
            return await self._begin_local(ask, Target(provider, provider.codec, "", {}, None, trusted=True))
        if provider is not None and provider.embedding is None:
            others = ", ".join(each.name for each in PROVIDERS.values() if each.embedding is not None)
            raise NoEmbeddingsError(
                f"{provider.label} has no embeddings; use one of {others}, or local, which needs no key."
            )
        target = await self._router.target(ask.user_id, ask.provider, ask.model, ask.key_id)
        call = target.provider.embedding
        assert call is not None
        request = EmbeddingRequest(ask.model, ask.inputs, ask.dimensions, call.encoding, ask.extras)
        work = ProviderWork(target, call, request, self._transport, self._decoding)
        if given is not None and (given.uncuttable or work.in_one):
            return PassedWork(target, given, request, work, self._transport)
        return work

    async def _begin_local(self, ask: EmbeddingAsk, target: Target) -> EmbeddingWork:
        name = target.provider.name
        if self._local is None:
            raise LocalModelError("The models in the box are switched off (RINI_LOCAL_MODEL=off).")
        if ask.model != EMBEDDING_MODEL_ID:
            raise ModelNotFoundError(
                f"The embedding model in the box is '{EMBEDDING_MODEL_ID}'; there is no '{ask.model}'.",
                provider=name,
                model=ask.model,
            )
        if ask.dimensions not in (None, EMBEDDING_DIMENSIONS):
            raise UnsupportedParameterError(
                f"dimensions: '{EMBEDDING_MODEL_ID}' has {EMBEDDING_DIMENSIONS}; leave it out.",
                parameter="dimensions",
                provider=name,
            )
        texts = [text for text in ask.inputs if isinstance(text, str)]
        if len(texts) < len(ask.inputs):
            raise UnsupportedParameterError(
                "input: the model in the box takes texts, not tokens.", parameter="input", provider=name
            )
        try:
            await self._local.load()
        except LocalModelUnavailableError as error:
            raise LocalModelError(str(error)) from None
        return LocalWork(target, texts, self._local)

    def _book(
        self, meter: Meter, work: EmbeddingWork, outcome: Outcome, error: RiniError | None = None
    ) -> asyncio.Task[UsageRecord]:
        """Book in a task of its own: a client that leaves meanwhile does not end it."""
        spent = work.spent(broke_off=outcome in ("provider_failed", "client_left", "interrupted"))
        usage = None
        if outcome != "refused":
            meter.record.usage_estimated = spent.estimated
            usage = spent.usage or _usage_of_text(spent.tokens)
        record = meter.book(outcome, usage, Reply(model=work.model), error)
        task = asyncio.create_task(self._record(record))
        self._booking.add(task)
        task.add_done_callback(self._booking.discard)
        return task

    async def _record(self, record: UsageRecord) -> UsageRecord:
        await self._ledger.record(record)
        return record


def check_inputs(inputs: Sequence[EmbeddingInput]) -> None:
    """Raise EmbeddingInputError or InvalidRequestError for what no provider embeds."""
    if not inputs:
        raise InvalidRequestError("input: is an empty list; give at least one text.")
    if len(inputs) > MOST_INPUTS:
        raise InvalidRequestError(f"input: must not have more than {MOST_INPUTS} texts; send them in several requests.")
    for index, text in enumerate(inputs):
        if not text:
            raise EmbeddingInputError(f"input[{index}]: is empty, and has no embedding; leave it out.", index=index)
        if isinstance(text, str) and len(text) * 4 > MOST_TEXT_BYTES and len(text.encode()) > MOST_TEXT_BYTES:
            raise EmbeddingInputError(
                f"input[{index}]: is too long: it has {len(text.encode())} bytes, and no model embeds more than {MOST_TEXT_BYTES}.",
                index=index,
                estimated_tokens=text_tokens(text),
            )


def _usage_of_text(tokens: int) -> Usage:
    """Return the usage of a call that read nothing but text; a model that charges images apart wants to know (see usage/rates)."""
    details = [{"modality": "TEXT", "tokenCount": tokens}]
    return Usage(input_tokens=tokens, output_tokens=0, extras={"gemini": {"promptTokensDetails": details}})
