"""Gemini's generateContent and streamGenerateContent (Gemini API v1beta and Vertex AI, which share the format)."""

from collections.abc import Mapping
from urllib.parse import quote

from rini.canon import Failure, Reply, Request
from rini.wire.codec import EncodedRequest, StreamDecoder, StreamEncoder
from rini.wire.gemini.failure import decode_failure, encode_failure
from rini.wire.gemini.fields import WIRE
from rini.wire.gemini.reply import decode_reply, encode_reply
from rini.wire.gemini.request_decode import decode_request
from rini.wire.gemini.request_encode import encode_request
from rini.wire.gemini.stream_decode import GeminiStreamDecoder
from rini.wire.gemini.stream_encode import GeminiStreamEncoder

__all__ = ["GEMINI", "GeminiCodec"]


class GeminiCodec:
    """The codec. See ``rini.wire.codec.Codec`` for what each method promises."""

    name = WIRE
    envelope = WIRE

    def path(self, model: str, *, stream: bool) -> str:
        """Return the path and query of the call. ``models/x`` and ``tunedModels/x`` are taken as they are."""
        collection, _, name = model.partition("/")
        if collection not in ("models", "tunedModels") or not name:
            collection, name = "models", model
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/{collection}/{quote(name, safe='')}:{method}"

    def encode_request(self, request: Request) -> EncodedRequest:
        """Return the body that asks for ``request``. Raises UnsupportedError."""
        return encode_request(request)

    def decode_reply(self, body: bytes) -> Reply:
        """Return the whole answer in ``body``. Raises MalformedError."""
        return decode_reply(body)

    def decode_outline(self, body: bytes) -> Reply:
        """Return the answer in ``body``: its finish reasons are told from its parts. Raises MalformedError."""
        return decode_reply(body)

    def stream_decoder(self) -> StreamDecoder:
        """Return a decoder for one streamed answer, server-sent events or a JSON array."""
        return GeminiStreamDecoder()

    def decode_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Return what an answer with an error ``status`` says. Never raises."""
        return decode_failure(status, headers, body)

    def decode_request(self, body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
        """Return the request in ``body``; ``model`` and ``stream`` are those of its URL. Raises MalformedError."""
        return decode_request(body, model, stream=bool(stream))

    def encode_reply(self, reply: Reply) -> bytes:
        """Return ``reply`` as a whole answer's body."""
        return encode_reply(reply)

    def stream_encoder(self, *, include_usage: bool = True, json_array: bool = False) -> StreamEncoder:
        """Return an encoder for one streamed answer: server-sent events, or one JSON array as without ``alt=sse``."""
        return GeminiStreamEncoder(include_usage=include_usage, json_array=json_array)

    def encode_failure(self, failure: Failure) -> tuple[int, bytes]:
        """Return the HTTP status and the error body for ``failure``."""
        return encode_failure(failure)


GEMINI = GeminiCodec()
