"""How a process ends: at the first signal it takes nothing new and completes what it has, for a grace period."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

CHECK_SECONDS = 0.05
SAME_CTRL_C_SECONDS = 3.0
"""Ctrl-C reaches a worker twice: as SIGINT from the terminal and, soon after, as SIGTERM from its parent. That is one wish."""

Handler = Callable[[int, FrameType | None], Any]


class Draining:
    """The state of one process. ``in_flight`` counts the requests that are being answered.

    ``begun``: nothing new is taken. ``over``: the time of what still runs is up; the server is to cancel it.
    """

    def __init__(self) -> None:
        self.begun = False
        self.over = False
        self.in_flight = 0
        self._ended = False

    def install(self, grace_seconds: float) -> None:
        """Drain at the first SIGTERM or SIGINT, then do what the server's own handler does; at a second one do that at once.

        To be called in a running event loop, after the server set its handlers. Outside the main thread, where Python takes no
        signals, it does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        first: list[tuple[int, float]] = []

        def handler(own: Handler) -> Handler:
            def handle(number: int, frame: FrameType | None) -> None:
                now = time.monotonic()
                if not self.begun:
                    self.begun = True
                    first.append((number, now))
                    loop.call_soon_threadsafe(self._wait, now + grace_seconds, own, number, frame)
                elif number == first[0][0] or now - first[0][1] > SAME_CTRL_C_SECONDS:
                    self._end(own, number, frame)

            return handle

        for number in (signal.SIGTERM, signal.SIGINT):
            own = signal.getsignal(number)
            if callable(own):
                signal.signal(number, handler(own))

    def _wait(self, until: float, own: Handler, number: int, frame: FrameType | None) -> None:
        if self.in_flight == 0 or time.monotonic() >= until:
            self._end(own, number, frame)
        else:
            asyncio.get_running_loop().call_later(CHECK_SECONDS, self._wait, until, own, number, frame)

    def _end(self, own: Handler, number: int, frame: FrameType | None) -> None:
        # Once: a server may take a further call for the wish to be gone without settling anything.
        if not self._ended:
            self._ended = True
            self.over = self.in_flight > 0
            own(number, frame)


process = Draining()
"""This process's state: it belongs to the process as its signals do, so there is one."""
