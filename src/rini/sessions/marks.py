"""What users write on messages: labels and notes."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import AnyRow, Prepared, among
from rini.sessions import messages
from rini.sessions.tables import message_labels
from rini.sessions.tables import messages as message_table

MOST_LABELS = 50

_BATCH = 5000
_label = message_labels.c
_labels = Prepared(
    sa.select(_label.message_id, _label.label).where(among(_label.message_id, "messages")).order_by(_label.label)
)


def labels_of(connection: Connection, message_ids: Sequence[int]) -> dict[int, list[str]]:
    """Return the labels of messages, in the order of the alphabet; what has none is left out."""
    found: dict[int, list[str]] = {}
    for start in range(0, len(message_ids), _BATCH):
        some = message_ids[start : start + _BATCH]
        for message_id, label in _labels.tuples(connection, {"messages": some}):
            found.setdefault(message_id, []).append(label)
    return found


def mark(
    connection: Connection,
    user_id: int,
    message_id: int,
    *,
    labels: Sequence[str] | None,
    note: str | None,
    sets_note: bool,
) -> AnyRow:
    """Replace a message's labels (None: they stay) and its note, and return its row. Raises NotFoundError."""
    found = messages.get(connection, user_id, message_id)
    if labels is not None:
        connection.execute(message_labels.delete().where(_label.message_id == found.id))
        rows = [{"message_id": found.id, "label": label, "user_id": user_id} for label in dict.fromkeys(labels)]
        if rows:
            connection.execute(message_labels.insert(), rows)
    if sets_note:
        connection.execute(message_table.update().where(message_table.c.id == found.id).values(note=note))
    return messages.get(connection, user_id, message_id)


def counted(connection: Connection, user_id: int) -> list[AnyRow]:
    """Return the user's labels, each with the number of messages that have it."""
    query = (
        sa.select(_label.label, sa.func.count().label("messages"))
        .where(_label.user_id == user_id)
        .group_by(_label.label)
        .order_by(_label.label)
    )
    return list(connection.execute(query))


def labelled(connection: Connection, user_id: int, label: str, skip: int, limit: int) -> tuple[list[AnyRow], int]:
    """Return some of the user's messages with a label, the newest first, and how many there are."""
    having = sa.select(message_table).join(message_labels, _label.message_id == message_table.c.id)
    having = having.where(_label.user_id == user_id, _label.label == label)
    total = connection.execute(sa.select(sa.func.count()).select_from(having.subquery())).scalar_one()
    rows = connection.execute(having.order_by(message_table.c.id.desc()).offset(skip).limit(limit))
    return list(rows), total
