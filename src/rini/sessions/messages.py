"""Messages in the database: a tree in which each row names its parent."""

from typing import Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection

from rini import canon
from rini.db import AnyRow, Prepared
from rini.errors import AnswerRunningError, ConfirmationNeededError, InvalidRequestError, NotFoundError
from rini.inference.estimate import conversation_tokens
from rini.kit.clock import now
from rini.sessions import repository, search
from rini.sessions.ancestry import ABOVE, PLACE_BELOW
from rini.sessions.tables import messages

DELETED_AT_ONCE = 500

RUNNING = "running"
"""The status of an answer that is being written."""

_table = messages.c
_new = messages.insert().values(PLACE_BELOW)
_insert = Prepared(_new.returning(messages))
_insert_unread = Prepared(_new.returning(_table.id))
# A dead process's answer may have been taken for lost, and its journal come back with what it had said.
_finish = Prepared(
    messages.update().where(_table.id == sa.bindparam("answer"), _table.status != "complete").returning(messages)
)
_parent = Prepared(
    sa.select(_table.status).where(_table.id == sa.bindparam("parent"), _table.session_id == sa.bindparam("session"))
)
_below = messages.alias()
_take_back = (
    messages.delete()
    .where(
        _table.id == sa.bindparam("message"), ~sa.exists().where(_below.c.parent_message_id == sa.bindparam("message"))
    )
    .returning(_table.parent_message_id)
)
_one = sa.select(messages).where(_table.id == sa.bindparam("message_id"), _table.user_id == sa.bindparam("user_id"))


def _path(*columns: sa.Column[Any]) -> sa.Select[*tuple[Any, ...]]:
    """Return the select of a leaf's ancestors and itself, root first. It walks parents, so its cost is the path's length."""
    leaf = sa.select(*columns, sa.literal(0).label("steps")).where(_table.id == sa.bindparam("leaf"))
    walk = leaf.cte("walk", recursive=True)
    parent = sa.select(*columns, walk.c.steps + 1).join(walk, _table.id == walk.c.parent_message_id)
    walk = walk.union_all(parent)
    return sa.select(*(walk.c[column.name] for column in columns)).order_by(walk.c.steps.desc())


_history = _path(*messages.columns)


def add(
    connection: Connection,
    *,
    session_id: str,
    user_id: int,
    role: str,
    content: str,
    parent_message_id: int | None,
    parts: tuple[canon.Part, ...] = (),
    origin: str | None = None,
    **fields: Any,
) -> AnyRow:
    """Store a message and return its row. ``parts`` are stored when they say more than ``content``.

    Postgres has no NUL in texts: a model's own is shown as U+FFFD and kept in the parts.
    """
    row = _insert.one(
        connection,
        {
            "session_id": session_id,
            "user_id": user_id,
            "role": role,
            "parent_message_id": parent_message_id,
            ABOVE: parent_message_id,
            "origin": origin,
            "status": "complete",
            "created_at": now(),
            **_said(role, content, parts),
            **fields,
        },
    )
    search.index_soon(connection, row.id, row.content)
    return row


def open_answer(
    connection: Connection,
    *,
    session_id: str,
    user_id: int,
    parent_message_id: int | None,
    provider: str,
    model: str,
    **fields: Any,
) -> int:
    """Store an answer that is going to be written, and return its id. ``provider`` and ``model`` are who is asked."""
    row = _insert_unread.one(
        connection,
        {
            "session_id": session_id,
            "user_id": user_id,
            "role": "assistant",
            **_NOTHING_YET,
            "parent_message_id": parent_message_id,
            ABOVE: parent_message_id,
            "status": RUNNING,
            "provider": provider,
            "model_asked": model.replace("\x00", "\ufffd"),
            "created_at": now(),
            **fields,
        },
    )
    return row.id


def finish_answer(
    connection: Connection, answer_id: int, *, content: str, parts: tuple[canon.Part, ...], **fields: Any
) -> AnyRow | None:
    """Complete an answer and return its row; None where it was deleted meanwhile."""
    values = {**_said("assistant", content, parts), **fields, "answer": answer_id}
    row = _finish.first(connection, values)
    if row is not None:
        search.index_soon(connection, row.id, row.content)
    return row


def break_off(connection: Connection, answer_id: int, reason: str) -> bool:
    """Tell a running answer as broken off, as it is; return whether it was running."""
    changed = messages.update().where(_table.id == answer_id, _table.status == RUNNING)
    return connection.execute(changed.values(status="partial", status_reason=reason)).rowcount > 0


def drop_answer(connection: Connection, answer_id: int) -> None:
    """Delete an answer of which nothing came."""
    connection.execute(messages.delete().where(_table.id == answer_id, _table.status != "complete"))


def take_back(connection: Connection, message_id: int, count: int) -> None:
    """Delete up to so many messages, one and those above it, while nothing else is below them."""
    at: int | None = message_id
    for _ in range(count):
        row = connection.execute(_take_back, {"message": at}).first()
        if row is None:
            return
        at = row.parent_message_id


