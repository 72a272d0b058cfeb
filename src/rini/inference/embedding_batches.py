"""Embedding by a provider: as many requests as it needs, side by side, each answer's vectors put in their places."""

import asyncio
from collections.abc import Sequence

import msgspec

from rini.canon import EmbeddingReply, EmbeddingRequest, Vector
from rini.errors import EmbeddingInputError, ProviderError, UnsupportedParameterError
from rini.inference.call import post
from rini.inference.embedding_work import Spent
from rini.inference.estimate import text_tokens
from rini.inference.meter import plausible
from rini.inference.target import Target
from rini.kit.http import Response, Transport
from rini.providers.catalog import EmbeddingCall
from rini.providers.embedding_failures import is_too_long, is_too_much, place
from rini.providers.failures import malformed_error
from rini.wire.codec import MalformedError, UnsupportedError

SIDE_BY_SIDE = 8
"""The most batches of one request that a provider is sent at the same time."""

_DECODED_APART_BYTES = 256 * 1024
"""A larger answer is decoded in a thread, so that others are served meanwhile; one at a time, or they wait for all of them."""


class ProviderWork:
    """One request for embeddings on its way to a provider. See EmbeddingWork. ``decoding`` is the process's, for large answers."""

    def __init__(
        self,
        target: Target,
        call: EmbeddingCall,
        request: EmbeddingRequest,
        transport: Transport,
        decoding: asyncio.Lock,
    ) -> None:
        self.target = target
        self.model: str | None = None
        self.answer: Response | None = None
        self.answered = False
        self._call = call
        self._request = request
        self._transport = transport
        self._decoding = decoding
        self._sizes = [text_tokens(text) if isinstance(text, str) else len(text) for text in request.inputs]
        self._batches = cut(self._sizes, call.most_inputs, call.most_tokens)
        self._found: dict[int, Vector] = {}
        self._under_way: set[range] = set()
        self._tokens = 0
        self._estimated = False

    @property
    def vectors(self) -> list[Vector]:
        """The vectors, in the order of the inputs."""
        return [self._found[index] for index in range(len(self._found))]

    @property
    def size(self) -> int:
        """About how many tokens the inputs have."""
        return sum(self._sizes)

    @property
    def in_one(self) -> bool:
        """Whether one request does."""
        return len(self._batches) == 1

    async def run(self) -> None:
        """Send the batches. When one fails the others are cancelled. Raises RiniError."""
        batches = iter(self._batches)

        async def one_after_another() -> None:
            for batch in batches:
                await self._embed(batch)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(SIDE_BY_SIDE, len(self._sizes))):
                    group.create_task(one_after_another())
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
        else:
            return
        raise first

    def spent(self, *, broke_off: bool) -> Spent:
        """Return the tokens of the batches that were answered, and of those that were under way when it ``broke_off``."""
        cut_off = sum(self._size(batch) for batch in self._under_way) if broke_off else 0
        return Spent(self._tokens + cut_off, estimated=self._estimated or cut_off > 0)

    async def _embed(self, batch: range) -> None:
        """Have one batch embedded; in two halves where the provider finds it too much. Raises RiniError."""
        request = msgspec.structs.replace(self._request, inputs=self._request.inputs[batch.start : batch.stop])
        codec, model = self._call.codec, request.model
        try:
            body = codec.encode_request(request)
        except UnsupportedError as error:
            name = self.target.provider.name
            raise UnsupportedParameterError(str(error), parameter=error.field, provider=name) from error
        self._under_way.add(batch)
        try:
            response = await post(self._transport, self.target, codec.path(model), body, model)
        except ProviderError as error:
            self._under_way.discard(batch)
            if is_too_long(error) or (len(batch) == 1 and is_too_much(error)):
                raise self._too_long(error, batch) from error
            if not is_too_much(error):
                raise
        else:
            await self._take(batch, response.body)
            return
        middle = batch.start + len(batch) // 2
        await self._embed(range(batch.start, middle))
        await self._embed(range(middle, batch.stop))

    async def _take(self, batch: range, body: bytes) -> None:
        """Put the vectors of an answer in their places. Raises ProviderMalformedError."""
        try:
            reply = await self._decoded(body)
        except MalformedError as error:
            raise malformed_error(str(error), self.target.provider) from error
        finally:
            # Whatever it holds, it was answered: it has cost.
            self.answered = True
        self._under_way.discard(batch)
        self._count(batch, reply)
        self._check(batch, reply)
        self.model = self.model or reply.model
        self._found.update(zip(batch, reply.vectors, strict=True))

    async def _decoded(self, body: bytes) -> EmbeddingReply:
        decode = self._call.codec.decode_reply
        if len(body) <= _DECODED_APART_BYTES:
            return decode(body)
        async with self._decoding:
            return await asyncio.to_thread(decode, body)

    def _count(self, batch: range, reply: EmbeddingReply) -> None:
        told = plausible(reply.usage).input_tokens if reply.usage else None
        if not told:
            self._estimated = True
        self._tokens += told or self._size(batch)

    def _check(self, batch: range, reply: EmbeddingReply) -> None:
        if len(reply.vectors) != len(batch):
            raise self._malformed(f"{len(reply.vectors)} embeddings of {len(batch)} texts.")
        wanted = self._request.dimensions or len(next(iter(self._found.values()), reply.vectors[0]))
        for vector in reply.vectors:
            if len(vector) != wanted:
                raise self._malformed(f"an embedding has {len(vector)} numbers and not {wanted}.")

    def _malformed(self, reason: str) -> ProviderError:
        return malformed_error(reason, self.target.provider)

    def _size(self, batch: range) -> int:
        return sum(self._sizes[batch.start : batch.stop])

    def _too_long(self, error: ProviderError, batch: range) -> EmbeddingInputError:
        """Return the error that names the text that is too long: the one that the provider names, else the longest."""
        told = place(error)
        index = batch[told] if told is not None and told < len(batch) else max(batch, key=self._sizes.__getitem__)
        message = error.fields.get("provider_message")
        return EmbeddingInputError(
            f"input[{index}]: is too long for the model '{self._request.model}': it has about {self._sizes[index]} tokens."
            + (f" {self.target.provider.label} says: {message}" if message else ""),
            index=index,
            estimated_tokens=self._sizes[index],
            provider=self.target.provider.name,
            provider_status=error.fields.get("provider_status"),
            provider_message=message,
        )


def cut(sizes: Sequence[int], most_inputs: int, most_tokens: int | None) -> list[range]:
    """Return the batches of inputs of these sizes, as ranges of places; an input larger than ``most_tokens`` is one by itself."""
    batches: list[range] = []
    start = tokens = 0
    for index, size in enumerate(sizes):
        full = index - start == most_inputs or (most_tokens is not None and tokens + size > most_tokens)
        if full and index > start:
            batches.append(range(start, index))
            start, tokens = index, 0
        tokens += size
    batches.append(range(start, len(sizes)))
    return batches
