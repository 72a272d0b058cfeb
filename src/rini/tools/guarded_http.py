"""The way of the MCP library to servers on the network: its HTTP client, over this server's own Transport.

So every connection that is made, whatever it is made for, is under the same guard on addresses, and every answer has its bounds.
"""

from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from urllib.parse import urljoin

import httpx2

from rini.kit.addresses import AddressError, Origin, parse_url
from rini.kit.http import StreamedResponse, Timeouts, Transport, TransportError
from rini.kit.sse import EventParser, EventTooLargeError
from rini.tools.answer_size import MAX_BYTES, TOO_LARGE, AnswerSize
from rini.tools.server import ToolServer

_BEYOND_THE_LIMIT = 5.0
# For the Transport to say.
_NOT_PASSED_ON = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})
_WITHOUT_CONTENT = (HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT)
_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)


class GuardedHttp(httpx2.AsyncBaseTransport):
    """Carries one exchange with one server. ``give_up`` is told a sentence where nothing good can come any more.

    The library goes on waiting in some of these cases, so whoever runs it must be told. ``last_refusal`` is the sentence on the
    last answer with an error's status and without a message of the protocol, if there was one.
    """

    def __init__(self, transport: Transport, server: ToolServer, give_up: Callable[[str], None]) -> None:
        self._transport = transport
        self._server = server
        self._give_up = give_up
        self._origin = parse_url(server.url).origin
        # Whoever runs this has the time limit. These are for a goodbye that outlasts it.
        limit = server.timeout + _BEYOND_THE_LIMIT
        self._timeouts = Timeouts(limit, limit, limit)
        self._size = AnswerSize()
        self.last_refusal: str | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises httpx2.TransportError."""
        url = str(request.url)
        # Streamable HTTP can do without its GET, and both without their goodbye; all else is what was asked for.
        matters = request.method == "POST" or (request.method == "GET" and self._server.transport == "sse")
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_PASSED_ON}
        try:
            if not self._is_ours(parse_url(url).origin):
                raise AddressError("The server names an address on another host, which is not followed.")
            answer = await self._transport.stream(
                request.method,
                url,
                headers,
                await request.aread() or None,
                trusted=self._server.is_operators,
                timeouts=self._timeouts,
                max_bytes=MAX_BYTES,
            )
        except TransportError as error:
            raise self._failed(_sentence(error), matters=matters) from error
        self._look_at(answer, url, request.method, matters=matters)
        body = self._read(answer, matters=matters)
        if matters and request.method == "GET":
            body = self._watch_endpoint(body, url)
        return httpx2.Response(answer.status, headers=dict(answer.headers), stream=_Body(body, answer))

    def _is_ours(self, origin: Origin) -> bool:
        """Whether headers that are meant for the server may go to ``origin``: its own, or the same host with TLS."""
        plain, secure = Origin("http", origin.host, 80, origin.ip), Origin("https", origin.host, 443, origin.ip)
        return origin == self._origin or (self._origin == plain and origin == secure)

    def _look_at(self, answer: StreamedResponse, url: str, method: str, *, matters: bool) -> None:
        if not matters:
            return
        status = answer.status
        told = f"The server answered {status}{_phrase(status)}"
        if 300 <= status < 400:
            host = self._foreign_host(urljoin(url, answer.headers.get("location", "")))
            if host is not None:
                self._give_up(f"The server redirects to {host}, which is not followed: store that address instead.")
        elif status in _REFUSALS:
            self._give_up(f"{told}: it does not take the connection's headers.")
        elif status >= 400 and (self._server.transport == "sse" or method == "GET"):
            self._give_up(f"{told}.")
        elif status >= 400 and "json" not in answer.headers.get("content-type", ""):
            self.last_refusal = f"{told}."
        elif status < 300:
            kind = answer.headers.get("content-type", "nothing").partition(";")[0].strip().lower()[:100]
            known = status in _WITHOUT_CONTENT or kind in ("application/json", "text/event-stream")
            self.last_refusal = None if known else f"The server answered with {kind}, which is not a message of MCP."

    def _foreign_host(self, url: str) -> str | None:
        try:
            origin = parse_url(url).origin
        except AddressError:
            return "an address that is none"
        return None if self._is_ours(origin) else origin.authority

    async def _read(self, answer: StreamedResponse, *, matters: bool) -> AsyncGenerator[bytes]:
        try:
            while (piece := await answer.read()) is not None:
                self._count(piece, matters=matters)
                yield piece
        except TransportError as error:
            raise self._failed(_sentence(error), matters=matters) from error

    def _count(self, piece: bytes, *, matters: bool) -> None:
        fault = self._size.add(piece)
        if fault is not None:
            raise self._failed(fault, matters=matters)

    async def _watch_endpoint(self, body: AsyncGenerator[bytes], url: str) -> AsyncGenerator[bytes]:
        """Give up where an event stream sends the messages elsewhere; the library would wait then."""
        parser: EventParser | None = EventParser(MAX_BYTES)
        async for piece in body:
            if parser is not None:
                try:
                    endpoints = [event.data for event in parser.feed(piece) if event.event == b"endpoint"]
                except EventTooLargeError:
                    self._give_up(TOO_LARGE)
                    return
                for endpoint in endpoints:
                    parser = None
                    host = self._foreign_host(urljoin(url, endpoint.decode(errors="replace")))
                    if host is not None:
                        self._give_up(f"The server wants its messages sent to {host}, which is not followed.")
            yield piece

    def _failed(self, sentence: str, *, matters: bool) -> httpx2.TransportError:
        if matters:
            self._give_up(sentence)
        return httpx2.ReadError(sentence)


class _Body(httpx2.AsyncByteStream):
    def __init__(self, pieces: AsyncGenerator[bytes], answer: StreamedResponse) -> None:
        self._pieces = pieces
        self._answer = answer

    def __aiter__(self) -> AsyncGenerator[bytes]:
        return self._pieces

    async def aclose(self) -> None:
        await self._answer.close()


def _sentence(error: TransportError) -> str:
    return TOO_LARGE if error.phase == "too_large" else str(error)


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
