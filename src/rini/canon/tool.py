"""Tools that a request offers, and whether the model may, must or must not call them."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from rini.canon.extras import Extras


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A client-side function. ``parameters`` is a JSON schema; ``None`` where the request gave none.

    A provider's own tool (web search, code execution, a tool with a grammar) has ``opaque`` set: the whole JSON
    value as it came, valid for the wire format ``wire`` alone, with ``name`` as far as it is known.
    """

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None
    wire: str | None = None
    opaque: Any = None
    extras: Extras | None = None


class ToolChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """``auto``: may; ``required``: must; ``none``: must not; ``tool``: must call the one in ``names``.

    ``required`` with ``names`` restricts the choice to those (Gemini's allowedFunctionNames with ANY).
    """

    mode: Literal["auto", "required", "none", "tool"]
    names: tuple[str, ...] = ()
    extras: Extras | None = None
