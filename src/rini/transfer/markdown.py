"""A session as a Markdown document to read."""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini import canon
from rini.db import AnyRow, Database
from rini.errors import NotFoundError
from rini.sessions.messages import RUNNING
from rini.sessions.tables import messages
from rini.transfer.export import session_row
from rini.transfer.foreign import fenced

ROWS_AT_ONCE = 50

_table = messages.c
_parts_json = msgspec.json.Decoder(tuple[canon.Part, ...])
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
# Kinds of HTML blocks that end at a mark of their own, or at the end of the document (CommonMark 0.31, section 4.6).
_HTML = re.compile(r"( {0,3})<(?=[!?]|(?:script|pre|style|textarea)\b)", re.IGNORECASE)
_ROLES = {"user": "User", "assistant": "Assistant", "system": "System", "developer": "Developer", "tool": "Tool"}


def document(database: Database, user_id: int, session_id: str, branch: int | Literal["all"] | None) -> Iterator[bytes]:
    """Return the pieces of the document: the path to a message, all messages, or (None) the current branch.

    Raises NotFoundError for a session or a message that is not there, at once.
    """
    session, ids, parents = database.read_sync(_read_tree, user_id, session_id)
    chosen = ids if branch == "all" else _path(ids, parents, session.head_id if branch is None else branch)
    if not chosen and branch is not None and branch != "all":
        raise NotFoundError(f"There is no message {branch} in this session.")
    return _pieces(database, session, chosen)


def _read_tree(connection: Connection, user_id: int, session_id: str) -> "tuple[AnyRow, array[int], array[int]]":
    session = session_row(connection, user_id, session_id)
    query = (
        sa.select(_table.id, _table.parent_message_id)
        .where(_table.session_id == session.id, _table.status != RUNNING)
        .order_by(_table.id)
    )
    ids, parents = array("q"), array("q")
    for message_id, parent in connection.execute(query):
        ids.append(message_id)
        parents.append(parent or 0)
    return session, ids, parents


def _path(ids: "array[int]", parents: "array[int]", leaf: int | None) -> "array[int]":
    found = array("q")
    wanted = leaf or 0
    while wanted:
        place = bisect_left(ids, wanted)
        if place == len(ids) or ids[place] != wanted:
            break
        found.append(wanted)
        wanted = parents[place]
    found.reverse()
    return found


def _pieces(database: Database, session: AnyRow, ids: "array[int]") -> Iterator[bytes]:
    title = " ".join((session.alias or "Session").split())
    lines = [f"# {_plain(title)}", "", f"Begun {session.created_at:%Y-%m-%d %H:%M} UTC."]
    if session.system_prompt:
        lines += ["", "## System prompt", "", fenced(session.system_prompt)]
    yield ("\n".join(lines) + "\n").encode()
    numbers: array[int] = array("q")
    for start in range(0, len(ids), ROWS_AT_ONCE):
        some = ids[start : start + ROWS_AT_ONCE]
        rows = database.read_sync(_rows, some)
        shown = ""
        for row in rows:
            follows = row.parent_message_id == (numbers[-1] if numbers else None)
            after = None if follows else _number(numbers, row.parent_message_id)
            numbers.append(row.id)
            shown += _message(row, len(numbers), after, follows=follows)
        yield shown.encode()


def _number(numbers: "array[int]", message_id: int | None) -> int | None:
    return None if message_id is None else bisect_left(numbers, message_id) + 1


def _rows(connection: Connection, ids: Sequence[int]) -> list[AnyRow]:
    return list(connection.execute(sa.select(messages).where(_table.id.in_(ids)).order_by(_table.id)).all())


def _message(row: AnyRow, number: int, after: int | None, *, follows: bool) -> str:
    model = row.model_used or row.model_asked
    about = [f"{number}. {_ROLES.get(row.role, row.role)}"]
    if model:
        about.append(_plain(" ".join(model.split())))
    about.append(f"{row.created_at:%Y-%m-%d %H:%M:%S} UTC")
    pieces = [f"## {' · '.join(about)}"]
    if not follows:
        pieces.append("*A new beginning.*" if after is None else f"*After {after}.*")
    parts = _parts_json.decode(row.parts) if row.parts is not None else (canon.Text(row.content),)
    pieces += filter(None, map(_part, _with_joined_texts(parts)))
    if row.file_reference is not None:
        name = _code(row.original_filename or "without a name")
        pieces.append(f"*Attached: {name} ({row.mime_type or 'of an unknown type'})*")
    if row.status == "partial":
        pieces.append(f"*Broken off: {_plain(row.status_reason or 'for a reason that is not known')}.*")
    if row.note:
        pieces.append(f"*Note:*\n\n{_quoted(row.note)}")
    return "\n" + "\n\n".join(pieces) + "\n"


def _with_joined_texts(parts: tuple[canon.Part, ...]) -> Iterator[canon.Part]:
    """Yield ``parts`` with neighbouring texts as one, so that a block of code may go over several."""
    text = ""
    for part in parts:
        if isinstance(part, canon.Text):
            text += part.text
            continue
        if text:
            yield canon.Text(text)
            text = ""
        yield part
    if text:
        yield canon.Text(text)


def _part(part: canon.Part) -> str:
    match part:
        case canon.Text() | canon.Refusal():
            return _whole(part.text)
        case canon.Thinking():
            return f"*Thinking:*\n\n{_quoted(part.text)}" if part.text else ""
        case canon.ToolCall():
            return f"*Tool call: {_code(part.name)}*\n\n{fenced(part.arguments or '{}', 'json')}"
        case canon.ToolResult():
            told = "Tool error" if part.is_error else "Tool result"
            return f"*{told}:*\n\n{fenced(canon.plain_text(part.content))}"
        case canon.Document():
            return f"*Document: {_code(part.name or 'without a name')}*" + (
                f"\n\n{fenced(part.text)}" if part.text else ""
            )
        case canon.Audio():
            return _whole(part.transcript) if part.transcript else "*Sound.*"
        case canon.Image():
            return "" if _is_own(part.media) else "*Image.*"
        case canon.Video():
            return "*Video.*"
        case canon.Opaque():
            return f"*{_code(part.wire)}:*\n\n{fenced(msgspec.json.encode(part.value).decode(), 'json')}"


def _is_own(media: canon.Media) -> bool:
    """Tell whether it is the message's file, which is named anyway."""
    return media.url is not None and media.url.startswith("rini:")


def _whole(text: str) -> str:
    """Return a text as Markdown in which nothing is left open that would take in what follows: a fence, or a block of HTML."""
    fence = ""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        found = _FENCE.match(line)
        if fence:
            if found and found[1][0] == fence[0] and len(found[1]) >= len(fence) and not found[2].strip():
                fence = ""
        elif found and not (found[1][0] == "`" and "`" in found[2]):
            fence = found[1]
        elif _HTML.match(line):
            lines[number] = _HTML.sub(r"\1\\<", line, count=1)
    return "\n".join([*lines, fence] if fence else lines)


def _quoted(text: str) -> str:
    """Return a text as a quotation: what is open in it ends with it."""
    return "\n".join(f"> {line}" for line in text.splitlines())


def _code(text: str) -> str:
    """Return a short text as code within a line, which nothing in it ends."""
    line = " ".join(text.split())
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    mark = "`" * (longest + 1)
    return f"{mark}{' ' if longest else ''}{line}{' ' if longest else ''}{mark}"


def _plain(line: str) -> str:
    """Return a line without Markdown's own marks."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", line)
