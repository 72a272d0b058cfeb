"""The table of the ledger."""

import sqlalchemy as sa

from rini.db import PicoUsd, UtcDateTime, big_id, big_int, metadata

usage_records = sa.Table(
    "usage_records",
    metadata,
    big_id(),
    # Made when the call begins, so that a row that is written twice (after a crash) is found out.
    sa.Column("call_id", sa.String(32), nullable=False),
    sa.Column("request_id", sa.String(128), nullable=True),
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # Plain values: what was spent stays when the session, the message or the key is deleted.
    sa.Column("session_id", sa.String(36), nullable=True),
    sa.Column("message_id", big_int(), nullable=True),
    sa.Column("key_id", big_int(), nullable=True),
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
    # The call broke off before the provider told its usage.
    sa.Column("usage_estimated", sa.Boolean, nullable=False),
    # NULL: unpriced, which is not the same as free.
    sa.Column("cost_pico_usd", PicoUsd(), key="cost_usd", nullable=True),
    sa.Column("outcome", sa.String(32), nullable=False),
    sa.Column("error_code", sa.String(64), nullable=True),
    sa.Column("latency_ms", sa.Integer, nullable=True),
    sa.Column("first_token_ms", sa.Integer, nullable=True),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.UniqueConstraint("call_id"),
    sa.Index("ix_usage_records_user_id_created_at", "user_id", "created_at"),
    sqlite_autoincrement=True,
)
