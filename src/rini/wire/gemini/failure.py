"""Errors: google.rpc.Status in both directions.

``{"error": {"code", "message", "status", "details"}}``, alone or in a list of one. Where the status word says too little (a bad key is
INVALID_ARGUMENT, an empty account RESOURCE_EXHAUSTED) the ErrorInfo's reason and the message tell (AIP-193; Gemini API,
Troubleshooting, 2026).
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from rini.canon import Failure, FailureKind
from rini.wire import http_answer
from rini.wire.codec import MalformedError
from rini.wire.gemini.fields import WIRE, dumps, loads

_MAX_MESSAGE = 500
_TYPE = "type.googleapis.com/google.rpc."

_REASONS: dict[str, FailureKind] = {
    "API_KEY_INVALID": "authentication",
    "API_KEY_EXPIRED": "authentication",
    "ACCESS_TOKEN_EXPIRED": "authentication",
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": "authentication",
    "CREDENTIALS_MISSING": "authentication",
    "BILLING_DISABLED": "billing",
    "CONTEXT_TOO_LONG": "context_too_long",
    "SAFETY": "safety",
    "MALFORMED_ANSWER": "malformed",
}
_STATUSES: dict[str, FailureKind] = {
    "UNAUTHENTICATED": "authentication",
    "PERMISSION_DENIED": "permission",
    "RESOURCE_EXHAUSTED": "rate_limited",
    "NOT_FOUND": "not_found",
    "UNAVAILABLE": "overloaded",
    "DEADLINE_EXCEEDED": "timeout",
    "INTERNAL": "server_error",
    "UNKNOWN": "server_error",
    "DATA_LOSS": "server_error",
    "CANCELLED": "server_error",
    "UNIMPLEMENTED": "invalid_request",
    "INVALID_ARGUMENT": "invalid_request",
    "FAILED_PRECONDITION": "invalid_request",
    "OUT_OF_RANGE": "invalid_request",
    "ALREADY_EXISTS": "invalid_request",
    "ABORTED": "server_error",
}
# Phrases of Google's messages where neither status nor reason tells.
_PHRASES: tuple[tuple[re.Pattern[str], FailureKind], ...] = (
    (re.compile(r"api key not valid|api key expired|reported as leaked|unregistered callers"), "authentication"),
    (re.compile(r"token count.{0,40}exceeds|exceeds the maximum number of tokens"), "context_too_long"),
    (re.compile(r"payload size exceeds|request is too large"), "too_large"),
    (re.compile(r"user location is not supported"), "permission"),
    (
        re.compile(r"prepayment credits|spending cap|billing (account|to be enabled|is disabled|is not enabled)"),
        "billing",
    ),
    (re.compile(r"enable billing"), "billing"),
    (re.compile(r"responsible ai|usage guidelines"), "safety"),
)
_NO_QUOTA = re.compile(r"limit: 0\b(?!\.\d)")
_RETRY_IN = re.compile(r"retry in (\d+(?:\.\d+)?)\s*(ms|s)\b")
_KEY = re.compile(r"AIza[0-9A-Za-z_-]{10,}")

_ANSWERS: dict[FailureKind, tuple[int, str, str | None]] = {
    "authentication": (401, "UNAUTHENTICATED", None),
    "permission": (403, "PERMISSION_DENIED", None),
    "billing": (403, "PERMISSION_DENIED", "BILLING_DISABLED"),
    "rate_limited": (429, "RESOURCE_EXHAUSTED", None),
    "not_found": (404, "NOT_FOUND", None),
    "context_too_long": (400, "INVALID_ARGUMENT", "CONTEXT_TOO_LONG"),
    "too_large": (413, "INVALID_ARGUMENT", None),
    "invalid_request": (400, "INVALID_ARGUMENT", None),
    "safety": (400, "INVALID_ARGUMENT", "SAFETY"),
    "overloaded": (503, "UNAVAILABLE", None),
    "server_error": (500, "INTERNAL", None),
    "timeout": (504, "DEADLINE_EXCEEDED", None),
    "malformed": (500, "INTERNAL", "MALFORMED_ANSWER"),
}


def decode_failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return what an answer with an error ``status`` says. Never raises."""
    waits = http_answer.retry_after(headers)
    try:
        value = loads(body)
    except MalformedError:
        value = None
    if isinstance(value, list):
        value = next(iter(cast("list[Any]", value)), None)
    fields = _object(value)
    if "error" in fields:
        return failure_of(fields, status=status, retry_after=waits)
    text = (
        _shortened(_without_key(body.decode("utf-8", "replace").strip()))
        or f"The provider answered with HTTP status {status}."
    )
    return Failure(_kind_of_code(status), text, status=status, retry_after=waits, wire=WIRE)


