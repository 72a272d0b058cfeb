"""How a process ends: at the first signal it takes nothing new and completes what it has, for a grace period."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

CHECK_SECONDS = 0.05
SAME_SIGNAL_SECONDS = 1.0
"""Ctrl-C reaches a worker twice, from the terminal and from its parent: within this time that is one signal."""


class Draining:
    """The state of one process. ``in_flight`` counts the requests that are being answered."""

    def __init__(self) -> None:
        self.begun = False
        self.in_flight = 0

    def install(self, grace_seconds: float) -> None:
        """Drain at the first SIGTERM or SIGINT, then do what the server's own handler does; at a second one do that at once.

        To be called in a running event loop, after the server set its handlers. Outside the main thread, where Python takes no
        signals, it does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            own = signal.getsignal(number)
            if callable(own):
                signal.signal(number, self._handler(own, loop, grace_seconds))

    def _handler(
        self, own: Callable[[int, FrameType | None], Any], loop: asyncio.AbstractEventLoop, grace_seconds: float
    ) -> Callable[[int, FrameType | None], None]:
        first = 0.0

        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal first
            if not self.begun:
                self.begun = True
                first = time.monotonic()
                loop.call_soon_threadsafe(self._wait, first + grace_seconds, own, number, frame)
            elif time.monotonic() - first > SAME_SIGNAL_SECONDS:
                own(number, frame)

        return handle

    def _wait(
        self, until: float, own: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None
    ) -> None:
        if self.in_flight == 0 or time.monotonic() >= until:
            own(number, frame)
        else:
            asyncio.get_running_loop().call_later(CHECK_SECONDS, self._wait, until, own, number, frame)


process = Draining()
"""This process's state: it belongs to the process as its signals do, so there is one."""
