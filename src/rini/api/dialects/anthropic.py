"""Anthropic's messages: POST /v1/messages."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Scope

from rini.api.dialects.dialect import Asked, changed, failed
from rini.api.lean import decode_body
from rini.canon import Failure, Reply
from rini.errors import InvalidRequestError, NoThreadsError
from rini.providers.catalog import PROVIDERS
from rini.turns.values import Begun
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import Codec, StreamEncoder

# Thoughts of another provider's model: Anthropic refuses them, so that they must be left out.
_UNSIGNED = re.compile(rb'"signature"\s*:\s*""')
_PASSED_ON = frozenset((b"anthropic-beta", b"anthropic-version"))


class _Head(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None


class _Held(msgspec.Struct):
    thread: Any = None


_head = msgspec.json.Decoder(_Head)
_held = msgspec.json.Decoder(_Held)


class AnthropicMessages:
    """The dialect."""

    codec: Codec = ANTHROPIC
    request_id: bytes | None = b"request-id"

    def read(self, scope: Scope, body: bytes) -> Asked:  # noqa: ARG002  # the body says it all
        """Return what is asked. Raises InvalidRequestError."""
        head = decode_body(_head, body)
        if not head.model:
            raise InvalidRequestError("model: is missing; name one as provider/model.")
        return Asked(name=head.model, stream=head.stream is True, body=body)

    def passed(self, asked: Asked, provider: str, model: str) -> bytes | None:
        """Return the body as Anthropic gets it; None for what must be translated. Raises NoThreadsError."""
        if PROVIDERS[provider].codec.name != self.codec.name:
            if b'"thread"' in asked.body and decode_body(_held, asked.body).thread is not None:
                raise NoThreadsError(
                    "thread: only Anthropic holds conversations; leave it out and send the whole conversation.",
                    provider=provider,
                )
            return None
        if _UNSIGNED.search(asked.body):
            return None
        return asked.body if asked.name == model else changed(asked.body, model=model)

    def headers(self, scope: Scope) -> Mapping[str, str]:
        """Return the format's version and its beta features."""
        found: dict[str, str] = {}
        for name, value in scope["headers"]:
            if name in _PASSED_ON:
                key, text = name.decode(), value.decode("latin-1")
                found[key] = f"{found[key]}, {text}" if key in found else text
        return found

    def reply(self, asked: Asked, reply: Reply, begun: Begun) -> bytes:  # noqa: ARG002
        """Return a whole answer."""
        return self.codec.encode_reply(reply)

    def encoder(self, asked: Asked, begun: Begun) -> StreamEncoder:  # noqa: ARG002
        """Return the encoder of a streamed one."""
        return self.codec.stream_encoder()

    def broken_off(self, failure: Failure) -> bytes:
        """Return what ends a stream of a provider's own bytes that broke off."""
        return failed(self.codec, failure)
