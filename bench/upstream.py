"""The provider: the project's own codecs turned round, behind the smallest HTTP server that will do.

python -m bench.upstream PORT
"""

import asyncio
import gc
import sys
import time
from functools import lru_cache

import uvloop

from bench import script

_HEADERS = (
    b"date: Mon, 24 Nov 2025 12:00:00 GMT\r\nserver: bench\r\nx-request-id: req_0123456789abcdef0123456789abcdef\r\n"
    b"x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nx-ratelimit-reset-requests: 6ms\r\n"
    b"strict-transport-security: max-age=31536000; includeSubDomains; preload\r\nx-content-type-options: nosniff\r\n"
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n"
    + _HEADERS
    + b"\r\n"
)
_REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"


@lru_cache
def whole(provider: str, kind: str) -> bytes:
    """Return a whole answer, head and body."""
    text = script.TEXT if kind == "whole" else script.counted(0)
    body = script.codec(provider).encode_reply(script.reply(provider, text))
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%s\r\n%s" % (
        len(body),
        _HEADERS,
        body,
    )


@lru_cache
def stream(provider: str, events: int) -> tuple[bytes, tuple[bytes, ...], bytes]:
    """Return what a stream opens with, a chunk for each of its text events, and its end."""
    encoder = script.codec(provider).stream_encoder()
    opening, chunks, last = bytearray(_STREAM_HEAD), [], bytearray()
    for event in script.stream(provider, events):
        piece = encoder.feed(event)
        if script.STAMP in piece:
            chunks.append(_chunk(piece))
        elif chunks:
            last += piece
        elif piece:
            opening += _chunk(piece)
    last += encoder.close()
    if len(chunks) != events:
        raise AssertionError(f"{provider}: {events} text events were encoded in {len(chunks)} pieces")
    return bytes(opening), tuple(chunks), (_chunk(bytes(last)) if last else b"") + b"0\r\n\r\n"


@lru_cache
def at_once(provider: str, events: int) -> bytes:
    """Return the answer that tells how many messages the call held as a stream of so many text events, all sent at once."""
    encoder = script.codec(provider).stream_encoder()
    spoken = script.spoken(provider, events)
    sent = b"".join([_chunk(piece) for piece in (*map(encoder.feed, spoken), encoder.close()) if piece])
    return _STREAM_HEAD + sent + b"0\r\n\r\n"


def _streams(body: bytes) -> bool:
    """Return whether a call of OpenAI's format asks for a stream."""
    return b'"stream":true' in body or b'"stream": true' in body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """One connection."""

    served = 0

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._chunks: tuple[bytes, ...] = ()
        self._end = b""
        self._next = 0
        self._began = 0.0
        self._period = 0.0

    def connection_made(self, transport):
        self._transport = transport

    def connection_lost(self, _error):
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end]
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        size = head_end + 4 + length
        if len(self._buffer) < size:
            return
        body, self._buffer = self._buffer[head_end + 4 : size], self._buffer[size:]
        self._answer(head.split(b" ", 2)[1].decode(), body)

    def _answer(self, path: str, body: bytes) -> None:
        provider = script.codec_of(path)
        try:
            asked = script.read(body)
        except ValueError:
            self._transport.write(_REFUSAL)
            return
        if asked.kind == "whole":
            self._transport.write(whole(provider, "whole"))
        elif asked.kind == "count":
            number = b"%06d messages" % body.count(b'"role"')
            made = at_once(provider, asked.events) if _streams(body) else whole(provider, "count")
            self._transport.write(made.replace(script.COUNT + b" messages", number, 1))
        else:
            opening, self._chunks, self._end = stream(provider, asked.events)
            self._transport.write(opening)
            self._next = 0
            self._period = asked.period
            # Streams that begin together are spread over the period, as if they had not.
            Upstream.served += 1
            delay = 0 if asked.at_once else self._period * (1 + Upstream.served * 0.618 % 1)
            self._began = self._loop.time() + delay
            self._timer = self._loop.call_at(self._began, self._send)

    def _send(self) -> None:
        chunk = self._chunks[self._next]
        self._next += 1
        at = self._began + self._next * self._period
        if self._next < len(self._chunks):
            self._timer = self._loop.call_at(at, self._send)
        else:
            self._timer = self._loop.call_at(at, self._finish)
        self._transport.write(chunk.replace(script.STAMP, b"%019d" % time.monotonic_ns(), 1))

    def _finish(self) -> None:
        self._timer = None
        self._transport.write(self._end)


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=2048)
    # A pause of its own collector would look like the server's.
    gc.collect()
    gc.freeze()
    gc.disable()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
