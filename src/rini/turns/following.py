"""Streamed answers that can be followed: from any event on, by anybody else, while they run and after.

What is followed are canon's events and what became of tools, in their order: so every dialect writes from them what it wrote the first time. A
process keeps all those of the answers that it gets until they are settled; what is new goes to the database twice a second, and the rest with
the settlement.
"""

import asyncio
import itertools
import zlib
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection

from rini.canon import Event, ToolCall, ToolResult
from rini.db import AnyRow, Database
from rini.errors import AnswerBrokeOffError, StorageUnavailableError, StreamGoneError
from rini.kit.clock import now
from rini.sessions import messages
from rini.sessions.tables import messages as messages_table
from rini.turns import runs
from rini.turns.tables import answer_events, running_turns
from rini.turns.values import Begun, Listener

FLUSHED_EVERY_SECONDS = 0.5
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.5
UNWATCHED_SECONDS = 5.0
"""So long another process's answer is looked at while none of its followers waits for more."""
MOST_AT_ONCE = 100
"""Events that a follower is given at once: one that is far behind lets others work, and one that reads slowly holds little."""
MOST_ROWS = 4
"""Rows that are read at once of an answer that is over: a follower that is slow holds no more of it."""

BEGUN_ANEW = -1
"""In place of the first event's number: the row that says that an answer was begun anew, and how often."""

_LEVEL = 1  # of compression: events are much alike
_table = answer_events.c
_of_answer = _table.answer_id == sa.bindparam("answer")
# The row that has the event, and those after it.
_begins = (
    sa.select(sa.func.max(_table.first))
    .where(_of_answer, _table.first.between(0, sa.bindparam("from_event")))
    .scalar_subquery()
)
_rows = sa.select(_table.first, _table.events).where(_of_answer, _table.first >= _begins).order_by(_table.first)
# What could not be told whether it was stored comes again, with more behind it.
_stores = {
    name: insert.on_conflict_do_update(index_elements=["answer_id", "first"], set_={"events": insert.excluded.events})
    for name, insert in (("sqlite", sqlite_insert(answer_events)), ("postgresql", postgres_insert(answer_events)))
}
_anew = sa.select(_table.events).where(_table.answer_id == sa.bindparam("answer"), _table.first == BEGUN_ANEW)
# What the process before said does not count, when that has left the answer to another one.
_begun = (
    sa.select(_table.first)
    .join(running_turns, running_turns.c.answer_id == _table.answer_id)
    .where(_of_answer, _table.first >= 0, running_turns.c.worker_id != "")
    .limit(1)
)
_status = sa.select(messages_table.c.status).where(messages_table.c.id == sa.bindparam("answer"))


class ToolCalled(msgspec.Struct, frozen=True, tag="tool_called"):
    """The model's tool call is made."""

    call: ToolCall


class ToolAnswered(msgspec.Struct, frozen=True, tag="tool_answered"):
    """What the tool answered, after ``ms`` milliseconds."""

    result: ToolResult
    ms: int


class BrokeOff(msgspec.Struct, frozen=True, tag="broke_off"):
    """The answer ended with an error, told as a problem document without what belongs to one request."""

    problem: dict[str, Any]


Followed = Event | ToolCalled | ToolAnswered | BrokeOff

New = tuple[int, list[Followed]]
"""Events that are not in the database yet: the number of the first, and the events."""

EventRow = tuple[int, int, bytes]
"""The answer's id, the number of the first event, the events ``packed``."""

_numbers = itertools.count()
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Followed]).decode


