"""Schemas of tools' input: what goes to providers, and what is refused."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from rini.tools.input_schema import MAX_BYTES, SchemaRefusedError, offered_schema

EMPTY = {"type": "object", "properties": {}}


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize("given", [None, {}, {"type": "object"}, {"$schema": "x"}, {"properties": {}}])
def test_a_missing_schema_is_one_without_properties(given: Any):
    assert offered_schema(given) == EMPTY


def test_a_plain_schema_stays_as_it_is():
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "도시", "minLength": 1, "pattern": "^\\p{L}+$"},
            "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 14.5, "default": None},
            "kind": {"enum": ["a", 1, None]},
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            "$ref": {"type": "string"},
            "definitions": {"const": {"$ref": "#/nowhere"}},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    # A property may be called like a keyword, and a value may look like a reference.
    schema["properties"]["ref"] = schema["properties"].pop("$ref")
    assert offered_schema(schema) == schema


def test_references_are_put_in_place():
    schema = object_of(
        a={"$ref": "#/$defs/Unit", "description": "mine"}, b={"items": {"$ref": "#/$defs/with~1slash~0%20"}}
    )
    schema["$defs"] = {"Unit": {"type": "string", "description": "theirs"}, "with/slash~ ": {"$ref": "#/$defs/Unit"}}
    assert offered_schema(schema) == object_of(
        a={"type": "string", "description": "mine"}, b={"items": {"type": "string", "description": "theirs"}}
    )


def test_a_reference_at_the_top_is_followed():
    schema = {"$ref": "#/definitions/Arguments", "definitions": {"Arguments": object_of(a={"type": "string"})}}
    assert offered_schema(schema) == object_of(a={"type": "string"})


def test_recursion_is_cut_where_it_begins():
    tree = object_of(value={"type": "integer"}, children={"type": "array", "items": {"$ref": "#/$defs/Tree"}})
    schema = object_of(tree={"$ref": "#/$defs/Tree"}) | {"$defs": {"Tree": tree}}
    cut = object_of(value={"type": "integer"}, children={"type": "array", "items": {}})
    assert offered_schema(schema) == object_of(tree=cut)
    itself = object_of(me={"$ref": "#"})
    assert offered_schema(itself) == object_of(me=object_of(me={}))
    round_about = object_of(a={"$ref": "#/$defs/a"}) | {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}
    }
    assert offered_schema(round_about) == object_of(a={})


def test_alternatives_at_the_top_become_optional_properties():
    schema = object_of(a={"type": "string"}) | {
        "anyOf": [object_of(a={"type": "null"}, b={"type": "integer"}), {"required": ["a"]}],
        "not": {"required": ["b"]},
    }
    assert offered_schema(schema) == object_of(a={"type": "string"}, b={"type": "integer"})


def test_what_providers_dislike_is_put_right():
    schema = object_of(list={"type": "array"}, any=True, pairs={"type": "array", "prefixItems": [True]})
    assert offered_schema(schema) == object_of(
        list={"type": "array", "items": {}}, any={}, pairs={"type": "array", "prefixItems": [{}]}
    )
    old = object_of(pair={"type": "array", "items": [{"type": "string"}]})
    offered_schema(old | {"$schema": "http://json-schema.org/draft-07/schema#"})
    with pytest.raises(SchemaRefusedError):
        offered_schema(old)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = object_of(a=schema)
    return schema


def bomb() -> dict[str, Any]:
    """Return a small schema that is a million times as large once its references are resolved."""
    levels = {f"l{n}": object_of(**{k: {"$ref": f"#/$defs/l{n + 1}"} for k in "abcdefghij"}) for n in range(6)}
    return object_of(a={"$ref": "#/$defs/l0"}) | {"$defs": levels | {"l6": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "not a JSON object"),
        ("object", "not a JSON object"),
        ({"type": "string"}, "`type` must be `object`"),
        ({"type": ["object"]}, "`type` must be `object`"),
        ({"type": "objekt"}, "`type` must be one or more of"),
        (object_of(a={"type": "text"}), "`type` must be"),
        (object_of(a="string"), "stands something else"),
        (object_of(a={"required": "a"}), "`required` must be"),
        (object_of(a={"required": ["a", "a"]}), "`required` must be"),
        (object_of(a={"enum": "a"}), "`enum` must be"),
        (object_of(a={"minLength": -1}), "`minLength` must be"),
        (object_of(a={"maximum": "7"}), "`maximum` must be"),
        (object_of(a={"multipleOf": 0}), "`multipleOf` must be"),
        (object_of(a={"uniqueItems": "yes"}), "`uniqueItems` must be"),
        (object_of(a={"description": 7}), "`description` must be"),
        (object_of(a={"anyOf": []}), "`anyOf` must not be empty"),
        (object_of(a={"anyOf": {}}), "`anyOf` must be a list"),
        ({"properties": []}, "`properties` must be an object"),
        (object_of(a={"$ref": "https://example.com/schema.json"}), "another document"),
        (object_of(a={"$ref": "other.json#/a"}), "another document"),
        (object_of(a={"$ref": "#/$defs/missing"}), "which is not in it"),
        (object_of(a={"$ref": "#anchor"}), "which is not in it"),
        (object_of(a={"$ref": 7}), "`$ref` must be"),
        (object_of(a={"$dynamicRef": "#a"}), "uses $dynamicRef"),
        (object_of(a={"const": float("nan")}), "a number that JSON does not have"),
        (object_of(a={"const": 2**64}), "more than 64 bits"),
        (object_of(**{"k" * 65: {}}), "a property whose name"),
        (object_of(도시={}), "a property whose name"),
        (nested(40), "levels deep"),
        (object_of(a={"description": "x" * MAX_BYTES}), "larger than 64 KiB"),
        (bomb(), "larger than 64 KiB once its references are resolved"),
    ],
)
def test_what_cannot_be_offered_says_why(schema: Any, words: str):
    with pytest.raises(SchemaRefusedError) as found:
        offered_schema(schema)
    assert words in str(found.value)
    assert str(found.value).endswith(".")


def test_no_schema_takes_long():
    worst = object_of(a={"allOf": [object_of(b={})] * 1400})
    assert len(json.dumps(worst)) < MAX_BYTES
    began = time.process_time()
    for schema in (worst, bomb()):
        with contextlib.suppress(SchemaRefusedError):
            offered_schema(schema)
    assert time.process_time() - began < 1


_leaves = st.sampled_from([{"type": "string"}, {}, True, {"$ref": "#"}, {"$ref": "#/$defs/d"}, {"enum": [1, "a"]}])
_odd = st.sampled_from([7, None, "x", [], {"type": 7}, {"required": [1]}, {"minItems": -1}, {"items": 7}])


@st.composite
def _schemas(draw: st.DrawFn, parts: st.SearchStrategy[Any]) -> dict[str, Any]:
    one = st.recursive(
        parts,
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(lambda found: object_of(**found)),
            inner.map(lambda found: {"type": "array", "items": found}),
            st.lists(inner, min_size=1, max_size=3).map(lambda found: {"anyOf": found}),
        ),
        max_leaves=8,
    )
    return object_of(**draw(st.dictionaries(st.sampled_from("abc"), one, max_size=3))) | {"$defs": {"d": draw(one)}}


@given(_schemas(_leaves))
@settings(max_examples=30, deadline=None)
def test_what_is_offered_is_valid_and_without_references(schema: dict[str, Any]):
    made = offered_schema(schema)
    Draft202012Validator.check_schema(made)
    assert "$ref" not in json.dumps(made)


@given(_schemas(st.one_of(_leaves, _odd)))
@settings(max_examples=50, deadline=None)
def test_what_jsonschema_refuses_is_refused(schema: dict[str, Any]):
    """Where the wrong place can be reached, that is: definitions that nobody refers to are left out."""
    try:
        Draft202012Validator.check_schema({name: value for name, value in schema.items() if name != "$defs"})
    except SchemaError:
        with pytest.raises(SchemaRefusedError):
            offered_schema(schema)
