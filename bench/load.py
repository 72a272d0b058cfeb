"""The load: raw connections with requests made beforehand, cheap enough to be no limit. Every answer is checked."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench import script

LONGEST_SECONDS = 60.0
SETTLE_SECONDS = 0.02

Check = Callable[[bytes, bytes], str | None]
"""Takes an answer's head and body and returns what is wrong with it."""


class WrongAnswersError(Exception):
    """Answers were not what they should be: there is no figure."""


def post(path: str, body: object, token: str = "bench") -> bytes:
    """Return a request's bytes."""
    data = json.dumps(body, ensure_ascii=False).encode()
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\naccept: */*\r\n"
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


class _Whole(asyncio.Protocol):
    """A connection that sends one request after the other and checks each answer."""

    def __init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.errors: list[str] = []
        self.answered = 0
        self.size = 0
        self._buffer = b""
        self._needed = 0
        self._head_end = 0

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
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if not self._needed:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = buffer[:end].lower()
            at = head.find(b"content-length:")
            if at < 0:
                self.errors.append(f"an answer without a length: {head!r}")
                self._end()
                return
            self._head_end = end + 4
            self._needed = self._head_end + int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(buffer) < self._needed:
            return
        wrong = self._check(buffer[: self._head_end], buffer[self._head_end :])
        if wrong:
            self.errors.append(wrong)
        self.answered += 1
        self.size = len(buffer) - self._head_end
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
    port: int, requests: Sequence[bytes], concurrency: int, check: Check
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Open connections; what is yielded sends all requests over them and returns the size of the last answer's body.

    Raises WrongAnswersError.
    """
    async with _connections(port, concurrency, _Whole) as clients:

        async def run() -> int:
            left = iter(requests)
            for client in clients:
                client.run(left, check)
            await _all(clients)
            errors = [error for client in clients for error in client.errors]
            answered = sum(client.answered for client in clients)
            if errors or answered != len(requests):
                first = errors[0] if errors else "some are missing"
                raise WrongAnswersError(f"{len(errors)} of {len(requests)} answers are wrong: {first}")
            return clients[0].size

        yield run


@dataclass
class Streamed:
    """What a batch of streams was like. Lateness is in seconds, one for each event."""

    events: int = 0
    pieces: int = 0
    lateness: list[float] = field(default_factory=list)


class _Stream(asyncio.Protocol):
    """A connection that reads one stream; what came is looked at when it is over."""

    def __init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.pieces: list[tuple[int, bytes]] = []
        self.complete = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.monotonic_ns(), data))
        if data.endswith(b"0\r\n\r\n"):
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
            client.transport.write(self._request)
        await _all(self._clients)

    def judge(self, events: int, *, native: bool) -> Streamed:
        """Return what came. ``native``: the answers are Rini's own, not the upstream's bytes. Raises WrongAnswersError."""
        found = Streamed()
        errors = [error for client in self._clients if (error := _judge(client, events, native, found)) is not None]
        if errors:
            raise WrongAnswersError(f"{len(errors)} of {len(self._clients)} streams are wrong: {errors[0]}")
        return found


@asynccontextmanager
async def streams(port: int, request: bytes, concurrency: int) -> AsyncIterator[Streams]:
    """Open connections for streams."""
    async with _connections(port, concurrency, _Stream) as clients:
        yield Streams(clients, request)


def _judge(client: _Stream, events: int, native: bool, found: Streamed) -> str | None:
    """Check one stream to its last byte: every event is there once, in its order, and the answer is whole."""
    raw = b"".join(data for _, data in client.pieces)
    if not raw.startswith(b"HTTP/1.1 200 "):
        return f"{raw[:300]!r}"
    if not client.complete:
        return "the stream broke off"
    seen = 0
    text = []
    end = 0
    position = 0
    at = iter(client.pieces)
    arrived = 0
    for match in script.SENT.finditer(raw):
        if seen == events:
            break
        stamp, index = match.groups()
        if int(index) != seen:
            return f"event {seen} is missing; {int(index)} came instead"
        position = match.end()
        while end < position:
            arrived, data = next(at)
            end += len(data)
        found.lateness.append((arrived - int(stamp)) / 1e9)
        text.append(match.group())
        seen += 1
    if seen != events:
        return f"{events - seen} events are missing"
    found.events += seen
    found.pieces += len(client.pieces)
    if native:
        answer = re.search(rb'event: done\ndata: \{"response_text":"([^"]*)"', raw[position:])
        if answer is None or answer[1] != b"".join(text):
            return f"the end does not hold the whole text: {raw[position:][:300]!r}"
    return None


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


async def _all(clients: list) -> None:
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            for client in clients:
                await client.done
    except TimeoutError:
        raise WrongAnswersError(f"no end within {LONGEST_SECONDS:.0f} s") from None
