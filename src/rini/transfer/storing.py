"""Storing an imported session, all of it or nothing that anybody can see.

A session that is read to its end before the first batch is full is one transaction. A larger one would hold the writer for long: its
batches are transactions of their own, and until the last of them the session belongs to a user without a token, made for it. Then its
messages are indexed for the search. A note beside the upload says so until all is done: a session that a dead process left hidden is
deleted at the next start, and one that it left without its index gets it.
"""

import hashlib
from array import array
from bisect import bisect_left
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini import canon
from rini.accounts import users
from rini.accounts.tables import users as user_table
from rini.db import Database
from rini.db.ids import new_ids
from rini.errors import NotFoundError
from rini.inference.estimate import conversation_tokens
from rini.kit.depth import is_deeper
from rini.kit.ids import new_session_id
from rini.memory.repository import MOST_ENTRIES
from rini.memory.schemas import MOST_SOURCES
from rini.memory.tables import memory_entries
from rini.responses.references import put_together
from rini.responses.tables import responses
from rini.sessions.search import Indexed, index_many
from rini.sessions.tables import context_cuts, message_labels, messages, sessions
from rini.transfer.export import LOST, SCHEME, renamed
from rini.transfer.lines import (
    CutLine,
    EndLine,
    MemoryLine,
    MessageLine,
    Moment,
    ResponseLine,
    SessionLine,
    SystemLine,
)
from rini.transfer.refusal import Refusal, decoded, storable
from rini.transfer.spool import Upload

BATCH_MESSAGES = 250
BATCH_CHARACTERS = 1024 * 1024
DELETED_AT_ONCE = 2000
DEEPEST = 100
LARGEST_METADATA_BYTES = 64 * 1024
YEARS = range(1970, 2200)

_parts_json = msgspec.json.Decoder(tuple[canon.Part, ...])
_keep_text = sa.text(
    "INSERT INTO system_texts (user_id, digest, text) VALUES (:user_id, :digest, :text) ON CONFLICT DO NOTHING"
)
_object_json = msgspec.json.Decoder(dict[str, Any])

_Sources = list[tuple[int, ...] | None]


class _Response(NamedTuple):
    """A row of what OpenAI's API repeats: ``row`` names messages by their places, -1 is none."""

    row: dict[str, Any]
    request: dict[str, Any]
    previous: int


