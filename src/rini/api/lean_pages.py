"""The model's endpoints as the API's pages tell of them: what each takes and gives, with examples."""

from typing import Any

import msgspec

from rini.api.embeddings import PATH as EMBEDDINGS_PATH
from rini.api.embeddings import EmbeddingsRequest, EmbeddingsResponse
from rini.api.native_asks import IMAGE_FILE
from rini.api.native_follow import CANCEL, STREAM
from rini.api.native_messages import COMPARE, EDIT, REGENERATE
from rini.api.native_schemas import (
    Begun,
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompareRequest,
    CompareResponse,
    EditRequest,
    ImageCompletionRequest,
    RegenerateRequest,
    TextCompletionRequest,
    TextCompletionResponse,
)
from rini.kit.parameters import A_SESSION, LARGEST_ID

REFERENCE = "#/components/schemas/{name}"

_LOCAL = {"provider": "local", "model": "smollm2-135m-instruct", "llm_params": {"max_tokens": 40}}
_PROVIDER = {"provider": "openai", "model": "gpt-4o-mini"}

# The schemas of FastAPI's endpoints that say the same as those of msgspec.
_SAME = {"MessageShown": "Message", "ToolUse": "ToolUse"}


class Example(msgspec.Struct, frozen=True):
    """A body that can be sent as it stands."""

    summary: str
    value: dict[str, Any]


class Described(msgspec.Struct, frozen=True):
    """A lean endpoint. ``file_field`` makes its body a form that has a file too; one that ``streams`` takes ``stream``.

    ``path_id`` is the name of a row's id in its path. One that takes ``background`` may answer before there is an answer.
    """

    path: str
    summary: str
    description: str
    asked: type
    answered: type
    examples: dict[str, Example]
    answer: dict[str, Any]
    streams: bool = True
    file_field: str | None = None
    tag: str = "llm"
    path_id: str | None = None
    background: bool = False


_USAGE = {
    "prompt_tokens": 31,
    "completion_tokens": 4,
    "total_tokens": 35,
    "cache_read_tokens": 0,
    "cache_write_tokens": None,
    "reasoning_tokens": None,
    "cost_usd": "0",
}
_TEXT = "안녕하세요!"
_ANSWER = {"response_text": _TEXT, "model": _LOCAL["model"], "finish_reason": "stop", "usage": _USAGE}
_CHAT_ANSWER = {
    "response_text": _TEXT,
    "prompt_tokens": 31,
    "completion_tokens": 4,
    "thinking": None,
    "model": _LOCAL["model"],
    "finish_reason": "stop",
    "tool_calls": None,
    "usage": _USAGE,
}

_STREAMED = Example("Streamed", {"text": "Say hello in Korean.", "stream": True, **_LOCAL})

