"""The sums are what the rows add up to, whoever writes them at the same time."""

import threading
import time
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from rini.accounts import users
from rini.db import Database
from rini.usage import days, ledger
from rini.usage.days import LARGEST, SUMMED
from rini.usage.tables import usage_days, usage_records, usage_session_days
from tests.usage.conftest import NOON, stored_session_sums, stored_sums


def added(rows):
    """Add up rows of a table of sums whatever their shard, by all other keys."""
    sums = {}
    for row in rows:
        key = tuple(row[name] for name in ("day", "provider", "model", "key_id"))
        if "session_id" in row:
            key += (row["session_id"],)
        found = sums.setdefault(key, dict.fromkeys(SUMMED, 0))
        for name in SUMMED:
            found[name] += row[name]
    return sums


def test_a_call_is_added_to_its_day(database, user_id, book):
    fields = {
        "key_id": 3,
        "input_tokens": 1000,
        "output_tokens": 200,
        "cache_read_tokens": 300,
        "cache_write_tokens": 40,
        "reasoning_tokens": 50,
        "cost_usd": Decimal("0.001234567891"),
    }
    book(fields, fields | {"usage_estimated": True}, {"model": "other", "cost_usd": None})
    book(fields)
    assert added(stored_sums(database, user_id)) == {
        (NOON.date(), "openai", "gpt-4o", 3): {
            "calls": 3,
            "input_tokens": 3000,
            "output_tokens": 600,
            "cache_read_tokens": 900,
            "cache_write_tokens": 120,
            "reasoning_tokens": 150,
            "cost_usd": Decimal("0.003703703673"),
            "unpriced_calls": 0,
            "estimated_calls": 1,
        },
        (NOON.date(), "openai", "other", 0): dict.fromkeys(SUMMED, 0)
        | {"calls": 1, "input_tokens": 10, "output_tokens": 5, "unpriced_calls": 1},
    }
    assert stored_session_sums(database, user_id) == []


def test_calls_in_a_session_are_added_to_it_too(database, user_id, book):
    book({}, {"session_id": "s1"}, {"session_id": "s2"}, {"session_id": "s1", "model": "m"})
    (day,) = {row["day"] for row in stored_session_sums(database, user_id)}
    assert day == NOON.date()
    sessions = added(stored_session_sums(database, user_id))
    assert {key[2:]: sums["calls"] for key, sums in sessions.items()} == {
        ("gpt-4o", 0, "s1"): 1,
        ("m", 0, "s1"): 1,
        ("gpt-4o", 0, "s2"): 1,
    }
    assert {key[2]: sums["calls"] for key, sums in added(stored_sums(database, user_id)).items()} == {
        "gpt-4o": 3,
        "m": 1,
    }


def test_the_day_is_that_of_utc(database, user_id, book):
    seoul = timezone(timedelta(hours=9))
    book(
        {"created_at": datetime(2026, 11, 11, 8, 59, 59, 999_999, tzinfo=seoul)},
        {"created_at": datetime(2026, 11, 11, 9, tzinfo=seoul)},
        {"created_at": datetime(2026, 11, 11, 23, 59, 59, 999_999, tzinfo=UTC)},
    )
    assert {key[0]: sums["calls"] for key, sums in added(stored_sums(database, user_id)).items()} == {
        date(2026, 11, 10): 1,
        date(2026, 11, 11): 2,
    }


@pytest.mark.parametrize(
    ("fields", "unpriced"),
    [
        ({"cost_usd": None}, 1),
        ({"cost_usd": Decimal(0)}, 0),
        ({"cost_usd": None, "input_tokens": None, "output_tokens": None}, 1),  # an answer whose usage was not told
        ({"cost_usd": None, "input_tokens": None, "output_tokens": None, "outcome": "refused"}, 0),
        ({"cost_usd": None, "input_tokens": 0, "output_tokens": 0, "outcome": "refused"}, 0),
        ({"cost_usd": None, "input_tokens": 7, "output_tokens": None, "outcome": "refused"}, 1),
        ({"cost_usd": None, "outcome": "client_left", "usage_estimated": True}, 1),
    ],
)
def test_what_is_unpriced(database, user_id, book, fields, unpriced):
    book(fields)
    (row,) = stored_sums(database, user_id)
    assert (row["calls"], row["unpriced_calls"], row["cost_usd"]) == (1, unpriced, 0)


def test_a_call_is_booked_once(database, user_id, book, record):
    (first,) = book({"session_id": "s"})
    before = stored_sums(database, user_id), stored_session_sums(database, user_id)
    with pytest.raises(exc.IntegrityError):
        database.write_sync(ledger.insert, [record(session_id="s"), record(session_id="s", call_id=first.call_id)])
    assert (stored_sums(database, user_id), stored_session_sums(database, user_id)) == before


