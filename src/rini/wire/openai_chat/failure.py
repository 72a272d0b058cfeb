"""Errors: an answer with an error status, or an error in the middle of a stream, and what OpenAI's SDK expects for one.

Codes and statuses follow OpenAI's "Error codes" guide as of July 2026, and what compatible servers send instead: vLLM's flat object,
OpenRouter's numeric codes, FastAPI's ``detail``, a list around the object (Gemini's compatibility layer).
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from rini.canon import Failure, FailureKind
from rini.wire import http_answer
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.openai_chat.json_value import NAME, Json, decode, encode

_PLAIN_TEXT_LIMIT = 500

_BY_CODE: Mapping[str, FailureKind] = {
    "insufficient_quota": "billing",
    "billing_hard_limit_reached": "billing",
    "billing_not_active": "billing",
    "insufficient_balance": "billing",
    "account_deactivated": "permission",
    "invalid_api_key": "authentication",
    "invalid_authentication": "authentication",
    "missing_api_key": "authentication",
    "authentication_error": "authentication",
    "unsupported_country_region_territory": "permission",
    "permission_denied": "permission",
    "permission_error": "permission",
    "model_not_found": "not_found",
    "deploymentnotfound": "not_found",
    "not_found_error": "not_found",
    "notfounderror": "not_found",
    "context_length_exceeded": "context_too_long",
    "context_window_exceeded": "context_too_long",
    "exceed_context_size_error": "context_too_long",  # llama.cpp
    "request_too_large": "too_large",
    "content_policy_violation": "safety",
    "content_filter": "safety",
    "responsibleaipolicyviolation": "safety",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "too_many_requests": "rate_limited",
    "server_overloaded": "overloaded",
    "engine_overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "service_unavailable": "overloaded",
    "service_unavailable_error": "overloaded",
    "timeout": "timeout",
    "request_timeout": "timeout",
    "server_error": "server_error",
    "internal_error": "server_error",
    "internal_server_error": "server_error",
    "internalservererror": "server_error",
    "api_error": "server_error",
    "invalid_request_error": "invalid_request",
    "badrequesterror": "invalid_request",
}
_TOO_LONG = re.compile(
    r"maximum context length|context[ _](length|window)|prompt is too long|too many (input )?tokens"
    r"|reduce the length of the (messages|prompt)|input or output tokens must be reduced",
    re.IGNORECASE,
)
_OVERLOADED = re.compile(r"overloaded|at capacity", re.IGNORECASE)
_NO_PERMISSION = re.compile(r"insufficient permissions|missing scopes", re.IGNORECASE)
_TRY_AGAIN = re.compile(r"try again in ((?:[\d.]+\s?(?:ms|h|m|s))+)", re.IGNORECASE)
_DURATION = re.compile(r"([\d.]+)\s?(ms|h|m|s)", re.IGNORECASE)
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

# What OpenAI answers: status, type, code.
_ANSWER: Mapping[FailureKind, tuple[int, str, str | None]] = {
    "authentication": (401, "invalid_request_error", "invalid_api_key"),
    "permission": (403, "invalid_request_error", "permission_denied"),
    "billing": (429, "insufficient_quota", "insufficient_quota"),
    "rate_limited": (429, "requests", "rate_limit_exceeded"),
    "not_found": (404, "invalid_request_error", "model_not_found"),
    "context_too_long": (400, "invalid_request_error", "context_length_exceeded"),
    "too_large": (413, "invalid_request_error", "request_too_large"),
    "invalid_request": (400, "invalid_request_error", None),
    "safety": (400, "invalid_request_error", "content_policy_violation"),
    "overloaded": (503, "server_error", "server_overloaded"),
    "server_error": (500, "server_error", None),
    "timeout": (504, "server_error", "timeout"),
    "malformed": (502, "server_error", "malformed"),
}


def decode_failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return what an answer with an error ``status`` says. Never raises."""
    try:
        value = decode(body)
    except MalformedError:
        value = None
    raw = _only_object(value)
    error = _error_in(raw) if raw is not None else None
    if error is None:
        text = body.decode("utf-8", "replace").strip()[:_PLAIN_TEXT_LIMIT]
        error = {"message": text or f"The provider answered with status {status} and nothing else."}
    failure = _failure(error, raw, status)
    delay = http_answer.retry_after(headers)
    return Failure(
        kind=failure.kind,
        message=failure.message,
        status=status,
        code=failure.code,
        type=failure.type,
        param=failure.param,
        retry_after=failure.retry_after if delay is None else delay,
        wire=NAME,
        raw=raw,
    )


