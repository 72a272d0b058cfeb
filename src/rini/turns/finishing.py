"""What goes on to its end, whoever leaves meanwhile: steps that must not stop half way, and rows that the storage would not take yet."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import chain, repeat
from typing import Any, TypeVar

from sqlalchemy import exc

from rini.db import Database
from rini.errors import RiniError, StorageUnavailableError
from rini.telemetry import logs
from rini.turns.settle import AnswerGoneError

T = TypeVar("T")

LATE_PAUSES_SECONDS = (0.5, 1, 2, 4, 8, 15, 30, 60)
"""When what could not be stored of an answer is tried again; the last one again and again."""

_log = logs.get_logger(__name__)


class Finishing:
    """All of that. One for each process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ending: set[asyncio.Task[Any]] = set()
        self._late: set[asyncio.Task[None]] = set()

    def to_its_end(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it in a task of its own: a client that leaves meanwhile does not end it."""
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    def write(self, unit: Callable[..., Any], *args: Any, then: Callable[[], None] = lambda: None) -> None:
        """Write what becomes of an answer, now or when the storage is there again: until then it looks as if it were being written.

        ``then`` is called when it is written, or was deleted meanwhile; not where it is given up.
        """
        late = asyncio.create_task(self._keep_writing(unit, args, then))
        self._late.add(late)
        late.add_done_callback(self._late.discard)
        late.add_done_callback(log_failure)

    async def close(self) -> None:
        """Wait until all of it is done; what the storage does not take now either is given up, and the log is told."""
        while self._ending:
            await asyncio.wait(self._ending)
        if not self._late:
            return
        _, missed = await asyncio.wait(self._late, timeout=LATE_PAUSES_SECONDS[0] * 2)
        for late in missed:
            late.cancel()
        if missed:
            _log.error("answer_not_kept", answers=len(missed))

    async def _keep_writing(self, unit: Callable[..., Any], args: tuple[Any, ...], then: Callable[[], None]) -> None:
        for pause in chain(LATE_PAUSES_SECONDS, repeat(LATE_PAUSES_SECONDS[-1])):
            try:
                await self._database.write(unit, *args)
            except StorageUnavailableError:
                await asyncio.sleep(pause)
            except (exc.IntegrityError, AnswerGoneError):
                break  # it was deleted meanwhile, or is another process's
            else:
                break
        then()


def log_failure(task: asyncio.Task[Any]) -> None:
    """Tell the log what the client, who left, will not hear."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("turn_not_settled", exc_info=None if isinstance(error, RiniError) else error, reason=str(error))
