"""What is said to an MCP server, by the MCP library."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import httpx2
import mcp_types as types
from mcp import ClientSession, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import CallOptions
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext
from pydantic import TypeAdapter, ValidationError

from rini import __version__
from rini.kit.http import Transport
from rini.tools.answer_size import MAX_BYTES
from rini.tools.guarded_http import GuardedHttp
from rini.tools.listing import MAX_TOOLS, shortened
from rini.tools.server import NoAnswerError, ToolServer

MAX_PAGES = 50
"""The most pages of a list of tools that are asked for."""

MAX_BLOCKS = 1000
"""The most blocks of content that are read of a tool's result."""

HANDSHAKE = "initialize"
"""The era of servers from before 2026-07-28; that of later ones is the version itself."""

_CallResult = types.CallToolResult | types.InputRequiredResult
_call_result: TypeAdapter[_CallResult] = TypeAdapter(_CallResult)
_CLIENT = types.Implementation(name="rini", version=__version__)
_WRONG_FORM = "The server's answer does not have the form that MCP prescribes."
_MOST_OF_A_MESSAGE = 1000
# Its code for a lost connection is one that servers use for all kinds of errors.
_OF_THE_LIBRARY = ("Connection closed", "SSE stream")

# What the library logs holds what servers answered; `client` is the name of its sessions' logger.
for _name in ("mcp", "client"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class _Dispatcher(JSONRPCDispatcher[TransportContext]):
    """Takes out of the last answer what the library need not read.

    ``listed``: the tools of a page, as one that is wrong must not spoil the others. Only the tool ``wanted`` stays: the library
    must know its schema where parameters of it travel as headers. ``structured``: a result's structured content, of any size.
    """

    listed: tuple[Any, ...] = ()
    structured: Any = None
    wanted: str | None = None

    async def send_raw_request(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,
        *,
        _related_request_id: types.RequestId | None = None,
    ) -> dict[str, Any]:
        raw = await super().send_raw_request(method, params, opts, _related_request_id=_related_request_id)
        if method == "tools/list" and isinstance(raw.get("tools"), list):
            self.listed = tuple(raw["tools"])
            raw["tools"] = [each for each in self.listed if self.wanted is not None and _name_of(each) == self.wanted]
        elif method == "tools/call":
            self.structured = raw.pop("structuredContent", None)
            if isinstance(raw.get("content"), list):
                raw["content"] = raw["content"][:MAX_BLOCKS]
        return raw


class McpSession:
    """A session with a server, after ``begin``."""

    def __init__(self, session: ClientSession, dispatcher: _Dispatcher) -> None:
        self._session = session
        self._dispatcher = dispatcher

    async def begin(self, era: str | None) -> None:
        """Agree on a version of the protocol; ``era`` is what an earlier session found."""
        if era is None:
            try:
                await self._session.discover()
            except (MCPError, ValidationError, RuntimeError):
                pass  # a server from before 2026-07-28 does not know the question
            else:
                return
        if era is None or era == HANDSHAKE:
            await self._session.initialize()
        else:
            self._session.adopt(_discovered(era))

    @property
    def era(self) -> str:
        """How the server wants to be spoken to: a version of the protocol, or HANDSHAKE."""
        return HANDSHAKE if self._session.discover_result is None else self.protocol_version

    @property
    def protocol_version(self) -> str:
        """The version that was agreed on."""
        return self._session.protocol_version or ""

    @property
    def server_name(self) -> str | None:
        """What the server calls itself."""
        info = self._session.server_info
        return None if info is None else shortened(info.title or info.name, 200)

    async def list_tools(self) -> list[Any]:
        """Return the tools as JSON values, at most MAX_TOOLS of them and of MAX_PAGES pages."""
        found: list[Any] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            params = None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
            page = await self._session.list_tools(params=params)
            found += self._dispatcher.listed  # nothing else ran since: no await lies between
            cursor = page.next_cursor
            if cursor is None or len(found) >= MAX_TOOLS:
                break
        return found[:MAX_TOOLS]

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a tool's result (CallToolResult) as JSON values. It is not held against the tool's output schema: that is the server's word too."""
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments=arguments))
        try:
            result = await self._session.send_request(request, _call_result)
        except MCPError as error:
            if error.code != types.HEADER_MISMATCH:
                raise
            # Some of the tool's parameters travel as headers, which only its listing tells.
            self._dispatcher.wanted = name
            await self.list_tools()
            result = await self._session.send_request(request, _call_result)
        structured = self._dispatcher.structured  # nothing else ran since: no await lies between
        if isinstance(result, types.InputRequiredResult):
            raise NoAnswerError("The tool asks for something from a person or a model, which is declined here.")
        return result.model_dump(by_alias=True, mode="json") | {"structuredContent": structured}


