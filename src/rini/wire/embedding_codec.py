"""What an embedding format's codec offers: as rini.wire.codec.Codec, for requests that are answered with vectors."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from rini.canon import EmbeddingReply, EmbeddingRequest, Failure, VectorEncoding


class EmbeddingCodec(Protocol):
    """One wire format for embeddings."""

    name: str

    def path(self, model: str) -> str:
        """Return the path of the call below the provider's base address, with a leading slash."""
        ...

    def encode_request(self, request: EmbeddingRequest) -> bytes:
        """Return the body that asks a provider for ``request``. Raises UnsupportedError."""
        ...

    def decode_reply(self, body: bytes) -> EmbeddingReply:
        """Return the answer in ``body``, its vectors in order, none of them empty and all numbers finite. Raises MalformedError."""
        ...

    def decode_beside(self, body: bytes) -> EmbeddingReply:
        """Return what the answer in ``body`` tells beside its vectors, which are left unread; nothing where it cannot be read. Never raises."""
        ...

    def decode_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Return what an answer with an error ``status`` says; ``headers`` have lower-case names. Never raises."""
        ...

    def decode_request(self, body: bytes, *, model: str | None = None) -> EmbeddingRequest:
        """Return the request in ``body``; ``model`` is given where the URL holds it.

        Raises MalformedError, and UnsupportedError for inputs that are neither texts nor tokens.
        """
        ...

    def encode_reply(self, reply: EmbeddingReply, encoding: VectorEncoding = "float") -> Iterator[bytes]:
        """Return ``reply`` as an answer's body, in pieces: it can be large."""
        ...

    def encode_failure(self, failure: Failure) -> tuple[int, bytes]:
        """Return the HTTP status and the error body that this wire format's SDK expects for ``failure``."""
        ...
