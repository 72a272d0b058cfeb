"""The items of a request's ``input``: canon's messages, and back.

Consecutive items that a model wrote are one assistant message. ``instructions`` are the leading system message; a system message that
leads ``input`` itself has a note, so that each goes back to its place. What is neither (references, outputs of OpenAI's own tools)
is Opaque, in an assistant's or a tool's message.
"""

from collections.abc import Sequence
from typing import Any

from rini.canon import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    with_extras,
)
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.foreign import name_foreign
from rini.wire.openai_chat.json_value import NOTE, Json, as_list, as_object, left, pop_string
from rini.wire.openai_responses.call_ids import CallIds
from rini.wire.openai_responses.fields import ITEM, NAME, left_as_extras, own_extras
from rini.wire.openai_responses.output import (
    Kind,
    call_item,
    decode_items,
    encode_contents,
    fields_of,
    group,
    is_made_thinking,
    reasoning_item,
)
from rini.wire.openai_responses.part import decode_content, encode_content, own_value
from rini.wire.openai_responses.shared import split_shared_of_content

_RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})
# What a client answers to OpenAI's own tools, and other items that no model writes.
_FROM_CLIENT = frozenset({"additional_tools", "compaction_trigger", "mcp_approval_response"})


# -- items to messages -----------------------------------------------------------------------------


def decode_input(value: Any, instructions: str | None) -> tuple[Message, ...]:
    """Return the messages of a request. Raises MalformedError."""
    messages: list[Message] = []
    if instructions:
        messages.append(Message("system", (Text(instructions),)))
    if type(value) is str:
        messages.append(Message("user", (Text(value),)))
        return tuple(messages)
    turn: list[Any] = []
    for each in as_list([] if value is None else value, "input"):
        item = as_object(each, "An input item")
        if _is_written(item):
            turn.append(item)
            continue
        if turn:
            messages.append(_turn(turn))
            turn = []
        messages.append(_decode_item(item, leads=not messages))
    if turn:
        messages.append(_turn(turn))
    return tuple(messages)


def _is_written(item: Json) -> bool:
    """Whether a model wrote ``item``, or it stands for one that may be."""
    kind = item.get("type")
    if kind in (None, "message"):
        if kind is None and "role" not in item:
            return True  # an item_reference may be nothing but an id
        return item.get("role") == "assistant"
    return type(kind) is not str or not (kind.endswith("_output") or kind in _FROM_CLIENT)


def _turn(items: list[Any]) -> Message:
    for item in items:
        if item.get("type") is None and "role" in item:
            item["type"] = "message"
    return Message("assistant", tuple(decode_items(items)), origin=NAME)


def _decode_item(item: Json, *, leads: bool) -> Message:
    kind = item.pop("type", None)
    if type(kind) is str and kind in _RESULTS:
        call_id = pop_string(item, "call_id") or ""
        content = decode_content(item.pop("output", None))
        fields = left(item)
        if kind != "function_call_output":
            fields["type"] = kind
        return Message("tool", (ToolResult(call_id, content, extras=with_extras(NAME, fields)),))
    if kind is not None and kind != "message":
        return Message("tool", (Opaque(NAME, {"type": kind, **item}),))
    role = item.pop("role", None)
    if role not in ("system", "developer", "user"):
        raise MalformedError("A message has an unknown role.")
    content = decode_content(item.pop("content", None))
    message = Message(role, content, extras=left_as_extras(item))
    if leads and _as_instructions(message) is not None:
        return Message(role, content, extras=with_extras(NAME, {NOTE + "input": True}))
    return message


def _as_instructions(message: Message) -> str | None:
    return (message.only_text or None) if message.role == "system" else None


# -- messages to items -----------------------------------------------------------------------------


def split_instructions(messages: Sequence[Message]) -> tuple[str | None, int]:
    """Return what ``instructions`` are, and the number of messages that this takes: a leading system message of plain text."""
    text = _as_instructions(messages[0]) if messages else None
    return text, 0 if text is None else 1


