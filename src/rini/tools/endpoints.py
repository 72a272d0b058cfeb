"""/mcp-connections."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from rini.accounts.dependencies import CurrentUser, KeyCacheDependency
from rini.accounts.keyring import Keyring
from rini.db.dependency import DatabaseDependency
from rini.errors import AddressRefusedError, KeyUnreadableError
from rini.kit.addresses import AddressError, check_url
from rini.kit.parameters import TOTAL_HEADER, Limit, RowId, Skip
from rini.settings import Settings
from rini.tools import connections
from rini.tools.headers import header_names
from rini.tools.schemas import Connection, ConnectionCreate, ConnectionTest, ConnectionUpdate, ShownTool
from rini.tools.toolbox import Toolbox

router = APIRouter(tags=["mcp-connections"])


def _settings(request: Request) -> Settings:
    return request.app.state.settings


def _toolbox(request: Request) -> Toolbox:
    return request.app.state.toolbox


SettingsDependency = Annotated[Settings, Depends(_settings)]
ToolboxDependency = Annotated[Toolbox, Depends(_toolbox)]


@router.post("/mcp-connections/", status_code=201, summary="Connect an MCP server")
def create_connection(
    body: ConnectionCreate,
    user_id: CurrentUser,
    database: DatabaseDependency,
    cache: KeyCacheDependency,
    settings: SettingsDependency,
) -> Connection:
    """Store a connection. Its tools are offered in turns with `llm_params.tool_choice`."""
    values = body.model_dump(exclude={"headers"}) | {"url": _checked_url(body.url, settings)}
    row = database.write_sync(connections.create, cache.keyring, user_id, values, body.headers or {})
    return _shown(cache.keyring, row)


@router.get("/mcp-connections/", summary="List my MCP connections")
def list_connections(
    user_id: CurrentUser,
    database: DatabaseDependency,
    cache: KeyCacheDependency,
    response: Response,
    skip: Skip = 0,
    limit: Limit = 10,
) -> list[Connection]:
    """Return my connections, oldest first."""
    rows, total = database.read_sync(connections.page, user_id, skip, limit)
    response.headers[TOTAL_HEADER] = str(total)
    return [_shown(cache.keyring, row) for row in rows]


@router.get("/mcp-connections/{connection_id}", summary="Read an MCP connection")
def read_connection(
    connection_id: RowId, user_id: CurrentUser, database: DatabaseDependency, cache: KeyCacheDependency
) -> Connection:
    """Return a connection."""
    return _shown(cache.keyring, database.read_sync(connections.get, user_id, connection_id))


@router.put("/mcp-connections/{connection_id}", summary="Change an MCP connection")
def update_connection(
    connection_id: RowId,
    body: ConnectionUpdate,
    user_id: CurrentUser,
    database: DatabaseDependency,
    cache: KeyCacheDependency,
    settings: SettingsDependency,
) -> Connection:
    """Change what the body names. A url on another server needs the headers again, where there are any."""
    values = body.model_dump(exclude_unset=True, exclude={"headers"})
    if "url" in values:
        values["url"] = _checked_url(body.url, settings)
    headers = (body.headers or {}) if "headers" in body.model_fields_set else None
    row = database.write_sync(connections.change, cache.keyring, user_id, connection_id, values, headers)
    return _shown(cache.keyring, row)


@router.delete("/mcp-connections/{connection_id}", status_code=204, summary="Delete an MCP connection")
def delete_connection(connection_id: RowId, user_id: CurrentUser, database: DatabaseDependency) -> None:
    """Delete a connection; calls that already run keep it."""
    database.write_sync(connections.delete, user_id, connection_id)


@router.post("/mcp-connections/{connection_id}/test", summary="Try an MCP connection")
async def try_connection(connection_id: RowId, user_id: CurrentUser, toolbox: ToolboxDependency) -> ConnectionTest:
    """Connect to the server now and list its tools. A server that does not answer is told of with `ok: false`."""
    tried = await toolbox.try_out(user_id, connection_id)
    return ConnectionTest.model_validate(tried, from_attributes=True)


@router.get("/mcp-connections/{connection_id}/tools", summary="List an MCP connection's tools")
async def list_tools(connection_id: RowId, user_id: CurrentUser, toolbox: ToolboxDependency) -> list[ShownTool]:
    """Ask the server now for its tools; those that are not offered to models say why."""
    tools = await toolbox.inspect(user_id, connection_id)
    return [ShownTool.model_validate(tool, from_attributes=True) for tool in tools]


def _checked_url(url: str, settings: Settings) -> str:
    url = url.strip()
    try:
        check_url(url, settings.allowed_private_hosts)
    except AddressError as error:
        raise AddressRefusedError(f"url: {error}") from None
    return url


def _shown(keyring: Keyring, row: Any) -> Connection:
    try:
        names = header_names(connections.open_headers(keyring, row))
    except KeyUnreadableError:
        names = []  # it is told where the connection is tried
    shown = {
        **row._mapping,  # noqa: SLF001  # public, whatever its name looks like
        "header_names": names,
        "allowed_tools": None if row.allowed_tools is None else json.loads(row.allowed_tools),
    }
    return Connection.model_validate(shown)
