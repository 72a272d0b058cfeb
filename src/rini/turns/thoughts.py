"""Thoughts behind tool calls, kept while a tool works: for clients whose own format has no place for them.

A model that thinks before it calls a tool wants its thoughts back, signed or encrypted as it wrote them, together with the tool's result. Behind
another format they would be lost: so the answer is kept here under its first call's id, and put back when a request names that call.
"""

import hashlib
from datetime import timedelta

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection

from rini.canon import Message, Part, Reply, Request, Thinking, ToolCall, plain_text
from rini.canon.proofs import has_proofs
from rini.kit.clock import now
from rini.turns.tables import tool_thoughts

KEPT_FOR = timedelta(days=7)
MOST_CALLS = 5000
"""Tool calls of one request that are looked for, the newest of them."""

_BATCH = 500
_parts = msgspec.json.Decoder(tuple[Part, ...])


class Kept(msgspec.Struct, frozen=True):
    """An answer that called tools, and whose it was."""

    wire: str
    model: str
    parts: tuple[Part, ...]


def worth_keeping(reply: Reply) -> bool:
    """Whether an answer calls tools over thoughts that can be proven."""
    return (
        bool(reply.choices) and _first_call(reply.choices[0].parts) is not None and has_proofs(reply.choices[0].parts)
    )


def keep(connection: Connection, user_id: int, wire: str, model: str, reply: Reply) -> None:
    """Keep an answer that is worth it, and forget what is too old."""
    parts = reply.choices[0].parts
    call = _first_call(parts)
    assert call is not None
    row = {
        "user_id": user_id,
        "call_id": _digest(call.id),
        "wire": wire,
        "model": model,
        "parts": msgspec.json.encode(parts).decode(),
        "created_at": now(),
    }
    insert = sqlite_insert if connection.dialect.name == "sqlite" else postgres_insert
    statement = insert(tool_thoughts).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=["user_id", "call_id"], set_=row))
    connection.execute(sa.delete(tool_thoughts).where(tool_thoughts.c.created_at < now() - KEPT_FOR))


def calls_of(request: Request) -> tuple[str, ...]:
    """Return the ids under which answers in the conversation may be kept."""
    found = [
        call.id
        for message in request.messages
        if message.role == "assistant" and (call := _first_call(message.parts)) is not None and call.id
    ]
    return tuple(found[-MOST_CALLS:])


def find(connection: Connection, user_id: int, call_ids: tuple[str, ...]) -> dict[str, Kept]:
    """Return what is kept of the user's, by the call's id."""
    names = {_digest(call_id): call_id for call_id in call_ids}
    digests = list(names)
    found: dict[str, Kept] = {}
    for start in range(0, len(digests), _BATCH):
        rows = connection.execute(
            sa.select(
                tool_thoughts.c.call_id, tool_thoughts.c.wire, tool_thoughts.c.model, tool_thoughts.c.parts
            ).where(tool_thoughts.c.user_id == user_id, tool_thoughts.c.call_id.in_(digests[start : start + _BATCH]))
        )
        for row in rows:
            found[names[row.call_id]] = Kept(row.wire, row.model, _parts.decode(row.parts))
    return found


def put_back(request: Request, wire: str, kept: dict[str, Kept]) -> tuple[Request, tuple[str, ...]]:
    """Return the request with each answer as its model wrote it, and what had to stay out because another model is asked now.

    An answer that the client changed meanwhile stays as the client has it.
    """
    messages: list[Message] = []
    left_out: list[str] = []
    for place, message in enumerate(request.messages):
        call = _first_call(message.parts) if message.role == "assistant" else None
        answer = kept.get(call.id) if call is not None else None
        if answer is None or not _same(message.parts, answer.parts):
            messages.append(message)
        elif answer.wire != wire or answer.model != request.model:
            left_out.append(f"messages[{place}].thinking")
            messages.append(message)
        else:
            messages.append(msgspec.structs.replace(message, parts=answer.parts, origin=wire, extras=None))
    return msgspec.structs.replace(request, messages=tuple(messages)), tuple(left_out)


def _first_call(parts: tuple[Part, ...]) -> ToolCall | None:
    return next((part for part in parts if type(part) is ToolCall), None)


def _same(ours: tuple[Part, ...], theirs: tuple[Part, ...]) -> bool:
    """Whether both say the same and call the same, thoughts aside."""
    return _said(ours) == _said(theirs) and _called(ours) == _called(theirs)


def _said(parts: tuple[Part, ...]) -> str:
    return "".join(plain_text(part for part in parts if not isinstance(part, Thinking)).split())


def _called(parts: tuple[Part, ...]) -> list[tuple[str, str, object]]:
    return [(part.id, part.name, _value(part.arguments)) for part in parts if isinstance(part, ToolCall)]


def _value(arguments: str) -> object:
    try:
        return msgspec.json.decode(arguments or "{}")
    except (msgspec.MsgspecError, RecursionError):
        return arguments


def _digest(call_id: str) -> str:
    return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()
