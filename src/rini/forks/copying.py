"""Copying messages into a session of their own, in one transaction.

The copies have new ids, and name each other as the first ones do. All ancestors of a copied message are copied too, so each stays at its
depth. A copy names the same file: one is deleted when no message names it any more.
"""

from array import array
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini import canon
from rini.db import AnyRow
from rini.db.ids import new_ids
from rini.errors import AnswerRunningError, InvalidRequestError
from rini.kit.clock import now
from rini.kit.ids import new_session_id
from rini.memory.repository import MOST_ENTRIES
from rini.memory.tables import memory_entries
from rini.responses.references import put_together, taken_apart
from rini.responses.tables import responses
from rini.sessions import repository
from rini.sessions.messages import RUNNING
from rini.sessions.search import Indexed, index_many
from rini.sessions.tables import context_cuts, message_labels, messages, sessions

MOST_MESSAGES = 20_000
"""How many messages a fork may have: on SQLite nobody else can write while they are stored."""

AT_ONCE = 500
LOST_IMAGE = "rini:lost"
"""What is no file's name: models are told that an image was here."""

_table = messages.c
_parts_json = msgspec.json.Decoder(tuple[canon.Part, ...])
_ids_json = msgspec.json.Decoder(list[int])
_expanding = sa.bindparam("ids", expanding=True, type_=_table.id.type)
_rows = sa.select(messages).where(_table.id.in_(_expanding)).order_by(_table.id)
_labels = sa.select(message_labels).where(message_labels.c.message_id.in_(_expanding))
_responses = sa.select(responses).where(responses.c.answer_id.in_(_expanding))
_cuts = sa.select(context_cuts).where(context_cuts.c.message_id.in_(_expanding)).order_by(context_cuts.c.id)
_here = sa.select(_table.id).where(_table.id.in_(_expanding), _table.session_id == sa.bindparam("session"))
_following = (
    sa.select(_table.id, _table.parent_message_id, _table.status)
    .where(_table.session_id == sa.bindparam("session"), _table.id > sa.bindparam("after"))
    .order_by(_table.id)
)


def _ancestors() -> sa.Select[int]:
    walk = (
        sa.select(_table.id, _table.parent_message_id)
        .where(_table.id == sa.bindparam("leaf"))
        .cte("walk", recursive=True)
    )
    above = sa.select(_table.id, _table.parent_message_id).join(walk, _table.id == walk.c.parent_message_id)
    walk = walk.union_all(above)
    return sa.select(walk.c.id).order_by(walk.c.id)


_path = _ancestors()


def fork(
    connection: Connection,
    user_id: int,
    session_id: str,
    *,
    message_id: int | None,
    mode: Literal["path", "branches", "all"],
    changes: Mapping[str, Any],
    with_memory: bool,
    with_files: bool,
) -> AnyRow:
    """Make a session of another one's messages and return its row. ``changes`` are columns in which it is to differ.

    Its head is the message named; without one, or where branches below it are copied, the first one's head if that is among them. Raises NotFoundError;
    InvalidRequestError for a message that is not in the session, and for too many; AnswerRunningError.
    """
    # Locked, so that none of the messages goes, and its file with it, before the copy names that file too.
    source = repository.get_locked(connection, user_id, session_id)
    named = source.head_message_id if message_id is None else message_id
    if message_id is not None:
        _check(connection, source.id, message_id)
    old = _to_copy(connection, source.id, named, mode)
    if len(old) > MOST_MESSAGES:
        raise InvalidRequestError(
            f"The fork would have {len(old):,} messages, and it may have {MOST_MESSAGES:,}; fork one path of the session."
        )
    ids = dict(zip(old, new_ids(connection, messages, len(old)), strict=True))
    head = named
    if mode == "branches" and named is not None and (source.head_message_id or 0) >= named:
        head = source.head_message_id
    new_id = _make_session(
        connection, source.id, {**changes, "head_id": None if head is None else ids.get(head, ids.get(named or 0))}
    )
    memory = _copy_memory(connection, source, new_id, ids) if with_memory else {}
    cuts = _cuts_of(connection, old)
    cut_ids = dict(zip([cut["id"] for cut in cuts], new_ids(connection, context_cuts, len(cuts)), strict=True))
    for some in _batches(old):
        found = connection.execute(_rows, {"ids": some}).mappings()
        rows = [_copy(dict(row), new_id, ids, cut_ids, memory, with_file=with_files) for row in found]
        connection.execute(messages.insert(), rows)
        index_many(connection, [Indexed(r["id"], user_id, new_id, r["role"], r["content"]) for r in rows])
        labels = [
            {**row, "message_id": ids[row["message_id"]]}
            for row in connection.execute(_labels, {"ids": some}).mappings()
        ]
        if labels:
            connection.execute(message_labels.insert(), labels)
        asked = [
            _copied_request(dict(row), new_id, ids) for row in connection.execute(_responses, {"ids": some}).mappings()
        ]
        if asked:
            connection.execute(responses.insert(), asked)
    if cuts:
        rows = [{**cut, "id": cut_ids[cut["id"]], "message_id": ids[cut["message_id"]]} for cut in cuts]
        connection.execute(context_cuts.insert(), rows)
    return repository.get(connection, user_id, new_id)


