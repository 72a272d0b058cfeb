"""Stored messages as items of OpenAI's responses.

A message has one item or several: an answer's thoughts, texts and calls, a tool's results. An item's id says where it is (rini.responses.ids),
so it is the same wherever the item is shown. A deleted item keeps its place: the others keep their ids.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from rini.canon import Opaque, Part, Text, Thinking, ToolCall, ToolResult, plain_text
from rini.canon.proofs import unproven_part
from rini.db import AnyRow
from rini.responses.ids import response_id
from rini.wire.codec import UnsupportedError
from rini.wire.openai_chat.json_value import as_object
from rini.wire.openai_responses.fields import NAME, own_extras
from rini.wire.openai_responses.output import ItemIds, encode_item, group, kind_of_part
from rini.wire.openai_responses.part import encode_part

Json = dict[str, Any]

TOOLS_OF_THE_SERVER = "rini"
"""What stands for the MCP server's name in a call that this server made for the model."""

DELETED = "rini.deleted"
"""In place of a wire format's name: the part was an item that its owner deleted."""

_LEFT_OUT: Mapping[str, Json] = {
    "tool_search_call": {"call_id": None, "execution": "server", "status": "completed"},
    "tool_search_output": {"call_id": None, "execution": "server"},
    "shell_call": {
        "action": {"timeout_ms": None, "max_output_length": None},
        "environment": None,
        "status": "completed",
    },
    "shell_call_output": {"max_output_length": None},
}
"""What a client may leave out of items of OpenAI's own tools, and OpenAI shows all the same (its specification of August 2026)."""

_parts_json = msgspec.json.Decoder(tuple[Part, ...])


class Item(NamedTuple):
    """An item of a message: its place there, its JSON, and the places of the parts that it is made of."""

    position: int
    value: Json
    parts: tuple[int, ...]


def parts_of(message: AnyRow) -> tuple[Part, ...]:
    """Return the parts of a stored message."""
    if message.parts is not None:
        return _parts_json.decode(message.parts)
    return (Text(message.content),) if message.content else ()


def is_deleted(part: Part) -> bool:
    """Tell whether a part was an item that its owner deleted."""
    return isinstance(part, Opaque) and part.wire == DELETED


def items_of(message: AnyRow, *, proofs: bool = False) -> list[Item]:
    """Return the items that a stored message is. ``proofs``: with the encrypted thoughts that are OpenAI's."""
    return _items_of(message, ItemIds(response_id(message.id), own=True), proofs=proofs)


def as_it_came(message: AnyRow, item: Item) -> Json:
    """Return an item as its provider gave it, by the id that this one knows, with its proof."""
    items = _items_of(message, ItemIds(response_id(message.id)), proofs=True)
    return next(each.value for each in items if each.position == item.position)


def _items_of(message: AnyRow, ids: ItemIds, *, proofs: bool) -> list[Item]:
    parts = parts_of(message)
    if message.role != "assistant":
        return list(_told(parts, message.role, ids))
    status = "completed" if message.status == "complete" and message.finish_reason != "length" else "incomplete"
    proven = proofs and message.origin == NAME
    return list(_written(parts if proven else tuple(map(unproven_part, parts)), ids, status))


def without(message: AnyRow, item: Item) -> tuple[Part, ...]:
    """Return the parts of a message when one of its items is deleted: nothing where it was the only one.

    A call takes its result with it, where that stands in the same message: models take neither alone.
    """
    parts = parts_of(message)
    first, *others = item.parts
    going = set(others)
    deleted = parts[first]
    if isinstance(deleted, ToolCall):
        going |= {place for place, part in enumerate(parts) if _answers(part, deleted)}
    kept = [Opaque(DELETED, None) if place == first else part for place, part in enumerate(parts) if place not in going]
    return () if all(map(is_deleted, kept)) else tuple(kept)


def _written(parts: tuple[Part, ...], ids: ItemIds, status: str) -> Iterator[Item]:
    """Yield the items of what a model wrote, and of the calls of tools that this server made for it."""
    results = {part.call_id: part for part in parts if isinstance(part, ToolResult)}
    shown = [_as_item(part, results) for part in parts]
    # Which of the parts those are that have a place in an answer.
    places = [place for place, part in enumerate(shown) if kind_of_part(part) is not None]
    groups = group(shown)
    at = 0
    for position, (kind, members) in enumerate(groups):
        own = tuple(places[at : at + len(members)])
        at += len(members)
        if not is_deleted(parts[own[0]]):
            value = encode_item(kind, members, ids, position, status if position == len(groups) - 1 else "completed")
            yield Item(position, _whole(value) if kind == "opaque" else value, own)


def _whole(value: Json) -> Json:
    """Return an item of OpenAI's own tools with what may be left out of it."""
    fields = _LEFT_OUT.get(value["type"])
    if fields is None:
        return value
    action: Any = value.get("action")
    if "action" in fields and isinstance(action, dict):
        value = {**value, "action": {**fields["action"], **action}}
    return {**fields, **value}


def _as_item(part: Part, results: dict[str, ToolResult]) -> Part:
    if is_deleted(part):
        return Opaque(NAME, {"type": DELETED})
    if not isinstance(part, ToolCall) or part.id not in results:
        return part
    result = results[part.id]
    said = plain_text(result.content)
    value = {
        "type": "mcp_call",
        "server_label": TOOLS_OF_THE_SERVER,
        "name": part.name,
        "arguments": part.arguments,
        "output": None if result.is_error else said,
        "error": {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": said}]}
        if result.is_error
        else None,
        "status": "failed" if result.is_error else "completed",
    }
    return Opaque(NAME, value)


def _told(parts: tuple[Part, ...], role: str, ids: ItemIds) -> Iterator[Item]:
    """Yield the items of what a client told a model: results of tools, and a message."""
    content: list[int] = []
    for place, part in enumerate(parts):
        if isinstance(part, ToolResult):
            yield Item(place, _result(part, ids, place), (place,))
        elif isinstance(part, Opaque) and role == "tool" and part.wire == NAME:
            value = {"status": "completed", **_whole(as_object(part.value, "An item"))}
            yield Item(place, {**value, "id": value.get("id") or ids.item("item", place)}, (place,))
        elif not is_deleted(part) and not isinstance(part, Thinking):
            content.append(place)
    if content and role != "tool":
        value = {
            "id": ids.item("msg", content[0]),
            "type": "message",
            "status": "completed",
            "role": role,
            "content": _contents([parts[place] for place in content]),
        }
        yield Item(content[0], value, tuple(content))


def _result(part: ToolResult, ids: ItemIds, place: int) -> Json:
    own = own_extras(part.extras)
    kind: str = own.pop("type", "function_call_output")
    contents = _contents(part.content)
    plain = all(content.keys() == {"type", "text"} for content in contents)
    return {
        "type": kind,
        "status": "completed",
        **own,
        "id": ids.item("ctco" if kind == "custom_tool_call_output" else "fco", place),
        "call_id": part.call_id,
        "output": "".join(content["text"] for content in contents) if plain else contents,
    }


def _contents(parts: Iterable[Part]) -> list[Json]:
    """Return parts as OpenAI has them; those that only another format has are left out."""
    found: list[Json] = []
    for part in parts:
        try:
            encoded: Json = encode_part(part, "", [])
        except UnsupportedError:
            continue
        if encoded.get("type") == "input_image":
            encoded = {"detail": "auto", **encoded}
        found.append(encoded)
    return found


def _answers(part: Part, call: ToolCall) -> bool:
    return isinstance(part, ToolResult) and part.call_id == call.id
