"""Spans by OpenTelemetry's SDK, sent over OTLP/HTTP in batches by a thread of its own. Needs the extra ``traces``.

The tracer is not made the global one of the process. Libraries that look for that (the MCP SDK does) would add spans with their own idea of
what is private, and pass the trace on to other people's servers.
"""

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar, Token

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rini import __version__
from rini.telemetry import logs
from rini.telemetry.conventions import CONVENTIONS, ERROR_TYPE, METHOD, REQUEST_ID, ROUTE, SCHEME, STATUS, USER

LAST_SECONDS = 3.0
"""How long a process that ends waits for its last spans to be sent."""

QUIET_SECONDS = 60.0
"""Time from one log line about spans that could not be sent to the next."""

LONGEST_TEXT = 256

Attribute = str | bool | int | float | Sequence[str]

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_ROOT = Context()
_propagator = TraceContextTextMapPropagator()
_log = logs.get_logger(__name__)
_request: ContextVar[Context] = ContextVar("rini_request_span", default=_ROOT)


class Spans:
    """Makes spans and sends them to ``url``.

    Followed of the SDK's own variables: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
    OTEL_EXPORTER_OTLP_HEADERS and the other ones of the exporter, OTEL_BSP_….
    """

    def __init__(self, url: str) -> None:
        library = logging.getLogger("opentelemetry")
        library.handlers = [_Complaints()]
        library.propagate = False
        own = Resource({"service.name": "rini", "service.version": __version__, "process.pid": os.getpid()})
        self._provider = TracerProvider(
            resource=own.merge(OTELResourceDetector().detect()),
            span_limits=SpanLimits(max_span_attribute_length=LONGEST_TEXT),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
        self._tracer = self._provider.get_tracer("rini", __version__, schema_url=CONVENTIONS)

    def request(self, method: str, scheme: str, headers: Iterable[tuple[bytes, bytes]]) -> "RequestSpan":
        """Begin the span of a request, below the one that a W3C ``traceparent`` among its headers names."""
        known = method if method in _METHODS else "_OTHER"
        span = self._tracer.start_span(
            known, _given(headers), SpanKind.SERVER, attributes={METHOD: known, SCHEME: scheme}
        )
        return RequestSpan(span, known)

    def work(self, name: str, attributes: Mapping[str, Attribute | None], *, remote: bool) -> "WorkSpan":
        """Begin a span below that of the request. ``remote``: another server does the work. None among ``attributes`` is left out."""
        kind = SpanKind.CLIENT if remote else SpanKind.INTERNAL
        return WorkSpan(self._tracer.start_span(name, _request.get(), kind, attributes=_known(attributes)))

    def close(self) -> None:
        """Send what is left, for ``LAST_SECONDS`` at most."""
        # The SDK's own limit is half a minute, and cannot be set.
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(LAST_SECONDS)


class RequestSpan:
    """The span of a request. Until it ends, spans of work that begin in the same task, or in tasks made there, are below it."""

    __slots__ = ("_method", "_span", "_token", "trace_id")

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method
        self._token: Token[Context] = _request.set(set_span_in_context(span, _ROOT))
        self.trace_id = f"{span.get_span_context().trace_id:032x}"

    def end(self, route: str | None, status: int | None, *, request_id: str, user_id: int | None) -> None:
        """End it. ``route`` is a template, None where no route fits; ``status`` None: the client left before it was answered."""
        _request.reset(self._token)
        span = self._span
        if route is not None:
            span.update_name(f"{self._method} {route}")
        span.set_attributes(_known({ROUTE: route, STATUS: status, REQUEST_ID: request_id, USER: user_id}))
        if status is None:
            span.set_attribute(ERROR_TYPE, "client_left")
        elif status >= 500:
            span.set_attribute(ERROR_TYPE, str(status))
            span.set_status(StatusCode.ERROR)
        span.end()


class WorkSpan:
    """The span of something that is done for a request. One that is not ended is not sent."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def end(self, attributes: Mapping[str, Attribute | None] | None = None, error: str | None = None) -> None:
        """End it, with further attributes. ``error`` is a code of a few words: it failed, and why."""
        if attributes:
            self._span.set_attributes(_known(attributes))
        if error is not None:
            self._span.set_attribute(ERROR_TYPE, error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class _Complaints(logging.Handler):
    """Puts what the SDK complains of into the log, seldom: an endpoint may be down for days."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next = 0.0
        self._unsaid = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Log it, or count it for the next line."""
        now = time.monotonic()
        if now < self._next:
            self._unsaid += 1
            return
        _log.warning("traces_not_sent", reason=record.getMessage(), unsaid=self._unsaid)
        self._next, self._unsaid = now + QUIET_SECONDS, 0


def _known(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {name: value for name, value in attributes.items() if value is not None}


def _given(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    carrier: dict[str, str] = {}
    for name, value in headers:
        if name in (b"traceparent", b"tracestate"):
            carrier.setdefault(name.decode(), value.decode("latin-1"))
    return _propagator.extract(carrier, _ROOT) if carrier else _ROOT
