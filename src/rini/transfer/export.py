"""Writing sessions as lines (rini.transfer.lines), a page of messages at a time."""

import base64
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini import canon
from rini.db import AnyRow, Database
from rini.errors import NotFoundError
from rini.files.store import Files
from rini.memory.tables import memory_entries
from rini.responses.references import taken_apart
from rini.responses.tables import responses
from rini.sessions import repository
from rini.sessions.messages import RUNNING
from rini.sessions.tables import context_cuts, message_labels, messages, sessions, system_texts
from rini.transfer.lines import (
    FORMAT,
    NOTHING,
    PIECE_BYTES,
    VERSION,
    CutLine,
    DataLine,
    EndLine,
    FileLine,
    Header,
    Line,
    MemoryLine,
    MessageLine,
    ResponseLine,
    SessionLine,
    SystemLine,
    UsageLine,
)
from rini.usage.records import plain
from rini.usage.tables import usage_records

PAGE_ROWS = 500
PAGE_CHARACTERS = 1024 * 1024
"""A page ends with the row that goes beyond, so that long messages are few in memory."""
SESSIONS_AT_ONCE = 500
SENT_BYTES = 128 * 1024

SCHEME = "rini:"
LOST = "rini:lost"

_encoder = msgspec.json.Encoder()
_parts_json = msgspec.json.Decoder(tuple[canon.Part, ...])
_ids_json = msgspec.json.Decoder(list[int])
_table = messages.c


class Extras(NamedTuple):
    """What a file may have beside the sessions: the shared memory that their models were given, and what was spent."""

    shared_memory: bool = False
    usage: bool = False


NO_EXTRAS = Extras()


class Page(NamedTuple):
    """Some messages of a session in their order, with what belongs to them by message."""

    rows: list[AnyRow]
    labels: dict[int, list[str]]
    responses: dict[int, list[AnyRow]]
    usage: dict[int, list[AnyRow]]
    cuts: dict[int, list[AnyRow]]


def header() -> bytes:
    """Return the first line."""
    return _encoder.encode(Header(FORMAT, VERSION)) + b"\n"


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield ``pieces`` in larger ones: each costs its server a change of threads."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= SENT_BYTES:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    yield b"".join(waiting)


def all_sessions(database: Database, files: Files, user_id: int, extras: Extras = NO_EXTRAS) -> Iterator[bytes]:
    """Yield the user's sessions, oldest first, each as ``one_session`` does."""
    after: tuple[Any, str] | None = None
    while found := database.read_sync(_next_sessions, user_id, after):
        for row in found:
            yield from one_session(database, files, user_id, row.id, extras)
        after = found[-1].created_at, found[-1].id


def one_session(
    database: Database, files: Files, user_id: int, session_id: str, extras: Extras = NO_EXTRAS
) -> Iterator[bytes]:
    """Yield the lines of the user's session, some at a time.

    Answers that are still being written are left out. When the session is deleted meanwhile there is no EndLine.
    """
    try:
        session, ids, memory = database.read_sync(_beginning, user_id, session_id, shared=extras.shared_memory)
        writing = _Writing(database, files, user_id, ids)
        yield writing.begin(session, memory)
        count, after = 0, 0
        while ids and after < ids[-1] and (page := database.read_sync(_page, session, after, usage=extras.usage)).rows:
            after = page.rows[-1].id
            for row in page.rows:
                if writing.knows(row.id):
                    yield from writing.message(row, page)
                    count += 1
        head: int | None = database.read_sync(session_row, user_id, session_id).head_id
    except NotFoundError:
        return
    yield _written([EndLine(messages=count, head=writing.number(head))])


def session_row(connection: Connection, user_id: int, session_id: str) -> AnyRow:
    """Return all of the user's session. Raises NotFoundError."""
    found = repository.get(connection, user_id, session_id)
    return connection.execute(sa.select(sessions).where(sessions.c.id == found.id)).one()


