"""Endpoints as plain ASGI applications in front of the FastAPI application.

Each takes the raw request and sends its own answer. The request id, the log line, the metrics and the gate apply to them as to any other route.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.problems import on_http_error, render
from rini.errors import InvalidRequestError, MethodNotAllowedError, RiniError

T = TypeVar("T")

JSON_HEADERS = (b"content-type", b"application/json")


class Route(NamedTuple):
    """What logs and metrics call an endpoint."""

    path_format: str


class LeanRoutes:
    """POST on exact paths, with or without their trailing slash; all else goes on to ``others``.

    These endpoints stand before FastAPI, whose layers cost a call of a model a sixth of its CPU time (docs/performance.md).
    """

    def __init__(self, endpoints: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._others = others
        self._routes: dict[str, tuple[Route, ASGIApp]] = {}
        for path, endpoint in endpoints.items():
            self._routes[path] = self._routes[path.rstrip("/")] = (Route(path), endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint, and answer with the error document of what it raises before it began to answer."""
        found = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._others(scope, receive, send)
            return
        scope["route"], endpoint = found
        try:
            if scope["method"] != "POST":
                path = found[0].path_format
                raise MethodNotAllowedError(f"{path} takes POST, not {scope['method']}.", headers={"allow": "POST"})
            await endpoint(scope, receive, send)
        except RiniError as error:
            await render(Request(scope), error)(scope, receive, send)
        except HTTPException as error:  # the gate's, for a body that turns out too large on the way
            answer = await on_http_error(Request(scope), error)
            await answer(scope, receive, send)


class ClientLeftError(Exception):
    """The client closed its connection before it sent all of the body."""


async def read_body(receive: Receive) -> bytes:
    """Return the whole body; the gate has seen to its size. Raises ClientLeftError."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return message.get("body", b"")
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(parts)
        message = await receive()
    raise ClientLeftError


def decode_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return the decoded body. Raises InvalidRequestError that says where it is wrong."""
    if not body:
        raise InvalidRequestError("The body is empty; a JSON object is needed.")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(_sentence(str(error))) from None
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"The body is not JSON: {error}.") from None
    except UnicodeDecodeError:
        raise InvalidRequestError("The body is not UTF-8.") from None
    except RecursionError:
        raise InvalidRequestError("The body is nested too deeply.") from None


def _sentence(text: str) -> str:
    """Turn msgspec's ``Expected `str`, got `int` - at `$.text``` into ``text: expected `str`, got `int`.``."""
    what, _, where = text.rpartition(" - at `$")
    if not what:
        return text + ("" if text.endswith(".") else ".")
    place = where.rstrip("`").lstrip(".")
    what = what[:1].lower() + what[1:]
    return f"{place}: {what}." if place else f"The body: {what}."


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


async def current_user(scope: Scope, access: Access) -> int:
    """Return the id of the user whose token the request carries. Raises NotAuthenticatedError."""
    authorization = header(scope, b"authorization")
    user_id = access.known(authorization)
    if user_id is None:
        user_id = await access.check(authorization)
    scope["rini.user_id"] = user_id
    return user_id


async def while_connected(receive: Receive, work: Callable[[], Awaitable[T]]) -> T:
    """Do ``work``, which is cancelled when the client leaves. Raises ClientLeftError then."""
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await work()
    except asyncio.CancelledError:
        if not left:
            raise
        task.uncancel()
        raise ClientLeftError from None
    finally:
        watcher.cancel()


async def send_json(send: Send, status: int, body: bytes) -> None:
    """Send a whole JSON answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [JSON_HEADERS, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})
