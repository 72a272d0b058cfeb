"""Units of work when something breaks beside, below or within them."""

import asyncio
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url

from rini.db import Database
from rini.errors import InvalidRequestError, RiniError, StorageUnavailableError


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'units.db'}"
    return _psycopg(request.getfixturevalue("new_postgres_url")())


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    database.write_sync(_make)
    yield database
    database.close()


def _psycopg(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def _make(connection: Connection) -> None:
    connection.execute(sa.text("create table things (id integer primary key)"))


def _add(connection: Connection, number: int) -> int:
    connection.execute(sa.text("insert into things values (:n)"), {"n": number})
    return number


def _all(connection: Connection) -> list[int]:
    return list(connection.execute(sa.text("select id from things order by id")).scalars())


class _PanicError(BaseException):
    """What a library written in Rust raises: it is no Exception."""


def _panic(_connection: Connection) -> None:
    raise _PanicError


def _refuse(connection: Connection, number: int) -> None:
    _add(connection, number)
    raise InvalidRequestError("no")


def _abort(connection: Connection) -> None:
    connection.execute(sa.text("insert into nowhere values (1)"))


def _hold(_connection: Connection, until: threading.Event) -> None:
    until.wait(10)


def test_a_unit_of_a_group_that_fails_is_alone(database: Database):
    async def main() -> list[Any]:
        free = threading.Event()
        held = [asyncio.create_task(database.write(_hold, free)) for _ in range(4)]
        await asyncio.sleep(0.1)
        group = [database.write(_add, 1), database.write(_refuse, 2), database.write(_abort), database.write(_panic)]
        waiting = asyncio.gather(*group, database.write(_add, 1), database.write(_add, 3), return_exceptions=True)
        await asyncio.sleep(0.05)
        free.set()
        await asyncio.gather(*held)
        return await asyncio.wait_for(waiting, 10)

    first, refused, aborted, panicked, twice, third = asyncio.run(main())
    # Of the two that add the same, several writers may take the second first.
    assert sorted([type(first), type(twice)], key=str) == sorted([int, type(twice if first == 1 else first)], key=str)
    assert isinstance(refused, InvalidRequestError)
    assert isinstance(aborted, sa.exc.DBAPIError | RiniError)
    assert isinstance(panicked, _PanicError)
    assert third == 3
    assert database.read_sync(_all) == [1, 3]


def test_no_writer_dies_of_a_unit(database: Database):
    for _ in range(8):
        with pytest.raises(_PanicError):
            database.write_sync(_panic)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(database.write_sync, _add, 1).result(5) == 1


def test_a_loop_that_is_closed_does_not_stop_the_writer(database: Database):
    free = threading.Event()

    async def leave() -> None:
        asyncio.create_task(database.write(_hold, free))  # noqa: RUF006  # abandoned on purpose
        await asyncio.sleep(0.05)

    asyncio.run(leave())
    free.set()
    assert database.write_sync(_add, 1) == 1


def test_close_does_what_waits_and_refuses_what_comes_later(url: str):
    database = Database(url)
    database.write_sync(_make)
    free = threading.Event()
    with ThreadPoolExecutor(60) as pool:
        held = [pool.submit(database.write_sync, _hold, free) for _ in range(4)]
        waiting = [pool.submit(database.write_sync, _add, n) for n in range(20)]
        threading.Timer(0.1, free.set).start()
        database_closed = pool.submit(database.close)
        late = [pool.submit(database.write_sync, _add, 100 + n) for n in range(20)]
        database_closed.result(10)
        done = [future.result(5) for future in held + waiting]
        assert len(done) == 24
        for future in late:
            assert future.exception(5) is None or isinstance(future.exception(5), StorageUnavailableError)


class _LostCommits:
    """A proxy before Postgres that passes a COMMIT on and then, once it was answered, breaks the connection."""

    def __init__(self, url: str) -> None:
        self._to = make_url(url)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.armed = threading.Event()
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        port = self._socket.getsockname()[1]
        changed = self._to.set(host="127.0.0.1", port=port, query={"sslmode": "disable", "gssencmode": "disable"})
        return changed.render_as_string(hide_password=False)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, _connect(self._to) as server:
            while True:
                for readable in select.select([client, server], [], [])[0]:
                    data = readable.recv(65536)
                    if not data:
                        return
                    (server if readable is client else client).sendall(data)
                    if readable is client and b"COMMIT" in data and self.armed.is_set():
                        self.lost += 1
                        server.recv(65536)
                        return

    def close(self) -> None:
        self._socket.close()


def _connect(url: sa.URL) -> socket.socket:
    folder = url.query.get("host")
    if isinstance(folder, str):
        found = socket.socket(socket.AF_UNIX)
        found.connect(f"{folder}/.s.PGSQL.{url.port or url.query.get('port') or 5432}")
        return found
    return socket.create_connection((url.host or "127.0.0.1", url.port or 5432))


@pytest.mark.parametrize("together", [1, 5])
def test_a_commit_whose_answer_is_lost_is_not_repeated(new_postgres_url: Callable[[], str], together: int):
    def unnumbered(connection: Connection) -> None:
        connection.execute(sa.text("insert into rows_ (text_) values ('x')"))

    def make(connection: Connection) -> None:
        connection.execute(sa.text("create table rows_ (id serial primary key, text_ text)"))

    def count(connection: Connection) -> int:
        return connection.execute(sa.text("select count(*) from rows_")).scalar_one()

    proxy = _LostCommits(_psycopg(new_postgres_url()))
    database = Database(proxy.url)
    database.write_sync(make)

    async def main() -> list[Any]:
        free = threading.Event()
        held = [asyncio.create_task(database.read(lambda _: None))]
        proxy.armed.set()
        writing = [database.write(unnumbered) for _ in range(together)]
        free.set()
        await asyncio.gather(*held)
        return await asyncio.gather(*writing, return_exceptions=True)

    results = asyncio.run(main())
    proxy.armed.clear()
    assert proxy.lost
    assert all(isinstance(each, StorageUnavailableError) for each in results)
    assert database.read_sync(count) == together
    # The next one works: broken connections are left behind.
    database.write_sync(unnumbered)
    assert database.read_sync(count) == together + 1
    database.close()
    proxy.close()
