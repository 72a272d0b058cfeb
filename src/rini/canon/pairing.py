"""Results of tools that do not say which call they answer."""

import msgspec

from rini.canon.message import Message
from rini.canon.part import Part, ToolCall, ToolResult


def paired(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the messages with a call's id in every result that names its tool alone, as those of Google's SDK do.

    It answers the first call of its tool that is not answered before it. Where the call has no id either, the result stays as it is.
    """
    if all(type(part) is not ToolResult or part.call_id for message in messages for part in message.parts):
        return messages
    unanswered: list[ToolCall] = []
    found: list[Message] = []
    for message in messages:
        parts: list[Part] = []
        for part in message.parts:
            if type(part) is ToolCall:
                unanswered.append(part)
            elif type(part) is ToolResult:
                call = next((call for call in unanswered if _answers(part, call)), None)
                if call is not None:
                    unanswered.remove(call)
                    part = part if part.call_id else msgspec.structs.replace(part, call_id=call.id)  # noqa: PLW2901
            parts.append(part)
        found.append(msgspec.structs.replace(message, parts=tuple(parts)))
    return tuple(found)


def _answers(result: ToolResult, call: ToolCall) -> bool:
    return result.call_id == call.id if result.call_id else result.name in (None, call.name)
