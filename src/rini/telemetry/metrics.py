"""Metrics for Prometheus, right with one process and with several.

With several, each process writes its numbers to files of its own in one folder, and whichever is asked adds them up: that
needs ``prepare_multiprocess`` in the parent before the workers start. Every function here costs about a microsecond.
No label takes a value that a client can make up freely.
"""

import os
from collections.abc import Callable
from pathlib import Path

import prometheus_client
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

MAX_MODELS = 100
"""How many models have a label of their own in each process; the others are counted as ``other``."""

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

_folder = os.environ.get(_VARIABLE)
_registry = CollectorRegistry()
# A time of birth beside every series, which the files of several processes do not have anyway.
prometheus_client.disable_created_metrics()


def prepare_multiprocess(directory: Path) -> None:
    """Let the processes that this one will start share their metrics in ``directory``.

    Call it before they are started, with none of them running: what a former server left there is removed.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in directory.glob("*.db"):
        file.unlink(missing_ok=True)
    os.environ[_VARIABLE] = str(directory)


def worker_died(pid: int) -> None:
    """Forget what the dead process ``pid`` had in flight; what it counted stays. For the parent of the workers."""
    for file in Path(os.environ[_VARIABLE]).glob(f"gauge_live*_{pid}.db"):
        file.unlink(missing_ok=True)


def render() -> tuple[bytes, str]:
    """Return all metrics of all processes in Prometheus' text format, and its content type. Reads files: not for the event loop."""
    if _folder is None:
        return generate_latest(_registry), CONTENT_TYPE_LATEST
    registry = CollectorRegistry()
    MultiProcessCollector(registry, _folder)
    return generate_latest(registry), CONTENT_TYPE_LATEST


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_SHORT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

_requests = Counter(
    "rini_http_requests",
    "Requests answered, by the route's template and the status sent (499: the client left before).",
    ("method", "route", "status"),
    registry=_registry,
)
_request_seconds = Histogram(
    "rini_http_request_seconds",
    "Time from a request's head to the last byte of its answer.",
    ("route",),
    registry=_registry,
    buckets=_SECONDS,
)
_in_flight = Gauge(
    "rini_http_requests_in_flight", "Requests being answered.", registry=_registry, multiprocess_mode="livesum"
)
_streams = Gauge(
    "rini_streams_open", "Answers being streamed to clients.", registry=_registry, multiprocess_mode="livesum"
)
_calls = Counter(
    "rini_model_calls",
    "Calls of models that ended, by how. Beyond the first 100 models that answered: other.",
    ("provider", "model", "outcome"),
    registry=_registry,
)
_call_seconds = Histogram(
    "rini_model_call_seconds",
    "Time from sending a call to the end of the model's answer.",
    ("provider",),
    registry=_registry,
    buckets=_SECONDS,
)
_first_token_seconds = Histogram(
    "rini_model_first_token_seconds",
    "Time from sending a call to the first token of a streamed answer.",
    ("provider",),
    registry=_registry,
    buckets=_SECONDS,
)
_retries = Counter(
    "rini_provider_retries",
    "Calls made again because a provider did not begin to answer, by the code of the error that it had.",
    ("provider", "code"),
    registry=_registry,
)
_tokens = Counter(
    "rini_tokens",
    "Tokens, each in one class: input, cache_read, cache_write, output, reasoning.",
    ("provider", "class"),
    registry=_registry,
)
_tool_calls = Counter(
    "rini_tool_calls", "Calls of tools that models made, by how they ended.", ("outcome",), registry=_registry
)
_tool_call_seconds = Histogram(
    "rini_tool_call_seconds",
    "Time of a call of a tool, from the model's wish to the result.",
    registry=_registry,
    buckets=_SECONDS,
)
_ledger_rows = Counter("rini_ledger_rows", "Rows committed to the ledger.", registry=_registry)
_unit_seconds = Histogram(
    "rini_db_unit_seconds",
    "Time of one unit of work in the database, waiting for the writer included.",
    ("kind",),
    registry=_registry,
    buckets=_SHORT_SECONDS,
)

