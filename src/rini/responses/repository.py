"""Stored responses and conversations in the database. Each function is a unit of work, or a part of one."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.canon import Message, ToolResult, Usage, plain_text
from rini.db import AnyRow, Prepared
from rini.errors import NotFoundError, PreviousResponseNotFoundError
from rini.inference.estimate import conversation_tokens
from rini.kit.clock import now
from rini.responses.ids import answer_in, place_in, response_id, session_in
from rini.responses.items import Item, Json, items_of, without
from rini.responses.tables import responses
from rini.sessions import repository as sessions_repository
from rini.sessions.ancestry import ancestor_at, is_ancestor
from rini.sessions.messages import add
from rini.sessions.tables import messages, sessions
from rini.usage.tables import usage_records

BOOKED_WITHIN = timedelta(days=1)
"""A call's ledger row is looked for among those of the day on which its answer began."""

MOST_QUESTIONS = 100
"""As many messages are looked through for the input of an answer to another API's request."""

BATCH = 50
"""As many messages are read at once for a page of items."""

ITEM_DELETED = "item_deleted"

_table = responses.c
_message = messages.c
_call = usage_records.c

_record = Prepared(sa.select(responses).where(_table.answer_id == sa.bindparam("answer")))
_answer = Prepared(
    sa.select(messages).where(
        _message.id == sa.bindparam("answer"),
        _message.user_id == sa.bindparam("user"),
        _message.role == "assistant",
    )
)
_session_of = Prepared(
    sa.select(_message.session_id)
    .outerjoin(responses, _table.answer_id == _message.id)
    .where(
        _message.id == sa.bindparam("answer"),
        _message.user_id == sa.bindparam("user"),
        _message.role == "assistant",
        _table.deleted_at.is_(None),
    )
)
_insert = Prepared(responses.insert())
_any = sa.select(messages).where(_message.id == sa.bindparam("this"), _message.user_id == sa.bindparam("user"))
_depth = sa.select(_message.depth).where(_message.id == sa.bindparam("this"))
_mentioned = (
    sa.select(messages)
    .where(_message.user_id == sa.bindparam("user"), _message.parts.contains(sa.bindparam("mention"), autoescape=False))
    .order_by(_message.id.desc())
    .limit(10)
)
_strings = msgspec.json.Decoder(dict[str, str])
_metadata = sa.select(sessions.c.meta).where(sessions.c.id == sa.bindparam("this"))


def _way() -> sa.Select[*tuple[Any, ...]]:
    """Return the select of a message and its ancestors down from the depth ``low``, the nearest to the root first."""
    far_enough = _message.depth >= sa.bindparam("low")
    walk = sa.select(messages).where(_message.id == sa.bindparam("leaf"), far_enough).cte("walk", recursive=True)
    parent = sa.select(messages).join(walk, _message.id == walk.c.parent_message_id).where(far_enough)
    walk = walk.union_all(parent)
    return sa.select(walk).order_by(walk.c.depth)


_ancestors = _way()
_usage = sa.select(
    _call.input_tokens, _call.output_tokens, _call.cache_read_tokens, _call.cache_write_tokens, _call.reasoning_tokens
).where(
    _call.user_id == sa.bindparam("user"),
    _call.message_id == sa.bindparam("answer"),
    _call.created_at >= sa.bindparam("since"),
    _call.created_at < sa.bindparam("until"),
)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a request for a response: ``request`` is a JSON object of all that its answer repeats."""

    request: str
    in_conversation: bool = False
    background: bool = False


class Found(NamedTuple):
    """A response: its answer, and what is stored of its request; None for an answer to another API's."""

    answer: AnyRow
    record: AnyRow | None


def insert(
    connection: Connection,
    record: Record,
    *,
    answer_id: int,
    user_id: int,
    first_input_id: int | None,
    previous_id: int | None,
) -> None:
    """Store a request with its answer. ``previous_id`` is the message before the first of its input."""
    _insert.run(
        connection,
        {
            "answer_id": answer_id,
            "user_id": user_id,
            "request": record.request,
            "first_input_id": first_input_id,
            "previous_id": previous_id,
            "in_conversation": record.in_conversation,
            "background": record.background,
            "error": None,
            "deleted_at": None,
            "created_at": now(),
        },
    )


def find(connection: Connection, user_id: int, response: str) -> Found:
    """Return the user's response of that id. Raises NotFoundError, for a deleted one too."""
    answer_id = answer_in(response)
    if answer_id is not None:
        answer = _answer.first(connection, {"answer": answer_id, "user": user_id})
        if answer is not None:
            record = _record.first(connection, {"answer": answer_id})
            if record is None or record.deleted_at is None:
                return Found(answer, record)
    raise NotFoundError(f"There is no response '{response[:100]}'.")


