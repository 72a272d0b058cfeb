"""OpenAI's responses: POST /v1/responses. Nothing is stored: a conversation is sent whole."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Scope

from rini.api.dialects.dialect import NO_HEADERS, Asked, changed
from rini.api.lean import decode_body
from rini.canon import Failure, Reply
from rini.errors import InvalidRequestError, UnsupportedParameterError
from rini.inference.outgoing import Outgoing
from rini.providers.capabilities import known_of
from rini.wire.codec import Codec, StreamEncoder
from rini.wire.openai_responses import OPENAI_RESPONSES
from rini.wire.openai_responses.failure import error_event
from rini.wire.openai_responses.fields import encode
from rini.wire.openai_responses.output import MADE_THINKING

REASONING = "reasoning.encrypted_content"
_MADE_THINKING = f'"{MADE_THINKING}'.encode()


class _Head(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: Any = None
    conversation: Any = None
    include: list[str] | None = None


_head = msgspec.json.Decoder(_Head)


class OpenAIResponses:
    """The dialect."""

    codec: Codec = OPENAI_RESPONSES
    request_id: bytes | None = None

    def read(self, scope: Scope, body: bytes) -> Asked:  # noqa: ARG002  # the body says it all
        """Return what is asked. Raises InvalidRequestError, UnsupportedParameterError for what needs stored answers."""
        head = decode_body(_head, body)
        if not head.model:
            raise InvalidRequestError("model: is missing; name one as provider/model.")
        for name in ("previous_response_id", "conversation", "background"):
            if getattr(head, name):
                raise UnsupportedParameterError(
                    f"{name}: responses are not stored here; leave it out and send the whole conversation as input.",
                    parameter=name,
                )
        if head.store:
            raise UnsupportedParameterError(
                "store: responses are not stored here; leave it out, or send false.", parameter="store"
            )
        return Asked(name=head.model, stream=head.stream is True, body=body)

    def passed(self, asked: Asked, provider: str, model: str) -> bytes | None:
        """Return the body as OpenAI gets it; None for what must be translated.

        Where the client did not say whether to store the answer, it is not stored with OpenAI either; then the thoughts of a model
        that reasons must come along encrypted, as nobody could refer to them. Thoughts that another provider's model had are no
        items of OpenAI's: they must be left out.
        """
        if provider != "openai" or _MADE_THINKING in asked.body:
            return None
        head = decode_body(_head, asked.body)
        changes: dict[str, Any] = {}
        if asked.name != model:
            changes["model"] = model
        if head.store is None:
            changes["store"] = False
            include = head.include or []
            if known_of(provider, model).capabilities.thinking and REASONING not in include:
                changes["include"] = [*include, REASONING]
        return changed(asked.body, **changes) if changes else asked.body

    def headers(self, scope: Scope) -> Mapping[str, str]:  # noqa: ARG002
        """Return none: organisation and project belong to a key, and the key is the user's stored one."""
        return NO_HEADERS

    def reply(self, reply: Reply, outgoing: Outgoing) -> bytes:
        """Return a whole answer, which repeats much of its request."""
        return OPENAI_RESPONSES.encode_reply(reply, request=outgoing.request)

    def encoder(self, asked: Asked, outgoing: Outgoing) -> StreamEncoder:  # noqa: ARG002
        """Return the encoder of a streamed one."""
        return OPENAI_RESPONSES.stream_encoder(request=outgoing.request)

    def broken_off(self, failure: Failure) -> bytes:
        """Return what ends a stream of OpenAI's own bytes that broke off: an error, and no response that nobody asked for."""
        return b"event: error\ndata: %b\n\n" % encode(error_event(failure, 0))
