"""The ledger's sums by day: every row is added to them in the transaction that writes it, so that a report need not read rows."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from rini.db import PicoUsd, run_by_driver
from rini.usage.tables import usage_days, usage_session_days
from rini.usage.usage_record import UsageRecord

SHARDS = 64
"""How many connections to Postgres, of all processes, add to rows of their own. More of them share, and wait for each other's commits."""

LARGEST = 2**63 - 1
"""Where the sum of a day's cost stops (9.2 million USD): what a provider says about its tokens must not break a write."""

SUMMED = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
    "unpriced_calls",
    "estimated_calls",
)
_COST = SUMMED.index("cost_usd")

_Key = tuple[Any, ...]
_Sums = dict[_Key, list[int]]


def _upserts(table: sa.Table) -> Mapping[str, str]:
    """Return by dialect the statement that adds to a row or makes it. Its parameters are the table's columns, in their order."""
    made: dict[str, str] = {}
    for name, dialect, least in (
        ("sqlite", sqlite.dialect(), sa.func.min),
        ("postgresql", postgresql.dialect(paramstyle="format"), sa.func.least),
    ):
        insert = (sqlite if name == "sqlite" else postgresql).insert(table)
        added: dict[sa.Column[Any], Any] = {table.c[each]: table.c[each] + insert.excluded[each] for each in SUMMED}
        # Numeric, or Postgres would refuse the addition before it is limited. SQLite goes on in floating point by itself.
        cost = sa.cast(sa.type_coerce(table.c.cost_usd, sa.BigInteger), sa.Numeric)
        added[table.c.cost_usd] = least(
            cost + sa.type_coerce(insert.excluded.cost_usd, sa.BigInteger), sa.literal_column(str(LARGEST))
        )
        upsert = insert.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=added)
        made[name] = str(upsert.compile(dialect=dialect, column_keys=[column.key for column in table.columns]))
    return made


# Made once, and run past SQLAlchemy's own execution: this is on the way of every call.
_add_to_days = _upserts(usage_days)
_add_to_session_days = _upserts(usage_session_days)
_pico = PicoUsd().process_bind_param

_SHARD = "rini.usage.shard"
# The lock is the connection's until it closes. The two numbers are a space of their own, apart from the migration's lock.
_free_shard = sa.text(
    "SELECT shard FROM generate_series(0, CAST(:last AS integer)) AS shard "
    "WHERE pg_try_advisory_lock(7236018, shard) LIMIT 1"
).bindparams(last=SHARDS - 1)


def add(connection: Connection, records: Sequence[UsageRecord]) -> None:
    """Add rows to the sums of their days, and those of calls in a session to the session's sums too."""
    dialect = connection.dialect
    days: _Sums = {}
    sessions: _Sums = {}
    for record in records:
        counts = (
            1,
            record.input_tokens or 0,
            record.output_tokens or 0,
            record.cache_read_tokens or 0,
            record.cache_write_tokens or 0,
            record.reasoning_tokens or 0,
            _pico(record.cost_usd, dialect) or 0,
            1 if _is_unpriced(record) else 0,
            1 if record.usage_estimated else 0,
        )
        day = record.created_at.astimezone(UTC).date().isoformat()
        key = (record.user_id, day, record.provider, record.model, record.key_id or 0)
        _add(days, key, counts)
        if record.session_id is not None:
            _add(sessions, (*key, record.session_id), counts)
    shard = _shard(connection)
    _write(connection, _add_to_days[dialect.name], days, shard)
    if sessions:
        _write(connection, _add_to_session_days[dialect.name], sessions, shard)


def _is_unpriced(record: UsageRecord) -> bool:
    """Tell whether nobody knows what the call cost. A call that was refused before any token cost nothing."""
    return record.cost_usd is None and (
        record.outcome != "refused" or bool(record.input_tokens or record.output_tokens)
    )


def _add(sums: _Sums, key: _Key, counts: tuple[int, ...]) -> None:
    found = sums.get(key)
    sums[key] = list(counts) if found is None else [a + b for a, b in zip(found, counts, strict=True)]


def _write(connection: Connection, statement: str, sums: _Sums, shard: int) -> None:
    # In one order, so that two transactions that do share a shard do not wait for each other both.
    rows = [(*key[:5], shard, *_limited(sums[key]), *key[5:]) for key in sorted(sums)]
    many = len(rows) > 1
    run_by_driver(connection, statement, rows if many else rows[0], many=many).close()


def _limited(counts: list[int]) -> list[int]:
    counts[_COST] = min(counts[_COST], LARGEST)
    return counts


def _shard(connection: Connection) -> int:
    """Return a number that no other connection writes under, as long as it lives. SQLite has one writer."""
    if connection.dialect.name == "sqlite":
        return 0
    if _SHARD not in connection.info:
        shard = connection.execute(_free_shard).scalar()
        if shard is None:
            driver: Any = connection.connection.dbapi_connection
            shard = driver.info.backend_pid % SHARDS
        connection.info[_SHARD] = shard
    return connection.info[_SHARD]
