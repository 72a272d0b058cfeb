"""Embedding by a provider whose format the client speaks: the client's own request, and the provider's own answer."""

import asyncio

import msgspec

from rini.canon import EmbeddingReply, EmbeddingRequest, Vector
from rini.errors import ProviderError
from rini.inference.call import post
from rini.inference.embedding_batches import ProviderWork
from rini.inference.embedding_work import Spent
from rini.inference.meter import plausible
from rini.inference.target import Target
from rini.kit.http import Response, Transport
from rini.providers.embedding_failures import is_too_much
from rini.wire.embedding_codec import EmbeddingCodec

_READ_APART_BYTES = 1024 * 1024
"""A larger answer is looked through in a thread, so that others are served meanwhile."""


class GivenEmbeddings(msgspec.Struct, frozen=True, kw_only=True):
    """A client's own request, as a provider of its format gets it.

    ``uncuttable`` says that canon cannot hold it, so that it goes whole or not at all; ``tokens`` is then about how many it has.
    """

    codec: EmbeddingCodec
    body: bytes
    uncuttable: bool = False
    tokens: int = 0


class PassedWork:
    """One request that goes as it came. See EmbeddingWork.

    Where the provider finds it too much, ``otherwise`` makes the vectors, in several requests.
    """

    def __init__(
        self,
        target: Target,
        given: GivenEmbeddings,
        request: EmbeddingRequest,
        otherwise: ProviderWork,
        transport: Transport,
    ) -> None:
        self.target = target
        self.answer: Response | None = None
        self._given = given
        self._request = request
        self._otherwise = otherwise
        self._transport = transport
        self._told = EmbeddingReply(())
        self._cut = False

    @property
    def vectors(self) -> list[Vector]:
        """The vectors, where the provider's answer is not the client's."""
        return self._otherwise.vectors if self._cut else []

    @property
    def model(self) -> str | None:
        """The model that answered, as it calls itself."""
        return self._otherwise.model if self._cut else self._told.model

    @property
    def answered(self) -> bool:
        """Whether something of the answer came."""
        return self._otherwise.answered if self._cut else self.answer is not None

    async def run(self) -> None:
        """Send the request. Raises RiniError."""
        codec, model = self._given.codec, self._request.model
        try:
            answer = await post(self._transport, self.target, codec.path(model), self._given.body, model)
        except ProviderError as error:
            if self._given.uncuttable or len(self._request.inputs) == 1 or not is_too_much(error):
                raise
            self._cut = True
            await self._otherwise.run()
            return
        self.answer = answer
        if len(answer.body) <= _READ_APART_BYTES:
            self._told = codec.decode_beside(answer.body)
        else:
            self._told = await asyncio.to_thread(codec.decode_beside, answer.body)

    def spent(self, *, broke_off: bool) -> Spent:
        """Return the tokens that the provider told, or about as many as the request has."""
        if self._cut:
            return self._otherwise.spent(broke_off=broke_off)
        usage = plausible(self._told.usage) if self._told.usage is not None else None
        if usage is not None and usage.input_tokens:
            # Its split by modality is what a price may depend on.
            detailed = msgspec.structs.replace(usage, output_tokens=0) if usage.extras else None
            return Spent(usage.input_tokens, estimated=False, usage=detailed)
        return Spent(self._given.tokens or self._otherwise.size, estimated=True)