def _check(connection: Connection, session_id: str, message_id: int) -> None:
    here = sa.select(_table.status).where(_table.id == message_id, _table.session_id == session_id)
    status = connection.execute(here).scalar()
    if status is None:
        raise InvalidRequestError(f"message_id: there is no message {message_id} in this session.")
    if status == RUNNING:
        raise AnswerRunningError(message_id)


def _to_copy(connection: Connection, session_id: str, message_id: int | None, mode: str) -> "array[int]":
    """Return the ids of the messages to copy, in rising order: none is older than its parent."""
    if mode == "all":
        everything = connection.execute(_following, {"session": session_id, "after": 0})
        return array("q", [id_ for id_, _, status in everything if status != RUNNING])
    if message_id is None:
        raise InvalidRequestError("message_id: is missing, and the session has no head to take in its place.")
    way = array("q", connection.execute(_path, {"leaf": message_id}).scalars())
    if mode == "path":
        return way
    below = {message_id}
    for id_, parent, status in connection.execute(_following, {"session": session_id, "after": message_id}):
        if parent in below and status != RUNNING:
            below.add(id_)
            way.append(id_)
    return way


def _make_session(connection: Connection, source_id: str, changes: Mapping[str, Any]) -> str:
    row = connection.execute(sa.select(sessions).where(sessions.c.id == source_id)).mappings().one()
    moment = now()
    values = {column.key: row[column] for column in sessions.columns}
    values |= {"id": new_session_id(), "created_at": moment, "updated_at": moment, **changes}
    connection.execute(sessions.insert(), values)
    return values["id"]


def _copy(
    row: dict[str, Any],
    session_id: str,
    ids: Mapping[int, int],
    cuts: Mapping[int, int],
    memory: Mapping[int, int],
    *,
    with_file: bool,
) -> dict[str, Any]:
    row["id"] = ids[row["id"]]
    row["session_id"] = session_id
    for name in ("parent_message_id", "jump_id"):
        if row[name] is not None:
            row[name] = ids[row[name]]
    if row["cut_id"] is not None:
        row["cut_id"] = cuts.get(row["cut_id"])
    if row["memory_ids"] is not None and memory:
        # The rest is shared by the user's sessions.
        given = [memory.get(each, each) for each in _ids_json.decode(row["memory_ids"])]
        row["memory_ids"] = msgspec.json.encode(given).decode()
    if row["file_reference"] is not None and not with_file:
        if row["parts"] is not None:
            row["parts"] = _without_images(row["parts"])
        row |= {"file_reference": None, "original_filename": None, "mime_type": None}
    return row


def _copied_request(row: dict[str, Any], session_id: str, ids: Mapping[int, int]) -> dict[str, Any]:
    """Return what is stored of a request, which names the copies now."""
    fields, previous = taken_apart(row["request"])
    named = session_id if row["in_conversation"] else None
    row["request"] = put_together(fields, None if previous is None else ids.get(previous), named)
    row["answer_id"] = ids[row["answer_id"]]
    for name in ("first_input_id", "previous_id"):
        row[name] = ids.get(row[name])
    return row


def _without_images(parts: str) -> str:
    lost = canon.Image(canon.Media(url=LOST_IMAGE))
    stored = _parts_json.decode(parts)
    left = [lost if isinstance(p, canon.Image) and (p.media.url or "").startswith("rini:") else p for p in stored]
    return msgspec.json.encode(left).decode()


def _cuts_of(connection: Connection, message_ids: "array[int]") -> list[dict[str, Any]]:
    found = [dict(row) for some in _batches(message_ids) for row in connection.execute(_cuts, {"ids": some}).mappings()]
    # The latest one of a place counts.
    return sorted(found, key=lambda cut: cut["id"])


def _copy_memory(connection: Connection, source: AnyRow, session_id: str, ids: Mapping[int, int]) -> dict[int, int]:
    """Copy the session's own memory, and return the copies' ids by the first ones'."""
    entry = memory_entries.c
    found = connection.execute(sa.select(memory_entries).where(entry.session_id == source.id).order_by(entry.id))
    rows = [dict(row) for row in found.mappings()]
    unknown = sorted({each for row in rows for each in row["source_message_ids"] or ()} - ids.keys())
    left = {
        each
        for some in _batches(array("q", unknown))
        for each in connection.execute(_here, {"ids": some, "session": source.id}).scalars()
    }
    copies: list[dict[str, Any]] = []
    for row in rows:
        sources: list[int] | None = row["source_message_ids"]
        if sources:
            row["source_message_ids"] = [ids.get(each, each) for each in sources if each not in left]
            if not row["source_message_ids"]:
                continue
        copies.append({**row, "session_id": session_id})
    if not copies:
        return {}
    mine = sa.select(sa.func.count()).where(entry.user_id == source.user_id)
    if connection.execute(mine).scalar_one() + len(copies) > MOST_ENTRIES:
        raise InvalidRequestError(
            f"The fork would give you more than {MOST_ENTRIES:,} memory entries, and there may be no more; send memory: false."
        )
    new = new_ids(connection, memory_entries, len(copies))
    copied = dict(zip([row["id"] for row in copies], new, strict=True))
    connection.execute(memory_entries.insert(), [{**row, "id": copied[row["id"]]} for row in copies])
    return copied


def _batches(ids: "array[int]") -> Iterator[list[int]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE].tolist()
