"""Statements that run past SQLAlchemy's execution return and raise what they would within it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import make_url

from rini.db import Database, Prepared, UtcDateTime, among

things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("good", sa.Boolean, nullable=True),
    sa.Column("seen_at", UtcDateTime(), nullable=True),
)
MOMENT = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
insert = Prepared(things.insert().returning(things))
by_name = Prepared(sa.select(things.c.id, things.c.seen_at).where(things.c.name == sa.bindparam("name")))
first_named = Prepared(sa.select(things.c.id).where(things.c.name == "100%").order_by(things.c.id).limit(1))
some = Prepared(sa.select(things.c.id, things.c.seen_at).where(among(things.c.id, "ids")).order_by(things.c.id))
rename = Prepared(things.update().where(things.c.id == sa.bindparam("this")))


@pytest.fixture(params=("sqlite", "postgres"))
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    new = request.getfixturevalue("new_postgres_url") if request.param == "postgres" else None
    url = make_url(new()).set(drivername="postgresql+psycopg") if new else make_url(f"sqlite:///{tmp_path}/things.db")
    database = Database(url.render_as_string(hide_password=False))
    database.write_sync(things.metadata.create_all)
    yield database
    database.close()


def test_rows_are_those_of_sqlalchemy(database):
    at = MOMENT.astimezone(timezone(timedelta(hours=9)))
    row = database.write_sync(insert.one, {"id": 1, "name": "a", "good": True, "seen_at": at})
    assert (row.id, row.name, row.good, row.seen_at) == (1, "a", True, MOMENT)
    assert row == database.read_sync(lambda connection: connection.execute(sa.select(things)).one())
    assert database.read_sync(by_name.first, {"name": "a"}).seen_at == MOMENT
    assert database.read_sync(by_name.first, {"name": "b"}) is None
    assert database.read_sync(by_name.rows, {"name": "b"}) == []


def test_values_in_the_statement_go_with_it(database):
    database.write_sync(insert.one, {"id": 1, "name": "100%"})
    database.write_sync(insert.one, {"id": 2, "name": "100%"})
    assert [row.id for row in database.read_sync(first_named.rows, {})] == [1]


def test_what_is_set_may_differ_from_call_to_call(database):
    database.write_sync(insert.one, {"id": 1, "name": "a", "good": True})
    assert database.write_sync(rename.run, {"this": 1, "name": "b"}) == 1
    assert database.write_sync(rename.run, {"this": 1, "good": False, "seen_at": MOMENT}) == 1
    assert database.write_sync(rename.run, {"this": 2, "name": "c"}) == 0
    row = database.read_sync(lambda connection: connection.execute(sa.select(things)).one())
    assert tuple(row) == (1, "b", False, MOMENT)


def test_what_the_database_refuses_is_sqlalchemys_error(database):
    database.write_sync(insert.one, {"id": 1, "name": "a"})
    with pytest.raises(exc.IntegrityError):
        database.write_sync(insert.one, {"id": 1, "name": "b"})
    assert database.read_sync(by_name.first, {"name": "a"}).id == 1


def test_a_time_without_a_zone_is_refused(database):
    with pytest.raises(ValueError, match="zone"):
        database.write_sync(insert.one, {"id": 1, "name": "a", "seen_at": MOMENT.replace(tzinfo=None)})


def test_of_many_rows_no_more_than_are_wanted_are_read(database):
    database.write_sync(insert.run_many, [{"id": number, "name": "a", "seen_at": MOMENT} for number in range(5)])
    found = database.read_sync(lambda connection: next(by_name.tuples(connection, {"name": "a"})))
    assert found == (0, MOMENT)
    every = database.read_sync(lambda connection: list(by_name.tuples(connection, {"name": "a"})))
    assert every == [(number, MOMENT) for number in range(5)]


def test_a_thousand_ids_are_one_parameter(database):
    database.write_sync(insert.run_many, [{"id": number, "name": "a"} for number in range(1, 4)])
    for wanted in ([], [2], [3, 1, 3], list(range(2, 1000))):
        rows = database.read_sync(some.rows, {"ids": wanted})
        assert [row.id for row in rows] == sorted({1, 2, 3} & {*wanted}), wanted
