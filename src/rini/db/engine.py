"""Engines and units of work.

SQLite has one writer, so there is one writer thread; Postgres has a few. A writer takes all units that wait and commits them
in one transaction: many small writes cost one commit. When a unit of a group fails, the group is rolled back and each of its units
runs again on its own, so a failure is its own unit's alone. A unit may therefore run twice: it changes nothing but the database.
A commit whose answer was lost is never repeated: it may have happened.
"""

import asyncio
import contextlib
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc, pool
from sqlalchemy.engine import URL, Connection, Engine, make_url

from rini.db.prepared import begin_by_driver
from rini.errors import StorageFullError, StorageUnavailableError

P = ParamSpec("P")
T = TypeVar("T")
Unit = Callable[Concatenate[Connection, P], T]

LARGEST_GROUP = 128
POSTGRES_WRITERS = 4
READERS = 4
BUSY_TIMEOUT_MS = 15_000
DEADLOCK_TRIES = 6


class Database:
    """One database, for one process. ``url`` is SQLAlchemy's; ``observe`` is told ``read`` or ``write`` and the seconds."""

    def __init__(self, url: str, observe: Callable[[str, float], None] = lambda _kind, _seconds: None) -> None:
        self._observe = observe
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._write_engine = _sqlite_engine(self.url, writes=True) if self.is_sqlite else _postgres_engine(self.url)
        self._read_engine = _sqlite_engine(self.url, writes=False) if self.is_sqlite else self._write_engine
        # The writers', between two transactions. One that failed is given back to the pool, which looks whether it lives.
        self._idle: list[Connection] = []
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        self._writers = [
            threading.Thread(target=self._write_loop, name=f"db-write-{n}", daemon=True)
            for n in range(1 if self.is_sqlite else POSTGRES_WRITERS)
        ]
        for thread in self._writers:
            thread.start()
        self._closed = False
        self._closing = threading.Lock()

    async def write(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``unit`` in a transaction and return what it returned, once that is committed.

        When the caller is cancelled the unit still runs. Raises what the unit raised, StorageUnavailableError otherwise; one that is
        ``in_doubt`` where nobody knows whether it was committed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._submit(_Job(unit, args, kwargs, future, loop))
        return await future

    def write_sync(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same from a thread that may wait."""
        future: Future[T] = Future()
        self._submit(_Job(unit, args, kwargs, future, None))
        return future.result()

    async def read(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``unit`` in a transaction that cannot write."""
        return await asyncio.wrap_future(self._readers.submit(self.read_sync, unit, *args, **kwargs))

    def read_sync(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same from a thread that may wait."""
        began = time.perf_counter()
        try:
            with self._read_engine.connect() as connection:
                return unit(connection, *args, **kwargs)
        except exc.DBAPIError as error:
            raise _storage_error(error) from error
        finally:
            self._observe("read", time.perf_counter() - began)

    def close(self) -> None:
        """Finish what waits and close the connections."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            for _ in self._writers:
                self._queue.put(None)
        for thread in self._writers:
            thread.join()
        for connection in self._idle:
            connection.close()
        self._readers.shutdown()
        self._write_engine.dispose()
        self._read_engine.dispose()

    def _submit(self, job: "_Job") -> None:
        # What came behind the writers' last job would never be run.
        with self._closing:
            if self._closed:
                raise StorageUnavailableError("The database is closed.")
            self._queue.put(job)

    def _write_loop(self) -> None:
        while (job := self._queue.get()) is not None:
            group = [job]
            last = False
            while len(group) < LARGEST_GROUP and not last:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    last = True
                else:
                    group.append(more)
            self._run_group(group)
            if last:
                return

    def _run_group(self, group: list["_Job"]) -> None:
        began = time.perf_counter()
        if len(group) == 1 or not self._try_together(group):
            for job in group:
                self._run_alone(job)
        _wake(group)
        self._observe("write", time.perf_counter() - began)

    def _try_together(self, group: list["_Job"]) -> bool:
        try:
            self._commit(group)
        except _CommitLostError as error:
            for job in group:
                job.error = _unknown(error)
        except BaseException:  # noqa: BLE001  # whatever it is, it is found again, and told, when the unit runs alone
            return False
        return True

    def _run_alone(self, job: "_Job") -> None:
        for attempt in range(DEADLOCK_TRIES):
            try:
                self._commit([job])
            except _CommitLostError as error:
                job.error = _unknown(error)
            except exc.DBAPIError as error:
                if _may_retry(error) and attempt + 1 < DEADLOCK_TRIES:
                    # Apart from each other, or those that met would meet again.
                    time.sleep(random.uniform(0, 0.004) * attempt)  # noqa: S311  # no secret
                    continue
                job.error = _storage_error(error)
                job.error.__cause__ = error
            except BaseException as error:  # noqa: BLE001  # it belongs to whoever asked for the unit; a writer never dies
                job.error = error
            return

    def _commit(self, jobs: list["_Job"]) -> None:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._write_engine.connect()
        try:
            connection.begin()
            for job in jobs:
                job.result = job.unit(connection, *job.args, **job.kwargs)
            try:
                connection.commit()
            except exc.DBAPIError as error:
                if error.connection_invalidated:
                    raise _CommitLostError from error
                raise
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)


class _CommitLostError(Exception):
    """The connection broke during a commit, so that nobody knows whether it happened."""


class _Job:
    __slots__ = ("args", "error", "future", "kwargs", "loop", "result", "unit")

    def __init__(
        self,
        unit: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        future: "asyncio.Future[Any] | Future[Any]",
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.unit = unit
        self.args = args
        self.kwargs = kwargs
        self.future = future
        self.loop = loop
        self.result: Any = None
        self.error: BaseException | None = None

    def resolve(self) -> None:
        future = self.future
        if isinstance(future, asyncio.Future) and future.done():  # the caller was cancelled
            return
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(self.result)


def _wake(group: list[_Job]) -> None:
    """Tell every caller; those on one event loop with one wake-up."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in group:
        if job.loop is None:
            job.resolve()
        else:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve_all, jobs)


def _resolve_all(jobs: list[_Job]) -> None:
    for job in jobs:
        job.resolve()


def _sqlite_engine(url: URL, *, writes: bool) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = sa.create_engine(
        url,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
        poolclass=pool.QueuePool,
        pool_size=1 if writes else READERS,
        max_overflow=0 if writes else 64,
    )

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        # SQLAlchemy begins transactions itself, see below; sqlite3 must not.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        if not writes:
            connection.execute("PRAGMA query_only=ON")

    def on_begin(connection: Connection) -> None:
        # A writer that starts as a reader cannot wait for its turn: it fails at once with "database is locked".
        begin_by_driver(connection, "BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def _postgres_engine(url: URL) -> Engine:
    return sa.create_engine(
        url,
        hide_parameters=True,
        pool_size=POSTGRES_WRITERS + READERS,
        max_overflow=64,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10},
    )


def _unknown(lost: _CommitLostError) -> StorageUnavailableError:
    error = StorageUnavailableError("The connection to the database broke; it is not known whether this was stored.")
    error.__cause__ = lost.__cause__
    error.in_doubt = True
    return error


def _may_retry(error: exc.DBAPIError) -> bool:
    """Tell whether Postgres asks for a second try: serialization failure, deadlock, or a connection that it closed."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in ("40001", "40P01")


def _storage_error(error: exc.DBAPIError) -> Exception:
    """Return what the caller sees: constraint violations stay what they are, the rest is the storage's fault."""
    if isinstance(error, exc.IntegrityError | exc.DataError | exc.ProgrammingError):
        return error
    name = getattr(error.orig, "sqlite_errorname", "") or getattr(error.orig, "sqlstate", "") or ""
    if name.startswith("SQLITE_FULL") or name == "53100":
        return StorageFullError("The disk of the database is full; nothing was stored.")
    return StorageUnavailableError("The database does not answer; try again in a moment.")
