"""The way to other servers: HTTP/1.1 requests with exact limits, and a guard on the addresses that users give.

Everything that leaves this server for a provider goes through one Transport. Redirects are answers like any other: they are
never followed. Proxies of the environment are not used.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from rini.kit.addresses import AddressError, Guard, IPAddress, Origin, parse_addresses, parse_url
from rini.kit.http_connection import Connection, Exchange, connect, request_head
from rini.kit.http_errors import TransportError

__all__ = ["AddressError", "Resolver", "Response", "StreamedResponse", "Timeouts", "Transport", "TransportError"]

MAX_BYTES = 64 * 1024 * 1024
"""The most that an answer's body may hold, decoded."""

MAX_IDLE = 512
"""The most connections that are kept for later requests, over all hosts."""

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host name, for a port. Raises OSError."""

_STALE_SECONDS = 1.0
_RESERVED = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer"}
)
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. ``connect``: name, TCP and TLS together. ``first_byte``: from there until the answer's head is complete.

    ``between_bytes``: how long the other side may be silent in the answer's body.
    """

    connect: float = 10.0
    first_byte: float = 120.0
    between_bytes: float = 120.0


_TIMEOUTS = Timeouts()


class Response(msgspec.Struct, frozen=True):
    """A whole answer. ``headers`` have lower-case names; ``body`` is decoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamedResponse:
    """An answer whose body is read as it comes. ``headers`` have lower-case names.

    It must be closed, or read to its end, or used as a context manager.
    """

    __slots__ = ("_exchange", "headers", "status")

    def __init__(self, exchange: Exchange) -> None:
        self.status = exchange.status
        self.headers: Mapping[str, str] = exchange.headers
        self._exchange = exchange

    def read(self) -> Coroutine[Any, Any, bytes | None]:
        """Return what came since the last time (decoded), waiting for it; ``None`` at the end.

        Raises TransportError when the answer breaks off. Being cancelled closes the connection.
        """
        return self._exchange.read()

    async def close(self) -> None:
        """End the answer: the connection is closed at once unless all came."""
        self._exchange.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Pool(NamedTuple):
    """What connections are shared by: never is one that was made for the operator used for a user's URL."""

    trusted: bool
    origin: Origin


