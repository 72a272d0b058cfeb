"""What the bench takes for a right answer: a figure of wrong ones would be worth nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from bench import load

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b'data: {"finish_reason":"stop"}\n\ndata: [DONE]\n\n'
BODY = b"five and seven"


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def events(*numbers: int) -> list[bytes]:
    return [b'data: {"content":"%019d-%06d "}\n\n' % (7, number) for number in numbers]


def answering(pieces: list[bytes], then: Callable[[int], Awaitable[object]]) -> object:
    """Run ``then`` with the port of a server that answers one request with ``pieces``, and closes."""

    async def run() -> object:
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            writer.close()
            with suppress(ConnectionError):  # the client has what it wanted
                await writer.wait_closed()
            served.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            try:
                return await then(server.sockets[0].getsockname()[1])
            finally:
                await served.wait()

    return asyncio.run(run())


def streamed(*parts: bytes, cut: int = 0, piece: int = 0) -> load.Streamed:
    raw = HEAD + chunked(*parts)
    raw = raw[: len(raw) - cut]
    pieces = [raw[start : start + piece] for start in range(0, len(raw), piece)] if piece else [raw]

    async def ask(port: int) -> load.Streamed:
        async with load.streams(port, b"GET / HTTP/1.1\r\n\r\n", 1) as batch:
            await batch.run()
            return batch.judge(3, load.openai_end)

    return answering(pieces, ask)  # type: ignore[return-value]


@pytest.mark.parametrize("piece", [0, 1, 7, 64])
def test_a_stream_is_right_however_it_is_cut(piece):
    found = streamed(*events(0, 1, 2), END, piece=piece)
    assert found.events == 3
    assert len(found.gaps) == 2
    assert len(found.first) == 1


def test_an_event_may_be_spread_over_chunks():
    whole = b"".join(events(0, 1, 2)) + END
    assert streamed(*(whole[start : start + 11] for start in range(0, len(whole), 11))).events == 3


@pytest.mark.parametrize(
    ("parts", "cut", "why"),
    [
        ([*events(0, 2), END], 0, "event 1 is missing"),
        ([*events(0, 1), END], 0, "1 events are missing"),
        ([*events(1, 0, 2), END], 0, "event 0 is missing"),
        ([*events(0, 1, 2), END], 5, "broke off"),
        ([*events(0, 1, 2), b"data: [DONE]\n\n"], 0, "lacks its reason"),
        ([*events(0, 1, 2), b'data: {"finish_reason":"stop"}\n\n'], 0, r"lacks \[DONE\]"),
    ],
)
def test_a_stream_that_lacks_anything_is_wrong(parts, cut, why):
    with pytest.raises(load.WrongAnswersError, match=why):
        streamed(*parts, cut=cut)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n" + BODY,
        HEAD + chunked(BODY[:5], BODY[5:]),
    ],
)
def test_a_whole_answer_may_come_with_its_length_or_in_chunks(raw):
    latencies: list[float] = []

    async def ask(port: int) -> int:
        async with load.whole(port, [b"GET / HTTP/1.1\r\n\r\n"], 1, load.holds(BODY), latencies) as run:
            return await run()

    assert answering([raw[:60], raw[60:]], ask) == len(BODY)
    assert len(latencies) == 1


def test_a_refusal_is_wrong():
    async def ask(port: int) -> int:
        async with load.whole(port, [b"GET / HTTP/1.1\r\n\r\n"], 1, load.holds(BODY)) as run:
            return await run()

    with pytest.raises(load.WrongAnswersError, match="429"):
        answering([b"HTTP/1.1 429 No\r\ncontent-length: 14\r\n\r\n" + BODY], ask)
