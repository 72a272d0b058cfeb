"""Stored files in the database. Each function is a unit of work, or a part of one.

Messages and users live above this feature; of their tables it knows what it must: that a message names its file, and a file its user.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import AnyRow
from rini.files.tables import stored_files
from rini.kit.clock import now

AT_ONCE = 500

_table = stored_files.c
_messages = sa.table("messages", sa.column("file_reference"))
_users = sa.table("users", sa.column("id"))
_named = sa.exists().where(_messages.c.file_reference == _table.reference)


def add(connection: Connection, reference: str, user_id: int, mime_type: str, size: int) -> None:
    """Store the row of a file that is about to be kept."""
    connection.execute(
        stored_files.insert().values(
            reference=reference, user_id=user_id, mime_type=mime_type, size_bytes=size, created_at=now()
        )
    )


def remove(connection: Connection, references: Sequence[str]) -> None:
    """Delete the rows of files that are gone."""
    for some in _batches(references):
        connection.execute(stored_files.delete().where(_table.reference.in_(some)))


def unnamed(connection: Connection, references: Sequence[str]) -> list[AnyRow]:
    """Return reference and user of those files that no message names."""
    query = sa.select(_table.reference, _table.user_id)
    return [
        row
        for some in _batches(references)
        for row in connection.execute(query.where(_table.reference.in_(some), ~_named)).all()
    ]


def of_user(connection: Connection, user_id: int) -> list[AnyRow]:
    """Return reference and user of all files of a user."""
    return list(connection.execute(sa.select(_table.reference, _table.user_id).where(_table.user_id == user_id)).all())


def left_behind(connection: Connection, after: str, before: datetime) -> tuple[list[AnyRow], str | None]:
    """Look at some files whose references follow ``after``.

    Returns reference and user of those that were stored before ``before`` and that no message names, or whose user is gone; and where
    to go on, None at the end.
    """
    some = (
        sa.select(_table.reference, _table.user_id, _table.created_at)
        .where(_table.reference > after)
        .order_by(_table.reference)
        .limit(AT_ONCE)
        .subquery()
    )
    named = sa.exists().where(_messages.c.file_reference == some.c.reference)
    owned = sa.exists().where(_users.c.id == some.c.user_id)
    gone = sa.or_(~owned, sa.and_(some.c.created_at < before, ~named)).label("gone")
    rows = connection.execute(sa.select(some.c.reference, some.c.user_id, gone).order_by(some.c.reference)).all()
    return [row for row in rows if row.gone], rows[-1].reference if len(rows) == AT_ONCE else None


def _batches(references: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(references), AT_ONCE):
        yield references[start : start + AT_ONCE]
