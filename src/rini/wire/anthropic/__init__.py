"""Anthropic's Messages API (``POST /v1/messages``): the codec, both ways.

The rules come from the official SDK's types and from platform.claude.com/docs, as of November 2026. The base address of a
provider holds no version.
"""

from collections.abc import Mapping
from typing import Final

from rini.canon import Failure, Reply, Request
from rini.wire.anthropic.failure import decode_failure, encode_failure
from rini.wire.anthropic.fields import WIRE
from rini.wire.anthropic.options import DEFAULT_MAX_TOKENS
from rini.wire.anthropic.outline import decode_outline
from rini.wire.anthropic.reply import decode_reply, encode_reply
from rini.wire.anthropic.request_decoder import decode_request
from rini.wire.anthropic.request_encoder import encode_request
from rini.wire.anthropic.stream_decoder import MessageStreamDecoder
from rini.wire.anthropic.stream_encoder import MessageStreamEncoder
from rini.wire.codec import Codec, EncodedRequest, MalformedError, StreamDecoder, StreamEncoder

__all__ = ["ANTHROPIC", "DEFAULT_MAX_TOKENS", "AnthropicCodec"]


class AnthropicCodec:
    """The Messages API as a Codec."""

    name = WIRE
    envelope = WIRE

    def path(self, model: str, *, stream: bool) -> str:  # noqa: ARG002  (the body holds both)
        """Return ``/v1/messages``."""
        return "/v1/messages"

    def encode_request(self, request: Request) -> EncodedRequest:
        """Return the body that asks for ``request``. Raises UnsupportedError."""
        try:
            return encode_request(request)
        except RecursionError as error:
            raise MalformedError(_TOO_DEEP) from error

    def decode_reply(self, body: bytes) -> Reply:
        """Return the whole answer in ``body``. Raises MalformedError."""
        try:
            return decode_reply(body)
        except RecursionError as error:
            raise MalformedError(_TOO_DEEP) from error

    def decode_outline(self, body: bytes) -> Reply:
        """Return the answer in ``body`` without its parts. Raises MalformedError."""
        return decode_outline(body)

    def stream_decoder(self) -> StreamDecoder:
        """Return a decoder for one streamed answer."""
        return MessageStreamDecoder()

    def decode_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Return what an answer with an error ``status`` says. Never raises."""
        return decode_failure(status, headers, body)

    def decode_request(self, body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
        """Return the request in ``body``. Raises MalformedError."""
        try:
            return decode_request(body, model=model, stream=stream)
        except RecursionError as error:
            raise MalformedError(_TOO_DEEP) from error

    def encode_reply(self, reply: Reply) -> bytes:
        """Return ``reply`` as a whole answer's body."""
        return encode_reply(reply)

    def stream_encoder(self, *, include_usage: bool = True) -> StreamEncoder:  # noqa: ARG002  (the SDK demands usage)
        """Return an encoder for one streamed answer, which always tells the usage."""
        return MessageStreamEncoder()

    def encode_failure(self, failure: Failure) -> tuple[int, bytes]:
        """Return the HTTP status and the error body for ``failure``."""
        return encode_failure(failure)


_TOO_DEEP = "The JSON is nested too deeply."

ANTHROPIC: Final[Codec] = AnthropicCodec()
