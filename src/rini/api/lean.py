"""Endpoints as plain ASGI applications in front of the FastAPI application.

Each takes the raw request and sends its own answer. The request id, the log line, the metrics and the gate apply to them as to any other route.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

import msgspec
from starlette.types import Receive, Scope, Send

from rini.errors import InvalidRequestError, NotFoundError
from rini.kit.parameters import LARGEST_ID

T = TypeVar("T")

JSON_HEADERS = (b"content-type", b"application/json")


def message_id_in(path_params: Mapping[str, str]) -> int:
    """Return the message's id of a path. Raises NotFoundError for what cannot be one."""
    text = path_params["message_id"]
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= LARGEST_ID):
        raise NotFoundError(f"There is no message {text[:40]}.")
    return int(text)


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


WATCHED_AFTER_SECONDS = 0.02
"""How long an answer may take before its client is watched: to watch costs more than most of what a quick answer takes."""


async def while_connected(receive: Receive, work: Callable[[], Awaitable[T]]) -> T:
    """Do ``work``, which is cancelled when the client leaves. Raises ClientLeftError then."""
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    loop = asyncio.get_running_loop()
    watcher: asyncio.Task[None] | None = None
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        task.cancel()

    def begin() -> None:
        nonlocal watcher
        watcher = loop.create_task(watch())

    timer = loop.call_later(WATCHED_AFTER_SECONDS, begin)
    try:
        return await work()
    except asyncio.CancelledError:
        if not left:
            raise
        task.uncancel()
        raise ClientLeftError from None
    finally:
        timer.cancel()
        if watcher is not None:
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
