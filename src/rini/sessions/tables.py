"""The tables of sessions."""

import sqlalchemy as sa

from rini.db import UtcDateTime, big_id, big_int, metadata

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("alias", sa.Text, nullable=True),
    sa.Column("system_prompt", sa.Text, nullable=True),
    sa.Column("memory_mode", sa.String(16), nullable=False),
    # The tip of the current branch. No foreign key: messages already point here, and a deleted tip is only a hint gone.
    sa.Column("head_id", big_int(), nullable=True),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
    sa.Index("ix_sessions_user_id_created_at", "user_id", "created_at"),
)

messages = sa.Table(
    "messages",
    metadata,
    big_id(),
    sa.Column("session_id", sa.String(36), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # Without a cascade: SQLite would descend a long conversation recursively, and it stops at a depth of 1,000.
    sa.Column("parent_message_id", big_int(), sa.ForeignKey("messages.id"), nullable=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    # The canonical parts as JSON, where they are more than the content's plain text.
    sa.Column("parts", sa.Text, nullable=True),
    sa.Column("origin", sa.String(32), nullable=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("status_reason", sa.Text, nullable=True),
    sa.Column("finish_reason", sa.String(32), nullable=True),
    sa.Column("file_reference", sa.Text, nullable=True),
    sa.Column("original_filename", sa.Text, nullable=True),
    sa.Column("mime_type", sa.String(255), nullable=True),
    sa.Column("model_used", sa.Text, nullable=True),
    sa.Column("token_count", sa.Integer, nullable=True),
    sa.Column("prompt_tokens", sa.Integer, nullable=True),
    sa.Column("completion_tokens", sa.Integer, nullable=True),
    sa.Column("response_time_ms", sa.Integer, nullable=True),
    # Of an answer: the memory that the model was given, a JSON array of ids.
    sa.Column("memory_ids", sa.Text, nullable=True),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_messages_session_id_id", "session_id", "id"),
    sa.Index("ix_messages_parent_message_id", "parent_message_id"),
    sa.Index("ix_messages_user_id", "user_id"),
    sa.Index(
        "ix_messages_file_reference",
        "file_reference",
        sqlite_where=sa.text("file_reference IS NOT NULL"),
        postgresql_where=sa.text("file_reference IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)
