"""A request of a client's own format on its way to a provider of another one."""

from collections.abc import Callable

import msgspec

from rini.canon import Image, Request
from rini.canon.pairing import paired
from rini.errors import InvalidRequestError, UnsupportedParameterError
from rini.inference.target import Target
from rini.providers.equivalents import who_has
from rini.providers.vision import image_limits
from rini.wire.codec import EncodedRequest, MalformedError, UnsupportedError


def read(target: Target, model: str, decode: Callable[[], Request]) -> Request:
    """Return what ``decode`` reads.

    Raises InvalidRequestError, and UnsupportedParameterError or NoVisionError for what the target's model cannot do.
    """
    try:
        request = decode()
    except MalformedError as error:
        raise InvalidRequestError(str(error)) from None
    if request.tools and not target.tools:
        raise UnsupportedParameterError(
            f"tools: the model '{model}' calls no tools; leave them out, or ask another model.",
            parameter="tools",
            provider=target.provider.name,
        )
    if images_in(request):
        image_limits(target.provider.name, model)
    messages = paired(request.messages)
    return request if messages is request.messages else msgspec.structs.replace(request, messages=messages)


def written(target: Target, encode: Callable[[Request], EncodedRequest], request: Request) -> EncodedRequest:
    """Return what ``encode`` writes.

    Raises UnsupportedParameterError for what the format has no equivalent of, InvalidRequestError for what cannot be written as JSON.
    """
    try:
        return encode(request)
    except UnsupportedError as error:
        name = target.provider.name
        sentence = f"{error}{who_has(error.field, name)}"
        raise UnsupportedParameterError(sentence, parameter=error.field, provider=name) from error
    except (MalformedError, RecursionError) as error:
        # Read a moment ago, it is now a few levels deeper.
        raise InvalidRequestError("The request is nested too deeply to be written as JSON.") from error


def images_in(request: Request) -> int:
    """Return how many images the conversation has."""
    return sum(type(part) is Image for message in request.messages for part in message.parts)
