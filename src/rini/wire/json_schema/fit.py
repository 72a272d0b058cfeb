"""A schema, rewritten to the nearest one that a provider takes.

What is valid under the schema is valid under the rewritten one: a limit that the provider does not know is left out, named, and told
to the model in the description. One rule goes the other way: where objects must list their properties, an object that says nothing
about others is closed; and a schema that names no type is read as one of the type that its keywords are about. What would no longer mean the same is refused. The same schema is always rewritten to the same one, and that
one to itself, so that prompt caches hold.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final, NoReturn

import msgspec

from rini.wire.codec import UnsupportedError
from rini.wire.json_schema.merge import ANNOTATIONS, ImpossibleError, Json, Merger, as_list, is_among, type_of
from rini.wire.json_schema.references import Definitions, Place, with_definitions
from rini.wire.json_schema.subset import Subset

_BY_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format"}),
    "array": frozenset({
        "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains",
        "maxContains", "unevaluatedItems",
    }),
    "object": frozenset({
        "properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties",
        "maxProperties", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties",
    }),
    "boolean": frozenset(),
    "null": frozenset(),
}  # fmt: skip
_ANY_TYPE: Final = frozenset({"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "nullable"})
_CONDITIONS: Final = ("not", "if", "then", "else")
_KNOWN: Final = ANNOTATIONS | _ANY_TYPE | frozenset(_CONDITIONS) | frozenset[str]().union(*_BY_TYPE.values())
_NESTED: Final = frozenset(
    {"items", "prefixItems", "properties", "required", "additionalProperties", "additionalItems"}
)
_NO_VALUE: Final = "no value could meet it"

_dumps = msgspec.json.Encoder().encode


def fitted(schema: Mapping[str, Any], subset: Subset, *, field: str, dropped: list[str]) -> Json:
    """Return the nearest schema within ``subset``; adds what it loses to ``dropped``.

    ``field`` is the path of the schema in canon's terms (``response_format.schema``), which every name begins with. Raises
    UnsupportedError where no such schema means the same.
    """
    names: list[str] = []
    fit = _Fit(schema, subset, field, names)
    try:
        result = fit.run()
    except ImpossibleError:
        raise fit.merger.refuse(field, _NO_VALUE) from None
    except RecursionError:
        raise fit.merger.refuse(field, "the schema is nested too deeply") from None
    dropped += names
    return result


def fits(schema: Mapping[str, Any], subset: Subset) -> bool:
    """Tell whether ``schema`` is within ``subset`` as it is."""
    try:
        return fitted(schema, subset, field="schema", dropped=[]) == schema
    except UnsupportedError:
        return False


class _Fit:
    def __init__(self, root: Mapping[str, Any], subset: Subset, field: str, dropped: list[str]) -> None:
        self.merger = Merger(root, subset.wire, field, dropped)
        self._root = root
        self._field = field
        self._subset = subset
        self._definitions = Definitions(self.merger)
        self._open: list[str] = []  # references on the way to here, where they are written out

    def run(self) -> Json:
        merger = self.merger
        # A reference at the root is resolved: not every provider takes one there.
        result = self._schema(merger.resolved(dict(self._root), self._field), self._field, 0, Place())
        found: Json = {}
        for name, target, path in self._definitions.waiting():
            found[name] = self._schema(target, path, 1, Place(owner=name))
        self._definitions.untie(cycles_allowed=self._subset.references == "optional")
        return with_definitions(result, found)

    def _schema(self, schema: object, path: str, depth: int, place: Place) -> Json:
        self.merger.spend(depth)
        raw = self.merger.as_schema(schema, path)
        _modernise(raw)
        only = as_list(raw.get("allOf"))
        if only is not None and len(only) == 1 and not raw.keys() - ANNOTATIONS - {"allOf"}:
            # The way in which older generators describe a reference.
            raw = self.merger.both(
                {name: raw[name] for name in raw if name != "allOf"}, self.merger.as_schema(only[0], path), path
            )
            _modernise(raw)
        raw = self._alone(raw, path)
        words: Json = {name: raw[name] for name in ("title", "description") if isinstance(raw.get(name), str)}
        hints: Json = {}
        if raw.get("default") is not None:
            hints["default"] = raw["default"]
            if not _is_short(raw["default"]):
                self.merger.drop(f"{path}.default")
        rules = {name: value for name, value in raw.items() if name not in ANNOTATIONS}
        for name in rules.keys() - _KNOWN:
            if not name.startswith("x-"):
                self.merger.drop(f"{path}.{name}")
        result = self._rules({name: rules[name] for name in rules if name in _KNOWN}, path, depth, place, hints)
        if hints:
            told = ", ".join(f"{name}: {_dumps(value).decode()}" for name, value in hints.items() if _is_short(value))
            if told:
                words["description"] = f"{words['description']}\n\n({told})" if "description" in words else f"({told})"
        if words and "$ref" in result:
            return {**words, "anyOf": [result]}
        return {**words, **result}

    def _alone(self, raw: Json, path: str) -> Json:
        """Return ``raw`` with everything added up: either a reference alone, or none at all."""
        while "allOf" in raw or ("$ref" in raw and raw.keys() - ANNOTATIONS != {"$ref"}):
            raw = self.merger.merged(raw, path)
            if "$ref" in raw and raw.keys() - ANNOTATIONS != {"$ref"}:
                raw = self.merger.resolved(raw, path)
            _modernise(raw)
        return raw

    def _rules(self, raw: Json, path: str, depth: int, place: Place, hints: Json) -> Json:
        if "$ref" in raw:
            return self._reference(raw["$ref"], path, depth, place)
        for name in _CONDITIONS:
            if raw.pop(name, None) is not None:
                self.merger.drop(f"{path}.{name}")
        if "oneOf" in raw:
            # That no second branch holds cannot be said; beside anyOf, not even that one does.
            branches = raw.pop("oneOf")
            self.merger.drop(f"{path}.oneOf")
            raw.setdefault("anyOf", branches)
        if "anyOf" in raw:
            branches = self.merger.a_list(raw.pop("anyOf"), f"{path}.anyOf")
            return self._any_of(
                ({"allOf": [raw, each]} if raw else each for each in branches), f"{path}.anyOf", depth, place
            )
        kinds = self._types(raw, path)
        if "enum" in raw or "const" in raw:
            return self._listed(raw, kinds, path, depth, place)
        if not kinds:
            if not self._subset.any_value:
                raise self.merger.refuse(path, "the type of the value must be told")
            for name in raw:
                self._lose(name, raw[name], path, hints)
            return {}
        if len(kinds) == 1:
            return self._typed(raw, kinds[0], path, depth, place, hints)
        if self._subset.type_lists and len(kinds) == 2 and kinds[1] == "null" and kinds[0] not in {"array", "object"}:
            result = self._typed(raw, kinds[0], path, depth, place, hints)
            return {**result, "type": kinds}
        self.merger.spend(steps=len(kinds))
        return self._any_of(
            ({"type": kind, **{name: raw[name] for name in raw if name in _BY_TYPE[kind]}} for kind in kinds),
            path, depth, place,
        )  # fmt: skip

    def _reference(self, reference: object, path: str, depth: int, place: Place) -> Json:
        target = self.merger.target(reference, path)
        if self._subset.references != "none":
            return {"$ref": self._definitions.refer(str(reference), target, place, path)}
        if reference in self._open:
            raise self.merger.refuse(f"{path}.$ref", "a schema that contains itself cannot be written out")
        self._open.append(str(reference))
        result = self._schema(target, path, depth + 1, place)
        self._open.pop()
        return result

    def _any_of(self, branches: Iterable[object], path: str, depth: int, place: Place) -> Json:
        found: dict[bytes, Json] = {}
        for index, branch in enumerate(branches):
            try:
                each = self._schema(branch, f"{path}[{index}]" if path.endswith("anyOf") else path, depth + 1, place)
            except ImpossibleError:
                continue  # no value takes this branch
            found.setdefault(_dumps(each), each)
        if not found:
            raise ImpossibleError
        return {"anyOf": [*found.values()]}

    def _types(self, raw: Json, path: str) -> list[str]:
        """Take the types out of ``raw``; where none is told, the one that its other keywords are about."""
        given = raw.pop("type", None)
        if given is None:
            if "enum" in raw or "const" in raw:
                return []
            told = (kind for kind in ("object", "array", "string", "number") if _BY_TYPE[kind] & raw.keys())
            return [*islice(told, 1)]
        kinds: list[str] = list(dict.fromkeys(kind for kind in as_list(given) or [given] if isinstance(kind, str)))
        if not kinds or not _BY_TYPE.keys() >= set(kinds):
            raise self.merger.refuse(f"{path}.type", f"a type is one of {', '.join(sorted(_BY_TYPE))}")
        if "number" in kinds and "integer" in kinds:
            kinds.remove("integer")
        return sorted(kinds, key=lambda kind: kind == "null")

    def _listed(self, raw: Json, kinds: list[str], path: str, depth: int, place: Place) -> Json:
        """Return the schema of a value that is one of those listed."""
        values = self.merger.a_list(raw["enum"], f"{path}.enum") if "enum" in raw else [raw["const"]]
        if "const" in raw:
            values = [raw["const"]] if is_among(raw["const"], values) else []
        if kinds:
            values = [each for each in values if _is_a(each, kinds)]
        if not values:
            raise ImpossibleError
        by_type: dict[str, list[Any]] = {}
        for each in values:
            kind = type_of(each)
            by_type.setdefault("number" if kind == "integer" and "number" in kinds else kind, []).append(each)
        if by_type.keys() & {"array", "object"}:
            raise self.merger.refuse(f"{path}.enum", "it lists objects or arrays, and only plain values can be listed")
        taken = self._subset.enum_types
        if by_type.keys() <= taken and (len(by_type) == 1 or {"null", "boolean"} <= taken):
            told: Json = {"type": kinds[0]} if len(kinds) == 1 else {"type": kinds} if len(kinds) > 1 else {}
            if not told and len(by_type) == 1:
                told = {"type": next(iter(by_type))}
            if "const" in raw and "const" in self._subset.keywords:
                return {**told, "const": raw["const"]}
            return {**told, "enum": values}
        return self._by_type(by_type, path, depth, place)

    def _by_type(self, by_type: Mapping[str, list[Any]], path: str, depth: int, place: Place) -> Json:
        found: list[Json] = []
        for kind, values in by_type.items():
            if kind in self._subset.enum_types:
                found.append({"type": kind, "enum": values})
            else:
                whole = kind == "null" or (kind == "boolean" and len(values) == 2)
                if not whole:
                    self.merger.drop(f"{path}.enum")
                found.append({"type": kind})
        return found[0] if len(found) == 1 else self._any_of(found, path, depth, place)

    def _typed(self, raw: Json, kind: str, path: str, depth: int, place: Place, hints: Json) -> Json:
        rules = {name: value for name, value in raw.items() if name in _BY_TYPE[kind]}
        result: Json = {"type": kind}
        match kind:
            case "object":
                self._object(rules, result, path, depth, place)
            case "array":
                self._array(rules, result, path, depth, place)
            case "integer" | "number":
                self._bounds(rules, kind, path, hints)
            case _:
                pass
        for name, value in rules.items():
            if name in _NESTED:
                continue
            if name == "format":
                if value in self._subset.formats:
                    result[name] = value
                elif kind == "string":
                    self._lose(name, value, path, hints)
            elif name == "minItems" and self._subset.least_items is not None:
                least = min(value, self._subset.least_items)
                if least != value:
                    self._lose(name, value, path, hints)
                result[name] = least
            elif name in self._subset.keywords:
                result[name] = value
            else:
                self._lose(name, value, path, hints)
        return result

    def _lose(self, name: str, value: object, path: str, hints: Json) -> None:
        self.merger.drop(f"{path}.{name}")
        hints[name] = value

    def _bounds(self, rules: Json, kind: str, path: str, hints: Json) -> None:
        """Say an exclusive bound by an inclusive one, where those are all that the provider knows."""
        if "minimum" not in self._subset.keywords:
            return
        for strict, plain, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            bound = rules.pop(strict, None)
            if not isinstance(bound, int | float) or isinstance(bound, bool):
                continue
            if kind == "integer":
                bound = (math.floor(bound) if step > 0 else math.ceil(bound)) + step
            else:
                self._lose(strict, bound, path, hints)
            other = rules.get(plain)
            if isinstance(other, int | float):
                bound = max(bound, other) if step > 0 else min(bound, other)
            rules[plain] = bound

    def _object(self, rules: Json, result: Json, path: str, depth: int, place: Place) -> None:
        properties = self.merger.a_map(rules.get("properties", {}), f"{path}.properties")
        needed = list(dict.fromkeys(self.merger.a_list(rules.get("required", []), f"{path}.required")))
        others = rules.get("additionalProperties", True)
        if self._subset.closed:
            self._check_closed(rules, properties, needed, path)
        required = [name for name in needed if name in properties]
        if len(required) != len(needed):
            self.merger.drop(f"{path}.required")
        found: Json = {}
        for name, each in properties.items():
            inner = place.required(required, name, f"{path}.required") if name in required else place.optional()
            try:
                found[name] = self._schema(each, f"{path}.properties.{name}", depth + 1, inner)
            except ImpossibleError:
                if name in required:
                    raise
                self.merger.drop(f"{path}.properties.{name}")
                if others is not True:
                    continue  # as it is not listed it stays forbidden
        if "properties" in rules or self._subset.closed:
            result["properties"] = found
        if required:
            result["required"] = required
        if self._subset.closed:
            result["additionalProperties"] = False
        elif "additionalProperties" in rules:
            if "additionalProperties" not in self._subset.keywords or "patternProperties" in rules:
                self.merger.drop(f"{path}.additionalProperties")
            elif isinstance(others, bool):
                result["additionalProperties"] = others
            else:
                result["additionalProperties"] = self._schema(
                    others, f"{path}.additionalProperties", depth + 1, place.optional()
                )

    def _check_closed(self, rules: Json, properties: Json, needed: list[Any], path: str) -> None:
        others = rules.get("additionalProperties")
        open_ended = others is not False and "properties" not in rules
        if open_ended or (isinstance(others, dict) and others) or "patternProperties" in rules:
            raise self.merger.refuse(
                f"{path}.additionalProperties", "an object must list all of its properties, and these are free"
            )
        if not all(name in properties for name in needed):
            raise self.merger.refuse(f"{path}.required", "a required property must be among the properties")
        if others not in (None, False):
            self.merger.drop(f"{path}.additionalProperties")

    def _array(self, rules: Json, result: Json, path: str, depth: int, place: Place) -> None:
        prefix = [*self.merger.a_list(rules.get("prefixItems", []), f"{path}.prefixItems")]
        items = rules.get("items", True)
        if not prefix:
            if items is False:
                self.merger.drop(f"{path}.items")
            elif items is not True:
                result["items"] = self._schema(items, f"{path}.items", depth + 1, place)
            return
        ends = (
            items is False or rules.get("maxItems", math.inf) <= len(prefix) or rules.get("unevaluatedItems") is False
        )
        if "prefixItems" in self._subset.keywords:
            result["prefixItems"] = [
                self._schema(each, f"{path}.prefixItems[{index}]", depth + 1, place)
                for index, each in enumerate(prefix)
            ]
            if not isinstance(items, bool):
                result["items"] = self._schema(items, f"{path}.items", depth + 1, place)
            elif ends:
                rules["maxItems"] = min(rules.get("maxItems", len(prefix)), len(prefix))
                rules.pop("unevaluatedItems", None)
            return
        # The places are lost: every item may be what one of them may.
        self.merger.drop(f"{path}.prefixItems")
        every = prefix if ends else [*prefix, items]
        if any(each is True or each == {} for each in every):
            if self._subset.any_value:
                return
            self._refuse_any(path)
        result["items"] = self._any_of(every, f"{path}.prefixItems", depth, place)

    def _refuse_any(self, path: str) -> NoReturn:
        raise self.merger.refuse(f"{path}.items", "the type of the items must be told")


def _modernise(raw: Json) -> None:
    """Say the same in the words of JSON Schema 2020-12: OpenAPI's nullable, and tuples as lists of items."""
    if raw.pop("nullable", None) is True:
        given = raw.get("type")
        if isinstance(given, str):
            raw["type"] = [given, "null"]
        elif given is None:
            rest = {name: raw.pop(name) for name in [*raw] if name not in ANNOTATIONS}
            if rest:
                raw["anyOf"] = [rest, {"type": "null"}]
    if isinstance(raw.get("items"), list):
        raw["prefixItems"] = raw.pop("items")
        if "additionalItems" in raw:
            raw["items"] = raw.pop("additionalItems")
    raw.pop("additionalItems", None)


def _is_a(value: object, kinds: list[str]) -> bool:
    kind = type_of(value)
    return kind in kinds or (kind == "integer" and "number" in kinds)


def _is_short(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 200)
