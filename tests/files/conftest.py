"""A migrated database, and rows for it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import migrate
from rini.files.tables import stored_files
from rini.kit.clock import now
from rini.sessions import messages, repository


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """SQLite, unless the test asks for both (``on_both``)."""
    url = f"sqlite:///{tmp_path / 'rini.db'}"
    if getattr(request, "param", "sqlite") == "postgres":
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def user_id(database: Database) -> int:
    return database.write_sync(users.create)


@pytest.fixture
def message(database: Database) -> Callable[..., int]:
    """Return a function that stores a message in a new session, with a file or without, and returns its id."""

    def unit(connection: Connection, user_id: int, reference: str | None) -> int:
        session = repository.create(connection, user_id, None, None, "auto")
        return messages.add(
            connection,
            session_id=session.id,
            user_id=user_id,
            role="user",
            content="look",
            parent_message_id=None,
            file_reference=reference,
        ).id

    return lambda user_id, reference=None: database.write_sync(unit, user_id, reference)


@pytest.fixture
def age(database: Database) -> Callable[[str], None]:
    """Return a function that makes a stored file two hours older."""

    def unit(connection: Connection, reference: str) -> None:
        old = {"created_at": now() - timedelta(hours=2)}
        connection.execute(stored_files.update().where(stored_files.c.reference == reference).values(old))

    return lambda reference: database.write_sync(unit, reference)


@pytest.fixture
def rows(database: Database) -> Callable[[], set[str]]:
    """Return a function that tells the references of all stored files."""
    query = sa.select(stored_files.c.reference)
    return lambda: database.read_sync(lambda connection: set(connection.execute(query).scalars()))
