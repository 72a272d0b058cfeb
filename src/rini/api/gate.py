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
            if length != 0:
                limit = self._limits.get(scope["path"].rstrip("/"), self._limit)
                if length is None:
                    receive = _counted(receive, limit)
                elif length > limit.most:
                    await self._refuse(BodyTooLargeError(limit.sentence), scope, receive, send)
                    return
            if (length is None or length > LARGEST_FROM_STRANGERS) and scope["path"] not in OPEN:
                try:
                    await current_caller(scope, self._access)
                except RiniError as error:
                    await self._refuse(error, scope, receive, send)
                    return
            await self._app(scope, receive, send)
        finally:
            draining.in_flight -= 1

    async def _refuse(self, error: RiniError, scope: Scope, receive: Receive, send: Send) -> None:
        # Closed with a body on its way, a connection is reset before its client reads why: the answer goes out at once, its
        # end when the body has come.
        async def send_open(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                message["more_body"] = True
            await send(message)

        await self._render(scope, error)(scope, receive, send_open)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        await send({"type": "http.response.body", "body": b""})


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
