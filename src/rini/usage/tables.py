"""The tables of the ledger: a row for every call, and their sums by day."""

from typing import Any

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
    sa.Index(
        "ix_usage_records_message_id",
        "message_id",
        sqlite_where=sa.text("message_id IS NOT NULL"),
        postgresql_where=sa.text("message_id IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)


def _sums() -> list[sa.Column[Any]]:
    """Return the columns of a table of sums. They are BigInteger: a day adds up."""
    return [
        # What a row is not about is "" or 0: in a primary key there is no NULL.
        sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("provider", sa.String(64), primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("key_id", big_int(), primary_key=True, autoincrement=False),
        # Writers of Postgres that work at the same time keep rows of their own, or they would wait for each other.
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_pico_usd", PicoUsd(), key="cost_usd", nullable=False),
        # Calls with tokens and without a price; they are not in the cost.
        sa.Column("unpriced_calls", sa.BigInteger, nullable=False),
        # Calls that broke off, so that their tokens, and what is in the cost of them, are estimated.
        sa.Column("estimated_calls", sa.BigInteger, nullable=False),
    ]


usage_days = sa.Table("usage_days", metadata, *_sums())
usage_session_days = sa.Table(
    "usage_session_days",
    metadata,
    *_sums(),
    # Of calls in a session alone.
    sa.Column("session_id", sa.String(36), primary_key=True),
    sa.Index("ix_usage_session_days_session_id", "session_id"),
)