ENDPOINTS = (
    Described(
        "/llm/text-completion/",
        "Ask a model, in a session or without",
        """With `session_id` the session's system prompt, its memory and current branch go along, and the question and the
answer are stored. `llm_params` are the provider's own or OpenAI's names; its `tool_choice` (`auto`, `required` or a tool's name)
offers your MCP tools. With `stream` the answer is server-sent events: start, text, thinking, tool_call, tool_result, usage, done, error.""",
        TextCompletionRequest,
        TextCompletionResponse,
        {
            "local": Example("The model in the box, without a key", {"text": "Say hello in Korean.", **_LOCAL}),
            "streamed": _STREAMED,
            "provider": Example(
                "A provider whose key is stored",
                {"text": "Say hello in Korean.", "llm_params": {"temperature": 0.2, "max_tokens": 50}, **_PROVIDER},
            ),
        },
        _ANSWER,
        background=True,
    ),
    Described(
        "/llm/chat-completions/",
        "Ask a model with a conversation that you keep",
        "Nothing is stored but the usage. `stream` works as in /llm/text-completion/.",
        ChatCompletionRequest,
        ChatCompletionResponse,
        {
            "local": Example(
                "The model in the box, without a key",
                {
                    "messages": [
                        {"role": "system", "content": "Answer in Korean."},
                        {"role": "user", "content": "Say hello."},
                    ],
                    **_LOCAL,
                },
            ),
            "provider": Example(
                "A provider whose key is stored", {"messages": [{"role": "user", "content": "Say hello."}], **_PROVIDER}
            ),
        },
        _CHAT_ANSWER,
    ),
    Described(
        "/llm/image-completion/",
        "Ask a model about an image",
        """PNG, JPEG, GIF or WebP. With `session_id` the file is stored, and later turns of the session send it again.
`stream` works as in /llm/text-completion/. A field that is left empty counts as left out.""",
        ImageCompletionRequest,
        TextCompletionResponse,
        {"provider": Example("A provider whose key is stored", {"provider": "openai", "prompt": "What is this?"})},
        _ANSWER | {"response_text": "A red square.", "model": "gpt-4o-mini"},
        file_field=IMAGE_FILE,
    ),
    Described(
        REGENERATE,
        "Answer a question once more",
        """The message is a question, or one of its answers. The new answer becomes a sibling of those that are there, and the tip of the
current branch. Without `provider` and `model` whoever gave that answer is asked again. `stream` works as in /llm/text-completion/.""",
        RegenerateRequest,
        TextCompletionResponse,
        {
            "local": Example("The model in the box, without a key", dict(_LOCAL)),
            "provider": Example("A provider whose key is stored", dict(_PROVIDER)),
        },
        _ANSWER,
        tag="messages",
        path_id="message_id",
        background=True,
    ),
    Described(
        EDIT,
        "Ask a question in other words",
        """The message is a question, or one of its answers. The new question becomes a sibling of the first one, and is answered; both branches stay.
A file that came with the first one goes along. `stream` works as in /llm/text-completion/.""",
        EditRequest,
        TextCompletionResponse,
        {"words": Example("Other words", {"text": "Say hello in Japanese.", **_LOCAL})},
        _ANSWER,
        tag="messages",
        path_id="message_id",
        background=True,
    ),
    Described(
        COMPARE,
        "Let several models answer a question",
        """Side by side: the answers become siblings below the question, and the first model's the tip of the current branch. One that fails
does not keep the others from answering: it has an `error` in the place of its `answer`. With `stream` their events come together, each with the number
of its model in `answer`; after the last one comes `end`.""",
        CompareRequest,
        CompareResponse,
        {
            "two": Example(
                "Two models",
                {
                    "models": [
                        {"provider": "local", "model": "smollm2-135m-instruct", "llm_params": {"max_tokens": 40}},
                        {"provider": "openai", "model": "gpt-4o-mini"},
                    ]
                },
            )
        },
        {"answers": [{"provider": "local", "model": _LOCAL["model"], "answer": _ANSWER, "error": None}]},
        streams=False,
        tag="messages",
        path_id="message_id",
    ),
    Described(
        EMBEDDINGS_PATH,
        "Turn texts into vectors",
        """The vectors come in the order of the texts; a list that is longer than the provider takes is sent in batches, side by side.
Providers: openai, google, openai_compatible and local. Anthropic has no embeddings. The limits are in docs/embeddings.md.""",
        EmbeddingsRequest,
        EmbeddingsResponse,
        {
            "local": Example(
                "The model in the box, without a key",
                {
                    "input": ["The cat sleeps on the sofa.", "고양이가 소파에서 잔다."],
                    "provider": "local",
                    "model": "universal-sentence-encoder-multilingual-3",
                },
            ),
            "provider": Example("A provider whose key is stored", {"input": "The cat sleeps on the sofa."}),
        },
        {
            "data": [{"embedding": [0.0123, -0.0456], "index": 0}],
            "model": "text-embedding-3-large",
            "usage": {"prompt_tokens": 7, "total_tokens": 7, "estimated": False, "cost_usd": "0.00000091"},
        },
        streams=False,
    ),
)


def add_endpoints(document: dict[str, Any]) -> None:
    """Add the lean endpoints to an OpenAPI document."""
    types = [Begun, *[kind for endpoint in ENDPOINTS for kind in (endpoint.asked, endpoint.answered)]]
    (begun, *references), components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    schemas = document["components"].setdefault("schemas", {})
    for name, schema in components.items():
        if name not in _SAME:
            schemas[name] = _with_the_same(schema)
    for number, endpoint in enumerate(ENDPOINTS):
        asked, answered = references[number * 2 : number * 2 + 2]
        content_type = "application/json"
        if endpoint.file_field is not None:
            content_type = "multipart/form-data"
            _make_a_form(schemas[endpoint.asked.__name__], endpoint.file_field)
        answers = {"application/json": {"schema": answered, "examples": {"answer": {"value": endpoint.answer}}}}
        if endpoint.streams:
            answers["text/event-stream"] = {
                "itemSchema": _any_event(answered),
                "examples": {"stream": {"value": _stream_of(endpoint.answer)}},
            }
        document["paths"][endpoint.path] = {
            "post": {
                "tags": [endpoint.tag],
                "summary": endpoint.summary,
                "description": endpoint.description,
                "operationId": _operation_id(endpoint.path),
                "security": [{"HTTPBearer": []}],
                **({} if endpoint.path_id is None else {"parameters": [_path_parameter(endpoint.path_id)]}),
                "requestBody": {
                    "required": True,
                    "content": {
                        content_type: {
                            "schema": asked,
                            "examples": {
                                name: {"summary": example.summary, "value": example.value}
                                for name, example in endpoint.examples.items()
                            },
                        }
                    },
                },
                "responses": {
                    "200": {"description": "The answer", "content": answers},
                    **({"202": _begun(begun)} if endpoint.background else {}),
                },
            }
        }
    stream = {"itemSchema": _any_event({"$ref": REFERENCE.format(name="TextCompletionResponse")})}
    document["paths"][STREAM] = {"get": _following(stream)}
    document["paths"][CANCEL] = {"post": _cancelling()}


