"""What the server is measured beside: the least that uvicorn can do.

A POST to ``/echo/N`` is answered with N bytes once its body was read; one to any other path is relayed to the upstream, and the
answer comes back chunk by chunk as it is, through the HTTP client that Rini uses too.

    python -m bench.baseline PORT UPSTREAM
"""

import sys
from functools import lru_cache

import uvicorn

from rini.kit.http import Timeouts, Transport


class Baseline:
    """The application."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._transport = Transport(timeouts=Timeouts())

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        path = scope["path"]
        if path.startswith("/echo/"):
            length, answer = echo(path)
            headers = [(b"content-type", b"application/json"), (b"content-length", length)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer})
            return
        if scope["query_string"]:
            path = f"{path}?{scope['query_string'].decode()}"
        headers = {"content-type": "application/json", "authorization": "Bearer bench"}
        async with await self._transport.post_stream(self._upstream + path, headers, body, trusted=True) as answer:
            headers = [
                (name.encode(), answer.headers[name].encode())
                for name in ("content-type", "content-length")
                if name in answer.headers
            ]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            while (data := await answer.read()) is not None:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


@lru_cache
def echo(path: str) -> tuple[bytes, bytes]:
    """Return the length as a header and the answer."""
    length = int(path.removeprefix("/echo/"))
    return str(length).encode(), b"x" * length


if __name__ == "__main__":
    uvicorn.run(
        Baseline(sys.argv[2]),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
    )