class Transport:
    """Sends requests and keeps connections alive between them. One per process, used as a context manager.

    ``allowed_private_hosts`` is what users' URLs may reach although it is private (see Guard; ValueError when malformed).
    ``tls`` replaces the system's certificates, ``resolver`` the system's resolver.

    Where the task that awaits any of the methods is cancelled, the connection is closed at once.
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts = _TIMEOUTS,
        allowed_private_hosts: frozenset[str] = frozenset(),
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._guard = Guard(allowed_private_hosts)
        self._tls = tls or ssl.create_default_context()
        self._resolve = resolver or _resolve
        self._idle: dict[_Pool, list[Connection]] = {}
        self._idle_count = 0
        self._open: dict[Connection, _Pool] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, for good; answers on the way break off."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        trusted: bool,
        timeouts: Timeouts | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> Response:
        """Return the whole answer to a POST.

        ``trusted`` says that ``url`` is the operator's: the guard is for all others. Raises TransportError (AddressError
        when the guard refuses).
        """
        return await self._whole("POST", url, headers, body, trusted=trusted, timeouts=timeouts, max_bytes=max_bytes)

    async def get(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        trusted: bool,
        timeouts: Timeouts | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> Response:
        """Return the whole answer to a GET; otherwise as ``post``."""
        return await self._whole("GET", url, headers, None, trusted=trusted, timeouts=timeouts, max_bytes=max_bytes)

    async def post_stream(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        trusted: bool,
        timeouts: Timeouts | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> StreamedResponse:
        """Return the answer to a POST as soon as its head is there; otherwise as ``post``."""
        return await self.stream("POST", url, headers, body, trusted=trusted, timeouts=timeouts, max_bytes=max_bytes)

    async def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        trusted: bool,
        timeouts: Timeouts | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> StreamedResponse:
        """Return the answer to a request with ``method``, an upper-case token; otherwise as ``post_stream``."""
        exchange = await self._send(
            method, url, headers, body, trusted=trusted, timeouts=timeouts, max_bytes=max_bytes, whole=False
        )
        return StreamedResponse(exchange)

    async def _whole(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        trusted: bool,
        timeouts: Timeouts | None,
        max_bytes: int,
    ) -> Response:
        exchange = await self._send(
            method, url, headers, body, trusted=trusted, timeouts=timeouts, max_bytes=max_bytes, whole=True
        )
        return Response(exchange.status, exchange.headers, exchange.take())

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        trusted: bool,
        timeouts: Timeouts | None,
        max_bytes: int,
        whole: bool,
    ) -> Exchange:
        limits = timeouts or self._timeouts
        origin, target = parse_url(url)
        sent = {"user-agent": "rini", "accept-encoding": "gzip, deflate" if whole else "identity"}
        for name, value in headers.items():
            sent[_header_name(name)] = value
        try:
            head = request_head(method, origin, target, sent, None if body is None else len(body))
        except ValueError as error:
            raise TransportError("A header of the request holds characters that no header may.", "send") from error
        pool = _Pool(trusted, origin)
        connection = self._take(pool)
        if connection is not None:
            exchange = Exchange(connection, whole=whole, max_bytes=max_bytes)
            try:
                await self._exchange(connection, exchange, head, body, limits)
            except TransportError as error:
                if not self._is_stale(exchange, error):
                    raise
                # Its neighbours are likely as old.
                self._forget(pool)
            else:
                return exchange
        connection = await self._connect(pool, limits.connect)
        exchange = Exchange(connection, whole=whole, max_bytes=max_bytes)
        await self._exchange(connection, exchange, head, body, limits)
        return exchange

    @staticmethod
    async def _exchange(
        connection: Connection, exchange: Exchange, head: bytes, body: bytes | None, limits: Timeouts
    ) -> None:
        await connection.send(
            exchange, head, body or b"", first_byte=limits.first_byte, between_bytes=limits.between_bytes
        )

    def _is_stale(self, exchange: Exchange, error: TransportError) -> bool:
        """Whether a kept connection was closed by the other side just when it was used again.

        Only then is it safe to send a request twice; a connection that dies later may have cost something.
        """
        return (
            not self._closed
            and exchange.unheard
            and not error.timeout
            and asyncio.get_running_loop().time() - exchange.begun_at < _STALE_SECONDS
        )

    async def _connect(self, pool: _Pool, limit: float) -> Connection:
        origin = pool.origin
        try:
            async with asyncio.timeout(limit):
                addresses = [origin.ip] if origin.ip is not None else await self._addresses(origin)
                if not pool.trusted:
                    self._guard.check_addresses(origin, addresses)
                connection = await connect(
                    origin,
                    addresses,
                    self._tls if origin.scheme == "https" else None,
                    freed=self._keep,
                    lost=self._lose,
                )
        except TimeoutError:
            raise TransportError(
                f"{origin.host} did not take the connection in time.", "connect", timeout=True
            ) from None
        if self._closed:
            connection.abort()
        if not connection.closed:
            self._open[connection] = pool
        return connection

    async def _addresses(self, origin: Origin) -> list[IPAddress]:
        try:
            found = parse_addresses(await self._resolve(origin.host, origin.port))
        except (OSError, UnicodeError, ValueError) as error:
            raise TransportError(f"The name {origin.host} could not be resolved.", "connect") from error
        if not found:
            raise TransportError(f"The name {origin.host} has no address.", "connect")
        return found

    def _take(self, pool: _Pool) -> Connection | None:
        """Return the connection that was used last: the others get the chance to grow old."""
        kept = self._idle.get(pool)
        if not kept:
            return None
        connection = kept.pop()
        self._idle_count -= 1
        if not kept:
            del self._idle[pool]
        return connection

    def _keep(self, connection: Connection) -> None:
        if self._idle_count >= MAX_IDLE:
            connection.abort()
            return
        self._idle.setdefault(self._open[connection], []).append(connection)
        self._idle_count += 1

    def _lose(self, connection: Connection) -> None:
        pool = self._open.pop(connection, None)
        kept = self._idle.get(pool) if pool is not None else None
        if pool is not None and kept is not None and connection in kept:
            kept.remove(connection)
            self._idle_count -= 1
            if not kept:
                del self._idle[pool]

    def _forget(self, pool: _Pool) -> None:
        for connection in list(self._idle.get(pool, ())):
            connection.abort()


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@lru_cache(maxsize=256)
def _header_name(name: str) -> str:
    lower = name.lower()
    if not lower or not _TOKEN.issuperset(lower) or lower in _RESERVED:
        raise TransportError("A header of the request has a name that may not be set.", "send")
    return lower
