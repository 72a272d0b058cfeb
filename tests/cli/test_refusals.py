"""What an operator reads when the server cannot start: one line, no traceback, a status that is not 0."""

import socket
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from rini.accounts.keyring import make_master_key
from tests.cli.conftest import Run

GOOD_KEY = make_master_key()
GOOD_JWT = "j" * 40


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("Secrets were made"))
    assert line.startswith("rini: ")
    for word in words:
        assert word in line, line
    assert "listens" not in done.stdout


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["RINI_API_MASTER_KEY is missing", "JWT_SECRET_KEY is missing"]),
        ({"RINI_API_MASTER_KEY": GOOD_KEY}, ["JWT_SECRET_KEY is missing"]),
        ({"RINI_API_MASTER_KEY": GOOD_KEY, "JWT_SECRET_KEY": "short-and-secret"}, ["JWT_SECRET_KEY has 16 bytes"]),
        ({"RINI_API_MASTER_KEY": "c2hvcnQ=", "JWT_SECRET_KEY": GOOD_JWT}, ["RINI_API_MASTER_KEY is the base64 of 5"]),
        ({"RINI_API_MASTER_KEY": "~" * 44, "JWT_SECRET_KEY": GOOD_JWT}, ["RINI_API_MASTER_KEY is not base64"]),
        (
            {"RINI_API_MASTER_KEY": GOOD_KEY, "RINI_API_MASTER_KEYS_OLD": "b2xk", "JWT_SECRET_KEY": GOOD_JWT},
            ["RINI_API_MASTER_KEYS_OLD is the base64 of 3 bytes"],
        ),
    ],
)
def test_production_needs_good_secrets(rini: Run, tmp_path: Path, settings: dict[str, str], words: list[str]):
    done = rini("serve", RINI_ENV="production", **settings)
    assert_refused(done, *words, "`rini keygen`")
    for value in settings.values():
        assert value not in done.stderr
    assert not (tmp_path / "data" / "secrets.json").exists()


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (["--port", "70000"], {}, ["RINI_PORT", "65535"]),
        (["--port", "http"], {}, ["RINI_PORT", "integer"]),
        (["--workers", "0"], {}, ["RINI_WORKERS"]),
        ([], {"RINI_PORT": "http", "RINI_ENV": "staging"}, ["RINI_PORT", "RINI_ENV"]),
        ([], {"RINI_API_MASTER_KEY": "a-secret-value~~"}, ["RINI_API_MASTER_KEY is not base64"]),
        ([], {"RINI_DATABASE_URL": "mysql://root:a-secret-value@localhost/x"}, ["RINI_DATABASE_URL", "postgresql://"]),
        ([], {"RINI_DATABASE_URL": "sqlite:///:memory:"}, ["RINI_DATABASE_URL", "file"]),
        ([], {"RINI_DATABASE_URL": "postgresql://a:a-secret-value@host:port/x"}, ["RINI_DATABASE_URL"]),
        ([], {"RINI_DATABASE_URL": "postgresql://a:a-secret-value@127.0.0.1:1/x"}, ["127.0.0.1", "refused"]),
        (["--data-dir", "/dev/null/data"], {}, ["RINI_DATA_DIR: /dev/null/data", "Not a directory"]),
        ([], {"RINI_DATABASE_URL": "sqlite:////dev/null/rini.db"}, ["The database /dev/null/rini.db cannot be opened"]),
        (["--host", "192.0.2.1"], {}, ["192.0.2.1:8000 cannot be listened on"]),
        ([], {"RINI_PRICES_FILE": "nowhere.toml"}, ["nowhere.toml"]),
        ([], {"RINI_PRICES_FILE": "prices.toml"}, ["prices.toml", "input is missing"]),
    ],
)
def test_a_bad_setting_is_one_line(
    rini: Run, tmp_path: Path, arguments: list[str], settings: dict[str, str], words: list[str]
):
    (tmp_path / "prices.toml").write_text('[openai."gpt-4o"]\noutput = 1\n')
    done = rini("serve", *arguments, **settings)
    assert_refused(done, *words)
    assert "a-secret-value" not in done.stderr


def test_a_file_of_settings_that_is_not_utf8_is_one_line(rini: Run, tmp_path: Path):
    (tmp_path / ".env").write_bytes("RINI_HOST=\xe9".encode("latin-1"))
    assert_refused(rini("serve"), ".env is not UTF-8")


def test_a_port_in_use_is_one_line_and_the_database_is_left_alone(rini: Run, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused(rini("serve", "--port", str(port)), f"127.0.0.1:{port} cannot be listened on", "in use")
    assert not (tmp_path / "data" / "rini.db").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"master_keys": []}', '{"master_keys": ["YQ=="]}'])
def test_a_broken_file_of_secrets_is_one_line_and_stays(rini: Run, tmp_path: Path, content: str):
    file = tmp_path / "data" / "secrets.json"
    file.parent.mkdir()
    file.write_text(content)
    assert_refused(rini("serve"), "secrets.json")
    assert content.strip("{}") in " ".join(file.read_text().split()).replace("[ ", "[").replace(" ]", "]")


@pytest.mark.parametrize("damage", [b"this is no database" * 400, None])
def test_a_corrupt_sqlite_file_is_one_line(rini: Run, tmp_path: Path, damage: bytes | None):
    rini("db", "upgrade")
    file = tmp_path / "data" / "rini.db"
    whole = file.read_bytes()
    damaged = damage or whole[:100] + b"\xff" * (len(whole) - 100)
    file.write_bytes(damaged)
    assert_refused(rini("serve"), "rini.db cannot be opened or migrated")
    assert file.read_bytes() == damaged


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_does_not_start_ends(rini_process: Run, tmp_path: Path, workers: str):
    # What a dead process left cannot be read, which the application finds out when it starts.
    (tmp_path / "data" / "run" / "turns-1.journal").mkdir(parents=True)
    done = rini_process("serve", "--port", "0", "--workers", workers)
    assert done.returncode == 3
    assert "IsADirectoryError" in done.stderr
    assert "listens" not in done.stdout
    assert done.stderr.count("Started server process") <= int(workers)


def test_a_newer_database_is_one_line(rini: Run, tmp_path: Path):
    rini("db", "upgrade")
    with closing(sqlite3.connect(tmp_path / "data" / "rini.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert_refused(rini("serve"), "9999", "newer")


def test_a_newer_postgres_database_is_one_line(rini: Run, new_postgres_url: Callable[[], str]):
    url = new_postgres_url()
    assert rini("db", "upgrade", RINI_DATABASE_URL=url).returncode == 0
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert_refused(rini("serve", RINI_DATABASE_URL=url), "9999", "newer")
