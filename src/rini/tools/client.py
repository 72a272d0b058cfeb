"""Asks MCP servers, whatever they do: within the time limit there is an answer, or a sentence on why there is none."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from rini.kit.http import Transport
from rini.tools.listing import Listing, read_tools
from rini.tools.server import NoAnswerError, ToolServer

if TYPE_CHECKING:
    from rini.tools.mcp_sessions import McpSessions
    from rini.tools.protocol import McpSession

T = TypeVar("T")

_GOODBYE_SECONDS = 5.0
_CLOSE_SECONDS = 8.0


class ToolClient:
    """Lists and calls the tools of servers. One per process; to be closed.

    A session with a server on the network lasts for one thing that is asked; the connections below it are kept by ``transport``.
    A stdio server's process is started at its first use and lives on.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sessions: McpSessions | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def list_tools(self, server: ToolServer, era: str | None = None) -> Listing:
        """Return what the server offers; ``era`` is that of an earlier listing. Raises NoAnswerError."""
        began = time.monotonic()

        async def ask(session: "McpSession") -> Listing:
            found = await session.list_tools()
            # In a thread: many schemas take a while to look through.
            tools = await asyncio.to_thread(read_tools, found, server.allowed_tools)
            name = None if session.server_name is None else server.without_secrets(session.server_name)
            return Listing(tools, name, session.protocol_version, session.era, round((time.monotonic() - began) * 1000))

        return await self._ask(server, era, ask)

    async def call_tool(
        self, server: ToolServer, era: str | None, name: str, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        """Return a tool's result (MCP's CallToolResult as JSON values). Raises NoAnswerError."""
        return await self._ask(server, era, lambda session: session.call_tool(name, arguments))

    async def close(self) -> None:
        """End what runs, child processes among them."""
        self._closed = True
        waiting = set(self._running)
        for task in waiting:
            task.cancel()
        if self._sessions is not None:
            waiting.add(asyncio.create_task(self._sessions.close()))
        if waiting:
            await asyncio.wait(waiting, timeout=_CLOSE_SECONDS)

    async def _ask(
        self, server: ToolServer, era: str | None, ask: Callable[["McpSession"], Coroutine[Any, Any, T]]
    ) -> T:
        if server.fault is not None:
            raise NoAnswerError(server.fault)
        if self._closed:
            raise NoAnswerError("This server is shutting down.")
        sessions = await self._opened()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def give_up(sentence: str) -> None:
            if not outcome.done():
                outcome.set_exception(NoAnswerError(server.without_secrets(sentence)))

        async def work() -> None:
            async with sessions.open(server, era, give_up) as session:
                found = await ask(session)
                if not outcome.done():
                    outcome.set_result(found)

        began = loop.time()
        # In a task of its own, so that no library's idea of cancellation is in the way of the limit.
        task = asyncio.create_task(work(), name="ask a tool server")
        self._running.add(task)
        task.add_done_callback(self._ended)
        goodbye = 0.0
        try:
            await asyncio.wait({task, outcome}, timeout=server.timeout, return_when=asyncio.FIRST_COMPLETED)
            if outcome.done():
                found = outcome.result()
                goodbye = _GOODBYE_SECONDS
                return found
            if not task.done():
                sessions.timed_out(server, began)
                raise NoAnswerError(f"The server did not answer within {server.timeout:g} seconds.", "timeout")
        finally:
            if not outcome.cancel():
                outcome.exception()  # known, unless the caller left just now
            loop.call_later(goodbye, self._end, task)
        if task.cancelled():
            raise NoAnswerError("This server is shutting down.")
        error = task.exception()
        assert error is not None
        failure = sessions.explained(error)
        raise NoAnswerError(server.without_secrets(str(failure)), failure.kind) from error

    async def _opened(self) -> "McpSessions":
        if self._sessions is None:
            kind = await asyncio.to_thread(_load)
            if self._sessions is None:
                self._sessions = kind(self._transport)
        return self._sessions

    def _end(self, task: asyncio.Task[Any]) -> None:
        """Cancel the task, and again while it does not end: its goodbye to the server may take a moment, and no more."""
        if not task.done():
            task.cancel()
            asyncio.get_running_loop().call_later(_GOODBYE_SECONDS, self._end, task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever asked, unless that one left


def _load() -> "type[McpSessions]":
    from rini.tools.mcp_sessions import McpSessions  # noqa: PLC0415  # 0.5 s, and many servers never need it

    return McpSessions
