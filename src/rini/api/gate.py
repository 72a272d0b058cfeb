"""What every request passes first: the size of its body, who sends a large one, and whether the server still takes requests."""

import asyncio
import contextlib
from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.credentials import current_caller
from rini.api.routes import Answering
from rini.errors import BodyTooLargeError, RiniError, ShuttingDownError
from rini.kit.draining import Draining

ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics"})
OPEN = frozenset({"/users/", "/users"})
"""What takes a POST without a token; its body is not read."""

LARGEST_FROM_STRANGERS = 64 * 1024
"""Bodies of more bytes, and those that do not tell, are read only with a valid token: parsed, a body takes many times its bytes."""


LINGER_SECONDS = 5.0
"""How long a body that was refused is read all the same."""


class BodyLimit(NamedTuple):
    """The most bytes that a body may have, and the setting that says so."""

    most: int
    setting: str

    @property
    def sentence(self) -> str:
        """What a client is told whose body has more."""
        return f"The body has more than {self.most} bytes, the most that this server takes ({self.setting})."


class Gate:
    """Refuses bodies that are larger than ``limit``, and large ones of strangers, before they are read.

    ``limits`` are those of paths that have their own. While the process drains the gate refuses new requests.
    """

    def __init__(
        self, app: Answering, limit: BodyLimit, limits: Mapping[str, BodyLimit], draining: Draining, access: Access
    ) -> None:
        self._app = app
        self._render = app.render
        self._limit = limit
        self._limits = limits
        self._draining = draining
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        draining = self._draining
        if draining.begun and scope["path"] not in ALWAYS_ANSWERED:
            refusal = ShuttingDownError()
            refusal.headers["connection"] = "close"
            await self._render(scope, refusal)(scope, receive, send)
            return
        draining.in_flight += 1
        try:
            length = _content_length(scope)
            limit = self._limits.get(scope["path"].rstrip("/"), self._limit)
            is_large = length is None or length > min(LARGEST_FROM_STRANGERS, limit.most)
            if is_large:
                lingering = _Lingering(receive, send)
                receive, send = lingering.receive, lingering.send
            if length is None:
                receive = _counted(receive, limit)
            elif length > limit.most:
                await self._render(scope, BodyTooLargeError(limit.sentence))(scope, receive, send)
                return
            if is_large and scope["path"] not in OPEN:
                try:
                    await current_caller(scope, self._access)
                except RiniError as error:
                    await self._render(scope, error)(scope, receive, send)
                    return
            await self._app(scope, receive, send)
        finally:
            draining.in_flight -= 1


class _Lingering:
    """A request whose answer ends when its body has come.

    Closed with a body on its way, a connection is reset before its client reads why: the answer goes out at once, its end later.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_read = False

    async def receive(self) -> MutableMapping[str, Any]:
        """Return what comes next of the request."""
        message = await self._receive()
        self._is_read = not message.get("more_body", False)
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a piece of the answer, the last one when the body has come, or has taken too long."""
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not is_last or self._is_read:
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._is_read:
                    await self.receive()
        await self._send({"type": "http.response.body", "body": b""})


def _counted(receive: Receive, limit: BodyLimit) -> Receive:
    read = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit.most:
            # FastAPI passes this one on while it turns any other exception in a body into a 400.
            raise HTTPException(BodyTooLargeError.status, limit.sentence)
        return message

    return counted


def _content_length(scope: Scope) -> int | None:
    """Return the body's length as far as it is told: 0 without a body, None where it comes in chunks."""
    length = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
        if name == b"transfer-encoding":
            length = None
    return length