class Log:
    """The events of one answer that runs.

    ``taken`` counts those that are in the database, or on their way; ``on_their_way`` is done when none is any more.
    """

    def __init__(self, answer_id: int) -> None:
        self.answer_id = answer_id
        self.events: list[Followed] = []
        self.taken = 0
        self.number = next(_numbers)
        self.on_their_way: asyncio.Future[None] | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def is_watched(self) -> bool:
        """Whether somebody waits for more."""
        return bool(self._waiting)

    def add(self, events: Sequence[Followed]) -> None:
        """Take what came."""
        self.events += events
        self.wake()

    def wake(self) -> None:
        """Let followers look."""
        if self._waiting:
            waiting, self._waiting = self._waiting, set()
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def take(self) -> New | None:
        """Return what is not in the database yet, to be stored there; None: nothing is new."""
        first, self.taken = self.taken, len(self.events)
        return None if first == self.taken else (first, self.events[first:])

    async def rest(self) -> New | None:
        """Return the same once nothing is on its way: what comes last must not be there before it."""
        while self.on_their_way is not None:
            await asyncio.wait((self.on_their_way,))
        return self.take()

    async def more(self) -> None:
        """Wait until something is new."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)


class Recording:
    """Keeps the events of a streamed answer on their way to its listener."""

    def __init__(self, listener: Listener, log: Log) -> None:
        self._listener = listener
        self._log = log

    async def begin(self, begun: Begun) -> None:
        """Pass it on."""
        await self._listener.begin(begun)

    async def piece(self, data: bytes, events: list[Event]) -> None:
        """Keep and pass on more of the answer."""
        self._log.add(events)
        await self._listener.piece(data, events)

    async def tool_called(self, call: ToolCall) -> None:
        """Keep and pass on that a tool is called."""
        self._log.add((ToolCalled(call),))
        await self._listener.tool_called(call)

    async def tool_answered(self, result: ToolResult, ms: int) -> None:
        """Keep and pass on what it answered."""
        self._log.add((ToolAnswered(result, ms),))
        await self._listener.tool_answered(result, ms)


class Unheard:
    """Listens to an answer that nobody waits for."""

    async def begin(self, begun: Begun) -> None:
        """Do nothing."""

    async def piece(self, data: bytes, events: list[Event]) -> None:
        """Do nothing."""

    async def tool_called(self, call: ToolCall) -> None:
        """Do nothing."""

    async def tool_answered(self, result: ToolResult, ms: int) -> None:
        """Do nothing."""


class Streams:
    """The streamed answers of a process, and the way to those of others. One for each process."""

    def __init__(self, database: Database, worker_id: str) -> None:
        self._database = database
        self._worker_id = worker_id
        self._logs: dict[int, Log] = {}
        self._watched: dict[int, Log] = {}
        self._watching: set[asyncio.Task[None]] = set()

    def of(self, answer_id: int) -> Log | None:
        """Return the log of an answer that runs here."""
        return self._logs.get(answer_id)

    def open(self, answer_id: int) -> Log:
        """Return the log of an answer that begins."""
        log = self._logs[answer_id] = Log(answer_id)
        return log

    def close(self, log: Log) -> None:
        """Note that an answer is settled: all of it is in the database."""
        if self._logs.get(log.answer_id) is log:
            del self._logs[log.answer_id]
        log.wake()

    def has_begun(self, connection: Connection, answer_id: int) -> bool:
        """Tell whether anything came of an answer that runs: here, or in the process that gets it. A unit of work."""
        if (log := self._logs.get(answer_id)) is not None and log.events:
            return True
        return connection.execute(_begun, {"answer": answer_id}).first() is not None

    async def keep_flushed(self) -> None:
        """Write what is new to the database, until cancelled."""
        while True:
            await asyncio.sleep(FLUSHED_EVERY_SECONDS)
            if taken := [(log, new) for log in self._logs.values() if (new := log.take()) is not None]:
                await self._flush(taken)

    async def _flush(self, taken: list[tuple[Log, New]]) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for log, _ in taken:
            log.on_their_way = over
        try:
            # In a thread: for a thousand answers, or one with images, it takes a while.
            await self._store(await asyncio.to_thread(_rows_of, taken))
        except StorageUnavailableError:
            for log, (first, _) in taken:  # they come again with what follows
                log.taken = first
        finally:
            for log, _ in taken:
                log.on_their_way = None
            over.set_result(None)

    async def _store(self, rows: list[EventRow]) -> None:
        try:
            await self._database.write(store_held, self._worker_id, rows)
        except exc.IntegrityError:  # an answer was deleted meanwhile; the others are stored
            for row in rows if len(rows) > 1 else ():
                await self._store([row])

    async def follow(self, user_id: int, answer_id: int, *, resumes: bool = False) -> AsyncGenerator[list[Followed]]:
        """Yield all events of an answer, from its first one to its last, some at a time; of one that runs an empty list at first.

        Ends when the answer is settled. Nothing is yielded of one that was never streamed, or too long ago. Whoever ``resumes`` has some of the events.
        Raises NotFoundError, AnswerBrokeOffError when another process begins the answer anew, and StreamGoneError to one that resumes when it did.
        """
        seen = 0
        number: int | None = None
        anew: bytes | None = None
        is_first = True
        while True:
            source = self._logs.get(answer_id) or self._watched.get(answer_id)
            if source is None or source.number != number:
                number = None if source is None else source.number
                status, now_anew = await self._database.read(_state, user_id, answer_id)
                if is_first:
                    anew = now_anew
                    if resumes and anew is not None:
                        raise StreamGoneError(f"The answer {answer_id} was begun anew; follow it from its beginning.")
                elif now_anew != anew:
                    raise AnswerBrokeOffError(
                        f"The answer {answer_id} was begun anew by another process.", reason="restarted"
                    )
                if status != messages.RUNNING:
                    break
                if is_first:
                    is_first = False
                    yield []
                if source is None:
                    self._watch(answer_id, anew)
            elif some := source.events[seen : seen + MOST_AT_ONCE]:
                seen += len(some)
                del source  # a follower that takes its time holds no more than what it takes
                yield some
            else:
                await source.more()
        while some := await self._database.read(_page, answer_id, seen):
            seen += len(some)
            yield some

    def _watch(self, answer_id: int, anew: bytes | None) -> None:
        """Look at another process's answer, for all of its followers here."""
        if answer_id not in self._logs and answer_id not in self._watched:
            log = self._watched[answer_id] = Log(answer_id)
            task = asyncio.create_task(self._keep_watched(log, anew))
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)

    async def _keep_watched(self, log: Log, anew: bytes | None) -> None:
        """Take what is new until the answer is over, or begun anew, or nobody waits for more; then its followers look for themselves."""
        pause, unwatched = FIRST_PAUSE_SECONDS, 0.0
        try:
            while unwatched < UNWATCHED_SECONDS:
                is_running, now_anew, new = await self._database.read(_news, log.answer_id, len(log.events))
                if now_anew != anew or not is_running:
                    return
                if new:
                    log.add(new)
                    pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(pause)
                unwatched = 0.0 if log.is_watched else unwatched + pause
                pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        except StorageUnavailableError:
            pass  # its followers are told when they look
        finally:
            if self._watched.get(log.answer_id) is log:
                del self._watched[log.answer_id]
            log.wake()


