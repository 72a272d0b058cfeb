"""Reading and writing JSON of the Anthropic wire format, with MalformedError as the only way to fail on a value's shape."""

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from rini.canon import Extras
from rini.wire.codec import MalformedError

WIRE: Final = "anthropic"

Json = dict[str, Any]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def load(data: bytes | str) -> object:
    """Return the JSON value in ``data``. Raises MalformedError."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedError("The bytes are not JSON that can be read.") from error


def dump(value: object) -> bytes:
    """Return ``value`` as JSON. Raises MalformedError for what JSON in UTF-8 cannot hold (a lone surrogate)."""
    try:
        return _encode(value)
    except (msgspec.EncodeError, ValueError, TypeError, RecursionError) as error:
        raise MalformedError("A value cannot be written as JSON.") from error


def object_or_none(value: object) -> Json | None:
    """Return ``value`` if it is a JSON object."""
    return cast("Json", value) if isinstance(value, dict) else None


def as_object(value: object, where: str) -> Json:
    """Return ``value``, which must be a JSON object."""
    if isinstance(value, dict):
        return cast("Json", value)
    raise MalformedError(f"{where} is not an object.")


def as_list(value: object, where: str) -> list[Any]:
    """Return ``value``, which must be a JSON array."""
    if isinstance(value, list):
        return cast("list[Any]", value)
    raise MalformedError(f"{where} is not a list.")


def text_field(fields: Mapping[str, Any], name: str, where: str) -> str:
    """Return the string ``name``, which must be there."""
    value = fields.get(name)
    if isinstance(value, str):
        return value
    raise MalformedError(f"{where}.{name} is not a string.")


def optional_text(fields: Mapping[str, Any], name: str, where: str) -> str | None:
    """Return the string ``name``, or None where it is absent or null."""
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise MalformedError(f"{where}.{name} is not a string.")


def optional_integer(fields: Mapping[str, Any], name: str, where: str) -> int | None:
    """Return the integer ``name``, or None where it is absent or null."""
    value = fields.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise MalformedError(f"{where}.{name} is not an integer.")


def optional_number(fields: Mapping[str, Any], name: str, where: str) -> float | int | None:
    """Return the number ``name``, or None where it is absent or null."""
    value = fields.get(name)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise MalformedError(f"{where}.{name} is not a number.")


def optional_flag(fields: Mapping[str, Any], name: str, where: str) -> bool | None:
    """Return the boolean ``name``, or None where it is absent or null."""
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise MalformedError(f"{where}.{name} is not a boolean.")


def other_fields(fields: Mapping[str, Any], known: frozenset[str]) -> Extras | None:
    """Return the fields that canon has no name for as extras of this wire format."""
    if fields.keys() <= known:
        return None
    return {WIRE: {name: value for name, value in fields.items() if name not in known}}
