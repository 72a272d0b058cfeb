"""The table of stored files: a row for every blob, made before the blob is and gone after it."""

import sqlalchemy as sa

from rini.db import UtcDateTime, big_int, metadata

stored_files = sa.Table(
    "stored_files",
    metadata,
    sa.Column("reference", sa.String(36), primary_key=True),
    # Plain values: the row outlives its user and message until the blob is gone too.
    sa.Column("user_id", big_int(), nullable=False),
    sa.Column("mime_type", sa.String(255), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_stored_files_user_id", "user_id"),
)
