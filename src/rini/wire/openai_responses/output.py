"""What a model writes: output items, and the parts of one assistant message that they are.

A reasoning item is as many Thinking parts as it has summaries (or raw thoughts), a message as many Text and Refusal parts as its
content has, and a call is one ToolCall. So that items come back as they were, the first part of an item holds ``item.id`` (or the note
``item``, where an item without an id follows another of its kind) in its extras; a part without either goes on in the item before.

``encrypted_content`` is the signature of an item's last Thinking: as with Anthropic, it is the whole reasoning, of which the text is
a digest. All other items (a search, code that ran, a computer's action, a program) are Opaque with the item as it is. So is what
a message holds that canon does not know: its value has the note ``item`` with what the extras of a Text would say.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal
from uuid import uuid4

import msgspec

from rini.canon import (
    Audio,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    extras_of,
    with_extras,
)
from rini.wire.codec import MalformedError
from rini.wire.openai_chat.json_value import NOTE, Json, as_list, as_object, left, pop_list, pop_string
from rini.wire.openai_responses.fields import ITEM, NAME, note, own_extras, split_item
from rini.wire.openai_responses.part import decode_text

CALL_TEXT = {"function_call": "arguments", "custom_tool_call": "input"}
"""The items that are tool calls, and the field that holds what the tool is called with."""

NO_CONTENT = Text("", extras={NAME: {NOTE + "empty": True}})
"""What stands for a message without any content."""

Kind = Literal["message", "reasoning", "call", "opaque"]

_FRAGMENT = NOTE + "item"
_NOT_FIELDS = frozenset({"type", "role", "content", "summary", "encrypted_content"})
_MADE = "rini"
MADE_THINKING = f"rs_{_MADE}_"
"""How the id of a reasoning item begins that was made here."""


# -- items to parts --------------------------------------------------------------------------------


def decode_items(items: Iterable[Any]) -> list[Part]:
    """Return the parts of ``items``, which are taken apart. Raises MalformedError."""
    parts: list[Part] = []
    before: Kind | None = None
    for value in items:
        item = as_object(value, "An output item")
        kind = kind_of(item)
        decoded = decode_item(item, follows=before == kind)
        parts += decoded
        before = kind_of_part(decoded[-1])
    return parts


def kind_of(item: Json) -> Kind:
    """Return what sort of item ``item`` is."""
    match item.get("type"):
        case "message":
            return "message"
        case "reasoning":
            return "reasoning"
        case "function_call" | "custom_tool_call":
            return "call"
        case _:
            return "opaque"


def kind_of_part(part: Part) -> Kind | None:
    """Return the sort of item that a part of an answer stands in; ``None`` for one that has no place in one."""
    match part:
        case Text() | Refusal():
            return "message"
        case Audio():
            return "message" if part.transcript is not None else None
        case Thinking():
            return "reasoning"
        case ToolCall():
            return "call"
        case Image():
            return "opaque" if part.media.data is not None else None
        case Opaque():
            if part.wire != NAME or type(part.value) is not dict:
                return None
            return "opaque" if _fragment(part) is None else "message"
        case _:
            return None


def decode_item(item: Json, *, follows: bool) -> list[Part]:
    """Return the parts of one item: at least one. ``follows``: the item before is of the same kind. Raises MalformedError."""
    match kind_of(item):
        case "message":
            content = item.pop("content", None)
            if type(content) is str:
                return _in_item([Text(content)], item_fields(item), follows=follows)
            contents = [
                decode_output_content(as_object(value, "A content part")) for value in as_list(content or [], "content")
            ]
            return _in_item(contents or [NO_CONTENT], item_fields(item), follows=follows)
        case "reasoning":
            return _decode_reasoning(item, follows=follows)
        case "call":
            return [decode_call(item)]
        case "opaque":
            item.pop(_FRAGMENT, None)
            return [Opaque(NAME, item)]


def decode_output_content(part: Json) -> Part:
    """Return one part of a message's content, which is taken apart. Raises MalformedError."""
    match part.get("type"):
        case "output_text" | "input_text":
            text = decode_text(part, "text")
            return Text(text, extras=with_extras(NAME, _content_fields(part)))
        case "refusal":
            text = decode_text(part, "refusal")
            return Refusal(text, extras=with_extras(NAME, _content_fields(part)))
        case _:
            return Opaque(NAME, {**part, _FRAGMENT: {}})


def _content_fields(part: Json) -> Json:
    """Return the fields of a text that canon does not name; no annotations or logprobs are the same as none."""
    return {name: value for name, value in part.items() if value not in (None, [])}


