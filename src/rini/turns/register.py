"""The stored turns that run in this process, so that they can be ended from outside."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self

from rini.db import Database
from rini.errors import StorageUnavailableError
from rini.turns import runs
from rini.turns.values import Loaded

Ending = Literal["cancelled", "interrupted"]

LOOKED_EVERY_SECONDS = 0.5
"""How often a process looks whether another one wants one of its turns to end."""


class Running:
    """A turn while it may be ended. ``ending`` says that it was, and why."""

    def __init__(self, register: "Register | None", answer_id: int) -> None:
        self.ending: Ending | None = None
        self._register = register
        self._answer_id = answer_id
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        if self._register is not None:
            self._task = asyncio.current_task()
            self._register.turns[self._answer_id] = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._register is not None and self._register.turns.get(self._answer_id) is self:
            del self._register.turns[self._answer_id]

    def end(self, reason: Ending) -> None:
        """End it, once."""
        if self.ending is None and self._task is not None:
            self.ending = reason
            self._task.cancel()


class Register:
    """All of them. One for each process."""

    def __init__(self, database: Database, worker_id: str) -> None:
        self.turns: dict[int, Running] = {}
        self._database = database
        self.worker_id = worker_id

    def running(self, loaded: Loaded | None) -> Running:
        """Return the context in which a turn may be ended; a stateless one never is."""
        return Running(None, 0) if loaded is None else Running(self, loaded.answer_id)

    async def end(self, answer_id: int, reason: Ending) -> bool:
        """End an answer that is running here or in another process; return whether it was running."""
        if (turn := self.turns.get(answer_id)) is not None:
            turn.end(reason)
            return True
        return await self._database.write(runs.ask_to_end, answer_id, reason)

    async def keep_looking(self) -> None:
        """End what other processes want ended, and what was deleted, until cancelled."""
        while True:
            await asyncio.sleep(LOOKED_EVERY_SECONDS)
            if self.turns:
                with suppress(StorageUnavailableError):  # it is asked again in a moment
                    await self.look()

    async def look(self) -> None:
        """Do it once. Raises StorageUnavailableError."""
        looked_for = dict(self.turns)
        endings = await self._database.read(runs.endings, self.worker_id)
        if missing := [answer_id for answer_id in looked_for if answer_id not in endings]:
            deleted = await self._database.read(runs.deleted, missing)
            endings |= dict.fromkeys(deleted, "cancelled")  # nobody is to pay for more of them
        for answer_id, reason in endings.items():
            # One that is over by now has no row any more either.
            if reason is not None and (turn := looked_for.get(answer_id)) is self.turns.get(answer_id) and turn:
                turn.end("interrupted" if reason == "interrupted" else "cancelled")
