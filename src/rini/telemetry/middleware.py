"""The outermost ASGI layer: an id for every request, one log line, its metrics, and a last word on what broke."""

import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect

from rini.telemetry import logs, metrics, traces

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Routes that machines ask every few seconds: logged at ``debug`` while they answer well."""

CLIENT_LEFT = 499
"""The status noted when the client left before anything was sent."""

UNMATCHED = "unmatched"
"""The route noted where the path fits none."""

MAX_ID_LENGTH = 128
_NOTHING: dict[str, Any] = {}
_ID_CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"


def new_request_id() -> str:
    """Return 32 hexadecimal digits: milliseconds since 1970, then 80 random bits. Unique and sortable, not a secret."""
    return f"{time.time_ns() // 1_000_000:012x}{random.getrandbits(80):020x}"


class RequestContext:
    """Wraps the whole application, FastAPI's own error handling included: ``RequestContext(app)``, not ``add_middleware``.

    The request's id is the client's ``x-request-id`` (1 to 128 characters of ``A-Za-z0-9._-``) or a new one. It is
    ``scope["rini.request_id"]``, in every event logged meanwhile, and in the answer's ``x-request-id``. Who authenticates
    may set ``scope["rini.user_id"]`` for the log line. Nothing is buffered, and messages pass as they come.

    An exception that reaches this layer is logged once, with its traceback, and goes no further: the answer is a plain
    problem document with status 500, or, where one had begun, a connection cut off by the server.
    """

    def __init__(self, app: App, *, quiet_routes: Collection[str] = QUIET_ROUTES) -> None:
        self._app = app
        self._quiet = frozenset(quiet_routes)
        self._log = logs.get_logger("rini.request").bind()
        self._requests = logs.DirectLogger("rini.request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given_id(scope["headers"]) or new_request_id()
        scope["rini.request_id"] = request_id
        header = (b"x-request-id", request_id.encode())
        status = 0
        complete = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, complete
            kind = message["type"]
            if kind == "http.response.body":
                await send(message)
                complete = not message.get("more_body", False)
                return
            if kind == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            elif kind == "http.response.pathsend":
                complete = True
            await send(message)

        token = logs.request_id.set(request_id)
        span = None
        if traces.active is not None and scope["path"] not in self._quiet:
            span = traces.active.request(scope["method"], scope["scheme"], scope["headers"])
        metrics.request_started()
        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            self._log.debug("client_left")
        except Exception as error:  # noqa: BLE001  # the edge of the process: whatever it was, it is told once
            self._log.error("request_failed", exc_info=error)
            if not status:
                await _send_internal_error(send_with_id, request_id)
        finally:
            seconds = time.perf_counter() - started
            method: str = scope["method"]
            route = _template(scope)
            status = status or CLIENT_LEFT
            metrics.observe_request(method, route, status, seconds)
            fields: dict[str, Any] = {
                "method": method,
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
            }
            if "rini.user_id" in scope:
                fields["user_id"] = scope["rini.user_id"]
            if not complete:
                fields["complete"] = False
            if span is not None:
                fields["trace_id"] = span.trace_id
                span.end(
                    None if route == UNMATCHED else route,
                    None if status == CLIENT_LEFT else status,
                    request_id=request_id,
                    user_id=scope.get("rini.user_id"),
                )
            if route in self._quiet and status < 400:
                self._requests.debug("request", **fields)
            else:
                self._requests.info("request", **fields)
            logs.request_id.reset(token)


def _given_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"x-request-id":
            good = 0 < len(value) <= MAX_ID_LENGTH and not value.translate(None, _ID_CHARACTERS)
            return value.decode() if good else None
    return None


def _template(scope: Scope) -> str:
    """Return the matched route's template. A path itself would be a label that clients make up, and may hold what is private."""
    # A route that came by include_router knows its own part alone; FastAPI keeps the one with all prefixes beside it.
    found = scope.get("fastapi", _NOTHING).get("effective_route_context")
    route = getattr(found, "starlette_route", None) or found or scope.get("route")
    return getattr(route, "path_format", UNMATCHED)


async def _send_internal_error(send: Send, request_id: str) -> None:
    body = msgspec.json.encode(
        {
            "type": "about:blank",
            "title": "Internal error",
            "status": 500,
            "code": "internal_error",
            "detail": "The server met an error that it did not expect. It is in its log under this request's id.",
            "request_id": request_id,
        }
    )
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    try:
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    except OSError:  # the client is gone
        pass
