"""The ledger's rows, newest first: a page of them, and all of them as CSV.

Which days hold rows, and how many, is known from the sums: only those days are read, and skipped days cost nothing.
"""

import csv
import io
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import AnyRow, Database
from rini.errors import NotFoundError
from rini.usage.costs import days_with_calls
from rini.usage.filters import Filter
from rini.usage.tables import usage_records

EXPORTED_AT_ONCE = 1000
_table = usage_records.c

SHOWN = {
    "id": _table.id,
    "call_id": _table.call_id,
    "request_id": _table.request_id,
    "created_at": _table.created_at,
    "endpoint": _table.endpoint,
    "provider": _table.provider,
    "model": _table.model,
    "session_id": _table.session_id,
    "message_id": _table.message_id,
    "key_id": _table.key_id,
    "stream": _table.stream,
    "prompt_tokens": _table.input_tokens,
    "completion_tokens": _table.output_tokens,
    "cache_read_tokens": _table.cache_read_tokens,
    "cache_write_tokens": _table.cache_write_tokens,
    "cache_write_1h_tokens": _table.cache_write_1h_tokens,
    "reasoning_tokens": _table.reasoning_tokens,
    "prompt_audio_tokens": _table.input_audio_tokens,
    "completion_audio_tokens": _table.output_audio_tokens,
    "usage_estimated": _table.usage_estimated,
    "cost_usd": _table.cost_usd,
    "outcome": _table.outcome,
    "error_code": _table.error_code,
    "latency_ms": _table.latency_ms,
    "first_token_ms": _table.first_token_ms,
}
"""What is shown of a row, by the names that it is shown under."""

_shown = [column.label(name) for name, column in SHOWN.items()]

Place = tuple[datetime, int]
"""Where a row stands: its time and its id."""


def page(
    connection: Connection, user_id: int, chosen: Filter, skip: int, limit: int, before: int | None = None
) -> tuple[list[AnyRow], int]:
    """Return some of the user's rows, newest first, and how many there are in all.

    ``before`` is the id of a row: only what comes after it in the list. Raises NotFoundError where the user has no such row.
    """
    cursor = _place(connection, user_id, before) if before is not None else None
    days = days_with_calls(connection, user_id, chosen)
    rows: list[AnyRow] = []
    for day, calls in days:
        if len(rows) == limit:
            break
        if cursor is not None and day > cursor[0].date():
            continue
        if skip >= calls:
            skip -= calls
            continue
        here = cursor if cursor is not None and day == cursor[0].date() else None
        rows += _of_day(connection, user_id, chosen, day, here, limit - len(rows), skip)
        skip = 0
    return rows, sum(calls for _, calls in days)


async def as_csv(
    database: Database, user_id: int, chosen: Filter, days: Sequence[tuple[date, int]]
) -> AsyncGenerator[bytes]:
    """Yield the rows of these days as CSV (RFC 4180, UTF-8), newest first, after a row of names.

    No transaction is open between two pieces, so a slow reader holds nothing up. What the database fails with is raised, also
    in the middle.
    """
    yield _lines([list(SHOWN)])
    for day, _ in days:
        cursor: Place | None = None
        while True:
            lines, cursor = await database.read(_exported, user_id, chosen, day, cursor)
            if lines:
                yield lines
            if cursor is None:
                break


def _exported(
    connection: Connection, user_id: int, chosen: Filter, day: date, cursor: Place | None
) -> tuple[bytes, Place | None]:
    """Return some rows of a day as lines, and where to go on, unless these were the last."""
    rows = _of_day(connection, user_id, chosen, day, cursor, EXPORTED_AT_ONCE)
    last = rows[-1] if len(rows) == EXPORTED_AT_ONCE else None
    return _lines([[_cell(value) for value in row] for row in rows]), (last.created_at, last.id) if last else None


def _place(connection: Connection, user_id: int, record_id: int) -> Place:
    statement = sa.select(_table.created_at, _table.id).where(_table.id == record_id, _table.user_id == user_id)
    row = connection.execute(statement).first()
    if row is None:
        raise NotFoundError(f"There is no usage record {record_id}.")
    return row.created_at, row.id


def _of_day(
    connection: Connection, user_id: int, chosen: Filter, day: date, cursor: Place | None, limit: int, skip: int = 0
) -> list[AnyRow]:
    midnight = datetime.combine(day, time(), UTC)
    statement = (
        sa.select(*_shown)
        .where(_table.user_id == user_id, _table.created_at >= midnight, *chosen.on_rows(_table))
        .order_by(_table.created_at.desc(), _table.id.desc())
        .limit(limit)
        .offset(skip)
    )
    if cursor is None:
        statement = statement.where(_table.created_at < midnight + timedelta(days=1))
    else:
        moment, record_id = cursor
        statement = statement.where(
            _table.created_at <= moment, sa.or_(_table.created_at < moment, _table.id < record_id)
        )
    return list(connection.execute(statement).all())


# With these a cell begins that a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def _cell(value: Any) -> Any:
    match value:
        case str():
            return f"'{value}" if value.startswith(_FORMULA) else value
        case bool():
            return "true" if value else "false"
        case Decimal():
            return plain(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case _:
            return value


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def plain(usd: Decimal) -> str:
    """Return an amount in full, without an exponent and without zeros at its end."""
    text = f"{usd:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
