"""When access tokens were last used: noted in memory, written in the background, so that no request waits for it."""

import contextlib
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from rini.accounts import access_tokens
from rini.db import Database
from rini.errors import StorageUnavailableError
from rini.kit.clock import now

WRITTEN_EVERY = timedelta(minutes=1)
REMEMBERED_USES = 20_000


class LastUses:
    """Writes each token's last use at most once in WRITTEN_EVERY. Its thread begins with the first use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._noted: OrderedDict[int, datetime] = OrderedDict()
        self._waiting: dict[int, datetime] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="token-uses")

    def note(self, token_id: int) -> None:
        """Take note that the token is used now. Returns at once, from whichever thread."""
        moment = now()
        with self._lock:
            noted = self._noted.get(token_id)
            if noted is not None and moment - noted < WRITTEN_EVERY:
                return
            write = not self._waiting
            self._noted[token_id] = moment
            self._noted.move_to_end(token_id)
            while len(self._noted) > REMEMBERED_USES:
                self._waiting.pop(self._noted.popitem(last=False)[0], None)
            self._waiting[token_id] = moment
        if write:
            self._writer.submit(self._write)

    def _write(self) -> None:
        with self._lock:
            uses, self._waiting = self._waiting, {}
        # A database that does not answer is told elsewhere; the next use in a minute is written again.
        with contextlib.suppress(StorageUnavailableError):
            self._database.write_sync(access_tokens.note_uses, uses)
