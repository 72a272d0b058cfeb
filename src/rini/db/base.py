"""What all tables share."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
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


def big_int() -> sa.types.TypeEngine[int]:
    """Return the type of a column that refers to a ``big_id``."""
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def big_id() -> sa.Column[int]:
    """Return a primary key that is never used twice, also after its row was deleted.

    SQLite only keeps that promise for INTEGER with AUTOINCREMENT; a token of a deleted user must not fit the next one.
    """
    return sa.Column("id", big_int(), primary_key=True, autoincrement=True)