class _Batch:
    """Rows that wait to be stored. What they name is a place: of a message in the session, of a cut among the cuts."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.labels: list[tuple[int, str]] = []
        self.responses: list[_Response] = []
        self.cuts: list[dict[str, Any]] = []
        self.texts: dict[str, str] = {}
        self.characters = 0

    @property
    def is_full(self) -> bool:
        return len(self.messages) >= BATCH_MESSAGES or self.characters >= BATCH_CHARACTERS


class _Ids(NamedTuple):
    """The ids that rows got, by their places."""

    messages: "array[int]"
    cuts: "array[int]"
    memory: "array[int]"

    def and_of(self, more: "_Ids") -> "_Ids":
        return _Ids(self.messages + more.messages, self.cuts + more.cuts, self.memory + more.memory)


class Storing:
    """One session on its way into the database. Its methods wait, and raise Refusal for lines that do not belong together.

    ``shared_memory``: entries of all sessions are taken too, those that the user has already as they are.
    """

    def __init__(
        self, database: Database, user_id: int, upload: Upload, session: SessionLine, *, shared_memory: bool
    ) -> None:
        self._database = database
        self._user_id = user_id
        self._upload = upload
        self._takes_shared = shared_memory
        self.session_id = new_session_id()
        self.references: list[str] = []
        """The files that its messages name."""
        self.images: dict[bytes, bool] = {}
        """Whether the files that were looked at are images, by their digests."""
        self._session = _session_row(session)
        self._memory: list[dict[str, Any]] = []
        self._sources: list[tuple[int, ...] | None] = []
        self._files: dict[int, str | None] = {}
        self._systems: dict[int, str] = {}
        self._memory_numbers: dict[int, int | None] = {}
        self._cut_numbers: dict[int, int] = {}
        # By place: the number in the file, and what rini.sessions.ancestry says of the message.
        self._numbers = array("q")
        self._depths = array("q")
        self._jumps = array("q")
        # The answer that was added last, as long as nothing is known of its request.
        self._answer: int | None = None
        self._batch = _Batch()
        self._ids = _Ids(array("q"), array("q"), array("q"))
        self._staged = self._shown = False

    @property
    def count(self) -> int:
        """How many messages it has so far."""
        return len(self._numbers)

    def add_memory(self, line: MemoryLine) -> bool:
        """Add a memory entry; all come before the first message. Return whether it is taken."""
        if self._numbers:
            raise Refusal("is a memory entry that comes after a message")
        if line.id in self._memory_numbers:
            raise Refusal(f"gives the number {line.id} to a second memory entry")
        if line.scope == "Shared" and not self._takes_shared:
            self._memory_numbers[line.id] = None
            return False
        self._memory_numbers[line.id] = len(self._memory)
        self._sources.append(line.sources)
        self._memory.append(
            {
                "user_id": self._user_id,
                "session_id": self.session_id if line.scope == "Session" else None,
                "memory_type": line.memory_type,
                "scope": line.scope,
                "content": storable(line.content),
                "source_message_ids": None,
                "keywords": None if line.keywords is None else [storable(each) for each in line.keywords],
                "importance": line.importance,
                "timestamp": moment(line.timestamp),
            }
        )
        return True

    def add_system(self, line: SystemLine) -> None:
        """Add a system text."""
        text = storable(line.text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if line.id in self._systems:
            raise Refusal(f"gives the number {line.id} to a second system text")
        self._systems[line.id] = digest
        self._batch.texts[digest] = text
        self._batch.characters += len(text)

    def add_file(self, number: int, reference: str | None) -> None:
        """Add a file that was kept; None: it could not be, and messages that name it are stored without."""
        if number in self._files:
            raise Refusal(f"gives the number {number} to a second file")
        self._files[number] = reference
        if reference is not None and reference not in self.references:
            self.references.append(reference)

    def add_message(self, line: MessageLine) -> None:
        """Add a message; its parent came before it."""
        if self._numbers and line.id <= self._numbers[-1]:
            raise Refusal(
                f"has the message {line.id} after {self._numbers[-1]}: the numbers must rise, each be given once"
            )
        parent = -1 if line.parent is None else self._place(line.parent, "its parent")
        content = storable(line.content)
        file = self._numbered(self._files, line.file, "file")
        parts = self._parts(line, content)
        stored = "" if parts is None else msgspec.json.encode(parts).decode()
        said = canon.Message(line.role, parts or (canon.Text(content),))
        place = len(self._numbers)
        jump = self._jump(parent)
        depth = 0 if parent < 0 else self._depths[parent] + 1
        row: dict[str, Any] = {
            "session_id": self.session_id,
            "user_id": self._user_id,
            "parent_message_id": parent,
            "depth": depth,
            "jump_id": jump,
            "role": line.role,
            "content": content,
            "parts": stored or None,
            "origin": _text(line.origin),
            "status": line.status,
            "status_reason": _text(line.status_reason),
            "finish_reason": _text(line.finish_reason),
            "file_reference": file,
            "original_filename": _text(line.original_filename),
            "mime_type": _text(line.mime_type),
            "provider": _text(line.provider),
            "model_asked": _text(line.model_asked),
            "model_used": _text(line.model_used),
            "size_tokens": conversation_tokens((said,)),
            "token_count": line.token_count,
            "prompt_tokens": line.prompt_tokens,
            "completion_tokens": line.completion_tokens,
            "response_time_ms": line.response_time_ms,
            "memory_ids": None if line.memory is None else self._entries(line.memory),
            "system_digest": self._numbered(self._systems, line.system, "system text"),
            "cut_id": self._numbered(self._cut_numbers, line.cut, "cut"),
            "note": _text(line.note),
            "created_at": moment(line.created_at),
        }
        self._numbers.append(line.id)
        self._depths.append(depth)
        self._jumps.append(jump)
        self._answer = line.id if line.role == "assistant" else None
        batch = self._batch
        batch.messages.append(row)
        batch.labels += [(place, label) for label in sorted({storable(each) for each in line.labels})]
        batch.characters += len(content) + len(stored)
        if batch.is_full:
            self._store_batch()

    def add_response(self, line: ResponseLine) -> None:
        """Add what is repeated of the request for an answer, which came right before."""
        if line.message != self._answer:
            raise Refusal(f"is about the answer {line.message}, and does not follow its line")
        self._answer = None
        request = _object(line.request, "a request")
        row = {
            "answer_id": len(self._numbers) - 1,
            "user_id": self._user_id,
            "first_input_id": self._place_or_none(line.first_input, "the first message of the input"),
            "previous_id": self._place_or_none(line.previous, "the message before the input"),
            "in_conversation": line.in_conversation,
            "background": line.background,
            "error": None if not bytes(line.error) else msgspec.json.encode(_object(line.error, "an error")).decode(),
            "deleted_at": None if line.deleted_at is None else moment(line.deleted_at),
            "created_at": moment(line.created_at),
        }
        previous = self._place_or_none(line.previous_response, "the previous response")
        self._batch.responses.append(_Response(row, request, previous))
        self._batch.characters += len(bytes(line.request))

    def add_cut(self, line: CutLine) -> None:
        """Add a cut; its message came before it."""
        if line.id in self._cut_numbers:
            raise Refusal(f"gives the number {line.id} to a second cut")
        place = self._place(line.message, "the message")
        self._cut_numbers[line.id] = len(self._cut_numbers)
        self._batch.cuts.append(
            {
                "user_id": self._user_id,
                "message_id": place,
                "summary": _text(line.summary),
                "reason": _text(line.reason),
                "window_tokens": line.window_tokens,
                "size_tokens": line.size_tokens,
                "provider": _text(line.provider),
                "model": _text(line.model),
                "created_at": moment(line.created_at),
            }
        )
        self._batch.characters += len(line.summary or "")

    def finish(self, line: EndLine) -> None:
        """Store what waits, and let the user see the session."""
        if line.messages != self.count:
            raise Refusal(f"says that the session has {line.messages} messages, and there are {self.count}")
        head = self._place_or_none(line.head, "the head")
        sources: _Sources = [
            None if each is None else tuple(self._place(number, "a source of memory") for number in each)
            for each in self._sources
        ]
        if self._staged:
            self._ids = self._database.write_sync(self._add_and_show, self._batch, sources, head)
            self._shown = True
        else:
            self._database.write_sync(self._all_at_once, self._batch, sources, head)

    def index(self) -> None:
        """Let the messages be found by the search, as those of a short session are already. Where that fails, the next start does it."""
        if self._staged:
            index_messages(self._database, self.session_id, self._user_id)
            self._upload.strike()

    def drop(self) -> None:
        """Delete what was stored of a session that does not come to its end."""
        if self._staged and not self._shown:
            drop_staged(self._database, self.session_id, self._user_id)
            self._upload.strike()

    def _store_batch(self) -> None:
        batch, self._batch = self._batch, _Batch()
        if not self._staged:
            self._upload.note(self.session_id, self._user_id)
            self._staged = True
            self._ids = self._database.write_sync(self._begin_hidden)
        self._ids = self._database.write_sync(self._add, batch, self._ids)

    # Units of work, and parts of them. They may run twice, so they change nothing here.

    def _all_at_once(self, connection: Connection, batch: _Batch, sources: _Sources, head: int) -> None:
        ids = self._begin(connection, self._user_id)
        ids = self._add(connection, batch, ids)
        self._show(connection, ids, sources, head)
        named = zip(ids.messages, batch.messages, strict=True)
        index_many(
            connection,
            [Indexed(id_, self._user_id, self.session_id, row["role"], row["content"]) for id_, row in named],
        )

    def _add_and_show(self, connection: Connection, batch: _Batch, sources: _Sources, head: int) -> _Ids:
        ids = self._add(connection, batch, self._ids)
        self._show(connection, ids, sources, head)
        return ids

    def _begin_hidden(self, connection: Connection) -> _Ids:
        return self._begin(connection, users.create(connection))

    def _begin(self, connection: Connection, owner_id: int) -> _Ids:
        known = [self._known_shared(connection, row) for row in self._memory]
        new = sum(each is None for each in known)
        mine = sa.select(sa.func.count()).where(memory_entries.c.user_id == self._user_id)
        if new and connection.execute(mine).scalar_one() + new > MOST_ENTRIES:
            raise Refusal(f"would give you more than {MOST_ENTRIES:,} memory entries, and there may be no more")
        connection.execute(
            sessions.insert().values(**self._session, id=self.session_id, user_id=owner_id, head_id=None)
        )
        given = iter(new_ids(connection, memory_entries, new))
        ids = array("q", [next(given) if each is None else each for each in known])
        rows = [
            {**row, "id": id_, "user_id": owner_id}
            for row, id_, before in zip(self._memory, ids, known, strict=True)
            if before is None
        ]
        if rows:
            connection.execute(memory_entries.insert(), rows)
        return _Ids(array("q"), array("q"), ids)

    def _known_shared(self, connection: Connection, row: dict[str, Any]) -> int | None:
        """Return the entry of all sessions that the user has already, the same but for the messages that it is from."""
        if row["scope"] == "Session":
            return None
        table = memory_entries.c
        same = (
            table[name].is_(None) if row[name] is None else table[name] == row[name]
            for name in ("importance", "timestamp", "memory_type", "keywords", "content")
        )
        mine = sa.select(sa.func.min(table.id)).where(table.user_id == self._user_id, table.session_id.is_(None))
        return connection.execute(mine.where(*same)).scalar()

    def _add(self, connection: Connection, batch: _Batch, before: _Ids) -> _Ids:
        found = new_ids(connection, messages, len(batch.messages))
        ids = before.and_of(_Ids(found, new_ids(connection, context_cuts, len(batch.cuts)), array("q")))
        for digest, text in batch.texts.items():
            _keep_system_text(connection, self._user_id, digest, text)
        if batch.messages:
            rows = [_with_ids(row, id_, ids) for row, id_ in zip(batch.messages, found, strict=True)]
            connection.execute(messages.insert(), rows)
        if batch.labels:
            labels = [
                {"message_id": ids.messages[place], "label": label, "user_id": self._user_id}
                for place, label in batch.labels
            ]
            connection.execute(message_labels.insert(), labels)
        if batch.responses:
            connection.execute(responses.insert(), [self._response(each, ids) for each in batch.responses])
        if batch.cuts:
            first = len(before.cuts)
            cuts: list[dict[str, Any]] = [
                {**row, "id": ids.cuts[first + number], "message_id": ids.messages[row["message_id"]]}
                for number, row in enumerate(batch.cuts)
            ]
            connection.execute(context_cuts.insert(), cuts)
        return ids

    def _response(self, response: _Response, ids: _Ids) -> dict[str, Any]:
        row, request, previous = response
        named: dict[str, int | None] = {
            name: None if row[name] < 0 else ids.messages[row[name]]
            for name in ("answer_id", "first_input_id", "previous_id")
        }
        session_id = self.session_id if row["in_conversation"] else None
        previous_id = None if previous < 0 else ids.messages[previous]
        return {**row, **named, "request": put_together(request, previous_id, session_id)}

    def _show(self, connection: Connection, ids: _Ids, sources: _Sources, head: int) -> None:
        table = sessions.c
        owner = connection.execute(sa.select(table.user_id).where(table.id == self.session_id)).scalar_one()
        if not users.exists(connection, self._user_id):
            raise NotFoundError("The user was deleted while the file was imported.")
        shown = {"user_id": self._user_id, "head_id": None if head < 0 else ids.messages[head]}
        connection.execute(sessions.update().where(table.id == self.session_id).values(shown))
        entry = memory_entries.c
        for id_, places in zip(ids.memory, sources, strict=True):
            changed: dict[str, Any] = {"user_id": self._user_id}
            if places is not None:
                found = sa.select(entry.source_message_ids).where(entry.id == id_)
                before: list[int] = connection.execute(found).scalar() or []
                named = [*before, *(ids.messages[place] for place in places)]
                changed["source_message_ids"] = named[-MOST_SOURCES:]
            connection.execute(memory_entries.update().where(entry.id == id_).values(changed))
        if owner != self._user_id:
            connection.execute(user_table.delete().where(user_table.c.id == owner))

    # What lines name.

    def _place(self, number: int, what: str) -> int:
        """Return where the message of that number is."""
        place = bisect_left(self._numbers, number)
        if place == len(self._numbers) or self._numbers[place] != number:
            raise Refusal(f"names {number} as {what}, and no message before it has that number")
        return place

    def _place_or_none(self, number: int | None, what: str) -> int:
        """Return where the message of that number is; -1: none is named."""
        return -1 if number is None else self._place(number, what)

    def _numbered(self, known: dict[int, Any], number: int | None, what: str) -> Any:
        if number is None:
            return None
        if number not in known:
            raise Refusal(f"names the {what} {number}, and none before it has that number")
        return known[number]

    def _entries(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """Return the places of memory entries, but for those that were not taken."""
        found = (self._numbered(self._memory_numbers, number, "memory entry") for number in numbers)
        return tuple(place for place in found if place is not None)

    def _jump(self, parent: int) -> int:
        """Return the place to jump to from below ``parent``, as rini.sessions.ancestry chooses it; -1: there is none."""
        if parent < 0:
            return -1
        far = self._jumps[parent]
        farther = self._jumps[far] if far >= 0 else -1
        if farther < 0:
            return parent
        depths = self._depths
        return farther if depths[parent] - depths[far] == depths[far] - depths[farther] else parent

    def _parts(self, line: MessageLine, content: str) -> tuple[canon.Part, ...] | None:
        """Return the parts, where they say more than the content; their images that are files by their references."""
        raw = bytes(line.parts)
        if raw in (b"", b"null"):
            return None
        parts = decoded(_parts_json, raw)
        if is_deeper(msgspec.to_builtins(parts), DEEPEST):
            raise Refusal(f"has parts that are nested more than {DEEPEST} levels deep")
        names: dict[str, str] = {}
        for part in parts:
            url = part.media.url if isinstance(part, canon.Image) else None
            if url is not None and url.startswith(SCHEME) and url != LOST:
                number = url.removeprefix(SCHEME)
                if number != str(line.file):
                    raise Refusal(f"has an image {url[:50]!r} in its parts, which is not the message's file")
                reference = self._files[int(number)]
                names[url] = LOST if reference is None else SCHEME + reference
        parts = renamed(parts, names) if names else parts
        return None if parts in ((), (canon.Text(content),)) else parts


def drop_staged(database: Database, session_id: str, user_id: int) -> bool:
    """Delete a session that is still hidden from the user; tell whether there was one."""
    found = False
    while database.write_sync(_drop_some, session_id, user_id):
        found = True
    return found


def index_messages(database: Database, session_id: str, user_id: int) -> None:
    """Let the messages of a user's session be found by the search."""
    after = 0
    while after is not None:
        after = database.write_sync(_index_some, session_id, user_id, after)


