"""Starting a server: its options and settings, its secrets, several at once, and what its workers do when one dies."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rini.db.migrate import HEAD
from tests.cli.conftest import Run, group_is_empty
from tests.support.server import ROOT, Client, Server, clean_environment

LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")


@contextmanager
def started(cwd: Path, *command: str, **settings: str) -> Iterator["Started"]:
    """Run a command that serves, with nothing but what a user gives it."""
    cwd.mkdir(exist_ok=True)
    log = cwd / "log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=clean_environment(RINI_LOCAL_MODEL="off", **settings),
            cwd=cwd,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    running = Started(process, log, began)
    try:
        yield running
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Started:
    def __init__(self, process: subprocess.Popen[bytes], log: Path, began: float) -> None:
        self.process = process
        self.log = log
        self.began = began

    def client(self, port: int | None = None) -> Client:
        """Wait until it answers."""
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            told = LISTENS.search(self.log.read_text())
            if port is not None or told is not None:
                client = Client(f"http://127.0.0.1:{port or told[1]}")
                try:
                    if client.get("/healthz").status == 200:
                        return client
                except OSError:
                    pass
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(10)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_first_start_makes_what_it_needs_and_the_next_one_keeps_it(tmp_path: Path):
    port = free_port()
    (tmp_path / ".env").write_text(f"RINI_PORT={port}\nRINI_HOST=127.0.0.1\nRINI_DATA_DIR=here\nRINI_WORKERS=1\n")
    with started(tmp_path, "rini", "serve") as first:
        client = first.client()
        assert time.monotonic() - first.began < 10
        assert client.url.endswith(f":{port}")
        secrets = tmp_path / "here" / "secrets.json"
        assert first.log.read_text().count("Secrets were made and kept in here/secrets.json (mode 0600).") == 1
        assert secrets.stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "here").stat().st_mode & 0o777 == 0o700
        for value in (
            json.loads(secrets.read_text())["jwt_secret_key"],
            *json.loads(secrets.read_text())["master_keys"],
        ):
            assert value not in first.log.read_text()
        client.token = client.post("/users/").json["access_token"]
        assert first.stop() == 0
    # A second start, whose options and environment go before the file.
    with started(
        tmp_path, "rini", "serve", "--port", "0", "--data-dir", "here", RINI_DATA_DIR="there", RINI_PORT="1"
    ) as second:
        url = second.client().url
        assert url != client.url
        assert Client(url, client.token).get("/users/me").json == {"id": 1}
        assert "Secrets" not in second.log.read_text()
        assert not (tmp_path / "there").exists()


def test_four_servers_that_start_at_once_share_one_new_database(tmp_path: Path):
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                started(tmp_path / str(n), "rini", "serve", "--port", "0", RINI_DATA_DIR=str(tmp_path / "data"))
            )
            for n in range(4)
        ]
        clients = [server.client() for server in servers]
        token = clients[0].post("/users/").json["access_token"]
        for client in clients:
            assert Client(client.url, token).get("/users/me").status == 200
        logs = [server.log.read_text() for server in servers]
        assert sum("Secrets were made" in log for log in logs) == 1
        assert sum("Running upgrade" in log for log in logs) == 1


def test_the_application_serves_under_uvicorn_from_a_checkout(tmp_path: Path):
    port = free_port()
    with started(tmp_path, "uvicorn", "rini.app:app", "--port", str(port)) as running:
        assert running.client(port).post("/users/").status == 201
        assert (tmp_path / "data" / "rini.db").exists()
        running.stop()


def test_keygen_makes_settings_that_production_takes(rini: Run, tmp_path: Path):
    made = rini("keygen")
    assert made.returncode == 0
    (tmp_path / ".env").write_text(f"RINI_ENV=production\n{made.stdout}")
    # Even where the rest of the settings is wrong.
    assert rini("keygen", RINI_PORT="x").returncode == 0
    done = rini("user", "create")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "data" / "secrets.json").exists()


def workers_of(server: Server) -> set[int]:
    """Return the processes' ids, once all serve."""
    until = time.monotonic() + 20
    while "listens" not in server.logged():
        assert time.monotonic() < until
        time.sleep(0.05)
    children = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(server.process.pid)]
    found = subprocess.run(children, capture_output=True, text=True, check=True).stdout
    return {int(line.split()[0]) for line in found.splitlines() if "spawn_main" in line}


def test_workers_are_replaced_and_do_not_outlive_their_parent(new_server: Callable[..., Server]):
    server = new_server("--workers", "2")
    user = server.user()
    before = workers_of(server)
    assert len(before) == 2
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    until = time.monotonic() + 20
    while len(workers_of(server) - {victim}) < 2:
        with suppress(ConnectionError):  # what the victim had taken at that moment
            assert user.get("/users/me").status == 200
        assert time.monotonic() < until
        time.sleep(0.05)
    assert f'"pid":{victim}' in server.logged()
    server.process.kill()
    server.process.wait()
    assert group_is_empty(server.process.pid, 10)


def test_a_third_signal_kills_a_worker_that_hangs(new_server: Callable[..., Server]):
    server = new_server("--workers", "2")
    os.kill(min(workers_of(server)), signal.SIGSTOP)
    for _ in range(3):
        assert server.process.poll() is None
        server.process.terminate()
        time.sleep(0.3)
    assert server.process.wait(5) == 0
    assert group_is_empty(server.process.pid)


def test_alembic_works_from_a_checkout(tmp_path: Path, new_postgres_url: Callable[[], str]):
    def alembic(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            env={**clean_environment(RINI_DATABASE_URL=url), "PYTHONPATH": ""},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    for url in (f"sqlite:///{tmp_path}/rini.db", new_postgres_url()):
        assert alembic("upgrade", "head", url=url).returncode == 0
        assert f"{HEAD} (head)" in alembic("current", url=url).stdout
    sql = alembic("upgrade", "head", "--sql", url=f"sqlite:///{tmp_path}/other.db").stdout
    assert "CREATE TABLE users" in sql
    assert not (tmp_path / "other.db").exists()
