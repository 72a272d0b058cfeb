"""Stored turns: /llm/text-completion/ with a session, by the path that is sent and by the size of the tree around it."""

import re
import statistics
from collections.abc import AsyncIterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bench import conversations, load, processes, report, script
from bench.bench import Bench, cpu_of
from bench.processes import Rini
from rini.db import Database
from rini.sessions.tables import context_cuts, messages

SECTION = "stateful"
TITLE = (
    "Stored turn, CPU each, one at a time; beside: a bare echo of as many bytes, or the same turn in a session of 10"
)
TARGET_MICROSECONDS = 1500.0
TREE_TARGET = 1.1
MODEL = "gpt-4.1-mini"
"""It reads a million tokens: all paths are sent whole."""

SMALL = "gpt-3.5-turbo"
"""It reads 16,385."""

_told = re.compile(rb'"response_text":"(\d{6}) messages')


@dataclass(frozen=True)
class Kind:
    """Sessions of ``size`` messages whose current branch has ``path`` of them.

    Each takes so many ``turns`` in a round, and is put back before each, so that every turn is like the first. With a ``cut`` the model reads
    less than the path; one that is ``cut_anew`` loses its cut before each turn, too.
    """

    label: str
    path: int
    sessions: int
    size: int = 0
    turns: int = 1
    concurrency: int = 1
    model: str = MODEL
    cut: bool = False
    cut_anew: bool = False


PLAIN = Kind("20 messages of history", 20, 60)
GROUPED = Kind("20 messages of history, 16 at a time", 20, 192, concurrency=16)
SHORT = Kind("a path of 10", 10, 8, turns=5)
PATHS = (
    Kind("a path of 100", 100, 8, turns=4),
    Kind("a path of 1,000", 1000, 4, turns=3),
    Kind("a path of 10,000", 10_000, 2, turns=2),
)
TREES = (
    Kind("a path of 10 in a tree of 100", 10, 8, size=100, turns=5),
    Kind("a path of 10 in a tree of 1,000", 10, 8, size=1000, turns=5),
    Kind("a path of 10 in a tree of 10,000", 10, 8, size=10_000, turns=5),
)
CUTS = (
    Kind("a path of 10,000, cut in this turn", 10_000, 2, turns=2, model=SMALL, cut=True, cut_anew=True),
    Kind("a path of 10,000, cut before", 10_000, 2, turns=8, model=SMALL, cut=True),
)
KINDS = (PLAIN, GROUPED, SHORT, *TREES, *PATHS, *CUTS)


@dataclass(frozen=True)
class _Taken:
    """What a turn of one round took, in seconds: CPU of the server, of the echo beside it, of the database where it is a process."""

    cpu: float
    beside: float
    wall: float
    database: float


async def measure(bench: Bench) -> AsyncIterator[report.Figure]:
    """Measure on SQLite, then on Postgres where it is installed."""
    for figure in await _on(bench, "SQLite", None, TARGET_MICROSECONDS):
        yield figure
    if bench.quick:
        return
    try:
        with processes.postgres() as postgres:
            for figure in await _on(bench, "Postgres", postgres, None):
                yield figure
    except processes.NoPostgresError as error:
        yield report.refused(SECTION, "Postgres", str(error))


async def _on(
    bench: Bench, label: str, postgres: processes.Postgres | None, target: float | None
) -> list[report.Figure]:
    with processes.rini(bench.upstream, bench.server_core, postgres.url if postgres else "") as server:
        database = Database(server.database_url)
        try:
            rounds = await _rounds(bench, server, database, postgres)
        except load.WrongAnswersError as error:
            return [report.refused(SECTION, label, str(error))]
        finally:
            database.close()
    return _figures(label, rounds, target)


def _figures(label: str, rounds: list[dict[Kind, _Taken]], target: float | None) -> list[report.Figure]:
    figures: list[report.Figure] = []

    def note(kind: Kind) -> str:
        wall = statistics.median(taken[kind].wall for taken in rounds) * 1e3
        database = statistics.median(taken[kind].database for taken in rounds) * 1e6
        return f"wall {wall:.1f} ms" + (f", the database's CPU {database:.0f} µs" if database else "")

    for kind in (PLAIN, GROUPED):
        name = f"{label}, {kind.label}"
        if kind is PLAIN and target is not None:
            cpu = [taken[kind].cpu * 1e6 for taken in rounds]
            figures.append(report.value(SECTION, name, "µs", cpu, target, note(kind)))
        else:
            pairs = [(taken[kind].cpu, taken[kind].beside) for taken in rounds]
            figures.append(report.ratio(SECTION, name, pairs, None, note(kind)))
    for kind in (SHORT, *TREES, *PATHS, *CUTS):
        pairs = [(taken[kind].cpu, taken[SHORT].cpu) for taken in rounds]
        limit = TREE_TARGET if kind in TREES else None
        figures.append(report.ratio(SECTION, f"{label}, {kind.label}", pairs, limit, note(kind)))
    for kind in PATHS[1:]:
        further = [(taken[kind].cpu - taken[SHORT].cpu) / (kind.path - SHORT.path) * 1e6 for taken in rounds]
        name = f"{label}, each further message of {kind.path:,}"
        figures.append(report.value(SECTION, name, "µs", further))
    return figures


