"""Something to read on a stream that is silent: a model that thinks for minutes, or a tool that takes its time. Many proxies cut a stream after 60 seconds without a byte."""

import asyncio
from contextlib import suppress

from starlette.types import Send

from rini.kit.sse import WholeEvents

SIGN_OF_LIFE_SECONDS = 15.0

COMMENT = b": still here\n\n"
"""A comment, which every reader of server-sent events leaves out."""

BLANK_LINE = b"\r\n"
"""The same for Google's SDKs, which take a comment for a broken answer (google-genai 3.4 for Python) or find no event behind it (for JavaScript)."""


class SignsOfLife:
    """Sends a ``sign`` when nothing was written for SIGN_OF_LIFE_SECONDS, at the latest after twice as long; None: never.

    Whoever writes sets ``is_silent`` to false. That is all that an event costs; a stream costs one timer. Within one of ``events`` that is torn
    nothing is sent.
    """

    __slots__ = ("_events", "_send", "_sending", "_sign", "_timer", "is_silent")

    def __init__(self, send: Send, sign: bytes | None = COMMENT, events: WholeEvents | None = None) -> None:
        self.is_silent = True
        self._send = send
        self._sign = sign
        self._events = events
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin when the head is sent."""
        if self._sign is not None:
            self._wait()

    def end(self) -> None:
        """End before the last bytes, and when the stream breaks off. To be called at any rate, once or more."""
        self._sign = None
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SIGN_OF_LIFE_SECONDS, self._look)

    def _look(self) -> None:
        # One at a time: a client that does not read gets no more of them than one.
        is_torn = self._events is not None and self._events.torn
        if self.is_silent and not is_torn and self._sending is None and self._sign is not None:
            self._sending = asyncio.create_task(self._give(self._sign))
        self.is_silent = True
        self._wait()

    async def _give(self, sign: bytes) -> None:
        with suppress(OSError):  # the client has left; the stream finds out by itself
            await self._send({"type": "http.response.body", "body": sign, "more_body": True})
        self._sending = None
