"""One HTTP/1.1 connection as a client, and the exchanges (a request and its answer) that follow one another on it.

The bytes are parsed by llhttp (httptools); TLS is OpenSSL between two memory buffers rather than the event loop's, which
costs half. RFC 9112 is the framing; what llhttp's strict mode refuses is refused.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, cast

import httptools

from rini.kit.addresses import IPAddress, Origin
from rini.kit.http_errors import Phase, TransportError
from rini.kit.inflate import InflateError, Inflater

MAX_HEAD_BYTES = 128 * 1024
IDLE_SECONDS = 60.0
"""How long a connection is kept for the next request."""

_HIGH_WATER = 64 * 1024
_PIECE = 128 * 1024
_RECORDS = 64 * 1024
_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305, section 5
_CLOCK_SECONDS = 0.002  # event loops count in whole milliseconds


class Exchange:
    """One request's answer as it comes in.

    A ``whole`` one is ready when it is complete, another one when its head is there.
    """

    __slots__ = (
        "_buffered",
        "_chunks",
        "_connection",
        "_head_bytes",
        "_inflater",
        "_max_bytes",
        "_parser",
        "_size",
        "_until_end",
        "_waiter",
        "begun_at",
        "complete",
        "error",
        "has_head",
        "headers",
        "reusable",
        "status",
        "whole",
    )

    def __init__(self, connection: "Connection", *, whole: bool, max_bytes: int) -> None:
        self.whole = whole
        self.status = 0
        self.headers: dict[str, str] = {}
        self.has_head = False
        self.complete = False
        self.reusable = False
        self.error: TransportError | None = None
        self.begun_at = 0.0
        self._connection = connection
        # Let go at the end: the two know each other.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._size = 0
        self._head_bytes = 0
        self._max_bytes = max_bytes
        self._until_end = False
        self._inflater: Inflater | None = None

    # What the caller awaits. Being cancelled in it ends the connection.

    async def ready(self) -> None:
        """Wait until the answer is ready. Raises TransportError."""
        while not self.complete and (self.whole or not self.has_head):
            if self.error is not None:
                raise self.error
            await self.wait()

    async def read(self) -> bytes | None:
        """Return what came since the last time, waiting for it; ``None`` at the end. Raises TransportError."""
        while not self._chunks:
            if self.error is not None:
                raise self.error
            if self.complete:
                return None
            await self.wait()
        if self._buffered > _HIGH_WATER:
            self._connection.resume(self)
        self._buffered = 0
        return self.take()

    def take(self) -> bytes:
        """Return what came since the last time."""
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def wait(self) -> None:
        """Wait until something happened."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            self._waiter = None

    def cancel(self) -> None:
        """End the connection, unless the answer is complete and the connection no longer this exchange's."""
        if not self.complete and self.error is None:
            self.fail("The answer was closed before its end.", "between_bytes")
            self._connection.abort()

    # What the connection tells.

    @property
    def choked(self) -> bool:
        """Whether the caller should read before more comes in."""
        return not self.whole and self._buffered > _HIGH_WATER

    @property
    def unheard(self) -> bool:
        """Whether not one byte of an answer came."""
        return self._head_bytes == 0

    def feed(self, data: bytes) -> None:
        """Take bytes of the answer."""
        if self._parser is None:
            return
        if not self.has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail("The answer is not HTTP/1.1, or its parts contradict each other.", "protocol")
        if not self.has_head and self._head_bytes > MAX_HEAD_BYTES:
            self.fail(f"The answer's headers are larger than {MAX_HEAD_BYTES} bytes.", "too_large")
        if self.complete or self.error is not None:
            self._parser = None

    def end(self, *, clean: bool, sent: bool) -> None:
        """Take the end of the connection, before or after the whole request was sent."""
        self._parser = None
        if self._until_end and clean:
            self._finish()
        elif self.has_head:
            self.fail("The other side closed the connection in the middle of its answer.", "between_bytes")
        else:
            self.fail("The other side closed the connection before it answered.", "first_byte" if sent else "send")

    def fail(self, message: str, phase: Phase, *, timeout: bool = False) -> None:
        """Take an error, unless the answer is complete or broken already."""
        if not self.complete and self.error is None:
            self.error = TransportError(message, phase, timeout=timeout)

    def wake(self) -> None:
        """Let the caller look."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the parser tells.

    def on_message_begin(self) -> None:
        """Notice a second answer to one request, after which the connection is useless."""
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, but no trailer."""
        if self.has_head:
            return
        key = name.lower().decode("latin-1")
        text = value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Know how the body is cut and coded."""
        assert self._parser is not None
        if self.complete:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers.clear()
            return
        self.has_head = True
        headers = self.headers
        length = headers.get("content-length")
        self._until_end = length is None and "chunked" not in headers.get("transfer-encoding", "").lower()
        if length is not None and int(length) > self._max_bytes:
            self._fail_too_large()
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding in ("gzip", "x-gzip", "deflate"):
            self._inflater = Inflater()
            # Both told of the coded body.
            del headers["content-encoding"]
            headers.pop("content-length", None)
        elif coding not in ("identity", ""):
            self.fail("The answer's content encoding is not one that was asked for.", "protocol")

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if self.complete or self.error is not None:
            return
        if self._inflater is not None:
            try:
                data = self._inflater.feed(data, self._max_bytes - self._size + 1)
            except InflateError:
                self.fail("The answer's compressed body is broken.", "protocol")
                return
            if not data:
                return
        self._size += len(data)
        if self._size > self._max_bytes:
            self._fail_too_large()
            return
        self._buffered += len(data)
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        """Know that all came."""
        assert self._parser is not None
        if self.has_head and not self.complete:
            self._finish()
            self.reusable = self._parser.should_keep_alive()

    def _finish(self) -> None:
        if self._inflater is not None and not self._inflater.complete:
            self.fail("The answer's compressed body is broken.", "protocol")
        if self.error is None:
            self.complete = True

    def _fail_too_large(self) -> None:
        self.fail(f"The answer is larger than {self._max_bytes} bytes.", "too_large")


class Connection(asyncio.Protocol):
    """A connection. It knows of one exchange at a time; without one it is idle, and closes itself after a while.

    ``freed`` is told when it may carry another exchange, ``lost`` when it never will again.
    """

    __slots__ = (
        "_between_bytes",
        "_choked",
        "_due",
        "_exchange",
        "_freed",
        "_incoming",
        "_limit",
        "_loop",
        "_lost",
        "_outgoing",
        "_secured",
        "_since",
        "_timer",
        "_tls",
        "_tls_ended",
        "_transport",
        "_unsent",
        "_writing_paused",
        "closed",
        "origin",
    )

    def __init__(
        self,
        origin: Origin,
        tls: ssl.SSLContext | None,
        freed: "Callable[[Connection], None]",
        lost: "Callable[[Connection], None]",
    ) -> None:
        self.origin = origin
        self.closed = False
        self._freed = freed
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._writing_paused = False
        self._unsent = False
        self._choked = False
        # One timer for all limits of all exchanges: moved only when it would come too late.
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._since = 0.0
        self._limit = 0.0
        self._between_bytes = 0.0
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._tls_ended = False
        self._secured: asyncio.Future[None] | None = None
        if tls is not None:
            self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname=origin.host)

    async def secure(self) -> None:
        """Shake hands, where it is a TLS connection. Raises ssl.SSLError or ConnectionError."""
        if self._tls is None:
            return
        if self.closed:
            raise ConnectionResetError("closed before the handshake")
        self._secured = self._loop.create_future()
        self._shake_hands()
        try:
            await self._secured
        finally:
            self._secured = None

    async def send(
        self, exchange: Exchange, head: bytes, body: bytes, *, first_byte: float, between_bytes: float
    ) -> None:
        """Send a request and wait until ``exchange`` is ready. Raises TransportError."""
        if self.closed:
            exchange.end(clean=False, sent=False)
            await exchange.ready()
        self._exchange = exchange
        self._between_bytes = between_bytes
        self._limit_from_now(first_byte)
        exchange.begun_at = self._since
        if len(body) <= _PIECE:
            self._write(head + body)
        else:
            self._unsent = True
            self._write(head)
            pieces = memoryview(body)
            for start in range(0, len(body), _PIECE):
                while self._writing_paused and not exchange.has_head and exchange.error is None:
                    await exchange.wait()
                if exchange.has_head or exchange.error is not None:
                    break  # an answer before the end of the request, most likely a refusal
                self._write(pieces[start : start + _PIECE])
            else:
                self._unsent = False
        await exchange.ready()

    def resume(self, exchange: Exchange) -> None:
        """Read on for ``exchange``, which was choked."""
        if self._choked and self._exchange is exchange and self._transport is not None:
            self._choked = False
            self._since = self._loop.time()
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, whatever is still to be sent or read."""
        if self._transport is not None:
            self._transport.abort()
        self._ended(clean=False)

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Know the socket, and have the kernel keep it alive: a model may think for minutes behind a NAT."""
        # uvloop's transports are not asyncio's, but have the same methods.
        self._transport = cast("asyncio.Transport", transport)
        found = transport.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self._tls is None:
            self._take(data)
            return
        self._incoming.write(data)
        if self._secured is not None and not self._secured.done():
            self._shake_hands()
            return
        try:
            while not self.closed and (self._incoming.pending or self._tls.pending()):
                clear = self._tls.read(_RECORDS)
                if not clear:
                    self._tls_ended = True
                    break
                self._take(clear)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.abort()
            return
        if self._tls_ended:
            self.abort()
        elif self._outgoing.pending and self._transport is not None and not self.closed:
            self._transport.write(self._outgoing.read())

    def eof_received(self) -> None:
        """Take the other side's end."""
        self._ended(clean=self._tls is None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        self._ended(clean=exc is None and self._tls is None)
        self._transport = None

    def pause_writing(self) -> None:
        """Send no more for now."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Send on."""
        self._writing_paused = False
        if self._exchange is not None:
            self._exchange.wake()

    def _take(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()  # nobody asked
            return
        exchange.feed(data)
        if exchange.complete:
            self._free(exchange)
        elif exchange.error is not None:
            self.abort()
        elif exchange.has_head:
            self._limit_from_now(self._between_bytes)
            if exchange.choked and not self._choked and self._transport is not None:
                self._choked = True
                self._transport.pause_reading()
            if exchange.whole:
                return
        exchange.wake()

    def _free(self, exchange: Exchange) -> None:
        if (
            not exchange.reusable
            or self._unsent
            or self.closed
            or self._transport is None
            or self._transport.get_write_buffer_size()
        ):
            self.abort()
            return
        self._exchange = None
        if self._choked:
            self._choked = False
            self._transport.resume_reading()
        self._limit_from_now(IDLE_SECONDS)
        self._freed(self)

    def _ended(self, *, clean: bool) -> None:
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.end(clean=clean or self._tls_ended, sent=not self._unsent)
            exchange.wake()
        if self._secured is not None and not self._secured.done():
            self._secured.set_exception(ConnectionResetError("closed in the handshake"))
        self._lost(self)

    def _shake_hands(self) -> None:
        assert self._tls is not None
        assert self._secured is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            if not self._secured.done():
                self._secured.set_exception(error)
        else:
            if not self._secured.done():
                self._secured.set_result(None)
        # A refused certificate is told to the other side, too.
        if self._outgoing.pending and self._transport is not None:
            self._transport.write(self._outgoing.read())

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport is None or self.closed:
            return
        if self._tls is None:
            self._transport.write(data)
            return
        left = memoryview(data)
        try:
            while left:
                left = left[self._tls.write(left) :]
        except ssl.SSLError:
            self.abort()
            return
        self._transport.write(self._outgoing.read())

    def _limit_from_now(self, limit: float) -> None:
        self._since = self._loop.time()
        self._limit = limit
        due = self._since + limit
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._look_at_clock)
            self._due = due
        elif due < self._due:
            self._timer.cancel()
            self._timer = self._loop.call_at(due, self._look_at_clock)
            self._due = due

    def _look_at_clock(self) -> None:
        now = self._loop.time()
        if self._choked:
            self._since = now  # the caller is the slow one
        self._due = self._since + self._limit
        if self._due > now + _CLOCK_SECONDS:
            self._timer = self._loop.call_at(self._due, self._look_at_clock)
            return
        self._timer = None
        exchange = self._exchange
        if exchange is not None:
            if exchange.has_head:
                exchange.fail("The answer stopped in its middle for too long.", "between_bytes", timeout=True)
            elif self._unsent or (self._transport is not None and self._transport.get_write_buffer_size()):
                exchange.fail("The other side did not take the request in time.", "send", timeout=True)
            else:
                exchange.fail("The other side did not answer in time.", "first_byte", timeout=True)
        self.abort()


async def connect(
    origin: Origin,
    addresses: Sequence[IPAddress],
    tls: ssl.SSLContext | None,
    *,
    freed: Callable[[Connection], None],
    lost: Callable[[Connection], None],
) -> Connection:
    """Return a connection to the first of ``addresses`` that takes it; TLS is for ``origin``'s host.

    Raises TransportError. Being cancelled ends whatever was begun.
    """

    async def attempt(address: IPAddress) -> Connection:
        _, found = await asyncio.get_running_loop().create_connection(
            lambda: Connection(origin, tls, freed, lost), str(address), origin.port
        )
        return found

    connection: Connection | None = None
    try:
        connection = await _first(attempt, addresses)
        await connection.secure()
    except ssl.SSLCertVerificationError as error:
        raise TransportError(
            f"The TLS certificate of {origin.host} is not valid: {error.verify_message}.", "connect"
        ) from error
    except ssl.SSLError as error:
        raise TransportError(f"{origin.host} and this server found no way to speak TLS.", "connect") from error
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else "it was closed"
        raise TransportError(
            f"No connection to {origin.host} could be made: {why}.", "connect", timeout=isinstance(error, TimeoutError)
        ) from error
    else:
        made, connection = connection, None
        return made
    finally:
        if connection is not None:
            connection.abort()


async def _first(
    attempt: Callable[[IPAddress], Coroutine[Any, Any, Connection]], addresses: Sequence[IPAddress]
) -> Connection:
    """Try the addresses one after the other, the next one when the last failed or is slow (RFC 8305). Raises OSError."""
    if len(addresses) == 1:
        return await attempt(addresses[0])
    left = list(addresses)
    pending: set[asyncio.Task[Connection]] = set()
    error: BaseException | None = None
    try:
        while left or pending:
            if left:
                pending.add(asyncio.create_task(attempt(left.pop(0))))
            done, pending = await asyncio.wait(
                pending, timeout=_NEXT_ADDRESS_SECONDS if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    pending |= done - {task}
                    return task.result()
    finally:
        for task in pending:
            task.add_done_callback(_discard)
            task.cancel()
    raise error or OSError("no address")


def _discard(task: "asyncio.Task[Connection]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


def request_head(method: str, origin: Origin, target: str, headers: Mapping[str, str], length: int | None) -> bytes:
    """Return a request's first lines. Raises ValueError when a header holds what no header may."""
    lines = [f"{method} {target} HTTP/1.1", f"host: {origin.authority}"]
    if length is not None:
        lines.append(f"content-length: {length}")
    lines.extend([f"{name}: {value}" for name, value in headers.items()])
    head = "\r\n".join(lines)
    # One look at all of it: a line break too many would begin a header, or a request, of somebody's own.
    if head.count("\n") >= len(lines) or head.count("\r") >= len(lines) or "\x00" in head:
        raise ValueError("a header holds a line break")
    return (head + "\r\n\r\n").encode("latin-1")