def session_of(connection: Connection, user_id: int, answer_id: int) -> str:
    """Return the session of the response that is continued. Raises PreviousResponseNotFoundError, for a deleted one too."""
    row = _session_of.first(connection, {"answer": answer_id, "user": user_id})
    if row is None:
        raise no_previous(response_id(answer_id))
    return row.session_id


def no_previous(named: str) -> PreviousResponseNotFoundError:
    """Return what tells that there is no response of that id to be continued."""
    return PreviousResponseNotFoundError(
        f"previous_response_id: there is no response '{named[:100]}'.", parameter="previous_response_id"
    )


def store_error(connection: Connection, answer_id: int, error: Json) -> None:
    """Store the error object of a response that failed; an answer that is none of OpenAI's API has no place for it."""
    changed = responses.update().where(responses.c.answer_id == answer_id)
    connection.execute(changed.values(error=msgspec.json.encode(error).decode()))


def hide(connection: Connection, user_id: int, response: str) -> None:
    """Delete the response; its messages stay in their session. Raises NotFoundError."""
    answer, record = find(connection, user_id, response)
    if record is None:
        nothing = Record(request="{}")
        insert(connection, nothing, answer_id=answer.id, user_id=user_id, first_input_id=None, previous_id=None)
    connection.execute(responses.update().where(_table.answer_id == answer.id).values(deleted_at=now()))


def input_of(connection: Connection, found: Found) -> list[AnyRow]:
    """Return the messages of a response's input, in their order: of another API's answer, all since the answer before."""
    answer, record = found
    if answer.parent_message_id is None:
        return []
    if record is None or record.deleted_at is not None:
        return _since_last_answer(connection, answer)
    if record.first_input_id is None:
        return []
    low = connection.execute(_depth, {"this": record.first_input_id}).scalar()
    return [] if low is None else _way_to(connection, answer.parent_message_id, low)


def _since_last_answer(connection: Connection, answer: AnyRow) -> list[AnyRow]:
    rows = _way_to(connection, answer.parent_message_id, max(0, answer.depth - MOST_QUESTIONS))
    written = [place for place, row in enumerate(rows) if row.role == "assistant"]
    return rows[written[-1] + 1 :] if written else rows


def usage_of(connection: Connection, answer: AnyRow) -> Usage | None:
    """Return what an answer took, as its ledger rows say; None where nothing was counted."""
    since = answer.created_at - timedelta(minutes=1)
    parameters = {"user": answer.user_id, "answer": answer.id, "since": since, "until": since + BOOKED_WITHIN}
    rows = connection.execute(_usage, parameters).all()
    sums = [_sum(column) for column in zip(*rows, strict=True)]
    if not sums:
        sums = [answer.prompt_tokens, answer.completion_tokens, None, None, None]
    if sums[0] is None and sums[1] is None:
        return None
    return Usage(sums[0], sums[1], sums[2], sums[3], reasoning_tokens=sums[4])


def conversation(connection: Connection, user_id: int, named: str, *, locked: bool = False) -> AnyRow:
    """Return the session of the user's that a conversation's id names. Raises NotFoundError."""
    session_id = session_in(named)
    if session_id is not None:
        with suppress(NotFoundError):
            get = sessions_repository.get_locked if locked else sessions_repository.get
            return get(connection, user_id, session_id)
    raise NotFoundError(f"There is no conversation '{named[:100]}'.")


def metadata_of(connection: Connection, session_id: str) -> dict[str, str]:
    """Return a conversation's metadata."""
    stored = connection.execute(_metadata, {"this": session_id}).scalar()
    return _strings.decode(stored) if stored else {}


def page(
    connection: Connection, session: AnyRow, *, after: str | None, limit: int, ascending: bool, proofs: bool
) -> tuple[list[Json], bool]:
    """Return some of a conversation's items, and whether there are more. ``after`` is the item before the first of them.

    What it costs grows with ``limit`` and not with the conversation. Raises NotFoundError for an ``after`` that is no item of it.
    """
    head = session.head_message_id
    if head is None:
        if after is not None:
            raise _no_item(after)
        return [], False
    begin = None if after is None else place_of(connection, session, after)
    found: list[Json] = []
    for row in _rows(connection, head, None if begin is None else begin.message.depth, ascending=ascending):
        items = items_of(row, proofs=proofs)
        for item in items if ascending else reversed(items):
            if begin is not None and row.id == begin.message.id:
                before = item.position <= begin.item.position if ascending else item.position >= begin.item.position
                if before:
                    continue
            if len(found) == limit:
                return found, True
            found.append(item.value)
    return found, False


