"""JSON Schemas of tools' input, made ready for models' providers: checked, bounded, and without references.

A provider that dislikes one tool's schema refuses the whole request, so what they are known to dislike is put right here or
the tool is left out: OpenAI's and Anthropic's guides to tool use, read in November 2026. The rules are those of JSON Schema
2020-12, and of older drafts where a schema names one. They are checked in the same walk that resolves the references:
jsonschema's check_schema took 1.1 s for 64 KiB that somebody wrote to be slow, this walk takes 20 ms.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import unquote

MAX_BYTES = 64 * 1024
"""The most that a schema may take as JSON, as it comes and once its references are resolved."""

MAX_DEPTH = 32

_TYPES = frozenset({"null", "boolean", "object", "array", "number", "integer", "string"})
_SUBSCHEMAS = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
        "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_LISTS_OF_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS_OF_SCHEMAS = frozenset({"dependentSchemas", "patternProperties", "properties"})
_TEXTS = frozenset({"contentEncoding", "contentMediaType", "description", "format", "pattern", "title"})
_COUNTS = frozenset(
    {
        "maxContains", "maxItems", "maxLength", "maxProperties", "minContains", "minItems", "minLength",
        "minProperties",
    }
)  # fmt: skip
_LIMITS = frozenset({"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"})
_FLAGS = frozenset({"deprecated", "readOnly", "uniqueItems", "writeOnly"})
# Identities and definitions mean nothing once the references are resolved.
_LEFT_OUT = frozenset({"$anchor", "$comment", "$defs", "$id", "$ref", "$schema", "$vocabulary", "definitions", "id"})
_NOT_RESOLVED = frozenset({"$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"})
# What providers do not take at the top of a tool's schema.
_NOT_AT_THE_TOP = frozenset({"allOf", "anyOf", "const", "else", "enum", "if", "not", "oneOf", "then"})
_ALTERNATIVES = ("allOf", "anyOf", "oneOf")
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")
_OLD_DRAFT = re.compile(r"json-schema\.org/(draft-0[3467]|draft/2019-09)/")


class SchemaRefusedError(ValueError):
    """A tool cannot be offered with this schema. The text is one sentence that says why."""


def offered_schema(given: object) -> dict[str, Any]:
    """Return the schema of an object that goes to providers. Raises SchemaRefusedError.

    Local references are put in place, and ``{}`` where one leads back into itself. A missing schema is one of an object without
    properties. Alternatives at the top become one list of optional properties: the tool's server checks what it gets anyway.
    """
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise SchemaRefusedError("Its input schema is not a JSON object.")
    root = cast("dict[str, Any]", given)
    if len(json.dumps(root, ensure_ascii=False)) > MAX_BYTES:
        raise SchemaRefusedError(f"Its input schema is larger than {MAX_BYTES // 1024} KiB.")
    made = _Walk(root).schema(root, 0)
    assert isinstance(made, dict)
    if made.get("type", "object") != "object":
        raise SchemaRefusedError("Its input schema is not that of an object: `type` must be `object`.")
    properties: dict[str, Any] = dict(made.get("properties", {}))
    for keyword in _ALTERNATIVES:
        for branch in made.get(keyword, ()):
            if isinstance(branch, Mapping):
                found = cast("Mapping[str, Any]", branch).get("properties", {})
                properties |= {name: each for name, each in found.items() if name not in properties}
    kept = {keyword: value for keyword, value in made.items() if keyword not in _NOT_AT_THE_TOP}
    return kept | {"type": "object", "properties": properties}


class _Walk:
    """One schema's walk. It makes a new one, and gives up when that would grow beyond all bounds."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._left = MAX_BYTES
        self._followed: list[str] = []
        self._old = bool(_OLD_DRAFT.search(str(root.get("$schema", ""))))

    def schema(self, given: object, depth: int) -> dict[str, Any] | bool:
        self._spend(1)
        if isinstance(given, bool):
            return given
        if not isinstance(given, dict):
            raise SchemaRefusedError("Its input schema is not valid: where a schema belongs stands something else.")
        if depth > MAX_DEPTH:
            raise SchemaRefusedError(f"Its input schema is nested more than {MAX_DEPTH} levels deep.")
        parts = cast("dict[str, Any]", given)
        made: dict[str, Any] = {}
        if "$ref" in parts:
            found = self._resolved(parts["$ref"], depth)
            made = dict(found) if isinstance(found, dict) else {}
        for keyword, value in parts.items():
            if keyword in _NOT_RESOLVED:
                raise SchemaRefusedError(f"Its input schema uses {keyword}, which is not resolved here.")
            if keyword not in _LEFT_OUT:
                self._spend(len(keyword))
                made[keyword] = self._value(keyword, value, depth)
        if _has_type(made, "array") and "items" not in made and "prefixItems" not in made:
            made["items"] = {}
        return made

    def _value(self, keyword: str, value: Any, depth: int) -> Any:
        if keyword in _MAPS_OF_SCHEMAS:
            return self._schemas_by_name(keyword, value, depth)
        if keyword in _LISTS_OF_SCHEMAS or (keyword == "items" and self._old and isinstance(value, list)):
            given = _typed(keyword, value, list)
            if not given:
                raise _invalid(keyword, "must not be empty")
            return [self._plain(each, depth) for each in given]
        if keyword in _SUBSCHEMAS:
            made = self.schema(value, depth + 1)
            return {} if made is True and keyword in ("items", "contains", "not") else made
        self._data(value, depth)
        _check(keyword, value)
        return value

    def _schemas_by_name(self, keyword: str, value: Any, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, each in _typed(keyword, value, dict).items():
            if keyword == "properties" and not _PROPERTY.fullmatch(name):
                raise SchemaRefusedError(
                    "Its input schema has a property whose name is not 1 to 64 of the characters A-Z a-z 0-9 _ . -."
                )
            self._spend(len(name))
            made[name] = self._plain(each, depth)
        return made

    def _plain(self, value: Any, depth: int) -> dict[str, Any] | bool:
        """Return a schema in which anything goes as an object: providers know that form."""
        made = self.schema(value, depth + 1)
        return {} if made is True else made

    def _resolved(self, reference: object, depth: int) -> dict[str, Any] | bool:
        if not isinstance(reference, str):
            raise _invalid("$ref", "must be a string")
        if not reference.startswith("#"):
            raise SchemaRefusedError("Its input schema refers to another document, which is not fetched.")
        if reference in self._followed:
            return {}
        self._followed.append(reference)
        try:
            return self.schema(self._target(reference), depth + 1)
        finally:
            self._followed.pop()

    def _target(self, reference: str) -> Any:
        target: Any = self._root
        steps = unquote(reference[1:]).split("/")
        lost = SchemaRefusedError(f"Its input schema refers to {reference[:100]!r}, which is not in it.")
        if steps[0]:
            raise lost
        for step in steps[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            match target:
                case dict() if name in target:
                    target = cast("dict[str, Any]", target)[name]
                case list() if _INDEX.fullmatch(name) and int(name) < len(cast("list[Any]", target)):
                    target = cast("list[Any]", target)[int(name)]
                case _:
                    raise lost
        return target

    def _data(self, value: Any, depth: int) -> None:
        """Look at values that are not schemas: they count, and must be JSON."""
        if depth > 2 * MAX_DEPTH:
            raise SchemaRefusedError("Its input schema holds values that are nested too deeply.")
        self._spend(1)
        match value:
            case str():
                self._spend(len(value))
            case float() if not math.isfinite(value):
                raise SchemaRefusedError("Its input schema holds a number that JSON does not have.")
            case int() if abs(value) >= 2**63:
                raise SchemaRefusedError("Its input schema holds a number of more than 64 bits.")
            case dict():
                for name, each in cast("dict[str, Any]", value).items():
                    self._spend(len(name))
                    self._data(each, depth + 1)
            case list():
                for each in cast("list[Any]", value):
                    self._data(each, depth + 1)
            case _:
                pass

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise SchemaRefusedError(
                f"Its input schema is larger than {MAX_BYTES // 1024} KiB once its references are resolved."
            )


def _check(keyword: str, value: Any) -> None:
    """Refuse a keyword's value of a wrong type; keywords that JSON Schema does not know may hold anything."""
    for keywords, is_right, rule in _RULES:
        if keyword in keywords and not is_right(value):
            raise _invalid(keyword, rule)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return _is_number(value) and cast("float", value) >= 0 and value == int(cast("float", value))


def _are_types(value: Any) -> bool:
    if isinstance(value, str):
        return value in _TYPES
    return _are_names(value) and bool(value) and _TYPES.issuperset(value)


def _are_names(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    names = cast("list[Any]", value)
    return all(isinstance(each, str) for each in names) and len(set(names)) == len(names)


_RULES: tuple[tuple[frozenset[str], Callable[[Any], bool], str], ...] = (
    (frozenset({"type"}), _are_types, f"must be one or more of {', '.join(sorted(_TYPES))}"),
    (frozenset({"required"}), _are_names, "must be a list of different names"),
    (frozenset({"enum", "examples"}), lambda value: isinstance(value, list), "must be a list"),
    (_TEXTS, lambda value: isinstance(value, str), "must be a string"),
    (_COUNTS, _is_count, "must be a whole number that is not negative"),
    # Draft 4 had booleans here.
    (_LIMITS, lambda value: _is_number(value) or isinstance(value, bool), "must be a number"),
    (frozenset({"multipleOf"}), lambda value: _is_number(value) and value > 0, "must be a number above 0"),
    (_FLAGS, lambda value: isinstance(value, bool), "must be true or false"),
    (
        frozenset({"dependentRequired"}),
        lambda value: isinstance(value, dict) and all(map(_are_names, cast("dict[str, Any]", value).values())),
        "must hold lists of different names",
    ),
)


def _typed(keyword: str, value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise _invalid(keyword, "must be an object" if kind is dict else "must be a list")
    return value


def _has_type(schema: Mapping[str, Any], name: str) -> bool:
    found = schema.get("type")
    return found == name or (isinstance(found, list) and name in found)


def _invalid(keyword: str, rule: str) -> SchemaRefusedError:
    return SchemaRefusedError(f"Its input schema is not valid: `{keyword}` {rule}.")
