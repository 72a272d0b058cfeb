"""Memory in the database. Each function is a unit of work."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import AnyRow
from rini.errors import InvalidRequestError, NotFoundError
from rini.kit.clock import now
from rini.memory.schemas import MemoryChange, MemoryCreate
from rini.memory.tables import memory_entries
from rini.sessions import repository as sessions
from rini.sessions.tables import messages

MOST_ENTRIES = 10_000
"""As many entries a user may have. It bounds what one can store; two that come at once may go a little beyond."""

_NAMED_IN_SENTENCE = 10

_table = memory_entries.c


def create(connection: Connection, user_id: int, session_id: str, entry: MemoryCreate) -> AnyRow:
    """Store an entry that was made in the user's session and return its row.

    Raises NotFoundError; InvalidRequestError for source messages that are not the user's, or for one entry too many.
    """
    session = sessions.get_locked(connection, user_id, session_id)
    stored = connection.execute(sa.select(sa.func.count()).where(_table.user_id == user_id)).scalar_one()
    if stored >= MOST_ENTRIES:
        raise InvalidRequestError(f"You have {stored:,} memory entries, and there may be no more: delete some first.")
    _check_sources(connection, user_id, entry.source_message_ids)
    values = entry.model_dump()
    values["session_id"] = session.id if entry.scope == "Session" else None
    values["user_id"] = user_id
    values["timestamp"] = now()
    return connection.execute(memory_entries.insert().returning(memory_entries).values(values)).one()


def get(connection: Connection, user_id: int, entry_id: int) -> AnyRow:
    """Return the user's entry. Raises NotFoundError."""
    return _one(connection, sa.select(memory_entries), user_id, entry_id)


def page(
    connection: Connection,
    user_id: int,
    session_id: str | None,
    scope: str | None,
    memory_type: str | None,
    skip: int,
    limit: int,
) -> tuple[list[AnyRow], int]:
    """Return some of the user's entries, oldest first, and how many there are.

    A session's are its own and the shared ones. Raises NotFoundError for a session that is not the user's.
    """
    wanted = [_table.user_id == user_id]
    if session_id is not None:
        session = sessions.get(connection, user_id, session_id)
        wanted.append(sa.or_(_table.session_id == session.id, _table.session_id.is_(None)))
    if scope is not None:
        wanted.append(_table.scope == scope)
    if memory_type is not None:
        wanted.append(_table.memory_type == memory_type)
    total = connection.execute(sa.select(sa.func.count()).select_from(memory_entries).where(*wanted)).scalar_one()
    found = sa.select(memory_entries).where(*wanted).order_by(_table.id).offset(skip).limit(limit)
    return list(connection.execute(found).all()), total


def change(connection: Connection, user_id: int, entry_id: int, changes: MemoryChange) -> AnyRow:
    """Change fields of the user's entry and return its row.

    Raises NotFoundError for the entry or the session named; InvalidRequestError where scope and session do not go together,
    and for source messages that are not the user's.
    """
    entry = _one(connection, sa.select(memory_entries).with_for_update(), user_id, entry_id)
    if not changes:
        return entry
    values: dict[str, Any] = dict(changes)
    values["session_id"] = _session_of(connection, user_id, entry, changes)
    values["timestamp"] = now()
    _check_sources(connection, user_id, changes.get("source_message_ids"))
    changed = memory_entries.update().where(_table.id == entry.id).values(values)
    return connection.execute(changed.returning(memory_entries)).one()


def delete(connection: Connection, user_id: int, entry_id: int) -> None:
    """Delete the user's entry. Raises NotFoundError."""
    gone = connection.execute(memory_entries.delete().where(_table.id == entry_id, _table.user_id == user_id))
    if not gone.rowcount:
        raise _no_entry(entry_id)


def _one(connection: Connection, found: sa.Select[*tuple[Any, ...]], user_id: int, entry_id: int) -> AnyRow:
    row = connection.execute(found.where(_table.id == entry_id, _table.user_id == user_id)).first()
    if row is None:
        raise _no_entry(entry_id)
    return row


def _no_entry(entry_id: int) -> NotFoundError:
    return NotFoundError(f"There is no memory entry {entry_id}.")


def _session_of(connection: Connection, user_id: int, entry: AnyRow, changes: MemoryChange) -> str | None:
    """Return the session that a changed entry belongs to."""
    scope = changes.get("scope", entry.scope)
    named = changes.get("session_id", entry.session_id)
    if scope == "Shared":
        if changes.get("session_id") is not None:
            raise InvalidRequestError("session_id: a Shared entry belongs to no session; send scope 'Session' with it.")
        return None
    if named is None:
        raise InvalidRequestError("session_id: an entry of scope 'Session' needs the session that it belongs to.")
    return named if named == entry.session_id else sessions.get_locked(connection, user_id, named).id


def _check_sources(connection: Connection, user_id: int, ids: list[int] | None) -> None:
    if not ids:
        return
    mine = sa.select(messages.c.id).where(messages.c.id.in_(ids), messages.c.user_id == user_id)
    found = set(connection.execute(mine).scalars())
    missing = [each for each in ids if each not in found]
    if missing:
        named = ", ".join(map(str, missing[:_NAMED_IN_SENTENCE]))
        more = f" and {len(missing) - _NAMED_IN_SENTENCE} more" if len(missing) > _NAMED_IN_SENTENCE else ""
        raise InvalidRequestError(f"source_message_ids: you have no messages {named}{more}.", message_ids=missing)
