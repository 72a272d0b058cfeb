"""What tells one request from another, and how its body is read before its endpoint reads it."""

import asyncio
import hashlib
import re
from collections.abc import MutableMapping
from typing import Any, Never

from starlette.types import Receive, Scope

from rini.api.lean import ClientLeftError

HELD_BYTES = 1024 * 1024
"""So much of a body is read before its request begins, and kept until then. The rest is hashed as it passes."""

HALF = 32
"""Digits of each digest in the fingerprint of a longer body: of its beginning, and of all of it."""

_BOUNDARY = re.compile(rb'boundary=("?)([^";,]+)\1', re.IGNORECASE)


class ReadRequest:
    """A request of whose body the beginning is read, and that is passed on once. Whoever gets it never hears that the client left behind its body."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._fingerprint = _Fingerprint(scope)
        self._held: list[bytes] = []
        self.has_come = asyncio.Event()
        """Set when all of the body has come."""
        self.is_gone = False
        """Whether some of the body was read and not kept, so that the request cannot be passed on any more."""

    @property
    def is_read(self) -> bool:
        """Whether all of the body has come."""
        return self.has_come.is_set()

    @classmethod
    async def read(cls, scope: Scope, receive: Receive) -> "ReadRequest":
        """Read the beginning of the body. Raises ClientLeftError."""
        request = cls(scope, receive)
        while not request.is_read and not request._fingerprint.has_beginning:
            request._held.append(await request._next())
        return request

    @property
    def fingerprint(self) -> str:
        """What a repetition of the request has in common with it: method, path, query, what the body is, and the body as far as it is read.

        The token does not belong to it, which may be another one by now, nor a form's boundary, which clients invent each time.
        """
        return self._fingerprint.of_all if self.is_read else self._fingerprint.of_beginning

    async def read_rest(self) -> None:
        """Read the body to its end, and keep nothing of one that is longer than its beginning. Raises ClientLeftError."""
        while not self.is_read:
            self._held.clear()
            self.is_gone = True
            await self._next()

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the body, piece by piece, then wait for ever."""
        if self._held:
            # Not held for longer: it may be large, and the endpoint takes its time.
            body = b"".join(self._held)
            self._held.clear()
            return {"type": "http.request", "body": body, "more_body": not self.is_read}
        if self.is_read:
            await _for_ever()
        try:
            return {"type": "http.request", "body": await self._next(), "more_body": not self.is_read}
        except ClientLeftError:
            return {"type": "http.disconnect"}

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientLeftError
        data: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            self.has_come.set()
        self._fingerprint.add(data, is_last=self.is_read)
        return data


def are_same(fingerprint: str, other: str) -> bool:
    """Tell whether two requests are the same, as far as both are read."""
    return fingerprint.startswith(other) or other.startswith(fingerprint)


class _Fingerprint:
    """The digest of a request whose body comes in pieces, whatever these are."""

    def __init__(self, scope: Scope) -> None:
        told = [scope["method"].encode(), scope["path"].rstrip("/").encode("utf-8", "surrogatepass")]
        told += [field for field in scope["query_string"].split(b"&") if field and not field.startswith(b"key=")]
        kind = b""
        for name, value in sorted(scope["headers"]):
            if name == b"content-type":
                kind = value
            elif name.startswith(b"x-rini-"):
                told.append(name + b":" + value)
        boundary = _BOUNDARY.search(kind) if kind.lower().startswith(b"multipart/") else None
        if boundary is not None:
            kind = kind.replace(boundary[0], b"")
        self._boundary = b"" if boundary is None else boundary[2]
        self._rest = b""  # in which a boundary may begin
        self._digest = hashlib.sha256()
        for part in (*told, kind):
            self._digest.update(b"%d:" % len(part))
            self._digest.update(part)
        self._missing = HELD_BYTES
        self.of_beginning = ""

    @property
    def has_beginning(self) -> bool:
        """Whether more has come than the beginning."""
        return bool(self.of_beginning)

    def add(self, data: bytes, *, is_last: bool) -> None:
        """Add what comes next."""
        if self._boundary:
            *pieces, last = (self._rest + data).split(self._boundary)
            sure = len(last) if is_last else max(0, len(last) - len(self._boundary) + 1)
            self._rest = last[sure:]
            data = b"".join((*pieces, last[:sure]))
        if not self.has_beginning:
            if len(data) <= self._missing:
                self._missing -= len(data)
            else:
                self._digest.update(data[: self._missing])
                self.of_beginning = self._digest.hexdigest()[:HALF]
                data = data[self._missing :]
        self._digest.update(data)

    @property
    def of_all(self) -> str:
        """The fingerprint of the request, once all of it has come."""
        return self.of_beginning + self._digest.hexdigest()[: HALF if self.has_beginning else None]


async def _for_ever() -> Never:
    await asyncio.get_running_loop().create_future()
    raise AssertionError
