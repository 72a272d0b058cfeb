"""Who is asking: from the Authorization header to a user id, without the database on the way of most requests."""

import time
from collections import OrderedDict

import msgspec

from rini.accounts import users
from rini.accounts.tokens import TokenIssuer
from rini.db import Database
from rini.errors import NotAuthenticatedError

CHECKED_FOR_SECONDS = 5.0
REMEMBERED_TOKENS = 20_000
LONGEST_REMEMBERED = 512


class _Seen(msgspec.Struct):
    user_id: int
    expires: float
    checked: float


class Access:
    """Checks tokens. A token that was good within the last seconds is not looked up again.

    A user deleted in this process is refused at once, one deleted in another within CHECKED_FOR_SECONDS.
    """

    def __init__(self, issuer: TokenIssuer, database: Database) -> None:
        self._issuer = issuer
        self._database = database
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._forgotten = 0

    def known(self, authorization: str | None) -> int | None:
        """Return the user id when the header's token was checked just now; ``None`` says: ``check`` it."""
        if authorization is None or not authorization.startswith("Bearer "):
            return None
        seen = self._seen.get(authorization)
        now = time.time()
        if seen is None or now - seen.checked > CHECKED_FOR_SECONDS or now >= seen.expires:
            return None
        return seen.user_id

    async def check(self, authorization: str | None) -> int:
        """Return the user id. Raises NotAuthenticatedError."""
        user_id, expires = self._read(authorization)
        before = self._forgotten
        exists = await self._database.read(users.exists, user_id)
        return self._remember(authorization, user_id, expires, exists=exists, fresh=before == self._forgotten)

    def check_sync(self, authorization: str | None) -> int:
        """Do the same from a thread that may wait."""
        user_id, expires = self._read(authorization)
        before = self._forgotten
        exists = self._database.read_sync(users.exists, user_id)
        return self._remember(authorization, user_id, expires, exists=exists, fresh=before == self._forgotten)

    def forget(self, user_id: int) -> None:
        """Look the user up again at its next request."""
        self._forgotten += 1
        for token in [token for token, seen in list(self._seen.items()) if seen.user_id == user_id]:
            self._seen.pop(token, None)

    def _read(self, authorization: str | None) -> tuple[int, float]:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise NotAuthenticatedError("Send an access token: `Authorization: Bearer <token>`.")
        return self._issuer.read(token.strip())

    def _remember(self, authorization: str | None, user_id: int, expires: float, *, exists: bool, fresh: bool) -> int:
        if not exists:
            raise NotAuthenticatedError("The access token's user does not exist any more.")
        # One token can be written in many ways, with spaces before it for one: a long one is not worth its memory. And what
        # was read before somebody was forgotten may be what is to be forgotten.
        if fresh and authorization is not None and len(authorization) <= LONGEST_REMEMBERED:
            self._seen[authorization] = _Seen(user_id, expires, time.time())
            while len(self._seen) > REMEMBERED_TOKENS:
                self._seen.popitem(last=False)
        return user_id
