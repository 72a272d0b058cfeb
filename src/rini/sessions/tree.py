"""A session's tree, a page at a time: so many levels, so many children of each message, so many messages in all.

A page is read level by level, so that its cost is the page's and not the session's.
"""

from decimal import Decimal

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import AnyRow, Prepared, among
from rini.errors import InvalidRequestError
from rini.sessions import marks, repository
from rini.sessions.ancestry import ancestor_at
from rini.sessions.tables import messages
from rini.usage.tables import usage_records, usage_session_days

MOST_NODES = 1000
PREVIEW_CHARACTERS = 120

_READ_CHARACTERS = 4 * PREVIEW_CHARACTERS  # white space is taken out of it
_table = messages.c
_child = messages.alias("child")
_columns = (
    _table.id,
    _table.parent_message_id,
    _table.depth,
    _table.role,
    _table.status,
    sa.func.substr(_table.content, 1, _READ_CHARACTERS).label("start"),
    _table.provider,
    sa.func.coalesce(_table.model_used, _table.model_asked).label("model"),
    _table.token_count,
    _table.size_tokens,
    _table.note,
    _table.created_at,
    sa.select(sa.func.count()).where(_child.c.parent_message_id == _table.id).scalar_subquery().label("child_count"),
)
_one = sa.select(*_columns).where(_table.id == sa.bindparam("message"), _table.session_id == sa.bindparam("session"))
_roots = Prepared(
    sa.select(*_columns)
    .where(
        _table.session_id == sa.bindparam("session"),
        _table.parent_message_id.is_(None),
        _table.id > sa.bindparam("after"),
    )
    .order_by(_table.id)
    .limit(sa.bindparam("most"))
)
_parent = sa.bindparam("parent", type_=_table.parent_message_id.type)
# Not ``parent_message_id = …``: for a message with many children Postgres would then look for them through the whole table, in the order of ids.
_below_one = Prepared(
    sa.select(*_columns)
    .where(
        sa.tuple_(_table.parent_message_id, _table.id)
        > sa.tuple_(_parent, sa.bindparam("after", type_=_table.id.type)),
        _table.parent_message_id <= _parent,
    )
    .order_by(_table.parent_message_id, _table.id)
    .limit(sa.bindparam("most"))
)
_below = Prepared(
    sa.select(*_columns)
    .where(among(_table.parent_message_id, "parents"))
    .order_by(_table.parent_message_id, _table.id)
    .limit(sa.bindparam("most"))
)
_count = sa.select(sa.func.count()).where(_table.session_id == sa.bindparam("session"))
_spent = sa.select(sa.func.sum(usage_session_days.c.cost_usd)).where(
    usage_session_days.c.session_id == sa.bindparam("session"), usage_session_days.c.user_id == sa.bindparam("user")
)
_depth = sa.select(_table.depth).where(_table.id == sa.bindparam("message"))
_records = usage_records.c
_spent_for_each = Prepared(
    sa.select(_records.message_id, sa.func.sum(_records.cost_usd), sa.func.count(), sa.func.count(_records.cost_usd))
    .where(among(_records.message_id, "messages"))
    .group_by(_records.message_id)
)


def _climb() -> sa.Select[tuple[int]]:
    """Return the select of a message and its ancestors down from the depth ``low``."""
    leaf = sa.select(_table.id, _table.parent_message_id, _table.depth).where(_table.id == sa.bindparam("leaf"))
    climb = leaf.cte("climb", recursive=True)
    above = sa.select(_table.id, _table.parent_message_id, _table.depth)
    above = above.join(climb, _table.id == climb.c.parent_message_id).where(climb.c.depth > sa.bindparam("low"))
    climb = climb.union_all(above)
    return sa.select(climb.c.id)


_ancestors = Prepared(_climb())


class Node(msgspec.Struct, kw_only=True):
    """A message in the tree.

    ``on_path`` says that it is on the way to the session's head. ``tokens`` is the provider's count of an answer, else an estimate
    of what the message has. ``children_after`` is there when it has more children than are shown: the id after which they go on.
    """

    row: AnyRow
    on_path: bool
    labels: list[str]
    cost_usd: Decimal | None
    children: list["Node"]
    children_after: int | None = None