# What labels() returns, kept: it costs more than the counting.
_Add = Callable[[float], None]
_request_adds: dict[tuple[str, str, int], tuple[Callable[[], None], _Add]] = {}
_call_adds: dict[tuple[str, str, str], tuple[Callable[[], None], _Add]] = {}
_first_token_adds: dict[str, _Add] = {}
_token_adds: dict[tuple[str, str], _Add] = {}
_unit_adds: dict[str, _Add] = {}
_models: set[tuple[str, str]] = set()


def request_started() -> None:
    """Count a request as in flight, until ``observe_request``."""
    _in_flight.inc()


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request. ``route`` is a template (``/sessions/{id}``), never a path."""
    _in_flight.dec()
    key = (method, route, status)
    adds = _request_adds.get(key)
    if adds is None:
        known = method if method in _METHODS else "other"
        adds = (_requests.labels(known, route, status).inc, _request_seconds.labels(route).observe)
        if known == method:
            _request_adds[key] = adds
    count, observe = adds
    count()
    observe(seconds)


def observe_call(
    provider: str, model: str, outcome: str, seconds: float, *, first_token_seconds: float | None = None
) -> None:
    """Count a call of a model that ended with ``outcome``, one of a few words in the code (``complete``, ``client_left`` …).

    A model gets a label of its own with its first complete call, as names that no provider knows would never end.
    """
    if (provider, model) not in _models:
        if outcome == "complete" and len(_models) < MAX_MODELS:
            _models.add((provider, model))
        else:
            model = "other"
    key = (provider, model, outcome)
    adds = _call_adds.get(key)
    if adds is None:
        adds = _call_adds[key] = (_calls.labels(*key).inc, _call_seconds.labels(provider).observe)
    count, observe = adds
    count()
    observe(seconds)
    if first_token_seconds is not None:
        first = _first_token_adds.get(provider)
        if first is None:
            first = _first_token_adds[provider] = _first_token_seconds.labels(provider).observe
        first(first_token_seconds)


def observe_retry(provider: str, code: str) -> None:
    """Count a call that is made again after an error with that stable ``code``."""
    _retries.labels(provider, code).inc()


def observe_tokens(
    provider: str,
    input_tokens: int,
    output_tokens: int,
    *,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    reasoning_tokens: int = 0,
) -> None:
    """Count a call's tokens. The totals include their shares, as in ``canon.Usage``; they are told apart here."""
    for name, count in (
        ("input", input_tokens - cache_read_tokens - cache_write_tokens),
        ("cache_read", cache_read_tokens),
        ("cache_write", cache_write_tokens),
        ("output", output_tokens - reasoning_tokens),
        ("reasoning", reasoning_tokens),
    ):
        if count > 0:
            key = (provider, name)
            add = _token_adds.get(key)
            if add is None:
                add = _token_adds[key] = _tokens.labels(*key).inc
            add(count)


def observe_tool_call(outcome: str, seconds: float) -> None:
    """Count a call of a tool that ended with ``outcome``, one of a few words in the code (``ok``, ``tool_error`` …)."""
    _tool_calls.labels(outcome).inc()
    _tool_call_seconds.observe(seconds)


def stream_opened() -> None:
    """Count a streamed answer as open, until ``stream_closed``."""
    _streams.inc()


def stream_closed() -> None:
    """End what ``stream_opened`` began."""
    _streams.dec()


def observe_ledger_rows(count: int) -> None:
    """Count rows that were committed to the ledger."""
    _ledger_rows.inc(count)


def observe_db_unit(kind: str, seconds: float) -> None:
    """Note how long one unit of work took; ``kind`` is one of a few words in the code (``read``, ``write`` …)."""
    observe = _unit_adds.get(kind)
    if observe is None:
        observe = _unit_adds[kind] = _unit_seconds.labels(kind).observe
    observe(seconds)
