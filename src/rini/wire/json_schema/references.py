"""The definitions that a rewritten schema refers to, and the cycles among them."""

import re
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from rini.wire.json_schema.merge import Json, Merger

_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Place(msgspec.Struct, frozen=True):
    """Where a schema stands: in which definition, and below which required property, if no optional one is nearer the top.

    ``names`` is the list of the object's required properties in the result, from which ``name`` can still be taken; ``path`` names it.
    """

    owner: str = ""
    free: bool = False
    names: list[Any] | None = None
    name: str = ""
    path: str = ""

    def optional(self) -> "Place":
        """Return the place below a property that may be absent."""
        return Place(self.owner, free=True)

    def required(self, names: list[Any], name: str, path: str) -> "Place":
        """Return the place below the property ``name`` that is required."""
        return self if self.free else Place(self.owner, names=names, name=name, path=path)


class _Link(msgspec.Struct):
    target: str
    place: Place
    path: str


class Definitions:
    """Gives every schema that is referred to one name, and tells the links between them."""

    def __init__(self, merger: Merger) -> None:
        self._merger = merger
        self._names: dict[str, str] = {}
        self._used: set[str] = set()
        self._targets: list[tuple[str, object, str]] = []
        self._links: dict[str, list[_Link]] = {}

    def refer(self, reference: str, target: object, place: Place, path: str) -> str:
        """Return the reference to write; the target is defined once, under its own name."""
        name = self._names.get(reference)
        if name is None:
            name = wanted = _ODD.sub("_", reference.rpartition("/")[2].lstrip("#")) or "root"
            number = 2
            while name in self._used:
                name = f"{wanted}_{number}"
                number += 1
            self._used.add(name)
            self._names[reference] = name
            steps = [step for step in reference.lstrip("#").split("/") if step]
            self._targets.append((name, target, ".".join([self._merger.field, *steps])))
        self._links.setdefault(place.owner, []).append(_Link(name, place, path))
        return f"#/$defs/{name}"

    def waiting(self) -> Iterator[tuple[str, object, str]]:
        """Yield the definitions, those among them that the others bring: name, schema and path."""
        position = 0
        while position < len(self._targets):
            yield self._targets[position]
            position += 1

    def untie(self, *, cycles_allowed: bool) -> None:
        """Refuse cycles, or see to it that each leads through a property that may be absent. Raises UnsupportedError."""
        done: set[str] = set()
        for start in [*self._links]:
            if start in done:
                continue
            way = [(start, iter(self._links.get(start, ())))]
            open_ = {start}
            while way:
                owner, links = way[-1]
                link = next(links, None)
                if link is None:
                    way.pop()
                    open_.discard(owner)
                    done.add(owner)
                elif cycles_allowed and link.place.free:
                    continue
                elif link.target in open_:
                    self._loosen(link, cycles_allowed=cycles_allowed)
                elif link.target not in done:
                    open_.add(link.target)
                    way.append((link.target, iter(self._links.get(link.target, ()))))

    def _loosen(self, link: _Link, *, cycles_allowed: bool) -> None:
        """Let the property that closes a cycle be absent."""
        if not cycles_allowed:
            raise self._merger.refuse(f"{link.path}.$ref", "the schema contains itself")
        names, name = link.place.names, link.place.name
        if names is None:
            raise self._merger.refuse(f"{link.path}.$ref", "the schema contains itself outside of its properties")
        if name in names:
            names.remove(name)
            self._merger.drop(f"{link.place.path}.{name}")


def with_definitions(schema: Json, definitions: Json) -> Json:
    """Return ``schema`` with those of the ``definitions`` that it still refers to, and without empty lists of required properties."""
    used = {f"#/$defs/{name}": name for name in definitions}
    kept: set[str] = set()
    ahead: list[object] = [schema]
    while ahead:
        each = ahead.pop()
        if isinstance(each, list):
            ahead += cast("list[object]", each)
        elif isinstance(each, dict):
            found = cast("Json", each)
            if found.get("required") == []:
                del found["required"]
            name = used.get(reference) if isinstance(reference := found.get("$ref"), str) else None
            if name is not None and name not in kept:
                kept.add(name)
                ahead.append(definitions[name])
            ahead += found.values()
    return {**schema, "$defs": {name: definitions[name] for name in definitions if name in kept}} if kept else schema
