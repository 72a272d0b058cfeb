"""Units of work, and the connections over which they run."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, make_url

from rini.db import Database

things = sa.Table("things", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))


@pytest.fixture
def postgres(new_postgres_url: Callable[[], str]) -> Iterator[Database]:
    url = make_url(new_postgres_url()).set(drivername="postgresql+psycopg")
    database = Database(url.render_as_string(hide_password=False))
    database.write_sync(things.metadata.create_all)
    yield database
    database.close()


def add(connection: Connection, number: int) -> None:
    connection.execute(things.insert(), {"id": number})


def stored(connection: Connection) -> list[int]:
    return list(connection.execute(sa.select(things.c.id).order_by(things.c.id)).scalars())


def backend(connection: Connection) -> int:
    return connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()


def test_one_after_the_other_all_units_run_over_one_connection(postgres: Database):
    assert len({postgres.write_sync(backend) for _ in range(8)}) == 1


def test_a_unit_that_fails_leaves_nothing_to_the_next_one(postgres: Database):
    def fails(connection: Connection) -> None:
        add(connection, 1)
        add(connection, 1)

    with pytest.raises(exc.IntegrityError):
        postgres.write_sync(fails)
    postgres.write_sync(add, 2)
    assert postgres.read_sync(stored) == [2]


def test_connections_that_the_database_closed_are_opened_anew(postgres: Database):
    def slow(connection: Connection) -> int:
        connection.execute(sa.text("SELECT pg_sleep(0.2)"))
        return backend(connection)

    with ThreadPoolExecutor(4) as threads:
        before = set(threads.map(lambda _: postgres.write_sync(slow), range(4)))
    assert len(before) > 1
    closing = sa.text(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    other = sa.create_engine(postgres.url, poolclass=sa.pool.NullPool)
    with other.connect() as connection:
        assert set(connection.execute(closing).scalars()) == {True}
    for number in range(4):
        postgres.write_sync(add, number)
    assert postgres.read_sync(stored) == [0, 1, 2, 3]
    assert postgres.write_sync(backend) not in before
