"""How much of OpenAI's specification of responses and conversations the document of this server's API says too.

Every property of every request and answer counts once for each operation, variants of items and tools among them. It conforms where this server's
document has it with the same types (null is one), the same words of an enumeration and the same default, asks for no more than OpenAI in
a request, and promises no less in an answer. Parameters, operations and media types of answers count too.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

Schema = dict[str, Any]


class Count(NamedTuple):
    """One thing that counts: where it is, and what is wrong with it; "" where nothing is."""

    place: str
    fault: str


class Shape(NamedTuple):
    """A schema without references: what may stand there."""

    types: frozenset[str]
    words: frozenset[str]
    default: Any
    properties: dict[str, Any]
    required: frozenset[str]
    items: Any
    variants: dict[str, Any]


class Document:
    """An OpenAPI document."""

    def __init__(self, document: Schema, prefix: str = "") -> None:
        self.document = document
        self.prefix = prefix

    def operations(self, below: str) -> dict[tuple[str, str], Schema]:
        found: dict[tuple[str, str], Schema] = {}
        for path, operations in self.document["paths"].items():
            bare = path.removeprefix(self.prefix).rstrip("/")
            if bare.startswith(below) and "beta=" not in bare:
                found |= {(method, bare): told for method, told in operations.items()}
        return found

    def whole(self, schema: Schema) -> Schema:
        """Return a schema without a reference, and with what it is all of put together."""
        default = schema.get("default")
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if "allOf" in schema:
            parts = [self.whole(each) for each in schema["allOf"]]
            schema = {
                "type": "object",
                "properties": {name: value for each in parts for name, value in each.get("properties", {}).items()},
                "required": [name for each in parts for name in each.get("required", ())],
            }
        return schema if default is None else {**schema, "default": default}

    def shape(self, schema: Schema) -> Shape:
        schema = self.whole(schema)
        several = schema.get("anyOf") or schema.get("oneOf")
        if several is None:
            kind = schema.get("type")
            return Shape(
                frozenset([kind] if isinstance(kind, str) else ["object"] if "properties" in schema else []),
                frozenset(map(str, schema.get("enum", ()))),
                schema.get("default"),
                schema.get("properties", {}),
                frozenset(schema.get("required", ())),
                schema.get("items"),
                {},
            )
        flat = list(self._flat(several))
        kinds = [self.shape(each) for each in flat]
        others = [(each, kind) for each, kind in zip(flat, kinds, strict=True) if kind.types != {"null"}]
        null = frozenset(["null"] if len(others) < len(flat) else [])
        default = schema.get("default", next((kind.default for kind in kinds if kind.default is not None), None))
        if len(others) == 1:
            return others[0][1]._replace(types=others[0][1].types | null, default=default)
        variants = {self._name(kind): each for each, kind in others}
        types = frozenset(each for _, kind in others for each in kind.types) | null
        return Shape(types, frozenset(), default, {}, frozenset(), None, variants)

    def _flat(self, several: list[Schema]) -> Iterator[Schema]:
        for each in several:
            whole = self.whole(each)
            inner = whole.get("anyOf") or whole.get("oneOf")
            if inner is None:
                yield whole
            else:
                yield from self._flat(inner)

    def _name(self, shape: Shape) -> str:
        """Return what sets a variant apart: what its ``type`` may be, or else its own type and words."""
        if "type" in shape.properties:
            told = self.shape(shape.properties["type"])
            role = self.shape(shape.properties["role"]).words if "role" in shape.properties else ()
            return f"type={','.join(sorted(told.words))} role={','.join(sorted(role))} {'id' in shape.required}"
        return f"{sorted(shape.types)} {bool(shape.words)} {sorted(shape.properties)[:3]}"


def compare(theirs: Document, ours: Document, below: str) -> list[Count]:
    """Return all that counts of the operations whose paths begin with ``below``."""
    found: list[Count] = []
    mine = ours.operations(below)
    for (method, path), told in theirs.operations(below).items():
        name = f"{method} {path}"
        own = mine.get((method, path))
        found.append(Count(name, "" if own else "is missing"))
        own = own or {}
        given = {(each["name"], each["in"]): each for each in own.get("parameters", ())}
        for each in told.get("parameters", ()):
            held = given.get((each["name"], each["in"]))
            found += _property(theirs, ours, each["schema"], held and held["schema"], f"{name} ?{each['name']}")
        for place, schema, held in _bodies(told, own):
            found += _properties(theirs, ours, schema, held, f"{name} {place}", asked=place == "body", seen=set())
    return found


def _bodies(told: Schema, own: Schema) -> Iterator[tuple[str, Schema, Schema | None]]:
    asked = told.get("requestBody", {}).get("content", {})
    held = own.get("requestBody", {}).get("content", {})
    if "application/json" in asked:
        yield "body", asked["application/json"]["schema"], held.get("application/json", {}).get("schema")
    answers = told["responses"]["200"].get("content", {})
    given = own.get("responses", {}).get("200", {}).get("content", {})
    for kind, content in answers.items():
        mine = given.get(kind, {})
        event = mine.get("itemSchema", {}).get("properties", {}).get("data", {}).get("contentSchema")
        yield kind, content["schema"], mine.get("schema", event)


def _properties(
    theirs: Document, ours: Document, schema: Schema, own: Schema | None, place: str, *, asked: bool, seen: set[int]
) -> Iterator[Count]:
    """Yield what counts of a schema's properties, each object of the specification once."""
    whole = theirs.whole(schema)
    if id(whole) in seen:
        return
    if "allOf" not in schema:
        seen.add(id(whole))
    shape = theirs.shape(schema)
    mine = ours.shape(own) if own is not None else None
    for name, variant in shape.variants.items():
        held = None if mine is None else mine.variants.get(name)
        yield from _properties(theirs, ours, variant, held, f"{place}<{name}>", asked=asked, seen=seen)
    if shape.items is not None:
        held = None if mine is None else mine.items
        yield from _properties(theirs, ours, shape.items, held, f"{place}[]", asked=asked, seen=seen)
    for name, inner in shape.properties.items():
        here = f"{place}.{name}"
        held = None if mine is None else mine.properties.get(name)
        (count,) = _property(theirs, ours, inner, held, here)
        if not count.fault and mine is not None:
            stricter = asked and name in mine.required and name not in shape.required
            looser = not asked and name in shape.required and name not in mine.required
            count = Count(here, "is required here" if stricter else "is not required here" if looser else "")
        yield count
        yield from _properties(theirs, ours, inner, held, here, asked=asked, seen=seen)


def _property(theirs: Document, ours: Document, schema: Schema, own: Schema | None, place: str) -> list[Count]:
    if own is None:
        return [Count(place, "is missing")]
    told, held = theirs.shape(schema), ours.shape(own)
    for what, one, other in (
        ("types", told.types, held.types),
        ("words", told.words, held.words),
        ("default", told.default, held.default),
        ("variants", told.variants.keys(), held.variants.keys()),
    ):
        if one != other:
            return [Count(place, f"{what}: {one} there, {other} here")]
    return [Count(place, "")]


def score(counts: list[Count]) -> float:
    """Return how many of a hundred conform."""
    return round(100 * sum(not each.fault for each in counts) / len(counts), 1)
