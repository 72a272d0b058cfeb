"""Users' MCP connections in the database. Each function is a unit of work, or a part of one."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.accounts.keyring import Keyring, key_id_of
from rini.accounts.provider_keys import Resealed
from rini.accounts.tables import users
from rini.db import AnyRow
from rini.errors import InvalidRequestError, KeyUnreadableError, NotFoundError
from rini.kit.addresses import parse_url
from rini.kit.clock import now
from rini.tools.server import ToolServer
from rini.tools.tables import mcp_connections

MOST = 50
"""The most connections that a user may have."""

_table = mcp_connections.c
_mine = sa.select(mcp_connections).where(_table.user_id == sa.bindparam("user_id")).order_by(_table.id)
_one = _mine.where(_table.id == sa.bindparam("connection_id"))
_enabled = _mine.where(_table.enabled)


def create(
    connection: Connection, keyring: Keyring, user_id: int, values: dict[str, Any], headers: Mapping[str, str]
) -> AnyRow:
    """Store a connection and return its row. Raises InvalidRequestError where the user has MOST of them."""
    # The user's row is locked, so that two at once do not both find room for one.
    connection.execute(sa.select(users.c.id).where(users.c.id == user_id).with_for_update())
    if _count(connection, user_id) >= MOST:
        raise InvalidRequestError(f"You have {MOST} MCP connections, which is the most: delete one first.")
    moment = now()
    made = mcp_connections.insert().returning(_table.id)
    connection_id = connection.execute(
        made.values(user_id=user_id, created_at=moment, updated_at=moment, **_stored(values))
    ).scalar_one()
    # The row's own id is part of what the ciphertext is bound to, so it must exist first; see also begin_resealing.
    _write_headers(connection, keyring, user_id, connection_id, headers)
    return get(connection, user_id, connection_id)


def get(connection: Connection, user_id: int, connection_id: int) -> AnyRow:
    """Return the user's connection. Raises NotFoundError."""
    row = connection.execute(_one, {"user_id": user_id, "connection_id": connection_id}).first()
    if row is None:
        raise NotFoundError(f"There is no MCP connection {connection_id}.")
    return row


def page(connection: Connection, user_id: int, skip: int, limit: int) -> tuple[list[AnyRow], int]:
    """Return some of the user's connections, oldest first, and how many there are."""
    rows = connection.execute(_mine.offset(skip).limit(limit), {"user_id": user_id}).all()
    return list(rows), _count(connection, user_id)


def enabled(connection: Connection, user_id: int) -> list[AnyRow]:
    """Return the user's enabled connections, oldest first."""
    return list(connection.execute(_enabled, {"user_id": user_id}).all())


def change(
    connection: Connection,
    keyring: Keyring,
    user_id: int,
    connection_id: int,
    values: dict[str, Any],
    headers: Mapping[str, str] | None,
) -> AnyRow:
    """Change what ``values`` names, and all headers unless they are ``None``; return the row.

    Raises NotFoundError, and InvalidRequestError where stored headers would go to another server than they were given for.
    """
    # Locked, so that nobody else gives it headers between this look and the change.
    connection.execute(_one.with_for_update(), {"user_id": user_id, "connection_id": connection_id})
    found = get(connection, user_id, connection_id)
    if headers is None and found.sealed_headers is not None and "url" in values:
        before, after = parse_url(found.url).origin, parse_url(values["url"]).origin
        if before != after:
            raise InvalidRequestError(
                f"url: leads to another server than the stored headers were given for; name `headers` too, "
                f"those for {after.authority} or {{}}."
            )
    mine = mcp_connections.update().where(_table.id == connection_id, _table.user_id == user_id)
    connection.execute(mine.values(updated_at=now(), **_stored(values)))
    if headers is not None:
        _write_headers(connection, keyring, user_id, connection_id, headers)
    return get(connection, user_id, connection_id)


def delete(connection: Connection, user_id: int, connection_id: int) -> None:
    """Delete the user's connection. Raises NotFoundError."""
    mine = mcp_connections.delete().where(_table.id == connection_id, _table.user_id == user_id)
    if not connection.execute(mine).rowcount:
        raise NotFoundError(f"There is no MCP connection {connection_id}.")


def open_headers(keyring: Keyring, row: AnyRow) -> dict[str, str]:
    """Return a row's headers. Raises KeyUnreadableError."""
    if row.sealed_headers is None:
        return {}
    return json.loads(keyring.open(row.sealed_headers, _place(row.id, row.user_id)))


def server_of(keyring: Keyring, row: AnyRow) -> ToolServer:
    """Return the server that a row leads to."""
    fault = None
    headers: dict[str, str] = {}
    try:
        headers = open_headers(keyring, row)
    except KeyUnreadableError:
        fault = "The connection's headers do not open under any master key of this server: store them again."
    return ToolServer(
        key=f"connection_{row.id}",
        version=row.updated_at.isoformat(),
        name=row.name,
        transport=row.transport,
        timeout=row.timeout_seconds,
        connection_id=row.id,
        allowed_tools=None if row.allowed_tools is None else frozenset(json.loads(row.allowed_tools)),
        fault=fault,
        url=row.url,
        headers=headers,
    )


def begin_resealing(connection: Connection) -> None:
    """Wait until all headers that may have been sealed before a new master key was there can be read.

    As with provider keys: ``create`` and ``change`` look for a new master key after they wrote their row.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE mcp_connections IN SHARE MODE"))


def reseal_some(connection: Connection, keyring: Keyring, after: int, most: int = 100) -> Resealed | None:
    """Seal the headers of up to ``most`` connections with ids above ``after`` under the current master key; ``None`` at the end.

    What does not open under any master key is left as it is.
    """
    others = sa.select(mcp_connections).where(_table.id > after, _table.master_key_id != keyring.current_id)
    rows = connection.execute(others.order_by(_table.id).limit(most)).all()
    if not rows:
        return None
    unreadable: list[int] = []
    for row in rows:
        try:
            headers = open_headers(keyring, row)
        except KeyUnreadableError:
            unreadable.append(row.id)
        else:
            _write_headers(connection, keyring, row.user_id, row.id, headers)
    return Resealed(rows[-1].id, len(rows) - len(unreadable), tuple(unreadable))


def _write_headers(
    connection: Connection, keyring: Keyring, user_id: int, connection_id: int, headers: Mapping[str, str]
) -> None:
    values: dict[str, Any] = {"sealed_headers": None, "master_key_id": None}
    if headers:
        sealed = keyring.seal(json.dumps(dict(headers)), _place(connection_id, user_id))
        values = {"sealed_headers": sealed, "master_key_id": key_id_of(sealed)}
    connection.execute(mcp_connections.update().where(_table.id == connection_id).values(values))


def _stored(values: dict[str, Any]) -> dict[str, Any]:
    allowed = values.get("allowed_tools")
    return values if allowed is None else values | {"allowed_tools": json.dumps(allowed)}


def _count(connection: Connection, user_id: int) -> int:
    return connection.execute(sa.select(sa.func.count()).where(_table.user_id == user_id)).scalar_one()


def _place(connection_id: int, user_id: int) -> str:
    return f"mcp_connections/{connection_id}/user/{user_id}/headers"
