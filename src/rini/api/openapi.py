"""The API's pages: FastAPI describes its own routes; the lean ones, the errors and the headers are added here."""

from collections.abc import Collection
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute

from rini.api.dialect_pages import add_dialects
from rini.api.error_pages import describe_errors
from rini.api.idempotency.layer import LONGEST_KEY
from rini.api.lean_pages import REFERENCE, add_endpoints
from rini.api.responses_pages import add_responses
from rini.kit.parameters import LARGEST_ID, TOTAL_HEADER

TAGS = {
    "users": "A user is a token: whoever holds it is that user. Programs get access tokens of their own.",
    "api-keys": "Your keys of providers. They are stored encrypted and never shown again.",
    "sessions": "Conversations that are kept. A session has a system prompt, and its messages form a tree.",
    "messages": "What was said, with the branches of the conversation.",
    "memory": "What models are told with every question of a session, or of all sessions.",
    "llm": "Ask models: whole answers or streams, with or without a session, about texts and images; and embeddings.",
    "openai": "For OpenAI's SDKs, before any provider: the base URL is this server's with `/v1`, the key your token.",
    "anthropic": "For Anthropic's SDKs, before any provider: the base URL is this server's, the key your token.",
    "google": "For Google's SDKs, before any provider: the base URL is this server's, the key your token.",
    "models": "Names of your own for models.",
    "mcp-connections": "Servers whose tools models may use (Model Context Protocol).",
    "usage": "What was called, and what it cost.",
    "service": "About the server itself.",
}

_KEY_SCHEMA = "IdempotencyKey"
_REPLAYED = "IdempotentReplayed"
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A word of this one request, kept for 24 hours: sent again with it, the request is done once and has the same answer.",
    "schema": {"$ref": REFERENCE.format(name=_KEY_SCHEMA)},
}

_HEADERS = {
    "RequestId": {
        "description": "The request's id, in the log too: yours, if you sent an `x-request-id`, or a new one.",
        "required": True,
        "schema": {"type": "string"},
    },
    "TotalCount": {
        "description": "How many there are in all.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    _REPLAYED: {
        "description": "The answer is that of an earlier request with the same `Idempotency-Key`.",
        "schema": {"type": "string", "const": "true"},
    },
    "RetryAfter": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
    "WwwAuthenticate": {
        "description": "How to authenticate, where it is this server that refuses.",
        "schema": {"type": "string"},
    },
}

_GOOD = {"200": "The answer", "201": "What was made", "204": "It is done; there is no body"}


def operation_id(route: APIRoute) -> str:
    """Return what clients that are generated from the document call an operation."""
    return route.name


def describe(api: FastAPI, lean: Collection[str]) -> None:
    """Make ``api.openapi()`` describe the endpoints at the ``lean`` paths too, and every answer as it is."""
    original = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = original()
            document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
            document["components"]["headers"] = _HEADERS
            add_endpoints(document)
            add_dialects(document, lean)
            add_responses(document, lean)
            _add_keys(document)
            describe_errors(document)
            _finish_answers(document)
            _make_bounds_whole(document)
            api.openapi_schema = document
        return api.openapi_schema

    api.openapi = openapi


def _add_keys(document: dict[str, Any]) -> None:
    """Give every POST that knows its user the header that makes it safe to repeat."""
    document["components"].setdefault("schemas", {})[_KEY_SCHEMA] = {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_KEY,
        "pattern": "^[ -~]+$",
        "description": "Printable ASCII, best a UUID.",
        "examples": ["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    }
    for operations in document["paths"].values():
        operation = operations.get("post")
        if operation is None or "security" not in operation:
            continue
        operation.setdefault("parameters", []).append(_KEY)
        for status, answer in operation["responses"].items():
            if status.startswith("2"):
                answer.setdefault("headers", {})["idempotent-replayed"] = {"$ref": f"#/components/headers/{_REPLAYED}"}


def _finish_answers(document: dict[str, Any]) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            answers: dict[str, Any] = operation["responses"]
            for status, answer in answers.items():
                if answer.get("description") == "Successful Response":
                    answer["description"] = _GOOD[status]
                answer.setdefault("headers", {})["x-request-id"] = {"$ref": "#/components/headers/RequestId"}
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            if names >= {"skip", "limit"}:
                answers["200"]["headers"][TOTAL_HEADER] = {"$ref": "#/components/headers/TotalCount"}


def _make_bounds_whole(value: Any) -> None:
    """Make whole bounds of numbers integers: FastAPI's own model holds them as floats, which round the largest id up."""
    if isinstance(value, list):
        for each in cast("list[Any]", value):
            _make_bounds_whole(each)
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        for each in fields.values():
            _make_bounds_whole(each)
        for bound in ("minimum", "maximum"):
            number = fields.get(bound)
            if isinstance(number, float) and number.is_integer():
                fields[bound] = min(int(number), LARGEST_ID)
