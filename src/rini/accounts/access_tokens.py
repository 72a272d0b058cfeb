"""Access tokens: long-lived, for programs. What is stored is their digest, so they are shown once."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.accounts.tables import access_tokens, users
from rini.db import AnyRow
from rini.errors import NotAuthenticatedError, NotFoundError, TooManyTokensError
from rini.kit.clock import now

PREFIX = "rini_"
MOST_TOKENS = 100
"""What a user may have, expired ones among them."""

_HINT_CHARACTERS = 4
_TOKEN = re.compile(r"rini_[A-Za-z0-9_-]{43}")
_table = access_tokens.c
_shown = [column for column in access_tokens.columns if column.name not in ("user_id", "digest")]
_of_digest = sa.select(_table.id, _table.user_id, _table.models, _table.expires_at).where(
    _table.digest == sa.bindparam("digest")
)
_use = (
    access_tokens.update()
    .where(
        _table.id == sa.bindparam("token_id"),
        sa.or_(_table.last_used_at.is_(None), _table.last_used_at < sa.bindparam("moment")),
    )
    .values(last_used_at=sa.bindparam("moment"))
)


def new_token() -> str:
    """Return a token of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """Return what is stored of a token. Raises NotAuthenticatedError when it cannot be one."""
    if not _TOKEN.fullmatch(token):
        raise NotAuthenticatedError("The access token is not valid.")
    # No salt and no slow hash: there is nothing to guess in 256 random bits.
    return hashlib.sha256(token.encode()).hexdigest()


def store(
    connection: Connection,
    user_id: int,
    token: str,
    name: str,
    models: list[str] | None,
    expires_at: datetime | None,
) -> AnyRow:
    """Store a token and return its row. Raises TooManyTokensError.

    The count and the new row are one transaction that holds the user, so the limit holds over all processes.
    """
    holding = sa.select(users.c.id).where(users.c.id == user_id).with_for_update(key_share=True)
    if connection.execute(holding).first() is None:
        raise NotAuthenticatedError("The access token's user does not exist any more.")
    count = connection.execute(sa.select(sa.func.count()).where(_table.user_id == user_id)).scalar_one()
    if count >= MOST_TOKENS:
        raise TooManyTokensError(f"You have {count} access tokens, the most that a user may have; delete one first.")
    insert = access_tokens.insert().values(
        user_id=user_id,
        name=name,
        digest=digest_of(token),
        hint=token[-_HINT_CHARACTERS:],
        models=None if models is None else msgspec.json.encode(models).decode(),
        expires_at=expires_at,
        created_at=now(),
    )
    return connection.execute(insert.returning(*_shown)).one()


def get(connection: Connection, user_id: int, token_id: int) -> AnyRow:
    """Return the row. Raises NotFoundError."""
    row = connection.execute(sa.select(*_shown).where(_table.id == token_id, _table.user_id == user_id)).first()
    if row is None:
        raise NotFoundError(f"There is no access token {token_id}.")
    return row


def page(connection: Connection, user_id: int, skip: int, limit: int) -> tuple[list[AnyRow], int]:
    """Return some of the user's rows, oldest first, and how many there are."""
    mine = _table.user_id == user_id
    total = connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one()
    rows = connection.execute(sa.select(*_shown).where(mine).order_by(_table.id).offset(skip).limit(limit)).all()
    return list(rows), total


def delete(connection: Connection, user_id: int, token_id: int) -> None:
    """Delete a token. Raises NotFoundError."""
    gone = connection.execute(access_tokens.delete().where(_table.id == token_id, _table.user_id == user_id))
    if not gone.rowcount:
        raise NotFoundError(f"There is no access token {token_id}.")


def find(connection: Connection, digest: str) -> AnyRow | None:
    """Return id, user_id, models and expires_at of the token with this digest."""
    return connection.execute(_of_digest, {"digest": digest}).first()


def note_uses(connection: Connection, uses: Mapping[int, datetime]) -> None:
    """Write when tokens were last used, by their ids. What is gone is left out, and no time goes back."""
    # In the order of their ids, so that two processes do not wait for each other.
    connection.execute(_use, [{"token_id": token_id, "moment": uses[token_id]} for token_id in sorted(uses)])
