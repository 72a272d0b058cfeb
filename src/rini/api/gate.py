"""What every request passes first: the size of its body, and whether the server still takes requests."""

from collections.abc import MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from rini.api.problems import render
from rini.errors import BodyTooLargeError, RiniError, ShuttingDownError
from rini.kit.draining import Draining

ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics"})


class Gate:
    """Refuses bodies of more than ``max_body_bytes`` before they are read, and new requests while the process drains."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, draining: Draining) -> None:
        self._app = app
        self._most = max_body_bytes
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        draining = self._draining
        if draining.begun and scope["path"] not in ALWAYS_ANSWERED:
            await self._refuse(ShuttingDownError(), scope, receive, send)
            return
        draining.in_flight += 1
        try:
            length = _content_length(scope)
            if length is None:
                receive = self._counted(receive)
            elif length > self._most:
                await self._refuse(BodyTooLargeError(self._sentence()), scope, receive, send)
                return
            await self._app(scope, receive, send)
        finally:
            draining.in_flight -= 1

    async def _refuse(self, error: RiniError, scope: Scope, receive: Receive, send: Send) -> None:
        # The body was not read, so the connection cannot be used again.
        error.headers["connection"] = "close"
        await render(Request(scope), error)(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        read = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most:
                # FastAPI passes this one on while it turns any other exception in a body into a 400.
                raise HTTPException(BodyTooLargeError.status, self._sentence())
            return message

        return counted

    def _sentence(self) -> str:
        return f"The body has more than {self._most} bytes, the most that this server takes (RINI_MAX_BODY_BYTES)."


def _content_length(scope: Scope) -> int | None:
    """Return the body's length as far as it is told: 0 without a body, None where it comes in chunks."""
    length = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
        if name == b"transfer-encoding":
            length = None
    return length
