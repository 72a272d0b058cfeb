"""A page of the tree of a large session, by its shape: the server's and the database's CPU, and the wall clock of who waits for it."""

import json
import statistics
from collections.abc import AsyncIterator

import sqlalchemy as sa

from bench import conversations, load, processes, report
from bench.bench import Bench, cpu_of
from rini.db import Database

SECTION = "tree"
TITLE = "First page of a session's tree, CPU each, the database's included, one at a time"
TARGET_MS = 50.0
SIZE = 100_000
QUICK_SIZE = 10_000
BUSHY_PATH = 1000
ASKED = 8
PAGES = {
    "": "",
    "as a list": "?shape=flat",
    "the largest page": "?depth=100&breadth=1000&limit=1000",
}


async def measure(bench: Bench) -> AsyncIterator[report.Figure]:
    """Measure on SQLite, then on Postgres where it is installed."""
    for figure in await _on(bench, "SQLite", None):
        yield figure
    if bench.quick:
        return
    try:
        with processes.postgres() as postgres:
            for figure in await _on(bench, "Postgres", postgres):
                yield figure
    except processes.NoPostgresError as error:
        yield report.refused(SECTION, "Postgres", str(error))


async def _on(bench: Bench, label: str, postgres: processes.Postgres | None) -> list[report.Figure]:
    size = QUICK_SIZE if bench.quick else SIZE
    shapes = {
        "a chain": (conversations.chain(size), size - 1),
        "a star": (conversations.star(size), size - 1),
        "bushy": (conversations.bushy(size, BUSHY_PATH), BUSHY_PATH - 1),
    }
    figures: list[report.Figure] = []
    with processes.rini(bench.upstream, bench.server_core, postgres.url if postgres else "") as server:
        database = Database(server.database_url)
        sessions: dict[str, str] = {}
        try:
            for name, (shape, tip) in shapes.items():
                made = await database.write(conversations.make, server.user_id, shape, tip, found=False)
                sessions[name] = made[0]
            _settle(database)
        finally:
            database.close()
        for shape, session in sessions.items():
            for what, query in PAGES.items():
                name = f"{label}, {shape} of {size:,}" + (f", {what}" if what else "")
                request = load.get(f"/sessions/{session}/tree{query}", server.token)
                try:
                    figures.append(await _figure(bench, server, postgres, request, name, size))
                except load.WrongAnswersError as error:
                    figures.append(report.refused(SECTION, name, str(error)))
    return figures


async def _figure(
    bench: Bench, server: processes.Rini, postgres: processes.Postgres | None, request: bytes, name: str, size: int
) -> report.Figure:
    rounds: list[float] = []
    of_database: list[float] = []
    latencies: list[float] = []
    for number in range(1 + bench.rounds(7)):
        latencies.clear()
        async with load.whole(server.port, [request] * ASKED, 1, _holds(size), latencies) as run:
            before = postgres.cpu() if postgres else 0.0
            cpu = await cpu_of(server, run) / ASKED * 1e3
        if number:  # the first one warms up
            of_database.append(((postgres.cpu() if postgres else 0.0) - before) / ASKED * 1e3)
            rounds.append(cpu + of_database[-1])
    note = f"wall {statistics.median(latencies) * 1e3:.1f} ms"
    if postgres:
        note += f", {statistics.median(of_database):.1f} ms of it the database's CPU"
    return report.value(SECTION, name, "ms", rounds, TARGET_MS, note)


def _holds(size: int) -> load.Check:
    """Return a check that a page counts all messages and has the first."""

    def check(head: bytes, body: bytes) -> str | None:
        if not head.startswith(b"HTTP/1.1 200 "):
            return f"{head[:40]!r} {body[:300]!r}"
        page = json.loads(body)
        if page["message_count"] == size and page["messages"] and page["messages"][0]["depth"] == 0:
            return None
        return f"the page is not of {size} messages: {body[:300]!r}"

    return check


def _settle(database: Database) -> None:
    """Let the database do what it does by itself after a while: count its rows, and on Postgres note which pages all may see."""
    with sa.create_engine(database.url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("ANALYZE" if database.is_sqlite else "VACUUM ANALYZE"))