def test_a_deleted_user_takes_its_sums_along(database, user_id, book):
    book({"session_id": "s"})
    database.write_sync(users.delete, user_id)
    assert stored_sums(database, user_id) == stored_session_sums(database, user_id) == []


def test_a_sum_stops_at_the_largest_number_and_nobodys_write_fails(database, user_id, book):
    large = {"cost_usd": Decimal(1_000_000), "input_tokens": 1_000_000_000}
    for _ in range(12):
        book(large, large)
    (row,) = stored_sums(database, user_id)
    assert row["cost_usd"] == Decimal(LARGEST).scaleb(-12)
    assert (row["calls"], row["input_tokens"]) == (24, 24_000_000_000)


def test_many_writers_at_once_lose_nothing(database, user_id, record):
    """Two processes' worth of connections on a few hot rows."""
    writers = [Database(database.url.render_as_string(hide_password=False)) for _ in range(2)]
    threads, rounds, failures = 8, 200, []

    def write(number):
        try:
            for turn in range(rounds):
                rows = [
                    record(model=f"m{(turn + number + place) % 3}", session_id=f"s{(number + place) % 2}")
                    for place in range(turn % 3 + 1)
                ]
                writers[number % 2].write_sync(ledger.insert, rows)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    running = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    for writer in writers:
        writer.close()
    assert failures == []

    def rows(connection):
        c = usage_records.c
        statement = (
            sa.select(c.model, c.session_id, sa.func.count(), sa.func.sum(c.input_tokens))
            .where(c.user_id == user_id)
            .group_by(c.model, c.session_id)
        )
        return {(model, session): (calls, tokens) for model, session, calls, tokens in connection.execute(statement)}

    booked = database.read_sync(rows)
    assert sum(calls for calls, _ in booked.values()) == sum(turn % 3 + 1 for turn in range(rounds)) * threads
    sessions = added(stored_session_sums(database, user_id))
    assert {(key[2], key[4]): (s["calls"], s["input_tokens"]) for key, s in sessions.items()} == booked
    totals = added(stored_sums(database, user_id))
    for model in ("m0", "m1", "m2"):
        (sums,) = (sums for key, sums in totals.items() if key[2] == model)
        assert sums["calls"] == sum(calls for (name, _), (calls, _) in booked.items() if name == model)
        assert sums["cost_usd"] == sums["calls"] * Decimal("0.000075")
    if not database.is_sqlite:
        deadlocks = sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert database.read_sync(lambda connection: connection.execute(deadlocks).scalar()) == 0


@pytest.fixture
def connections(database):
    """Return a function that opens connections of their own, as another process would have them."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer")
    engine = sa.create_engine(database.url, poolclass=sa.pool.NullPool)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(engine.connect())


def test_no_connection_to_postgres_waits_for_another(database, user_id, record, connections):
    for connection in (several := [connections() for _ in range(5)]):
        ledger.insert(connection, [record()])  # on the same row it would wait for ever
    for connection in several:
        connection.commit()
    shards = [row["shard"] for row in stored_sums(database, user_id)]
    assert len(shards) == 5
    assert all(0 <= shard < days.SHARDS for shard in shards)


def test_a_connection_keeps_its_shard_and_leaves_it_when_it_closes(database, user_id, record, connections):
    first, second = connections(), connections()
    for connection in (first, second, first, second):
        ledger.insert(connection, [record()])
        connection.commit()
    shards = {row["shard"] for row in stored_sums(database, user_id)}
    assert len(shards) == 2
    first.close()
    until = time.monotonic() + 5
    while (shard := days._shard(connections())) not in shards and time.monotonic() < until:
        time.sleep(0.05)  # Postgres ends a session a moment after its client left
    assert shard in shards


def test_more_connections_than_shards_share_one(database, user_id, record, connections, monkeypatch):
    monkeypatch.setattr(days, "_free_shard", sa.text("SELECT NULL"))
    monkeypatch.setattr(days, "SHARDS", 1)
    failures = []

    def write():
        try:
            with connections() as connection:
                for _ in range(50):
                    ledger.insert(connection, [record(session_id="s")])
                    connection.commit()
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    running = [threading.Thread(target=write) for _ in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert failures == []
    (row,) = stored_sums(database, user_id)
    assert (row["shard"], row["calls"], row["cost_usd"]) == (0, 200, 200 * Decimal("0.000075"))


def test_the_statement_names_every_column():
    for table, statements in ((usage_days, days._add_to_days), (usage_session_days, days._add_to_session_days)):
        for statement in statements.values():
            assert statement.split(")")[0].split("(")[1].split(", ") == [column.name for column in table.columns]
            assert all(f"{table.c[name].name} = " in statement for name in SUMMED)
