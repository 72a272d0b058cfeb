"""Turns that outlast the request in which they began, in this process (rini.turns.lasting: beyond it)."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from rini.errors import InternalError, RiniError, ShuttingDownError
from rini.kit.draining import process as draining
from rini.telemetry import logs
from rini.turns import runs
from rini.turns.finishing import Finishing
from rini.turns.following import Unheard
from rini.turns.settle import fail
from rini.turns.settling import reason_of
from rini.turns.values import Answer, Ask, Listener, Loaded

Take = Callable[[Ask, Listener, "asyncio.Future[Loaded]"], Awaitable[Answer]]

_log = logs.get_logger(__name__)


class Background:
    """Takes turns in the background. One for each process; ``take`` takes one, and tells its last argument what was loaded.

    ``closing``: the process ends, and what it has not answered yet is another one's.
    """

    def __init__(self, take: Take, finishing: Finishing, worker_id: str) -> None:
        self.closing = False
        self._take = take
        self._finishing = finishing
        self._worker_id = worker_id
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, ask: Ask) -> Loaded:
        """Begin a turn and return what it found; it goes on by itself. Raises RiniError where it cannot begin.

        A caller that is cancelled before that, while the question waits for others, takes it back.
        """
        begun: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        task = self._behind(self._take_unheard(ask, begun))
        try:
            await asyncio.wait((begun, task), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not begun.done():
                task.cancel()
            raise
        if begun.done():
            return begun.result()
        if task.cancelled():
            raise ShuttingDownError
        await task  # raises what kept it from beginning
        raise AssertionError("a turn that is over has begun")

    async def resume(self, ask: Ask) -> None:
        """Complete an answer whose process died."""
        self._behind(self._take_again(ask))

    async def close(self) -> None:
        """End what is running, and leave it to another process."""
        self.closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _behind(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it in a task of its own, which the process ends when it closes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_fault)
        return task

    async def _take_unheard(self, ask: Ask, begun: "asyncio.Future[Loaded]") -> None:
        """Take a turn of which the client hears no more than that it ``begun``. Raises RiniError where it cannot begin."""
        draining.in_flight += 1  # the process ends when it is done, or its grace period is over
        try:
            await self._take(ask, Unheard(), begun)
        except RiniError:
            if not begun.done():
                raise
        finally:
            draining.in_flight -= 1

    async def _take_again(self, ask: Ask) -> None:
        """Take a turn that another process began. What keeps it from beginning is told with the answer, as any other failure is."""
        begun: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        assert ask.completes is not None
        mine = ask.completes, self._worker_id
        try:
            await self._take_unheard(ask, begun)
        except asyncio.CancelledError:
            if not begun.done():
                self._finishing.write(runs.leave, *mine)
            raise
        except RiniError as error:
            self._finishing.write(fail, *mine, reason_of("refused", error), error.detail)
        except Exception:
            if not begun.done():
                self._finishing.write(fail, *mine, InternalError.code)
            raise


def _log_fault(task: asyncio.Task[None]) -> None:
    """Tell the log of a fault of this server's own in a turn that nobody waits for."""
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, RiniError):
        _log.error("turn_failed", exc_info=error)
