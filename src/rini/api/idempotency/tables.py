"""The table of idempotency keys."""

import sqlalchemy as sa

from rini.db import UtcDateTime, big_int, metadata

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    # SHA-256 of the client's key.
    sa.Column("digest", sa.String(64), primary_key=True),
    # Of method, path, query, content type and body: the same key with another request is a mistake. SHA-256; of a long body half of
    # that of its beginning, and once all of it has come, half of that of all.
    sa.Column("fingerprint", sa.String(64), nullable=False),
    # Who works on it; NULL: it is over.
    sa.Column("worker_id", sa.String(32), nullable=True),
    sa.Column("request_id", sa.String(128), nullable=True),
    # The answer as it was sent. No status: it is not there, or nobody knows how far the request came.
    sa.Column("status", sa.Integer, nullable=True),
    # A JSON array of names and values.
    sa.Column("headers", sa.Text, nullable=True),
    # Compressed by zlib; NULL: it was too long to keep, or holds a secret.
    sa.Column("body", sa.LargeBinary, nullable=True),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_idempotency_keys_created_at", "created_at"),
)
