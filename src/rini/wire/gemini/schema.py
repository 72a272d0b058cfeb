"""Gemini's Schema dialect (``parameters``, ``responseSchema``) read as JSON schema.

The dialect is a part of OpenAPI 3.0 with types in capitals or as enum numbers, ``nullable`` and ``propertyOrdering`` (Schema, Gemini
API reference, 2026). Only this direction is needed: the original is kept beside the translation and sent back, and a schema from
elsewhere goes into the fields that take JSON schema as it is.
"""

from collections.abc import Mapping
from typing import Any, cast

from rini.wire.gemini.fields import camel, is_object

_TYPES = (None, "string", "number", "integer", "boolean", "array", "object", "null")
_NESTED = frozenset({"items", "additionalProperties"})
_NESTED_LISTS = frozenset({"anyOf", "prefixItems"})
_INT64 = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def to_json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``schema`` as JSON schema. What is JSON schema already, or unknown, stays as it is."""
    found: dict[str, Any] = {}
    fields = camel(schema)
    nullable = fields.pop("nullable", None)
    fields.pop("propertyOrdering", None)
    for name, value in fields.items():
        if name == "type":
            kind = _type(value)
            if kind is not None:
                found["type"] = kind
        elif name == "properties" and is_object(value):
            found[name] = {key: _nested(item) for key, item in cast("dict[str, Any]", value).items()}
        elif name in _NESTED:
            found[name] = _nested(value)
        elif name in _NESTED_LISTS and isinstance(value, list):
            found[name] = [_nested(item) for item in cast("list[Any]", value)]
        elif name in _INT64 and isinstance(value, str) and value.isdecimal():
            found[name] = int(value)
        elif name == "format" and value == "enum":
            pass
        else:
            found[name] = value
    if nullable is True:
        _admit_null(found)
    return found


def _type(value: object) -> Any:
    if isinstance(value, str):
        return None if value == "TYPE_UNSPECIFIED" else value.lower()
    if isinstance(value, int) and 0 <= value < len(_TYPES):
        return _TYPES[value]
    return value


def _nested(value: object) -> Any:
    return to_json_schema(cast("dict[str, Any]", value)) if isinstance(value, dict) else value


def _admit_null(schema: dict[str, Any]) -> None:
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
    options = schema.get("enum")
    if isinstance(options, list) and None not in cast("list[Any]", options):
        schema["enum"] = [*cast("list[Any]", options), None]
    either = schema.get("anyOf")
    if isinstance(either, list):
        schema["anyOf"] = [*cast("list[Any]", either), {"type": "null"}]
