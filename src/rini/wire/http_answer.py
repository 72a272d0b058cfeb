"""What an HTTP answer's status and headers say by themselves, whatever the wire format of its body."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from rini.canon import FailureKind

_KINDS: Mapping[int, FailureKind] = {
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    429: "rate_limited",
    503: "overloaded",
    504: "timeout",
    522: "timeout",  # Cloudflare, as 524
    524: "timeout",
    529: "overloaded",  # Anthropic
}

_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)


def kind_of_status(status: int) -> FailureKind | None:
    """Return what ``status`` means where it means one thing; ``None`` for the rest."""
    return _KINDS.get(status)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the headers (lower-case names) ask to wait.

    Follows RFC 9110, section 10.2.3, and takes the finer ``retry-after-ms`` before it. A date is counted from the provider's own
    clock where it tells it.
    """
    milliseconds = seconds_of(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = seconds_of(value)
    if seconds is not None:
        return seconds
    until = _date(value)
    if until is None:
        return None
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def seconds_of(value: str | None) -> float | None:
    """Return the number in ``value``, written in plain digits; ``None`` where there is none, or one without end."""
    if value is None or not _NUMBER.fullmatch(value.strip()):
        return None
    seconds = float(value)
    return seconds if math.isfinite(seconds) else None


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
