"""What each SDK raises for what a provider may fail with."""

from dataclasses import dataclass

from rini.canon import FailureKind

Raises = tuple[str, int]
"""The name of the SDK's class, and the status."""


@dataclass(frozen=True)
class ErrorRow:
    """A failure, as the provider tells it, and what each dialect's SDK raises for it. ``waits``: it says for how long."""

    kind: FailureKind
    name: str
    chat: Raises
    responses: Raises
    anthropic: Raises
    gemini: Raises
    message: str = "Something is off."
    waits: bool = False


def _row(
    kind: FailureKind, name: str, openai: Raises, anthropic: Raises, gemini: Raises, message: str = "Something is off.", *, waits: bool = False
) -> ErrorRow:  # fmt: skip
    return ErrorRow(kind, name, openai, openai, anthropic, gemini, message, waits)


WAIT = 7
"""Seconds."""

ERRORS = (
    _row("authentication", "the key is refused", ("AuthenticationError", 401), ("AuthenticationError", 401), ("ClientError", 401)),
    _row("permission", "the key may not do this", ("PermissionDeniedError", 403), ("PermissionDeniedError", 403), ("ClientError", 403)),
    _row("billing", "no credit", ("RateLimitError", 429), ("PaymentRequiredError", 402), ("ClientError", 403)),
    _row("rate_limited", "too many requests", ("RateLimitError", 429), ("RateLimitError", 429), ("ClientError", 429), waits=True),
    _row("not_found", "no such model", ("NotFoundError", 404), ("NotFoundError", 404), ("ClientError", 404)),
    _row("context_too_long", "the conversation is too long", ("BadRequestError", 400), ("BadRequestError", 400), ("ClientError", 400)),
    _row("too_large", "too many bytes", ("APIStatusError", 413), ("ContentTooLargeError", 413), ("ClientError", 413)),
    _row("invalid_request", "the provider rejects the request", ("BadRequestError", 400), ("BadRequestError", 400), ("ClientError", 400)),
    _row(
        "safety", "a filter refuses the request", ("BadRequestError", 400), ("BadRequestError", 400), ("ClientError", 400),
        "Output blocked by content filtering policy: blocked by our content filter.",
    ),
    _row("overloaded", "the provider is full or down", ("InternalServerError", 503), ("OverloadedError", 529), ("ServerError", 503), waits=True),
    _row("server_error", "the provider breaks", ("InternalServerError", 500), ("InternalServerError", 500), ("ServerError", 500)),
    _row("timeout", "the provider runs out of time", ("InternalServerError", 504), ("GatewayTimeoutError", 504), ("ServerError", 504)),
)  # fmt: skip

IN_MID_STREAM = {"chat": "APIError", "responses": "APIError", "anthropic": "APIStatusError", "gemini": "ServerError"}
"""What is raised where an overloaded provider breaks off in the middle of a stream."""
