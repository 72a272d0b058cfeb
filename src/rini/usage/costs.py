"""What a user's calls cost, from the ledger's sums: the work grows with days and models, not with calls."""

import operator
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.errors import InvalidRequestError
from rini.usage.days import SUMMED
from rini.usage.filters import Filter
from rini.usage.tables import usage_days, usage_session_days

PICO = 10**12
MOST_SUMS = 50_000
"""How many sums one report may be made of: sessions can be many."""

Key = tuple[Any, ...]


class Sums(msgspec.Struct, frozen=True):
    """What some calls took. ``cost_pico_usd`` is what the priced ones cost, in picodollars (1e-12)."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_pico_usd: int = 0
    unpriced_calls: int = 0
    estimated_calls: int = 0

    @property
    def cost_usd(self) -> Decimal:
        """The cost in dollars, exactly."""
        return Decimal(self.cost_pico_usd).scaleb(-12)

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*map(operator.add, msgspec.structs.astuple(self), msgspec.structs.astuple(other)))

    def __sub__(self, other: "Sums") -> "Sums":
        return Sums(*map(operator.sub, msgspec.structs.astuple(self), msgspec.structs.astuple(other)))


class Costs(msgspec.Struct, frozen=True):
    """Sums over all that was chosen, by model, and by the groups that were asked for (their keys in that order)."""

    total: Sums
    models: Mapping[str, Sums]
    groups: Mapping[Key, Sums]


def costs(connection: Connection, user_id: int, chosen: Filter, group_by: Sequence[str] = ()) -> Costs:
    """Add up the user's calls. ``group_by`` names fields: day, model, session_id, provider, key_id.

    Models and groups are in order; None, which comes last, is a call without a session, or without a key. Raises InvalidRequestError for more
    than MOST_SUMS.
    """
    fields = ("model", *(name for name in group_by if name != "model"))
    found = _sums(connection, user_id, chosen, fields)
    total = Sums()
    models: dict[str, Sums] = {}
    groups: dict[Key, Sums] = {}
    places = [fields.index(name) for name in group_by]
    for key, sums in found.items():
        total += sums
        models[key[0]] = models.get(key[0], Sums()) + sums
        if group_by:
            group = tuple(key[place] for place in places)
            groups[group] = groups.get(group, Sums()) + sums
    return Costs(total, dict(sorted(models.items())), {key: groups[key] for key in sorted(groups, key=_none_last)})


def _none_last(key: Key) -> list[tuple[bool, Any]]:
    return [(value is None, 0 if value is None else value) for value in key]


def days_with_calls(connection: Connection, user_id: int, chosen: Filter) -> list[tuple[date, int]]:
    """Return the days on which the user made such calls, and how many, the newest first."""
    table = usage_days if chosen.session_id is None else usage_session_days
    statement = (
        sa.select(table.c.day, sa.func.sum(table.c.calls))
        .where(table.c.user_id == user_id, *chosen.on_days(table.c))
        .group_by(table.c.day)
        .order_by(table.c.day.desc())
    )
    return [(day, int(calls)) for day, calls in connection.execute(statement)]


def _sums(connection: Connection, user_id: int, chosen: Filter, fields: Sequence[str]) -> dict[Key, Sums]:
    by_session = "session_id" in fields
    if chosen.session_id is not None:
        statement = _select(usage_session_days, user_id, chosen, fields)
    elif by_session:
        # One statement, so that both see the same calls.
        statement = sa.union_all(
            _select(usage_session_days, user_id, chosen, fields), _select(usage_days, user_id, chosen, fields)
        )
    else:
        statement = _select(usage_days, user_id, chosen, fields)
    rows = connection.execute(statement.limit(MOST_SUMS + 1)).all()
    if len(rows) > MOST_SUMS:
        raise InvalidRequestError(f"group_by: that makes more than {MOST_SUMS} sums; choose fewer days or keys.")
    size = len(fields)
    found: dict[Key, Sums] = {}
    for row in rows:
        key = tuple(
            None if name == "key_id" and value == 0 else value for name, value in zip(fields, row, strict=False)
        )
        # Postgres' sums are Decimal.
        calls, read, written, cache_read, cache_write, reasoning, dollars, rest, unpriced, estimated = map(
            int, row[size:]
        )
        found[key] = Sums(
            calls, read, written, cache_read, cache_write, reasoning, dollars * PICO + rest, unpriced, estimated
        )
    if by_session and chosen.session_id is None:
        _leave_out_sessions(found, fields.index("session_id"))
    return found


def _leave_out_sessions(found: dict[Key, Sums], place: int) -> None:
    """Take the calls in a session out of the sums over all calls, which have None as their session."""
    for key in [key for key in found if key[place] is not None]:
        outside = (*key[:place], None, *key[place + 1 :])
        rest = found[outside] - found[key]
        if rest.calls:
            found[outside] = rest
        else:
            del found[outside]


def _select(table: sa.Table, user_id: int, chosen: Filter, fields: Sequence[str]) -> sa.Select[*tuple[Any, ...]]:
    columns = table.c
    keys = [columns[name] for name in fields if name in columns]
    shown = [columns[name] if name in columns else sa.null().label(name) for name in fields]
    summed: list[sa.ColumnElement[Any]] = []
    for name in SUMMED:
        if name == "cost_usd":
            # Dollars and the rest apart: SQLite's sum of integers fails beyond 2^63 picodollars, 9.2 million USD.
            pico = sa.type_coerce(columns.cost_usd, sa.BigInteger)
            summed += [sa.func.sum(pico // PICO), sa.func.sum(pico % PICO)]
        else:
            summed.append(sa.func.sum(columns[name]))
    return sa.select(*shown, *summed).where(columns.user_id == user_id, *chosen.on_days(columns)).group_by(*keys)