class Placed(NamedTuple):
    """An item, and the message that it is in."""

    message: AnyRow
    item: Item


def place_of(connection: Connection, session: AnyRow, item_id: str) -> Placed:
    """Return an item of a conversation. Raises NotFoundError."""
    head, place = session.head_message_id, place_in(item_id)
    if head is not None and place is not None:
        row = connection.execute(_any, {"this": place.message_id, "user": session.user_id}).first()
        if row is not None and row.session_id == session.id and is_ancestor(connection, row.id, head):
            for item in items_of(row, proofs=True):
                if item.value["id"] == item_id:
                    return Placed(row, item)
    elif head is not None:
        # An id that a provider gave, of one of its own tools' items.
        for row in _rows(connection, head, None, ascending=False):
            for item in items_of(row, proofs=True) if row.parts else ():
                if item.value["id"] == item_id:
                    return Placed(row, item)
    raise _no_item(item_id)


def find_item(connection: Connection, user_id: int, item_id: str) -> Placed:
    """Return an item of the user's, in whichever session. Raises NotFoundError."""
    place = place_in(item_id)
    if place is not None:
        rows = connection.execute(_any, {"this": place.message_id, "user": user_id}).all()
    else:
        named = msgspec.json.encode(item_id).decode()
        rows = connection.execute(_mentioned, {"user": user_id, "mention": f'"id":{named}'}).all()
    for row in rows:
        for item in items_of(row, proofs=True):
            if item.value["id"] == item_id:
                return Placed(row, item)
    raise _no_item(item_id)


def delete_item(connection: Connection, session: AnyRow, item_id: str) -> None:
    """Delete an item of a conversation: no model reads it again. Its message keeps its place in the tree. Raises NotFoundError."""
    row, item = place_of(connection, session, item_id)
    kept = without(row, item)
    connection.execute(
        messages.update()
        .where(_message.id == row.id)
        .values(
            parts=msgspec.json.encode(kept).decode(),
            content=plain_text(kept).replace("\x00", "\ufffd"),
            size_tokens=conversation_tokens((Message(row.role, kept),)),
            status_reason=ITEM_DELETED,
        )
    )


def add_items(connection: Connection, session: AnyRow, added: Sequence[Message]) -> list[AnyRow]:
    """Store messages at the tip of a conversation and return their rows."""
    rows: list[AnyRow] = []
    above: int | None = session.head_message_id
    for message in added:
        row = add(
            connection,
            session_id=session.id,
            user_id=session.user_id,
            role=message.role,
            content=shown_text(message),
            parts=message.parts,
            origin=message.origin,
            parent_message_id=above,
        )
        rows.append(row)
        above = row.id
    if rows:
        sessions_repository.move_head(connection, session.id, above)
    return rows


def shown_text(message: Message) -> str:
    """Return what a reader sees of a message: its text, and of a tool's results theirs."""
    results = [plain_text(part.content) for part in message.parts if isinstance(part, ToolResult)]
    return "\n".join(text for text in (*results, plain_text(message.parts)) if text)


def _rows(connection: Connection, head: int, begin: int | None, *, ascending: bool) -> Iterator[AnyRow]:
    """Yield the messages of a way from the root to ``head`` from the depth ``begin`` on, in batches that are read when they are needed."""
    tip: int = connection.execute(_depth, {"this": head}).scalar_one()
    if ascending:
        for low in range(begin or 0, tip + 1, BATCH):
            leaf = ancestor_at(connection, head, min(low + BATCH - 1, tip))
            yield from _way_to(connection, leaf, low)
        return
    leaf = head if begin is None else ancestor_at(connection, head, begin)
    depth = tip if begin is None else begin
    while leaf is not None:
        rows = _way_to(connection, leaf, max(0, depth - BATCH + 1))
        yield from reversed(rows)
        leaf, depth = rows[0].parent_message_id, rows[0].depth - 1


def _way_to(connection: Connection, leaf: int | None, low: int) -> list[AnyRow]:
    return list(connection.execute(_ancestors, {"leaf": leaf, "low": low}).all())


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _no_item(item_id: str) -> NotFoundError:
    return NotFoundError(f"There is no item '{item_id[:100]}'.")
