"""Gemini's generateContent: POST /v1beta/models/{model}:generateContent and :streamGenerateContent."""

from collections.abc import Mapping
from urllib.parse import parse_qs

import msgspec
from starlette.types import Scope

from rini.api.dialects.dialect import NO_HEADERS, Asked, changed, failed
from rini.api.lean import decode_body
from rini.canon import Failure, Reply
from rini.providers.catalog import PROVIDERS
from rini.turns.values import Begun
from rini.wire.codec import Codec, StreamEncoder
from rini.wire.gemini import GeminiCodec


class _Head(msgspec.Struct):
    model: str | None = None


_head = msgspec.json.Decoder(_Head)


class Gemini:
    """The dialect, for ``stream`` or whole answers: the path says which."""

    request_id: bytes | None = None

    def __init__(self, *, stream: bool) -> None:
        self._stream = stream
        self._gemini = GeminiCodec()
        self.codec: Codec = self._gemini

    def read(self, scope: Scope, body: bytes) -> Asked:
        """Return what is asked. Raises InvalidRequestError."""
        decode_body(_head, body)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        array = self._stream and "sse" not in query.get("alt", [])
        return Asked(name=scope["path_params"]["model"], stream=self._stream, body=body, json_array=array)

    def passed(self, asked: Asked, provider: str, model: str) -> bytes | None:
        """Return the body as Google gets it; None for what must be translated."""
        if PROVIDERS[provider].codec.name != self.codec.name or asked.json_array:
            return None
        body = asked.body
        if b'"model"' in body:  # mostly as a role
            named = _head.decode(body).model
            if named is not None and named.removeprefix("models/") != model:
                return changed(body, model=f"models/{model}")
        return body

    def headers(self, scope: Scope) -> Mapping[str, str]:  # noqa: ARG002
        """Return none."""
        return NO_HEADERS

    def reply(self, asked: Asked, reply: Reply, begun: Begun) -> bytes:  # noqa: ARG002
        """Return a whole answer."""
        return self.codec.encode_reply(reply)

    def encoder(self, asked: Asked, begun: Begun) -> StreamEncoder:  # noqa: ARG002
        """Return the encoder of a streamed one: server-sent events, or an array where the client did not ask for these."""
        return self._gemini.stream_encoder(json_array=asked.json_array)

    def broken_off(self, failure: Failure) -> bytes:
        """Return what ends a stream of a provider's own bytes that broke off."""
        return failed(self.codec, failure)
