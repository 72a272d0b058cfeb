"""What sets one dialect apart from the others: how it is read, and how its answers look."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from starlette.types import Scope

from rini.api.dialects.sessions import InSession
from rini.api.lean import decode_body
from rini.canon import Failure, Reply, StreamFailure
from rini.responses.repository import Record
from rini.turns.values import Begun
from rini.wire.codec import Codec, StreamEncoder

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"

NO_HEADERS: Mapping[str, str] = {}

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a request before it is known who answers it. ``name`` is the model's, as the client wrote it.

    ``hides_usage`` says that the client did not ask for the usage in the stream, ``json_array`` that it wants an array in place of
    server-sent events. ``session`` is the one that the body names, where the dialect has such.

    ``stores`` says that the answer becomes a stored response, ``stored`` is what is kept of its request then, ``instructions`` how many
    of its messages are this turn's alone, ``hides_proofs`` that the client did not ask for encrypted thoughts, ``background`` that the answer
    does not end with its client.
    """

    name: str
    stream: bool
    body: bytes
    hides_usage: bool = False
    json_array: bool = False
    session: InSession | None = None
    stores: bool = False
    stored: Record | None = None
    instructions: int | None = None
    hides_proofs: bool = False
    background: bool = False


class Dialect(Protocol):
    """One dialect. ``request_id`` is the header in which its SDK looks for the request's id, beside x-request-id."""

    codec: Codec
    request_id: bytes | None

    def read(self, scope: Scope, body: bytes) -> Asked:
        """Return what is asked. Raises InvalidRequestError."""
        ...

    def passed(self, asked: Asked, provider: str, model: str) -> bytes | None:
        """Return the body as a provider of the same format gets it: as it came, but for the model's name and what the ledger needs.

        None where something has to be translated.
        """
        ...

    def headers(self, scope: Scope) -> Mapping[str, str]:
        """Return the request's headers that belong to the format and go on to a provider of the same one."""
        ...

    def reply(self, asked: Asked, reply: Reply, begun: Begun) -> bytes:
        """Return a whole answer of another format's provider."""
        ...

    def encoder(self, asked: Asked, begun: Begun) -> StreamEncoder:
        """Return the encoder of a streamed one."""
        ...

    def broken_off(self, failure: Failure) -> bytes:
        """Return what ends a stream of a provider's own bytes that broke off."""
        ...


def failed(codec: Codec, failure: Failure) -> bytes:
    """Return a stream that holds nothing but a failure."""
    encoder = codec.stream_encoder()
    return encoder.feed(StreamFailure(failure)) + encoder.close()


def changed(body: bytes, **fields: Any) -> bytes:
    """Return a JSON object with some of its fields set anew, and all others as they were written."""
    return _encode({**decode_body(_fields, body), **fields})