def decode_call(item: Json) -> ToolCall:
    """Return the call that an item is, which is taken apart. Raises MalformedError."""
    kind: str = item.pop("type")
    name = pop_string(item, "name")
    if name is None:
        raise MalformedError(f"A {kind} has no name.")
    call_id = pop_string(item, "call_id") or ""
    arguments = pop_string(item, CALL_TEXT[kind]) or ""
    fields = left(item)
    if kind != "function_call":
        fields["type"] = kind
    return ToolCall(call_id, name, arguments, extras=with_extras(NAME, fields))


def item_fields(item: Json) -> Json:
    """Return the fields of an item that canon does not name, under their names in a part's extras."""
    return {ITEM + name: value for name, value in item.items() if value is not None and name not in _NOT_FIELDS}


def _decode_reasoning(item: Json, *, follows: bool) -> list[Part]:
    proof = pop_string(item, "encrypted_content")
    thoughts: list[Part] = []
    for field, raw in (("summary", False), ("content", True)):
        for value in pop_list(item, field) or ():
            part = as_object(value, "A thought")
            part.pop("type", None)
            text = pop_string(part, "text") or ""
            fields = left(part)
            if raw:
                fields[NOTE + "raw"] = True
            thoughts.append(Thinking(text, extras=with_extras(NAME, fields)))
    parts = _in_item(thoughts or [Thinking()], item_fields(item), follows=follows)
    if proof is not None:
        parts[-1] = msgspec.structs.replace(parts[-1], signature=proof)
    return parts


def _in_item(parts: list[Part], fields: Json, *, follows: bool) -> list[Part]:
    """Write an item's fields into the extras of its first part, its status into those of the last, as a stream tells them."""
    status = fields.pop(ITEM + "status", None)
    parts[0] = _with(parts[0], _first(fields, follows=follows))
    if status is not None:
        parts[-1] = _with(parts[-1], {ITEM + "status": status})
    return parts


def _first(fields: Json, *, follows: bool) -> Json:
    if follows and ITEM + "id" not in fields:
        return {**fields, NOTE + "item": True}
    return fields


def _with(part: Part, fields: Json) -> Part:
    if not fields:
        return part
    if isinstance(part, Opaque):
        return with_fragment(part, fields)
    return msgspec.structs.replace(part, extras={NAME: {**extras_of(part.extras, NAME), **fields}})


def with_fragment(part: Opaque, fields: Json) -> Opaque:
    """Return a part of a message that canon does not know with ``fields`` noted of its item."""
    return Opaque(NAME, {**part.value, _FRAGMENT: {**part.value[_FRAGMENT], **fields}})


# -- parts to items --------------------------------------------------------------------------------


class ItemIds:
    """Ids for one answer and its items: those that OpenAI gave, and made ones, which no other answer has.

    A thought's made id is known by its look, since OpenAI could not find the item that it names. ``own``: all ids are made, but for
    those of items that are OpenAI's own tools', which other items refer to.
    """

    def __init__(self, reply_id: str | None, *, own: bool = False) -> None:
        self.own = own
        if not reply_id:
            base = uuid4().hex
            self.response = f"resp_{base}"
        elif reply_id.startswith("resp_"):
            self.response = reply_id
            base = _short(reply_id.removeprefix("resp_"))
        else:
            base = _digest(reply_id)
            self.response = f"resp_{base}"
        self._base = base

    def item(self, prefix: str, position: int) -> str:
        """Return a new id for the item at ``position``."""
        return f"{prefix}_{_MADE}_{self._base}_{position}"


def is_made_thinking(item_id: object) -> bool:
    """Tell whether a reasoning item's id was made here, for thoughts of another provider."""
    return isinstance(item_id, str) and item_id.startswith(MADE_THINKING)


def starts_item(part: Part) -> bool:
    """Tell whether a part says of itself that a new item begins with it."""
    own = _told(part)
    return ITEM + "id" in own or NOTE + "item" in own


def group(parts: Iterable[Part]) -> list[tuple[Kind, list[Part]]]:
    """Return the parts of an answer by the items that they stand in; those that have no place are left out."""
    found: list[tuple[Kind, list[Part]]] = []
    for part in parts:
        kind = kind_of_part(part)
        if kind is None:
            continue
        if kind in {"message", "reasoning"} and found and found[-1][0] == kind and not starts_item(part):
            found[-1][1].append(part)
        else:
            found.append((kind, [part]))
    return found


def encode_items(parts: Iterable[Part], ids: ItemIds, status: str) -> list[Json]:
    """Return the output items of an answer. ``status`` is that of the last one, where it is a message."""
    groups = group(parts)
    last = len(groups) - 1
    return [
        encode_item(kind, members, ids, position, status if position == last else "completed")
        for position, (kind, members) in enumerate(groups)
    ]


