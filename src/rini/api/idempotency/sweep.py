"""Forgetting old idempotency keys."""

import asyncio

from rini.api.idempotency import keys
from rini.db import Database
from rini.errors import StorageUnavailableError
from rini.telemetry.logs import get_logger

SWEEP_SECONDS = 600.0

_log = get_logger(__name__)


async def keep_swept(database: Database) -> None:
    """Forget keys that are older than ``keys.KEPT_FOR``, now and every ten minutes, until cancelled."""
    while True:
        try:
            while await database.write(keys.sweep) >= keys.SWEPT_AT_ONCE:
                pass
        except StorageUnavailableError as error:
            _log.warning("idempotency_keys_not_swept", reason=error.detail)
        await asyncio.sleep(SWEEP_SECONDS)
