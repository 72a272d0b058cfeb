"""Errors: the same envelope as with chat completions, and what stands in a stream.

A stream that fails sends ``event: error`` and then ``response.failed``, all under HTTP 200 (recorded from 2025 to 2026). The event
has the error in ``error``, where OpenAI's SDK looks for it; the specification of August 2026 has its fields in the event itself.
"""

from collections.abc import Mapping
from typing import Any, Final

from rini.canon import Failure, FailureKind
from rini.wire.openai_chat.failure import failure_body, failure_in
from rini.wire.openai_chat.json_value import Json, as_object

# The codes that a response's ``error`` may have for what canon tells apart; all else is OpenAI's own server_error.
_CODES: Mapping[FailureKind, str] = {
    "rate_limited": "rate_limit_exceeded",
    "billing": "rate_limit_exceeded",
    "invalid_request": "invalid_prompt",
    "context_too_long": "invalid_prompt",
    "too_large": "invalid_prompt",
    "safety": "invalid_prompt",
}
_EVENT_FIELDS: Final = ("type", "sequence_number")


def failure_of_event(event: Json) -> Failure:
    """Return the failure that an ``error`` event tells, with its fields in ``error`` or beside it. Raises MalformedError."""
    error = event.get("error")
    if type(error) is not dict:
        error = {name: value for name, value in event.items() if name not in _EVENT_FIELDS}
    failure = failure_in({"error": error}, certain=True)
    assert failure is not None
    return failure


def failure_of_response(error: Any) -> Failure:
    """Return the failure that a response's ``error`` tells. Raises MalformedError."""
    told: Json = {"message": "The response failed without a reason."} if error is None else as_object(error, "error")
    failure = failure_in({"error": told}, certain=True)
    assert failure is not None
    return failure


def error_event(failure: Failure, sequence: int) -> Json:
    """Return the ``error`` event for ``failure``."""
    body = failure_body(failure)[1]
    error = body.get("error")
    inner = as_object(error, "error") if type(error) is dict else body
    return {
        "type": "error",
        "sequence_number": sequence,
        "code": failure.code or _CODES.get(failure.kind, "server_error"),
        "message": failure.message,
        "param": failure.param,
        "error": inner,
    }


def response_error(failure: Failure) -> Json:
    """Return the ``error`` of a response that ended with ``failure``."""
    own = failure.code if failure.wire is not None and failure.code in _KNOWN else None
    return {"code": own or _CODES.get(failure.kind, "server_error"), "message": failure.message}


_KNOWN: Final = frozenset(
    {
        "server_error",
        "rate_limit_exceeded",
        "invalid_prompt",
        "data_residency_mismatch",
        "bio_policy",
        "vector_store_timeout",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "image_content_policy_violation",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    }
)
