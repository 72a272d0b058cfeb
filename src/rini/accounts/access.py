"""Who is asking: from a token to its user, without the database on the way of most requests."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import msgspec
from sqlalchemy.engine import Connection

from rini.accounts import access_tokens, users
from rini.accounts.allowed_models import fits, told
from rini.accounts.last_uses import LastUses
from rini.accounts.tokens import TokenIssuer
from rini.db import Database
from rini.errors import ModelNotAllowedError, NotAuthenticatedError

CHECKED_FOR_SECONDS = 5.0
REMEMBERED_TOKENS = 20_000


class Caller(msgspec.Struct, frozen=True):
    """Whose request it is. ``token_id`` is the access token's, None where the user came with its JWT.

    ``models`` are the patterns of the models that the token may call; None: all.
    """

    user_id: int
    token_id: int | None = None
    models: tuple[str, ...] | None = None

    def may_call(self, provider: str, model: str) -> bool:
        """Tell whether the token may call a provider's model, by the provider's own name for it."""
        if self.models is None:
            return True
        name = f"{provider}/{model}"
        return any(fits(pattern, name) for pattern in self.models)

    def check_model(self, provider: str, model: str) -> None:
        """Raise ModelNotAllowedError when the token may not call the model."""
        if not self.may_call(provider, model):
            raise ModelNotAllowedError(
                f"This access token may not call {provider}/{model}; it may call {told(self.models or ())}.",
                provider=provider,
                model=model,
            )


class _Seen(msgspec.Struct):
    caller: Caller
    good_until: float


class Access:
    """Checks tokens, JWTs as well as access tokens. One that was good within the last seconds is not looked up again.

    A user or a token deleted in this process is refused at once, one deleted in another within CHECKED_FOR_SECONDS.
    A token that expires is refused from that moment on.
    """

    def __init__(self, issuer: TokenIssuer, database: Database) -> None:
        self._issuer = issuer
        self._database = database
        self._last_uses = LastUses(database)
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._forgotten = 0

    def known(self, token: str) -> Caller | None:
        """Return the caller when the token was checked just now; ``None`` says: ``check`` it."""
        seen = self._seen.get(token)
        if seen is None or time.time() >= seen.good_until:
            return None
        return seen.caller

    async def check(self, token: str) -> Caller:
        """Return the caller. Raises NotAuthenticatedError."""
        lookup = self._lookup(token)
        before = self._forgotten
        caller, expires = await self._database.read(lookup)
        return self._remember(token, caller, expires, fresh=before == self._forgotten)

    def check_sync(self, token: str) -> Caller:
        """Do the same from a thread that may wait."""
        lookup = self._lookup(token)
        before = self._forgotten
        caller, expires = self._database.read_sync(lookup)
        return self._remember(token, caller, expires, fresh=before == self._forgotten)

    def forget(self, user_id: int) -> None:
        """Look the user up again at its next request."""
        self._forget(lambda caller: caller.user_id == user_id)

    def forget_token(self, token_id: int) -> None:
        """Look the access token up again at its next request."""
        self._forget(lambda caller: caller.token_id == token_id)

    def _forget(self, meant: Callable[[Caller], bool]) -> None:
        self._forgotten += 1
        for token in [token for token, seen in list(self._seen.items()) if meant(seen.caller)]:
            self._seen.pop(token, None)

    def _lookup(self, token: str) -> Callable[[Connection], tuple[Caller, float]]:
        """Return what finds the caller and the token's end, in seconds since 1970, in the database."""
        if token.startswith(access_tokens.PREFIX):
            return partial(_of_token, digest=access_tokens.digest_of(token))
        user_id, expires = self._issuer.read(token)
        return partial(_of_user, user_id=user_id, expires=expires)

    def _remember(self, token: str, caller: Caller, expires: float, *, fresh: bool) -> Caller:
        # What was read before somebody was forgotten may be what is to be forgotten.
        if fresh:
            self._seen[token] = _Seen(caller, min(time.time() + CHECKED_FOR_SECONDS, expires))
            while len(self._seen) > REMEMBERED_TOKENS:
                self._seen.popitem(last=False)
        if caller.token_id is not None:
            self._last_uses.note(caller.token_id)
        return caller


def bearer_token(authorization: bytes) -> str | None:
    """Return the token of an Authorization header's value, None where it has another scheme or none."""
    if authorization[:7].lower() != b"bearer ":
        return None
    return authorization[7:].strip().decode("latin-1") or None


def _of_user(connection: Connection, user_id: int, expires: float) -> tuple[Caller, float]:
    if not users.exists(connection, user_id):
        raise NotAuthenticatedError("The access token's user does not exist any more.")
    return Caller(user_id), expires


def _of_token(connection: Connection, digest: str) -> tuple[Caller, float]:
    row = access_tokens.find(connection, digest)
    if row is None:
        raise NotAuthenticatedError("The access token is not valid.")
    expires = math.inf if row.expires_at is None else row.expires_at.timestamp()
    if time.time() >= expires:
        raise NotAuthenticatedError("The access token has expired; make a new one with POST /users/me/tokens.")
    models = None if row.models is None else msgspec.json.decode(row.models, type=tuple[str, ...])
    return Caller(row.user_id, row.id, models), expires
