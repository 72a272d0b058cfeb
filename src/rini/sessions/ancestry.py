"""Finding ancestors of a message in few steps.

A message knows its depth and, beside its parent, one farther ancestor to jump to. The jumps are those of Myers' random-access lists
(Information Processing Letters 17, 1983): where the last two jumps on the way up are equally long, the next is as long as both
and the step to the parent. So any ancestor of a message at depth n is found in at most about 3 log2(n) steps. Both follow from
the parent and never change; deleting takes whole subtrees, so a jump never leads to what is not there.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import Prepared
from rini.sessions.tables import messages

_parent = messages.alias("parent")
_far = messages.alias("far")
_farther = messages.alias("farther")
_place = Prepared(
    sa.select(_parent.c.depth, _far.c.depth, _farther.c.depth, _farther.c.id)
    .select_from(
        _parent.outerjoin(_far, _far.c.id == _parent.c.jump_id).outerjoin(_farther, _farther.c.id == _far.c.jump_id)
    )
    .where(_parent.c.id == sa.bindparam("parent"))
)
_step = sa.select(messages.c.parent_message_id, messages.c.jump_id, messages.c.depth).where(
    messages.c.id == sa.bindparam("this")
)


def place_below(connection: Connection, parent_id: int | None) -> dict[str, Any]:
    """Return ``depth`` and ``jump_id`` of a new message below a parent, which must exist; None: of a root."""
    if parent_id is None:
        return {"depth": 0, "jump_id": None}
    depth, far, farther, farther_id = _place.one(connection, {"parent": parent_id})
    jumps_on = farther is not None and depth - far == far - farther
    return {"depth": depth + 1, "jump_id": farther_id if jumps_on else parent_id}


def ancestor_at(connection: Connection, message_id: int, depth: int) -> int | None:
    """Return the id of the ancestor of a message (or itself) that is at ``depth``; None where the message is nearer to the root."""
    parent, jump, at = connection.execute(_step, {"this": message_id}).one()
    if at < depth:
        return None
    while at > depth:
        if jump is not None:
            beyond = connection.execute(_step, {"this": jump}).one()
            if beyond[2] >= depth:
                message_id, (parent, jump, at) = jump, beyond
                continue
        message_id = parent
        parent, jump, at = connection.execute(_step, {"this": message_id}).one()
    return message_id


def is_ancestor(connection: Connection, ancestor_id: int, message_id: int) -> bool:
    """Tell whether the one is the other or above it. Both must exist."""
    depth: int = connection.execute(_step, {"this": ancestor_id}).one()[2]
    return ancestor_at(connection, message_id, depth) == ancestor_id
