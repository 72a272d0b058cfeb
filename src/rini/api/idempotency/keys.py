"""Idempotency keys in the database. Each function is a unit of work."""

import hashlib
import zlib
from datetime import timedelta

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.api.idempotency.tables import idempotency_keys
from rini.kit.clock import now
from rini.turns.tables import workers
from rini.turns.workers import is_alive

KEPT_FOR = timedelta(hours=24)
SWEPT_AT_ONCE = 500

_table = idempotency_keys.c
_this = sa.and_(_table.user_id == sa.bindparam("user"), _table.digest == sa.bindparam("key"))
_mine = sa.and_(_this, _table.worker_id == sa.bindparam("worker"))
_insert = sa.text(
    "INSERT INTO idempotency_keys (user_id, digest, fingerprint, worker_id, request_id, created_at)"
    " VALUES (:user, :key, :fingerprint, :worker, :request_id, :created_at) ON CONFLICT DO NOTHING"
).bindparams(sa.bindparam("created_at", type_=_table.created_at.type))
_find = (
    sa.select(idempotency_keys, is_alive.label("lives"))
    .outerjoin(workers, workers.c.id == _table.worker_id)
    .where(_this)
    .limit(1)
)
_finish = (
    idempotency_keys.update()
    .where(_mine)
    .values(
        worker_id=None,
        fingerprint=sa.bindparam("its_fingerprint"),
        status=sa.bindparam("its_status"),
        headers=sa.bindparam("its_headers"),
        body=sa.bindparam("its_body"),
    )
)
_leave = idempotency_keys.update().where(_mine).values(worker_id=None)
_free = idempotency_keys.delete().where(_mine)
_expire = idempotency_keys.delete().where(_this, _table.created_at <= sa.bindparam("before"))
_old = sa.select(_table.user_id, _table.digest).where(_table.created_at <= sa.bindparam("before")).limit(SWEPT_AT_ONCE)
_sweep = idempotency_keys.delete().where(sa.tuple_(_table.user_id, _table.digest).in_(_old))

Headers = list[tuple[str, str]]
_headers = msgspec.json.Decoder(Headers)


class Key(msgspec.Struct, frozen=True):
    """A user's key; ``digest`` stands for the client's own word."""

    user_id: int
    digest: str

    @classmethod
    def of(cls, user_id: int, key: bytes) -> "Key":
        """Return the key of a user that is called ``key``."""
        return cls(user_id, hashlib.sha256(key).hexdigest())


class Kept(msgspec.Struct, frozen=True):
    """An answer as it was sent. ``packed`` is its body, compressed; None where it was not kept."""

    status: int
    headers: Headers
    packed: bytes | None

    @classmethod
    def of(cls, status: int, headers: Headers, body: bytearray | None) -> "Kept":
        """Return the answer with ``body``."""
        return cls(status, headers, None if body is None else zlib.compress(body, 1))

    def body(self) -> bytes:
        """Return what was sent; nothing where it was not kept."""
        return b"" if self.packed is None else zlib.decompress(self.packed)


class Found(msgspec.Struct, frozen=True):
    """What is known of a key: that of the request, and how far it is.

    ``is_running``: a living worker is at it. Where it is not and there is no ``answer``, nobody knows what became of it.
    """

    fingerprint: str
    request_id: str | None
    worker_id: str | None
    is_running: bool
    answer: Kept | None


def begin(connection: Connection, key: Key, fingerprint: str, worker_id: str, request_id: str | None) -> Found | None:
    """Take the key for a request; where it is taken, return by what. Raises IntegrityError when there is no such user."""
    moment = now()
    connection.execute(_expire, {"user": key.user_id, "key": key.digest, "before": moment - KEPT_FOR})
    taken = connection.execute(
        _insert,
        {
            "user": key.user_id,
            "key": key.digest,
            "fingerprint": fingerprint,
            "worker": worker_id,
            "request_id": request_id,
            "created_at": moment,
        },
    )
    return None if taken.rowcount else find(connection, key)


def find(connection: Connection, key: Key) -> Found | None:
    """Return what is known of a key; None where it is not taken."""
    row = connection.execute(_find, {"user": key.user_id, "key": key.digest}).first()
    if row is None:
        return None
    return Found(
        row.fingerprint,
        row.request_id,
        row.worker_id,
        row.worker_id is not None and bool(row.lives),
        None if row.status is None else Kept(row.status, _headers.decode(row.headers), row.body),
    )


def finish(connection: Connection, key: Key, worker_id: str, fingerprint: str, answer: Kept) -> None:
    """Keep the answer to the request that has the key, and the fingerprint of all of it."""
    connection.execute(
        _finish,
        {
            "user": key.user_id,
            "key": key.digest,
            "worker": worker_id,
            "its_fingerprint": fingerprint,
            "its_status": answer.status,
            "its_headers": msgspec.json.encode(answer.headers).decode(),
            "its_body": answer.packed,
        },
    )


def leave(connection: Connection, key: Key, worker_id: str) -> None:
    """Note that nobody knows how far the request came that has the key."""
    connection.execute(_leave, {"user": key.user_id, "key": key.digest, "worker": worker_id})


def free(connection: Connection, key: Key, worker_id: str) -> None:
    """Let the key be taken anew: the request that had it did nothing."""
    connection.execute(_free, {"user": key.user_id, "key": key.digest, "worker": worker_id})


def sweep(connection: Connection) -> int:
    """Delete some of the keys that are older than ``KEPT_FOR``, at most SWEPT_AT_ONCE; return how many."""
    return connection.execute(_sweep, {"before": now() - KEPT_FOR}).rowcount