@asynccontextmanager
async def over_http(
    server: ToolServer, transport: Transport, give_up: Callable[[str], None]
) -> AsyncGenerator[McpSession]:
    """Open a session with a server on the network. ``give_up`` is GuardedHttp's."""
    guarded = GuardedHttp(transport, server, give_up)

    def client(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx2.AsyncClient:
        del headers, timeout, auth
        sent = httpx2.Headers({"user-agent": "rini"})
        sent.update(server.headers)
        return httpx2.AsyncClient(transport=guarded, headers=sent, timeout=None, trust_env=False)

    async with AsyncExitStack() as stack:
        if server.transport == "sse":
            streams = await stack.enter_async_context(sse_client(server.url, httpx_client_factory=client))
        else:
            http = await stack.enter_async_context(client())
            streams = await stack.enter_async_context(
                streamable_http_client(server.url, http_client=http, max_sse_event_size=MAX_BYTES)
            )
        session = await stack.enter_async_context(over_streams(*streams))
        try:
            yield session
        except MCPError as error:
            if guarded.last_refusal is not None:
                raise NoAnswerError(guarded.last_refusal) from error
            raise


@asynccontextmanager
async def over_streams(read_stream: Any, write_stream: Any) -> AsyncGenerator[McpSession]:
    """Open a session over a transport's streams."""
    dispatcher = _Dispatcher(read_stream, write_stream)
    async with ClientSession(dispatcher=dispatcher, client_info=_CLIENT) as session:
        yield McpSession(session, dispatcher)


def explained(error: BaseException) -> NoAnswerError:
    """Return what to tell people of whatever went wrong with a server."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    match error:
        case NoAnswerError():
            return error
        case MCPError(code=types.CONNECTION_CLOSED) if error.message.startswith(_OF_THE_LIBRARY):
            return NoAnswerError("The server closed the connection without an answer.")
        case MCPError(code=types.PARSE_ERROR):
            return NoAnswerError("The server answered with something that is not a message of MCP.")
        case MCPError(code=types.REQUEST_TIMEOUT):
            return NoAnswerError("The server did not answer in time.", "timeout")
        case MCPError():
            said = " ".join(shortened(error.message, _MOST_OF_A_MESSAGE).split())
            return NoAnswerError(f"The server refused: {said}", "refused")
        case ValidationError():
            return NoAnswerError(_WRONG_FORM)
        case httpx2.SSEError():
            return NoAnswerError("The server's answer is no event stream, or one that is broken or too large.")
        case httpx2.TransportError():
            return NoAnswerError(str(error))
        case _:
            return NoAnswerError(f"{_WRONG_FORM[:-1]} ({type(error).__name__}).")


def _discovered(version: str) -> types.DiscoverResult:
    return types.DiscoverResult(
        supported_versions=[version],
        capabilities=types.ServerCapabilities(),
        result_type="complete",
        ttl_ms=0,
        cache_scope="public",
    )


def _name_of(tool: Any) -> Any:
    return cast("dict[str, Any]", tool).get("name") if isinstance(tool, dict) else None
