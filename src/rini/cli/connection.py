"""One client's connection: uvicorn's, with bounds on what a request's head may take and on how long a client may dawdle.

Uvicorn has none: a client that never ends its head takes memory without end, one that stops in its middle a file descriptor for good.
"""

import asyncio
from asyncio import TimerHandle
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

LARGEST_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0
BODY_SECONDS = 60.0
"""How long a client may be silent in the middle of a body."""

MOST_PIPELINED = 100
"""Requests that may wait on one connection for the answers to those before them."""


class ClientConnection(HttpToolsProtocol):
    """Answers 431 to a head that is too large, and 408 to a head that takes too long once it began or a body that stops."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._begun = False
        self._requests = 0
        self._timer: TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # as uvicorn's own
        """Wait for the first head."""
        super().connection_made(transport)
        self._start_timer(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_timer()
        self._let_go()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and look at how long the head has become."""
        requests = self._requests
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self._in_head:
            self._stop_timer()
            self._start_timer(BODY_SECONDS)
            return
        # Of the piece in which the last request ended nothing is counted: it has a bounded size.
        self._head_bytes = 0 if self._requests != requests else self._head_bytes + len(data)
        if self._head_bytes > LARGEST_HEAD_BYTES:
            self._refuse("431 Request Header Fields Too Large")
        elif self._timer is None and self._head_bytes:
            self._start_timer(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        """Know the head's end."""
        self._in_head = False
        self._begun = True
        self._stop_timer()
        if len(self.pipeline) >= MOST_PIPELINED:
            raise OverflowError("too many requests wait on one connection")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Know that what follows is another head."""
        super().on_message_complete()
        self._in_head = True
        self._requests += 1
        self._stop_timer()

    def send_400_response(self, msg: str) -> None:
        """Answer to what is not HTTP, and close."""
        self._let_go()
        super().send_400_response(msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _let_go(self) -> None:
        # Uvicorn tells the last request alone that its client is gone; of several, it is the first that is being answered.
        self.pipeline.clear()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _start_timer(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._too_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        self._refuse("408 Request Timeout")

    def _refuse(self, status: str) -> None:
        # An answer to an earlier request that is still on its way is not written into.
        if not self.transport.is_closing():
            if not self._begun or self.cycle.response_complete:
                self.transport.write(f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
            self._let_go()
            self.transport.close()
