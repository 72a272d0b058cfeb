"""The load: raw connections with requests made beforehand, cheap enough to be no limit. Every answer is checked."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from bench import script

LONGEST_SECONDS = 60.0
SETTLE_SECONDS = 0.02
_LAST_CHUNK = b"0\r\n\r\n"
_UNTIL_LAST_CHUNK = -1

Check = Callable[[bytes, bytes], str | None]
"""Takes an answer's head and body and returns what is wrong with it."""

End = Callable[[bytes, bytes], str | None]
"""Takes what a stream sent after its last text event, and its text, and returns what is wrong with its end."""


class WrongAnswersError(Exception):
    """Answers were not what they should be: there is no figure."""


def post(path: str, body: object, token: str = "bench", headers: Mapping[str, str] | None = None) -> bytes:
    """Return a request's bytes."""
    data = json.dumps(body, ensure_ascii=False).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\naccept: */*\r\n{more}"
        f"content-type: application/json\r\nauthorization: Bearer {token}\r\ncontent-length: {len(data)}\r\n\r\n"
    ).encode() + data


def get(path: str, token: str) -> bytes:
    """Return the bytes of a request without a body."""
    return (
        f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    )


def holds(text: bytes) -> Check:
    """Return a check for status 200 and for ``text`` in the body."""

    def check(head: bytes, body: bytes) -> str | None:
        if not head.startswith(b"HTTP/1.1 200 "):
            return f"{head[:40]!r} {body[:300]!r}"
        return None if text in body else f"the text is missing in {body[:300]!r}"

    return check


def has_length(length: int) -> Check:
    """Return a check for status 200 and for the body's length."""

    def check(head: bytes, body: bytes) -> str | None:
        return None if head.startswith(b"HTTP/1.1 200 ") and len(body) == length else f"{head[:40]!r} {len(body)} bytes"

    return check


def native_end(rest: bytes, text: bytes) -> str | None:
    """Check that Rini's own event ``done`` holds the whole text."""
    answer = re.search(rb'event: done\ndata: \{"response_text":"([^"]*)"', rest)
    if answer is not None and answer[1] == text:
        return None
    return f"the end does not hold the whole text: {rest[:300]!r}"


def openai_end(rest: bytes, text: bytes) -> str | None:
    """Check that a stream of OpenAI's chat format says why it ended, and that it did."""
    if rest.rstrip().endswith(b"data: [DONE]"):
        return openai_reason(rest, text)
    return f"the end lacks [DONE]: {rest[-300:]!r}"


def openai_reason(rest: bytes, _text: bytes) -> str | None:
    """Check that a stream of OpenAI's chat format says why it ended."""
    return None if b'"finish_reason":"stop"' in rest else f"the end lacks its reason: {rest[-300:]!r}"


def any_end(_rest: bytes, _text: bytes) -> str | None:
    """Take every end: the upstream's own bytes in whichever format."""
    return None


class _Whole(asyncio.Protocol):
    """A connection that sends one request after the other and checks each answer."""

    def __init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.errors: list[str] = []
        self.seconds: list[float] = []
        self.body = b""
        self._buffer = b""
        self._needed = 0
        self._head_end = 0
        self._sent = 0

    def connection_made(self, transport):
        self.transport = transport

    def run(self, requests: Iterator[bytes], check: Check) -> None:
        self._requests = requests
        self._check = check
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._end()
        else:
            self._sent = time.monotonic_ns()
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if not self._needed:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = buffer[:end].lower()
            at = head.find(b"content-length:")
            if at >= 0:
                self._needed = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
            elif b"transfer-encoding: chunked" in head:
                self._needed = _UNTIL_LAST_CHUNK
            else:
                self.errors.append(f"an answer without a length: {head!r}")
                self._end()
                return
            self._head_end = end + 4
        chunked = self._needed == _UNTIL_LAST_CHUNK
        if not buffer.endswith(_LAST_CHUNK) if chunked else len(buffer) < self._needed:
            return
        self.seconds.append((time.monotonic_ns() - self._sent) / 1e9)
        head, body = buffer[: self._head_end], buffer[self._head_end :]
        if chunked:
            body = b"".join(data for _, data in _unchunked([(0, body)]))
        wrong = self._check(head, body)
        if wrong:
            self.errors.append(wrong)
        self.body = body
        self._buffer = b""
        self._needed = 0
        self._send()

    def connection_lost(self, error):
        if not self.done.done():
            self.errors.append(f"the connection was closed: {error!r}")
            self._end()

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


@asynccontextmanager
async def whole(
    port: int, requests: Sequence[bytes], concurrency: int, check: Check, latencies: list[float] | None = None
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Open connections; what is yielded sends all requests over them and returns the size of the last answer's body.

    The seconds that each answer took are added to ``latencies``. Raises WrongAnswersError.
    """
    async with _connections(port, concurrency, _Whole) as clients:

        async def run() -> int:
            left = iter(requests)
            for client in clients:
                client.run(left, check)
            taken = await _answered(clients, len(requests))
            if latencies is not None:
                latencies.extend(taken)
            return len(clients[0].body)

        yield run


@asynccontextmanager
async def each(
    port: int, requests: Sequence[bytes], check: Check, longest: float
) -> AsyncIterator[Callable[[], Awaitable[list[bytes]]]]:
    """Open a connection for each request; what is yielded sends all of them at once and returns the answers' bodies.

    They have ``longest`` seconds. Raises WrongAnswersError.
    """
    async with _connections(port, len(requests), _Whole) as clients:

        async def run() -> list[bytes]:
            for client, request in zip(clients, requests, strict=True):
                client.run(iter((request,)), check)
            await _answered(clients, len(requests), longest)
            return [client.body for client in clients]

        yield run


async def _answered(clients: list[_Whole], wanted: int, longest: float = LONGEST_SECONDS) -> list[float]:
    """Wait for all answers and return the seconds that each took. Raises WrongAnswersError."""
    await _all(clients, longest)
    errors = [error for client in clients for error in client.errors]
    taken = [seconds for client in clients for seconds in client.seconds]
    if errors or len(taken) != wanted:
        first = errors[0] if errors else "some are missing"
        raise WrongAnswersError(f"{len(errors)} of {wanted} answers are wrong: {first}")
    return taken


@dataclass
class Streamed:
    """What a batch of streams was like. All times are in seconds.

    ``lateness`` has one for each event, from the upstream's sending to the client's reading; ``first`` one for each stream, from its
    request to its first event; ``gaps`` one between every two events that follow each other.
    """

    events: int = 0
    pieces: int = 0
    lateness: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)


class _Stream(asyncio.Protocol):
    """A connection that reads one stream; what came is looked at when it is over."""

    def __init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.pieces: list[tuple[int, bytes]] = []
        self.sent = 0
        self.complete = False
        self._tail = b""

    def connection_made(self, transport):
        self.transport = transport

    def ask(self, request: bytes) -> None:
        self.sent = time.monotonic_ns()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.monotonic_ns(), data))
        self._tail = (self._tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        if self._tail == _LAST_CHUNK:
            self.complete = True
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)

    def connection_lost(self, _error):
        if not self.done.done():
            self.done.set_result(None)


class Streams:
    """A batch of connections that read one stream each."""

    def __init__(self, clients: list[_Stream], request: bytes) -> None:
        self._clients = clients
        self._request = request

    async def run(self) -> None:
        """Ask for all streams at once and read them to their ends. Raises WrongAnswersError when one has none."""
        for client in self._clients:
            client.ask(self._request)
        await _all(self._clients)

    def judge(self, events: int, end: End) -> Streamed:
        """Return what came, every event and each stream's ``end`` checked. Raises WrongAnswersError."""
        found = Streamed()
        errors = [error for client in self._clients if (error := _judge(client, events, end, found)) is not None]
        if errors:
            raise WrongAnswersError(f"{len(errors)} of {len(self._clients)} streams are wrong: {errors[0]}")
        return found


@asynccontextmanager
async def streams(port: int, request: bytes, concurrency: int) -> AsyncIterator[Streams]:
    """Open connections for streams."""
    async with _connections(port, concurrency, _Stream) as clients:
        yield Streams(clients, request)


def _judge(client: _Stream, events: int, end: End, found: Streamed) -> str | None:
    """Check one stream to its last byte: every event is there once, in its order, and the answer is whole."""
    raw = b"".join(data for _, data in client.pieces)
    if not raw.startswith(b"HTTP/1.1 200 "):
        return f"{raw[:300]!r}"
    if not client.complete:
        return "the stream broke off"
    pieces = _unchunked(_bodies(client.pieces))
    raw = b"".join(data for _, data in pieces)
    text = []
    arrivals: list[int] = []
    held = position = moment = 0
    at = iter(pieces)
    for match in script.SENT.finditer(raw):
        if len(text) == events:
            break
        stamp, index = match.groups()
        if int(index) != len(text):
            return f"event {len(text)} is missing; {int(index)} came instead"
        position = match.end()
        while held < position:
            moment, data = next(at)
            held += len(data)
        found.lateness.append((moment - int(stamp)) / 1e9)
        arrivals.append(moment)
        text.append(match.group())
    if len(text) != events:
        return f"{events - len(text)} events are missing"
    found.events += events
    found.pieces += len(client.pieces)
    found.first.append((arrivals[0] - client.sent) / 1e9)
    found.gaps.extend((after - before) / 1e9 for before, after in pairwise(arrivals))
    return end(raw[position:], b"".join(text))


def _bodies(pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return what came without the answer's head."""
    head = b""
    for place, (moment, data) in enumerate(pieces):
        head += data
        end = head.find(b"\r\n\r\n")
        if end >= 0:
            return [(moment, head[end + 4 :]), *pieces[place + 1 :]]
    return []


def _unchunked(pieces: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return what came without the framing of chunks, each part with the moment at which it came."""
    plain: list[tuple[int, bytes]] = []
    line = b""
    left = 0
    for moment, data in pieces:
        rest = data
        while rest:
            if left > 2:
                part, rest = rest[: left - 2], rest[left - 2 :]
                plain.append((moment, part))
                left -= len(part)
            elif left:  # the end of line behind a chunk
                taken = min(left, len(rest))
                rest, left = rest[taken:], left - taken
            else:
                first, ended, rest = rest.partition(b"\n")
                line += first
                if ended:
                    size = int(line.partition(b";")[0], 16)
                    if not size:
                        return plain
                    line, left = b"", size + 2
    return plain


@asynccontextmanager
async def _connections(port: int, count: int, protocol: type) -> AsyncIterator[list]:
    loop = asyncio.get_running_loop()
    clients = []
    try:
        for _ in range(count):
            _, client = await loop.create_connection(protocol, "127.0.0.1", port)
            clients.append(client)
        await asyncio.sleep(SETTLE_SECONDS)
        yield clients
    finally:
        for client in clients:
            client.done.cancel()
            client.transport.abort()
        await asyncio.sleep(0)


async def _all(clients: list, longest: float = LONGEST_SECONDS) -> None:
    try:
        async with asyncio.timeout(longest):
            for client in clients:
                await client.done
    except TimeoutError:
        raise WrongAnswersError(f"no end within {longest:.0f} s") from None
