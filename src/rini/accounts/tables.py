"""The tables of accounts."""

import sqlalchemy as sa

from rini.db import UtcDateTime, big_id, big_int, metadata

users = sa.Table(
    "users",
    metadata,
    big_id(),
    # A keyed hash of the address that signed up: enough to count by, not to tell who it was.
    sa.Column("origin", sa.String(64), nullable=True),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_users_origin_created_at", "origin", "created_at"),
    sqlite_autoincrement=True,
)

provider_keys = sa.Table(
    "provider_keys",
    metadata,
    big_id(),
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("model_provider", sa.String(64), nullable=False),
    sa.Column("description", sa.Text, nullable=True),
    sa.Column("base_url", sa.Text, nullable=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("master_key_id", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
    sa.Index("ix_provider_keys_user_id_model_provider", "user_id", "model_provider"),
    sqlite_autoincrement=True,
)
