"""What tool servers offer: asked when it is wanted, and kept for a while, also that a server did not answer."""

import asyncio
import time
from collections import OrderedDict

import msgspec

from rini.telemetry.logs import get_logger
from rini.tools.client import ToolClient
from rini.tools.listing import Listing
from rini.tools.server import NoAnswerError, ToolServer

KEPT_SECONDS = 60.0
"""How long a server's list of tools is kept."""

FAILURE_KEPT_SECONDS = 10.0
"""How long it is not asked again after it did not answer; doubled with each time in a row, up to LONGEST_FAILURE_SECONDS."""

LONGEST_FAILURE_SECONDS = 300.0

MAX_KEPT_BYTES = 64 * 1024 * 1024
MAX_KEPT = 10_000

_log = get_logger(__name__)


class _Kept(msgspec.Struct):
    """What was found when a server was asked last. ``failures`` is how often in a row it did not answer."""

    version: str
    until: float
    listing: Listing | None
    failures: int

    @property
    def size(self) -> int:
        return 0 if self.listing is None else self.listing.size


class Listings:
    """The lists of tools that this process knows. To be closed before ``client`` is."""

    def __init__(self, client: ToolClient) -> None:
        self._client = client
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._asking: dict[tuple[str, str], asyncio.Task[Listing]] = {}

    def close(self) -> None:
        """Ask no further."""
        for task in self._asking.values():
            task.cancel()

    async def known(self, server: ToolServer) -> Listing | None:
        """Return a server's tools, as they are known or by asking it; ``None`` where it does not answer."""
        kept = self._kept.get(server.key)
        if kept is not None and kept.version == server.version and time.monotonic() < kept.until:
            self._kept.move_to_end(server.key)
            return kept.listing
        try:
            return await self.ask(server)
        except NoAnswerError:
            return None

    async def ask(self, server: ToolServer) -> Listing:
        """Ask a server now; who asks meanwhile gets the same answer. Raises NoAnswerError."""
        name = (server.key, server.version)
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._ask_anew(server), name="list a server's tools")
            task.add_done_callback(lambda task: self._asked(name, task))
        # Whoever leaves must not take the answer from the others.
        return await asyncio.shield(task)

    def _asked(self, name: tuple[str, str], task: asyncio.Task[Listing]) -> None:
        del self._asking[name]
        if not task.cancelled():
            task.exception()  # told to whoever asked, unless all of them left

    async def _ask_anew(self, server: ToolServer) -> Listing:
        before = self._kept.get(server.key)
        if before is not None and before.version != server.version:
            before = None
        era = None if before is None or before.listing is None else before.listing.era
        began = time.monotonic()
        try:
            listing = await self._client.list_tools(server, era)
        except NoAnswerError as error:
            failures = 1 if before is None else before.failures + 1
            pause = min(FAILURE_KEPT_SECONDS * 2 ** (failures - 1), LONGEST_FAILURE_SECONDS)
            self._keep(server, _Kept(server.version, time.monotonic() + pause, None, failures))
            # The sentence may quote the server; it is for its owner alone.
            ms = round((time.monotonic() - began) * 1000)
            _log.warning("tool_server_failed", **server.log_fields(), reason=error.kind, ms=ms)
            raise
        self._keep(server, _Kept(server.version, time.monotonic() + KEPT_SECONDS, listing, 0))
        return listing

    def _keep(self, server: ToolServer, found: _Kept) -> None:
        former = self._kept.pop(server.key, None)
        self._kept_bytes += found.size - (0 if former is None else former.size)
        self._kept[server.key] = found
        while len(self._kept) > 1 and (self._kept_bytes > MAX_KEPT_BYTES or len(self._kept) > MAX_KEPT):
            self._kept_bytes -= self._kept.popitem(last=False)[1].size
