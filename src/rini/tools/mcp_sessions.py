"""Sessions with servers over each transport. It imports the MCP library, which takes 0.5 s: ``client`` does so at the first use."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from rini.kit.http import Transport
from rini.tools.protocol import McpSession, explained, over_http
from rini.tools.resident import Resident
from rini.tools.server import NoAnswerError, ToolServer


class McpSessions:
    """Opens sessions: one for each thing that is asked over HTTP, a lasting one with a stdio server's process."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._residents: dict[str, Resident] = {}

    @asynccontextmanager
    async def open(
        self, server: ToolServer, era: str | None, give_up: Callable[[str], None]
    ) -> AsyncGenerator[McpSession]:
        """Open a session. ``give_up`` is told a sentence where nothing good can come any more.

        Raises whatever the library does; see ``explained``.
        """
        if server.transport == "stdio":
            resident = self._residents.get(server.key)
            if resident is None:
                resident = self._residents[server.key] = Resident(server)
            async with resident.session() as session:
                yield session
            return
        async with over_http(server, self._transport, give_up) as session:
            await session.begin(era)
            yield session

    def timed_out(self, server: ToolServer, since: float) -> None:
        """Take note that something asked at ``since``, a time of the event loop, was not answered."""
        resident = self._residents.get(server.key)
        if resident is not None:
            resident.suspect(since)

    def explained(self, error: BaseException) -> NoAnswerError:
        """Return what to tell people of whatever went wrong with a server."""
        return explained(error)

    async def close(self) -> None:
        """End the child processes, and wait until they are gone."""
        for resident in self._residents.values():
            await resident.close()
