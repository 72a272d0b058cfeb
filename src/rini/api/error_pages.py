"""Which errors an endpoint can answer with, as the API's pages tell it. Their texts are those of ``rini.errors``."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rini import errors
from rini.api.problems import MEDIA_TYPE
from rini.errors import RiniError

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "An RFC 9457 problem document. Further members depend on the code: the table is in docs/errors.md.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:rini:error:"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": {"type": "string", "description": "Stable: build on this."},
        "detail": {"type": "string", "description": "One sentence for a reader; it may change."},
        "instance": {"type": "string", "description": "The path that was asked."},
        "request_id": {"type": "string", "description": "The server's log has it too."},
    },
}


def _and_below(kind: type[RiniError]) -> Iterator[type[RiniError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _and_below(below)


_OF_A_MODELS_CALL = (
    errors.ModelNotAllowedError,
    errors.ProviderKeyMissingError,
    errors.NotFoundError,
    errors.UnsupportedParameterError,
    errors.AddressRefusedError,
    errors.KeyUnreadableError,
    errors.LocalModelError,
    *_and_below(errors.ProviderError),
)
_OF_A_TURN = (
    *_OF_A_MODELS_CALL,
    errors.AnswerRunningError,
    errors.TurnCancelledError,
    errors.NoToolsError,
    errors.NoVisionError,
    errors.ImageRefusedError,
    errors.FilesUnavailableError,
)

_MORE: Mapping[str, tuple[type[RiniError], ...]] = {
    "create_user": (errors.SignupClosedError, errors.TooManyRequestsError),
    "delete_user": (errors.TokenNotAllowedError,),
    "create_token": (errors.TokenNotAllowedError, errors.TooManyTokensError),
    "list_tokens": (errors.TokenNotAllowedError,),
    "read_token": (errors.TokenNotAllowedError,),
    "delete_token": (errors.TokenNotAllowedError,),
    "create_key": (errors.TokenNotAllowedError, errors.AddressRefusedError),
    "update_key": (errors.TokenNotAllowedError,),
    "delete_key": (errors.TokenNotAllowedError,),
    "create_alias": (errors.AliasTakenError,),
    "delete_message": (errors.ConfirmationNeededError,),
    "create_message": (errors.AnswerRunningError,),
    "move_head": (errors.HeadMovedError, errors.AnswerRunningError),
    "fork_session": (errors.AnswerRunningError,),
    "import_sessions": (
        errors.ImportRefusedError,
        errors.FilesUnavailableError,
        errors.NotFoundError,
        errors.TooManyRequestsError,
    ),
    "read_file": (errors.FilesUnavailableError,),
    "search_messages": (errors.NotFoundError,),
    "list_entries": (errors.NotFoundError,),
    "list_records": (errors.NotFoundError,),
    "create_connection": (errors.AddressRefusedError,),
    "update_connection": (errors.AddressRefusedError, errors.KeyUnreadableError),
    "list_tools": (errors.ToolServerError,),
    "llm_text_completion": (*_OF_A_TURN, errors.SessionBusyError),
    "messages_regenerate": _OF_A_TURN,
    "messages_edit": _OF_A_TURN,
    "messages_stream": (errors.StreamGoneError, errors.AnswerBrokeOffError),
    "messages_compare": (errors.ModelNotAllowedError, errors.UnsupportedParameterError),
    "llm_chat_completions": (*_OF_A_MODELS_CALL, errors.NoToolsError),
    "llm_image_completion": (*_OF_A_TURN, errors.SessionBusyError),
    "llm_embeddings": (*_OF_A_MODELS_CALL, errors.NoEmbeddingsError, errors.EmbeddingInputError),
}
"""What an operation raises beside what its method, parameters and body let expect."""

_WITHOUT_STORAGE = frozenset({"greet", "live", "ready", "show_metrics"})
_ALWAYS_ANSWERED = frozenset({"live", "ready", "show_metrics"})


def describe_errors(document: dict[str, Any]) -> None:
    """Give every operation of an OpenAPI document the errors that it can answer with, where it does not tell them itself."""
    components = document["components"]
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for gone in ("HTTPValidationError", "ValidationError"):
        schemas.pop(gone, None)
    components["examples"] = {
        kind.code: {"summary": _told(kind), "value": _example(kind)} for kind in _and_below(RiniError)
    }
    unknown = set(_MORE)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            unknown.discard(operation["operationId"])
            if "4XX" in operation["responses"]:  # a dialect's, which has an envelope of its own
                continue
            # FastAPI's own, of a form that is not used here.
            operation["responses"].pop("422", None)
            operation["responses"] |= _answers(_raised(path, method, operation))
    assert not unknown, f"these operations are gone: {unknown}"


def _raised(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[type[RiniError]]:
    name: str = operation["operationId"]
    yield errors.InternalError
    if name not in _ALWAYS_ANSWERED:
        yield errors.ShuttingDownError
    if name not in _WITHOUT_STORAGE:
        yield errors.StorageUnavailableError
        if method != "get":
            yield errors.StorageFullError
    if operation.get("security"):
        yield errors.NotAuthenticatedError
    if method == "post":
        yield errors.IdempotencyInterruptedError
        yield errors.IdempotencyAnswerNotKeptError
        yield errors.IdempotencyKeyReusedError
    if "{" in path:
        yield errors.NotFoundError
    # Any text may be a session's id: what is none does not exist.
    if "requestBody" in operation or any(each["name"] != "session_id" for each in operation.get("parameters", ())):
        yield errors.InvalidRequestError
    if "requestBody" in operation:
        yield errors.BodyTooLargeError
    yield from _MORE.get(name, ())


def _answers(kinds: Iterable[type[RiniError]]) -> dict[str, Any]:
    """Return the responses by status, each with the codes that it can have."""
    by_status: dict[int, dict[str, type[RiniError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, {})[kind.code] = kind
    return {str(status): _answer(status, by_status[status]) for status in sorted(by_status)}


def _answer(status: int, kinds: Mapping[str, type[RiniError]]) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if status == errors.NotAuthenticatedError.status and errors.NotAuthenticatedError.code in kinds:
        headers["www-authenticate"] = {"$ref": "#/components/headers/WwwAuthenticate"}
    if status in (429, 503):
        headers["retry-after"] = {"$ref": "#/components/headers/RetryAfter"}
    return {
        "description": "\n".join(f"- `{code}`: {_told(kind)}" for code, kind in kinds.items()),
        "headers": headers,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in kinds},
            }
        },
    }


def _told(kind: type[RiniError]) -> str:
    """Return the sentence with which an error's docstring begins."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split()).replace("``", "`")


def _example(kind: type[RiniError]) -> dict[str, Any]:
    error = kind.__new__(kind)
    RiniError.__init__(error, _told(kind))  # some kinds make up their sentence themselves
    return error.problem()
