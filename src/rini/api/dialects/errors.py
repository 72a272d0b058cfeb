"""Errors in a dialect's own envelope, so that each SDK raises its own class."""

import re
from collections.abc import Mapping

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from rini.api.routes import Render
from rini.canon import Failure, FailureKind
from rini.errors import (
    BodyTooLargeError,
    ContextTooLongError,
    InvalidRequestError,
    ModelNotFoundError,
    NotAuthenticatedError,
    ProviderBillingError,
    ProviderError,
    ProviderMalformedError,
    ProviderTooLargeError,
    RefusedBySafetyError,
    RiniError,
)
from rini.wire.codec import Codec

PASSED_ON = ("x-ratelimit-", "anthropic-ratelimit-", "openai-", "retry-after", "x-should-retry")
"""Headers of a provider's answer that its own SDK reads."""

# The first that fits counts.
_KINDS: tuple[tuple[type[RiniError], FailureKind], ...] = (
    (NotAuthenticatedError, "authentication"),
    (ProviderBillingError, "billing"),
    (ModelNotFoundError, "not_found"),
    (ContextTooLongError, "context_too_long"),
    (BodyTooLargeError, "too_large"),
    (ProviderTooLargeError, "too_large"),
    (RefusedBySafetyError, "safety"),
    (ProviderMalformedError, "malformed"),
)
_BY_STATUS: dict[int, FailureKind] = {
    401: "authentication",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    429: "rate_limited",
    502: "server_error",
    503: "overloaded",
    504: "timeout",
}


_LAST_STATUS = 599  # HTTP has no others (RFC 9110, section 15); some servers do

# What a browser shows as a page would run with this server's own rights; users choose whose answers these are.
_NO_PAGES = re.compile(r"(application/([a-z0-9.+-]+\+)?json|text/event-stream|text/plain)\s*(;|$)", re.IGNORECASE)
_PLAIN = "text/plain; charset=utf-8"


def shown_as(headers: Mapping[str, str]) -> str:
    """Return the content type with which a provider's answer is passed on: its own where no browser makes a page of it."""
    told = headers.get("content-type", "application/json")
    return told if _NO_PAGES.match(told) else _PLAIN


def failure_of(error: RiniError, codec: Codec) -> Failure:
    """Return the error as a provider's failure: in the provider's own words where it speaks the format itself."""
    told: Failure | None = error.failure if isinstance(error, ProviderError) else None
    if told is not None and told.wire == codec.envelope:
        return told
    wait = error.headers.get("retry-after")
    parameter = error.fields.get("parameter")
    return Failure(
        kind=told.kind if told is not None else _kind(error),
        message=error.detail,
        code=error.code,
        param=parameter if isinstance(parameter, str) else None,
        retry_after=float(wait) if wait is not None else None,
    )


def rendering(codec: Codec, request_id: bytes | None = None) -> Render:
    """Return what answers with an error as a provider of the format would, in the header ``request_id`` too."""

    def render(scope: Scope, error: RiniError) -> ASGIApp:
        failure = failure_of(error, codec)
        own = {} if request_id is None else {request_id.decode(): scope.get("rini.request_id", "")}
        if failure.wire == codec.envelope and isinstance(error, ProviderError) and error.answer is not None:
            status, told, body = error.answer
            if status <= _LAST_STATUS:
                headers = own | {name: value for name, value in told.items() if name.startswith(PASSED_ON)}
                return Response(body, status, headers, shown_as(told))
            failure = msgspec.structs.replace(failure, status=None)
        status, body = codec.encode_failure(failure)
        if not isinstance(error, ProviderError) and type(error) is not InvalidRequestError:
            status = (
                error.status
            )  # nobody else's word for it: a parameter that the provider has no equivalent of is 422
        headers = {**own, **error.headers, "x-rini-code": error.code}
        return Response(body, status, headers, "application/json")

    return render


def _kind(error: RiniError) -> FailureKind:
    for known, kind in _KINDS:
        if isinstance(error, known):
            return kind
    if isinstance(error, InvalidRequestError):
        return "invalid_request"
    return _BY_STATUS.get(error.status, "invalid_request" if error.status < 500 else "server_error")
