"""Opened provider keys, kept for seconds so that a call needs no database."""

import time
from collections import OrderedDict

from rini.accounts import provider_keys
from rini.accounts.keyring import Keyring
from rini.accounts.provider_keys import OpenKey
from rini.db import Database

KEPT_FOR_SECONDS = 5.0
KEPT_KEYS = 10_000


class KeyCache:
    """Opens provider keys. A change in this process counts at once, one in another within KEPT_FOR_SECONDS."""

    def __init__(self, keyring: Keyring, database: Database) -> None:
        self.keyring = keyring
        self._database = database
        self._kept: OrderedDict[tuple[int, str, int | None], tuple[float, OpenKey]] = OrderedDict()
        self._forgotten = 0

    async def open(self, user_id: int, provider: str, key_id: int | None = None) -> OpenKey:
        """Return the key for a call. Raises what ``provider_keys.open_key`` does."""
        name = (user_id, provider, key_id)
        kept = self._kept.get(name)
        now = time.monotonic()
        if kept is not None and now - kept[0] < KEPT_FOR_SECONDS:
            return kept[1]
        before = self._forgotten
        key = await self._database.read(provider_keys.open_key, self.keyring, user_id, provider, key_id)
        if before != self._forgotten:  # what was read meanwhile may be what was changed
            return key
        self._kept[name] = (now, key)
        while len(self._kept) > KEPT_KEYS:
            self._kept.popitem(last=False)
        return key

    def forget(self, user_id: int) -> None:
        """Open the user's keys anew at the next call."""
        self._forgotten += 1
        for name in [name for name in list(self._kept) if name[0] == user_id]:
            self._kept.pop(name, None)
