"""A call that a provider did not begin to answer is made again, where that may go well and can have cost nothing.

Repeated: no connection, a request that did not get through, 408 and 504, an overloaded or broken provider (500, 502, 503, 529), and
a rate limit of seconds. The official SDKs of OpenAI and Anthropic (November 2026) repeat these too, and obey ``x-should-retry``. They also
repeat a call that was sent and not answered, which may have cost, and any 409, which is repeated here where the provider says so.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rini.errors import (
    ProviderError,
    ProviderRateLimitedError,
    ProviderRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from rini.kit.clock import monotonic
from rini.kit.draining import process as draining
from rini.kit.http import TransportError
from rini.telemetry import logs, metrics

T = TypeVar("T")

FIRST_WAIT = 0.25
"""Seconds before the first repeat; each further one waits twice as long."""

LONGEST_WAIT = 5.0
"""A provider that asks to wait for longer is not called again: its client decides."""

LATEST_REPEAT = 30.0
"""Seconds from the first attempt after which no other one begins."""

_CHECK_SECONDS = 0.05
_PASSING = frozenset({408, 504})
_PASSING_IF_TOLD = frozenset({409, 522, 524})

_log = logs.get_logger(__name__)


async def repeated(attempt: Callable[[], Awaitable[T]], *, retries: int, provider: str, model: str) -> T:
    """Return what ``attempt`` returns, which is made again up to ``retries`` times. Raises its last error.

    Only what ``passing`` says of a ProviderError leads to another attempt, so ``attempt`` must raise nothing of the kind once an
    answer began. Being cancelled ends it at once; a process that drains waits for no other attempt.
    """
    began = monotonic()
    for number in range(retries):
        try:
            return await attempt()
        except ProviderError as error:
            wait = _wait(error, number)
            late = monotonic() - began + wait > LATEST_REPEAT
            if not passing(error) or late or draining.begun:
                raise
            if not await _slept(wait):
                raise
            metrics.observe_retry(provider, error.code)
            _log.warning(
                "provider_retried",
                provider=provider,
                model=model,
                attempt=number + 1,
                code=error.code,
                wait_ms=round(wait * 1000),
            )
    return await attempt()


def passing(error: ProviderError) -> bool:
    """Return whether the same call may go well in a few seconds, and has cost nothing so far."""
    if error.retry_after is not None and error.retry_after > LONGEST_WAIT:
        return False
    if isinstance(error.__cause__, TransportError):
        way = error.__cause__
        return way.phase == "connect" or (way.phase == "send" and not way.timeout)
    if error.should_retry is False:
        return False
    if isinstance(error, ProviderRateLimitedError | ProviderUnavailableError):
        return True
    status = error.fields.get("provider_status")
    if isinstance(error, ProviderTimeoutError | ProviderRejectedError):
        return status in _PASSING or (error.should_retry is True and status in _PASSING_IF_TOLD)
    return False


def _wait(error: ProviderError, number: int) -> float:
    """Return the seconds before the next attempt: a little more than was asked for, so that not all callers are back at once."""
    backoff = min(FIRST_WAIT * 2**number, LONGEST_WAIT)
    return max(backoff, error.retry_after or 0.0) * random.uniform(1.0, 1.25)  # noqa: S311  # no secret


async def _slept(seconds: float) -> bool:
    """Sleep, and return whether the time is over; ``False`` as soon as the process drains."""
    until = monotonic() + seconds
    while (left := until - monotonic()) > 0:
        if draining.begun:
            return False
        await asyncio.sleep(min(left, _CHECK_SECONDS))
    return True