@dataclass(frozen=True)
class _Prepared:
    """What is sent, as often as the kind has turns, and what puts the sessions back to where they were."""

    requests: list[bytes]
    right: load.Check
    tips: dict[str, int]
    echo: list[bytes]
    echoed: load.Check


async def _rounds(
    bench: Bench, server: Rini, database: Database, postgres: processes.Postgres | None
) -> list[dict[Kind, _Taken]]:
    """Return for each round what a turn took. Each round goes through all kinds, so that they compare."""
    prepared = {kind: await _prepare(bench, server, database, kind) for kind in KINDS}
    if postgres is not None:
        await database.write(_analyze)
    return [
        {kind: await _round(bench, server, database, postgres, kind, prepared[kind]) for kind in KINDS}
        for _ in range(bench.rounds(7))
    ]


async def _round(
    bench: Bench, server: Rini, database: Database, postgres: processes.Postgres | None, kind: Kind, what: _Prepared
) -> _Taken:
    cpu = of_database = 0.0
    latencies: list[float] = []
    for _ in range(kind.turns):
        await database.write(_put_back, what.tips, anew=kind.cut_anew)
        async with load.whole(server.port, what.requests, kind.concurrency, what.right, latencies) as run:
            before = postgres.cpu() if postgres else 0.0
            cpu += await cpu_of(server, run)
            of_database += (postgres.cpu() if postgres else 0.0) - before
    async with load.whole(bench.baseline.port, what.echo, kind.concurrency, what.echoed) as run:
        beside = await cpu_of(bench.baseline, run) / len(what.echo)
    turns = kind.turns * len(what.requests)
    return _Taken(cpu / turns, beside, statistics.median(latencies), of_database / turns)


async def _prepare(bench: Bench, server: Rini, database: Database, kind: Kind) -> _Prepared:
    count = bench.some(kind.sessions) if kind.turns == 1 else kind.sessions
    shape = conversations.bushy(kind.size or kind.path, kind.path)
    policy = "truncate" if kind.cut else "compact"
    tips: dict[str, int] = {}
    for _ in range(count):
        session, tip = await database.write(conversations.make, server.user_id, shape, kind.path - 1, policy=policy)
        tips[session] = tip
    asked = {"text": "And with children, if it rains? bench:count", "provider": "openai", "model": kind.model}
    requests = [load.post("/llm/text-completion/", asked | {"session_id": session}, server.token) for session in tips]
    right = _is_cut(kind.path) if kind.cut else load.holds(b'"response_text":"' + _text(kind.path + 1) + b'"')
    async with load.whole(server.port, requests, kind.concurrency, right) as run:
        size = await run()
    echo = [load.post(f"/echo/{size}", asked)] * (len(requests) * 2)
    return _Prepared(requests, right, tips, echo, load.has_length(size))


def _text(count: int) -> bytes:
    return script.counted(count).encode()


def _is_cut(path: int) -> load.Check:
    """Return a check that the model read something of a path, and not all of it."""

    def check(head: bytes, body: bytes) -> str | None:
        told = _told.search(body)
        if head.startswith(b"HTTP/1.1 200 ") and told is not None and 10 < int(told[1]) < path:
            return None
        return f"the path was not cut: {head[:40]!r} {body[:300]!r}"

    return check


def _put_back(connection: Connection, tips: dict[str, int], *, anew: bool) -> None:
    conversations.put_back(connection, tips)
    if anew:
        of_them = sa.select(messages.c.id).where(messages.c.session_id.in_(tips))
        connection.execute(context_cuts.delete().where(context_cuts.c.message_id.in_(of_them)))


def _analyze(connection: Connection) -> None:
    """Let the planner know how many rows there are, as it does by itself after a while."""
    connection.execute(sa.text("ANALYZE"))
