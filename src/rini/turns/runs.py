"""Turns that are running, in the database: so that every process knows of them."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.kit.clock import now
from rini.turns.tables import running_turns, workers
from rini.turns.workers import LIVE_FOR

_table = running_turns.c
_insert = running_turns.insert()
_delete = running_turns.delete().where(_table.answer_id == sa.bindparam("answer"))
_holder = (
    sa.select(_table.answer_id)
    .join(workers, workers.c.id == _table.worker_id)
    .where(
        _table.session_id == sa.bindparam("session"),
        _table.holds_session,
        workers.c.seen_at > sa.bindparam("since"),
    )
    .limit(1)
)
_leave = running_turns.update().where(_table.answer_id == sa.bindparam("answer")).values(worker_id="")
_attempts = sa.select(_table.attempts).where(_table.answer_id == sa.bindparam("answer"))
_end = running_turns.update().where(_table.answer_id == sa.bindparam("answer")).values(ending=sa.bindparam("reason"))
_ending = sa.select(_table.answer_id, _table.ending).where(
    _table.worker_id == sa.bindparam("worker"), _table.ending.is_not(None)
)


def begin(
    connection: Connection,
    answer_id: int,
    session_id: str,
    worker_id: str,
    *,
    holds_session: bool,
    ask: bytes | None = None,
) -> None:
    """Note that a worker gets an answer. ``holds_session``: others that continue the current branch wait for it.

    ``ask`` is what another worker needs to begin it anew: then it is one in the background.
    """
    connection.execute(
        _insert,
        {
            "answer_id": answer_id,
            "session_id": session_id,
            "worker_id": worker_id,
            "holds_session": holds_session,
            "background": ask is not None,
            "ask": ask,
            "attempts": 1,
            "ending": None,
            "started_at": now(),
        },
    )


def end(connection: Connection, answer_id: int) -> None:
    """Note that an answer is settled."""
    connection.execute(_delete, {"answer": answer_id})


def leave(connection: Connection, answer_id: int) -> None:
    """Leave an answer to whichever worker takes it over."""
    connection.execute(_leave, {"answer": answer_id})


def attempts(connection: Connection, answer_id: int) -> int:
    """Return how many workers have begun a running answer; 0 where it is not running."""
    return connection.execute(_attempts, {"answer": answer_id}).scalar() or 0


def holder(connection: Connection, session_id: str) -> int | None:
    """Return the answer for which others that continue the session's current branch must wait; None: there is none."""
    return connection.execute(_holder, {"session": session_id, "since": now() - LIVE_FOR}).scalar()


def ask_to_end(connection: Connection, answer_id: int, reason: str) -> bool:
    """Ask whichever process gets the answer to end it; return whether it is running."""
    return connection.execute(_end, {"answer": answer_id, "reason": reason}).rowcount > 0


def to_be_ended(connection: Connection, worker_id: str) -> dict[int, str]:
    """Return the answers of a worker that are to end, and why."""
    return {row.answer_id: row.ending for row in connection.execute(_ending, {"worker": worker_id})}