def encode_item(kind: Kind, parts: Sequence[Part], ids: ItemIds, position: int, status: str) -> Json:
    """Return the output item that ``parts`` are."""
    match kind:
        case "message":
            made = ids.item("msg", position)
            item = {
                "id": made,
                "type": "message",
                "status": status,
                "role": "assistant",
                **fields_of(parts),
                "content": encode_contents(parts),
            }
        case "reasoning":
            made = ids.item("rs", position)
            proven = any(ITEM + "id" in _told(part) for part in parts)
            item = {"id": made, **reasoning_item(parts, proven=proven)}
        case "call":
            item = _encode_call(parts[0], ids, position)
            made = ids.item("ctc" if item["type"] == "custom_tool_call" else "fc", position)
        case "opaque":
            item = _encode_opaque(parts[0], ids, position)
            made = item.get("id") or ids.item("item", position)
    if ids.own and item.get("id") != made:
        item = {**item, "id": made}
    return item


def reasoning_item(parts: Sequence[Part], *, proven: bool) -> Json:
    """Return the reasoning item that ``parts`` are, with its encrypted content where that is OpenAI's (``proven``)."""
    summary: list[Json] = []
    raw: list[Json] = []
    proofs: list[str] = []
    for part in parts:
        if not isinstance(part, Thinking):
            continue
        own, _ = split_item(own_extras(part.extras))
        if part.text and note(part.extras, "raw"):
            raw.append({**own, "type": "reasoning_text", "text": part.text})
        elif part.text:
            summary.append({**own, "type": "summary_text", "text": part.text})
        if part.signature is not None:
            proofs.append(part.signature)
    item: Json = {"type": "reasoning", "summary": summary, **fields_of(parts)}
    if raw:
        item["content"] = raw
    if proofs and proven:
        item["encrypted_content"] = "".join(proofs)
    return item


def encode_contents(parts: Sequence[Part]) -> list[Json]:
    """Return the content of the message that ``parts`` are."""
    return [encode_output_content(part) for part in parts if isinstance(part, Opaque) or not note(part.extras, "empty")]


def encode_output_content(part: Part) -> Json:
    """Return the part of a message's content that a part is."""
    match part:
        case Text():
            own, _ = split_item(own_extras(part.extras))
            return {"type": "output_text", "annotations": [], "logprobs": [], "text": part.text, **own}
        case Refusal():
            own, _ = split_item(own_extras(part.extras))
            return {"type": "refusal", "refusal": part.text, **own}
        case Audio():
            return {"type": "output_text", "annotations": [], "logprobs": [], "text": part.transcript or ""}
        case Opaque():
            return {name: value for name, value in part.value.items() if name != _FRAGMENT}
        case _:
            raise TypeError(f"A {type(part).__name__} is no part of a message.")


def call_item(call: ToolCall, call_id: str) -> Json:
    """Return the item of a call, without an id of its own unless it has one."""
    own = own_extras(call.extras)
    kind: str = own.pop("type", "function_call")
    return {
        "type": kind,
        **own,
        CALL_TEXT.get(kind, "arguments"): call.arguments,
        "call_id": call_id,
        "name": call.name,
    }


def _made_call_id(ids: ItemIds, position: int) -> str:
    """Return an id for a call that came without one (Gemini's): a client needs it to answer."""
    return ids.item("call", position)[:64]


def _encode_call(part: Part, ids: ItemIds, position: int) -> Json:
    assert isinstance(part, ToolCall)
    item = call_item(part, part.id or _made_call_id(ids, position))
    custom = item["type"] == "custom_tool_call"
    return {"id": ids.item("ctc" if custom else "fc", position), **({} if custom else {"status": "completed"}), **item}


def _encode_opaque(part: Part, ids: ItemIds, position: int) -> Json:
    if isinstance(part, Image):
        return {
            "id": ids.item("ig", position),
            "type": "image_generation_call",
            "status": "completed",
            "result": part.media.data,
        }
    assert isinstance(part, Opaque)
    return as_object(part.value, "An item")


def fields_of(parts: Sequence[Part]) -> Json:
    """Return what the extras of an item's parts say of the item."""
    fields: Json = {}
    for part in parts:
        fields |= split_item(_told(part))[1]
    return fields


def _told(part: Part) -> Mapping[str, Any]:
    if isinstance(part, Opaque):
        return _fragment(part) or {}
    return extras_of(part.extras, NAME)


def _fragment(part: Opaque) -> Json | None:
    """Return what is noted of the item around a part of a message that canon does not know; ``None`` for an item."""
    return part.value.get(_FRAGMENT) if type(part.value) is dict else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON


def _short(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _digest(text)


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


_PLAIN = re.compile(r"[a-zA-Z0-9_-]{1,48}")
