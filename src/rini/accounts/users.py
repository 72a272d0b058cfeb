"""Users in the database."""

import hashlib
import hmac
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.accounts.tables import users
from rini.errors import TooManyRequestsError
from rini.kit.clock import now

SIGNUP_WINDOW = timedelta(hours=1)

# The table belongs to a feature above this one, which has the same order: session first.
_lock_sessions = sa.text("SELECT id FROM sessions WHERE user_id = :user_id ORDER BY id FOR UPDATE")
_exists = sa.select(users.c.id).where(users.c.id == sa.bindparam("user_id"))


def exists(connection: Connection, user_id: int) -> bool:
    """Tell whether the user is there."""
    return connection.execute(_exists, {"user_id": user_id}).first() is not None


def create(connection: Connection, origin: str | None = None, limit: int = 0) -> int:
    """Make a user and return its id.

    Raises TooManyRequestsError when ``origin`` made ``limit`` of them in the last hour (0: no limit). The count and the new row are
    one transaction, so the limit holds over all processes.
    """
    moment = now()
    if origin is not None and limit:
        recent = sa.select(sa.func.count(), sa.func.min(users.c.created_at)).where(
            users.c.origin == origin, users.c.created_at > moment - SIGNUP_WINDOW
        )
        count, first = connection.execute(recent).one()
        if count >= limit:
            wait = (first + SIGNUP_WINDOW - moment).total_seconds() if first else SIGNUP_WINDOW.total_seconds()
            raise TooManyRequestsError(
                f"Your address made {count} users within an hour, and the limit is {limit}; try again later.",
                retry_after=max(wait, 1),
            )
    insert = users.insert().values(origin=origin, created_at=moment).returning(users.c.id)
    return connection.execute(insert).scalar_one()


def delete(connection: Connection, user_id: int) -> bool:
    """Delete the user and, by the tables' foreign keys, what belongs to it; tell whether there was one."""
    if connection.dialect.name == "postgresql":
        # An answer that is being stored holds its session and then asks for its user. Taking the user first, and by the
        # cascade the session, would let the two wait for each other.
        connection.execute(_lock_sessions, {"user_id": user_id})
    return connection.execute(users.delete().where(users.c.id == user_id)).rowcount > 0


def origin_of(address: str, key: bytes) -> str:
    """Return what is stored of a client's address: a keyed hash."""
    return hmac.new(key, b"rini signup origin" + address.encode(), hashlib.sha256).hexdigest()
