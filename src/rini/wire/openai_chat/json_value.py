"""Reading and writing the JSON of this wire format: typed access to untyped objects.

The ``pop_`` functions take a field out of a freshly decoded object, so that what is left at the end are the fields that
canon has no name for: they become the extras. ``null`` is the same as an absent field. All raise MalformedError.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from rini.canon import Extras, extras_of, with_extras
from rini.wire.codec import MalformedError, UnsupportedError

NAME = "openai_chat"

Json = dict[str, Any]

# Extras whose name begins so are this codec's own notes (which of two spellings a client used) and never travel.
NOTE = "~"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_BOM = b"\xef\xbb\xbf"


def decode(data: bytes) -> Any:
    """Return the JSON value in ``data``; a byte order mark before it is ignored."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if data.startswith(_BOM):
            return decode(data[len(_BOM) :])
        raise MalformedError("The bytes are not JSON as this wire format has it.") from error


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON. Raises UnsupportedError where it is nested too deeply."""
    try:
        return _encode(value)
    except RecursionError as error:
        raise UnsupportedError(NAME, "extras", "they are nested too deeply") from error


def as_object(value: Any, what: str) -> Json:
    """Return ``value``, which must be an object."""
    if type(value) is not dict:
        raise MalformedError(f"{what} is not an object.")
    return cast("Json", value)


def as_list(value: Any, what: str) -> list[Any]:
    """Return ``value``, which must be an array."""
    if type(value) is not list:
        raise MalformedError(f"{what} is not an array.")
    return cast("list[Any]", value)


def as_string(value: Any, what: str) -> str:
    """Return ``value``, which must be a string."""
    if type(value) is not str:
        raise MalformedError(f"{what} is not a string.")
    return value


def pop_object(source: Json, name: str) -> Json | None:
    """Take an object out of ``source``."""
    value = source.pop(name, None)
    return None if value is None else as_object(value, name)


def pop_list(source: Json, name: str) -> list[Any] | None:
    """Take an array out of ``source``."""
    value = source.pop(name, None)
    return None if value is None else as_list(value, name)


def pop_string(source: Json, name: str) -> str | None:
    """Take a string out of ``source``."""
    value = source.pop(name, None)
    return None if value is None else as_string(value, name)


def pop_flag(source: Json, name: str) -> bool | None:
    """Take a boolean out of ``source``."""
    value = source.pop(name, None)
    if value is None or type(value) is bool:
        return value
    raise MalformedError(f"{name} is not a boolean.")


def pop_number(source: Json, name: str) -> float | int | None:
    """Take a number out of ``source``."""
    value = source.pop(name, None)
    if value is None or type(value) in {int, float}:
        return value
    raise MalformedError(f"{name} is not a number.")


def pop_integer(source: Json, name: str) -> int | None:
    """Take an integer out of ``source``; 12.0 is one."""
    value = pop_number(source, name)
    if value is None or type(value) is int:
        return value
    if value == int(value):
        return int(value)
    raise MalformedError(f"{name} is not an integer.")


def left(source: Json) -> Json:
    """Return what is left in ``source`` apart from nulls."""
    return {name: value for name, value in source.items() if value is not None}


def left_as_extras(source: Json) -> Extras | None:
    """Return what is left in ``source`` apart from nulls, as extras of this wire format."""
    return with_extras(NAME, left(source))


def put_back(target: Json, name: str, nested: Json) -> None:
    """Keep what is left of an object that was taken out of ``target``."""
    if rest := left(nested):
        target[name] = rest


def own_extras(extras: Extras | None) -> Json:
    """Return a copy of the fields that belong to this wire format, notes not among them."""
    return {name: value for name, value in extras_of(extras, NAME).items() if not name.startswith(NOTE)}


def note(extras: Extras | None, name: str) -> Any:
    """Return one of this codec's notes, or ``None``."""
    return extras_of(extras, NAME).get(NOTE + name)


def nested_extras(fields: Json, name: str) -> Mapping[str, Any]:
    """Take the unknown fields of the inner object ``name`` out of extras."""
    value = fields.pop(name, None)
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
