"""A real MCP server, of the MCP library: argv[1] is ``stdio`` or ``network``; then argv[2] is the port.

On the network it serves streamable HTTP at /mcp and SSE at /sse, to who brings the right token.
"""

import os
import sys
from pathlib import Path

import anyio
from mcp.server import MCPServer
from mcp_types import AudioContent, EmbeddedResource, ImageContent, TextContent, TextResourceContents

TOKEN = "real-server-token-1"
server = MCPServer("real", log_level="CRITICAL")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def slow(seconds: float, note: str) -> str:
    """Take some time, and leave a note how that ended."""
    path = Path(note)
    path.write_text("began")
    try:
        await anyio.sleep(seconds)
    except BaseException:
        path.write_text("cancelled")
        raise
    path.write_text("done")
    return "done"


@server.tool()
def boom() -> str:
    """Fail."""
    raise ValueError("nope")


@server.tool()
def long(characters: int) -> str:
    """Say much."""
    return "x" * characters


@server.tool(structured_output=False)
def mixed() -> list:
    """Answer with all kinds of content."""
    return [
        TextContent(type="text", text="see:"),
        ImageContent(type="image", data="A" * 16000, mime_type="image/png"),
        AudioContent(type="audio", data="AAAA", mime_type="audio/wav"),
        EmbeddedResource(
            type="resource", resource=TextResourceContents(uri="file:///a.txt", mime_type="text/plain", text="inside")
        ),
    ]


@server.tool()
def environment() -> dict[str, str]:
    """Tell the variables of the environment, and who this is."""
    return dict(os.environ) | {"pid": str(os.getpid())}


@server.tool()
def die() -> str:
    """End at once."""
    os._exit(3)


def main() -> None:
    if sys.argv[1] == "stdio":
        print("a line that is no message", flush=True)
        server.run("stdio")
        return
    import uvicorn

    app = server.streamable_http_app()
    app.router.routes.extend(server.sse_app().routes)

    async def guarded(scope, receive, send):
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != f"Bearer {TOKEN}".encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"who are you"})
            return
        await app(scope, receive, send)

    uvicorn.run(guarded, port=int(sys.argv[2]), log_level="critical", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
