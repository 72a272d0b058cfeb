"""The table of memory."""

import sqlalchemy as sa

from rini.db import UtcDateTime, big_id, big_int, metadata

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
    # JSON arrays.
    sa.Column("source_message_ids", sa.Text, nullable=True),
    sa.Column("keywords", sa.Text, nullable=True),
    sa.Column("importance", sa.Double, nullable=True),
    # When it was made or last changed.
    sa.Column("timestamp", UtcDateTime(), nullable=False),
    sa.Index("ix_memory_entries_user_id_session_id", "user_id", "session_id"),
    sa.Index("ix_memory_entries_session_id", "session_id"),
    sqlite_autoincrement=True,
)
