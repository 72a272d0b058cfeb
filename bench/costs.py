"""What a report on costs takes when the ledger is large: the wall clock, since it is the user who waits."""

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from bench import load, processes, report
from bench.bench import Bench
from bench.processes import Rini
from rini.accounts import users
from rini.db.migrate import MIGRATIONS
from rini.kit.clock import monotonic, now
from rini.usage.tables import usage_days, usage_records, usage_session_days

SECTION = "costs"
TITLE = "Reports on a large ledger, one at a time, wall time"
TARGET_MS = 100.0
ROWS = int(os.environ.get("BENCH_LEDGER_ROWS", "10000000"))
QUICK_ROWS = 200_000
AT_ONCE = 500_000
DAYS = 90
ASKED = 15

# Of every five calls one is the user's, of whose calls every other one is in a session, of twenty calls with one model;
# the rest has the other models in turn. The last of the twenty models has no price.
_CALL = {
    "call_id": ("printf('%032x', i)", "lpad(to_hex(i), 32, '0')"),
    "created_at": (
        "strftime('%Y-%m-%d %H:%M:%S', :begin + i * :step, 'unixepoch') || '.000000'",
        "to_timestamp(:begin + i * :step)",
    ),
    "user_id": ("CASE WHEN i % 5 = 0 THEN :mine ELSE :others + i % 40 END",) * 2,
    "session_id": (
        "CASE WHEN i % 10 = 0 THEN printf('00000000-0000-4000-8000-%012x', i / 200) END",
        "CASE WHEN i % 10 = 0 THEN '00000000-0000-4000-8000-' || lpad(to_hex(i / 200), 12, '0') END",
    ),
    "model": ("'model-' || CASE WHEN i % 10 = 0 THEN i / 200 % 20 ELSE i / 5 % 20 END",) * 2,
    "cost_pico_usd": (
        "CASE WHEN CASE WHEN i % 10 = 0 THEN i / 200 % 20 ELSE i / 5 % 20 END < 19 THEN i % 1000 * 1000001 END",
    )
    * 2,
    "key_id": ("1",) * 2,
    "endpoint": ("'/llm/chat-completions/'",) * 2,
    "provider": ("'openai'",) * 2,
    "stream": ("false",) * 2,
    "usage_estimated": ("false",) * 2,
    "outcome": ("'complete'",) * 2,
    "input_tokens": ("i % 5000",) * 2,
    "output_tokens": ("i % 700",) * 2,
    "latency_ms": ("i % 3000",) * 2,
}
_NUMBERS = (
    "WITH RECURSIVE numbers(i) AS (VALUES (:first) UNION ALL SELECT i + 1 FROM numbers WHERE i < :last) SELECT i FROM numbers",
    "SELECT generate_series(CAST(:first AS bigint), :last) AS i",
)


async def measure(bench: Bench) -> AsyncIterator[report.Figure]:
    """Measure on SQLite, then on Postgres where it is installed."""
    for figure in await _on(bench, "SQLite", ""):
        yield figure
    if bench.quick:
        return
    try:
        with processes.postgres() as postgres:
            for figure in await _on(bench, "Postgres", postgres.url):
                yield figure
    except processes.NoPostgresError as error:
        yield report.refused(SECTION, "Postgres", str(error))


async def _on(bench: Bench, label: str, url: str) -> list[report.Figure]:
    count = QUICK_ROWS if bench.quick else ROWS
    with processes.rini(bench.upstream, bench.server_core, url) as server:
        engine = _engine(server.database_url)
        try:
            wrote, added_up = _fill(engine, server.user_id, count)
            with engine.connect() as connection:
                month = _month(connection, server.user_id)
        finally:
            engine.dispose()
        figures = [
            report.value(
                SECTION,
                f"{label}, adding up {count:,} rows, as a migration does",
                "s",
                [added_up],
                None,
                f"they were written in {wrote:.0f} s",
            )
        ]
        for what, path, check, target, note in _asked(month, count):
            name = f"{label}, {what}"
            try:
                taken = await _ask(bench, server, path, check)
                figures.append(report.value(SECTION, name, "ms", taken, target, note))
            except load.WrongAnswersError as error:
                figures.append(report.refused(SECTION, name, str(error)))
        return figures


