"""OpenAI's responses: POST /v1/responses. Where they are stored, rini.api.dialects.openai_state finds what they refer to."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Scope

from rini.api.dialects.dialect import NO_HEADERS, Asked, changed
from rini.api.lean import decode_body
from rini.canon import Failure, Reply
from rini.errors import InvalidRequestError
from rini.responses.ids import response_id
from rini.turns.values import Begun
from rini.wire.codec import Codec, StreamEncoder
from rini.wire.openai_responses import OPENAI_RESPONSES
from rini.wire.openai_responses.failure import error_event
from rini.wire.openai_responses.fields import encode
from rini.wire.openai_responses.output import MADE_THINKING
from rini.wire.openai_responses.reply import StoredAs

_MADE_THINKING = f'"{MADE_THINKING}'.encode()


class _Head(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: Any = None
    conversation: Any = None


_head = msgspec.json.Decoder(_Head)
_repeats = msgspec.json.Decoder(dict[str, Any])


class OpenAIResponses:
    """The dialect."""

    codec: Codec = OPENAI_RESPONSES
    request_id: bytes | None = None

    def read(self, scope: Scope, body: bytes) -> Asked:  # noqa: ARG002  # the body says it all
        """Return what is asked. Raises InvalidRequestError."""
        head = decode_body(_head, body)
        if not head.model:
            raise InvalidRequestError("model: is missing; name one as provider/model.")
        if head.background and head.store is False:
            raise InvalidRequestError("background: goes with a response that is stored; leave store out.")
        refers = head.previous_response_id is not None or head.conversation is not None
        stores = head.store is not False or refers
        return Asked(
            name=head.model, stream=head.stream is True, body=body, stores=stores, background=head.background is True
        )

    def passed(self, asked: Asked, provider: str, model: str) -> bytes | None:
        """Return the body as OpenAI gets it; None for what must be translated.

        So must a request whose answer is stored, as other messages go with it than it has. Thoughts that another provider's model
        had are no items of OpenAI's: they must be left out.
        """
        if provider != "openai" or asked.stored is not None or _MADE_THINKING in asked.body:
            return None
        return asked.body if asked.name == model else changed(asked.body, model=model)

    def headers(self, scope: Scope) -> Mapping[str, str]:  # noqa: ARG002
        """Return none: organisation and project belong to a key, and the key is the user's stored one."""
        return NO_HEADERS

    def reply(self, asked: Asked, reply: Reply, begun: Begun) -> bytes:
        """Return a whole answer, which repeats much of its request."""
        return OPENAI_RESPONSES.encode_reply(reply, request=begun.outgoing.request, stored=_stored(asked, begun))

    def encoder(self, asked: Asked, begun: Begun) -> StreamEncoder:
        """Return the encoder of a streamed one."""
        return OPENAI_RESPONSES.stream_encoder(request=begun.outgoing.request, stored=_stored(asked, begun))

    def broken_off(self, failure: Failure) -> bytes:
        """Return what ends a stream of OpenAI's own bytes that broke off: an error, and no response that nobody asked for."""
        return b"event: error\ndata: %b\n\n" % encode(error_event(failure, 0))


def _stored(asked: Asked, begun: Begun) -> StoredAs | None:
    """Return what a stored response says beside its model's answer; None where it is not stored."""
    if asked.stored is None or begun.loaded is None:
        return None
    repeats = _repeats.decode(asked.stored.request)
    return StoredAs(
        id=response_id(begun.loaded.answer_id), created=repeats["created_at"], model=asked.name, repeats=repeats
    )
