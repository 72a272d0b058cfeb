"""Turns that are running, in the database: so that every process knows of them."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import Prepared
from rini.kit.clock import now
from rini.sessions.tables import messages
from rini.turns.tables import running_turns, workers
from rini.turns.workers import is_alive

_table = running_turns.c
_insert = Prepared(running_turns.insert())
_gone = running_turns.delete().where(_table.answer_id == sa.bindparam("answer"))
_delete = Prepared(_gone)
_delete_own = Prepared(_gone.where(_table.worker_id == sa.bindparam("worker")))
_held = sa.select(_table.answer_id).where(_table.worker_id == sa.bindparam("worker"))
_holder = Prepared(
    sa.select(_table.answer_id)
    .join(workers, workers.c.id == _table.worker_id)
    .where(
        _table.session_id == sa.bindparam("session"),
        _table.holds_session,
        is_alive,
    )
    .limit(1)
)
_lose = (
    running_turns.update()
    .where(_table.answer_id == sa.bindparam("answer"), _table.worker_id == sa.bindparam("worker"))
    .values(worker_id="")
)
_leave = _lose.values(attempts=_table.attempts - 1)
_end = running_turns.update().where(_table.answer_id == sa.bindparam("answer")).values(ending=sa.bindparam("reason"))
_endings = Prepared(sa.select(_table.answer_id, _table.ending).where(_table.worker_id == sa.bindparam("worker")))


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
    _insert.run(
        connection,
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


def end(connection: Connection, answer_id: int, worker_id: str | None = None) -> bool:
    """Note that an answer is settled. Return whether it was running, and with ``worker_id``: whether it was that worker's."""
    if worker_id is None:
        return _delete.run(connection, {"answer": answer_id}) > 0
    return _delete_own.run(connection, {"answer": answer_id, "worker": worker_id}) > 0


def leave(connection: Connection, answer_id: int, worker_id: str) -> None:
    """Leave an answer of this worker's to whichever takes it over; one that another has by now stays as it is.

    It is as if this worker had never begun it: however often servers are restarted, no answer is given up for that.
    """
    connection.execute(_leave, {"answer": answer_id, "worker": worker_id})


def lose(connection: Connection, answer_id: int, worker_id: str) -> None:
    """Leave an answer of a worker that died without a word, which counts."""
    connection.execute(_lose, {"answer": answer_id, "worker": worker_id})


def held_by(connection: Connection, worker_id: str) -> frozenset[int]:
    """Return the answers that a worker gets."""
    return frozenset(connection.execute(_held, {"worker": worker_id}).scalars())


def holder(connection: Connection, session_id: str) -> int | None:
    """Return the answer for which others that continue the session's current branch must wait; None: there is none."""
    row = _holder.first(connection, {"session": session_id})
    return None if row is None else row.answer_id


def ask_to_end(connection: Connection, answer_id: int, reason: str) -> bool:
    """Ask whichever process gets the answer to end it; return whether it is running."""
    return connection.execute(_end, {"answer": answer_id, "reason": reason}).rowcount > 0


def endings(connection: Connection, worker_id: str) -> dict[int, str | None]:
    """Return the answers that a worker gets, and why each is to end; None: it is not."""
    return {row.answer_id: row.ending for row in _endings.rows(connection, {"worker": worker_id})}


def deleted(connection: Connection, answers: list[int]) -> list[int]:
    """Return those of the answers that are no messages any more: they, their session or their user were deleted."""
    there = set(connection.execute(sa.select(messages.c.id).where(messages.c.id.in_(answers))).scalars())
    return [answer_id for answer_id in answers if answer_id not in there]
