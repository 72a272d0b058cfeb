"""Bringing the database to this version's tables, once, however many processes start."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc, pool
from sqlalchemy.engine import Connection, make_url

HEAD = "0001"
"""The newest revision. A test holds it to what is in versions/."""

ADVISORY_LOCK = 7_236_018_944_102
MIGRATIONS = Path(__file__).parent / "migrations"


class MigrationError(Exception):
    """The database cannot be brought to this version; the server must not start on it."""


def migrate(url: str) -> bool:
    """Bring the database at ``url`` to HEAD and tell whether anything was done. Raises MigrationError.

    Processes that start at once wait for one another: by a lock on a file beside an SQLite database, by an advisory lock
    in Postgres. A database that is up to date costs one query and does not import Alembic.
    """
    parsed = make_url(url)
    engine = sa.create_engine(parsed, poolclass=pool.NullPool)
    try:
        if parsed.get_backend_name() == "sqlite":
            path = Path(parsed.database or "")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _file_lock(path.with_name(path.name + ".migrate")), engine.connect() as connection:
                return _migrate(connection)
        with engine.connect() as connection, _advisory_lock(connection):
            return _migrate(connection)
    except exc.DBAPIError as error:
        reason = str(error.orig).strip().splitlines()
        raise MigrationError(f"The database cannot be opened or migrated: {reason[0] if reason else error}.") from error
    finally:
        engine.dispose()


def current_revision(connection: Connection) -> str | None:
    """Return the database's revision; ``None`` where it has no tables yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> bool:
    found = current_revision(connection)
    connection.rollback()
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
    connection.commit()
    return True


@contextmanager
def _file_lock(path: Path) -> Generator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _advisory_lock(connection: Connection) -> Generator[None]:
    # A lock of the session, not of the transaction: the migration commits in between.
    connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()
