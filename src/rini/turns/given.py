"""A request in a client's own wire format, on its way to the provider: as it came, or translated."""

import msgspec

from rini.canon import Message, Request, ToolCall, ToolResult
from rini.errors import InvalidRequestError
from rini.inference import translation
from rini.inference.outgoing import Outgoing
from rini.inference.target import Target
from rini.sessions.context import Path
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


def answering(messages: tuple[Message, ...], path: Path) -> tuple[Message, ...]:
    """Return messages whose results say which calls they answer: those that are made on the ``path``, or among them.

    Google's results need no id: the first call of the name that has no result yet is meant. Raises InvalidRequestError for a result of
    a call that nobody made.
    """
    if not any(type(part) is ToolResult for message in messages for part in message.parts):
        return messages
    made: set[str] = set()
    waiting: list[ToolCall] = []
    for message in path.messages:
        _follow(message, made, waiting)
    found: list[Message] = []
    for message in messages:
        parts = tuple([_naming(part, made, waiting) if type(part) is ToolResult else part for part in message.parts])
        found.append(message if parts == message.parts else msgspec.structs.replace(message, parts=parts))
        _follow(found[-1], made, waiting)
    return tuple(found)


def _naming(result: ToolResult, made: set[str], waiting: list[ToolCall]) -> ToolResult:
    if result.call_id:
        if result.call_id not in made:
            raise InvalidRequestError(
                f"The result of '{result.call_id[:100]}' answers no call: the model made none of this id."
            )
        return result
    for place, call in enumerate(waiting):
        if call.name == result.name:
            del waiting[place]
            return msgspec.structs.replace(result, call_id=call.id)
    raise InvalidRequestError(
        f"The result of '{(result.name or '')[:100]}' answers no call: none of this name waits for one."
    )


def _follow(message: Message, made: set[str], waiting: list[ToolCall]) -> None:
    """Take note of the calls that ``message`` makes and of those that it answers."""
    if message.role == "assistant":
        waiting[:] = [part for part in message.parts if type(part) is ToolCall]
        made.update([call.id for call in waiting])
        return
    answered = {part.call_id for part in message.parts if type(part) is ToolResult}
    if answered:
        waiting[:] = [call for call in waiting if call.id not in answered]


def left_headers(given: Given) -> list[str]:
    """Return the names of the client's headers that ask for more than its format has; the format's version says nothing."""
    return [f"headers.{name}" for name in given.headers if not name.endswith("-version")]
