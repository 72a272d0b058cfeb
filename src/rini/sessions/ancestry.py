"""Finding ancestors of a message in few steps.

A message knows its depth and, beside its parent, one farther ancestor to jump to. The jumps are those of Myers' random-access lists
(Information Processing Letters 17, 1983): where the last two jumps on the way up are equally long, the next is as long as both
and the step to the parent. So any ancestor of a message at depth n is found in at most about 3 log2(n) steps. Both follow from
the parent and never change; deleting takes whole subtrees, so a jump never leads to what is not there.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import Prepared
from rini.sessions.tables import messages

ABOVE = "above"
_parent = messages.alias("parent")
_far = messages.alias("far")
_farther = messages.alias("farther")
_above = sa.bindparam(ABOVE, type_=messages.c.id.type)
_jumps_on = _parent.c.depth - _far.c.depth == _far.c.depth - _farther.c.depth
PLACE_BELOW: Mapping[str, sa.ColumnElement[Any]] = {
    "depth": sa.func.coalesce(
        sa.select(_parent.c.depth + 1).where(_parent.c.id == _above).scalar_subquery(), sa.literal_column("0")
    ),
    "jump_id": sa.select(sa.case((_jumps_on, _farther.c.id), else_=_parent.c.id))
    .select_from(
        _parent.outerjoin(_far, _far.c.id == _parent.c.jump_id).outerjoin(_farther, _farther.c.id == _far.c.jump_id)
    )
    .where(_parent.c.id == _above)
    .scalar_subquery(),
}
"""``depth`` and ``jump_id`` of a new message below the one that the parameter ABOVE names; NULL: of a root."""

_place = sa.select(*[value.label(name) for name, value in PLACE_BELOW.items()])
_depth = sa.select(messages.c.depth).where(messages.c.id == sa.bindparam("this"))
_wanted = sa.bindparam("depth", type_=messages.c.depth.type)


def _way() -> sa.CTE:
    """Return the messages that are passed on the way up from one to its ancestor at a depth, by jumps and parents."""
    columns = (messages.c.id, messages.c.parent_message_id, messages.c.jump_id, messages.c.depth)
    way = sa.select(*columns).where(messages.c.id == sa.bindparam("this")).cte("way", recursive=True)
    far, above = messages.alias(), messages.alias()
    beyond = sa.select(far.c.id).where(far.c.id == way.c.jump_id, far.c.depth >= _wanted).scalar_subquery()
    next_one = sa.func.coalesce(beyond, way.c.parent_message_id)
    step = sa.select(above.c.id, above.c.parent_message_id, above.c.jump_id, above.c.depth)
    step = step.select_from(way).join(above, above.c.id == next_one).where(way.c.depth > _wanted)
    return way.union_all(step)


_found = _way()
_ancestor = Prepared(sa.select(_found.c.id).where(_found.c.depth == _wanted))


def place_below(connection: Connection, parent_id: int | None) -> dict[str, Any]:
    """Return ``depth`` and ``jump_id`` of a new message below a parent, which must exist; None: of a root."""
    return dict(zip(PLACE_BELOW, connection.execute(_place, {ABOVE: parent_id}).one(), strict=True))


def ancestor_at(connection: Connection, message_id: int, depth: int) -> int | None:
    """Return the id of the ancestor of a message (or itself) that is at ``depth``; None where the message is nearer to the root."""
    row = _ancestor.first(connection, {"this": message_id, "depth": depth})
    return None if row is None else row.id


def is_ancestor(connection: Connection, ancestor_id: int, message_id: int) -> bool:
    """Tell whether the one is the other or above it. Both must exist."""
    depth: int = connection.execute(_depth, {"this": ancestor_id}).scalar_one()
    return ancestor_at(connection, message_id, depth) == ancestor_id
