"""Errors as RFC 9457 problem documents."""

import http
from typing import Any

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from rini.errors import (
    BodyTooLargeError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    RiniError,
)

MEDIA_TYPE = "application/problem+json"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def problem_document(error: RiniError, request_id: str | None, path: str | None = None) -> dict[str, Any]:
    """Return the document that tells a client of ``error``."""
    document = error.problem()
    if path is not None:
        document["instance"] = path
    if request_id is not None:
        document["request_id"] = request_id
    return document


def render(request: Request, error: RiniError) -> Response:
    """Return the answer to a request that failed."""
    document = problem_document(error, request.scope.get("rini.request_id"), request.url.path)
    return Response(msgspec.json.encode(document), error.status, error.headers, MEDIA_TYPE)


async def on_rini_error(request: Request, error: Exception) -> Response:
    """Answer with an error of this project's own tree."""
    assert isinstance(error, RiniError)
    return render(request, error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer with an error of the framework: mostly no such path, or not with this method."""
    assert isinstance(error, HTTPException)
    wrapped: RiniError = _FrameworkError(error.status_code, str(error.detail), error.headers)
    if error.status_code == 404:
        wrapped = NotFoundError(f"There is no {request.url.path} here; /docs lists what is.")
    elif error.status_code == BodyTooLargeError.status:
        wrapped = BodyTooLargeError(str(error.detail))
    elif error.status_code == 405:
        allowed = _methods(request)
        wrapped = MethodNotAllowedError(
            f"{request.url.path} takes {allowed}, not {request.method}.", headers={"allow": allowed}
        )
    elif isinstance(error.__cause__, ValueError | RecursionError):
        # FastAPI answers 400 to a body that is not UTF-8 or nested too deeply; here all bad input is 422.
        wrapped = InvalidRequestError("The body is not JSON, or it is nested too deeply.")
    return render(request, wrapped)


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Answer to input that does not fit, with one sentence for each fault and never with the input itself."""
    assert isinstance(error, RequestValidationError)
    faults = [{"field": _field(fault["loc"]), "message": _message(fault)} for fault in error.errors()]
    sentence = " ".join(f"{fault['field']}: {fault['message']}." for fault in faults[:5])
    return render(request, InvalidRequestError(sentence, errors=faults[:50]))


async def on_unexpected_error(request: Request, error: Exception) -> Response:
    """Answer to a fault of this server without telling its inside; the log has that, under the same request id."""
    del error
    return render(request, InternalError("The server made a mistake; the request id helps its operator to find it."))


def _methods(request: Request) -> str:
    """Return the methods that the request's path takes. The framework itself names those of the first route alone."""
    routes = request.app.routes
    return ", ".join(
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )


class _FrameworkError(RiniError):
    def __init__(self, status: int, detail: str, headers: Any) -> None:
        super().__init__(detail, headers=headers)
        self.status = status  # pyright: ignore[reportAttributeAccessIssue]  # the framework decides it at run time
        phrase = http.HTTPStatus(status).phrase
        self.code = phrase.lower().replace(" ", "_").replace("-", "_")  # pyright: ignore[reportAttributeAccessIssue]


def _field(place: tuple[Any, ...]) -> str:
    names = [str(step) for step in place if step not in ("body", "query", "path", "header")]
    return ".".join(names) or "body"


def _message(fault: Any) -> str:
    text = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "json_invalid":
        return "The body is not JSON"
    return text[:1].lower() + text[1:] if not text[:2].isupper() else text
