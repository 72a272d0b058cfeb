"""What tells one request from another, and how its body is read before its endpoint reads it."""

import asyncio
import hashlib
import re
from collections.abc import MutableMapping
from typing import Any, Never

from starlette.types import Receive, Scope

from rini.api.lean import ClientLeftError

HASHED_IN_THREAD_BYTES = 256 * 1024
_BOUNDARY = re.compile(rb'boundary=("?)([^";,]+)\1', re.IGNORECASE)


class ReadRequest:
    """A request whose body is read as far as ``most`` bytes. What it is handed on to never hears that the client left."""

    def __init__(self, scope: Scope, body: bytes, receive: Receive, *, more: bool) -> None:
        self._scope = scope
        self._body: bytes | None = body
        self._receive = receive
        self._more = more

    @classmethod
    async def read(cls, scope: Scope, receive: Receive, most: int) -> "ReadRequest":
        """Read the body. Raises ClientLeftError."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientLeftError
            body += message.get("body", b"")
            more: bool = message.get("more_body", False)
            if not more or len(body) > most:
                return cls(scope, bytes(body), receive, more=more)

    async def fingerprint(self) -> str:
        """Return what a repetition of the request has in common with it: method, path, query, what the body is, and the body.

        Of a body that is longer than was read it is the beginning, and the length. The token does not belong to it, which may be
        another one by now, nor a form's boundary, which clients invent each time.
        """
        assert self._body is not None
        if len(self._body) > HASHED_IN_THREAD_BYTES:
            return await asyncio.to_thread(self._fingerprint, self._body)
        return self._fingerprint(self._body)

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the body, then wait for ever."""
        if self._body is not None:
            # Not held for longer: it may be large, and the endpoint takes its time.
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": self._more}
        if not self._more:
            await _for_ever()
        message = await self._receive()
        self._more = message.get("more_body", False)
        return message

    def _fingerprint(self, body: bytes) -> str:
        scope = self._scope
        told = [scope["method"].encode(), scope["path"].rstrip("/").encode("utf-8", "surrogatepass")]
        told += [field for field in scope["query_string"].split(b"&") if field and not field.startswith(b"key=")]
        kind = b""
        for name, value in sorted(scope["headers"]):
            if name == b"content-type":
                kind = value
            elif name.startswith(b"x-rini-") or (name == b"content-length" and self._more):
                told.append(name + b":" + value)
        boundary = _BOUNDARY.search(kind) if kind.lower().startswith(b"multipart/") else None
        if boundary is not None:
            kind = kind.replace(boundary[0], b"")
            body = body.replace(boundary[2], b"")
        digest = hashlib.sha256()
        for part in (*told, kind, body):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.hexdigest()


async def _for_ever() -> Never:
    await asyncio.get_running_loop().create_future()
    raise AssertionError
