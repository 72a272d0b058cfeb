"""The tools of a user: what is offered to a model, and the calls that it makes."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from rini.accounts.keyring import Keyring
from rini.canon import Text, Tool, ToolCall, ToolChoice, ToolResult
from rini.db import Database
from rini.errors import NoToolsError, ToolServerError
from rini.kit.http import Transport
from rini.telemetry import metrics, traces
from rini.telemetry.logs import get_logger
from rini.tools import connections
from rini.tools.client import ToolClient
from rini.tools.listing import ListedTool
from rini.tools.listings import Listings
from rini.tools.names import OwnName, offered_names
from rini.tools.results import shown_text
from rini.tools.server import NoAnswerError, ToolServer

MAX_TOOLS = 128
"""The most tools that are offered at once: OpenAI takes no more."""

MAX_TOLD_NAMES = 50

Outcome = Literal["ok", "tool_error", "timeout", "failed", "unknown_tool", "bad_arguments"]

_log = get_logger(__name__)


class _Route(msgspec.Struct, frozen=True):
    """Where calls of a tool go. ``name`` is the tool's own."""

    server: ToolServer
    name: str
    era: str


class Offer(msgspec.Struct, frozen=True):
    """The tools that a request offers, in an order that stays as long as the connections and their tools do."""

    tools: tuple[Tool, ...]
    choice: ToolChoice
    routes: Mapping[str, _Route]


class ToolOutcome(msgspec.Struct, frozen=True):
    """What became of a call. ``connection`` and ``tool`` are the names that their owners gave; empty where there is no such tool.

    ``ms`` is the time it took. ``outcome``: ``tool_error`` was told by the tool, ``timeout`` and ``failed`` are its server's
    doing, ``unknown_tool`` and ``bad_arguments`` the model's.
    """

    result: ToolResult
    connection: str
    tool: str
    ms: int
    outcome: Outcome


class Trial(msgspec.Struct, frozen=True):
    """How a server answered when it was tried. ``tools`` is how many it has; ``ms`` the time it took."""

    ok: bool
    detail: str
    ms: int
    server_name: str | None = None
    protocol_version: str | None = None
    tools: int | None = None


class InspectedTool(msgspec.Struct, frozen=True):
    """A tool, and whether it is offered; ``reason`` says why not."""

    name: str
    description: str | None
    input_schema: dict[str, Any] | None
    offered_as: str | None
    offered: bool
    reason: str | None


class _Found(msgspec.Struct, frozen=True):
    """All that is there for a user: each tool with its route, and the servers that did not answer."""

    names: tuple[str, ...]
    tools: tuple[tuple[_Route, ListedTool], ...]
    silent: tuple[ToolServer, ...]


