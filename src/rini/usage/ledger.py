"""The ledger: one row for every call of a model.

Rows are committed in groups, many requests to a transaction. Those that are safe elsewhere meanwhile are gathered for longer.
"""

import asyncio
import operator
from collections.abc import Callable, Coroutine
from datetime import UTC
from typing import Any

import msgspec
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from rini.db import Database, PicoUsd, run_by_driver
from rini.errors import StorageUnavailableError
from rini.telemetry import logs, metrics
from rini.usage import days
from rini.usage.tables import usage_records
from rini.usage.usage_record import UsageRecord

GATHER_SECONDS = 0.003
"""How long a row that is waited for waits for others."""

SOON_SECONDS = 0.05
"""How long one does that is not."""

MOST_KEPT_ROWS = 100_000
RETRY_SECONDS = 1.0
UNWRITABLE = (exc.StatementError, ArithmeticError, ValueError)
"""What a row raises that no later try will write."""

_COLUMNS = tuple(column.key for column in usage_records.columns if column.key in UsageRecord.__struct_fields__)
_CREATED = _COLUMNS.index("created_at")
_COST = _COLUMNS.index("cost_usd")
_values = operator.attrgetter(*_COLUMNS)
_pico = PicoUsd().process_bind_param


def _inserts() -> dict[str, str]:
    """Return the statement that writes a row, by dialect; its parameters are ``_COLUMNS``."""
    dialects = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect(paramstyle="format")}
    insert = usage_records.insert().inline()
    return {name: str(insert.compile(dialect=dialect, column_keys=_COLUMNS)) for name, dialect in dialects.items()}


# Made once, and run past SQLAlchemy's own execution, which takes longer than the database does: this is on the way of every call.
_insert = _inserts()
_log = logs.get_logger(__name__)


def insert(connection: Connection, records: list[UsageRecord]) -> None:
    """Write rows, and add them to the sums of their days. Raises IntegrityError for a call that has a row already."""
    dialect = connection.dialect
    rows: list[tuple[Any, ...]] = []
    for record in records:
        row = list(_values(record))
        if record.created_at.tzinfo is None:
            raise ValueError("A stored time must have a zone.")
        created = record.created_at.astimezone(UTC)
        # SQLite has no times: it is written as SQLAlchemy would.
        row[_CREATED] = created.isoformat(" ", "microseconds")[:26] if dialect.name == "sqlite" else created
        row[_COST] = _pico(record.cost_usd, dialect)
        rows.append(tuple(row))
    many = len(rows) > 1
    run_by_driver(connection, _insert[dialect.name], rows if many else rows[0], many=many).close()
    days.add(connection, records)


