"""A request in a client's own wire format, on its way to the provider: as it came, or translated."""

import msgspec

from rini.canon import Message, Request, ToolResult
from rini.inference import translation
from rini.inference.outgoing import Outgoing
from rini.inference.target import Target
from rini.turns.values import Given


def as_it_came(target: Target, model: str, given: Given) -> Outgoing | None:
    """Return the client's own bytes; None where the provider speaks another format, or something has to change."""
    if given.passes is None or target.codec.name != given.codec.name:
        return None
    return Outgoing.passed(target, model, given.passes, stream=given.stream, headers=given.headers)


def read(target: Target, model: str, given: Given) -> Request:
    """Return the request in canon, for the model that is asked. Raises InvalidRequestError, UnsupportedParameterError, NoVisionError."""
    request = translation.read(
        target, model, lambda: given.codec.decode_request(given.body, model=model, stream=given.stream)
    )
    return msgspec.structs.replace(request, model=model, stream=given.stream)


def instructions_apart(
    messages: tuple[Message, ...], count: int | None = None
) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Return the instructions with which a request begins, and the messages that follow.

    So many they are as ``count`` says; None: all system and developer messages.
    """
    if count is not None:
        return messages[:count], messages[count:]
    for place, message in enumerate(messages):
        if message.role not in ("system", "developer"):
            return messages[:place], messages[place:]
    return messages, ()


def results_apart(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return messages in which the results of tools stand in messages of their own, as OpenAI's formats have them.

    Anthropic and Google have them in the user's, before what he says.
    """
    found: list[Message] = []
    for message in messages:
        parts = message.parts
        count = next((place for place, part in enumerate(parts) if not isinstance(part, ToolResult)), len(parts))
        if message.role != "user" or not count:
            found.append(message)
        elif count == len(parts):
            found.append(msgspec.structs.replace(message, role="tool"))
        else:
            found.append(Message("tool", parts[:count]))
            found.append(msgspec.structs.replace(message, parts=parts[count:]))
    return tuple(found)


def left_headers(given: Given) -> list[str]:
    """Return the names of the client's headers that ask for more than its format has; the format's version says nothing."""
    return [f"headers.{name}" for name in given.headers if not name.endswith("-version")]
