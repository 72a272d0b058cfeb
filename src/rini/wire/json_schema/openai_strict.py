"""Whether OpenAI enforces a schema as it is.

By "Structured Outputs, Supported schemas" (OpenAI, 2026): the root is an object and no anyOf; every property is required and
nothing else allowed; of the keywords those below; at most 5,000 properties, 1,000 enum values and 10 levels. Any other schema is sent
with ``strict`` false, where OpenAI takes all of JSON Schema below an object.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

_KEYWORDS: Final = frozenset({
    "type", "title", "description", "enum", "const", "anyOf", "$ref", "$defs", "definitions", "properties", "required",
    "additionalProperties", "items", "minItems", "maxItems", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf",
})  # fmt: skip
_FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_TYPES: Final = frozenset({"string", "number", "boolean", "integer", "object", "array", "null"})
_MAX_PROPERTIES: Final = 5000
_MAX_VALUES: Final = 1000
_MAX_LEVELS: Final = 10


def fits_openai_strict(schema: Mapping[str, Any]) -> bool:
    """Tell whether ``schema`` may be sent with ``strict`` true."""
    return schema.get("type") == "object" and "anyOf" not in schema and _Check().fits(schema, 0)


class _Check:
    def __init__(self) -> None:
        self._properties = 0
        self._values = 0

    def fits(self, value: object, level: int) -> bool:
        if not isinstance(value, dict) or level > _MAX_LEVELS:
            return False
        schema = cast("dict[str, Any]", value)
        if not schema.keys() <= _KEYWORDS or schema.get("format", "uuid") not in _FORMATS:
            return False
        if not all(self._all(schema.get(name, {}), level) for name in ("$defs", "definitions")):
            return False
        if "$ref" in schema:
            reference = schema["$ref"]
            alone = schema.keys() <= {"$ref", "$defs", "definitions"}
            return alone and isinstance(reference, str) and reference.startswith("#")
        return (self._is_typed(schema) and self._is_listed(schema) and self._is_object(schema, level)
                and self._has_items(schema, level))  # fmt: skip

    def _all(self, schemas: object, level: int) -> bool:
        return isinstance(schemas, dict) and all(
            self.fits(each, level) for each in cast("dict[str, Any]", schemas).values()
        )

    def _is_typed(self, schema: dict[str, Any]) -> bool:
        kinds = schema.get("type")
        if kinds is None:
            return bool(schema.keys() & {"anyOf", "enum", "const"})
        listed = cast("list[Any]", kinds) if isinstance(kinds, list) else [kinds]
        return all(isinstance(kind, str) and kind in _TYPES for kind in listed)

    def _is_listed(self, schema: dict[str, Any]) -> bool:
        values = schema.get("enum", [])
        if not isinstance(values, list):
            return False
        self._values += len(cast("list[Any]", values))
        return self._values <= _MAX_VALUES

    def _is_object(self, schema: dict[str, Any], level: int) -> bool:
        kinds = schema.get("type")
        if kinds != "object" and "properties" not in schema and not (isinstance(kinds, list) and "object" in kinds):
            return True
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if (
            schema.get("additionalProperties") is not False
            or not isinstance(properties, dict)
            or not isinstance(required, list)
        ):
            return False
        found = cast("dict[str, Any]", properties)
        self._properties += len(found)
        if self._properties > _MAX_PROPERTIES or sorted(map(str, cast("list[Any]", required))) != sorted(found):
            return False
        return self._all(found, level + 1)

    def _has_items(self, schema: dict[str, Any], level: int) -> bool:
        branches = schema.get("anyOf", [])
        if not isinstance(branches, list) or not all(
            self.fits(each, level + 1) for each in cast("list[Any]", branches)
        ):
            return False
        if "items" in schema:
            return self.fits(schema["items"], level + 1)
        kinds = schema.get("type")
        return kinds != "array" and not (isinstance(kinds, list) and "array" in kinds)
