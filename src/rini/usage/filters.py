"""Which part of a user's ledger is asked for, from the query of a request."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from fastapi import Depends, Query
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from rini.errors import InvalidRequestError
from rini.kit.ids import session_id_or_none
from rini.kit.parameters import A_SESSION, LARGEST_ID
from rini.kit.text import storable
from rini.providers.catalog import ProviderName

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Filter(msgspec.Struct, frozen=True):
    """What is chosen; None is everything. ``start`` and ``end`` are days in UTC, both included."""

    start: date | None = None
    end: date | None = None
    session_id: str | None = None
    provider: str | None = None
    model: str | None = None
    key_id: int | None = None

    def on_rows(self, columns: Any) -> list[sa.ColumnElement[bool]]:
        """Return the conditions besides the days on a table that has these columns."""
        given = (
            ("session_id", self.session_id),
            ("provider", self.provider),
            ("model", self.model),
            ("key_id", self.key_id),
        )
        return [columns[name] == value for name, value in given if value is not None]

    def on_days(self, columns: Any) -> list[sa.ColumnElement[bool]]:
        """Return all conditions on a table of sums."""
        conditions = self.on_rows(columns)
        if self.start is not None:
            conditions.append(columns.day >= self.start)
        if self.end is not None:
            conditions.append(columns.day <= self.end)
        return conditions


def _date(value: object) -> object:
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"there is no day {value}") from None
    raise ValueError("must be a day in UTC as YYYY-MM-DD, without a time or zone")


def _session(text: str) -> str:
    found = session_id_or_none(text)
    if found is None:
        raise ValueError("must be a session's id, a UUID")
    return found


_DAY_SCHEMA = {"type": "string", "format": "date"}
Day = Annotated[date, BeforeValidator(_date), WithJsonSchema(_DAY_SCHEMA)]


async def _chosen(
    start_date: Annotated[Day | None, Query(description="The first day, in UTC.", examples=["2026-11-01"])] = None,
    end_date: Annotated[
        Day | None, Query(description="The last day, in UTC; it is included.", examples=["2026-11-30"])
    ] = None,
    session_id: Annotated[
        Annotated[str, AfterValidator(_session), WithJsonSchema({"type": "string", "format": "uuid"})] | None,
        Query(description="Only calls in this session, also after it was deleted.", examples=[A_SESSION]),
    ] = None,
    provider: Annotated[
        ProviderName | None, Query(description="Only calls of this provider.", examples=["openai"])
    ] = None,
    model: Annotated[
        Annotated[str, Field(min_length=1, max_length=256), AfterValidator(storable)] | None,
        Query(description="Only calls of this model, by the name that was asked for.", examples=["gpt-4o-mini"]),
    ] = None,
    key_id: Annotated[
        int | None,
        Query(
            ge=1, le=LARGEST_ID, description="Only calls with this API key, also after it was deleted.", examples=[1]
        ),
    ] = None,
) -> Filter:
    if start_date is not None and end_date is not None and end_date < start_date:
        raise InvalidRequestError(f"end_date: {end_date} lies before start_date, {start_date}.")
    return Filter(start_date, end_date, session_id, provider, model, key_id)


Chosen = Annotated[Filter, Depends(_chosen)]
"""The filters that all endpoints of the ledger take."""

GROUP_KEYS = {"day": "day", "model": "model", "session": "session_id", "provider": "provider", "key": "key_id"}
"""What calls are grouped by, and the field that tells of which group a sum is."""


def _group_by(text: str) -> str:
    keys = text.split(",")
    if any(key not in GROUP_KEYS for key in keys) or len({*keys}) < len(keys):
        raise ValueError(f"must be one or more of {', '.join(GROUP_KEYS)}, each once, with commas between them")
    return text


_ONE = f"({'|'.join(GROUP_KEYS)})"
GroupBy = Annotated[
    Annotated[
        str, AfterValidator(_group_by), WithJsonSchema({"type": "string", "pattern": f"^{_ONE}(,{_ONE}){{0,4}}$"})
    ]
    | None,
    Query(description="One or more of day, model, session, provider, key, with commas between them.", examples=["day"]),
]


def grouping(group_by: str | None) -> Sequence[str]:
    """Return the names of the fields that are grouped by."""
    return [GROUP_KEYS[key] for key in group_by.split(",")] if group_by is not None else ()