def _asked(month: "_Month", count: int) -> list[tuple[str, str, load.Check, float | None, str]]:
    """Return what is asked for: a name, the path, what is right, the target, a note."""
    session = f"00000000-0000-4000-8000-{count // 200 - 2:012x}"
    costs = f"/usage/cost-estimation/?start_date={month.start}&end_date={month.end}"
    records = "/usage/records/?limit=100"
    listed = load.holds(b'"call_id"')
    note = f"{month.calls:,} calls; from the rows: {month.seconds * 1000:.0f} ms"
    return [
        ("a month's estimate", costs, month.right, TARGET_MS, note),
        ("a month by day", f"{costs}&group_by=day", month.right, None, ""),
        ("one session's estimate", f"{costs}&session_id={session}", load.holds(b'"calls":20,'), None, ""),
        ("the newest 100 records", records, listed, None, ""),
        ("100 records from a month ago", f"{records}&before={month.before}", listed, None, ""),
        ("one session's records", f"{records}&session_id={session}", listed, None, ""),
    ]


@dataclass(frozen=True)
class _Month:
    """The last 30 days, and what the rows themselves say of them."""

    start: date
    end: date
    calls: int
    usd: Decimal
    seconds: float
    before: int
    """The id of the first row of the month."""

    def right(self, _head: bytes, body: bytes) -> str | None:
        """Check an estimate."""
        found = json.loads(body, parse_float=Decimal)
        calls = sum(model["calls"] for model in found["details"].values())
        if (calls, found["total_estimated_cost"]) == (self.calls, self.usd):
            return None
        return f"{calls} calls for {found['total_estimated_cost']} USD, and not {self.calls} for {self.usd}"


def _month(connection: Connection, user_id: int) -> _Month:
    end = now().date()
    start = end - timedelta(days=29)
    table = usage_records.c
    of_month = (table.user_id == user_id, table.created_at >= datetime.combine(start, time.min, UTC))
    began = monotonic()
    calls, usd = connection.execute(sa.select(sa.func.count(), sa.func.sum(table.cost_usd)).where(*of_month)).one()
    seconds = monotonic() - began
    first = sa.select(table.id).where(*of_month).order_by(table.created_at).limit(1)
    return _Month(start, end, calls, usd, seconds, connection.execute(first).scalar_one())


def _engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    # The rows are the bench's own and gone after it: they need not reach the disk, nor be checked for their user one by one.
    hurry = "PRAGMA synchronous=OFF" if engine.dialect.name == "sqlite" else "SET session_replication_role = replica"

    def on_connect(driver: Any, _record: object) -> None:
        driver.execute(hurry)
        driver.commit()

    sa.event.listen(engine, "connect", on_connect)
    return engine


def _fill(engine: sa.Engine, user_id: int, count: int) -> tuple[float, float]:
    """Write the rows and their sums and return the seconds that each took."""
    dialect = 0 if engine.dialect.name == "sqlite" else 1
    columns = ", ".join(each[dialect] for each in _CALL.values())
    insert = sa.text(f"INSERT INTO usage_records ({', '.join(_CALL)}) SELECT {columns} FROM ({_NUMBERS[dialect]}) AS n")
    step = DAYS * 86_400 / count
    given = {"mine": user_id, "step": step, "begin": now().timestamp() - count * step}
    began = monotonic()
    with engine.begin() as connection:
        given["others"] = min(users.create(connection) for _ in range(40))
    for first in range(1, count + 1, AT_ONCE):
        with engine.begin() as connection:
            connection.execute(insert, given | {"first": first, "last": min(first + AT_ONCE - 1, count)})
    wrote = monotonic()
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        for table in (usage_days, usage_session_days):
            connection.execute(table.delete())
        _migration().fill_sums()
        connection.execute(sa.text("ANALYZE"))  # as Postgres does by itself after a while
    return wrote - began, monotonic() - wrote


def _migration() -> Any:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config).get_revision("0002")
    assert script is not None
    return script.module


async def _ask(bench: Bench, server: Rini, path: str, check: load.Check) -> list[float]:
    """Return the milliseconds that each answer took. The first one warms up."""
    taken = []
    for _ in range(1 + bench.rounds(ASKED)):
        async with load.whole(server.port, [load.get(path, server.token)], 1, check) as run:
            began = monotonic()
            await run()
            taken.append((monotonic() - began) * 1000)
    return taken[1:]
