"""The definitions that a rewritten schema refers to, and the cycles among them."""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from rini.wire.json_schema.merge import Merger

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
        self._targets: list[tuple[str, object, str]] = []
        self._links: dict[str, list[_Link]] = {}

    def refer(self, reference: str, target: object, place: Place, path: str) -> str:
        """Return the reference to write; the target is defined once, under its own name."""
        name = self._names.get(reference)
        if name is None:
            name = wanted = _ODD.sub("_", reference.rpartition("/")[2].lstrip("#")) or "root"
            number = 2
            while name in self._names.values():
                name = f"{wanted}_{number}"
                number += 1
            self._names[reference] = name
            self._targets.append(
                (name, target, f"{self._merger.field}.{reference.lstrip('#/').replace('/', '.') or '$ref'}")
            )
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
        for owner in [*self._links]:
            for link in self._links[owner]:
                if (cycles_allowed and link.place.free) or not self._leads(
                    link.target, owner, through_free=not cycles_allowed
                ):
                    continue
                if not cycles_allowed:
                    raise self._merger.refuse(f"{link.path}.$ref", "the schema contains itself, which is not taken")
                names = link.place.names
                if names is None:
                    raise self._merger.refuse(
                        f"{link.path}.$ref", "the schema contains itself outside of its properties"
                    )
                if link.place.name in names:
                    names.remove(link.place.name)
                    self._merger.drop(f"{link.place.path}.{link.place.name}")
                link.place = link.place.optional()

    def _leads(self, start: str, goal: str, *, through_free: bool) -> bool:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            name = ahead.pop()
            if name == goal:
                return True
            if name not in seen:
                seen.add(name)
                self._merger.spend()
                ahead += (link.target for link in self._links.get(name, ()) if through_free or not link.place.free)
        return False
