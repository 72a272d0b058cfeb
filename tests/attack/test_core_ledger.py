"""Rows that cannot be written, or not now: nobody else's call suffers, and nothing is booked twice."""

import asyncio
from decimal import Decimal

import pytest
import sqlalchemy as sa

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import StorageUnavailableError
from rini.kit.clock import now
from rini.usage import ledger as ledger_module
from rini.usage.ledger import Ledger
from rini.usage.tables import usage_records
from rini.usage.usage_record import UsageRecord


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    database = Database(url)
    yield database
    database.close()


class Flaky:
    """A database that can be away."""

    def __init__(self, database):
        self._database = database
        self.away = False

    async def write(self, *args):
        if self.away:
            raise StorageUnavailableError("away")
        return await self._database.write(*args)


def _record(user_id, call_id, **fields):
    return UsageRecord(
        call_id=call_id, user_id=user_id, endpoint="/x", provider="openai", model="m", created_at=now(), **fields
    )


def _booked(database):
    return database.read_sync(
        lambda connection: list(connection.execute(sa.select(usage_records.c.call_id).order_by("call_id")).scalars())
    )


POISON = [{"output_tokens": 10**30}, {"cost_usd": Decimal(10) ** 20}, {"created_at": now().replace(tzinfo=None)}]


@pytest.mark.parametrize("poison", POISON, ids=["count", "cost", "naive"])
def test_a_row_that_cannot_be_written_is_alone(database, poison):
    user_id = database.write_sync(users.create)

    async def main():
        ledger = Ledger(database)
        rows = [_record(user_id, f"good-{n}") for n in range(3)] + [_changed(_record(user_id, "bad"), poison)]
        await asyncio.gather(*(ledger.record(row) for row in rows))
        assert ledger.healthy
        await ledger.close()

    asyncio.run(main())
    assert _booked(database) == ["good-0", "good-1", "good-2"]


def _changed(record, changes):
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def test_rows_kept_while_the_database_was_away_are_written_once(database, monkeypatch):
    monkeypatch.setattr(ledger_module, "RETRY_SECONDS", 0.05)
    user_id = database.write_sync(users.create)

    async def main():
        flaky = Flaky(database)
        ledger = Ledger(flaky)
        flaky.away = True
        await asyncio.gather(*(ledger.record(_record(user_id, f"kept-{n}")) for n in range(3)))
        await ledger.record(_changed(_record(user_id, "kept-bad"), POISON[0]))
        assert not ledger.healthy
        await asyncio.sleep(0.12)
        assert not ledger.healthy
        flaky.away = False
        while not ledger.healthy:
            await asyncio.sleep(0.01)
        # The next time works as well.
        flaky.away = True
        await ledger.record(_record(user_id, "later"))
        flaky.away = False
        while not ledger.healthy:
            await asyncio.sleep(0.01)
        await ledger.close()

    asyncio.run(asyncio.wait_for(main(), 10))
    assert _booked(database) == ["kept-0", "kept-1", "kept-2", "later"]


def test_a_close_in_the_middle_of_a_retry_loses_nothing(database, monkeypatch):
    monkeypatch.setattr(ledger_module, "RETRY_SECONDS", 0.01)
    user_id = database.write_sync(users.create)

    class Stuck(Flaky):
        """Cannot be reached in the middle of the retry, so that what was asked of it is gone."""

        stuck = False

        async def write(self, *args):
            if self.stuck:
                await asyncio.Event().wait()
            return await super().write(*args)

    async def main():
        stuck = Stuck(database)
        ledger = Ledger(stuck)
        stuck.away = True
        await ledger.record(_record(user_id, "row"))
        stuck.away, stuck.stuck = False, True
        await asyncio.sleep(0.1)
        assert not ledger.healthy
        stuck.stuck = False
        await ledger.close()

    asyncio.run(asyncio.wait_for(main(), 10))
    assert _booked(database) == ["row"]


def test_a_waiter_that_leaves_takes_nothing_with_it(database):
    user_id = database.write_sync(users.create)

    async def main():
        ledger = Ledger(database)
        waiters = [asyncio.create_task(ledger.record(_record(user_id, f"r{n}"))) for n in range(4)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        waiters[2].cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        assert [waiter.cancelled() for waiter in waiters] == [True, False, True, False]
        await ledger.close()

    asyncio.run(main())
    assert _booked(database) == ["r0", "r1", "r2", "r3"]
