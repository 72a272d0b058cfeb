"""This process's sign of life in the database: by it others know whether what it began is still being done.

Times are the database's, so that clocks of nodes that differ do not make a living worker a dead one.
"""

import asyncio
import os
from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import Database, seconds_ago
from rini.errors import StorageUnavailableError
from rini.turns.tables import workers

SEEN_EVERY_SECONDS = 5.0
LIVE_FOR_SECONDS = 30.0
"""A worker whose last sign of life is older than this is dead."""

_table = workers.c
_now = seconds_ago(sa.literal_column("0"))
is_alive = _table.seen_at > seconds_ago(sa.literal_column(f"{LIVE_FOR_SECONDS:.0f}"))


class Worker:
    """A process. ``id`` is its own, and never another one's."""

    def __init__(self, database: Database) -> None:
        self.id = os.urandom(16).hex()
        self._database = database

    async def appear(self) -> None:
        """Be known as living, before anything is begun. Raises StorageUnavailableError."""
        await self._database.write(_appear, self.id)

    async def keep_seen(self) -> None:
        """Give a sign of life every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(SEEN_EVERY_SECONDS)
            try:
                await self._database.write(_appear, self.id)
            except StorageUnavailableError:
                continue  # others cannot begin anything either

    async def disappear(self) -> None:
        """Leave nothing behind."""
        with suppress(StorageUnavailableError):  # after a while it counts as dead anyway
            await self._database.write(_disappear, self.id)


def _appear(connection: Connection, worker_id: str) -> None:
    if not connection.execute(workers.update().where(_table.id == worker_id).values(seen_at=_now)).rowcount:
        connection.execute(workers.insert().values(id=worker_id, seen_at=_now))


def _disappear(connection: Connection, worker_id: str) -> None:
    connection.execute(workers.delete().where(_table.id == worker_id))
