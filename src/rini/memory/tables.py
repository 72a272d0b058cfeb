"""The table of memory."""

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from rini.db import UtcDateTime, big_id, big_int, metadata


class _JsonList(sa.TypeDecorator[list[Any]]):
    """A list in Python, a JSON array as text in the database."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> str | None:
        del dialect
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any | None, dialect: Dialect) -> list[Any] | None:
        del dialect
        return None if value is None else msgspec.json.decode(value, type=list[Any])


memory_entries = sa.Table(
    "memory_entries",
    metadata,
    big_id(),
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # NULL: shared by all of the user's sessions.
    sa.Column("session_id", sa.String(36), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=True),
    sa.Column("memory_type", sa.String(32), nullable=False),
    sa.Column("scope", sa.String(16), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("source_message_ids", _JsonList, nullable=True),
    sa.Column("keywords", _JsonList, nullable=True),
    sa.Column("importance", sa.Double, nullable=True),
    # When it was made or last changed.
    sa.Column("timestamp", UtcDateTime(), nullable=False),
    sa.Index("ix_memory_entries_user_id_session_id", "user_id", "session_id", "importance", "timestamp"),
    sa.Index("ix_memory_entries_session_id", "session_id"),
    sqlite_autoincrement=True,
)
