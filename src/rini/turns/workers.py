"""This process's sign of life in the database: by it others know whether what it began is still being done."""

import asyncio
import os
from contextlib import suppress
from datetime import timedelta

from sqlalchemy.engine import Connection

from rini.db import Database
from rini.errors import StorageUnavailableError
from rini.kit.clock import now
from rini.turns.tables import workers

SEEN_EVERY_SECONDS = 5.0
LIVE_FOR = timedelta(seconds=30)
"""A worker whose last sign of life is older than this is dead."""

_table = workers.c


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
    moment = now()
    if not connection.execute(workers.update().where(_table.id == worker_id).values(seen_at=moment)).rowcount:
        connection.execute(workers.insert().values(id=worker_id, executor_id=None, seen_at=moment))


def _disappear(connection: Connection, worker_id: str) -> None:
    connection.execute(workers.delete().where(_table.id == worker_id))
