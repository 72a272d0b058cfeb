"""What a server lists, tool by tool: whether it can be offered, and why not."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from rini.kit.text import storable
from rini.tools.input_schema import SchemaRefusedError, offered_schema

MAX_TOOLS = 512
"""The most tools of one server that are looked at."""

MAX_NAME = 512
MAX_DESCRIPTION = 1024
MAX_SCHEMAS_BYTES = 1024 * 1024
"""The most that the schemas of one server's tools may take together."""


class ListedTool(msgspec.Struct, frozen=True):
    """A tool under its own name. It cannot be offered where ``reason`` says why; only then are there no ``parameters``.

    ``size`` is what its texts and schema take, in bytes.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    reason: str | None = None
    size: int = 0


class Listing(msgspec.Struct, frozen=True):
    """What a server told of itself. ``tools`` are in the order of their names; ``era`` is how it wants to be spoken to.

    ``ms`` is how long it took to ask.
    """

    tools: tuple[ListedTool, ...]
    server_name: str | None
    protocol_version: str
    era: str
    ms: int

    @property
    def size(self) -> int:
        """What it takes to keep, in bytes, about."""
        return sum(tool.size for tool in self.tools)


def read_tools(given: Sequence[Any], allowed: Iterable[str] | None) -> tuple[ListedTool, ...]:
    """Return the tools that a server's ``tools/list`` held, whatever it really held, sorted by name."""
    permitted = None if allowed is None else frozenset(allowed)
    found: dict[str, ListedTool] = {}
    room = MAX_SCHEMAS_BYTES
    for each in given[:MAX_TOOLS]:
        tool = _read(each, permitted)
        if tool.name in found:
            continue  # the first of that name is the one that a call would reach, if any
        if tool.reason is None and (room := room - tool.size) < 0:
            tool = ListedTool(tool.name, tool.description, reason="The schemas of this server's tools are too large.")
        found[tool.name] = tool
    return tuple(found[name] for name in sorted(found))


def _read(given: Any, permitted: frozenset[str] | None) -> ListedTool:
    if not isinstance(given, dict):
        return ListedTool("", reason="It is not a JSON object.")
    tool = cast("dict[str, Any]", given)
    name, description = tool.get("name"), tool.get("description")
    if not isinstance(name, str) or not name:
        return ListedTool("", reason="It has no name.")
    if len(name) > MAX_NAME:
        return ListedTool(name[:MAX_NAME], reason=f"Its name is longer than {MAX_NAME} characters.")
    try:
        storable(name)
    except ValueError as error:
        return ListedTool(name.encode(errors="replace").decode().replace("\0", "�"), reason=f"Its name {error}.")
    text = shortened(description, MAX_DESCRIPTION) if isinstance(description, str) else None
    if permitted is not None and name not in permitted:
        return ListedTool(name, text, reason="It is not among the connection's allowed_tools.")
    try:
        parameters = offered_schema(tool.get("inputSchema"))
        size = len(msgspec.json.encode(parameters)) + len(name) + len(text or "")
    except SchemaRefusedError as error:
        return ListedTool(name, text, reason=str(error))
    except (UnicodeEncodeError, RecursionError):
        return ListedTool(name, text, reason="Its input schema cannot be written as JSON.")
    return ListedTool(name, text, parameters, size=size)


def shortened(text: str, most: int) -> str:
    """Return ``text`` in a form that can be stored, with at most ``most`` characters."""
    clean = text.encode(errors="replace").decode().replace("\0", "�")
    return clean if len(clean) <= most else clean[: most - 1] + "…"
