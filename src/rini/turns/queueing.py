"""Questions that continue the same branch come one after the other.

Within a process they stand in a queue; between processes whoever holds a session is in the database (``runs``), and is asked for again
and again. Questions that name their parent wait for nobody.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from rini.errors import SessionBusyError
from rini.kit.clock import monotonic
from rini.turns.register import Ending
from rini.turns.values import Ask

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5

End = Callable[[int, Ending], Awaitable[bool]]


class Queues:
    """The queues of all sessions. One for each process; ``longest_seconds`` is how long a question waits at most."""

    def __init__(self, longest_seconds: float, end: End) -> None:
        self._longest = longest_seconds
        self._end = end
        self._queues: dict[tuple[int, str], _Queue] = {}

    @asynccontextmanager
    async def place(self, ask: Ask) -> AsyncGenerator["Place"]:
        """Wait until it is the question's turn in this process, and keep the others waiting. Raises SessionBusyError."""
        name = (ask.user_id, (ask.session_id or "").lower())
        queue = self._queues.setdefault(name, _Queue())
        place = Place(queue, ask, monotonic() + self._longest, self._end)
        queue.length += 1
        try:
            await place.come_first()
            queue.first = place
            try:
                yield place
            finally:
                queue.first = queue.holder = None
                queue.lock.release()
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[name]


class Place:
    """A question's place in its queue. ``holds`` is told the answer's id when it is known.

    ``is_interrupted``: a question that interrupts came when there was no answer to end yet.
    """

    def __init__(self, queue: "_Queue", ask: Ask, until: float, end: End) -> None:
        self._queue = queue
        self._ask = ask
        self._until = until
        self._end = end
        self._pause = FIRST_PAUSE_SECONDS
        self.is_interrupted = False

    def holds(self, answer_id: int) -> None:
        """Note the answer for which the others wait."""
        self._queue.holder = answer_id

    async def come_first(self) -> None:
        """Wait for those before it in this process."""
        queue = self._queue
        if queue.lock.locked():
            if self._ask.if_busy == "reject":
                raise SessionBusyError(queue.holder)
            if self._ask.if_busy == "interrupt":
                if queue.holder is not None:
                    await self._end(queue.holder, "interrupted")
                elif queue.first is not None:
                    queue.first.is_interrupted = True
        try:
            async with asyncio.timeout(self._until - monotonic()):
                await queue.lock.acquire()
        except TimeoutError:
            raise SessionBusyError(queue.holder) from None

    async def wait_for(self, answer_id: int) -> None:
        """Wait a moment for another process, which gets ``answer_id``. Raises SessionBusyError."""
        if self._ask.if_busy == "reject" or monotonic() > self._until:
            raise SessionBusyError(answer_id)
        if self._ask.if_busy == "interrupt":
            await self._end(answer_id, "interrupted")
        # Of several processes that wait each gets its chance.
        await asyncio.sleep(self._pause * random.uniform(0.5, 1))  # noqa: S311  # no secret
        self._pause = min(self._pause * 1.5, LONGEST_PAUSE_SECONDS)


class _Queue:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.length = 0
        self.first: Place | None = None
        self.holder: int | None = None
