"""The path to a message as a model reads it: from the root, or from where a cut lets it begin."""

from collections.abc import Container, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection

from rini import canon
from rini.db import AnyRow, Prepared
from rini.inference.estimate import conversation_tokens
from rini.kit.clock import now
from rini.sessions.tables import context_cuts, messages, system_texts

UNLIMITED = 2**62
"""The context of a cut whose model's is not known, and so many tokens that no path has them."""

PAST_ALL_CUTS = UNLIMITED + 1
"""In place of a context: the path is read from its root."""

_parts_json = msgspec.json.Decoder(tuple[canon.Part, ...])
_table = messages.c
_cut = context_cuts.c


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Where a path begins: after ``message_id``. ``summary`` stands for all before it; None: nothing does.

    ``provider`` and ``model`` are who wrote the summary; None: it is a note of this server's own. ``reason`` says why there is none of all that is
    left out although that was wanted: an error's code. ``window_tokens`` is the context for which it was made, ``size_tokens`` about
    what the summary has.
    """

    message_id: int
    summary: str | None = None
    reason: str | None = None
    window_tokens: int | None
    size_tokens: int = 0
    provider: str | None = None
    model: str | None = None
    id: int | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A stored message as a model reads it: mostly one, more of an answer over tools, none of an answer that says nothing.

    ``tokens`` is an estimate. Of an answer that one call made, ``prompt_tokens`` is what its provider counted of all before it, for
    the model ``asked`` (provider and name), with the path beginning at ``cut_id``.
    """

    message_id: int
    messages: tuple[canon.Message, ...]
    tokens: int
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    asked: tuple[str | None, str | None] = (None, None)
    cut_id: int | None = None


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of a path, oldest first, and the cut before them. ``whole`` is False where older ones were not even read."""

    steps: tuple[Step, ...]
    cut: Cut | None = None
    whole: bool = True

    @property
    def messages(self) -> tuple[canon.Message, ...]:
        """All steps' messages."""
        return tuple([message for step in self.steps for message in step.messages])


EMPTY = Path(steps=())

_read = (
    _table.id,
    _table.parent_message_id,
    _table.role,
    _table.content,
    _table.parts,
    _table.origin,
    _table.status,
    _table.size_tokens,
    _table.prompt_tokens,
    _table.completion_tokens,
    _table.provider,
    _table.model_asked,
    _table.cut_id,
)
# Messages of before the sizes were stored have none.
_size = sa.func.coalesce(
    _table.size_tokens, (sa.func.length(_table.content) + sa.func.length(sa.func.coalesce(_table.parts, ""))) / 4 + 4
)


def _walk(stops: sa.ColumnElement[bool]) -> sa.Select[*tuple[Any, ...]]:
    """Return the select of a leaf and its ancestors, root first, up to where one ``stops`` or there are too many tokens.

    It walks parents, so its cost is the path's length; and only ids and sizes go along.
    """
    goes_on = ~stops
    leaf = sa.select(_table.id, _table.parent_message_id, _size.label("tokens")).where(
        _table.id == sa.bindparam("leaf"), goes_on
    )
    walk = leaf.cte("walk", recursive=True)
    parent = (
        sa.select(_table.id, _table.parent_message_id, walk.c.tokens + _size)
        .join(walk, _table.id == walk.c.parent_message_id)
        .where(walk.c.tokens <= sa.bindparam("most"), goes_on)
    )
    walk = walk.union_all(parent)
    return sa.select(*_read).join(walk, walk.c.id == _table.id).order_by(_table.depth)


_applies = sa.bindparam("window", type_=sa.BigInteger) <= sa.func.coalesce(_cut.window_tokens, UNLIMITED)
_until_cut = Prepared(_walk(sa.exists().where(_cut.message_id == _table.id, _applies)))
_until_message = _walk(_table.id == sa.bindparam("stop"))
_nearest = sa.select(context_cuts).where(_cut.message_id == sa.bindparam("message"), _applies)
# The latest one: a branch that was cut at the same place twice goes on with what was made last.
_latest = Prepared(_nearest.order_by(_cut.id.desc()).limit(1))
_one_cut = sa.select(context_cuts).where(_cut.id == sa.bindparam("cut"))
_insert_cut = context_cuts.insert().returning(_cut.id)
_system_text = sa.select(system_texts.c.text).where(
    system_texts.c.user_id == sa.bindparam("user"), system_texts.c.digest == sa.bindparam("digest")
)
_note_given = (
    messages.update()
    .where(_table.id == sa.bindparam("answer"))
    .values(system_digest=sa.bindparam("digest"), cut_id=sa.bindparam("cut"))
)
_set_cut = messages.update().where(_table.id == sa.bindparam("answer")).values(cut_id=sa.bindparam("cut"))


