"""The operator's MCP servers: a JSON file in the form that other MCP clients use, documented in docs/mcp.md."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from rini.kit.addresses import AddressError, parse_url
from rini.settings import SettingsError
from rini.tools.headers import check_headers
from rini.tools.server import ToolServer, TransportName

LONGEST_TIMEOUT = 3600
_DEFAULT_TIMEOUT = 30.0
_KINDS: Mapping[str, TransportName] = {
    "stdio": "stdio",
    "sse": "sse",
    "http": "streamable_http",
    "streamable_http": "streamable_http",
    "streamablehttp": "streamable_http",
}
_COMMON = frozenset({"transport", "type", "allowed_tools", "timeout_seconds", "enabled", "description"})
_FIELDS = {"stdio": _COMMON | {"command", "args", "env", "cwd"}, "http": _COMMON | {"url", "headers"}}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def load_servers(path: Path) -> tuple[ToolServer, ...]:
    """Return the file's enabled servers, in its order. Raises SettingsError with a sentence for each mistake."""
    where = f"RINI_MCP_SERVERS_FILE: {path}"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{where} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{where} is not JSON: {error}.") from None
    servers = cast("dict[str, Any]", document).get("mcpServers") if isinstance(document, dict) else None
    if not isinstance(servers, dict):
        raise SettingsError(f'{where} must be an object with the member "mcpServers", an object of servers by name.')
    mistakes: list[str] = []
    found: list[ToolServer] = []
    for name, given in cast("dict[str, Any]", servers).items():
        reader = _Reader(name, given)
        server = reader.read()
        if reader.mistakes:
            mistakes += reader.mistakes
        elif reader.enabled:
            found.append(server)
    if mistakes:
        raise SettingsError(f"{where}: {' '.join(mistakes)}")
    return tuple(found)


class _Reader:
    """Reads one server's object, and collects what is wrong in it."""

    def __init__(self, name: str, given: Any) -> None:
        self.mistakes: list[str] = []
        self.enabled = True
        self._name = name
        self._is_object = isinstance(given, dict)
        self._given = cast("dict[str, Any]", given) if isinstance(given, dict) else {}

    def read(self) -> ToolServer:
        if not 1 <= len(self._name) <= 128:
            self._wrong("", "must have a name of 1 to 128 characters")
        if not self._is_object:
            self._wrong("", "must be an object")
        given = self._given
        kind = self._kind()
        fields = _FIELDS["stdio" if kind == "stdio" else "http"]
        for field in given:
            if field not in fields:
                self._wrong(field, f"is not known for {kind}; there are {', '.join(sorted(fields))}")
        self.enabled = self._typed("enabled", bool, default=True)
        timeout = given.get("timeout_seconds", _DEFAULT_TIMEOUT)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 1 <= timeout <= LONGEST_TIMEOUT:
            self._wrong("timeout_seconds", f"must be a number from 1 to {LONGEST_TIMEOUT}")
            timeout = _DEFAULT_TIMEOUT
        allowed = self._texts("allowed_tools") if given.get("allowed_tools") is not None else None
        return ToolServer(
            key=f"server_{self._name}",
            version=hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest(),
            name=self._name,
            transport=kind,
            timeout=float(timeout),
            allowed_tools=None if allowed is None else frozenset(allowed),
            url="" if kind == "stdio" else self._url(),
            headers=self._headers(),
            command=self._command() if kind == "stdio" else (),
            environment=self._environment(),
            folder=self._typed("cwd", str, default="") or None,
        )

    def _kind(self) -> TransportName:
        named = self._given.get("transport", self._given.get("type"))
        if named is None:
            return "stdio" if "command" in self._given else "streamable_http"
        kind = _KINDS.get(named.lower().replace("-", "_")) if isinstance(named, str) else None
        if kind is None:
            self._wrong("transport", "must be stdio, streamable_http or sse")
        return kind or "streamable_http"

    def _command(self) -> tuple[str, ...]:
        command = self._typed("command", str, default="")
        if self._given.get("command") in (None, ""):
            self._wrong("command", "must be the program to run")
        return (command, *self._texts("args"))

    def _environment(self) -> dict[str, str]:
        found = self._strings("env")
        if not all(map(_VARIABLE.fullmatch, found)):
            self._wrong("env", "must hold names of letters, digits and _")
        return found

    def _headers(self) -> dict[str, str]:
        try:
            return check_headers(self._strings("headers"))
        except ValueError as error:
            self._wrong("headers", str(error))
            return {}

    def _url(self) -> str:
        url = self._typed("url", str, default="")
        try:
            parse_url(url)
        except AddressError as error:
            self._wrong("url", f"cannot be used: {error}".removesuffix("."))
        return url

    def _typed(self, field: str, kind: type[Any], *, default: Any) -> Any:
        value = self._given.get(field, default)
        if isinstance(value, kind):
            return value
        self._wrong(field, "must be true or false" if kind is bool else "must be a string")
        return default

    def _texts(self, field: str) -> list[str]:
        value = self._given.get(field, [])
        if isinstance(value, list) and all(isinstance(each, str) for each in cast("list[Any]", value)):
            return cast("list[str]", value)
        self._wrong(field, "must be a list of strings")
        return []

    def _strings(self, field: str) -> dict[str, str]:
        value = self._given.get(field, {})
        if isinstance(value, dict) and all(isinstance(each, str) for each in cast("dict[str, Any]", value).values()):
            return cast("dict[str, str]", value)
        self._wrong(field, "must be an object of strings")
        return {}

    def _wrong(self, field: str, rule: str) -> None:
        place = f"{self._name}.{field}" if field else self._name
        self.mistakes.append(f"{place} {rule}.")
