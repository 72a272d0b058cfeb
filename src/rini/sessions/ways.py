"""Ways through a session's tree: to a message, below it, beside it; and the head, which names the current branch."""

from collections.abc import Container

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import AnyRow
from rini.errors import AnswerRunningError, HeadMovedError, InvalidRequestError
from rini.sessions import messages, repository
from rini.sessions.ancestry import ancestor_at
from rini.sessions.tables import messages as table

_table = table.c


def _stretch() -> sa.Select[*tuple[object, ...]]:
    """Return the select of a leaf's ancestors and itself down from a depth, root first."""
    leaf = sa.select(*table.columns).where(_table.id == sa.bindparam("leaf"))
    walk = leaf.cte("walk", recursive=True)
    above = (
        sa.select(*table.columns)
        .join(walk, _table.id == walk.c.parent_message_id)
        .where(_table.depth >= sa.bindparam("from_depth"))
    )
    walk = walk.union_all(above)
    return sa.select(*(walk.c[column.key] for column in table.columns)).order_by(walk.c.depth)


_way = _stretch()


def path(connection: Connection, user_id: int, message_id: int, skip: int, limit: int) -> tuple[list[AnyRow], int]:
    """Return some messages of the way from the root to a message, root first, and how many there are. Raises NotFoundError."""
    row = messages.get(connection, user_id, message_id)
    total = row.depth + 1
    if skip >= total:
        return [], total
    leaf = ancestor_at(connection, row.id, min(skip + limit - 1, row.depth))
    return list(connection.execute(_way, {"leaf": leaf, "from_depth": skip})), total


def children(connection: Connection, user_id: int, message_id: int, skip: int, limit: int) -> tuple[list[AnyRow], int]:
    """Return some of the messages right below one, oldest first, and how many there are. Raises NotFoundError."""
    row = messages.get(connection, user_id, message_id)
    return _some(connection, _table.parent_message_id == row.id, skip, limit)


def siblings(connection: Connection, user_id: int, message_id: int, skip: int, limit: int) -> tuple[list[AnyRow], int]:
    """Return some of the messages that have the same parent as one, itself among them, oldest first, and how many there are.

    Raises NotFoundError.
    """
    row = messages.get(connection, user_id, message_id)
    if row.parent_message_id is not None:
        return _some(connection, _table.parent_message_id == row.parent_message_id, skip, limit)
    return _some(
        connection,
        sa.and_(_table.session_id == row.session_id, _table.parent_message_id.is_(None)),
        skip,
        limit,
    )


def set_head(
    connection: Connection, user_id: int, session_id: str, message_id: int | None, expected: Container[int] | None
) -> AnyRow:
    """Make a message the tip of the session's current branch, and return the session's row.

    Only if the head is still one of ``expected``, 0 for none; None: whatever it is. Raises NotFoundError, HeadMovedError,
    InvalidRequestError, AnswerRunningError.
    """
    session = repository.get_locked(connection, user_id, session_id)
    if expected is not None and (session.head_message_id or 0) not in expected:
        raise HeadMovedError(session.head_message_id)
    if message_id is not None:
        status = connection.execute(
            sa.select(_table.status).where(_table.id == message_id, _table.session_id == session.id)
        ).scalar()
        if status is None:
            raise InvalidRequestError(f"message_id: there is no message {message_id} in this session.")
        if status == messages.RUNNING:
            raise AnswerRunningError(message_id)
    repository.move_head(connection, session.id, message_id)
    return repository.get(connection, user_id, session_id)


def _some(connection: Connection, condition: sa.ColumnElement[bool], skip: int, limit: int) -> tuple[list[AnyRow], int]:
    total = connection.execute(sa.select(sa.func.count()).select_from(table).where(condition)).scalar_one()
    rows = connection.execute(sa.select(table).where(condition).order_by(_table.id).offset(skip).limit(limit))
    return list(rows), total