def _said(role: str, content: str, parts: tuple[canon.Part, ...]) -> dict[str, Any]:
    content = content.replace("\x00", "\ufffd")
    plain = not parts or (len(parts) == 1 and parts[0] == canon.Text(content))
    return {
        "content": content,
        "parts": None if plain else msgspec.json.encode(parts).decode(),
        "size_tokens": conversation_tokens((canon.Message(cast("canon.Role", role), parts or (canon.Text(content),)),)),
    }


_NOTHING_YET = _said("assistant", "", ())


def append(
    connection: Connection, user_id: int, session_id: str, role: str, content: str, parent_message_id: int | None
) -> AnyRow:
    """Store a message at the tip of the current branch, or below the parent named, and make it the tip."""
    session = repository.get_locked(connection, user_id, session_id)
    parent = parent_of(connection, session, parent_message_id)
    row = add(
        connection,
        session_id=session.id,
        user_id=user_id,
        role=role,
        content=content,
        parent_message_id=parent,
    )
    repository.move_head(connection, session.id, row.id)
    return row


def parent_of(connection: Connection, session: AnyRow, named: int | None) -> int | None:
    """Return the id of the parent that a new message of ``session`` has.

    Raises InvalidRequestError for a foreign one, AnswerRunningError for an answer that is still being written.
    """
    if named is None:
        return session.head_message_id
    parent = _parent.first(connection, {"parent": named, "session": session.id})
    if parent is None:
        raise InvalidRequestError(f"parent_message_id: there is no message {named} in this session.")
    if parent.status == RUNNING:
        raise AnswerRunningError(named)
    return named


def get(connection: Connection, user_id: int, message_id: int) -> AnyRow:
    """Return the user's message. Raises NotFoundError."""
    row = connection.execute(_one, {"message_id": message_id, "user_id": user_id}).first()
    if row is None:
        raise NotFoundError(f"There is no message {message_id}.")
    return row


def delete(connection: Connection, user_id: int, message_id: int, count: int | None) -> list[str]:
    """Delete the user's message and all below it; return the references of the files that these named.

    Where the session's current branch ended in them, it ends at the message's parent now. Raises NotFoundError, and
    ConfirmationNeededError unless ``count`` says how many messages go; a message that has none below it needs no count.
    """
    session_id = get(connection, user_id, message_id).session_id
    session = repository.get_locked(connection, user_id, session_id)
    top = get(connection, user_id, message_id)
    going = _subtree(connection, session.id, top.id)
    if len(going) != (1 if count is None else count):
        raise _unconfirmed(len(going))
    # The newest first: none is older than its parent, so each batch leaves nothing that points at nothing.
    ids = sorted(going, reverse=True)
    try:
        for start in range(0, len(ids), DELETED_AT_ONCE):
            connection.execute(messages.delete().where(_table.id.in_(ids[start : start + DELETED_AT_ONCE])))
    except exc.IntegrityError:  # a question came below one of them meanwhile
        raise _unconfirmed(len(going) + 1) from None
    if session.head_message_id in going:
        repository.move_head(connection, session.id, top.parent_message_id)
    return sorted({reference for reference in going.values() if reference is not None})


def _subtree(connection: Connection, session_id: str, top: int) -> dict[int, str | None]:
    """Return the ids of a message and of all below it, with their files.

    Not a recursive query: Postgres may look through the whole table for each step of it.
    """
    query = (
        sa.select(_table.id, _table.parent_message_id, _table.file_reference)
        .where(_table.session_id == session_id, _table.id >= top)
        .order_by(_table.id)
    )
    found: dict[int, str | None] = {}
    for message_id, parent, reference in connection.execute(query):
        if message_id == top or parent in found:
            found[message_id] = reference
    return found


def _unconfirmed(found: int) -> ConfirmationNeededError:
    what = "1 message: nothing is below it" if found == 1 else f"{found} messages, with all that are below it"
    return ConfirmationNeededError(f"Deleting this message deletes {what}; say so with ?count={found}.", count=found)


def history(connection: Connection, user_id: int, message_id: int) -> list[AnyRow]:
    """Return the messages from the root to this one. Raises NotFoundError."""
    get(connection, user_id, message_id)
    return list(connection.execute(_history, {"leaf": message_id}).all())


def page(connection: Connection, user_id: int, session_id: str, skip: int, limit: int) -> tuple[list[AnyRow], int]:
    """Return some of a session's messages, of all branches, oldest first, and how many there are."""
    session = repository.get(connection, user_id, session_id)
    here = _table.session_id == session.id
    total = connection.execute(sa.select(sa.func.count()).where(here)).scalar_one()
    rows = connection.execute(sa.select(messages).where(here).order_by(_table.id).offset(skip).limit(limit)).all()
    return list(rows), total
