"""The table of users' MCP connections."""

import sqlalchemy as sa

from rini.db import UtcDateTime, big_id, big_int, metadata

mcp_connections = sa.Table(
    "mcp_connections",
    metadata,
    big_id(),
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("transport", sa.String(32), nullable=False),
    sa.Column("description", sa.Text, nullable=True),
    # A JSON object of header names and values, encrypted; NULL: none.
    sa.Column("sealed_headers", sa.LargeBinary, nullable=True),
    sa.Column("master_key_id", sa.String(16), nullable=True),
    sa.Column("enabled", sa.Boolean, nullable=False),
    # A JSON array of tools' names; NULL: all.
    sa.Column("allowed_tools", sa.Text, nullable=True),
    sa.Column("timeout_seconds", sa.Double, nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
    sa.Index("ix_mcp_connections_user_id", "user_id"),
    sqlite_autoincrement=True,
)
