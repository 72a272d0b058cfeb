"""Sessions as they are after long use, written straight into the database: trees of any size and shape."""

import random
from collections.abc import Sequence
from itertools import islice

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.kit.clock import now
from rini.kit.ids import new_session_id
from rini.sessions import search
from rini.sessions.tables import messages, sessions

LINE = "Some twenty words of a conversation that goes on: what was asked, what was answered, and what comes next."
LINE_TOKENS = 31
AT_ONCE = 10_000

Shape = Sequence[int | None]
"""The parent of each message, as its place in the sequence; the parent comes first. None: a root."""


def chain(size: int) -> Shape:
    """Return one path."""
    return [None, *range(size - 1)]


def star(size: int) -> Shape:
    """Return one question with all the others below it."""
    return [None, *[0] * (size - 1)]


def bushy(size: int, path: int) -> Shape:
    """Return a path of ``path`` messages, and the rest on branches that leave it, and each other, anywhere."""
    chance = random.Random(size)
    return [*chain(path), *[chance.randrange(place) for place in range(path, size)]]


def make(
    connection: Connection, user_id: int, shape: Shape, tip: int, *, policy: str = "compact", found: bool = True
) -> tuple[str, int]:
    """Make a session whose head is the message at the place ``tip``; return the ids of both.

    ``policy`` is the session's context policy. Its messages are in the search's index, unless they need not be ``found``.
    """
    session, moment = new_session_id(), now()
    connection.execute(
        sessions.insert(),
        {
            "id": session,
            "user_id": user_id,
            "memory_mode": "auto",
            "context_policy": policy,
            "created_at": moment,
            "updated_at": moment,
        },
    )
    first = connection.execute(sa.select(sa.func.coalesce(sa.func.max(messages.c.id), 0))).scalar_one() + 1
    depths, jumps = _places(shape)
    rows = (
        {
            "id": first + place,
            "session_id": session,
            "user_id": user_id,
            "role": "assistant" if depths[place] % 2 else "user",
            "content": LINE,
            "parent_message_id": None if parent is None else first + parent,
            "depth": depths[place],
            "jump_id": None if (jump := jumps[place]) is None else first + jump,
            "status": "complete",
            "size_tokens": LINE_TOKENS,
            "created_at": moment,
        }
        for place, parent in enumerate(shape)
    )
    insert = messages.insert()
    while some := list(islice(rows, AT_ONCE)):
        connection.execute(insert, some)
        if found:
            search.index_many(
                connection,
                [search.Indexed(row["id"], user_id, session, row["role"], row["content"]) for row in some],
            )
    if connection.dialect.name == "postgresql":
        connection.execute(
            sa.text("SELECT setval(pg_get_serial_sequence('messages', 'id'), :last)"), {"last": first + len(shape) - 1}
        )
    put_back(connection, {session: first + tip})
    return session, first + tip


def put_back(connection: Connection, tips: dict[str, int]) -> None:
    """Make each session's head what it was."""
    update = sessions.update().where(sessions.c.id == sa.bindparam("this")).values(head_id=sa.bindparam("tip"))
    connection.execute(update, [{"this": session, "tip": tip} for session, tip in tips.items()])


def _places(shape: Shape) -> tuple[list[int], list[int | None]]:
    """Return each message's depth and the ancestor to jump to, as rini.sessions.ancestry finds them one by one."""
    depths: list[int] = []
    jumps: list[int | None] = []
    for parent in shape:
        if parent is None:
            depths.append(0)
            jumps.append(None)
            continue
        far = jumps[parent]
        farther = None if far is None else jumps[far]
        jumps_on = (
            far is not None and farther is not None and depths[parent] - depths[far] == depths[far] - depths[farther]
        )
        depths.append(depths[parent] + 1)
        jumps.append(farther if jumps_on else parent)
    return depths, jumps
