"""What all tables share."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect, Row
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

AnyRow = Row[*tuple[Any, ...]]
"""A row of whatever columns were selected."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A moment: aware UTC in Python, timestamptz on Postgres, text in UTC on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone; the rest is UTC from here on."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A stored time must have a zone.")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Give SQLite's times their zone back."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class seconds_ago(GenericFunction[datetime]):  # noqa: N801  # a function of SQL, as SQLAlchemy names them
    """A moment so many seconds ago by the database's own clock, which is one for all nodes."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(seconds_ago, "postgresql")
def _seconds_ago_on_postgres(element: seconds_ago, compiler: SQLCompiler, **options: Any) -> str:
    return f"(clock_timestamp() - {compiler.process(element.clauses, **options)} * interval '1 second')"


@compiles(seconds_ago, "sqlite")
def _seconds_ago_on_sqlite(element: seconds_ago, compiler: SQLCompiler, **options: Any) -> str:
    # As SQLAlchemy stores times there: six digits of a second.
    ago = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', (-{ago}) || ' seconds')"


class PicoUsd(sa.TypeDecorator[Decimal]):
    """Money: Decimal US dollars in Python, whole picodollars (1e-12) in the database, so that SQLite adds exactly too."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        """Round to a picodollar."""
        del dialect
        return None if value is None else int((value * 10**12).to_integral_value())

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:
        """Return dollars."""
        del dialect
        return None if value is None else Decimal(value).scaleb(-12)


class _Ids(sa.TypeDecorator[Sequence[int]]):
    """Ids as one parameter: an array on Postgres, a JSON array on SQLite."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Return the database's own type."""
        array = postgresql.ARRAY(sa.BigInteger) if dialect.name == "postgresql" else sa.Text()
        return dialect.type_descriptor(array)

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> Any:
        """Return what the database takes."""
        ids = list(value or ())
        return ids if dialect.name == "postgresql" else msgspec.json.encode(ids).decode()


class _Among(GenericFunction[Any]):
    # Not Boolean: SQLite has none, and SQLAlchemy would compare it with 1, so that no index were of use.
    type = sa.types.NullType()
    inherit_cache = True


@compiles(_Among, "postgresql")
def _among_on_postgres(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} = ANY ({ids})"


@compiles(_Among, "sqlite")
def _among_on_sqlite(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608  # of a column and a placeholder


def among(column: sa.ColumnElement[int], name: str) -> sa.ColumnElement[bool]:
    """Return the condition that a column's id is one of the parameter ``name``: a list, in a statement that is the same for any length.

    An IN of a thousand parameters takes client and database longer than finding a thousand rows does.
    """
    return _Among(column, sa.bindparam(name, type_=_Ids()))


def big_int() -> sa.types.TypeEngine[int]:
    """Return the type of a column that refers to a ``big_id``."""
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def big_id() -> sa.Column[int]:
    """Return a primary key that is never used twice, also after its row was deleted.

    SQLite only keeps that promise for INTEGER with AUTOINCREMENT; a token of a deleted user must not fit the next one.
    """
    return sa.Column("id", big_int(), primary_key=True, autoincrement=True)
