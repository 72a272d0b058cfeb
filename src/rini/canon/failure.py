"""A call that a provider did not answer as asked."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

FailureKind = Literal[
    "authentication",  # the key is refused
    "permission",  # the key is good but may not do this
    "billing",  # no credit, or a hard quota that waiting does not lift
    "rate_limited",  # wait, then it works
    "not_found",  # no such model (or file, or endpoint)
    "context_too_long",  # the conversation does not fit the model
    "too_large",  # the request's bytes are too many
    "invalid_request",  # anything else that is wrong with the request
    "safety",  # refused by the provider's filters
    "overloaded",  # the provider is down or full
    "server_error",  # the provider broke
    "timeout",  # the provider says that it ran out of time
    "malformed",  # the answer makes no sense
]


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong, in the provider's words and in ours.

    ``message`` is the provider's own text, without headers or keys. ``status`` is its HTTP status (``None`` in the middle
    of a stream), ``code`` and ``type`` its own identifiers, ``retry_after`` seconds as far as it said.
    ``raw`` is the error's JSON value, to be given back in the same wire format.
    """

    kind: FailureKind
    message: str
    status: int | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None
    retry_after: float | None = None
    wire: str | None = None
    raw: Mapping[str, Any] | None = None
