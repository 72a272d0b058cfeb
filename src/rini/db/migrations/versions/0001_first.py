"""Users, provider keys, sessions, messages, usage."""

import sqlalchemy as sa
from alembic import op

from rini.db.base import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

big = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("origin", sa.String(64), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_users_origin_created_at", "users", ["origin", "created_at"])
    op.create_table(
        "provider_keys",
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("model_provider", sa.String(64), nullable=False),
        sa.Column("description", sa.Text, nullable=True),
        sa.Column("base_url", sa.Text, nullable=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("master_key_id", sa.String(16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_provider_keys_user_id_model_provider", "provider_keys", ["user_id", "model_provider"])
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("alias", sa.Text, nullable=True),
        sa.Column("system_prompt", sa.Text, nullable=True),
        sa.Column("memory_mode", sa.String(16), nullable=False),
        sa.Column("head_id", big, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_sessions_user_id_created_at", "sessions", ["user_id", "created_at"])
    op.create_table(
        "messages",
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("session_id", sa.String(36), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("parent_message_id", big, sa.ForeignKey("messages.id"), nullable=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
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
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_messages_session_id_id", "messages", ["session_id", "id"])
    op.create_index("ix_messages_parent_message_id", "messages", ["parent_message_id"])
    op.create_index("ix_messages_user_id", "messages", ["user_id"])
    op.create_table(
        "usage_records",
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("call_id", sa.String(32), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=True),
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=True),
        sa.Column("message_id", big, nullable=True),
        sa.Column("key_id", big, nullable=True),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("input_tokens", sa.Integer, nullable=True),
        sa.Column("output_tokens", sa.Integer, nullable=True),
        sa.Column("cache_read_tokens", sa.Integer, nullable=True),
        sa.Column("cache_write_tokens", sa.Integer, nullable=True),
        sa.Column("cache_write_1h_tokens", sa.Integer, nullable=True),
        sa.Column("reasoning_tokens", sa.Integer, nullable=True),
        sa.Column("input_audio_tokens", sa.Integer, nullable=True),
        sa.Column("output_audio_tokens", sa.Integer, nullable=True),
        sa.Column("usage_estimated", sa.Boolean, nullable=False),
        sa.Column("cost_pico_usd", sa.BigInteger, nullable=True),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("error_code", sa.String(64), nullable=True),
        sa.Column("latency_ms", sa.Integer, nullable=True),
        sa.Column("first_token_ms", sa.Integer, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.UniqueConstraint("call_id", name="uq_usage_records_call_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_usage_records_user_id_created_at", "usage_records", ["user_id", "created_at"])


def downgrade() -> None:
    for table in ("usage_records", "messages", "sessions", "provider_keys", "users"):
        op.drop_table(table)
