"""The objects of OpenAI's responses and conversations as JSON schemas, read from openai_shapes.txt.

A line there names an object and tells its form in the shortest way: ``{name:str size?:int}`` an object, whose fields may be left out
where a ``?`` stands; ``[str]`` a list, ``{*:str}`` a map; ``(str|null)`` any of several, ``(A/B)`` one of them; ``=a,b`` one of these
words; ``~`` and a value the default; ``any`` and ``obj`` anything, and any object; and every other word another object of the table.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

Schema = dict[str, Any]

PREFIX = "OpenAI"
"""Stands before the names, so that they meet none of this server's own."""

_REFERENCE = "#/components/schemas/" + PREFIX
_PLAIN: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "num": {"type": "number"},
    "bool": {"type": "boolean"},
    "null": {"type": "null"},
    "obj": {"type": "object"},
    "any": {},
}
_WORD = re.compile(r"[A-Za-z0-9_.\-]+")
_json = json.JSONDecoder()


def reference(name: str) -> Schema:
    """Return a reference to an object of the table."""
    return {"$ref": _REFERENCE + name}


def components(names: Iterable[str]) -> dict[str, Schema]:
    """Return the schemas of objects, and of all that they are made of, by the names that references have."""
    found: dict[str, Schema] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if PREFIX + name in found:
            continue
        found[PREFIX + name] = _table()[name]
        waiting += [each.removeprefix(_REFERENCE) for each in _references(_table()[name])]
    return found


@cache
def _table() -> dict[str, Schema]:
    text = resources.files("rini.api").joinpath("openai_shapes.txt").read_text(encoding="utf-8")
    lines = (line.partition(" ") for line in text.splitlines())
    return {name: _Form(form).read() for name, _, form in lines}


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [each for inner in schema for each in _references(inner)]  # pyright: ignore[reportUnknownVariableType]  # JSON
    if not isinstance(schema, dict):
        return []
    found: list[str] = []
    for name, value in schema.items():  # pyright: ignore[reportUnknownVariableType]  # JSON
        found += [value] if name == "$ref" and isinstance(value, str) else _references(value)
    return found


class _Form:
    """One line's form, read from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> Schema:
        """Return the schema that begins here."""
        schema = self._bare()
        if self._takes("~"):
            default, self._at = _json.raw_decode(self._text, self._at)
            schema = {**schema, "default": default}
        return schema

    def _bare(self) -> Schema:
        if self._takes("{"):
            return self._object()
        if self._takes("["):
            items = self.read()
            self._must("]")
            return {"type": "array", "items": items}
        if self._takes("("):
            return self._several()
        if self._takes("="):
            words = [self._literal()]
            while self._takes(","):
                words.append(self._literal())
            return {"type": "string", "enum": words}
        word = self._word()
        return _PLAIN.get(word) or (reference(word) if word != "any" else {})

    def _object(self) -> Schema:
        if self._takes("*:"):
            values = self.read()
            self._must("}")
            return {"type": "object", "additionalProperties": values}
        properties: Schema = {}
        required: list[str] = []
        while not self._takes("}"):
            name = self._word()
            if not self._takes("?"):
                required.append(name)
            self._must(":")
            properties[name] = self.read()
            self._takes(" ")
        return {"type": "object", "properties": properties} | ({"required": required} if required else {})

    def _several(self) -> Schema:
        schemas = [self.read()]
        kind = "oneOf"
        while not self._takes(")"):
            if self._takes("|"):
                kind = "anyOf"
            else:
                self._must("/")
            schemas.append(self.read())
        return {kind: schemas}

    def _literal(self) -> str:
        if self._text.startswith('"', self._at):
            value, self._at = _json.raw_decode(self._text, self._at)
            return value
        return self._word()

    def _word(self) -> str:
        found = _WORD.match(self._text, self._at)
        if found is None:
            raise ValueError(f"no word at {self._at} of {self._text[:50]}")
        self._at = found.end()
        return found[0]

    def _takes(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _must(self, mark: str) -> None:
        if not self._takes(mark):
            raise ValueError(f"no {mark} at {self._at} of {self._text[:50]}")