class Toolbox:
    """Knows the tools of the operator's servers and of each user's connections. One per process; to be closed."""

    def __init__(
        self, database: Database, keyring: Keyring, transport: Transport, servers: Sequence[ToolServer] = ()
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._servers = tuple(servers)
        self._client = ToolClient(transport)
        self._listings = Listings(self._client)

    async def offer(self, user_id: int, choice: str) -> Offer | None:
        """Return what to offer to a model, asking the servers whose list is not known (any more), side by side.

        ``choice`` is ``auto`` (``None`` where there are no tools), ``required``, or the name of a tool that must be called: the
        one that it is offered under, or its own where one tool alone has it. Raises NoToolsError.
        """
        found = await self._find(user_id)
        if not found.tools:
            if choice == "auto":
                return None
            raise NoToolsError(
                f"tool_choice: there are no tools to offer; connect an MCP server with POST /mcp-connections/."
                f"{_told_silent(found)}"
            )
        tools = tuple(
            Tool(name, tool.description, tool.parameters)
            for name, (_, tool) in zip(found.names, found.tools, strict=True)
        )
        routes = {name: route for name, (route, _) in zip(found.names, found.tools, strict=True)}
        return Offer(tools, _choice(choice, found), routes)

    async def call(self, offer: Offer, call: ToolCall) -> ToolOutcome:
        """Make a call and return its result, which says in words what went wrong if anything did. Raises nothing."""
        began = time.monotonic()
        route = offer.routes.get(call.name)
        span = traces.tool_call(call.name, call.id)
        ended: str | None = "client_left"  # unless it comes to an end
        try:
            outcome, content = await self._call(route, call)
            ended = None if outcome == "ok" else outcome
        finally:
            if span is not None:
                span.end(error=ended)
        ms = round((time.monotonic() - began) * 1000)
        metrics.observe_tool_call(outcome, ms / 1000)
        fields = {} if route is None else route.server.log_fields() | {"tool": call.name}
        _log.info("tool_called", **fields, outcome=outcome, ms=ms)
        return ToolOutcome(
            ToolResult(call.id, content, name=call.name, is_error=outcome != "ok"),
            connection="" if route is None else route.server.name,
            tool="" if route is None else route.name,
            ms=ms,
            outcome=outcome,
        )

    async def try_out(self, user_id: int, connection_id: int) -> Trial:
        """Ask a user's connection now. Raises NotFoundError."""
        row = await self._database.read(connections.get, user_id, connection_id)
        began = time.monotonic()
        try:
            listing = await self._listings.ask(connections.server_of(self._keyring, row))
        except NoAnswerError as error:
            return Trial(ok=False, detail=str(error), ms=round((time.monotonic() - began) * 1000))
        usable = sum(tool.reason is None for tool in listing.tools)
        return Trial(
            ok=True,
            detail=f"The server answered with {len(listing.tools)} tools, {usable} of which can be offered.",
            ms=listing.ms,
            server_name=listing.server_name,
            protocol_version=listing.protocol_version,
            tools=len(listing.tools),
        )

    async def inspect(self, user_id: int, connection_id: int) -> list[InspectedTool]:
        """Ask a user's connection now for its tools. Raises NotFoundError, and ToolServerError where it does not answer."""
        row = await self._database.read(connections.get, user_id, connection_id)
        server = connections.server_of(self._keyring, row)
        try:
            listing = await self._listings.ask(server)
        except NoAnswerError as error:
            raise ToolServerError(f"The tools of connection {connection_id} cannot be listed: {error}") from error
        found = await self._find(user_id)
        offered = {
            route.name: name
            for name, (route, _) in zip(found.names, found.tools, strict=True)
            if route.server.key == server.key
        }
        left_out = f"More than {MAX_TOOLS} tools." if row.enabled else "The connection is not enabled."
        return [
            InspectedTool(
                tool.name,
                tool.description,
                tool.parameters,
                offered_as=offered.get(tool.name),
                offered=tool.name in offered,
                reason=tool.reason or (None if tool.name in offered else left_out),
            )
            for tool in listing.tools
        ]

    async def close(self) -> None:
        """End what runs, child processes among them."""
        self._listings.close()
        await self._client.close()

    async def _find(self, user_id: int) -> _Found:
        rows = await self._database.read(connections.enabled, user_id)
        # The operator's first: they change least, and a provider's prompt cache goes as far as nothing changed.
        servers = [*self._servers, *(connections.server_of(self._keyring, row) for row in rows)]
        listings = await asyncio.gather(*(self._listings.known(server) for server in servers))
        tools = [
            (_Route(server, tool.name, listing.era), tool)
            for server, listing in zip(servers, listings, strict=True)
            if listing is not None
            for tool in listing.tools
            if tool.reason is None
        ]
        if len(tools) > MAX_TOOLS:
            _log.warning("tools_left_out", tools=len(tools), offered=MAX_TOOLS)
            del tools[MAX_TOOLS:]
        names = offered_names([OwnName(route.server.key, route.server.name, route.name) for route, _ in tools])
        silent = tuple(server for server, listing in zip(servers, listings, strict=True) if listing is None)
        return _Found(tuple(names), tuple(tools), silent)

    async def _call(self, route: _Route | None, call: ToolCall) -> tuple[Outcome, tuple[Text, ...]]:
        if route is None:
            return "unknown_tool", (
                Text("There is no tool of that name; call one that is offered, under its exact name."),
            )
        arguments = _arguments(call.arguments)
        if arguments is None:
            return "bad_arguments", (Text("The arguments are not a JSON object; call the tool again with one."),)
        try:
            result = await self._client.call_tool(route.server, route.era, route.name, arguments)
        except NoAnswerError as error:
            outcome = "tool_error" if error.kind == "refused" else error.kind
            return outcome, shown_text([{"type": "text", "text": str(error)}], None)
        content = shown_text(result["content"], result.get("structuredContent"))
        return "tool_error" if result.get("isError") else "ok", content


def _arguments(text: str) -> dict[str, Any] | None:
    """Return a call's arguments; none at all is how some models call a tool that takes none."""
    if not text.strip():
        return {}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _choice(choice: str, found: _Found) -> ToolChoice:
    if choice == "auto" or choice == "required":  # noqa: PLR1714  # narrows the type
        return ToolChoice(choice)
    if choice in found.names:
        return ToolChoice("tool", (choice,))
    own = [name for name, (route, _) in zip(found.names, found.tools, strict=True) if route.name == choice]
    if len(own) == 1:
        return ToolChoice("tool", (own[0],))
    names = ", ".join(sorted(found.names)[:MAX_TOLD_NAMES]) + (", …" if len(found.names) > MAX_TOLD_NAMES else "")
    if own:
        raise NoToolsError(f"tool_choice: several tools have that name; say which: {', '.join(own)}.")
    raise NoToolsError(
        f"tool_choice: there is no such tool; it must be auto, required or one of {names}.{_told_silent(found)}"
    )


def _told_silent(found: _Found) -> str:
    if not found.silent:
        return ""
    return f" These connections do not answer: {', '.join(server.name for server in found.silent[:MAX_TOLD_NAMES])}."
