"""Real MCP servers, lying ones, and what asks them."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from rini.accounts import users
from rini.accounts.keyring import Keyring
from rini.db import Database
from rini.db.migrate import migrate
from rini.kit.http import Resolver, Transport
from rini.tools import connections
from rini.tools.client import ToolClient
from rini.tools.server import ToolServer
from rini.tools.toolbox import Toolbox
from tests.support.server import clean_environment
from tests.tools import real_server

REAL = str(Path(real_server.__file__))
STDIO = (sys.executable, REAL, "stdio")
SMALL = (sys.executable, str(Path(REAL).with_name("small_server.py")))
LOOPBACK = frozenset({"127.0.0.1"})


@pytest.fixture(scope="session")
def real() -> Iterator[str]:
    """The URL of a real MCP server: /mcp is streamable HTTP, /sse is SSE."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with subprocess.Popen([sys.executable, REAL, "network", str(port)], env=clean_environment()) as process:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < until, "the MCP server did not start"
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def server(url: str, token: str = real_server.TOKEN, **changes: Any) -> ToolServer:
    """Return a user's connection; a stdio server where there is no url."""
    fields: dict[str, Any] = {"key": "connection_1", "version": "1", "name": "test", "timeout": 10.0}
    if url:
        transport = "sse" if url.endswith("/sse") else "streamable_http"
        headers = {"Authorization": f"Bearer {token}"}
        fields |= {"connection_id": 1, "transport": transport, "url": url, "headers": headers}
    else:
        fields |= {"transport": "stdio", "command": STDIO}
    return ToolServer(**(fields | changes))


def asking(
    work: Callable[[ToolClient], Coroutine[Any, Any, Any]],
    allowed: frozenset[str] = LOOPBACK,
    resolver: Resolver | None = None,
) -> Any:
    """Run ``work`` with a client and return what it did. What it left behind must be gone soon."""

    async def run() -> Any:
        async with Transport(allowed_private_hosts=allowed, resolver=resolver) as transport:
            client = ToolClient(transport)
            try:
                return await work(client)
            finally:
                await client.close()
                await until(lambda: not client._running)

    return on_uvloop(run())


def on_uvloop(work: Coroutine[Any, Any, Any]) -> Any:
    """Run ``work`` as the server would."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def until(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Tell whether there is a process, a zombie included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Box:
    """A toolbox with a database of its own, and two users."""

    def __init__(self, file: Path) -> None:
        self.database = Database(f"sqlite:///{file}")
        self.keyring = Keyring([os.urandom(32)])
        self.user, self.other = (self.database.write_sync(users.create) for _ in range(2))

    def connect(self, url: str, token: str = real_server.TOKEN, user: int | None = None, **changes: Any) -> int:
        """Store a connection and return its id."""
        values = {
            "name": "test",
            "url": url,
            "description": None,
            "transport": "sse" if url.endswith("/sse") else "streamable_http",
            "enabled": True,
            "allowed_tools": None,
            "timeout_seconds": 10.0,
        }
        headers = {"Authorization": f"Bearer {token}"}
        row = self.database.write_sync(connections.create, self.keyring, user or self.user, values | changes, headers)
        return row.id

    def run(self, work: Callable[[Toolbox], Coroutine[Any, Any, Any]], *servers: ToolServer) -> Any:
        """Run ``work`` with a toolbox that knows the operator's ``servers``, and return what it did."""

        async def run() -> Any:
            async with Transport(allowed_private_hosts=LOOPBACK) as transport:
                toolbox = Toolbox(self.database, self.keyring, transport, servers)
                try:
                    return await work(toolbox)
                finally:
                    await toolbox.close()

        return on_uvloop(run())


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("empty") / "rini.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def box(tmp_path: Path, _empty_database: Path) -> Iterator[Box]:
    made = Box(Path(shutil.copy(_empty_database, tmp_path)))
    yield made
    made.database.close()
