"""OpenAI chat completions, of OpenAI itself and of the many servers that speak it too.

The reference is OpenAI's "Create chat completion", as typed in its SDK 3.54, with the extensions of compatible servers:
thoughts in ``reasoning_content`` or ``reasoning``, ``top_k``, ``video_url``, pictures in ``images``.
"""

from collections.abc import Mapping
from typing import Literal

from rini.canon import Failure, Reply, Request
from rini.wire.codec import EncodedRequest
from rini.wire.openai_chat.failure import decode_failure, encode_failure
from rini.wire.openai_chat.json_value import NAME
from rini.wire.openai_chat.outline import decode_outline
from rini.wire.openai_chat.reply import decode_reply, encode_reply
from rini.wire.openai_chat.request import decode_request, encode_request
from rini.wire.openai_chat.stream_decoder import ChatStreamDecoder
from rini.wire.openai_chat.stream_encoder import ChatStreamEncoder

__all__ = ["OPENAI_CHAT", "OPENAI_COMPATIBLE_CHAT", "ChatCodec", "ChatStreamDecoder", "ChatStreamEncoder"]


class ChatCodec:
    """The codec. See rini.wire.codec.Codec.

    ``limit_field`` tells who is on the other side. ``max_completion_tokens``: OpenAI, which is sent nothing that it is
    known to refuse. ``max_tokens``: a compatible server, which gets that name for the limit, ``system`` for ``developer``,
    and may be sent top_k and films.

    A streamed request asks for the usage (``stream_options.include_usage``) unless its extras say otherwise: so the bytes of a
    request that did not ask gain that field, and whether the client asked is read from the decoded request's extras.
    """

    name = NAME
    envelope = NAME

    def __init__(self, limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens") -> None:
        self.limit_field = limit_field

    def path(self, model: str, *, stream: bool) -> str:  # noqa: ARG002 - the body holds both
        """Return the path below the base address, which ends in /v1."""
        return "/chat/completions"

    def encode_request(self, request: Request) -> EncodedRequest:
        """Return the body that asks a provider for ``request``. Raises UnsupportedError."""
        return encode_request(request, self.limit_field)

    def decode_reply(self, body: bytes) -> Reply:
        """Return the whole answer in ``body``. Raises MalformedError."""
        return decode_reply(body)

    def decode_outline(self, body: bytes) -> Reply:
        """Return the answer in ``body`` without its parts. Raises MalformedError."""
        return decode_outline(body)

    def stream_decoder(self) -> ChatStreamDecoder:
        """Return a decoder for one streamed answer."""
        return ChatStreamDecoder()

    def decode_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Return what a provider's answer with an error ``status`` says. Never raises."""
        return decode_failure(status, headers, body)

    def decode_request(self, body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
        """Return the request in ``body``. Raises MalformedError."""
        return decode_request(body, self.limit_field, model=model, stream=stream)

    def encode_reply(self, reply: Reply) -> bytes:
        """Return ``reply`` as a whole answer's body."""
        return encode_reply(reply)

    def stream_encoder(self, *, include_usage: bool = True) -> ChatStreamEncoder:
        """Return an encoder for one streamed answer."""
        return ChatStreamEncoder(include_usage=include_usage)

    def encode_failure(self, failure: Failure) -> tuple[int, bytes]:
        """Return the HTTP status and the error body that OpenAI's SDK expects for ``failure``."""
        return encode_failure(failure)


OPENAI_CHAT = ChatCodec("max_completion_tokens")
OPENAI_COMPATIBLE_CHAT = ChatCodec("max_tokens")
