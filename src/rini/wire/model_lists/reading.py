"""Reading what servers say of their models: anything may be missing, of another type or too large, and then counts as not said."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from rini.wire.codec import MalformedError

MOST_MODELS = 5000
"""Of one page; what a server lists beyond is not looked at."""

_MOST_COMMAS = 40 * MOST_MODELS
"""In an answer. Reading one with more would hold all others up; each model of the most talkative server has 60."""

LONGEST_ID = 256
LONGEST_TEXT = 2000
MOST_TOKENS = 1_000_000_000

_items = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, Any])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str | None)

_TRUE = msgspec.Raw(b"true")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Listed(msgspec.Struct, frozen=True):
    """A list as it came: the models' objects, and what stands beside the list."""

    models: tuple[Mapping[str, Any], ...]
    beside: Mapping[str, msgspec.Raw]

    def text(self, name: str) -> str | None:
        """Return a text beside the list."""
        value = self.beside.get(name)
        try:
            return _text.decode(value) if value is not None else None
        except _UNREADABLE:
            return None

    def says(self, name: str) -> bool:
        """Tell whether there is ``true`` beside the list."""
        return self.beside.get(name) == _TRUE


def read_list(body: bytes, name: str) -> Listed:
    """Return the list that stands under ``name``, or that ``body`` is itself. Raises MalformedError."""
    if body.count(b",") > _MOST_COMMAS:
        raise MalformedError("it lists more than can be read.")
    try:
        if body.lstrip()[:1] == b"[":
            fields, raw = {}, body
        else:
            fields = _fields.decode(body)
            raw = fields.get(name)
        items = _items.decode(raw) if raw is not None else None
    except _UNREADABLE:
        items = fields = None
    if items is None or fields is None:
        raise MalformedError("it holds no list of models.")
    return Listed(tuple(found for item in items[:MOST_MODELS] if (found := _read(item)) is not None), fields)


def read_model(body: bytes) -> Mapping[str, Any]:
    """Return the object that ``body`` is. Raises MalformedError."""
    found = _read(body) if body.count(b",") <= _MOST_COMMAS else None
    if found is None:
        raise MalformedError("it is no model.")
    return found


def _read(data: bytes | msgspec.Raw) -> Mapping[str, Any] | None:
    try:
        return _object.decode(data)
    except _UNREADABLE:
        return None


def model_id(value: object) -> str | None:
    """Return ``value`` where it can be a model's id: printable, and not longer than LONGEST_ID."""
    if isinstance(value, str) and 0 < len(value) <= LONGEST_ID and value.isprintable():
        return value
    return None


def text(value: object) -> str | None:
    """Return a text that is worth keeping."""
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT else None


def flag(value: object) -> bool | None:
    """Return true or false."""
    return value if isinstance(value, bool) else None


def tokens(*values: object) -> int | None:
    """Return the first of ``values`` that counts tokens; some servers write 8192.0, and 0 where there is no limit."""
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS:
            return int(value)
    return None


def seconds(value: object) -> int | None:
    """Return seconds since 1970, as far as a calendar goes."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 253_402_300_800:
        return int(value)
    return None


def inside(value: object) -> Mapping[str, Any]:
    """Return ``value`` where it is an object, and an empty one otherwise."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def texts(value: object) -> frozenset[str] | None:
    """Return the texts of a list."""
    if not isinstance(value, list):
        return None
    return frozenset(each for each in cast("list[object]", value) if isinstance(each, str))
