"""Schemas whose root must be an object, as OpenAI and Anthropic ask of every tool's arguments: no union, no reference there."""

from collections.abc import Mapping
from typing import Any, Final

from rini.wire.json_schema.merge import ImpossibleError, Json, Merger

_COMBINED: Final = frozenset({"anyOf", "oneOf", "allOf", "$ref", "not", "enum", "const", "if", "then", "else"})


def is_plain_object(schema: Mapping[str, Any]) -> bool:
    """Tell whether the root says that it is an object, and nothing that combines schemas."""
    return schema.get("type") == "object" and not schema.keys() & _COMBINED


def object_root(schema: Mapping[str, Any], wire: str, *, field: str, dropped: list[str]) -> Json:
    """Return ``schema`` with a plain object as its root; what is below stays as it is.

    The branches of a union become one object whose properties are those of all, and required are those that all require; none is
    taken to have properties that it does not name. Adds
    what that loses to ``dropped``. Raises UnsupportedError where the root is no object.
    """
    if is_plain_object(schema):
        return dict(schema)
    names: list[str] = []
    merger = Merger(schema, wire, field, names)
    try:
        root = _object(merger, merger.as_schema(dict(schema), field), field, 0)
    except (ImpossibleError, RecursionError):
        raise merger.refuse(field, "it must be the schema of an object") from None
    dropped += names
    return root


def _object(merger: Merger, schema: Json, path: str, depth: int) -> Json:
    merger.spend(depth)
    while "$ref" in schema or "allOf" in schema:
        schema = merger.merged(merger.resolved(schema, path), path)
    for name in ("not", "if", "then", "else", "enum", "const"):
        if schema.pop(name, None) is not None:
            merger.drop(f"{path}.{name}")
    for name in ("anyOf", "oneOf"):
        if name in schema:
            merger.drop(f"{path}.{name}")
            branches = merger.a_list(schema.pop(name), f"{path}.{name}")
            united = _united(
                merger, [_object(merger, merger.as_schema(each, path), path, depth + 1) for each in branches]
            )
            schema = merger.both(schema, united, path)
    kind = schema.setdefault("type", "object")
    if kind != "object":
        if not isinstance(kind, list) or "object" not in kind:
            raise merger.refuse(f"{path}.type", "it must be the schema of an object")
        merger.drop(f"{path}.type")
        schema["type"] = "object"
    return schema


def _united(merger: Merger, branches: list[Json]) -> Json:
    """Return the object that takes whatever one of ``branches`` does."""
    if not branches:
        raise ImpossibleError
    by_name: dict[str, list[Any]] = {}
    for branch in branches:
        merger.spend()
        for name, each in merger.a_map(branch.get("properties", {}), merger.field).items():
            found = by_name.setdefault(name, [])
            if each not in found:
                found.append(each)
    closed = all(branch.get("additionalProperties") is False for branch in branches)
    united: Json = {
        "type": "object",
        "properties": {
            name: found[0] if len(found) == 1 else {"anyOf": found} for name, found in by_name.items()
        },
    }  # fmt: skip
    required = [name for name in by_name if all(name in branch.get("required", ()) for branch in branches)]
    if required:
        united["required"] = required
    if closed:
        united["additionalProperties"] = False
    return united
