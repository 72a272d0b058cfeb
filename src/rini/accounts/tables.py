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

access_tokens = sa.Table(
    "access_tokens",
    metadata,
    big_id(),
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    # SHA-256 of the token, which has more randomness than any search goes through; hint is how it ends.
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("hint", sa.String(16), nullable=False),
    # A JSON array of the models that it may call; NULL: all.
    sa.Column("models", sa.Text, nullable=True),
    sa.Column("expires_at", UtcDateTime(), nullable=True),
    sa.Column("last_used_at", UtcDateTime(), nullable=True),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_access_tokens_user_id", "user_id"),
    sa.Index("ix_access_tokens_digest", "digest", unique=True),
    sqlite_autoincrement=True,
)
