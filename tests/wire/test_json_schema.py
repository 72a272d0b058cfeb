"""Schemas for providers that take a part of JSON Schema: what is valid stays valid, and what is lost is named."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from rini.wire.codec import UnsupportedError
from rini.wire.json_schema import (
    ANTHROPIC_STRICT,
    GEMINI,
    GEMINI_OPENAPI,
    Subset,
    fits,
    fits_openai_strict,
    fitted,
    is_plain_object,
    object_root,
)

SUBSETS = {"anthropic": ANTHROPIC_STRICT, "gemini": GEMINI, "gemini-1.5": GEMINI_OPENAPI}
ALL = pytest.mark.parametrize("subset", SUBSETS.values(), ids=SUBSETS)


def rewritten(schema: dict[str, Any], subset: Subset) -> tuple[dict[str, Any], list[str]]:
    dropped: list[str] = []
    return fitted(schema, subset, field="schema", dropped=dropped), dropped


def refused(schema: dict[str, Any], subset: Subset) -> str:
    with pytest.raises(UnsupportedError) as caught:
        rewritten(schema, subset)
    return caught.value.field


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


# -- one keyword at a time ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "anthropic", "gemini", "named"),
    [
        (
            {"type": "integer", "minimum": 1, "maximum": 9},
            {"type": "integer", "description": "(minimum: 1, maximum: 9)"},
            {"type": "integer", "minimum": 1, "maximum": 9},
            (["minimum", "maximum"], []),
        ),
        (
            {"type": "integer", "exclusiveMinimum": 0},
            {"type": "integer", "description": "(exclusiveMinimum: 0)"},
            {"type": "integer", "minimum": 1},
            (["exclusiveMinimum"], []),
        ),
        (
            {"type": "number", "exclusiveMaximum": 1, "maximum": 5},
            {"type": "number", "description": "(exclusiveMaximum: 1, maximum: 5)"},
            {"type": "number", "maximum": 1, "description": "(exclusiveMaximum: 1)"},
            (["exclusiveMaximum", "maximum"], ["exclusiveMaximum"]),
        ),
        (
            {"type": "string", "description": "A name.", "minLength": 2, "pattern": "^a"},
            {"type": "string", "description": 'A name.\n\n(minLength: 2, pattern: "^a")'},
            {"type": "string", "description": 'A name.\n\n(minLength: 2, pattern: "^a")'},
            (["minLength", "pattern"], ["minLength", "pattern"]),
        ),
        (
            {"type": "string", "format": "email"},
            {"type": "string", "format": "email"},
            {"type": "string", "description": '(format: "email")'},
            ([], ["format"]),
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
            {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "description": "(minItems: 3, uniqueItems: true)",
            },
            {"type": "array", "items": {"type": "string"}, "minItems": 3, "description": "(uniqueItems: true)"},
            (["minItems", "uniqueItems"], ["uniqueItems"]),
        ),
        (
            {"const": "a"},
            {"type": "string", "const": "a"},
            {"type": "string", "enum": ["a"]},
            ([], []),
        ),
        (
            {"type": ["string", "null"]},
            {"type": ["string", "null"]},
            {"type": ["string", "null"]},
            ([], []),
        ),
        (
            {"type": "string", "nullable": True},
            {"type": ["string", "null"]},
            {"type": ["string", "null"]},
            ([], []),
        ),
        (
            {"type": ["string", "null"], "enum": ["a", None]},
            {"type": ["string", "null"], "enum": ["a", None]},
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
            ([], []),
        ),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            (["oneOf"], ["oneOf"]),
        ),
        (
            {"allOf": [an_object(a={"type": "string"}), {"properties": {"a": {"enum": ["x"]}}, "required": ["a"]}]},
            {**an_object(a={"type": "string", "enum": ["x"]}), "required": ["a"], "additionalProperties": False},
            {**an_object(a={"type": "string", "enum": ["x"]}), "required": ["a"]},
            ([], []),
        ),
        (
            {"type": "string", "not": {"const": "a"}, "x-order": 3, "default": "b", "examples": ["c"]},
            {"type": "string", "description": '(default: "b")'},
            {"type": "string", "description": '(default: "b")'},
            (["not"], ["not"]),
        ),
    ],
)
def test_a_keyword_is_kept_said_otherwise_or_named(schema, anthropic, gemini, named):
    for subset, expected, lost in ((ANTHROPIC_STRICT, anthropic, named[0]), (GEMINI, gemini, named[1])):
        found, dropped = rewritten(an_object(v=schema), subset)
        assert found["properties"]["v"] == expected
        assert dropped == [f"schema.properties.v.{name}" for name in lost]


def test_a_described_reference_keeps_its_description():
    schema = {
        **an_object(pet={"$ref": "#/definitions/Pet", "description": "Its pet."}, other={"$ref": "#/definitions/Pet"}),
        "definitions": {"Pet": {"type": "string"}},
    }
    for subset in (ANTHROPIC_STRICT, GEMINI):
        found, dropped = rewritten(schema, subset)
        assert found["properties"]["pet"] == {"description": "Its pet.", "anyOf": [{"$ref": "#/$defs/Pet"}]}
        assert found["properties"]["other"] == {"$ref": "#/$defs/Pet"}
        assert (found["$defs"], dropped) == ({"Pet": {"type": "string"}}, [])
    assert rewritten(schema, GEMINI_OPENAPI)[0]["properties"]["other"] == {"type": "string"}


def test_a_tuple_is_kept_or_becomes_a_list_of_what_its_places_take():
    pair = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "minItems": 2, "maxItems": 2}
    assert rewritten(pair, GEMINI) == (pair, [])
    found, dropped = rewritten(pair, GEMINI_OPENAPI)
    assert found["items"] == {"anyOf": [{"type": "string"}, {"type": "number"}]}
    assert dropped == ["schema.prefixItems"]


TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            **an_object(value={"type": "integer"}, children={"type": "array", "items": {"$ref": "#/$defs/Node"}}),
            "required": ["value", "children"],
        }
    },
}


def test_a_schema_that_contains_itself_is_refused_or_made_optional_where_it_must_be():
    assert refused(TREE, ANTHROPIC_STRICT).endswith("children.items.$ref")
    assert refused(TREE, GEMINI_OPENAPI).endswith("children.items.$ref")
    found, dropped = rewritten(TREE, GEMINI)
    assert found["$defs"]["Node"]["required"] == ["value"]
    assert dropped == ["schema.$defs.Node.required.children"]
    only = {**TREE, "$defs": {"Node": {**TREE["$defs"]["Node"], "required": ["value"]}}}
    assert rewritten(only, GEMINI)[1] == []


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"type": "object"}, "schema.additionalProperties"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "schema.additionalProperties"),
        (an_object(a={}), "schema.properties.a"),
        ({**an_object(), "required": ["b"]}, "schema.required"),
        ({"enum": [{"a": 1}]}, "schema.enum"),
        ({"type": "strange"}, "schema.type"),
        ({"$ref": "https://example.com/schema"}, "schema.$ref"),
        ({"$ref": "#/$defs/nothing"}, "schema.$ref"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "schema.$ref"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "schema"),
        (an_object(a=3), "schema.properties.a"),
        ({"type": "object", "properties": []}, "schema.properties"),
    ],
)
def test_what_would_not_mean_the_same_is_refused(schema, field):
    assert refused(schema, ANTHROPIC_STRICT) == field


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = an_object(a=schema)
    return schema


def _doubling(*, inside: bool) -> dict[str, Any]:
    def both(name: str) -> dict[str, Any]:
        twice = [{"$ref": name}, {"$ref": name}]
        return an_object(x=twice[0], y=twice[1]) if inside else {"allOf": twice, "title": name}

    defs = {f"a{at}": both(f"#/$defs/a{at + 1}") for at in range(60)} | {"a60": an_object(z={"type": "string"})}
    return {**an_object(root={"$ref": "#/$defs/a0", "description": "d"}), "$defs": defs}


WIDE = {"anyOf": [{"anyOf": [an_object(**{f"p{at}": {"type": "string"}}) for at in range(80)]}] * 80, "required": ["q"]}


@ALL
@pytest.mark.parametrize(
    "schema",
    [_deep(100), _deep(5000), _doubling(inside=True), _doubling(inside=False), WIDE],
    ids=["deep", "deeper", "doubling", "doubling in allOf", "wide"],
)
def test_a_hostile_schema_ends_soon(subset, schema):
    begun = time.process_time()
    for each in (lambda: rewritten(schema, subset), lambda: object_root(schema, "x", field="schema", dropped=[])):
        with contextlib.suppress(UnsupportedError):
            each()
    assert time.process_time() - begun < 5


@ALL
def test_too_deep_is_refused(subset):
    assert refused(_deep(100), subset) == "schema"


# -- the root of a tool's arguments ------------------------------------------------------------------


def test_the_root_becomes_one_object():
    dropped: list[str] = []
    cat = {**an_object(kind={"const": "cat"}, lives={"type": "integer"}), "required": ["kind", "lives"]}
    dog = {**an_object(kind={"const": "dog"}), "required": ["kind"]}
    root = object_root(
        {"oneOf": [cat, {"$ref": "#/$defs/dog"}], "$defs": {"dog": dog}}, "x", field="schema", dropped=dropped
    )
    assert {name: root[name] for name in ("type", "properties", "required")} == {
        "type": "object",
        "properties": {"kind": {"anyOf": [{"const": "cat"}, {"const": "dog"}]}, "lives": {"type": "integer"}},
        "required": ["kind"],
    }
    assert is_plain_object(root)
    assert dropped == ["schema.oneOf"]
    with pytest.raises(UnsupportedError, match="object"):
        object_root({"type": "array"}, "x", field="schema", dropped=[])


# -- OpenAI ------------------------------------------------------------------------------------------

STRICT = {**an_object(a={"type": ["string", "null"]}), "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "taken"),
    [
        (STRICT, True),
        ({**STRICT, "properties": {"a": {"$ref": "#"}}}, True),
        ({**STRICT, "properties": {"a": {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}}}, True),
        ({**STRICT, "properties": {"a": {"type": "array", "items": STRICT, "minItems": 2}}}, True),
        ({**STRICT, "required": []}, False),
        ({**STRICT, "additionalProperties": True}, False),
        (an_object(), False),
        ({**STRICT, "properties": {"a": {"type": "string", "minLength": 1}}}, False),
        ({**STRICT, "properties": {"a": {"type": "string", "format": "uri"}}}, False),
        ({**STRICT, "properties": {"a": {"type": "string", "default": ""}}}, False),
        ({**STRICT, "properties": {"a": {"type": "array"}}}, False),
        ({**STRICT, "properties": {"a": {"$ref": "#", "description": "d"}}}, False),
        ({**STRICT, "properties": {"a": {"oneOf": [STRICT]}}}, False),
        ({**STRICT, "properties": {"a": True}}, False),
        ({"anyOf": [STRICT]}, False),
        ({"type": "array", "items": STRICT}, False),
        (_deep(100), False),
    ],
)
def test_what_openai_enforces_as_it_is(schema, taken):
    assert fits_openai_strict(schema) is taken


# -- any schema --------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.sampled_from(["x", "yy", "", 0, 1, 2.5, -3, True, False, None])
LEAVES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(1, 4),
            "pattern": st.sampled_from(["^x", "y"]),
            "format": st.sampled_from(["date", "odd"]),
            "nullable": st.booleans(),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number", ["integer", "null"]])},
        optional={
            "minimum": st.integers(-3, 2),
            "exclusiveMinimum": st.sampled_from([-3, 0, 1, 0.5]),
            "exclusiveMaximum": st.sampled_from([3, 5, 2.5]),
            "multipleOf": st.just(1),
        },
    ),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "number", "boolean"]}]),
    st.builds(lambda values: {"enum": values}, st.lists(SCALARS, min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, SCALARS),
    st.builds(lambda name: {"$ref": f"#/$defs/{name}"}, NAMES),
    st.builds(lambda name: {"$ref": f"#/$defs/{name}", "description": "d"}, NAMES),
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda properties, required, closed, more: {
            "type": "object",
            "properties": properties,
            "required": [name for name in required if name in properties],
            **closed,
            **more,
        },
        st.dictionaries(NAMES, inner, max_size=3),
        st.lists(NAMES, unique=True, max_size=2),
        st.sampled_from([{}, {"additionalProperties": False}]),
        st.sampled_from([{}, {"minProperties": 1}, {"title": "T"}, {"not": {"required": ["c"]}}]),
    )


def _larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        _objects(inner),
        st.builds(
            lambda items, limits: {"type": "array", "items": items, **limits},
            inner,
            st.sampled_from([{}, {"minItems": 2}, {"maxItems": 1}, {"uniqueItems": True}]),
        ),
        st.builds(
            lambda places: {"type": "array", "prefixItems": places, "maxItems": len(places)},
            st.lists(inner, min_size=1, max_size=2),
        ),
        st.builds(
            lambda word, branches: {word: branches},
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda one, two: {**one, "anyOf": [two, one]}, _objects(inner), _objects(inner)),
    )


SCHEMAS = st.recursive(LEAVES, _larger, max_leaves=6)
DEFINED = st.builds(
    lambda schema, *defs: {**schema, "$defs": dict(zip("abc", defs, strict=True))},
    _objects(SCHEMAS),
    LEAVES,
    SCHEMAS,
    LEAVES,
)


def _value(draw: Any, schema: Any, root: dict[str, Any], depth: int = 0) -> Any:
    """A value that is probably valid under ``schema``."""
    if depth > 8 or schema is True or schema == {}:
        return draw(SCALARS)
    if "$ref" in schema:
        return _value(draw, root["$defs"][schema["$ref"].rpartition("/")[2]], root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return _value(draw, draw(st.sampled_from(schema[word])), root, depth + 1)
    if "allOf" in schema:
        found = [_value(draw, each, root, depth + 1) for each in schema["allOf"]]
        return (
            {k: v for each in found for k, v in each.items()}
            if all(isinstance(each, dict) for each in found)
            else found[0]
        )
    kinds = schema["type"]
    kind = draw(st.sampled_from(kinds)) if isinstance(kinds, list) else kinds
    if kind == "object":
        return {
            name: _value(draw, each, root, depth + 1)
            for name, each in schema["properties"].items()
            if name in schema["required"] or draw(st.booleans())
        }
    if kind == "array":
        if "prefixItems" in schema:
            return [_value(draw, each, root, depth + 1) for each in schema["prefixItems"]]
        return [_value(draw, schema["items"], root, depth + 1) for _ in range(draw(st.integers(0, 2)))]
    return draw(
        {
            "string": st.sampled_from(["x", "yy", "xyz", "", "2026-11-22"]),
            "integer": st.integers(-4, 6),
            "number": st.sampled_from([-3, 0, 0.5, 1, 2.5, 4]),
            "boolean": st.booleans(),
            "null": st.none(),
        }[kind]
    )


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(each) for name, each in schema.items()}
    return {**found, "additionalProperties": False} if schema.get("type") == "object" else found


@ALL
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_valid_stays_valid_and_the_result_is_stable(subset, data):
    schema = data.draw(DEFINED)
    if subset.closed:
        # An object that says nothing about other properties is closed, which is the one thing that takes less.
        schema = _closed(schema)
    try:
        found, dropped = rewritten(schema, subset)
    except UnsupportedError:
        return
    assert all(name.startswith("schema.") for name in dropped)
    assert json.dumps(rewritten(json.loads(json.dumps(schema)), subset)[0]) == json.dumps(found)
    Draft202012Validator.check_schema(found)
    assert fits(found, subset)
    assert rewritten(found, subset)[1] == []
    value = data.draw(st.composite(lambda draw: _value(draw, schema, schema))())
    assume(Draft202012Validator(schema).is_valid(value))
    assert Draft202012Validator(found).is_valid(value)
