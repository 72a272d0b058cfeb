"""The model's endpoints in the API's pages: FastAPI describes its own routes, this adds the lean ones."""

from typing import Any

import msgspec
from fastapi import FastAPI

from rini.api.native_schemas import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    TextCompletionRequest,
    TextCompletionResponse,
)

_REFERENCE = "#/components/schemas/{name}"

_ENDPOINTS: tuple[tuple[str, str, str, type, type, dict[str, Any]], ...] = (
    (
        "/llm/text-completion/",
        "Ask a model, in a session or without",
        """With `session_id` the session's system prompt and current branch go along, and the question and the answer are
stored. With `stream` the answer is server-sent events: start, text, thinking, usage, done, error.""",
        TextCompletionRequest,
        TextCompletionResponse,
        {"text": "Say hello in Korean.", "provider": "local", "model": "smollm2-135m-instruct"},
    ),
    (
        "/llm/chat-completions/",
        "Ask a model with a conversation that you keep",
        "Nothing is stored but the usage. `stream` works as in /llm/text-completion/.",
        ChatCompletionRequest,
        ChatCompletionResponse,
        {
            "messages": [{"role": "user", "content": "Say hello."}],
            "provider": "local",
            "model": "smollm2-135m-instruct",
        },
    ),
)

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "An RFC 9457 problem document.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; the table is in docs/errors.md."},
        "detail": {"type": "string", "description": "One sentence for a reader."},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
    },
}


def describe(api: FastAPI) -> None:
    """Make ``api.openapi()`` describe the lean endpoints too, and every error as the problem document that it is."""
    original = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = original()
            _add_endpoints(document)
            _describe_problems(document)
            api.openapi_schema = document
        return api.openapi_schema

    api.openapi = openapi


def _add_endpoints(document: dict[str, Any]) -> None:
    types = [kind for *_, asked, answered, _ in _ENDPOINTS for kind in (asked, answered)]
    references, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    document["components"].setdefault("schemas", {}).update(components)
    for number, (path, summary, description, _, _, example) in enumerate(_ENDPOINTS):
        document["paths"][path] = {
            "post": {
                "tags": ["llm"],
                "summary": summary,
                "description": description,
                "operationId": path.strip("/").replace("/", "_").replace("-", "_"),
                "security": [{"HTTPBearer": []}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": references[number * 2], "example": example}},
                },
                "responses": {
                    "200": {
                        "description": "The answer",
                        "content": {
                            "application/json": {"schema": references[number * 2 + 1]},
                            "text/event-stream": {"schema": {"type": "string"}},
                        },
                    },
                    "422": {},
                },
            }
        }


def _describe_problems(document: dict[str, Any]) -> None:
    schemas = document["components"].setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for gone in ("HTTPValidationError", "ValidationError"):
        schemas.pop(gone, None)
    reference = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(name="Problem")}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"description": "What went wrong", "content": reference}
