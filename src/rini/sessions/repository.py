"""Sessions in the database. Each function is a unit of work, or a part of one."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import AnyRow, Prepared
from rini.errors import NotFoundError
from rini.kit.clock import now
from rini.kit.ids import new_session_id, session_id_or_none
from rini.sessions.tables import messages, sessions

_table = sessions.c
_shown = [
    _table.id,
    _table.user_id,
    _table.alias,
    _table.system_prompt,
    _table.memory_mode,
    _table.context_policy,
    _table.head_id.label("head_message_id"),
    _table.created_at,
    _table.updated_at,
]
_one = sa.select(*_shown).where(_table.id == sa.bindparam("session_id"), _table.user_id == sa.bindparam("user_id"))
# SQLite has one writer at a time and ignores this; Postgres needs it.
_locked = Prepared(_one.with_for_update())
_locked_for_turn = Prepared(
    _one.with_only_columns(
        _table.id,
        _table.system_prompt,
        _table.memory_mode,
        _table.context_policy,
        _table.head_id.label("head_message_id"),
    ).with_for_update()
)
_move = Prepared(
    sessions.update()
    .where(_table.id == sa.bindparam("this"))
    .values(head_id=sa.bindparam("head"), updated_at=sa.bindparam("moment"))
)
_advance = Prepared(
    sessions.update()
    .where(_table.id == sa.bindparam("this"))
    .values(
        head_id=sa.case(
            (
                _table.head_id.is_not_distinct_from(sa.bindparam("found", type_=_table.head_id.type)),
                sa.bindparam("head", type_=_table.head_id.type),
            ),
            else_=_table.head_id,
        ),
        updated_at=sa.bindparam("moment"),
    )
)


def create(
    connection: Connection,
    user_id: int,
    alias: str | None,
    system_prompt: str | None,
    memory_mode: str,
    **fields: Any,
) -> AnyRow:
    """Make a session and return its row. ``fields`` are further columns."""
    moment = now()
    session_id = new_session_id()
    connection.execute(
        sessions.insert().values(
            id=session_id,
            user_id=user_id,
            alias=alias,
            system_prompt=system_prompt,
            memory_mode=memory_mode,
            created_at=moment,
            updated_at=moment,
            **fields,
        )
    )
    return get(connection, user_id, session_id)


def get(connection: Connection, user_id: int, session_id: str) -> AnyRow:
    """Return the user's session. Raises NotFoundError."""
    return _row(connection.execute(_one, {"session_id": session_id_or_none(session_id), "user_id": user_id}).first())


def get_locked(connection: Connection, user_id: int, session_id: str) -> AnyRow:
    """Return the user's session and let nobody else move its head until the transaction ends. Raises NotFoundError."""
    return _row(_locked.first(connection, {"session_id": session_id_or_none(session_id), "user_id": user_id}))


def get_for_turn(connection: Connection, user_id: int, session_id: str) -> AnyRow:
    """Return what a turn needs of the user's session, which is locked as by ``get_locked``. Raises NotFoundError."""
    return _row(_locked_for_turn.first(connection, {"session_id": session_id_or_none(session_id), "user_id": user_id}))


def page(connection: Connection, user_id: int, skip: int, limit: int) -> tuple[list[AnyRow], int]:
    """Return some of the user's sessions, oldest first, and how many there are."""
    mine = _table.user_id == user_id
    total = connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one()
    order = (_table.created_at, _table.id)
    rows = connection.execute(sa.select(*_shown).where(mine).order_by(*order).offset(skip).limit(limit)).all()
    return list(rows), total


def change(connection: Connection, user_id: int, session_id: str, changes: dict[str, Any]) -> AnyRow:
    """Change fields of the user's session and return its row. Raises NotFoundError."""
    found = get(connection, user_id, session_id)
    connection.execute(sessions.update().where(_table.id == found.id).values(**changes, updated_at=now()))
    return get(connection, user_id, session_id)


def delete(connection: Connection, user_id: int, session_id: str) -> list[str]:
    """Delete the user's session and its messages; return the references of the files that these named. Raises NotFoundError."""
    # Locked first, or an answer that is being stored below one of its messages and this would wait for each other.
    found = get_locked(connection, user_id, session_id)
    here = messages.c.session_id == found.id
    named = sa.select(messages.c.file_reference).where(here, messages.c.file_reference.is_not(None)).distinct()
    references = list(connection.execute(named).scalars())
    connection.execute(messages.delete().where(here))
    connection.execute(sessions.delete().where(_table.id == found.id))
    return references


def delete_empty(connection: Connection, session_id: str) -> None:
    """Delete a session that has no messages; one that has some stays."""
    connection.execute(
        sessions.delete().where(_table.id == session_id, ~sa.exists().where(messages.c.session_id == session_id))
    )


def move_head(connection: Connection, session_id: str, head_id: int | None) -> None:
    """Make ``head_id`` the tip of the session's current branch; with None the next message begins anew."""
    _move.run(connection, {"this": session_id, "head": head_id, "moment": now()})


def advance_head(connection: Connection, session_id: str, found_id: int | None, head_id: int) -> None:
    """Make ``head_id`` the tip of the current branch if that is still ``found_id``; one that was moved meanwhile stays where it is."""
    parameters = {"this": session_id, "found": found_id, "head": head_id, "moment": now()}
    _advance.run(connection, parameters)


def _row(row: AnyRow | None) -> AnyRow:
    if row is None:
        raise NotFoundError("There is no such session.")
    return row
