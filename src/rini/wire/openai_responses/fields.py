"""What of the JSON is this wire format's own: its name, its extras and its notes. Reading is shared with openai_chat.json_value."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rini.canon import Extras, extras_of, with_extras
from rini.wire.codec import UnsupportedError
from rini.wire.openai_chat.json_value import NOTE, Json, left

NAME: Final = "openai_responses"

ITEM: Final = "item."
"""In a part's extras the fields of the output item that it stands in are named ``item.id``, ``item.status`` and so on."""

_encode = msgspec.json.Encoder().encode


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON. Raises UnsupportedError where it is nested too deeply."""
    try:
        return _encode(value)
    except RecursionError as error:
        raise UnsupportedError(NAME, "extras", "they are nested too deeply") from error


def left_as_extras(source: Json) -> Extras | None:
    """Return what is left in ``source`` apart from nulls, as extras of this wire format."""
    return with_extras(NAME, left(source))


def own_extras(extras: Extras | None) -> Json:
    """Return a copy of the fields that belong to this wire format, notes not among them."""
    if extras is None:
        return {}
    return {name: value for name, value in extras_of(extras, NAME).items() if not name.startswith(NOTE)}


def note(extras: Extras | None, name: str) -> Any:
    """Return one of this codec's notes, or ``None``."""
    return None if extras is None else extras_of(extras, NAME).get(NOTE + name)


def split_item(fields: Mapping[str, Any]) -> tuple[Json, Json]:
    """Return the fields of a part itself, and those of the item around it."""
    own: Json = {}
    item: Json = {}
    for name, value in fields.items():
        if name.startswith(ITEM):
            item[name.removeprefix(ITEM)] = value
        else:
            own[name] = value
    return own, item