def failure_of(body: Mapping[str, Any], *, status: int | None = None, retry_after: float | None = None) -> Failure:
    """Return what the Status in ``body["error"]`` says; ``status`` is ``None`` in the middle of a stream."""
    error = _object(body.get("error"))
    if not error and isinstance(body.get("error"), str):
        error = {"message": body["error"]}
    message, word, number = error.get("message"), error.get("status"), error.get("code")
    details = error.get("details")
    found = [_object(detail) for detail in cast("list[Any]", details)] if isinstance(details, list) else []
    text = message if isinstance(message, str) else ""
    reasons = [reason for detail in found if isinstance(reason := detail.get("reason"), str)]
    code = status if status is not None else number if isinstance(number, int) else 0
    kind = _kind(text.lower(), word if isinstance(word, str) else "", reasons, found, code)
    return Failure(
        kind,
        _without_key(text) or (word if isinstance(word, str) and word else "The provider gave no reason."),
        status=status,
        code=reasons[0] if reasons else word if isinstance(word, str) else None,
        type=word if isinstance(word, str) else None,
        retry_after=retry_after if retry_after is not None else _told_delay(text, found),
        wire=WIRE,
        raw=_publishable(body, error, found),
    )


def encode_failure(failure: Failure) -> tuple[int, bytes]:
    """Return the HTTP status and the error body for ``failure``."""
    number, word, reason = _ANSWERS[failure.kind]
    if failure.wire == WIRE and failure.raw is not None:
        own = _object(failure.raw.get("error")).get("code")
        if failure.status is not None:
            number = failure.status
        elif isinstance(own, int) and 400 <= own < 600:
            number = own
        return number, dumps(failure.raw)
    details: list[dict[str, Any]] = []
    if reason is not None:
        details.append({"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "rini"})
    if failure.retry_after is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{failure.retry_after:g}s"})
    error: dict[str, Any] = {"code": number, "message": failure.message, "status": word}
    if details:
        error["details"] = details
    return number, dumps({"error": error})


def _kind(
    text: str,
    word: str,
    reasons: list[str],
    details: list[dict[str, Any]],
    code: int,
) -> FailureKind:
    for reason in reasons:
        if reason in _REASONS:
            return _REASONS[reason]
    for phrase, kind in _PHRASES:
        if phrase.search(text):
            return kind
    kind = _kind_of_code(code) if code == 413 else _STATUSES.get(word) or _kind_of_code(code)
    if kind == "rate_limited" and _has_no_quota(text, details):
        return "billing"
    return kind


def _has_no_quota(text: str, details: list[dict[str, Any]]) -> bool:
    """Whether waiting does not help: a quota of zero, or a hint to pay that comes with no quota and no delay.

    The words "check your plan and billing details" alone mean nothing: Google adds them to every limit.
    """
    if _NO_QUOTA.search(text) or any(
        _object(detail.get("metadata")).get("quota_limit_value") == "0" for detail in details
    ):
        return True
    violations = [
        _object(violation)
        for detail in details
        if isinstance(detail.get("violations"), list)
        for violation in cast("list[Any]", detail["violations"])
    ]
    if any(violation.get("quotaValue") == "0" for violation in violations):
        return True
    return "billing" in text and not violations and _told_delay(text, details) is None


def _kind_of_code(code: int) -> FailureKind:
    kind = http_answer.kind_of_status(code)
    if kind is not None:
        return kind
    return "invalid_request" if 400 <= code < 500 else "server_error"


def _told_delay(text: str, details: list[dict[str, Any]]) -> float | None:
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, str):
            seconds = http_answer.seconds_of(delay.removesuffix("s"))
            if seconds is not None:
                return seconds
        # Some clients and proxies write the duration as protobuf holds it.
        whole = _object(delay).get("seconds")
        if isinstance(whole, int | float | str):
            return http_answer.seconds_of(str(whole))
    told = _RETRY_IN.search(text.lower())
    return float(told[1]) * (0.001 if told[2] == "ms" else 1) if told else None


def _publishable(body: Mapping[str, Any], error: dict[str, Any], details: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Return ``body`` without the keys that the message and Google's DebugInfo may quote."""
    kept = [detail for detail in details if not str(detail.get("@type", "")).endswith("DebugInfo")]
    message = error.get("message")
    shown = _without_key(message) if isinstance(message, str) else message
    if len(kept) == len(details) and shown == message:
        return body
    return {**body, "error": {**error, "message": shown, "details": kept}}


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"


def _without_key(text: str) -> str:
    return _KEY.sub("AIza***", text)


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
