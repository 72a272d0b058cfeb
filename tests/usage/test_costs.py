"""Reports over the sums: filters, groups, and numbers that do not fit a machine's."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import combinations, permutations

import pytest
import sqlalchemy as sa

from rini.errors import InvalidRequestError
from rini.usage import costs as costs_module
from rini.usage.costs import costs, days_with_calls
from rini.usage.filters import Filter
from rini.usage.tables import usage_records
from tests.usage.conftest import NOON

FIELDS = ("day", "model", "session_id", "provider", "key_id")
DAYS = [NOON, NOON + timedelta(days=1), NOON + timedelta(days=20)]
S1, S2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def booked(book):
    """Forty calls, no two alike in everything, and their records."""
    rows = [
        {
            "created_at": DAYS[number % 3],
            "model": ("gpt-4o", "gpt-5", "own")[number % 4 % 3],
            "provider": ("openai", "openai_compatible")[number % 5 == 0],
            "session_id": (None, S1, S2, S1)[number % 7 % 4],
            "key_id": (None, 1, 2)[number % 8 % 3],
            "input_tokens": 1000 + number,
            "output_tokens": number,
            "cost_usd": None if number % 6 == 0 else Decimal(number).scaleb(-9),
            "usage_estimated": number % 9 == 0,
        }
        for number in range(40)
    ]
    return book(*rows)


def added(records):
    """Add up records the simple way."""
    return (
        len(records),
        sum(record.input_tokens for record in records),
        sum(record.output_tokens for record in records),
        sum((record.cost_usd or Decimal(0) for record in records), Decimal(0)),
        sum(record.cost_usd is None for record in records),
        sum(record.usage_estimated for record in records),
    )


def shown(sums):
    return (
        sums.calls,
        sums.input_tokens,
        sums.output_tokens,
        sums.cost_usd,
        sums.unpriced_calls,
        sums.estimated_calls,
    )


def key_of(record, fields):
    values = {
        "day": record.created_at.date(),
        "model": record.model,
        "session_id": record.session_id,
        "provider": record.provider,
        "key_id": record.key_id,
    }
    return tuple(values[name] for name in fields)


FILTERS = {
    "start": DAYS[1].date(),
    "end": DAYS[1].date(),
    "session_id": S1,
    "provider": "openai",
    "model": "gpt-5",
    "key_id": 1,
}


def fits(record, chosen):
    day = record.created_at.date()
    return (chosen.start is None or day >= chosen.start) and (chosen.end is None or day <= chosen.end) and all(
        getattr(chosen, name) in (None, getattr(record, name)) for name in ("session_id", "provider", "model", "key_id")
    )  # fmt: skip


def test_every_combination_of_filters(database, user_id, booked):
    matched = set()
    for size in range(len(FILTERS) + 1):
        for names in combinations(FILTERS, size):
            chosen = Filter(**{name: FILTERS[name] for name in names})
            fitting = [record for record in booked if fits(record, chosen)]
            matched.add(len(fitting))
            found = database.read_sync(costs, user_id, chosen)
            assert shown(found.total) == added(fitting), names
            assert {model: sums.calls for model, sums in found.models.items()} == {
                model: sum(record.model == model for record in fitting) for model in {r.model for r in fitting}
            }
            days = database.read_sync(days_with_calls, user_id, chosen)
            assert sum(calls for _, calls in days) == len(fitting)
            assert [day for day, _ in days] == sorted({record.created_at.date() for record in fitting}, reverse=True)
    assert len(matched) > 10


def test_every_combination_of_groups(database, user_id, booked):
    for size in range(1, len(FIELDS) + 1):
        for fields in permutations(FIELDS, size) if size < 3 else combinations(FIELDS, size):
            for chosen in (Filter(), Filter(session_id=S1, start=DAYS[1].date()), Filter(model="own")):
                groups = {}
                for record in booked:
                    if fits(record, chosen):
                        groups.setdefault(key_of(record, fields), []).append(record)
                found = database.read_sync(costs, user_id, chosen, fields)
                assert {key: shown(sums) for key, sums in found.groups.items()} == {
                    key: added(records) for key, records in groups.items()
                }, fields


def test_groups_and_models_are_in_order(database, user_id, book):
    book(*[
        {"model": model, "session_id": session, "key_id": key, "created_at": day}
        for model, day, session, key in (
            ("c", DAYS[0], S2, 1), ("a", DAYS[2], None, None), ("b", DAYS[1], S1, 3), ("B", DAYS[0], S2, 2), ("한", DAYS[2], S1, 10)
        )
    ])  # fmt: skip
    found = database.read_sync(costs, user_id, Filter(), ("day",))
    for fields in ((), ("session_id",)):
        found_models = database.read_sync(costs, user_id, Filter(), fields).models
        assert [*found_models] == ["B", "a", "b", "c", "한"]
    days = [day.date() for day in DAYS]
    assert [*found.groups] == [(day,) for day in days]
    for fields, wanted in {
        ("session_id", "day"): [(S1, days[1]), (S1, days[2]), (S2, days[0]), (None, days[2])],
        ("key_id",): [(1,), (2,), (3,), (10,), (None,)],
        ("day", "model"): [(days[0], "B"), (days[0], "c"), (days[1], "b"), (days[2], "a"), (days[2], "한")],
    }.items():
        assert [*database.read_sync(costs, user_id, Filter(), fields).groups] == wanted


def test_another_users_calls_are_not_seen(database, user_id, booked):
    other = Filter(session_id=S1)
    for chosen in (Filter(), other):
        assert database.read_sync(costs, user_id + 1_000_000, chosen, ("session_id",)).total.calls == 0


def test_calls_all_in_sessions_leave_no_group_without_one(database, user_id, book):
    book({"session_id": S1}, {"session_id": S2})
    assert [*database.read_sync(costs, user_id, Filter(), ("session_id",)).groups] == [(S1,), (S2,)]


def test_sums_larger_than_64_bits_are_exact(database, user_id, book):
    for day in range(30):
        book(
            *[{"cost_usd": Decimal("999999.999999999999"), "created_at": NOON + timedelta(days=day)}] * 9,
        )
    assert database.read_sync(costs, user_id, Filter()).models["gpt-4o"].cost_usd == 270 * Decimal(
        "999999.999999999999"
    )
    found = database.read_sync(costs, user_id, Filter(), ("day",))
    assert found.total.cost_usd == 270 * Decimal("999999.999999999999")
    assert {sums.cost_usd for sums in found.groups.values()} == {9 * Decimal("999999.999999999999")}


def test_reports_of_too_many_sums_are_refused(database, user_id, booked, monkeypatch):
    monkeypatch.setattr(costs_module, "MOST_SUMS", 6)
    assert database.read_sync(costs, user_id, Filter(), ("provider",)).total.calls == 40
    with pytest.raises(InvalidRequestError, match="more than 6 sums; choose fewer days"):
        database.read_sync(costs, user_id, Filter(), ("day", "key_id"))


def test_a_report_reads_no_rows(database, user_id, booked):
    """The rows are gone, the report is the same: its cost cannot grow with them."""
    before = database.read_sync(costs, user_id, Filter(), ("session_id", "day"))
    database.write_sync(
        lambda connection: connection.execute(usage_records.delete().where(usage_records.c.user_id == user_id))
    )
    assert database.read_sync(costs, user_id, Filter(), ("session_id", "day")) == before


def test_a_month_is_found_by_an_index(database, user_id):
    if not database.is_sqlite:
        pytest.skip("Postgres decides by the table's size")
    for chosen, index in (
        (
            Filter(date(2026, 11, 1), date(2026, 11, 30)),
            "sqlite_autoindex_usage_days_1 (user_id=? AND day>? AND day<?)",
        ),
        (Filter(session_id=S1), "ix_usage_session_days_session_id (session_id=?)"),
    ):
        statements = []
        with database._read_engine.connect() as connection:
            sa.event.listen(connection, "before_cursor_execute", lambda *given: statements.append(given[2:4]))  # noqa: B023
            costs(connection, user_id, chosen)
            text, parameters = statements[-1]
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters).all()
        assert index in " ".join(step.detail for step in plan)