def _index_some(connection: Connection, session_id: str, user_id: int, after: int) -> int | None:
    """Index some messages after that one; return the last of them, None when there are no more."""
    table = messages.c
    query = (
        sa.select(table.id, table.role, table.content)
        .where(table.session_id == session_id, table.user_id == user_id, table.id > after)
        .order_by(table.id)
        .limit(BATCH_MESSAGES)
        .execution_options(yield_per=20)
    )
    found: list[Indexed] = []
    characters = 0
    with connection.execute(query) as rows:
        for id_, role, content in rows:
            found.append(Indexed(id_, user_id, session_id, role, content))
            characters += len(content)
            if characters > BATCH_CHARACTERS:
                break
    index_many(connection, found)
    return found[-1].message_id if found else None


def _drop_some(connection: Connection, session_id: str, user_id: int) -> bool:
    owner = connection.execute(sa.select(sessions.c.user_id).where(sessions.c.id == session_id)).scalar()
    if owner is None or owner == user_id:
        return False
    here = messages.c.session_id == session_id
    # The newest first: none is older than its parent.
    newest = sa.select(messages.c.id).where(here).order_by(messages.c.id.desc()).limit(DELETED_AT_ONCE)
    ids = list(connection.execute(newest).scalars())
    if ids:
        connection.execute(messages.delete().where(here, messages.c.id >= ids[-1]))
    else:
        connection.execute(sessions.delete().where(sessions.c.id == session_id))
        connection.execute(user_table.delete().where(user_table.c.id == owner))
    return True


