"""A request in a client's own wire format, on its way to the provider: as it came, or translated."""

import msgspec

from rini.canon import Request
from rini.errors import InvalidRequestError, UnsupportedParameterError
from rini.inference.outgoing import Outgoing
from rini.inference.target import Target
from rini.turns.values import Given
from rini.wire.codec import MalformedError


def as_it_came(target: Target, model: str, given: Given) -> Outgoing | None:
    """Return the client's own bytes; None where the provider speaks another format, or something has to change."""
    if given.passes is None or target.codec.name != given.codec.name:
        return None
    return Outgoing.passed(target, model, given.passes, stream=given.stream, headers=given.headers)


def translated(target: Target, model: str, given: Given) -> Outgoing:
    """Return the request in the target's format. Raises InvalidRequestError, UnsupportedParameterError."""
    request = read(given, model)
    if request.tools and not target.tools:
        raise UnsupportedParameterError(
            f"tools: the model '{model}' calls no tools; leave them out, or ask another model.",
            parameter="tools",
            provider=target.provider.name,
        )
    return Outgoing.of(target, request)


def read(given: Given, model: str) -> Request:
    """Return the request in canon, for the model that is asked. Raises InvalidRequestError."""
    try:
        request = given.codec.decode_request(given.body, model=model, stream=given.stream)
    except MalformedError as error:
        raise InvalidRequestError(str(error)) from None
    return msgspec.structs.replace(request, model=model, stream=given.stream)
