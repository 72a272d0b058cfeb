"""What a wire format's codec offers, and the two ways in which it declines.

A codec is stateless; a stream's state lives in the decoder or encoder that it hands out. As a client Rini calls
``encode_request``, ``decode_reply``, ``stream_decoder`` and ``decode_failure``; as a server the others. The scripted
providers of the tests and the load simulator are the same codec turned round.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from rini.canon import Event, Failure, Reply, Request


class MalformedError(ValueError):
    """The bytes are not what the wire format allows. The message is one sentence and quotes no content."""


class UnsupportedError(ValueError):
    """The wire format has no equivalent for something that changes what the request means.

    ``field`` is the path of it in canon's terms (``top_k``, ``messages[2].parts[0]``).
    """

    def __init__(self, wire: str, field: str, why: str) -> None:
        super().__init__(f"{wire} has no equivalent for {field}: {why}.")
        self.wire = wire
        self.field = field


class EncodedRequest(msgspec.Struct, frozen=True):
    """A request's JSON body, and the canon fields that were left out because they do not change its meaning."""

    body: bytes
    dropped: tuple[str, ...] = ()


class StreamDecoder(Protocol):
    """Turns the bytes of one streamed answer into events. The bytes may be cut anywhere."""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes. Raises MalformedError."""
        ...

    def close(self) -> list[Event]:
        """Return what the end of the bytes completes.

        Raises MalformedError when the stream ended before it was finished (no finish reason, no error).
        """
        ...


class StreamEncoder(Protocol):
    """Turns events into the bytes of one streamed answer."""

    def feed(self, event: Event) -> bytes:
        """Return the bytes that ``event`` adds; ``b""`` when it waits for another one."""
        ...

    def close(self) -> bytes:
        """Return the bytes that end the stream."""
        ...


class Codec(Protocol):
    """One wire format. ``envelope`` is what its failures name as theirs: formats whose errors look the same share it."""

    name: str
    envelope: str

    def path(self, model: str, *, stream: bool) -> str:
        """Return the path and query of the call below the provider's base address, with a leading slash."""
        ...

    def encode_request(self, request: Request) -> EncodedRequest:
        """Return the body that asks a provider for ``request``. Raises UnsupportedError."""
        ...

    def decode_reply(self, body: bytes) -> Reply:
        """Return the whole answer in ``body``. Raises MalformedError."""
        ...

    def decode_outline(self, body: bytes) -> Reply:
        """Return a whole answer's usage, ids and finish reasons; its parts may be left out. Raises MalformedError."""
        ...

    def stream_decoder(self) -> StreamDecoder:
        """Return a decoder for one streamed answer."""
        ...

    def decode_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Return what a provider's answer with an error ``status`` says; ``headers`` have lower-case names. Never raises."""
        ...

    def decode_request(self, body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
        """Return the request in ``body``; ``model`` and ``stream`` are given where the URL holds them. Raises MalformedError."""
        ...

    def encode_reply(self, reply: Reply) -> bytes:
        """Return ``reply`` as a whole answer's body."""
        ...

    def stream_encoder(self, *, include_usage: bool = True) -> StreamEncoder:
        """Return an encoder for one streamed answer."""
        ...

    def encode_failure(self, failure: Failure) -> tuple[int, bytes]:
        """Return the HTTP status and the error body that this wire format's SDK expects for ``failure``."""
        ...
