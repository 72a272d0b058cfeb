"""Reading a schema's references and intersections: what ``$ref`` names, and what ``allOf`` adds up to.

All work is counted, so that a schema which unfolds without end is refused after a bounded time.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast
from urllib.parse import unquote

from rini.wire.codec import UnsupportedError

Json = dict[str, Any]

MAX_DEPTH: Final = 64
"""How deep schemas may be nested. OpenAI takes 10 levels; nobody documents more."""

MAX_STEPS: Final = 5_000
"""How many schemas are looked at before the whole is refused as too large."""

ANNOTATIONS: Final = frozenset({
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "discriminator",
    "$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "$vocabulary", "contentEncoding", "contentMediaType",
    "contentSchema", "externalDocs", "xml", "propertyOrdering",
})  # fmt: skip
"""Keywords that restrict no value."""

_HIGHEST = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"})
_LOWEST = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"})


class ImpossibleError(Exception):
    """No value meets all that is asked."""


class Merger:
    """Resolves references within ``root`` and adds schemas up; names what is lost in ``dropped``."""

    def __init__(self, root: Mapping[str, Any], wire: str, field: str, dropped: list[str]) -> None:
        self.wire = wire
        self.field = field
        self._root = root
        self._dropped = dropped
        self._steps = 0

    def refuse(self, path: str, why: str) -> UnsupportedError:
        """Return the error that refuses the schema for what stands at ``path``."""
        return UnsupportedError(self.wire, path, why)

    def drop(self, path: str) -> None:
        """Name what the schema loses."""
        if path not in self._dropped:
            self._dropped.append(path)

    def spend(self, depth: int = 0, steps: int = 1) -> None:
        """Count one more step of work. Raises UnsupportedError when there are too many, or the schema is too deep."""
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise self.refuse(self.field, "the schema is too large once its references are resolved")
        if depth > MAX_DEPTH:
            raise self.refuse(self.field, f"the schema is nested more than {MAX_DEPTH} levels deep")

    def target(self, reference: object, path: str) -> object:
        """Return the schema that a ``$ref`` names. Raises UnsupportedError for one that lies elsewhere."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise self.refuse(f"{path}.$ref", "a reference must point into the same schema, as #/$defs/name does")
        found: object = self._root
        for step in reference[2:].split("/") if len(reference) > 2 else ():
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            members, items = as_map(found), as_list(found)
            if members is not None and name in members:
                found = members[name]
            elif items is not None and name.isdecimal() and len(name) < 9 and int(name) < len(items):
                found = items[int(name)]
            else:
                raise self.refuse(f"{path}.$ref", "nothing is defined where the reference points")
        return found

    def resolved(self, schema: object, path: str) -> Json:
        """Return ``schema`` as an object without ``$ref``: what one names is added to what stands beside it."""
        seen: set[str] = set()
        found = self.as_schema(schema, path)
        while "$ref" in found:
            self.spend()
            reference = found.pop("$ref")
            target = self.target(reference, path)
            if reference in seen:
                raise self.refuse(f"{path}.$ref", "the reference leads to itself")
            seen.add(reference)
            found = self.both(found, self.as_schema(target, path), path)
        return found

    def as_schema(self, schema: object, path: str) -> Json:
        """Return a copy of ``schema``, which may be a boolean."""
        if schema is True:
            return {}
        if schema is False:
            raise ImpossibleError
        if not isinstance(schema, dict):
            raise self.refuse(path, "it is no JSON schema")
        return dict(cast("Json", schema))

    def merged(self, schema: Json, path: str) -> Json:
        """Return ``schema`` with the members of its ``allOf`` added to it."""
        while "allOf" in schema:
            for member in self.a_list(schema.pop("allOf"), f"{path}.allOf"):
                self.spend()
                schema = self.both(schema, self.resolved(member, f"{path}.allOf"), path)
        return schema

    def both(self, schema: Json, other: Json, path: str) -> Json:
        """Return ``schema`` with ``other`` added: what meets both meets the result. Raises ImpossibleError."""
        self.spend(steps=1 + len(other) // 8)
        for name, value in other.items():
            if name not in schema:
                schema[name] = value
            elif name not in ANNOTATIONS and not _same(schema[name], value):
                self._add(schema, name, value, path)
        return schema

    def _add(self, schema: Json, name: str, value: Any, path: str) -> None:
        mine = schema[name]
        if name == "type":
            schema[name] = _common_types(_as_types(mine), _as_types(value))
        elif name == "properties":
            mine, value = self.a_map(mine, f"{path}.{name}"), self.a_map(value, f"{path}.{name}")
            self.spend(steps=(len(mine) + len(value)) // 8)
            schema[name] = mine | {
                key: {"allOf": [mine[key], each]} if key in mine else each for key, each in value.items()
            }
        elif name == "required":
            schema[name] = list(dict.fromkeys([*self.a_list(mine, path), *self.a_list(value, path)]))
        elif name == "enum":
            mine, value = self.a_list(mine, path), self.a_list(value, path)
            self.spend(steps=len(mine) * len(value) // 64)
            schema[name] = [each for each in mine if is_among(each, value)]
            if not schema[name]:
                raise ImpossibleError
        elif name == "const":
            raise ImpossibleError
        elif name in _HIGHEST | _LOWEST and _is_number(mine) and _is_number(value):
            schema[name] = max(mine, value) if name in _HIGHEST else min(mine, value)
        elif name in {"items", "additionalProperties"} and as_list(mine) is None and as_list(value) is None:
            schema[name] = False if mine is False or value is False else {"allOf": [mine, value]}
        elif name == "allOf":
            mine, value = self.a_list(mine, path), self.a_list(value, path)
            schema[name] = [*mine, *value]
        elif name == "$ref":
            schema.setdefault("allOf", []).append({"$ref": value})
        else:
            self.drop(f"{path}.{name}")

    def a_map(self, value: object, path: str) -> Json:
        """Return ``value`` if it is an object."""
        if not isinstance(value, dict):
            raise self.refuse(path, "it is no JSON schema")
        return cast("Json", value)

    def a_list(self, value: object, path: str) -> list[Any]:
        """Return ``value`` if it is an array."""
        if not isinstance(value, list):
            raise self.refuse(path, "it is no JSON schema")
        return cast("list[Any]", value)


def as_map(value: object) -> Json | None:
    """Return ``value`` if it is an object."""
    return cast("Json", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[Any] | None:
    """Return ``value`` if it is an array."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def type_of(value: object) -> str:
    """Return the JSON type of a value; a number without a fraction is an integer."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    for kind, name in ((float, "number"), (str, "string"), (list, "array"), (dict, "object")):
        if isinstance(value, kind):
            return name
    return "null"


def is_among(value: object, others: Iterable[object]) -> bool:
    """Whether ``value`` is one of ``others``, as JSON compares."""
    return any(_same(value, other) for other in others)


def _same(one: object, other: object) -> bool:
    # Python takes true for 1.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_types(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _common_types(mine: list[Any], others: list[Any]) -> Any:
    common = [kind for kind in mine if kind in others or (kind == "integer" and "number" in others)]
    common += [kind for kind in others if kind == "integer" and "number" in mine and kind not in common]
    if not common:
        raise ImpossibleError
    return common if len(common) > 1 else common[0]