def failure_in(value: Any, *, certain: bool = False) -> Failure | None:
    """Return the failure that a stream's event holds, or ``None`` when it is none. ``certain``: the event says so."""
    raw = cast("Json", value)
    error = _error_in(raw)
    if error is None:
        if not certain:
            return None
        error = {"message": _as_text(raw)}
    return _failure(error, raw, None)


def encode_failure(failure: Failure) -> tuple[int, bytes]:
    """Return the HTTP status and the error body that OpenAI's SDK expects."""
    status, error = failure_body(failure)
    return status, encode(error)


def failure_body(failure: Failure) -> tuple[int, Json]:
    """Return the status and the error's JSON value: the provider's own where it spoke this wire format."""
    status, kind, code = _ANSWER[failure.kind]
    if failure.wire == NAME:
        if failure.status is not None and 400 <= failure.status <= 599:
            status = failure.status
        if failure.raw is not None:
            return status, dict(failure.raw)
        kind = failure.type or kind
        code = failure.code or code
    elif failure.code == "not_found":  # this server's own word: it is no model that is not there
        code = None
    elif failure.code == "previous_response_not_found":  # OpenAI's word
        code = failure.code
    return status, {"error": {"message": failure.message, "type": kind, "param": failure.param, "code": code}}


def _only_object(value: Any) -> Json | None:
    if type(value) is list:
        items = cast("list[Any]", value)
        value = items[0] if items else None
    return cast("Json", value) if type(value) is dict else None


def _error_in(raw: Json) -> Json | None:
    """Return the object that describes the error, with at least a message."""
    error = raw.get("error")
    if type(error) is dict:
        return cast("Json", error)
    if type(error) is str and error:
        return {**raw, "message": raw.get("message") or error}
    if raw.get("message") and "choices" not in raw:
        return raw
    if raw.get("detail") and "choices" not in raw:
        return {"message": raw["detail"]}
    return None


def _failure(error: Json, raw: Json | None, status: int | None) -> Failure:
    message = error.get("message")
    if type(message) is not str:
        message = _as_text(error if message is None else message)
    code = error.get("code")
    kind = error.get("type")
    param = error.get("param")
    code = str(code) if type(code) in {str, int} else None
    kind = kind if type(kind) is str else None
    if status is None and code is not None and code.isascii() and code.isdigit() and len(code) == 3:
        status = int(code)  # OpenRouter's codes are HTTP statuses
    return Failure(
        kind=_kind(status, code, kind, message),
        message=message,
        code=code,
        type=kind,
        param=param if type(param) is str else None,
        retry_after=_message_delay(message),
        wire=NAME,
        raw=raw,
    )


def _as_text(value: Any) -> str:
    try:
        return encode(value).decode()[:_PLAIN_TEXT_LIMIT]
    except UnsupportedError:
        return "The provider's error is nested too deeply to be shown."


def _kind(status: int | None, code: str | None, kind: str | None, message: str) -> FailureKind:
    told = _BY_CODE.get((code or "").lower())
    typed = _BY_CODE.get((kind or "").lower())
    if "billing" in (told, typed):
        return "billing"
    # OpenAI sends what does not fit as 400, 413, and as a 429 whose request is larger than the limit per minute.
    if told == "context_too_long" or (_TOO_LONG.search(message) and (status is None or 400 <= status < 500)):
        return "context_too_long"
    if told is not None and told != "invalid_request":
        return told
    if status in {429, None} and _OVERLOADED.search(message):
        return "overloaded"
    if status in {400, 401, 403} and _NO_PERMISSION.search(message):
        return "permission"
    if status is not None and status >= 400:
        by_status = http_answer.kind_of_status(status)
        if by_status is not None:
            return by_status
        if status >= 500:
            return "overloaded" if typed == "overloaded" else "server_error"
        return typed if typed is not None and typed != "server_error" else "invalid_request"
    return typed or told or "server_error"


def _message_delay(message: str) -> float | None:
    found = _TRY_AGAIN.search(message)
    if found is None:
        return None
    total = 0.0
    for number, unit in _DURATION.findall(found[1]):
        seconds = http_answer.seconds_of(number)
        if seconds is None:
            return None
        total += seconds * _UNIT[unit.lower()]
    return total
