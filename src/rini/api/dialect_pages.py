"""The dialects' endpoints as the API's pages tell of them: the few fields that matter here, and where all of them are described.

Their forms are OpenAI's, Anthropic's and Google's own; whatever else these take is taken here too.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

OPENAI, ANTHROPIC, GOOGLE = "openai", "anthropic", "google"
"""Whose form a call has, which is its tag too."""

_CHAT = "openai/gpt-4o-mini"
_LOCAL = "local/smollm2-135m-instruct"
_LOCAL_EMBEDDING = "local/universal-sentence-encoder-multilingual-3"

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_MODEL = {
    "type": "string",
    "minLength": 1,
    "description": "`provider/model`, one of your aliases, or a name that only one provider has.",
}
_STREAM = {"type": "boolean", "description": "Send the answer as server-sent events."}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


def _object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


class DialectCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call. Without ``asked`` it has no body; ``streamed`` are the media types of a streamed answer with their schemas.

    ``method`` is GET without a body and POST with one, unless told otherwise; ``parameters`` are those of the path and of the query.
    """

    path: str
    name: str
    form: str
    summary: str
    description: str
    answered: dict[str, Any]
    answer: Any
    asked: dict[str, Any] | None = None
    examples: Mapping[str, Any] = {}
    streamed: Mapping[str, Any] = {}
    method: str | None = None
    parameters: tuple[Mapping[str, Any], ...] = ()


_EVENT_STREAM = {"text/event-stream": {"itemSchema": _object({"data": _TEXT}, {"event": _TEXT})}}
_QUESTION = [{"role": "user", "content": "Say hello in Korean."}]
_HELLO = "안녕하세요!"
_CONTENTS = [{"role": "user", "parts": [{"text": "Say hello in Korean."}]}]
_VECTOR = [0.0123, -0.0456]

_CANDIDATES = _object({}, {"candidates": _OBJECTS, "usageMetadata": _ANY_OBJECT, "modelVersion": _TEXT})
_GENERATE = _object(
    {"contents": _OBJECTS},
    {
        "systemInstruction": _ANY_OBJECT,
        "tools": _OBJECTS,
        "toolConfig": _ANY_OBJECT,
        "generationConfig": _ANY_OBJECT,
    },
)
_GENERATED = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": _HELLO}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 31, "candidatesTokenCount": 4, "totalTokenCount": 35},
    "modelVersion": "gemini-2.5-flash",
}
_EMBED = _object(
    {"content": _object({"parts": _OBJECTS})}, {"model": _MODEL, "outputDimensionality": _COUNT, "taskType": _TEXT}
)
_EMBEDDING = _object({"values": _NUMBERS})

_OPENAI_CALLS = (
    DialectCall(
        path="/v1/chat/completions",
        name="openai_chat_completion",
        form=OPENAI,
        summary="Chat completion, in OpenAI's form",
        description="""The form is that of OpenAI's `POST /chat/completions`. Where the model's provider speaks it too, request and answer
pass as they are; else they are translated, and what was left out is named in the header `x-rini-dropped`. Nothing is stored but the usage.""",
        asked=_object(
            {"model": _MODEL, "messages": _OBJECTS},
            {
                "stream": _STREAM,
                "tools": _OBJECTS,
                "max_completion_tokens": _COUNT,
                "temperature": {"type": "number"},
                "response_format": _ANY_OBJECT,
            },
        ),
        answered=_object({"choices": _OBJECTS}, {"id": _TEXT, "model": _TEXT, "usage": _ANY_OBJECT}),
        streamed=_EVENT_STREAM,
        examples={
            "local": {"model": _LOCAL, "messages": _QUESTION, "max_completion_tokens": 40},
            "provider": {"model": _CHAT, "messages": _QUESTION},
        },
        answer={
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1795305600,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": _HELLO}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 31, "completion_tokens": 4, "total_tokens": 35},
        },
    ),
    DialectCall(
        path="/v1/embeddings",
        name="openai_embeddings",
        form=OPENAI,
        summary="Embeddings, in OpenAI's form",
        description="""Providers: openai, google, openai_compatible and local. More inputs than a provider takes in one request are
sent in several. Tokens in place of texts go to OpenAI's format alone.""",
        asked=_object(
            {
                "model": _MODEL,
                "input": {
                    "oneOf": [
                        {"type": "string", "minLength": 1},
                        {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
                        {"type": "array", "minItems": 1, "items": _COUNT},
                        {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 1, "items": _COUNT}},
                    ]
                },
            },
            {
                "dimensions": {"type": "integer", "minimum": 1},
                "encoding_format": {"enum": ["float", "base64"]},
                "user": _TEXT,
            },
        ),
        answered=_object({"data": _OBJECTS}, {"model": _TEXT, "usage": _ANY_OBJECT}),
        examples={
            "local": {"model": _LOCAL_EMBEDDING, "input": ["The cat sleeps on the sofa.", "고양이가 소파에서 잔다."]},
            "provider": {"model": "text-embedding-3-small", "input": "The cat sleeps on the sofa."},
        },
        answer={
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": _VECTOR}],
            "model": "text-embedding-3-small",
            "usage": {"prompt_tokens": 7, "total_tokens": 7},
        },
    ),
    DialectCall(
        path="/v1/models/",
        name="openai_list_models",
        form=OPENAI,
        summary="The models that you can reach",
        description="""All that your keys reach, with context size, prices and capabilities as far as they are known. Anthropic's and
Google's SDKs get it in their own form, in pages.""",
        answered=_object({}, {"object": _TEXT, "data": _OBJECTS}),
        answer={
            "object": "list",
            "data": [{"id": _CHAT, "object": "model", "created": 1721172741, "owned_by": "openai"}],
        },
    ),
    DialectCall(
        path="/v1/models/{model}",
        name="openai_read_model",
        form=OPENAI,
        summary="One of the models that you can reach",
        description="In the form of the SDK that asks, as in the list.",
        answered=_object({}, {"id": _TEXT, "object": _TEXT, "owned_by": _TEXT}),
        answer={"id": _CHAT, "object": "model", "created": 1721172741, "owned_by": "openai"},
    ),
)

