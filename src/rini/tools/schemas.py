"""What the endpoints of MCP connections take and give."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from rini.kit.text import storable
from rini.tools.headers import check_headers
from rini.tools.listing import MAX_NAME

MOST_ALLOWED_TOOLS = 512

Transport = Literal["streamable_http", "sse"]
_OTHER_WORDS = {"streamablehttp": "streamable_http", "http": "streamable_http"}
_Storable = AfterValidator(storable)


def _transport(value: object) -> object:
    """Take the words of other clients too. Raises ValueError for stdio, which is a command on the server."""
    if not isinstance(value, str):
        return value
    word = value.lower().replace("-", "_")
    if word == "stdio":
        raise ValueError(
            "stdio servers are commands that run on this server, so only its operator sets them up; "
            "it must be streamable_http or sse"
        )
    return _OTHER_WORDS.get(word, word)


Name = Annotated[str, Field(min_length=1, max_length=128), _Storable]
Url = Annotated[str, Field(max_length=2000), _Storable]
Description = Annotated[str, Field(max_length=2000), _Storable]
Headers = Annotated[dict[str, str], AfterValidator(check_headers)]
AllowedTools = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_NAME), _Storable]], Field(max_length=MOST_ALLOWED_TOOLS)
]
Seconds = Annotated[float, Field(strict=True, ge=1, le=300)]
Flag = Annotated[bool, Field(strict=True)]


class ConnectionCreate(BaseModel):
    """A connection to an MCP server. ``allowed_tools`` of null allows all; ``headers`` are stored encrypted and never shown."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "weather",
                    "url": "https://mcp.example.com/mcp",
                    "headers": {"Authorization": "Bearer my-token"},
                    "allowed_tools": ["forecast"],
                }
            ]
        }
    )

    name: Name
    url: Url
    description: Description | None = None
    transport: Annotated[Transport, BeforeValidator(_transport)] = "streamable_http"
    headers: Headers | None = None
    enabled: Flag = True
    allowed_tools: AllowedTools | None = None
    timeout_seconds: Seconds = 30


class ConnectionUpdate(BaseModel):
    """What can change of a connection; what is left out stays. ``headers`` replaces all of them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": False}]})

    name: Name = ""
    url: Url = ""
    description: Description | None = None
    transport: Annotated[Transport, BeforeValidator(_transport)] = "streamable_http"
    headers: Headers | None = None
    enabled: Flag = True
    allowed_tools: AllowedTools | None = None
    timeout_seconds: Seconds = 30


class Connection(BaseModel):
    """A connection. Of its headers only the names are shown."""

    id: int
    user_id: int
    name: str
    url: str
    description: str | None
    transport: Transport
    header_names: list[str]
    enabled: bool
    allowed_tools: list[str] | None
    timeout_seconds: float
    created_at: datetime
    updated_at: datetime


class ConnectionTest(BaseModel):
    """How a server answered. ``detail`` is one sentence; the rest is there where it did answer. ``ms`` is the time it took."""

    ok: bool
    detail: str
    server_name: str | None = None
    protocol_version: str | None = None
    tools: int | None = None
    ms: int


class ShownTool(BaseModel):
    """A tool of a server. Where it is not ``offered`` to models, ``reason`` says why. ``offered_as`` is its name there."""

    name: str
    offered_as: str | None
    description: str | None
    input_schema: dict[str, Any] | None
    offered: bool
    reason: str | None = None
