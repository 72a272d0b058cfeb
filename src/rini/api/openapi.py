"""The model's endpoints in the API's pages: FastAPI describes its own routes, this adds the lean ones."""

from typing import Any

import msgspec
from fastapi import FastAPI

from rini.api.embeddings import EmbeddingsRequest, EmbeddingsResponse
from rini.api.native_schemas import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ImageCompletionRequest,
    TextCompletionRequest,
    TextCompletionResponse,
)

_REFERENCE = "#/components/schemas/{name}"


class Described(msgspec.Struct, frozen=True):
    """A lean endpoint: what it takes and gives. ``file_field`` makes its body a form that has a file too."""

    path: str
    summary: str
    description: str
    asked: type
    answered: type
    example: dict[str, Any]
    streams: bool = True
    file_field: str | None = None


_ENDPOINTS = (
    Described(
        "/llm/text-completion/",
        "Ask a model, in a session or without",
        """With `session_id` the session's system prompt, its memory and current branch go along, and the question and the
answer are stored. `llm_params` are the provider's own or OpenAI's names; its `tool_choice` (`auto`, `required` or a tool's name)
offers your MCP tools. With `stream` the answer is server-sent events: start, text, thinking, tool_call, tool_result, usage, done, error.""",
        TextCompletionRequest,
        TextCompletionResponse,
        {"text": "Say hello in Korean.", "provider": "local", "model": "smollm2-135m-instruct"},
    ),
    Described(
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
    Described(
        "/llm/image-completion/",
        "Ask a model about an image",
        """PNG, JPEG, GIF or WebP. With `session_id` the file is stored, and later turns of the session send it again.
`stream` works as in /llm/text-completion/.""",
        ImageCompletionRequest,
        TextCompletionResponse,
        {"provider": "openai", "prompt": "What is this?"},
        file_field="image_file",
    ),
    Described(
        "/llm/embeddings/",
        "Turn texts into vectors",
        """The vectors come in the order of the texts; a list that is longer than the provider takes is sent in batches, side by side.
Providers: openai, google, openai_compatible and local. Anthropic has no embeddings. The limits are in docs/embeddings.md.""",
        EmbeddingsRequest,
        EmbeddingsResponse,
        {
            "input": ["The cat sleeps on the sofa.", "고양이가 소파에서 잔다."],
            "provider": "local",
            "model": "universal-sentence-encoder-multilingual-3",
        },
        streams=False,
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
    types = [kind for endpoint in _ENDPOINTS for kind in (endpoint.asked, endpoint.answered)]
    references, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    document["components"].setdefault("schemas", {}).update(components)
    for number, endpoint in enumerate(_ENDPOINTS):
        asked, answered = references[number * 2 : number * 2 + 2]
        content_type = "application/json"
        if endpoint.file_field is not None:
            content_type = "multipart/form-data"
            schema = components[endpoint.asked.__name__]
            schema["properties"][endpoint.file_field] = {"type": "string", "format": "binary"}
            schema["required"] = [*schema["required"], endpoint.file_field]
        answers = {"application/json": {"schema": answered}}
        if endpoint.streams:
            answers["text/event-stream"] = {"schema": {"type": "string"}}
        document["paths"][endpoint.path] = {
            "post": {
                "tags": ["llm"],
                "summary": endpoint.summary,
                "description": endpoint.description,
                "operationId": endpoint.path.strip("/").replace("/", "_").replace("-", "_"),
                "security": [{"HTTPBearer": []}],
                "requestBody": {
                    "required": True,
                    "content": {content_type: {"schema": asked, "example": endpoint.example}},
                },
                "responses": {"200": {"description": "The answer", "content": answers}, "422": {}},
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
