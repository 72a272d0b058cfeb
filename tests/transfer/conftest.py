"""A migrated database of each kind, a user, and functions that import and export without a server."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import migrate
from rini.files.store import Files
from rini.transfer import export
from rini.transfer.imports import Imports
from rini.transfer.schemas import Imported
from tests.conftest import DATABASES

MOST_BYTES = 4 * 1024 * 1024
LARGEST_FILE = 1024 * 1024


@dataclass
class House:
    """What an import needs, and a user who imports."""

    database: Database
    files: Files
    folder: Path
    user_id: int

    @property
    def imports(self) -> Imports:
        return Imports(self.database, self.files, self.folder, MOST_BYTES, LARGEST_FILE)

    def take(self, data: bytes, wanted: Any = None) -> Imported:
        """Import a file."""

        async def body() -> AsyncIterator[bytes]:
            stream = io.BytesIO(data)
            while piece := stream.read(50_000):
                yield piece

        async def run() -> Imported:
            return await self.imports.take(self.user_id, body(), wanted)

        return asyncio.run(run())

    def export(self, session_id: str) -> bytes:
        """Export a session."""
        return export.header() + b"".join(
            export.one_session(self.database, self.files, self.user_id, session_id)
        )  # fmt: skip

    def rows(self, query: str, **values: Any) -> list[Any]:
        """Return the rows of a query."""

        def unit(connection: Connection) -> list[Any]:
            return list(connection.execute(sa.text(query), values).all())

        return self.database.read_sync(unit)

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return self.rows(f"SELECT count(*) FROM {table}")[0][0]


@pytest.fixture(scope="session")
def new_house(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], House]]:
    """Return a function that opens a database of a kind."""
    opened: list[House] = []

    def make(kind: str) -> House:
        folder = tmp_path_factory.mktemp("house")
        url = f"sqlite:///{folder / 'rini.db'}"
        if kind == "postgres":
            url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
        migrate(url)
        database = Database(url)
        house = House(
            database, Files(database, folder / "files"), folder / "imports", database.write_sync(users.create)
        )
        opened.append(house)
        return house

    yield make
    for house in opened:
        house.files.close()
        house.database.close()


@pytest.fixture(scope="session", params=DATABASES)
def house(request: pytest.FixtureRequest, new_house: Callable[[str], House]) -> House:
    """One for all tests, on both databases."""
    return new_house(request.param)


@pytest.fixture(scope="module")
def one_house(new_house: Callable[[str], House]) -> House:
    """One for all tests of a file, on SQLite."""
    return new_house("sqlite")


@pytest.fixture
def own_house(new_house: Callable[[str], House]) -> House:
    """One of the test's own, on SQLite."""
    return new_house("sqlite")