def _begun(reference: dict[str, Any]) -> dict[str, Any]:
    """Return what answers a request for an answer in the background."""
    example = {"session_id": A_SESSION, "user_message": None, "assistant_message_id": 2}
    return {
        "description": "The answer goes on by itself",
        "content": {"application/json": {"schema": reference, "examples": {"begun": {"value": example}}}},
    }


def _following(stream: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": ["messages"],
        "summary": "Follow an answer",
        "description": """The events of an answer as they were streamed first, while it is written and after, from whichever process. `after` (or the header
`Last-Event-ID`) is the number of the last event that you have; where they are not kept any more, 410 says so.""",
        "operationId": "messages_stream",
        "security": [{"HTTPBearer": []}],
        "parameters": [
            _path_parameter("message_id"),
            {
                "name": "after",
                "in": "query",
                "required": False,
                "description": "The number of the last event that you have.",
                "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0},
            },
            {
                "name": "last-event-id",
                "in": "header",
                "required": False,
                "description": "The same, as browsers send it.",
                "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999, "examples": [0]},
            },
        ],
        "responses": {
            "200": {
                "description": "The answer",
                "content": {"text/event-stream": {**stream, "examples": {"stream": {"value": _stream_of(_ANSWER)}}}},
            }
        },
    }


def _cancelling() -> dict[str, Any]:
    return {
        "tags": ["messages"],
        "summary": "Cancel an answer",
        "description": "Ends an answer that is being written, in whichever process: what had come is kept. One that is over stays as it is.",
        "operationId": "messages_cancel",
        "security": [{"HTTPBearer": []}],
        "parameters": [_path_parameter("message_id")],
        "responses": {
            "200": {
                "description": "The message",
                "content": {"application/json": {"schema": {"$ref": REFERENCE.format(name="Message")}}},
            }
        },
    }


def _operation_id(path: str) -> str:
    return "_".join(step for step in path.strip("/").replace("-", "_").split("/") if not step.startswith("{"))


def _path_parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": "The id from a list or an answer.",
        "schema": {"type": "integer", "minimum": 1, "maximum": LARGEST_ID, "examples": [1]},
    }


def _with_the_same(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose references to what FastAPI describes too lead there."""
    text = msgspec.json.encode(schema).decode()
    for name, same in _SAME.items():
        text = text.replace(f'"{REFERENCE.format(name=name)}"', f'"{REFERENCE.format(name=same)}"')
    return msgspec.json.decode(text)


def _make_a_form(schema: dict[str, Any], file_field: str) -> None:
    """Make an object's schema that of a form: it has a file, nothing is null or too short, and other fields are refused."""
    properties = schema["properties"]
    for name, field in properties.items():
        if "anyOf" in field:
            (properties[name],) = (each for each in field["anyOf"] if each != {"type": "null"})
        properties[name].pop("minLength", None)  # left empty it counts as left out
    properties[file_field] = {"type": "string", "format": "binary", "description": "A PNG, JPEG, GIF or WebP."}
    schema["required"] = [*schema["required"], file_field]
    schema["additionalProperties"] = False


def _object(optional: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    shapes = {name: {"type": shape} if isinstance(shape, str) else shape for name, shape in fields.items()}
    return {"type": "object", "properties": shapes | (optional or {}), "required": list(fields)}


_EVENTS = {
    "start": _object(
        {"session_id": {"type": "string"}, "user_message": {"$ref": REFERENCE.format(name="Message")}}, model="string"
    ),
    "text": _object(text="string"),
    "thinking": _object(text="string"),
    "tool_call": _object(id="string", name="string", arguments="string"),
    "tool_result": _object(id="string", name="string", result="string", is_error="boolean", ms="integer"),
    "usage": {"$ref": REFERENCE.format(name="UsageShown")},
    "error": {"$ref": REFERENCE.format(name="Problem")},
}


def _event(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a server-sent event, in the terms of OpenAPI 3.2: its fields are an object's."""
    written = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return _object(id="string", event={"const": name}, data=written)


def _any_event(done: dict[str, Any]) -> dict[str, Any]:
    return {"oneOf": [_event(name, data) for name, data in (_EVENTS | {"done": done}).items()]}


def _stream_of(answer: dict[str, Any]) -> str:
    """Return the events of a streamed answer."""
    events = (
        ("start", {"model": answer["model"]}),
        ("text", {"text": answer["response_text"]}),
        ("usage", answer["usage"]),
        ("done", answer),
    )
    return "".join(
        f"id: {number}\nevent: {name}\ndata: {msgspec.json.encode(data).decode()}\n\n"
        for number, (name, data) in enumerate(events, 1)
    )
