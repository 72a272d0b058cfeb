"""A request in a client's own wire format, on its way to the provider: as it came, or translated."""

import msgspec

from rini.canon import Image, Request
from rini.errors import InvalidRequestError, UnsupportedParameterError
from rini.inference.outgoing import Outgoing
from rini.inference.target import Target
from rini.providers.vision import image_limits
from rini.turns.values import Given
from rini.wire.codec import MalformedError


def as_it_came(target: Target, model: str, given: Given) -> Outgoing | None:
    """Return the client's own bytes; None where the provider speaks another format, or something has to change."""
    if given.passes is None or target.codec.name != given.codec.name:
        return None
    return Outgoing.passed(target, model, given.passes, stream=given.stream, headers=given.headers)


def read(target: Target, model: str, given: Given) -> Request:
    """Return the request in canon, for the model that is asked. Raises InvalidRequestError, UnsupportedParameterError, NoVisionError."""
    try:
        request = given.codec.decode_request(given.body, model=model, stream=given.stream)
    except MalformedError as error:
        raise InvalidRequestError(str(error)) from None
    if request.tools and not target.tools:
        raise UnsupportedParameterError(
            f"tools: the model '{model}' calls no tools; leave them out, or ask another model.",
            parameter="tools",
            provider=target.provider.name,
        )
    if any(type(part) is Image for message in request.messages for part in message.parts):
        image_limits(target.provider.name, model)
    return msgspec.structs.replace(request, model=model, stream=given.stream)


def left_headers(given: Given) -> list[str]:
    """Return the names of the client's headers that ask for more than its format has; the format's version says nothing."""
    return [f"headers.{name}" for name in given.headers if not name.endswith("-version")]