def packed(events: list[Followed]) -> bytes:
    """Return events as they are stored."""
    return zlib.compress(_encode(events), _LEVEL)


def _rows_of(taken: list[tuple[Log, New]]) -> list[EventRow]:
    return [(log.answer_id, first, packed(events)) for log, (first, events) in taken]


def store(connection: Connection, *rows: EventRow) -> None:
    """Store events of answers, all or none. Raises IntegrityError where one of the answers is gone."""
    moment = now()
    values = [
        {"answer_id": answer_id, "first": first, "events": events, "created_at": moment}
        for answer_id, first, events in rows
    ]
    connection.execute(_stores[connection.dialect.name], values)


def store_held(connection: Connection, worker_id: str, rows: list[EventRow]) -> None:
    """Store events of those answers that the worker still gets. Raises IntegrityError."""
    held = runs.held_by(connection, worker_id)
    if mine := [row for row in rows if row[0] in held]:
        store(connection, *mine)


def begin_anew(connection: Connection, answer_id: int) -> None:
    """Delete the events of an answer that another process asks for once more, and note how often that was."""
    before = connection.execute(_anew, {"answer": answer_id}).scalar()
    connection.execute(answer_events.delete().where(_table.answer_id == answer_id))
    store(connection, (answer_id, BEGUN_ANEW, b"%d" % (1 if before is None else int(before) + 1)))


def sweep(connection: Connection, kept_for: timedelta) -> None:
    """Delete the events of answers that are over for so long."""
    running = sa.select(messages_table.c.id).where(messages_table.c.status == messages.RUNNING)
    connection.execute(
        answer_events.delete().where(_table.created_at < now() - kept_for, _table.answer_id.not_in(running))
    )


def stored(connection: Connection, answer_id: int, from_event: int = 0, most_rows: int | None = None) -> list[Followed]:
    """Return the stored events of an answer, without a gap, from a number on."""
    rows: Sequence[AnyRow] = connection.execute(
        _rows.limit(most_rows), {"answer": answer_id, "from_event": from_event}
    ).all()
    found: list[Followed] = []
    for row in rows:
        known = from_event + len(found) - row.first
        if known < 0:
            break
        found += _decode(zlib.decompress(row.events))[known:]
    return found


def _page(connection: Connection, answer_id: int, from_event: int) -> list[Followed]:
    return stored(connection, answer_id, from_event, MOST_ROWS)


def _state(connection: Connection, user_id: int, answer_id: int) -> tuple[str, bytes | None]:
    """Return an answer's status, and which process began it anew. Raises NotFoundError."""
    status = messages.get(connection, user_id, answer_id).status
    return status, connection.execute(_anew, {"answer": answer_id}).scalar()


def _news(connection: Connection, answer_id: int, from_event: int) -> tuple[bool, bytes | None, list[Followed]]:
    """Return whether an answer runs, which process began it anew, and its events from a number on."""
    status = connection.execute(_status, {"answer": answer_id}).scalar()
    anew = connection.execute(_anew, {"answer": answer_id}).scalar()
    return status == messages.RUNNING, anew, stored(connection, answer_id, from_event)