class _Writing:
    """The numbers that a session's messages, memory, files, cuts and system texts have in the file."""

    def __init__(self, database: Database, files: Files, user_id: int, ids: "array[int]") -> None:
        self._database = database
        self._files = files
        self._user_id = user_id
        self._ids = ids
        self._memory: dict[int, int] = {}
        self._cuts: dict[int, int] = {}
        self._systems: dict[str, int | None] = {}
        self._references: dict[str, int | None] = {}

    def knows(self, message_id: int) -> bool:
        return self.number(message_id) is not None

    def number(self, message_id: int | None) -> int | None:
        """Return a message's number, its place in the order of ids; None for one of another session."""
        if message_id is None:
            return None
        place = bisect_left(self._ids, message_id)
        return place + 1 if place < len(self._ids) and self._ids[place] == message_id else None

    def begin(self, session: AnyRow, memory: list[AnyRow]) -> bytes:
        self._memory = {row.id: number for number, row in enumerate(memory, 1)}
        return _written([_session_line(session), *(self._memory_line(row) for row in memory)])

    def message(self, row: AnyRow, page: Page) -> Iterator[bytes]:
        """Yield a message's line, after those of the file and the system text that it is the first to name, and before those that name it."""
        system = None
        if row.system_digest is not None:
            if row.system_digest not in self._systems:
                yield from self._system(row.system_digest)
            system = self._systems[row.system_digest]
        file = None
        if row.file_reference is not None:
            if row.file_reference not in self._references:
                yield from self._file(row.file_reference)
            file = self._references[row.file_reference]
        line = MessageLine(
            id=self.number(row.id) or 0,
            parent=self.number(row.parent_message_id),
            role=row.role,
            content=row.content,
            parts=_parts(row, file),
            origin=row.origin,
            status=row.status,
            status_reason=row.status_reason,
            finish_reason=row.finish_reason,
            file=file,
            original_filename=row.original_filename,
            mime_type=row.mime_type,
            provider=row.provider,
            model_asked=row.model_asked,
            model_used=row.model_used,
            token_count=row.token_count,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            response_time_ms=row.response_time_ms,
            memory=self._memory_numbers(row.memory_ids),
            system=system,
            cut=self._cuts.get(row.cut_id),
            labels=tuple(sorted(page.labels.get(row.id, ()))),
            note=row.note,
            created_at=row.created_at,
        )
        more: list[Line] = [self._response_line(each) for each in page.responses.get(row.id, ())]
        more += [self._usage_line(each) for each in page.usage.get(row.id, ())]
        more += [self._cut_line(each) for each in page.cuts.get(row.id, ())]
        yield _written([line, *more])

    def _memory_line(self, row: AnyRow) -> MemoryLine:
        sources: list[int] | None = row.source_message_ids
        return MemoryLine(
            id=self._memory[row.id],
            scope="Session" if row.scope == "Session" else "Shared",
            memory_type=row.memory_type,
            content=row.content,
            sources=None if sources is None else tuple(number for each in sources if (number := self.number(each))),
            keywords=None if row.keywords is None else tuple(row.keywords),
            importance=row.importance,
            timestamp=row.timestamp,
        )

    def _memory_numbers(self, text: str | None) -> tuple[int, ...] | None:
        """Return the file's entries among those of a JSON list; others are gone, or shared and not asked for."""
        if text is None:
            return None
        return tuple(self._memory[each] for each in _ids_json.decode(text) if each in self._memory)

    def _response_line(self, row: AnyRow) -> ResponseLine:
        request, previous_response = taken_apart(row.request)
        return ResponseLine(
            message=self.number(row.answer_id) or 0,
            request=msgspec.Raw(_encoder.encode(request)),
            first_input=self.number(row.first_input_id),
            previous=self.number(row.previous_id),
            previous_response=self.number(previous_response),
            in_conversation=row.in_conversation,
            background=row.background,
            error=NOTHING if row.error is None else msgspec.Raw(row.error.encode()),
            deleted_at=row.deleted_at,
            created_at=row.created_at,
        )

    def _usage_line(self, row: AnyRow) -> UsageLine:
        return UsageLine(
            message=self.number(row.message_id) or 0,
            provider=row.provider,
            model=row.model,
            prompt_tokens=row.input_tokens,
            completion_tokens=row.output_tokens,
            cache_read_tokens=row.cache_read_tokens,
            cache_write_tokens=row.cache_write_tokens,
            reasoning_tokens=row.reasoning_tokens,
            estimated=row.usage_estimated,
            cost_usd=None if row.cost_usd is None else plain(row.cost_usd),
            outcome=row.outcome,
            created_at=row.created_at,
        )

    def _cut_line(self, row: AnyRow) -> CutLine:
        self._cuts[row.id] = number = len(self._cuts) + 1
        return CutLine(
            id=number,
            message=self.number(row.message_id) or 0,
            summary=row.summary,
            reason=row.reason,
            window_tokens=row.window_tokens,
            size_tokens=row.size_tokens,
            provider=row.provider,
            model=row.model,
            created_at=row.created_at,
        )

    def _system(self, digest: str) -> Iterator[bytes]:
        text = self._database.read_sync(_system_text, self._user_id, digest)
        self._systems[digest] = None
        if text is not None:
            self._systems[digest] = number = 1 + sum(each is not None for each in self._systems.values())
            yield _written([SystemLine(id=number, text=text)])

    def _file(self, reference: str) -> Iterator[bytes]:
        self._references[reference] = None
        try:
            data = self._files.read_sync(self._user_id, reference)
        except NotFoundError:  # the storage has lost it; the message stays
            return
        self._references[reference] = number = 1 + sum(each is not None for each in self._references.values())
        yield _written([FileLine(id=number, size=len(data))])
        for start in range(0, len(data), PIECE_BYTES):
            piece = base64.b64encode(data[start : start + PIECE_BYTES]).decode()
            yield _written([DataLine(base64=piece)])