def read_path(connection: Connection, leaf: int | None, window_tokens: int | None, most_tokens: int) -> Path:
    """Return the path to ``leaf`` for a model whose context is ``window_tokens``.

    It begins after the nearest cut that was made for such a context or a larger one (None, not known: the nearest of all). What is
    above about ``most_tokens`` is not read.
    """
    if leaf is None:
        return EMPTY
    window = window_tokens or 0
    rows = list(_until_cut.tuples(connection, {"leaf": leaf, "window": window, "most": most_tokens}))
    boundary = leaf
    if rows:
        _, boundary, *_ = rows[0]
    cut = None
    if boundary is not None:
        cut = _latest.first(connection, {"message": boundary, "window": window})
    return Path(
        steps=tuple(map(_step, rows)),
        cut=_cut_of(cut) if cut is not None else None,
        whole=boundary is None or cut is not None,
    )


def read_path_of(connection: Connection, leaf: int | None, cut_id: int | None, most_tokens: int) -> Path:
    """Return the path to ``leaf`` as it was read for an answer whose path began at ``cut_id``; None: at the root."""
    if leaf is None:
        return EMPTY
    row = None if cut_id is None else connection.execute(_one_cut, {"cut": cut_id}).first()
    stop = -1 if row is None else row.message_id
    rows = connection.execute(_until_message, {"leaf": leaf, "stop": stop, "most": most_tokens}).all()
    reached = not rows or rows[0].parent_message_id in (None, stop)
    return Path(steps=tuple(map(_step, rows)), cut=None if row is None else _cut_of(row), whole=reached)


def store_cut(connection: Connection, user_id: int, cut: Cut, answer_id: int) -> Cut:
    """Store a cut, as the one at which the path of the answer ``answer_id`` begins, and return it with its id.

    Raises IntegrityError where its message is gone.
    """
    values = {name: getattr(cut, name) for name in Cut.__struct_fields__ if name != "id"}
    cut_id = connection.execute(_insert_cut, {**values, "user_id": user_id, "created_at": now()}).scalar_one()
    connection.execute(_set_cut, {"answer": answer_id, "cut": cut_id})
    return msgspec.structs.replace(cut, id=cut_id)


def keep_system_text(
    connection: Connection, user_id: int, system: tuple[canon.Message, ...], known: Container[str]
) -> str | None:
    """Store the text of the system messages, unless it is ``known``, and return its digest; None where there is none."""
    if not system:
        return None
    text = "\n\n".join([canon.plain_text(message.parts) for message in system]).replace("\x00", "\ufffd")
    data = text.encode(errors="replace")
    digest = sha256(data).hexdigest()
    if digest not in known:
        insert = sqlite_insert if connection.dialect.name == "sqlite" else postgres_insert
        row = {"user_id": user_id, "digest": digest, "text": data.decode()}
        connection.execute(insert(system_texts).values(row).on_conflict_do_nothing())
    return digest


def note_given(connection: Connection, answer_id: int, digest: str | None, cut_id: int | None) -> None:
    """Note what a model is given for an answer that is begun again: which system text, and where its path begins."""
    connection.execute(_note_given, {"answer": answer_id, "digest": digest, "cut": cut_id})


def system_text(connection: Connection, user_id: int, digest: str | None) -> str | None:
    """Return a stored text of system messages."""
    return connection.execute(_system_text, {"user": user_id, "digest": digest}).scalar()


def _cut_of(row: AnyRow) -> Cut:
    return Cut(**{name: getattr(row, name) for name in Cut.__struct_fields__})


def _step(row: Sequence[Any]) -> Step:
    """Return a row as a model is to read it.

    Of an answer that broke off that is its text: providers refuse reasoning without its proof and half a tool call, and with
    them every later question.
    """
    message_id, _, role, content, parts, origin, status, tokens, prompt, completion, provider, asked, cut_id = row
    if parts is None or status == "partial":
        said = (canon.Message(role=role, parts=(canon.Text(content),), origin=origin),) if content else ()
    else:
        said = _apart(role, _parts_json.decode(parts), origin)
    if tokens is None:
        tokens = conversation_tokens(said)
    if role != "assistant" or provider is None:
        return Step(message_id=message_id, messages=said, tokens=tokens)
    # Where tools were used the counts are of several calls, of which each read what the others did.
    once = len(said) == 1
    return Step(
        message_id=message_id,
        messages=said,
        tokens=tokens,
        prompt_tokens=prompt if once else None,
        completion_tokens=completion,
        asked=(provider, asked),
        cut_id=cut_id,
    )


def _apart(role: canon.Role, parts: tuple[canon.Part, ...], origin: str | None) -> tuple[canon.Message, ...]:
    """Return the messages of one row: an answer over tools holds their calls, their results, and what was said after."""
    if len(parts) == 1 and type(parts[0]) is canon.Text:  # as nearly all are
        return (canon.Message(role, parts, origin=origin),)
    return tuple(
        [
            canon.Message("tool", tuple(run)) if is_results else canon.Message(role, tuple(run), origin=origin)
            for is_results, run in groupby(parts, lambda part: isinstance(part, canon.ToolResult))
        ]
    )