_ANTHROPIC_CALLS = (
    DialectCall(
        path="/v1/messages",
        name="anthropic_message",
        form=ANTHROPIC,
        summary="Message, in Anthropic's form",
        description="""The form is that of Anthropic's `POST /v1/messages`; the token may be sent as `x-api-key`. Where the provider is
Anthropic, request and answer pass as they are, `anthropic-beta` included; else they are translated.""",
        asked=_object(
            {"model": _MODEL, "max_tokens": {"type": "integer", "minimum": 1}, "messages": _OBJECTS},
            {"system": {"oneOf": [_TEXT, _OBJECTS]}, "stream": _STREAM, "tools": _OBJECTS, "thinking": _ANY_OBJECT},
        ),
        answered=_object({"content": _OBJECTS}, {"id": _TEXT, "model": _TEXT, "role": _TEXT, "usage": _ANY_OBJECT}),
        streamed=_EVENT_STREAM,
        examples={
            "local": {"model": _LOCAL, "max_tokens": 40, "messages": _QUESTION},
            "provider": {"model": _CHAT, "max_tokens": 40, "messages": _QUESTION},
        },
        answer={
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5",
            "content": [{"type": "text", "text": _HELLO}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 31, "output_tokens": 4},
        },
    ),
    DialectCall(
        path="/v1/messages/count_tokens",
        name="anthropic_count_tokens",
        form=ANTHROPIC,
        summary="Count a message's input tokens, in Anthropic's form",
        description="""The model's provider is asked, which costs nothing. Where it cannot count, the number is an estimate, and the
header `x-rini-estimated` says so.""",
        asked=_object(
            {"model": _MODEL, "messages": _OBJECTS}, {"system": {"oneOf": [_TEXT, _OBJECTS]}, "tools": _OBJECTS}
        ),
        answered=_object({"input_tokens": _COUNT}),
        examples={
            "local": {"model": _LOCAL, "messages": _QUESTION},
            "provider": {"model": _CHAT, "messages": _QUESTION},
        },
        answer={"input_tokens": 31},
    ),
)


