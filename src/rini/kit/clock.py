"""The time: aware UTC for what is stored, a monotonic clock for what is measured."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the time, aware, in UTC."""
    return datetime.now(UTC)


monotonic = time.perf_counter
