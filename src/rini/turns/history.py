"""A conversation as every provider takes it: whatever one model wrote, each later question goes through, with another one too.

What a model wrote of tool calls is stored and shown as it is; here is what is changed on its way back to a model.
"""

import re
from typing import Any, cast

import msgspec

from rini.canon import Message, Opaque, Part, Text, Thinking, ToolCall, ToolResult
from rini.kit.depth import is_deeper
from rini.responses.items import is_deleted

INVALID_JSON = "INVALID_JSON"
"""Under this name arguments that are no JSON object go back to a model, as Anthropic's guide to fine-grained tool streaming has it."""

DEEPEST_ARGUMENTS = 64
LONGEST_INVALID = 10_000

# What OpenAI, Anthropic and Gemini take, see rini.tools.names; every tool that is offered has such a name.
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")
_object = msgspec.json.Decoder(dict[str, Any])


def takable(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return ``messages`` without calls that nobody answered, results of no call, thoughts that lead to nothing, and empty answers.

    Calls have names and arguments that every provider takes. The same messages give the same ones again, whatever follows them.
    """
    return tuple([message for _, message in taken(messages)])


def taken(messages: tuple[Message, ...]) -> list[tuple[int, Message]]:
    """Return the takable messages, each with its place among ``messages``."""
    found: list[tuple[int, Message]] = []
    results: set[str] = set()
    answers = False
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        parts = message.parts
        if len(parts) == 1 and type(parts[0]) is Text and not parts[0].text.isspace():  # as nearly all are
            kept = message
        elif message.role == "assistant":
            kept = _with(message, _said(parts, results))
        else:
            kept = _with(message, tuple([_plain(part) for part in parts if not is_deleted(part)]))
        if message.role == "assistant":
            results = set()
        else:
            named = [part.call_id for part in parts if type(part) is ToolResult]
            results.update(named)
            answers = answers or bool(named)
        if kept.parts:
            found.append((place, kept))
    found.reverse()
    return _answering(found) if answers else found


def _answering(found: list[tuple[int, Message]]) -> list[tuple[int, Message]]:
    """Return the messages without results of calls that are not there: a call may have been deleted, or never made."""
    kept: list[tuple[int, Message]] = []
    called: set[str] = set()
    for place, message in found:
        if message.role == "assistant":
            called = {part.id for part in message.parts if type(part) is ToolCall}
        else:
            parts = tuple([part for part in message.parts if type(part) is not ToolResult or part.call_id in called])
            message = _with(message, parts)  # noqa: PLW2901  # the same one, without them
        if message.parts:
            kept.append((place, message))
    return kept


def readable(messages: tuple[Message, ...], wire: str) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """Return the messages without what only another wire format than ``wire`` has in them, and the kinds of what was left out.

    Those are the calls of a provider's own tools with their results, such as searches of the web: the answer over them stays. What the
    user sent stays, so that it is refused and not lost.
    """
    left: dict[str, None] = {}
    found: list[Message] = []
    for message in messages:
        if message.role == "user" or not any(_is_foreign(part, wire) for part in message.parts):
            found.append(message)
            continue
        left |= dict.fromkeys(_kind(part.value) for part in message.parts if type(part) is Opaque and part.wire != wire)
        parts = tuple([part for part in message.parts if not _is_foreign(part, wire)])
        if parts:
            found.append(msgspec.structs.replace(message, parts=parts))
    return tuple(found), tuple(left)


def _is_foreign(part: Part, wire: str) -> bool:
    return type(part) is Opaque and part.wire != wire


def _kind(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return "part"
    fields = cast("dict[str, Any]", value)
    return str(fields.get("type") or next(iter(fields)))


def _said(parts: tuple[Part, ...], results: set[str]) -> tuple[Part, ...]:
    found = [_plain(part) for part in parts if not _leads_nowhere(part, results)]
    # Anthropic refuses an answer that ends in a thought, as it does one of spaces.
    while found and type(found[-1]) is Thinking:
        del found[-1]
    return tuple(found)


def _leads_nowhere(part: Part, results: set[str]) -> bool:
    if type(part) is Text:
        return part.signature is None and (not part.text or part.text.isspace())
    return (type(part) is ToolCall and part.id not in results) or is_deleted(part)


def _with(message: Message, parts: tuple[Part, ...]) -> Message:
    return message if parts == message.parts else msgspec.structs.replace(message, parts=parts)


def _plain(part: Part) -> Part:
    if type(part) is ToolCall:
        name, arguments = _name(part.name), _arguments(part.arguments)
        if name != part.name or arguments != part.arguments:
            return msgspec.structs.replace(part, name=name, arguments=arguments)
    elif type(part) is ToolResult and part.name is not None and (name := _name(part.name)) != part.name:
        return msgspec.structs.replace(part, name=name)
    return part


def _name(name: str) -> str:
    if _NAME.fullmatch(name):
        return name
    plain = _NOT_IN_NAMES.sub("_", name)[:64]
    return plain if _NAME.fullmatch(plain) else f"_{plain[:63]}"


def _arguments(text: str) -> str:
    """Return a JSON object's text: ``text`` itself where it is one."""
    if not text.strip():
        return text
    try:
        found = _object.decode(text)
        # Nothing is deeper than it has openings, and few have many.
        if text.count("{") + text.count("[") <= DEEPEST_ARGUMENTS or not is_deeper(found, DEEPEST_ARGUMENTS):
            return text
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    written = text[:LONGEST_INVALID].encode(errors="replace").decode()
    return msgspec.json.encode({INVALID_JSON: written}).decode()