def _google_calls(version: str, suffix: str) -> tuple[DialectCall, ...]:
    """Return Gemini's calls below ``/version``; ``suffix`` sets their names apart from those of the other versions."""
    model = f"/{version}/models/{{model}}"
    calls = (
        DialectCall(
            path=f"{model}:generateContent",
            name=f"google_generate_content{suffix}",
            form=GOOGLE,
            summary="Generate content, in Google's form",
            description="""The form is that of Gemini's `generateContent`; the token may be sent as `x-goog-api-key` or `?key=`. Where
the provider is Google, request and answer pass as they are; else they are translated.""",
            asked=_GENERATE,
            answered=_CANDIDATES,
            examples={"local": {"contents": _CONTENTS, "generationConfig": {"maxOutputTokens": 40}}},
            answer=_GENERATED,
        ),
        DialectCall(
            path=f"{model}:streamGenerateContent",
            name=f"google_stream_generate_content{suffix}",
            form=GOOGLE,
            summary="Generate content and stream it, in Google's form",
            description="""As `generateContent`, in pieces: with `?alt=sse` as server-sent events, else as a JSON array that grows.""",
            asked=_GENERATE,
            answered={"type": "array", "items": _CANDIDATES},
            streamed=_EVENT_STREAM,
            examples={"local": {"contents": _CONTENTS, "generationConfig": {"maxOutputTokens": 40}}},
            answer=[_GENERATED],
        ),
        DialectCall(
            path=f"{model}:countTokens",
            name=f"google_count_tokens{suffix}",
            form=GOOGLE,
            summary="Count a prompt's tokens, in Google's form",
            description="""The model's provider is asked, which costs nothing. Where it cannot count, the number is an estimate, and
the header `x-rini-estimated` says so. In place of `contents` there may be a whole `generateContentRequest`.""",
            asked=_object({}, {"contents": _OBJECTS, "generateContentRequest": _ANY_OBJECT}),
            answered=_object({}, {"totalTokens": _COUNT}),
            examples={"local": {"contents": _CONTENTS}},
            answer={"totalTokens": 31},
        ),
        DialectCall(
            path=f"{model}:embedContent",
            name=f"google_embed_content{suffix}",
            form=GOOGLE,
            summary="Embedding, in Google's form",
            description="""Of one text with any provider that has embeddings. `taskType`, `title` and `embedContentConfig` go to Google;
elsewhere the header `x-rini-dropped` names them.""",
            asked=_EMBED,
            answered=_object({"embedding": _EMBEDDING}, {"usageMetadata": _ANY_OBJECT}),
            examples={"local": {"content": {"parts": [{"text": "The cat sleeps on the sofa."}]}}},
            answer={"embedding": {"values": _VECTOR}},
        ),
        DialectCall(
            path=f"{model}:batchEmbedContents",
            name=f"google_batch_embed_contents{suffix}",
            form=GOOGLE,
            summary="Embeddings, in Google's form",
            description="""Of several texts. A `model` in a request must be that of the address.""",
            asked=_object({"requests": {"type": "array", "minItems": 1, "items": _EMBED}}),
            answered=_object({"embeddings": {"type": "array", "items": _EMBEDDING}}, {"usageMetadata": _ANY_OBJECT}),
            examples={"local": {"requests": [{"content": {"parts": [{"text": "The cat sleeps on the sofa."}]}}]}},
            answer={"embeddings": [{"values": _VECTOR}]},
        ),
    )
    if version == "v1":  # OpenAI's paths
        return calls
    shown = {
        "name": "models/openai/gpt-4o-mini",
        "displayName": "gpt-4o-mini",
        "supportedGenerationMethods": ["generateContent"],
    }
    return (
        *calls,
        DialectCall(
            path=f"/{version}/models/",
            name=f"google_list_models{suffix}",
            form=GOOGLE,
            summary="The models that you can reach, in Google's form",
            description="All that your keys reach, in pages of `pageSize`.",
            answered=_object({}, {"models": _OBJECTS, "nextPageToken": _TEXT}),
            answer={"models": [shown]},
        ),
        DialectCall(
            path=model,
            name=f"google_read_model{suffix}",
            form=GOOGLE,
            summary="One of the models that you can reach, in Google's form",
            description="As it is in the list.",
            answered=_object({"name": _TEXT}),
            answer=shown,
        ),
    )


CALLS = (
    *_OPENAI_CALLS,
    *_ANTHROPIC_CALLS,
    *_google_calls("v1beta", ""),
    *_google_calls("v1", "_stable"),
    *_google_calls("v1alpha", "_alpha"),
)

_PATH_MODEL = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "`provider/model`, one of your aliases, or a name that only one provider has.",
    "schema": {"type": "string", "minLength": 1},
    "examples": {"provider": {"value": "google/gemini-2.5-flash"}, "bare": {"value": "gemini-2.5-flash"}},
}

_TOLD = "In {form}'s own envelope; the header `x-rini-code` has the stable code of an error that is Rini's."
_LABELS = {OPENAI: "OpenAI", ANTHROPIC: "Anthropic", GOOGLE: "Google"}
_ERROR = _object({"error": _ANY_OBJECT})


def add_dialects(document: dict[str, Any], routed: Collection[str], calls: Iterable[DialectCall] = CALLS) -> None:
    """Add the dialects' endpoints to an OpenAPI document: those of the ``calls`` whose paths are ``routed``."""
    for call in calls:
        if call.path in routed:
            method = call.method or ("get" if call.asked is None else "post")
            document["paths"].setdefault(call.path, {})[method] = _operation(call)


def _operation(call: DialectCall) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": [call.form],
        "summary": call.summary,
        "description": call.description,
        "operationId": call.name,
        "security": [{"HTTPBearer": []}],
        "responses": dict(_responses(call)),
    }
    if call.parameters:
        operation["parameters"] = [*call.parameters]
    elif "{model}" in call.path:
        operation["parameters"] = [_PATH_MODEL]
    if call.asked is not None:
        examples = {name: {"value": value} for name, value in call.examples.items()}
        content = {"application/json": {"schema": call.asked, "examples": examples}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(call: DialectCall) -> Iterator[tuple[str, Any]]:
    answer = {"schema": call.answered, "examples": {"answer": {"value": call.answer}}}
    yield "200", {"description": "The answer", "content": {"application/json": answer, **call.streamed}}
    for status in ("401", "4XX", "5XX"):
        told = _TOLD.format(form=_LABELS[call.form])
        yield status, {"description": told, "content": {"application/json": {"schema": _ERROR}}}
