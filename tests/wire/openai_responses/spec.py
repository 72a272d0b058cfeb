"""OpenAI's specification, read from ../shared/specs where that is present: what a response and an event of a stream must look like."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[4] / "shared" / "specs"


def file() -> Path | None:
    return next(iter(sorted(ROOT.glob("openai-openapi-*.json"), reverse=True)), None)


@cache
def components() -> dict[str, Any]:
    path = file()
    assert path is not None
    return _with_nulls(json.loads(path.read_text(encoding="utf-8"))["components"])


def _with_nulls(value: Any) -> Any:
    """Write OpenAPI's ``nullable``, which JSON Schema does not know, as JSON Schema does."""
    if isinstance(value, list):
        return [_with_nulls(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {name: _with_nulls(each) for name, each in value.items() if name != "nullable"}
    return {"anyOf": [made, {"type": "null"}]} if value.get("nullable") is True else made


@cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components()})


@cache
def event_schemas() -> dict[str, str]:
    """The schema of each kind of event."""
    schemas = components()["schemas"]
    names = [each["$ref"].rpartition("/")[2] for each in schemas["ResponseStreamEvent"]["anyOf"]]
    return {schemas[name]["properties"]["type"]["enum"][0]: name for name in names}


def faults(name: str, value: Any) -> list[str]:
    """Return what is wrong with ``value``, a ``name`` of the specification; without it, nothing."""
    if file() is None:
        return []
    return [f"{error.json_path}: {error.message[:300]}" for error in validator(name).iter_errors(value)]


def event_faults(event: dict[str, Any]) -> list[str]:
    if file() is None:
        return []
    name = event_schemas().get(event["type"])
    return (
        [f"{event['type']} is no event"]
        if name is None
        else [f"{event['type']} {fault}" for fault in faults(name, event)]
    )


def events_in(data: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream; each must be named as its type says."""
    found: list[dict[str, Any]] = []
    for block in data.decode().split("\n\n"):
        if block.startswith(":") or not block:
            continue
        name, _, payload = block.partition("\n")
        found.append(json.loads(payload.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found
