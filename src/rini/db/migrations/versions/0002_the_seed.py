"""Memory, MCP connections, stored files, and the ledger's sums by day."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from rini.db.base import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
HAS_FILE = sa.text("file_reference IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "memory_entries",
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("session_id", sa.String(36), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=True),
        sa.Column("memory_type", sa.String(32), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("source_message_ids", sa.Text, nullable=True),
        sa.Column("keywords", sa.Text, nullable=True),
        sa.Column("importance", sa.Double, nullable=True),
        sa.Column("timestamp", UtcDateTime(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_memory_entries_user_id_session_id", "memory_entries", ["user_id", "session_id", "importance", "timestamp"]
    )
    op.create_index("ix_memory_entries_session_id", "memory_entries", ["session_id"])
    op.create_table(
        "mcp_connections",
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("transport", sa.String(32), nullable=False),
        sa.Column("description", sa.Text, nullable=True),
        sa.Column("sealed_headers", sa.LargeBinary, nullable=True),
        sa.Column("master_key_id", sa.String(16), nullable=True),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("allowed_tools", sa.Text, nullable=True),
        sa.Column("timeout_seconds", sa.Double, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_mcp_connections_user_id", "mcp_connections", ["user_id"])
    op.create_table(
        "stored_files",
        sa.Column("reference", sa.String(36), primary_key=True),
        sa.Column("user_id", big, nullable=False),
        sa.Column("mime_type", sa.String(255), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_stored_files_user_id", "stored_files", ["user_id"])
    op.add_column("messages", sa.Column("memory_ids", sa.Text, nullable=True))
    op.create_index(
        "ix_messages_file_reference",
        "messages",
        ["file_reference"],
        sqlite_where=HAS_FILE,
        postgresql_where=HAS_FILE,
    )
    op.create_table("usage_days", *_sums())
    op.create_table("usage_session_days", *_sums(), sa.Column("session_id", sa.String(36), primary_key=True))
    op.create_index("ix_usage_session_days_session_id", "usage_session_days", ["session_id"])
    fill_sums()


def downgrade() -> None:
    for table in ("usage_session_days", "usage_days", "stored_files", "mcp_connections", "memory_entries"):
        op.drop_table(table)
    op.drop_index("ix_messages_file_reference", "messages")
    op.drop_column("messages", "memory_ids")


def _sums() -> list[sa.Column[Any]]:
    return [
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("provider", sa.String(64), primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("key_id", big, primary_key=True, autoincrement=False),
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_pico_usd", sa.BigInteger, nullable=False),
        sa.Column("unpriced_calls", sa.BigInteger, nullable=False),
        sa.Column("estimated_calls", sa.BigInteger, nullable=False),
    ]


def fill_sums() -> None:
    """Fill the ledger's sums from the rows that are there already."""
    _add_up("usage_days", "", "")
    _add_up("usage_session_days", ", session_id", " WHERE session_id IS NOT NULL")


def _add_up(table: str, column: str, where: str) -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    day = "substr(created_at, 1, 10)" if sqlite else "(created_at AT TIME ZONE 'UTC')::date"
    least = "min" if sqlite else "least"
    # Dollars and the rest apart: SQLite's sum of integers fails beyond 2^63, where usage.days stops too.
    cost = "sum(cost_pico_usd / 1000000000000) * 1000000000000 + sum(cost_pico_usd % 1000000000000)"
    has_tokens = "coalesce(input_tokens, 0) > 0 OR coalesce(output_tokens, 0) > 0"
    op.execute(
        f"""
        INSERT INTO {table} (user_id, day, provider, model, key_id, shard, calls, input_tokens, output_tokens,
            cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_pico_usd, unpriced_calls,
            estimated_calls{column})
        SELECT user_id, {day}, provider, model, coalesce(key_id, 0), 0, count(*), coalesce(sum(input_tokens), 0),
            coalesce(sum(output_tokens), 0), coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_tokens), 0),
            coalesce(sum(reasoning_tokens), 0),
            {least}(coalesce({cost}, 0), 9223372036854775807),
            sum(CASE WHEN cost_pico_usd IS NULL AND (outcome <> 'refused' OR {has_tokens}) THEN 1 ELSE 0 END),
            sum(CASE WHEN usage_estimated THEN 1 ELSE 0 END){column}
        FROM usage_records{where}
        GROUP BY user_id, {day}, provider, model, coalesce(key_id, 0){column}
        """
    )
