"""A stdio server's process and the one session with it, which all callers of this worker share."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from mcp import MCPError

from rini.telemetry.logs import get_logger
from rini.tools.child import Child, running
from rini.tools.protocol import McpSession, explained, over_streams
from rini.tools.server import NoAnswerError, ToolServer

IDLE_SECONDS = 600.0
"""How long a process is kept that nobody uses."""

START_SECONDS = 120.0
"""How long a process may take until it can be used: many are downloaded at their first start."""

_log = get_logger(__name__)


class Resident:
    """Starts the process at its first use and again after it died; ends it after it idled."""

    def __init__(self, server: ToolServer) -> None:
        self._server = server
        self._life: _Life | None = None
        self._lives: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[McpSession]:
        """Give the session, after starting the process if need be. Raises NoAnswerError.

        A start goes on when its caller gave up waiting: the next one may find it ready.
        """
        life = self._life
        if life is None or life.over:
            life = self._life = _Life(self._server)
            task = asyncio.create_task(life.run(), name=f"tool server {self._server.name}")
            self._lives.add(task)
            task.add_done_callback(self._lives.discard)
            task.add_done_callback(life.ended)
            life.task = task
        async with life.used() as session:
            yield session

    def suspect(self, since: float) -> None:
        """End the process if it was silent since then, a time of the event loop: it hangs."""
        if self._life is not None and self._life.silent_since(since):
            self._life.stop()

    async def close(self) -> None:
        """End the process, and wait until it is gone."""
        if self._life is not None:
            self._life.stop()
        if self._lives:
            await asyncio.wait(self._lives)


class _Life:
    """One process, from its start to its end. ``over``: it takes nobody any more."""

    def __init__(self, server: ToolServer) -> None:
        loop = asyncio.get_running_loop()
        self.over = False
        self.task: asyncio.Task[None] | None = None
        self._server = server
        self._ready: asyncio.Future[McpSession] = loop.create_future()
        self._stopped = asyncio.Event()
        self._child: Child | None = None
        self._users = 0
        self._used_at = loop.time()

    @asynccontextmanager
    async def used(self) -> AsyncGenerator[McpSession]:
        self._users += 1
        try:
            # A caller that leaves must not stop the start that others wait for.
            yield await asyncio.shield(self._ready)
        except MCPError as error:
            if self._child is not None and self._child.fault is not None:
                raise NoAnswerError(self._child.fault) from error
            raise
        finally:
            self._users -= 1
            self._used_at = asyncio.get_running_loop().time()

    def silent_since(self, moment: float) -> bool:
        return self._ready.done() and self._child is not None and self._child.heard_at <= moment

    def stop(self) -> None:
        self.over = True
        self._stopped.set()
        # While it starts there is no session to leave, and nothing that a second cancellation could interrupt.
        if not self._ready.done() and self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        async with running(self._server) as (child, streams):
            self._child = child
            async with over_streams(*streams) as session:
                async with asyncio.timeout(START_SECONDS):
                    await session.begin(None)
                self._ready.set_result(session)
                await self._until_unused(child)
                self.over = True
            died = child.ended.is_set() and not self._stopped.is_set()
        if died:
            _log.warning("tool_server_ended", server=self._server.name, status=child.process.returncode)

    def ended(self, task: "asyncio.Task[None]") -> None:
        self.over = True
        error = None if task.cancelled() else task.exception()
        if self._ready.done():
            return
        child = self._child
        if child is not None and child.fault is not None:
            failure = NoAnswerError(child.fault)
        elif isinstance(error, TimeoutError):
            failure = NoAnswerError(f"The server's process was not ready within {START_SECONDS:g} seconds.")
        else:
            failure = NoAnswerError("The server's process was stopped.") if error is None else explained(error)
        self._ready.set_exception(failure)
        self._ready.exception()  # whoever waits has it; nobody may
        if not self._stopped.is_set():
            # Nothing of any user went to it yet.
            said = "" if child is None else child.said
            _log.warning("tool_server_not_started", server=self._server.name, reason=str(failure), said=said)

    async def _until_unused(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        waiting = {loop.create_task(child.ended.wait()), loop.create_task(self._stopped.wait())}
        try:
            while True:
                left = self._used_at + IDLE_SECONDS - loop.time()
                if left <= 0 and not self._users:
                    return
                done, _ = await asyncio.wait(waiting, timeout=max(left, 0.05), return_when=asyncio.FIRST_COMPLETED)
                if done:
                    return
        finally:
            for task in waiting:
                task.cancel()