def moment(value: Moment) -> Moment:
    """Return a time that can be stored. Raises Refusal for one before 1970 or after 2199."""
    if value.year not in YEARS:
        raise Refusal(f"has the date {value.isoformat()}, which is not between {YEARS[0]} and {YEARS[-1]}")
    return value


def _object(raw: msgspec.Raw, what: str) -> dict[str, Any]:
    """Return a JSON object, an empty one for nothing. Raises Refusal for what is none, and for one that is too deep."""
    data = bytes(raw)
    if data in (b"", b"null"):
        return {}
    value = decoded(_object_json, data)
    if is_deeper(value, DEEPEST):
        raise Refusal(f"has {what} nested more than {DEEPEST} levels deep")
    return value


def _session_row(line: SessionLine) -> dict[str, Any]:
    metadata = bytes(line.metadata)
    meta = None
    if metadata not in (b"", b"null"):
        if len(metadata) > LARGEST_METADATA_BYTES:
            raise Refusal(f"has more than {LARGEST_METADATA_BYTES} bytes of metadata")
        meta = msgspec.json.encode(_object(line.metadata, "metadata")).decode()
    return {
        "alias": _text(line.alias),
        "system_prompt": _text(line.system_prompt),
        "memory_mode": line.memory_mode,
        "context_policy": line.context_policy,
        "meta": meta,
        "created_at": moment(line.created_at),
        "updated_at": moment(line.updated_at),
    }


def _with_ids(row: dict[str, Any], id_: int, ids: _Ids) -> dict[str, Any]:
    parent, jump, cut, memory = row["parent_message_id"], row["jump_id"], row["cut_id"], row["memory_ids"]
    return {
        **row,
        "id": id_,
        "parent_message_id": None if parent < 0 else ids.messages[parent],
        "jump_id": None if jump < 0 else ids.messages[jump],
        "cut_id": None if cut is None else ids.cuts[cut],
        "memory_ids": None if memory is None else msgspec.json.encode([ids.memory[place] for place in memory]).decode(),
    }


def _keep_system_text(connection: Connection, user_id: int, digest: str, text: str) -> None:
    connection.execute(_keep_text, {"user_id": user_id, "digest": digest, "text": text})


def _text(value: str | None) -> str | None:
    return None if value is None else storable(value)
