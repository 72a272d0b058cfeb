"""OpenAI's responses, the format of ``POST /v1/responses``.

The reference is OpenAI's specification of August 2026 and its SDK 3.54. The base address of a provider ends in /v1.
"""

from collections.abc import Mapping

from rini.canon import Failure, Reply, Request
from rini.wire.codec import EncodedRequest, MalformedError, UnsupportedError
from rini.wire.openai_chat.failure import decode_failure, encode_failure
from rini.wire.openai_responses.fields import NAME
from rini.wire.openai_responses.reply import StoredAs, decode_reply, encode_reply
from rini.wire.openai_responses.request import decode_request, encode_request
from rini.wire.openai_responses.stream_decoder import ResponseStreamDecoder
from rini.wire.openai_responses.stream_encoder import ResponseStreamEncoder

__all__ = ["OPENAI_RESPONSES", "ResponseStreamDecoder", "ResponseStreamEncoder", "ResponsesCodec"]


class ResponsesCodec:
    """The codec. See rini.wire.codec.Codec.

    An answer repeats much of its request (tools, instructions, temperature and more): ``encode_reply`` and ``stream_encoder``
    take the request for that. Errors have the envelope of chat completions, and the Failure names that wire format.
    """

    name = NAME
    envelope = "openai_chat"

    def path(self, model: str, *, stream: bool) -> str:  # noqa: ARG002 - the body holds both
        """Return the path below the base address, which ends in /v1."""
        return "/responses"

    def encode_request(self, request: Request) -> EncodedRequest:
        """Return the body that asks for ``request``. Raises UnsupportedError."""
        try:
            return encode_request(request)
        except RecursionError as error:
            raise UnsupportedError(NAME, "extras", _TOO_DEEP) from error

    def decode_reply(self, body: bytes) -> Reply:
        """Return the whole answer in ``body``. Raises MalformedError."""
        return decode_reply(body)

    def decode_outline(self, body: bytes) -> Reply:
        """Return the answer in ``body``: its finish reason is told from its parts. Raises MalformedError."""
        return decode_reply(body)

    def stream_decoder(self) -> ResponseStreamDecoder:
        """Return a decoder for one streamed answer."""
        return ResponseStreamDecoder()

    def decode_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Return what a provider's answer with an error ``status`` says. Never raises."""
        return decode_failure(status, headers, body)

    def decode_request(self, body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
        """Return the request in ``body``. Raises MalformedError."""
        try:
            return decode_request(body, model=model, stream=stream)
        except RecursionError as error:
            raise MalformedError(f"The request cannot be read: {_TOO_DEEP}.") from error

    def encode_reply(self, reply: Reply, *, request: Request | None = None, stored: StoredAs | None = None) -> bytes:
        """Return ``reply`` as a whole answer's body, which repeats of ``request`` what such an answer does.

        One that is ``stored`` repeats what that says, and has no other ids than made ones.
        """
        return encode_reply(reply, request, stored)

    def stream_encoder(
        self,
        *,
        include_usage: bool = True,  # noqa: ARG002 - the last event always has it
        request: Request | None = None,
        stored: StoredAs | None = None,
    ) -> ResponseStreamEncoder:
        """Return an encoder for one streamed answer, which repeats its request as a whole one does."""
        return ResponseStreamEncoder(request, stored)

    def encode_failure(self, failure: Failure) -> tuple[int, bytes]:
        """Return the HTTP status and the error body that OpenAI's SDK expects for ``failure``."""
        return encode_failure(failure)


_TOO_DEEP = "it is nested too deeply"

OPENAI_RESPONSES = ResponsesCodec()
