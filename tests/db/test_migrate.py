"""Migrations, on both databases: what they make, what they refuse, and many processes at once."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import rini.api.idempotency.tables
import rini.app  # every feature's tables
import rini.files.tables
import rini.memory.tables
import rini.models.tables
import rini.responses.tables
import rini.tools.tables
import rini.turns.tables
from rini.db import metadata
from rini.db.migrate import HEAD, MIGRATIONS, MigrationError, alone, migrate
from tests.conftest import DATABASES
from tests.support.server import clean_environment

assert rini.app


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/folder/rini.db"
    return request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def engine(url: str, tmp_path: Path) -> Iterator[sa.Engine]:
    (tmp_path / "folder").mkdir(exist_ok=True)
    made = sa.create_engine(url, poolclass=sa.pool.NullPool)
    yield made
    made.dispose()


def tables(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    return made


def test_head_is_the_newest_migration():
    assert ScriptDirectory.from_config(config()).get_current_head() == HEAD


def test_migrations_make_the_declared_tables(url: str, engine: sa.Engine):
    assert migrate(url)
    assert not migrate(url)
    with engine.connect() as connection:
        # The full-text index is no table of the metadata.
        compared = {
            "include_name": lambda name, kind, _parents: kind != "table" or not name.startswith("message_words")
        }
        options = {"compare_type": True, "compare_server_default": True} | compared
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    found = sa.inspect(engine)
    for table in metadata.sorted_tables:
        # What a later migration refers to by name. SQLite's AUTOINCREMENT has no place for one.
        assert found.get_pk_constraint(table.name)["name"] in (table.primary_key.name, None)
        declared = {constraint.name for constraint in table.foreign_key_constraints}
        assert {key["name"] for key in found.get_foreign_keys(table.name)} == declared


def test_migrations_go_back_too(url: str, engine: sa.Engine):
    migrate(url)
    with alone(url) as connection:
        back = config()
        back.attributes["connection"] = connection
        command.downgrade(back, "base")
    assert tables(engine) == {"alembic_version"}
    assert migrate(url)
    assert "messages" in tables(engine)


def test_a_failed_migration_leaves_the_database_as_it_was(url: str, engine: sa.Engine):
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE sessions (mine INTEGER)"))
    for _ in range(2):
        with pytest.raises(MigrationError, match=r"cannot be opened or migrated: .*sessions.* already exists"):
            migrate(url)
        assert tables(engine) == {"sessions"}
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE sessions"))
    assert migrate(url)


def test_a_newer_database_is_refused_and_left_alone(url: str, engine: sa.Engine):
    migrate(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(MigrationError, match="revision 9999, which this version of Rini does not know"):
        migrate(url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == "9999"


EIGHT = """
import os, sys
from rini.db import migrate

migrate.BUSY_SECONDS = 0  # as if the migration took longer than SQLite waits by itself
go, end = os.pipe()
children = []
for _ in range(8):
    child = os.fork()
    if child:
        children.append(child)
        continue
    status = 2
    try:
        os.close(end)
        os.read(go, 1)
        status = int(migrate.migrate(sys.argv[1]))
    finally:
        os._exit(status)
os.close(end)
print(*sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_of_eight_processes_at_once_one_migrates(url: str, engine: sa.Engine):
    command = [sys.executable, "-c", EIGHT, url]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0 0 0 0 0 0 0 1\n", done.stderr
    assert "usage_records" in tables(engine)


def test_a_migration_waits_for_a_writer(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/rini.db"
    engine = sa.create_engine(url, connect_args={"check_same_thread": False})
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.exec_driver_sql("CREATE TABLE other (id INTEGER)")
        migrating = threading.Thread(target=migrate, args=(url,))
        migrating.start()
        migrating.join(0.5)
        assert migrating.is_alive()
        connection.commit()
    migrating.join(20)
    assert {"other", "messages"} <= tables(engine)
    engine.dispose()


def test_postgres_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MigrationError, match=r"pip install 'rini\[postgres\]'"):
        migrate("postgresql+psycopg://somebody@127.0.0.1:1/x")


def test_a_password_is_not_told(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(MigrationError) as caught:
        migrate("postgresql+psycopg://somebody:very-secret@127.0.0.1:1/x")
    assert "127.0.0.1" in str(caught.value)
    assert "very-secret" not in str(caught.value)
