"""A migrated database on each of both kinds, and rows of a user of the test's own."""

import itertools
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import migrate
from rini.usage import ledger
from rini.usage.tables import usage_days, usage_session_days
from rini.usage.usage_record import UsageRecord
from tests.conftest import DATABASES

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
_numbers = itertools.count()


def database_url(request, folder):
    if request.param == "sqlite":
        return f"sqlite:///{folder / 'usage.db'}"
    return request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(scope="session", params=DATABASES)
def database(request, tmp_path_factory):
    url = database_url(request, tmp_path_factory.mktemp("usage"))
    migrate(url)
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def user_id(database):
    return database.write_sync(users.create)


@pytest.fixture
def record(user_id):
    """Return a function that makes a record of the user's; one call of a priced model at noon unless told otherwise."""

    def make(**fields):
        usual = {
            "call_id": f"call-{next(_numbers)}",
            "user_id": user_id,
            "endpoint": "/llm/chat-completions/",
            "provider": "openai",
            "model": "gpt-4o",
            "created_at": NOON,
            "input_tokens": 10,
            "output_tokens": 5,
            "cost_usd": Decimal("0.000075"),
        }
        return UsageRecord(**usual | fields)

    return make


@pytest.fixture
def book(database, record):
    """Return a function that writes records, each told by its fields alone, and returns them."""

    def write(*rows):
        records = [record(**fields) for fields in rows]
        database.write_sync(ledger.insert, records)
        return records

    return write


def stored_sums(database, user_id, table=usage_days):
    """Return the user's rows of a table of sums, as they stand there."""

    def read(connection):
        columns = [column.label(column.key) for column in table.columns]
        statement = sa.select(*columns).where(table.c.user_id == user_id).order_by(*table.primary_key.columns)
        return [row._asdict() for row in connection.execute(statement)]

    return database.read_sync(read)


def stored_session_sums(database, user_id):
    return stored_sums(database, user_id, usage_session_days)
