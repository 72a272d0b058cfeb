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
    # What happens when the path is longer than a model's context: refuse, truncate or compact.
    sa.Column("context_policy", sa.String(16), nullable=False, server_default="compact"),
    # A client's own names and values (OpenAI's conversations have some), as a JSON object.
    sa.Column("metadata", sa.Text, key="meta", nullable=True),
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
    # Both follow from the parent and never change: how far the root is, and an ancestor to jump to, so that any other one is found
    # in few steps (rini.sessions.ancestry).
    sa.Column("depth", sa.Integer, nullable=False, server_default="0"),
    sa.Column("jump_id", big_int(), nullable=True),
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
    # Of an answer: who was asked, by the names that the client used, and the provider's own word for the model.
    sa.Column("provider", sa.String(64), nullable=True),
    sa.Column("model_asked", sa.Text, nullable=True),
    sa.Column("model_used", sa.Text, nullable=True),
    # About how many tokens a model reads in it (rini.inference.estimate); NULL: not known.
    sa.Column("size_tokens", sa.Integer, nullable=True),
    sa.Column("token_count", sa.Integer, nullable=True),
    sa.Column("prompt_tokens", sa.Integer, nullable=True),
    sa.Column("completion_tokens", sa.Integer, nullable=True),
    sa.Column("response_time_ms", sa.Integer, nullable=True),
    # Of an answer: the memory that the model was given, a JSON array of ids.
    sa.Column("memory_ids", sa.Text, nullable=True),
    # Of an answer: the system text that its model was given, and the cut at which its path began.
    sa.Column("system_digest", sa.String(64), nullable=True),
    sa.Column("cut_id", big_int(), nullable=True),
    sa.Column("note", sa.Text, nullable=True),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_messages_session_id_id", "session_id", "id"),
    sa.Index("ix_messages_parent_message_id", "parent_message_id", "id"),
    sa.Index(
        "ix_messages_roots",
        "session_id",
        "id",
        sqlite_where=sa.text("parent_message_id IS NULL"),
        postgresql_where=sa.text("parent_message_id IS NULL"),
    ),
    sa.Index("ix_messages_user_id", "user_id"),
    sa.Index(
        "ix_messages_file_reference",
        "file_reference",
        sqlite_where=sa.text("file_reference IS NOT NULL"),
        postgresql_where=sa.text("file_reference IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

message_labels = sa.Table(
    "message_labels",
    metadata,
    sa.Column("message_id", big_int(), sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("label", sa.String(100), primary_key=True),
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Index("ix_message_labels_user_id_label", "user_id", "label"),
)

# Messages that are not found by their words yet (rini.sessions.search): such rows are made and gone many at once, which costs a fraction.
unindexed_messages = sa.Table(
    "unindexed_messages",
    metadata,
    sa.Column("message_id", big_int(), sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
)

# Where a path begins for a model that cannot read all of it. A cut belongs to the message that it follows, and so to every branch through
# that one and to no other; the messages before it stay.
context_cuts = sa.Table(
    "context_cuts",
    metadata,
    big_id(),
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # The last message that is left out.
    sa.Column("message_id", big_int(), sa.ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    # What stands for the messages before; NULL: nothing does.
    sa.Column("summary", sa.Text, nullable=True),
    # Why there is none although the session's policy is to make one: an error's code.
    sa.Column("reason", sa.String(64), nullable=True),
    # The context for which it was made: a model with a larger one passes over it. NULL: not known.
    sa.Column("window_tokens", sa.Integer, nullable=True),
    sa.Column("size_tokens", sa.Integer, nullable=False),
    sa.Column("provider", sa.String(64), nullable=True),
    sa.Column("model", sa.Text, nullable=True),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_context_cuts_message_id", "message_id"),
    sqlite_autoincrement=True,
)

# The system texts that models were given, memory included, each once.
system_texts = sa.Table(
    "system_texts",
    metadata,
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    # SHA-256 of the text.
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
