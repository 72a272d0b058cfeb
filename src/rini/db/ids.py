"""Ids of rows that name each other before they are stored."""

from array import array

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_drawn = sa.text("SELECT nextval(pg_get_serial_sequence(:name, 'id')) FROM generate_series(1, :count)")
_last = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")


def new_ids(connection: Connection, table: sa.Table, count: int) -> "array[int]":
    """Return ids of a table with a ``big_id`` that nobody else gets, in rising order.

    On SQLite they are only this transaction's, and only until it ends.
    """
    if not count:
        return array("q")
    if connection.dialect.name == "postgresql":
        return array("q", sorted(connection.execute(_drawn, {"name": table.name, "count": count}).scalars()))
    first = (connection.execute(_last, {"name": table.name}).scalar() or 0) + 1
    return array("q", range(first, first + count))
