"""Aliases in the database. Each function is a unit of work."""

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.accounts.tables import provider_keys, users
from rini.db import AnyRow
from rini.errors import AliasTakenError, InvalidRequestError, NotAuthenticatedError, NotFoundError
from rini.kit.clock import now
from rini.models.tables import model_aliases
from rini.providers.model_names import ModelName

MOST_ALIASES = 1000
"""As many as a user may have."""

_table = model_aliases.c
_of_user = sa.select(_table.alias, _table.provider, _table.model).where(_table.user_id == sa.bindparam("user_id"))
_servers = sa.select(sa.func.count()).where(
    provider_keys.c.user_id == sa.bindparam("user_id"), provider_keys.c.model_provider == "openai_compatible"
)


class OwnNames(msgspec.Struct, frozen=True):
    """What a user's own names mean. ``servers`` is how many keys of OpenAI-compatible servers the user has."""

    aliases: Mapping[str, ModelName]
    servers: int


def own_names(connection: Connection, user_id: int) -> OwnNames:
    """Return all that names of the user's own depend on."""
    rows = connection.execute(_of_user.order_by(_table.alias), {"user_id": user_id})
    aliases = {row.alias: ModelName(row.provider, row.model) for row in rows}
    return OwnNames(aliases, connection.execute(_servers, {"user_id": user_id}).scalar_one())


def create(connection: Connection, user_id: int, alias: str, target: ModelName) -> AnyRow:
    """Store a new alias and return its row. Raises AliasTakenError; InvalidRequestError for one too many."""
    _hold(connection, user_id)
    if _found(connection, user_id, alias) is not None:
        raise AliasTakenError(f"You have an alias '{alias}' already; PUT /models/aliases/{alias} changes it.")
    return _insert(connection, user_id, alias, target)


def put(connection: Connection, user_id: int, alias: str, target: ModelName) -> AnyRow:
    """Store an alias, in place of the one of that name if there is one, and return its row. Raises InvalidRequestError for one too many."""
    _hold(connection, user_id)
    if _found(connection, user_id, alias) is None:
        return _insert(connection, user_id, alias, target)
    changed = model_aliases.update().where(_table.user_id == user_id, _table.alias == alias)
    values = {"provider": target.provider, "model": target.model}
    return connection.execute(changed.values(values).returning(model_aliases)).one()


def get(connection: Connection, user_id: int, alias: str) -> AnyRow:
    """Return the user's alias. Raises NotFoundError."""
    row = _found(connection, user_id, alias)
    if row is None:
        raise _no_alias()
    return row


def page(connection: Connection, user_id: int, skip: int, limit: int) -> tuple[list[AnyRow], int]:
    """Return some of the user's aliases, in the order of their names, and how many there are."""
    mine = _table.user_id == user_id
    total = connection.execute(sa.select(sa.func.count()).select_from(model_aliases).where(mine)).scalar_one()
    found = sa.select(model_aliases).where(mine).order_by(_table.alias).offset(skip).limit(limit)
    return list(connection.execute(found).all()), total


def delete(connection: Connection, user_id: int, alias: str) -> None:
    """Delete the user's alias. Raises NotFoundError."""
    gone = connection.execute(model_aliases.delete().where(_table.user_id == user_id, _table.alias == alias))
    if not gone.rowcount:
        raise _no_alias()


def _hold(connection: Connection, user_id: int) -> None:
    """Let nobody else store an alias of the user's until the transaction ends: so the limit holds, and each name is there once."""
    holding = sa.select(users.c.id).where(users.c.id == user_id).with_for_update(key_share=True)
    if connection.execute(holding).first() is None:
        raise NotAuthenticatedError("The access token's user does not exist any more.")


def _found(connection: Connection, user_id: int, alias: str) -> AnyRow | None:
    one = sa.select(model_aliases).where(_table.user_id == user_id, _table.alias == alias)
    return connection.execute(one).first()


def _insert(connection: Connection, user_id: int, alias: str, target: ModelName) -> AnyRow:
    mine = sa.select(sa.func.count()).select_from(model_aliases).where(_table.user_id == user_id)
    count = connection.execute(mine).scalar_one()
    if count >= MOST_ALIASES:
        raise InvalidRequestError(f"You have {count:,} aliases, and there may be no more: delete some first.")
    made = model_aliases.insert().values(
        user_id=user_id, alias=alias, provider=target.provider, model=target.model, created_at=now()
    )
    return connection.execute(made.returning(model_aliases)).one()


def _no_alias() -> NotFoundError:
    return NotFoundError("There is no such alias.")
