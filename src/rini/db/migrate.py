"""Bringing the database to this version's tables, once, however many processes start."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc, pool
from sqlalchemy.engine import URL, Connection, make_url

HEAD = "0005"
"""The newest revision. A test holds it to what is in versions/."""

ADVISORY_LOCK = 7_236_018_944_102
CONNECT_SECONDS = 10
BUSY_SECONDS = 15
MIGRATIONS = Path(__file__).parent / "migrations"


class MigrationError(Exception):
    """The database cannot be brought to this version; the server must not start on it."""


def migrate(url: str) -> bool:
    """Bring the database at ``url`` to HEAD and tell whether anything was done. Raises MigrationError.

    All of it is one transaction: a migration that fails leaves the database as it was. A database that is up to date costs one
    query and does not import Alembic.
    """
    with alone(url) as connection:
        found = current_revision(connection)
        if found == HEAD:
            return False
        # Alembic takes 0.2 s to import, which a start on a current database need not spend.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415
        from alembic.script import ScriptDirectory  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise MigrationError(
                f"The database is at revision {found}, which this version of Rini does not know: "
                f"it was made by a newer one. Install that version, or restore a backup."
            )
        command.upgrade(config, "head")
    return True


@contextmanager
def alone(url: str) -> Generator[Connection]:
    """Open the database in a transaction that nobody else can migrate beside. Raises MigrationError, also for what fails within.

    Processes that start at once wait for one another: by a lock on a file beside an SQLite database, by an advisory lock
    in Postgres.
    """
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        raise MigrationError("RINI_DATABASE_URL is not a database's URL.") from None
    try:
        opened = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgres(parsed)
        with opened as connection:
            yield connection
    except exc.DBAPIError as error:
        reason = str(error.orig).strip().splitlines()
        raise MigrationError(f"{_named(parsed)} cannot be opened or migrated: {(reason or [''])[0]}.") from error
    except OSError as error:
        raise MigrationError(f"{_named(parsed)} cannot be opened: {error.strerror}.") from error
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise MigrationError("Postgres needs another package: run `pip install 'rini[postgres]'`.") from error


def current_revision(connection: Connection) -> str | None:
    """Return the database's revision; ``None`` where it has no tables yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _named(url: URL) -> str:
    """Name the database, without its password."""
    return f"The database {url.database if url.get_backend_name() == 'sqlite' else url.render_as_string()}"


@contextmanager
def _sqlite(url: URL) -> Generator[Connection]:
    path = Path(url.database or "")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_name(path.name + ".migrate").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # SQLite itself would wait for BUSY_SECONDS, and a migration may take longer
        path.touch(mode=0o600)  # prompts are nobody else's, also where the data folder was there before and is open
        with _connected(url, {"timeout": BUSY_SECONDS}) as connection, connection.begin():
            # By itself sqlite3 begins a transaction before data are changed, but not before tables are. At once to write:
            # a server may run meanwhile, and who begins as a reader cannot wait for its turn.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection


@contextmanager
def _postgres(url: URL) -> Generator[Connection]:
    with _connected(url, {"connect_timeout": CONNECT_SECONDS}) as connection, connection.begin():
        # It ends with the transaction, whatever becomes of it.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        yield connection


@contextmanager
def _connected(url: URL, connect_args: dict[str, Any]) -> Generator[Connection]:
    engine = sa.create_engine(url, poolclass=pool.NullPool, connect_args=connect_args)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
