"""From what a provider or the way to it did, to the error that a client sees."""

from collections.abc import Mapping

import msgspec

from rini.canon import Failure, FailureKind
from rini.errors import (
    AddressRefusedError,
    ConnectTimeoutError,
    ContextTooLongError,
    FirstByteTimeoutError,
    ModelNotFoundError,
    ProviderBillingError,
    ProviderError,
    ProviderKeyRefusedError,
    ProviderMalformedError,
    ProviderPermissionError,
    ProviderRateLimitedError,
    ProviderRedirectError,
    ProviderRejectedError,
    ProviderTimeoutError,
    ProviderTooLargeError,
    ProviderUnavailableError,
    ProviderUnreachableError,
    RefusedBySafetyError,
    RiniError,
    StalledError,
)
from rini.kit.http import TransportError
from rini.providers.catalog import Provider

_CLASSES: Mapping[FailureKind, type[ProviderError]] = {
    "authentication": ProviderKeyRefusedError,
    "permission": ProviderPermissionError,
    "billing": ProviderBillingError,
    "rate_limited": ProviderRateLimitedError,
    "not_found": ModelNotFoundError,
    "context_too_long": ContextTooLongError,
    "too_large": ProviderTooLargeError,
    "invalid_request": ProviderRejectedError,
    "safety": RefusedBySafetyError,
    "overloaded": ProviderUnavailableError,
    "server_error": ProviderUnavailableError,
    "timeout": ProviderTimeoutError,
    "malformed": ProviderMalformedError,
}

_SENTENCES: Mapping[FailureKind, str] = {
    "authentication": "{label} refused the API key",
    "permission": "{label} does not let this API key do that",
    "billing": "{label} says that the account has no credit or quota left",
    "rate_limited": "{label} asks to slow down",
    "not_found": "{label} does not know the model '{model}'",
    "context_too_long": "The conversation is too long for the model '{model}'",
    "too_large": "The request is too large for {label}",
    "invalid_request": "{label} refused the request",
    "safety": "{label} refused the request for safety",
    "overloaded": "{label} is overloaded or down",
    "server_error": "{label} failed",
    "timeout": "{label} ran out of time",
    "malformed": "{label} sent an answer that makes no sense",
}

DEFAULT_RETRY_AFTER = 5.0
LONGEST_RETRY_AFTER = 86_400.0
LONGEST_MESSAGE = 2000
SHORTEST_SECRET = 8
"""Shorter keys are words, such as those of servers that need none; a message without these would make no sense."""


def failure_error(failure: Failure, provider: Provider, model: str, key: str = "") -> ProviderError:
    """Return the error for what a provider said to a call with ``key``. Its own message is passed on, its headers and the key never."""
    sentence = _SENTENCES[failure.kind].format(label=provider.label, model=model)
    message = _without(key, failure.message).strip()[:LONGEST_MESSAGE]
    headers: dict[str, str] = {}
    if failure.kind in ("rate_limited", "overloaded"):
        wait = failure.retry_after if failure.retry_after is not None else DEFAULT_RETRY_AFTER
        headers["retry-after"] = str(round(min(max(wait + 0.49, 1.0), LONGEST_RETRY_AFTER)))
    error = _CLASSES[failure.kind](
        f"{sentence}: {message}" if message else f"{sentence}.",
        headers=headers,
        provider=provider.name,
        model=model,
        provider_status=failure.status,
        provider_code=None if failure.code is None else _without(key, failure.code)[:LONGEST_MESSAGE],
        provider_message=message or None,
    )
    error.failure = msgspec.structs.replace(
        failure,
        message=message or sentence,
        code=error.fields["provider_code"],
        raw=None if failure.raw is None or _quotes(key, failure.raw) else failure.raw,
    )
    return error


def without_key(key: str, body: bytes) -> bytes:
    """Return ``body`` without the key, which some servers quote when they refuse it, some as JSON that escapes slashes."""
    if len(key) < SHORTEST_SECRET:
        return body
    as_json = msgspec.json.encode(key)[1:-1]
    for written in (key.encode(), as_json, as_json.replace(b"/", rb"\/")):
        body = body.replace(written, b"***")
    return body


def blocked_error(provider: Provider, model: str) -> ProviderError:
    """Return the error for an answer of which a filter left nothing."""
    return RefusedBySafetyError(f"{provider.label} refused to answer for safety.", provider=provider.name, model=model)


def redirect_error(status: int, provider: Provider) -> ProviderError:
    """Return the error for an answer that points elsewhere."""
    return ProviderRedirectError(
        f"{provider.label} answered with a redirect (HTTP {status}), which is not followed: set base_url to the final address.",
        provider=provider.name,
        provider_status=status,
    )


def malformed_error(reason: str, provider: Provider) -> ProviderError:
    """Return the error for an answer that is not of the wire format."""
    return ProviderMalformedError(
        f"{provider.label} sent an answer that makes no sense: {reason}", provider=provider.name
    )


def transport_error(error: TransportError, provider: Provider) -> RiniError:
    """Return the error for a way that was broken, by the phase in which it broke."""
    name = provider.name
    match error.phase:
        case "address":
            return AddressRefusedError(f"base_url: {error}", provider=name)
        case "connect" if error.timeout:
            return ConnectTimeoutError(f"{provider.label} did not take the connection in time.", provider=name)
        case "connect":
            return ProviderUnreachableError(f"There is no connection to {provider.label}: {error}", provider=name)
        case "send" | "first_byte" if error.timeout:
            return FirstByteTimeoutError(f"{provider.label} did not begin to answer in time.", provider=name)
        case "between_bytes" if error.timeout:
            return StalledError(f"{provider.label} stopped in the middle of its answer.", provider=name)
        case "too_large":
            return malformed_error(str(error), provider)
        case _:
            return ProviderMalformedError(f"{provider.label} broke off: {error}", provider=name)


def _without(key: str, text: str) -> str:
    return text.replace(key, "***") if len(key) >= SHORTEST_SECRET else text


def _quotes(key: str, value: object) -> bool:
    return len(key) >= SHORTEST_SECRET and key.encode() in msgspec.json.encode(value)
