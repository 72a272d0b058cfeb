"""Calls that took longer than the operator finds right, in the log."""

import math

from rini.telemetry import logs

_log = logs.get_logger(__name__)
_slow_seconds = math.inf


def log_calls_longer_than(seconds: float) -> None:
    """Log calls of models that take longer, from now on. Before this is called none is logged."""
    global _slow_seconds  # noqa: PLW0603  # how a process logs is set once, as configure_logs does
    _slow_seconds = seconds


def observe_call(
    provider: str, model: str, outcome: str, seconds: float, *, first_token_seconds: float | None, call_id: str
) -> None:
    """Log a call that ended, if it was slow. ``call_id`` is the ledger row's."""
    if seconds > _slow_seconds:
        _log.warning(
            "slow_call",
            provider=provider,
            model=model,
            ms=round(seconds * 1000),
            first_token_ms=None if first_token_seconds is None else round(first_token_seconds * 1000),
            outcome=outcome,
            call_id=call_id,
        )
