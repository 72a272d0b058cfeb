"""OpenAI's chat completions: POST /v1/chat/completions."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Scope

from rini.api.dialects.dialect import NO_HEADERS, Asked, changed, failed
from rini.api.lean import decode_body
from rini.canon import Failure, Reply
from rini.errors import InvalidRequestError
from rini.providers.catalog import PROVIDERS
from rini.turns.values import Begun
from rini.wire.codec import Codec, StreamEncoder
from rini.wire.openai_chat import OPENAI_CHAT

# What OpenAI itself takes and other servers of the format may not know.
_OF_OPENAI_ALONE = (b'"max_completion_tokens"', b'"developer"')


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Head(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


_head = msgspec.json.Decoder(_Head)


class OpenAIChat:
    """The dialect."""

    codec: Codec = OPENAI_CHAT
    request_id: bytes | None = None

    def read(self, scope: Scope, body: bytes) -> Asked:  # noqa: ARG002  # the body says it all
        """Return what is asked. Raises InvalidRequestError."""
        head = decode_body(_head, body)
        if not head.model:
            raise InvalidRequestError("model: is missing; name one as provider/model.")
        asks_usage = head.stream_options is not None and head.stream_options.include_usage is True
        stream = head.stream is True
        return Asked(name=head.model, stream=stream, body=body, hides_usage=stream and not asks_usage)

    def passed(self, asked: Asked, provider: str, model: str) -> bytes | None:
        """Return the body as OpenAI gets it, which is asked for the usage of a stream at any rate; None for what must be translated."""
        known = PROVIDERS[provider]
        if known.codec.name != self.codec.name or known.address == "local":
            return None
        body = asked.body
        if known.name != "openai" and any(word in body for word in _OF_OPENAI_ALONE):
            return None
        changes: dict[str, Any] = {}
        if asked.name != model:
            changes["model"] = model
        if asked.hides_usage:
            changes["stream_options"] = {"include_usage": True}
        return changed(body, **changes) if changes else body

    def headers(self, scope: Scope) -> Mapping[str, str]:  # noqa: ARG002
        """Return none: organisation and project belong to a key, and the key is the user's stored one."""
        return NO_HEADERS

    def reply(self, asked: Asked, reply: Reply, begun: Begun) -> bytes:  # noqa: ARG002
        """Return a whole answer."""
        return self.codec.encode_reply(reply)

    def encoder(self, asked: Asked, begun: Begun) -> StreamEncoder:  # noqa: ARG002
        """Return the encoder of a streamed one."""
        return self.codec.stream_encoder(include_usage=not asked.hides_usage)

    def broken_off(self, failure: Failure) -> bytes:
        """Return what ends a stream of a provider's own bytes that broke off."""
        return failed(self.codec, failure)
