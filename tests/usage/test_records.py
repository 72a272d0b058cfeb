"""The ledger's rows, in pages and as CSV."""

import asyncio
import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from rini.errors import NotFoundError, StorageUnavailableError
from rini.usage import records as records_module
from rini.usage.costs import days_with_calls
from rini.usage.filters import Filter
from rini.usage.records import SHOWN, as_csv, page, plain
from tests.usage.conftest import NOON

S1 = "11111111-1111-4111-8111-111111111111"
ALL = Filter()


@pytest.fixture
def booked(book):
    """Twenty-four rows on four days, booked out of order and some at the same moment; newest first."""
    rows = [
        {
            "created_at": NOON - timedelta(days=(0, 1, 10, 30)[number % 4], minutes=number // 8),
            "model": ("gpt-4o", "own")[number % 5 == 0],
            "session_id": S1 if number in (7, 18) else None,
            "provider": ("openai", "google")[number % 3 == 0],
            "key_id": number % 2 or None,
        }
        for number in range(24)
    ]
    records = book(*rows)
    place = {record.call_id: number for number, record in enumerate(records)}
    return sorted(records, key=lambda record: (record.created_at, place[record.call_id]), reverse=True)


def ids(rows):
    return [row.call_id for row in rows]


FILTERS = [
    (Filter(), lambda _: True),
    (Filter(model="own"), lambda record: record.model == "own"),
    (Filter(session_id=S1), lambda record: record.session_id == S1),
    (Filter(key_id=1, provider="openai"), lambda record: record.key_id == 1 and record.provider == "openai"),
    (Filter(start=date(2026, 10, 20), end=date(2026, 11, 9)), lambda r: date(2026, 10, 20) <= r.created_at.date() < NOON.date()),
    (Filter(model="nothing"), lambda _: False),
]  # fmt: skip


@pytest.mark.parametrize(("chosen", "fits"), FILTERS, ids=["all", "model", "session", "key", "days", "none"])
def test_pages_are_pieces_of_one_list(database, user_id, booked, chosen, fits):
    wanted = ids(filter(fits, booked))
    for limit in (1, 2, 5, 7, 1000):
        skipped, walked, before = [], [], None
        for skip in range(0, len(wanted) + limit, limit):
            rows, total = database.read_sync(page, user_id, chosen, skip, limit)
            assert total == len(wanted)
            skipped += ids(rows)
        while True:
            rows, total = database.read_sync(page, user_id, chosen, 0, limit, before)
            assert total == len(wanted)
            walked += ids(rows)
            if len(rows) < limit:
                break
            before = rows[-1].id
        assert skipped == walked == wanted


def test_a_row_that_comes_meanwhile_moves_no_later_page(database, user_id, booked, book):
    first, _ = database.read_sync(page, user_id, Filter(), 0, 5)
    book({"created_at": NOON + timedelta(days=1)})
    second, total = database.read_sync(page, user_id, Filter(), 0, 5, first[-1].id)
    assert ids(first + second) == ids(booked)[:10]
    assert total == 25


def test_a_cursor_need_not_fit_the_filters(database, user_id, booked):
    rows, _ = database.read_sync(page, user_id, Filter(), 0, 1000)
    after = [row for row in rows[10:] if row.model == "own"]
    found, _ = database.read_sync(page, user_id, Filter(model="own"), 0, 1000, rows[9].id)
    assert ids(found) == ids(after)


def test_another_users_cursor_does_not_exist(database, user_id, booked):
    rows, _ = database.read_sync(page, user_id, Filter(), 0, 1)
    with pytest.raises(NotFoundError):
        database.read_sync(page, user_id + 1_000_000, Filter(), 0, 1, rows[0].id)


def export(database, user_id, chosen=ALL):
    async def read():
        days = await database.read(days_with_calls, user_id, chosen)
        return [piece async for piece in as_csv(database, user_id, chosen, days)]

    return asyncio.run(read())


def parsed(pieces):
    return [*csv.reader(io.StringIO(b"".join(pieces).decode(), newline=""))]


@pytest.mark.parametrize("at_once", [1, 2, 3, 6, 1000])
def test_csv_has_every_row_once_in_the_lists_order(database, user_id, booked, monkeypatch, at_once):
    monkeypatch.setattr(records_module, "EXPORTED_AT_ONCE", at_once)
    for chosen, fits in FILTERS:
        names, *rows = parsed(export(database, user_id, chosen))
        assert names == [*SHOWN]
        assert [row[1] for row in rows] == ids(filter(fits, booked))


def test_csv_comes_in_pieces_of_a_bounded_size(database, user_id, book):
    book(*[{"created_at": NOON - timedelta(seconds=number)} for number in range(2500)])
    pieces = export(database, user_id)
    assert [piece.count(b"\r\n") for piece in pieces] == [1, 1000, 1000, 500]


def test_csv_tells_what_the_list_tells(database, user_id, book):
    book(
        {
            "created_at": datetime(2026, 11, 10, 1, 2, 3, 4, tzinfo=UTC),
            "cost_usd": Decimal("0.000000000001"),
            "stream": True,
            "request_id": "r-1",
            "first_token_ms": 12,
            "input_tokens": None,
            "model": '한"국\r\n,어',
        }
    )
    names, row = parsed(export(database, user_id))
    found = dict(zip(names, row, strict=True))
    assert found["created_at"] == "2026-11-10T01:02:03.000004Z"
    assert found["cost_usd"] == "0.000000000001"
    assert (found["stream"], found["usage_estimated"]) == ("true", "false")
    assert (found["request_id"], found["first_token_ms"]) == ("r-1", "12")
    assert (found["prompt_tokens"], found["session_id"]) == ("", "")
    assert found["model"] == '한"국\r\n,어'


@pytest.mark.parametrize("begin", "=+-@\t\r\n＝＋－＠")
def test_no_cell_is_a_formula(database, user_id, book, begin):
    book({"model": f"{begin}HYPERLINK(1)", "request_id": "-1+1"})
    names, row = parsed(export(database, user_id))
    found = dict(zip(names, row, strict=True))
    assert found["model"] == f"'{begin}HYPERLINK(1)"
    assert found["request_id"] == "'-1+1"


def test_a_database_that_fails_on_the_way_ends_the_export(database, user_id, booked):
    class Failing:
        reads = 0

        async def read(self, *given):
            self.reads += 1
            if self.reads == 3:
                raise StorageUnavailableError("away")
            return await database.read(*given)

    async def read():
        days = await database.read(days_with_calls, user_id, Filter())
        pieces = as_csv(Failing(), user_id, Filter(), days)
        for _ in range(3):
            await anext(pieces)
        with pytest.raises(StorageUnavailableError):
            await anext(pieces)

    asyncio.run(read())


@pytest.mark.parametrize(
    ("usd", "text"),
    [("0E-12", "0"), ("10", "10"), ("1E+3", "1000"), ("1E-12", "0.000000000001"), ("12.500", "12.5"), ("100.0", "100")],
)
def test_amounts_are_written_in_full(usd, text):
    assert plain(Decimal(usd)) == text
