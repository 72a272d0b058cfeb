"""The ledger: one row for every call of a model.

Rows are committed in groups, many requests to a transaction, and before the last byte of each answer leaves.
"""

import asyncio

import msgspec
from sqlalchemy import exc
from sqlalchemy.engine import Connection

from rini.db import Database
from rini.errors import StorageUnavailableError
from rini.telemetry import logs, metrics
from rini.usage import days
from rini.usage.tables import usage_records
from rini.usage.usage_record import UsageRecord

GATHER_SECONDS = 0.003
MOST_KEPT_ROWS = 100_000
RETRY_SECONDS = 1.0
UNWRITABLE = (exc.StatementError, ArithmeticError, ValueError)
"""What a row raises that no later try will write."""

_insert = usage_records.insert()
_log = logs.get_logger(__name__)


def insert(connection: Connection, records: list[UsageRecord]) -> None:
    """Write rows, and add them to the sums of their days. Raises IntegrityError for a call that has a row already."""
    connection.execute(_insert, [msgspec.structs.asdict(record) for record in records])
    days.add(connection, records)


class Ledger:
    """Gathers rows for a few milliseconds and commits them together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[UsageRecord] = []
        self._flush: asyncio.Task[None] | None = None
        self._kept: list[UsageRecord] = []
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
            self._flush = asyncio.create_task(self._flush_soon())
        await asyncio.shield(self._flush)

    async def close(self) -> None:
        """Write what waits, and try once more what could not be written."""
        if self._flush is not None:
            await self._flush
        if self._retry is not None:
            self._retry.cancel()
        if self._kept:
            kept, self._kept = self._kept, []
            await self._write(kept)

    async def _flush_soon(self) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        records, self._waiting = self._waiting, []
        # From here on a new row starts the next group.
        self._flush = None
        await self._write(records)

    async def _write(self, records: list[UsageRecord]) -> None:
        try:
            await self._database.write(insert, records)
        except StorageUnavailableError as error:
            self._keep(records, error)
        except UNWRITABLE:
            await self._write_singly(records)
        else:
            metrics.observe_ledger_rows(len(records))

    async def _write_singly(self, records: list[UsageRecord]) -> None:
        """Find the row that cannot be written: mostly its user was deleted meanwhile, and it goes with the user."""
        for record in records:
            try:
                await self._database.write(insert, [record])
            except StorageUnavailableError as error:
                self._keep([record], error)
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

    def _keep(self, records: list[UsageRecord], error: StorageUnavailableError) -> None:
        for record in records:
            _log.error(
                "usage_row_not_written",
                reason=str(error),
                row=msgspec.to_builtins(record),
                request_id=record.request_id,
            )
        self._kept.extend(records[: MOST_KEPT_ROWS - len(self._kept)])
        if self._retry is None:
            self._retry = asyncio.create_task(self._retry_kept())

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
        self._retry = None
