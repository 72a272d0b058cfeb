"""Rows of a database that had no sums yet: the migration adds them up as the ledger would have."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import MIGRATIONS, alone, migrate
from rini.usage import ledger
from rini.usage.tables import usage_days, usage_records, usage_session_days
from rini.usage.usage_record import UsageRecord
from tests.conftest import DATABASES
from tests.usage.conftest import database_url, stored_session_sums, stored_sums

NIGHT = datetime(2026, 11, 10, 23, 59, 59, 999_999, tzinfo=UTC)
ROWS = [
    {"key_id": 4, "cost_usd": Decimal("0.000000000001")},
    {"key_id": 4, "cost_usd": Decimal("2.5"), "cache_read_tokens": 5, "cache_write_tokens": 6, "reasoning_tokens": 7},
    {"key_id": 4, "cost_usd": Decimal("2.5"), "created_at": NIGHT.replace(day=11)},
    {"cost_usd": None},
    {"cost_usd": None, "input_tokens": None, "output_tokens": None},
    {"cost_usd": None, "input_tokens": None, "output_tokens": None, "outcome": "refused"},
    {"cost_usd": None, "input_tokens": 0, "output_tokens": 0, "outcome": "refused"},
    {"cost_usd": None, "input_tokens": 0, "output_tokens": 3, "outcome": "refused"},
    {"cost_usd": Decimal(1), "usage_estimated": True, "outcome": "client_left", "model": "한국어"},
    {"cost_usd": Decimal(1), "session_id": "s1"},
    {"cost_usd": Decimal(1), "session_id": "s1", "provider": "anthropic"},
    {"cost_usd": Decimal(1), "session_id": "s2"},
    *[{"cost_usd": Decimal(1_000_000), "model": "liar", "session_id": "s3"}] * 11,
]


@pytest.fixture(params=DATABASES)
def url(request, tmp_path):
    return database_url(request, tmp_path)


def go_to(url, revision):
    with alone(url) as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_rows_from_before_are_in_the_sums(url):
    go_to(url, "0001")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        user_id = users.create(connection)
        records = [
            UsageRecord(
                **{
                    "call_id": f"call-{number}",
                    "user_id": user_id,
                    "endpoint": "/x",
                    "provider": "openai",
                    "model": "gpt-4o",
                    "created_at": NIGHT,
                    "input_tokens": 10,
                    "output_tokens": 5,
                }
                | fields
            )
            for number, fields in enumerate(ROWS)
        ]
        connection.execute(usage_records.insert(), [{f: getattr(r, f) for f in r.__struct_fields__} for r in records])
    engine.dispose()
    assert migrate(url)
    database = Database(url)
    migrated = stored_sums(database, user_id), stored_session_sums(database, user_id)

    def write_anew(connection):
        for table in (usage_records, usage_days, usage_session_days):
            connection.execute(table.delete())
        ledger.insert(connection, records)

    database.write_sync(write_anew)
    written = stored_sums(database, user_id), stored_session_sums(database, user_id)
    database.close()
    for found in (*migrated, *written):
        for row in found:
            del row["shard"]
    assert migrated == written
    days, sessions = migrated
    assert (sum(row["calls"] for row in days), sum(row["calls"] for row in sessions)) == (len(ROWS), 14)
    assert [row["cost_usd"] for row in days if row["key_id"] == 4] == [Decimal("2.500000000001"), Decimal("2.5")]


def test_an_empty_ledger_has_no_sums(url):
    go_to(url, "0001")
    assert migrate(url)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(usage_days)).scalar() == 0
    engine.dispose()
