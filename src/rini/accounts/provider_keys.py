"""Stored provider keys: sealed on the way in, opened for a call."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.accounts.keyring import Keyring, key_id_of
from rini.accounts.tables import provider_keys
from rini.db import AnyRow
from rini.errors import KeyUnreadableError, NotFoundError, ProviderKeyMissingError
from rini.kit.clock import now

_table = provider_keys.c
_shown = [column for column in provider_keys.columns if column.name not in ("sealed", "master_key_id")]
_newest = (
    sa.select(_table.id, _table.user_id, _table.model_provider, _table.base_url, _table.sealed)
    .where(_table.user_id == sa.bindparam("user_id"), _table.model_provider == sa.bindparam("provider"))
    .order_by(_table.id.desc())
    .limit(1)
)
_one = sa.select(_table.id, _table.user_id, _table.model_provider, _table.base_url, _table.sealed).where(
    _table.id == sa.bindparam("key_id"), _table.user_id == sa.bindparam("user_id")
)


class OpenKey(msgspec.Struct, frozen=True):
    """A key that can be used. It is never shown, logged or stored in this form."""

    id: int
    value: str
    base_url: str | None

    def __repr__(self) -> str:
        return f"OpenKey(id={self.id})"


def store(
    connection: Connection,
    keyring: Keyring,
    user_id: int,
    provider: str,
    value: str,
    description: str | None,
    base_url: str | None,
) -> AnyRow:
    """Store a key and return its row, without the value."""
    moment = now()
    key_id = connection.execute(
        provider_keys.insert()
        .returning(_table.id)
        .values(
            user_id=user_id,
            model_provider=provider,
            description=description,
            base_url=base_url,
            sealed=b"",
            master_key_id="",
            created_at=moment,
            updated_at=moment,
        )
    ).scalar_one()
    # The row's own id is part of what the ciphertext is bound to, so it must exist first; see also begin_resealing.
    _write_sealed(connection, key_id, keyring.seal(value, _place(key_id, user_id, provider)))
    return get(connection, user_id, key_id)


def get(connection: Connection, user_id: int, key_id: int) -> AnyRow:
    """Return the row, without the value. Raises NotFoundError."""
    row = connection.execute(sa.select(*_shown).where(_table.id == key_id, _table.user_id == user_id)).first()
    if row is None:
        raise NotFoundError(f"There is no API key {key_id}.")
    return row


def page(connection: Connection, user_id: int, skip: int, limit: int) -> tuple[list[AnyRow], int]:
    """Return some of the user's rows, oldest first, and how many there are."""
    mine = _table.user_id == user_id
    total = connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one()
    rows = connection.execute(sa.select(*_shown).where(mine).order_by(_table.id).offset(skip).limit(limit)).all()
    return list(rows), total


def describe(connection: Connection, user_id: int, key_id: int, description: str | None) -> AnyRow:
    """Change a key's description and return its row. Raises NotFoundError."""
    connection.execute(
        provider_keys.update()
        .where(_table.id == key_id, _table.user_id == user_id)
        .values(description=description, updated_at=now())
    )
    return get(connection, user_id, key_id)


def delete(connection: Connection, user_id: int, key_id: int) -> None:
    """Delete a key. Raises NotFoundError."""
    gone = connection.execute(provider_keys.delete().where(_table.id == key_id, _table.user_id == user_id))
    if not gone.rowcount:
        raise NotFoundError(f"There is no API key {key_id}.")


def open_key(connection: Connection, keyring: Keyring, user_id: int, provider: str, key_id: int | None) -> OpenKey:
    """Return the key for a call: the one asked for, else the newest of the provider.

    Raises ProviderKeyMissingError that names the provider, NotFoundError for an id that is not the user's or the provider's.
    """
    if key_id is None:
        row = connection.execute(_newest, {"user_id": user_id, "provider": provider}).first()
        if row is None:
            raise ProviderKeyMissingError(
                f"You have no API key for the provider '{provider}': store one with POST /api-keys/.", provider=provider
            )
    else:
        row = connection.execute(_one, {"user_id": user_id, "key_id": key_id}).first()
        if row is None or row.model_provider != provider:
            raise NotFoundError(f"There is no API key {key_id} for the provider '{provider}'.")
    value = keyring.open(row.sealed, _place(row.id, row.user_id, row.model_provider))
    return OpenKey(row.id, value, row.base_url)


class Resealed(msgspec.Struct, frozen=True):
    """A step of a rotation: the last id that was looked at, how many keys changed, and which do not open."""

    last_id: int
    changed: int
    unreadable: tuple[int, ...]


def begin_resealing(connection: Connection) -> None:
    """Wait until all keys that may have been sealed before a new master key was there can be read.

    ``store`` looks for a new master key after its insert. So who inserted before this lock is waited for, and who does after it
    seals under the new one. In SQLite writers take turns anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE provider_keys IN SHARE MODE"))


def reseal_some(connection: Connection, keyring: Keyring, after: int, most: int = 100) -> Resealed | None:
    """Seal up to ``most`` keys with ids above ``after`` under the current master key; return ``None`` at the end.

    What does not open under any master key is left as it is.
    """
    others = sa.select(provider_keys).where(_table.id > after, _table.master_key_id != keyring.current_id)
    rows = connection.execute(others.order_by(_table.id).limit(most)).all()
    if not rows:
        return None
    unreadable: list[int] = []
    for row in rows:
        place = _place(row.id, row.user_id, row.model_provider)
        try:
            value = keyring.open(row.sealed, place)
        except KeyUnreadableError:
            unreadable.append(row.id)
        else:
            _write_sealed(connection, row.id, keyring.seal(value, place))
    return Resealed(rows[-1].id, len(rows) - len(unreadable), tuple(unreadable))


def _write_sealed(connection: Connection, key_id: int, sealed: bytes) -> None:
    values = {"sealed": sealed, "master_key_id": key_id_of(sealed)}
    connection.execute(provider_keys.update().where(_table.id == key_id).values(values))


def _place(key_id: int, user_id: int, provider: str) -> str:
    return f"provider_keys/{key_id}/user/{user_id}/provider/{provider}"
