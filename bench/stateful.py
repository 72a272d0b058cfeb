"""Stored turns: /llm/text-completion/ with a session, by the length of its history and the size of its tree."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bench import load, processes, report, script
from bench.bench import Bench, cpu_of
from bench.processes import Rini
from rini.db import Database
from rini.kit.clock import now
from rini.kit.ids import new_session_id
from rini.sessions.tables import messages, sessions

SECTION = "stateful"
TITLE = "Stored turn, CPU each, one at a time; beside: a bare echo of as many bytes"
TARGET_MICROSECONDS = 1500.0
TREE_TARGET = 1.1
BRANCHES = 100
LINE = "Some twenty words of a conversation that goes on: what was asked, what was answered, and what comes next."


@dataclass(frozen=True)
class Kind:
    """Sessions with so many messages of history, and so many on other branches. Each takes one turn in a round."""

    label: str
    history: int
    sessions: int
    elsewhere: int = 0
    concurrency: int = 1


PLAIN = Kind("20 messages of history", 20, 60)
GROUPED = Kind("20 messages of history, 16 at a time", 20, 192, concurrency=16)
SHORT = Kind("2 messages of history", 2, 60)
MIDDLE = Kind("200 messages of history", 200, 30)
LONG = Kind("1,000 messages of history", 1000, 12)
TREE = Kind("20, and 10,000 on other branches", 20, 20, elsewhere=10_000)
TWIN = Kind("the same without the branches", 20, 20)
KINDS = (PLAIN, GROUPED, SHORT, MIDDLE, LONG, TREE, TWIN)


async def measure(bench: Bench) -> AsyncIterator[report.Figure]:
    """Measure on SQLite, then on Postgres where it is installed."""
    for figure in await _on(bench, "SQLite", "", TARGET_MICROSECONDS):
        yield figure
    if bench.quick:
        return
    try:
        with processes.postgres() as url:
            for figure in await _on(bench, "Postgres", url, None):
                yield figure
    except processes.NoPostgresError as error:
        yield report.refused(SECTION, "Postgres", str(error))


async def _on(bench: Bench, label: str, url: str, target: float | None) -> list[report.Figure]:
    with processes.rini(bench.upstream, bench.server_core, url) as server:
        database = Database(server.database_url)
        try:
            rounds = await _rounds(bench, server, database)
        except load.WrongAnswersError as error:
            return [report.refused(SECTION, label, str(error))]
        finally:
            database.close()
    figures: list[report.Figure] = []
    for kind in KINDS[:-1]:
        name, turns = f"{label}, {kind.label}", [taken[kind] for taken in rounds]
        if kind is PLAIN and target is not None:
            figures.append(report.value(SECTION, name, "µs", [turn * 1e6 for turn, _ in turns], target))
        else:
            figures.append(report.ratio(SECTION, name, turns))
    # Beside as many turns as its own: the first ones of a batch cost more than those that follow.
    tree = [(taken[TREE][0], taken[TWIN][0]) for taken in rounds]
    name = f"{label}, the large tree; beside: without it"
    figures.append(report.ratio(SECTION, name, tree, TREE_TARGET))
    further = [(taken[LONG][0] - taken[SHORT][0]) / (LONG.history - SHORT.history) * 1e6 for taken in rounds]
    figures.append(report.value(SECTION, f"{label}, each further message that is sent", "µs", further))
    return figures


@dataclass(frozen=True)
class _Prepared:
    """What is sent in a round, and what puts the sessions back to where they were before it."""

    requests: list[bytes]
    right: load.Check
    leaves: dict[str, int]
    echo: list[bytes]
    echoed: load.Check


async def _rounds(bench: Bench, server: Rini, database: Database) -> list[dict[Kind, tuple[float, float]]]:
    """Return for each round what a turn and the echo took. Each round goes through all kinds, so that they compare."""
    prepared = {kind: await _prepare(bench, server, database, kind) for kind in KINDS}
    rounds: list[dict[Kind, tuple[float, float]]] = []
    for _ in range(bench.rounds(7)):
        taken: dict[Kind, tuple[float, float]] = {}
        for kind, what in prepared.items():
            await database.write(rewind, what.leaves)
            async with load.whole(bench.baseline.port, what.echo, kind.concurrency, what.echoed) as run:
                beside = await cpu_of(bench.baseline, run) / len(what.echo)
            async with load.whole(server.port, what.requests, kind.concurrency, what.right) as run:
                taken[kind] = (await cpu_of(server, run) / len(what.requests), beside)
        rounds.append(taken)
    return rounds


async def _prepare(bench: Bench, server: Rini, database: Database, kind: Kind) -> _Prepared:
    leaves = await database.write(fill, server.user_id, bench.some(kind.sessions), kind.history, kind.elsewhere)
    asked = {"text": "And with children, if it rains? bench:count", "provider": "openai"}
    asked["model"] = script.MODELS["openai"]
    requests = [load.post("/llm/text-completion/", asked | {"session_id": session}, server.token) for session in leaves]
    right = load.holds(b'"response_text":"' + script.counted(kind.history + 1).encode() + b'"')
    # Each session takes one turn in a round, so that all of a round have the same history.
    async with load.whole(server.port, requests, kind.concurrency, right) as run:
        size = await run()
    echo = [load.post(f"/echo/{size}", asked)] * (len(requests) * 2)
    return _Prepared(requests, right, leaves, echo, load.has_length(size))


def fill(connection: Connection, user_id: int, count: int, history: int, elsewhere: int) -> dict[str, int]:
    """Make ``count`` sessions and return their ids with the tips of their branches."""
    moment = now()
    made = [new_session_id() for _ in range(count)]
    connection.execute(
        sessions.insert(),
        [
            {"id": session, "user_id": user_id, "memory_mode": "auto", "created_at": moment, "updated_at": moment}
            for session in made
        ],
    )
    _grow(connection, user_id, made * BRANCHES, elsewhere // BRANCHES)
    leaves = dict(zip(made, _grow(connection, user_id, made, history), strict=True))
    rewind(connection, leaves)
    return leaves


def _grow(connection: Connection, user_id: int, branches: list[str], length: int) -> list[int]:
    """Give each session in ``branches`` a new branch of so many messages and return the tips."""
    insert = messages.insert().returning(messages.c.id, sort_by_parameter_order=True)
    tips: list[int | None] = [None] * len(branches)
    for depth in range(length):
        rows = [
            {
                "session_id": session,
                "user_id": user_id,
                "role": "assistant" if depth % 2 else "user",
                "content": LINE,
                "parent_message_id": tip,
                "status": "complete",
                "created_at": now(),
            }
            for session, tip in zip(branches, tips, strict=True)
        ]
        tips = list(connection.execute(insert, rows).scalars())
    return tips  # type: ignore[return-value]


def rewind(connection: Connection, leaves: dict[str, int]) -> None:
    """Make each session's tip what it was before the round."""
    update = sessions.update().where(sessions.c.id == sa.bindparam("this")).values(head_id=sa.bindparam("tip"))
    connection.execute(update, [{"this": session, "tip": tip} for session, tip in leaves.items()])
