"""Errors: as the answer's body, and as an event of a stream.

The kinds follow Anthropic's "Claude API errors" (platform.claude.com/docs/en/api/errors, November 2026): the error's type
tells most; its ``details.error_code`` and, where there is none, its wording tell a spent budget and an overlong
conversation from any other invalid request.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from rini.canon import Failure, FailureKind
from rini.wire import http_answer
from rini.wire.anthropic.fields import WIRE, Json, dump, load, object_or_none
from rini.wire.codec import MalformedError

MAX_PLAIN_TEXT: Final = 500
"""How much is quoted of an error body that is not JSON."""


def decode_failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return what an answer with an error ``status`` says. Never raises."""
    try:
        value = load(body.removeprefix(_BOM))
    except MalformedError:
        value = None
    return failure_of(value, body, status=status, retry_after=http_answer.retry_after(headers))


def failure_of(value: object, body: bytes, *, status: int | None, retry_after: float | None = None) -> Failure:
    """Return the failure in the JSON ``value``; where that is none, ``body`` is quoted."""
    raw = object_or_none(value)
    error = raw.get("error") if raw is not None else None
    fields = object_or_none(error) or {}
    type_, message = fields.get("type"), fields.get("message")
    code = (object_or_none(fields.get("details")) or {}).get("error_code")
    if not isinstance(message, str):
        message = error if isinstance(error, str) else body.decode(errors="replace").strip()[:MAX_PLAIN_TEXT]
    type_ = type_ if isinstance(type_, str) else None
    code = code if isinstance(code, str) else None
    return Failure(
        kind=_kind(status, type_, code, message),
        message=message or (f"HTTP status {status}" if status else "The provider reported an error."),
        status=status,
        code=code,
        type=type_,
        retry_after=retry_after,
        wire=WIRE,
        raw=raw,
    )


def encode_failure(failure: Failure) -> tuple[int, bytes]:
    """Return the HTTP status and the error body for ``failure``."""
    status = _TO_WIRE[failure.kind][0]
    if failure.wire == WIRE and failure.status is not None:
        status = failure.status
    return status, dump(error_body(failure))


def error_body(failure: Failure) -> Mapping[str, Any]:
    """Return the error object for ``failure``: the provider's own where it came over this wire."""
    if failure.wire == WIRE and failure.raw is not None and isinstance(failure.raw.get("error"), dict):
        return {"type": "error", **failure.raw}
    error: Json = {"type": _TO_WIRE[failure.kind][1], "message": failure.message}
    # Clients know an overlong conversation by these words alone.
    if failure.kind == "context_too_long" and not _TOO_LONG.search(failure.message):
        error["message"] = f"prompt is too long: {failure.message}"
    if failure.wire == WIRE:
        error["type"] = failure.type or error["type"]
    # A failure that came over no wire is this server's own.
    if failure.wire in (None, WIRE) and failure.code is not None:
        error["details"] = {"error_code": failure.code}
    return {"type": "error", "error": error, "request_id": None}


def _kind(status: int | None, type_: str | None, code: str | None, message: str) -> FailureKind:
    kind = _FROM_TYPE.get(type_ or "") or _from_status(status)
    if code in _FROM_CODE:
        return _FROM_CODE[code]
    if kind in {"invalid_request", "rate_limited", "too_large"}:
        if _TOO_LONG.search(message):
            return "context_too_long"
        if _SPENT.search(message):
            return "billing"
    if kind in {"invalid_request", "server_error"} and _FILTERED.search(message):
        return "safety"
    # A server that is full may answer 503 or 529 with any type, or none.
    if kind == "server_error" and status in {503, 529}:
        return "overloaded"
    return kind


def _from_status(status: int | None) -> FailureKind:
    if status is None:
        return "server_error"
    kind = http_answer.kind_of_status(status)
    if kind is not None:
        return kind
    return "invalid_request" if 400 <= status < 500 else "server_error"


_BOM = b"\xef\xbb\xbf"
_TOO_LONG = re.compile(r"prompt is too long|exceeds? (the )?(maximum )?context (limit|window|length)", re.IGNORECASE)
_SPENT = re.compile(r"credit balance is too low|(specified|your) API usage limits|spend(ing)? limit", re.IGNORECASE)
_FILTERED = re.compile(r"blocked by (the |our )?content filter", re.IGNORECASE)

_FROM_TYPE: dict[str, FailureKind] = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "authentication",
    "billing_error": "billing",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "conflict_error": "invalid_request",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limited",
    "api_error": "server_error",
    "timeout_error": "timeout",
    "overloaded_error": "overloaded",
}
_FROM_CODE: dict[str | None, FailureKind] = {
    "contract_spend_limit_reached": "billing",
    "enforced_spend_limit_reached": "billing",
    "linked_organization_billing_unavailable": "billing",
    "linked_organization_spend_limit_reached": "billing",
    "user_profile_billing_not_authorized": "billing",
    "user_profile_not_billable": "billing",
    "organization_on_hold": "permission",
    "ramp_limit_exceeded": "rate_limited",
    "request_body_too_large_after_decoding": "too_large",
    "request_body_timeout": "timeout",
}
_TO_WIRE: dict[FailureKind, tuple[int, str]] = {
    "authentication": (401, "authentication_error"),
    "permission": (403, "permission_error"),
    "billing": (402, "billing_error"),
    "rate_limited": (429, "rate_limit_error"),
    "not_found": (404, "not_found_error"),
    "context_too_long": (400, "invalid_request_error"),
    "too_large": (413, "request_too_large"),
    "invalid_request": (400, "invalid_request_error"),
    "safety": (400, "invalid_request_error"),
    "overloaded": (529, "overloaded_error"),
    "server_error": (500, "api_error"),
    "timeout": (504, "timeout_error"),
    "malformed": (502, "api_error"),
}