def _session_line(row: AnyRow) -> SessionLine:
    return SessionLine(
        alias=row.alias,
        system_prompt=row.system_prompt,
        memory_mode=row.memory_mode,
        context_policy=row.context_policy,
        metadata=NOTHING if row.meta is None else msgspec.Raw(row.meta.encode()),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _parts(row: AnyRow, file: int | None) -> msgspec.Raw:
    text: str | None = row.parts
    if text is None:
        return NOTHING
    if row.file_reference is None or row.file_reference not in text:
        return msgspec.Raw(text.encode())
    stored, named = SCHEME + row.file_reference, LOST if file is None else f"{SCHEME}{file}"
    return msgspec.Raw(_encoder.encode(renamed(_parts_json.decode(text), {stored: named})))


def renamed(parts: Iterable[canon.Part], names: dict[str, str]) -> tuple[canon.Part, ...]:
    """Return ``parts`` with other URLs of the images that have one of ``names``."""
    return tuple(
        msgspec.structs.replace(part, media=msgspec.structs.replace(part.media, url=names[part.media.url]))
        if isinstance(part, canon.Image) and part.media.url in names
        else part
        for part in parts
    )


def _written(lines: Iterable[Line]) -> bytes:
    return _encoder.encode_lines(lines)


def _next_sessions(connection: Connection, user_id: int, after: tuple[Any, str] | None) -> list[AnyRow]:
    table = sessions.c
    query = sa.select(table.id, table.created_at).where(table.user_id == user_id)
    if after is not None:
        moment, session_id = after
        later = sa.or_(table.created_at > moment, sa.and_(table.created_at == moment, table.id > session_id))
        query = query.where(later)
    return list(connection.execute(query.order_by(table.created_at, table.id).limit(SESSIONS_AT_ONCE)).all())


def _beginning(
    connection: Connection, user_id: int, session_id: str, *, shared: bool
) -> "tuple[AnyRow, array[int], list[AnyRow]]":
    """Return the session, the ids of its messages without those that are being written, and its memory.

    ``shared``: with the entries of all sessions that its models were given.
    """
    session = session_row(connection, user_id, session_id)
    written = sa.select(_table.id).where(_table.session_id == session.id, _table.status != RUNNING).order_by(_table.id)
    table = memory_entries.c
    own = sa.select(memory_entries).where(table.session_id == session.id, table.scope == "Session").order_by(table.id)
    memory = list(connection.execute(own).all())
    if shared:
        memory += _shared_memory(connection, session)
    return session, array("q", connection.execute(written).scalars()), memory


def _shared_memory(connection: Connection, session: AnyRow) -> list[AnyRow]:
    """Return the entries of all the user's sessions that this one's models were given."""
    lists = (
        sa.select(_table.memory_ids).distinct().where(_table.session_id == session.id, _table.memory_ids.is_not(None))
    )
    given: set[int] = set()
    for text in connection.execute(lists).scalars():
        given.update(_ids_json.decode(text))
    table = memory_entries.c
    found: list[AnyRow] = []
    ids = sorted(given)
    for start in range(0, len(ids), PAGE_ROWS):
        some = table.id.in_(ids[start : start + PAGE_ROWS])
        shared = sa.select(memory_entries).where(some, table.user_id == session.user_id, table.session_id.is_(None))
        found += connection.execute(shared.order_by(table.id)).all()
    return found


def _page(connection: Connection, session: AnyRow, after: int, *, usage: bool) -> Page:
    query = (
        sa.select(messages)
        .where(_table.session_id == session.id, _table.id > after)
        .order_by(_table.id)
        .limit(PAGE_ROWS)
        .execution_options(yield_per=20)
    )
    rows: list[AnyRow] = []
    size = 0
    with connection.execute(query) as found:
        for row in found:
            rows.append(row)
            size += len(row.content) + len(row.parts or "")
            if size > PAGE_CHARACTERS:
                break
    ids = [row.id for row in rows]
    label, call, cut = message_labels.c, usage_records.c, context_cuts.c
    named: dict[int, list[str]] = {}
    for row in connection.execute(sa.select(message_labels).where(label.message_id.in_(ids))):
        named.setdefault(row.message_id, []).append(row.label)
    # The ledger's rows stay when messages go: an id alone does not say whose they are.
    calls = sa.select(usage_records).where(call.message_id.in_(ids), call.user_id == session.user_id).order_by(call.id)
    return Page(
        rows,
        named,
        _by_message(connection, sa.select(responses).where(responses.c.answer_id.in_(ids)), "answer_id"),
        _by_message(connection, calls, "message_id") if usage else {},
        _by_message(connection, sa.select(context_cuts).where(cut.message_id.in_(ids)).order_by(cut.id), "message_id"),
    )


def _by_message(connection: Connection, query: sa.Select[Any], column: str) -> dict[int, list[AnyRow]]:
    found: dict[int, list[AnyRow]] = {}
    for row in connection.execute(query):
        found.setdefault(getattr(row, column), []).append(row)
    return found


def _system_text(connection: Connection, user_id: int, digest: str) -> str | None:
    table = system_texts.c
    found = sa.select(table.text).where(table.user_id == user_id, table.digest == digest)
    return connection.execute(found).scalar()
