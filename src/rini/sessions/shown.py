"""What of a stored message is shown beside its columns: the tools that were used for it, and the memory that it was given."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from rini import canon
from rini.db import AnyRow
from rini.sessions.marks import labels_of
from rini.sessions.schemas import Message
from rini.sessions.tables import messages

_COLUMNS = [column.name for column in messages.columns]
_parts_json = msgspec.json.Decoder(tuple[canon.Part, ...])
_ids_json = msgspec.json.Decoder(list[int])


class ToolUse(msgspec.Struct, frozen=True):
    """A tool call of the model and what came of it; ``result`` is None for a call that was not made."""

    id: str
    name: str
    arguments: str
    result: str | None
    is_error: bool


def tool_uses(parts: tuple[canon.Part, ...]) -> list[ToolUse] | None:
    """Return the tool calls among ``parts`` with their results; None where there are none."""
    calls = [part for part in parts if isinstance(part, canon.ToolCall)]
    if not calls:
        return None
    results = {part.call_id: part for part in parts if isinstance(part, canon.ToolResult)}
    return [_use(call, results.get(call.id)) for call in calls]


def shown(row: AnyRow) -> dict[str, Any]:
    """Return a message's columns by name, with ``tool_calls`` and ``memory_ids`` as values."""
    fields: dict[str, Any] = {name: getattr(row, name) for name in _COLUMNS}
    parts: str = row.parts or ""
    fields["memory_ids"] = _ids_json.decode(row.memory_ids) if row.memory_ids else None
    fields["tool_calls"] = tool_uses(_parts_json.decode(parts)) if '"tool_call"' in parts else None
    return fields


def shown_with_labels(connection: Connection, rows: Sequence[AnyRow]) -> list[Message]:
    """Return messages as the API shows them, with their labels."""
    labels = labels_of(connection, [row.id for row in rows])
    return [
        Message.model_validate({**shown(row), "labels": labels.get(row.id, [])}, from_attributes=True) for row in rows
    ]


def _use(call: canon.ToolCall, result: canon.ToolResult | None) -> ToolUse:
    if result is None:
        return ToolUse(call.id, call.name, call.arguments, None, is_error=False)
    return ToolUse(call.id, call.name, call.arguments, canon.plain_text(result.content), result.is_error)
