"""A collector of OpenTelemetry traces: a real HTTP server on loopback that decodes OTLP's protobuf."""

import gzip
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Span:
    """One span as it came. Ids are hexadecimal; ``kind`` and ``status`` are OTLP's numbers."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    status: int
    message: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    schema: str


@dataclass
class Collector:
    """The server. ``raw`` is all that came, as bytes."""

    spans: list[Span] = field(default_factory=list)
    raw: bytes = b""

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    collector.take(body)
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, body: bytes) -> None:
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        span.name,
                        span.kind,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.status.code,
                        span.status.message,
                        _values(span.attributes),
                        _values(resource.resource.attributes),
                        scope.schema_url,
                    )
                    for span in scope.spans
                ]

    def wait_for(self, count: int, seconds: float = 10, **attributes: Any) -> list[Span]:
        """Return the spans with these attributes (``_`` for ``.``) once there are ``count``."""
        until = time.monotonic() + seconds
        while len(found := self.find(**attributes)) < count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(found) == count, [span.name for span in self.spans]
        return found

    def find(self, **attributes: Any) -> list[Span]:
        """Return the spans with these attributes (``_`` for ``.``) so far."""
        return [
            span
            for span in list(self.spans)
            if attributes.items() <= {name.replace(".", "_"): value for name, value in span.attributes.items()}.items()
        ]


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    return getattr(value, kind)
