"""Errors, both ways."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, get_args

import pytest

from rini.canon import Failure, FailureKind
from rini.wire.anthropic import ANTHROPIC


def decode(status: int, body: object, **headers: str) -> Failure:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ANTHROPIC.decode_failure(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)


def error(type_: str, message: str = "Sorry", code: str | None = None) -> dict[str, Any]:
    details = {} if code is None else {"details": {"error_code": code}}
    return {"type": "error", "error": {"type": type_, "message": message, **details}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error("invalid_request_error"), "invalid_request"),
        (400, error("invalid_request_error", "prompt is too long: 9 tokens > 5 maximum"), "context_too_long"),
        (
            400,
            error("invalid_request_error", "input length and `max_tokens` exceed context limit: 9 + 2 > 10"),
            "context_too_long",
        ),
        (413, error("request_too_large", "Prompt is too long"), "context_too_long"),
        (429, error("rate_limit_error", "prompt is too long: 3 tokens"), "context_too_long"),
        (400, error("invalid_request_error", "Your credit balance is too low to access the API."), "billing"),
        (400, error("invalid_request_error", "You have reached your specified API usage limits."), "billing"),
        (429, error("rate_limit_error", code="enforced_spend_limit_reached"), "billing"),
        (400, error("invalid_request_error", "Output blocked by content filtering policy"), "safety"),
        (401, error("authentication_error"), "authentication"),
        (402, error("billing_error"), "billing"),
        (403, error("permission_error"), "permission"),
        (403, error("permission_error", code="organization_on_hold"), "permission"),
        (404, error("not_found_error"), "not_found"),
        (409, error("conflict_error"), "invalid_request"),
        (413, error("request_too_large"), "too_large"),
        (429, error("rate_limit_error"), "rate_limited"),
        (500, error("api_error"), "server_error"),
        (503, error("api_error"), "overloaded"),
        (504, error("timeout_error"), "timeout"),
        (529, error("overloaded_error"), "overloaded"),
        (401, b"", "authentication"),
        (418, error("teapot_error"), "invalid_request"),
        (429, b"slow down", "rate_limited"),
        (502, b"<html>Bad Gateway</html>", "server_error"),
        (503, b"upstream connect error", "overloaded"),
        (500, {"error": "plain"}, "server_error"),
        (500, b"[" * 9999, "server_error"),
        (500, {"type": "error", "error": {"type": 5, "message": None, "details": [1]}}, "server_error"),
        (500, b"\xff\xfe", "server_error"),
        (529, b"\xef\xbb\xbf" + json.dumps(error("overloaded_error")).encode(), "overloaded"),
    ],
    ids=str,
)
def test_kinds(status: int, body: object, kind: str):
    failure = decode(status, body)
    assert (failure.kind, failure.status, failure.wire) == (kind, status, "anthropic")
    assert failure.message


def test_an_error_is_kept_whole():
    failure = decode(400, error("invalid_request_error", code="image_dimensions_too_large"))
    assert (failure.message, failure.type, failure.code) == (
        "Sorry",
        "invalid_request_error",
        "image_dimensions_too_large",
    )
    status, body = ANTHROPIC.encode_failure(failure)
    assert (status, json.loads(body)) == (400, error("invalid_request_error", code="image_dimensions_too_large"))


def test_a_byte_order_mark_is_no_part_of_the_error():
    body = b"\xef\xbb\xbf" + json.dumps(error("overloaded_error")).encode()
    assert decode(529, body).message == "Sorry"


def test_plain_text_is_shortened():
    assert decode(503, b"x" * 600).message == "x" * 500
    assert decode(500, b"").message == "HTTP status 500"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "1500", "retry_after": "7"}, 1.5),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-3"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "١"}, None),
        ({"retry_after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0.0),
        ({"retry_after": "Mon, 99 Jan 99999 00:00:00 GMT"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None):
    assert decode(429, error("rate_limit_error"), **headers).retry_after == seconds


def test_how_long_to_wait_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    wait = decode(429, error("rate_limit_error"), retry_after=date).retry_after
    assert wait is not None
    assert 55 < wait <= 60


@pytest.mark.parametrize("kind", sorted(set(get_args(FailureKind)) - {"safety", "malformed"}))
def test_failures_of_others_keep_their_kind(kind: Any):
    status, body = ANTHROPIC.encode_failure(Failure(kind, "Sorry", status=418, wire="gemini", raw={"error": {"x": 1}}))
    again = decode(status, body)
    assert again.kind == kind
    assert "Sorry" in again.message
    assert "x" not in json.loads(body)["error"]