class Page(msgspec.Struct, kw_only=True):
    """A page of a tree. ``cost_usd`` is what all calls in the session cost; None: there were none. ``roots_after`` is there when there are more of its top messages: the id after which they go on."""

    head_id: int | None
    message_count: int
    cost_usd: Decimal | None
    nodes: list[Node]
    roots: list[Node]
    roots_after: int | None


def page(
    connection: Connection,
    user_id: int,
    session_id: str,
    *,
    top: int | None,
    after: int,
    depth: int,
    breadth: int,
    most: int,
) -> Page:
    """Return ``depth`` levels of a session's tree below ``top`` (None: from its roots), ``breadth`` children of each message.

    ``after`` goes on behind a child of the top. Raises NotFoundError, InvalidRequestError.
    """
    session = repository.get(connection, user_id, session_id)
    rows, more = _top(connection, session.id, top, after, min(breadth, most))
    rows = rows[:most]
    levels = [rows]
    left = most - len(rows)
    while levels[-1] and len(levels) < depth and left > 0:
        found = _next_level(connection, levels[-1], breadth, left)
        levels.append(found)
        left -= len(found)
    found = [row for level in levels for row in level]
    path = _path(connection, session.head_message_id, found)
    ids = [row.id for row in found]
    labels, costs = marks.labels_of(connection, ids), _costs(connection, ids)
    nodes = [
        Node(
            row=row,
            on_path=row.id in path,
            labels=labels.get(row.id, []),
            cost_usd=costs.get(row.id),
            children=[],
        )
        for row in found
    ]
    by_id = {node.row.id: node for node in nodes}
    roots: list[Node] = []
    for node in nodes:
        above = by_id.get(node.row.parent_message_id)
        (roots if above is None else above.children).append(node)
    for node in nodes:
        if node.children and node.row.child_count > len(node.children):
            node.children_after = node.children[-1].row.id
    total = connection.execute(_count, {"session": session.id}).scalar_one()
    return Page(
        head_id=session.head_message_id,
        message_count=total,
        cost_usd=connection.execute(_spent, {"session": session.id, "user": user_id}).scalar(),
        nodes=nodes,
        roots=roots,
        roots_after=rows[-1].id if more and rows else None,
    )


def _top(
    connection: Connection, session_id: str, top: int | None, after: int, breadth: int
) -> tuple[list[AnyRow], bool]:
    """Return the messages at the top of the page, and whether there are more of them."""
    if top is None:
        parameters = {"session": session_id, "after": after, "most": breadth + 1}
        rows = _roots.rows(connection, parameters)
    else:
        first = connection.execute(_one, {"message": top, "session": session_id}).first()
        if first is None:
            raise InvalidRequestError(f"from: there is no message {top} in this session.")
        if not after:
            return [first], False
        rows = _below_one.rows(connection, {"parent": top, "after": after, "most": breadth + 1})
    return rows[:breadth], len(rows) > breadth


def _next_level(connection: Connection, above: list[AnyRow], breadth: int, most: int) -> list[AnyRow]:
    """Return at most ``breadth`` children of each message, and ``most`` in all."""
    few = [row.id for row in above if 0 < row.child_count <= breadth]
    found = _below.rows(connection, {"parents": few, "most": most}) if few else []
    # Those with many are asked for one by one, so that none of the rest is read. There is room for few of them.
    for row in above:
        if row.child_count > breadth and len(found) < most:
            room = min(breadth, most - len(found))
            found += _below_one.rows(connection, {"parent": row.id, "after": 0, "most": room})
    return sorted(found, key=lambda row: row.id)


def _path(connection: Connection, head_id: int | None, rows: list[AnyRow]) -> set[int]:
    """Return the ids of the head's ancestors (and itself) at the depths that ``rows`` have."""
    if head_id is None or not rows:
        return set()
    first, last = rows[0].depth, rows[-1].depth
    depth: int | None = connection.execute(_depth, {"message": head_id}).scalar()
    if depth is None or depth < first:
        return set()
    lowest = ancestor_at(connection, head_id, min(depth, last))
    return {found for (found,) in _ancestors.tuples(connection, {"leaf": lowest, "low": first})}


def _costs(connection: Connection, ids: list[int]) -> dict[int, Decimal | None]:
    """Return what the calls for each message cost; None where one of them has no price."""
    if not ids:
        return {}
    found: dict[int, Decimal | None] = {}
    for message_id, cost, calls, priced in _spent_for_each.tuples(connection, {"messages": ids}):
        found[message_id] = cost if calls == priced else None
    return found
