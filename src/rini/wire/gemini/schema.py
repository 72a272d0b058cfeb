"""Gemini's Schema dialect (``parameters``, ``responseSchema``) read as JSON schema.

The dialect is a part of OpenAPI 3.0 with types in capitals or as enum numbers, ``nullable`` and ``propertyOrdering`` (Schema, Gemini
API reference, 2026). The original is kept beside the translation and sent back; a schema from elsewhere goes into the fields that
take JSON schema, or for the models that read this dialect alone (up to Gemini 2.0) is written in it.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from rini.wire.gemini.fields import camel, is_object
from rini.wire.json_schema import GEMINI_OPENAPI, fitted

_TYPES = (None, "string", "number", "integer", "boolean", "array", "object", "null")
_NESTED = frozenset({"items", "additionalProperties"})
_NESTED_LISTS = frozenset({"anyOf", "prefixItems"})
_INT64 = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


_OPENAPI_ONLY = re.compile(r"gemini-(1|2\.0|pro\b)")


def reads_openapi_only(model: str) -> bool:
    """Tell whether ``model`` takes schemas in this dialect alone."""
    return _OPENAPI_ONLY.search(model) is not None


def from_json_schema(schema: Mapping[str, Any], field: str, dropped: list[str]) -> dict[str, Any]:
    """Return ``schema`` in this dialect, its references written out. Raises UnsupportedError."""
    return _written(fitted(schema, GEMINI_OPENAPI, field=field, dropped=dropped))


def _written(schema: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "type":
            if value == "null":
                found["nullable"] = True
            else:
                found["type"] = value.upper()
        elif name == "properties":
            found[name] = {key: _written(each) for key, each in value.items()}
            if len(value) > 1:
                found["propertyOrdering"] = list(value)
        elif name == "items":
            found[name] = _written(value)
        elif name == "anyOf":
            branches = [_written(each) for each in value if each != {"type": "null"}]
            if len(branches) < len(value):
                found["nullable"] = True
            if len(branches) == 1:
                found = {**branches[0], **found}
            elif branches:
                found[name] = branches
        else:
            found[name] = value
    return found


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
