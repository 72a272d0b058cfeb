"""JSON in and out, and the checked reading of its fields.

Gemini's JSON follows the protobuf mapping: a field's name may be written in camelCase or in snake_case, ``null`` means absent,
and a repeated field that holds one message may be given as that message alone.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from rini.wire.codec import MalformedError

WIRE = "gemini"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def loads(data: bytes | str) -> Any:
    """Return the JSON value in ``data``. Raises MalformedError."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeError):
        raise MalformedError("The bytes are not valid JSON.") from None
    except RecursionError:
        raise MalformedError("The JSON is nested too deeply.") from None


def dumps(value: Any) -> bytes:
    """Return ``value`` as compact JSON."""
    return _encode(value)


def camel(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``fields`` with camelCase names and without nulls. What is nested stays as it is."""
    return {_camel(name) if "_" in name else name: value for name, value in fields.items() if value is not None}


def is_object(value: object) -> bool:
    """Whether ``value`` is a JSON object."""
    return isinstance(value, dict)


def an_object(value: object, name: str) -> dict[str, Any]:
    """Return ``value`` if it is an object. Raises MalformedError."""
    if not isinstance(value, dict):
        raise MalformedError(f"{name} is not an object.")
    return cast("dict[str, Any]", value)


def objects(value: object, name: str) -> list[dict[str, Any]]:
    """Return a repeated field's objects; a single object counts as a list of one. Raises MalformedError."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [cast("dict[str, Any]", value)]
    if not isinstance(value, list):
        raise MalformedError(f"{name} is not a list.")
    return [an_object(item, name) for item in cast("list[object]", value)]


def a_string(value: object, name: str) -> str:
    """Return ``value`` if it is a string. Raises MalformedError."""
    if not isinstance(value, str):
        raise MalformedError(f"{name} is not a string.")
    return value


def strings(value: object, name: str) -> tuple[str, ...]:
    """Return a repeated field's strings. Raises MalformedError."""
    if not isinstance(value, list):
        raise MalformedError(f"{name} is not a list.")
    return tuple(a_string(item, name) for item in cast("list[object]", value))


def a_number(value: object, name: str) -> float | int:
    """Return ``value`` if it is a number. Raises MalformedError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedError(f"{name} is not a number.")
    return value


def an_integer(value: object, name: str) -> int:
    """Return ``value`` if it is a whole number, 3.0 among them. Raises MalformedError."""
    number = a_number(value, name)
    if isinstance(number, float):
        if not number.is_integer():
            raise MalformedError(f"{name} is not a whole number.")
        return int(number)
    return number


def a_boolean(value: object, name: str) -> bool:
    """Return ``value`` if it is true or false. Raises MalformedError."""
    if not isinstance(value, bool):
        raise MalformedError(f"{name} is not true or false.")
    return value


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in tail) if head else name