class Ledger:
    """Gathers rows for some milliseconds and commits them together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[UsageRecord] = []
        self._written: list[tuple[Callable[..., None], str]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flush: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._kept: list[UsageRecord] = []
        self._untold: list[tuple[Callable[..., None], str]] = []
        self._retry: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        """Whether all rows that were taken are in the database, or on their way."""
        return not self._kept

    async def record(self, *records: UsageRecord) -> None:
        """Return once the rows are committed.

        When the database does not take them they are kept and tried again, and logged: a paid answer is not
        withheld because it could not be booked.
        """
        self._waiting += records
        if self._flush is None:
            self._flush = self._started(self._flush_gathered())
        await asyncio.shield(self._flush)

    def soon(self, records: tuple[UsageRecord, ...], written: Callable[..., None]) -> None:
        """Take rows that are safe elsewhere until ``written`` is called with the last one's call_id, and those of others."""
        self._waiting += records
        self._written.append((written, records[-1].call_id))
        if self._later is None and self._flush is None:
            self._loop = asyncio.get_running_loop()
            self._later = self._loop.call_later(SOON_SECONDS, self._flush_now)

    async def flush(self) -> None:
        """Return once all rows that were taken so far are committed."""
        if self._flush is not None:
            await asyncio.shield(self._flush)
        if self._waiting:
            self._flush_now()
        if self._under_way:
            await asyncio.wait(self._under_way)

    def flush_sync(self) -> None:
        """Do the same from a thread that may wait: whoever reads the ledger sees all that was answered."""
        if self._loop is not None and (self._waiting or self._under_way):
            asyncio.run_coroutine_threadsafe(self.flush(), self._loop).result()

    async def close(self) -> None:
        """Write what waits, and try once more what could not be written."""
        await self.flush()
        if self._retry is not None:
            self._retry.cancel()
        if self._kept:
            kept, self._kept = self._kept, []
            await self._write(kept)

    async def _flush_gathered(self) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        # From here on a new row starts the next group.
        self._flush = None
        await self._write_waiting()

    def _flush_now(self) -> None:
        self._started(self._write_waiting())

    def _started(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _write_waiting(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        records, self._waiting = self._waiting, []
        written, self._written = self._written, []
        if records:
            given_up = await self._write(records)
            # The next start books them from where they are safe.
            written = [each for each in written if each[1] not in given_up]
        if self._kept:
            self._untold += written
        else:
            _tell(written)

    async def _write(self, records: list[UsageRecord]) -> set[str]:
        """Write rows, and return the ids of those that are neither written nor kept for later."""
        try:
            await self._database.write(insert, records)
        except StorageUnavailableError as error:
            return self._keep(records, error)
        except UNWRITABLE:
            return await self._write_singly(records)
        metrics.observe_ledger_rows(len(records))
        return set()

    async def _write_singly(self, records: list[UsageRecord]) -> set[str]:
        """Find the row that cannot be written: mostly its user was deleted meanwhile, and it goes with the user."""
        given_up: set[str] = set()
        for record in records:
            try:
                await self._database.write(insert, [record])
            except StorageUnavailableError as error:
                given_up |= self._keep([record], error)
            except exc.IntegrityError:
                _log.warning(
                    "usage_row_without_user",
                    call_id=record.call_id,
                    user_id=record.user_id,
                    request_id=record.request_id,
                )
            except UNWRITABLE as error:
                _log.error(
                    "usage_row_refused",
                    reason=type(error).__name__,
                    row=msgspec.to_builtins(record),
                    request_id=record.request_id,
                )
            else:
                metrics.observe_ledger_rows(1)
        return given_up

    def _keep(self, records: list[UsageRecord], error: StorageUnavailableError) -> set[str]:
        """Keep rows for later, and return the ids of those that are too many to be kept."""
        for record in records:
            _log.error(
                "usage_row_not_written",
                reason=str(error),
                row=msgspec.to_builtins(record),
                request_id=record.request_id,
            )
        room = MOST_KEPT_ROWS - len(self._kept)
        self._kept.extend(records[:room])
        given_up = {record.call_id for record in records[room:]}
        if self._retry is None:
            self._retry = asyncio.create_task(self._retry_kept())
        return given_up

    async def _retry_kept(self) -> None:
        while self._kept:
            await asyncio.sleep(RETRY_SECONDS)
            kept = list(self._kept)
            try:
                await self._database.write(insert, kept)
            except StorageUnavailableError:
                continue
            except UNWRITABLE:
                await self._write_singly(kept)
            else:
                metrics.observe_ledger_rows(len(kept))
                _log.info("usage_rows_written_late", rows=len(kept), request_id=None)
            # Only now: what is not written yet is not lost to a close in the meantime, nor healthy.
            del self._kept[: len(kept)]
        untold, self._untold = self._untold, []
        _tell(untold)
        self._retry = None


def _tell(written: list[tuple[Callable[..., None], str]]) -> None:
    told: dict[Callable[..., None], list[str]] = {}
    for tell, call_id in written:
        told.setdefault(tell, []).append(call_id)
    for tell, call_ids in told.items():
        tell(*call_ids)
