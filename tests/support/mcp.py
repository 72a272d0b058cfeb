"""A real MCP server in a process of its own: ``python -m tests.support.mcp streamable_http|sse PORT``, or ``stdio``."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from mcp.server import MCPServer

from tests.support.server import ROOT, clean_environment

server = MCPServer("calculator", log_level="WARNING")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def boom() -> str:
    """Fail."""
    raise ValueError("it went off")


@server.tool()
async def slow(seconds: float) -> str:
    """Take time."""
    await asyncio.sleep(seconds)
    return "done"


@dataclass
class RunningTools:
    """A server that listens on loopback."""

    url: str
    port: int


@contextlib.contextmanager
def running_tools(transport: str = "streamable_http") -> Iterator[RunningTools]:
    """Run the server for as long as the context lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.mcp", transport, str(port)], cwd=ROOT, env=clean_environment()
    )
    try:
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, "the MCP server ended"
            time.sleep(0.05)
        path = "mcp" if transport == "streamable_http" else "sse"
        yield RunningTools(f"http://127.0.0.1:{port}/{path}", port)
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    kind = sys.argv[1]
    if kind == "stdio":
        server.run("stdio")
    else:
        import uvicorn

        app = server.streamable_http_app() if kind == "streamable_http" else server.sse_app()
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