class MessageEncoder:
    """Encodes the messages of one request, in order.

    ``verbatim``: the request came in this format, so its thoughts go back even where OpenAI must look them up by their id.
    """

    def __init__(self, messages: Sequence[Message], *, verbatim: bool, dropped: list[str]) -> None:
        self._verbatim = verbatim
        self._dropped = dropped
        self._ids = CallIds(messages)

    def encode(self, message: Message, path: str) -> list[Any]:
        """Return the items that ``message`` becomes. Raises UnsupportedError."""
        if (text := message.only_text) is not None and message.role != "tool":
            return [{"role": message.role, "content": text}]
        name_foreign(message.extras, NAME, path, self._dropped)
        if message.name is not None:
            self._dropped.append(f"{path}.name")
        for index, part in enumerate(message.parts):
            self._name_foreign(part, f"{path}.parts[{index}]", written=message.role == "assistant")
        match message.role:
            case "assistant":
                return self._assistant(message, path)
            case "system" | "developer":
                for index, part in enumerate(message.parts):
                    if not isinstance(part, Text | Document | Opaque) or (isinstance(part, Document) and not part.text):
                        raise UnsupportedError(NAME, f"{path}.parts[{index}]", "only text can stand here")
                return [self._message(message, message.parts, f"{path}.parts")]
            case "user" | "tool":
                return self._results_and_rest(message, path)

    def _name_foreign(self, part: Part, path: str, *, written: bool = False) -> None:
        """Name what is left out of a part; ``written``: a model wrote it."""
        if isinstance(part, Opaque | Thinking):
            return
        content = isinstance(part, Text | Image | Document) and not written
        extras = split_shared_of_content(part.extras)[1] if content else part.extras
        name_foreign(extras, NAME, path, self._dropped)
        if isinstance(part, Text | Image | ToolCall) and part.signature is not None:
            self._dropped.append(f"{path}.signature")

    def _message(self, message: Message, parts: Sequence[Part], path: str) -> Json:
        return {
            **own_extras(message.extras),
            "role": message.role,
            "content": encode_content(parts, path, self._dropped),
        }

    def _results_and_rest(self, message: Message, path: str) -> list[Any]:
        items: list[Any] = []
        content: list[Part] = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            match part:
                case ToolResult():
                    items.append(self._result(part, here))
                case Opaque() if message.role == "tool":
                    items.append(own_value(part, here))
                case Thinking():
                    self._dropped.append(here)
                case _ if message.role == "tool":
                    raise UnsupportedError(NAME, here, "a tool's message holds results only")
                case _:
                    content.append(part)
        if message.role == "user" and (content or not items):
            # Results come first: they answer the turn before.
            items.append(self._message(message, content, f"{path}.parts"))
        return items

    def _result(self, part: ToolResult, path: str) -> Json:
        if part.is_error:
            self._dropped.append(f"{path}.is_error")
        call_id = self._ids.result(part.call_id, part.name, path)
        if part.name is not None and part.name != self._ids.name_of(call_id):
            self._dropped.append(f"{path}.name")
        content: list[Part] = []
        for index, inner in enumerate(part.content):
            here = f"{path}.content[{index}]"
            self._name_foreign(inner, here)
            if not isinstance(inner, Text | Image | Document | Opaque):
                raise UnsupportedError(NAME, here, "a result holds text, images and files only")
            content.append(inner)
        own = own_extras(part.extras)
        return {
            "type": own.pop("type", "function_call_output"),
            **own,
            "call_id": call_id,
            "output": encode_content(content, f"{path}.content", self._dropped),
        }

    def _assistant(self, message: Message, path: str) -> list[Any]:
        kept: list[Part] = []
        places: list[str] = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            match part:
                case Thinking() if message.origin != NAME:
                    self._dropped.append(here)
                    continue
                case Audio(transcript=str()):
                    self._dropped.append(f"{here}.media")
                case Opaque():
                    as_object(own_value(part, here), "An item")
                case Text() | Refusal() | ToolCall() | Thinking():
                    pass
                case _:
                    raise UnsupportedError(NAME, here, f"a {type(part).__name__} cannot stand in an answer")
            kept.append(part)
            places.append(here)
        groups: list[tuple[Kind, list[Part]]] = []
        named = True
        at = 0
        for kind, members in group(kept):
            if kind == "reasoning" and not self._can_return(members):
                self._dropped += places[at : at + len(members)]
                named = False
            else:
                groups.append((kind, members))
            at += len(members)
        return [self._item(kind, members, named=named) for kind, members in groups]

    def _can_return(self, thoughts: Sequence[Part]) -> bool:
        """Whether OpenAI knows these thoughts: it proves them by their encrypted content, or has stored them under their id."""
        if any(isinstance(part, Thinking) and part.signature is not None for part in thoughts):
            return True
        return self._verbatim and not is_made_thinking(fields_of(thoughts).get("id"))

    def _item(self, kind: Kind, parts: Sequence[Part], *, named: bool) -> Any:
        """Return an item; ``named``: with its id, which OpenAI may take only together with the thoughts before it."""
        first = parts[0]
        if kind == "opaque":
            assert isinstance(first, Opaque)
            return first.value
        if kind == "reasoning":
            return reasoning_item(parts, proven=True)
        if kind == "call":
            assert isinstance(first, ToolCall)
            item = call_item(first, self._ids.call(first))
        else:
            fields = fields_of(parts)
            if not fields and len(parts) == 1 and isinstance(first, Text) and _is_plain(first):
                return {"role": "assistant", "content": first.text}
            item = {
                "type": "message",
                **fields,
                "role": "assistant",
                "content": [_without_empty(content) for content in encode_contents(parts)],
            }
        if not named:
            item.pop("id", None)
        return item


def _is_plain(part: Text) -> bool:
    return all(name.startswith(ITEM) for name in own_extras(part.extras))


def _without_empty(content: Json) -> Json:
    """Leave ``logprobs`` out where there are none: a request need not have them."""
    if content.get("logprobs") == []:
        del content["logprobs"]
    return content
