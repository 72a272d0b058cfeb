"""A hostile or clumsy client on a raw socket."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from rini.cli import connection
from rini.cli.connection import ClientConnection
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Upstream, openai_chunks

HOST = b"Host: x\r\n"
JSON = b"Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Server]:
    """A server whose memory and files only this module uses."""
    running = Server(tmp_path_factory.mktemp("outside"), {}, upstream.url).start()
    yield running
    running.stop()


def _send(server: Server, *pieces: bytes, seconds: float = 3) -> bytes:
    """Send all, whatever the server says, and return what it said until it closed or fell silent."""
    got = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
            while data := client.recv(65536):
                got += data
        except OSError:
            pass
    return got


def _memory(server: Server) -> int:
    """Return the server's memory in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def _files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def _me(user: Client, **headers: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET /users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n{lines}\r\n".encode()


@pytest.mark.parametrize(
    "head",
    [
        (b"GET / HTTP/1.1\r\n" + HOST, b"X-A: " + b"a" * 60_000 + b"\r\n"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: ", b"a" * 60_000),
        (b"GET /", b"a" * 60_000),
    ],
    ids=["headers", "one header", "path"],
)
def test_an_endless_head_is_refused(lone: Server, head: tuple[bytes, bytes]):
    before = _memory(lone)
    _send(lone, head[0], *[head[1]] * 1000)
    assert _memory(lone) - before < 10


def test_many_requests_at_once_do_not_pile_up(lone: Server):
    before = _memory(lone)
    _send(lone, (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 100_000)
    assert _memory(lone) - before < 20
    assert '"level":"error"' not in lone.logged()


def test_requests_in_a_row_are_answered_in_their_order(lone: Server):
    user = lone.user()
    ask = json.dumps({"text": "a", "provider": "openai", "model": "m"}).encode()
    post = b"POST /llm/text-completion/ HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: %d\r\n" % len(ask)
    with_token = post + f"Authorization: Bearer {user.token}\r\n\r\n".encode() + ask
    got = _send(lone, with_token, post + b"\r\n" + ask, _me(user), _me(user, Connection="close"))
    assert [part[:3] for part in got.split(b"HTTP/1.1 ")[1:]] == [b"200", b"401", b"200", b"200"]


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


def _with_connection(talk: Talk) -> bytes:
    """Talk to a server of this process, whose limits a test may change."""

    async def app(scope, receive, send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def main() -> bytes:
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_keep_alive=1)
        config.load()
        state = uvicorn.server.ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(config, state, {}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            return await asyncio.wait_for(talk(reader, writer), 8)
        finally:
            writer.close()
            server.close()
            await asyncio.sleep(0.05)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b"408"),
        (b"GET / HTTP/1.1\r\nHos", b"408"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX", b"200"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", b""),
    ],
    ids=["nothing", "half a head", "half a second head", "half a body"],
)
def test_who_dawdles_is_cut_off(monkeypatch: pytest.MonkeyPatch, sent: bytes, status: bytes):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.3)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(sent)
        return await reader.read()

    assert _with_connection(talk)[9:12] == status


def test_slow_bytes_and_large_bodies_are_served(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.3)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"\r\n")
        for _ in range(5):
            await asyncio.sleep(0.1)
            writer.write(b"a")
        got = await reader.readuntil(b"\r\n\r\n")
        body = b"b" * 900_000
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            got += await reader.readuntil(b"\r\n\r\n")
        return got

    assert _with_connection(talk).count(b"200 OK") == 4


@pytest.mark.parametrize("path", [b"/sessions/", b"/api-keys/", b"/llm/text-completion/"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_strangers_large_body_is_not_parsed(lone: Server, path: bytes, chunked: bool):
    body = b"[" + b"{}," * 4_000_000 + b"{}]"
    before = _memory(lone)
    length = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % len(body)
    data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    head = b"POST " + path + b" HTTP/1.1\r\nConnection: close\r\n" + HOST + JSON + length + b"\r\n"
    got = _send(lone, head, data)
    assert got.startswith(b"HTTP/1.1 401 "), got[:100]
    assert b'"not_authenticated"' in got
    assert _memory(lone) - before < 60


def test_a_refused_body_is_answered_readably(lone: Server):
    """Also to a client that reads the answer only after it sent everything, and closes then."""
    user = lone.user()
    body = b" " * (25 * 1024 * 1024)
    for end in ("close", "keep-alive"):
        head = f"POST /sessions/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\nConnection: {end}\r\n".encode()
        got = _send(lone, head + JSON + b"Content-Length: %d\r\n\r\n" % len(body), body, _me(user, Connection="close"))
        assert got.startswith(b"HTTP/1.1 413 "), got[:100]
        assert b'"body_too_large"' in got
        assert got.count(b"HTTP/1.1 200 OK") == (end == "keep-alive")


def test_what_is_refused_before_its_body_is_read_is_answered_readably(lone: Server):
    user = lone.user()
    body = b" " * (25 * 1024 * 1024)
    head = f"POST /sessions/import?format=wrong HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n".encode()
    for end in (b"close", b"keep-alive"):
        told = b"Connection: %s\r\nContent-Length: %d\r\n\r\n" % (end, len(body))
        got = _send(lone, head + told, body, _me(user, Connection="close"))
        assert got.startswith(b"HTTP/1.1 422 "), got[:100]
        assert b'"format' in got or b"format:" in got
        assert got.count(b"HTTP/1.1 200 OK") == (end == b"keep-alive")


@pytest.mark.parametrize("path", [b"/sessions/", b"/llm/text-completion/"])
def test_a_body_too_large_has_one_code_however_it_comes(lone: Server, path: bytes):
    user = lone.user()
    head = b"POST " + path + f" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n".encode()
    piece = b"%x\r\n%s\r\n" % (2**20, b" " * 2**20)
    got = _send(
        lone,
        head + JSON + b"Transfer-Encoding: chunked\r\n\r\n",
        piece * 22,
        b"0\r\n\r\n",
        _me(user, Connection="close"),
    )
    assert got.startswith(b"HTTP/1.1 413 "), got[:100]
    assert b'"body_too_large"' in got
    assert b"HTTP/1.1 200 OK" in got


def test_who_does_not_read_costs_no_memory(lone: Server, upstream: Upstream):
    user = lone.user()
    block = openai_chunks("x" * 1000, finish=None)[1] * 60
    sent = 0

    async def endless(conversation: Conversation) -> None:
        nonlocal sent
        await conversation.head()
        while True:
            await conversation.chunk(block)
            sent += len(block)

    upstream.scripts[user.provider_key] = endless
    before = _memory(lone)
    readers = [user.open_stream() for _ in range(5)]
    now, last = 0, -1
    until = time.monotonic() + 8
    while now != last and time.monotonic() < until:
        last = sent
        time.sleep(0.5)
        now = sent
    assert now == last, "the provider is still read"
    assert user.get("/healthz").status == 200
    assert _memory(lone) - before < 60
    for reader in readers:
        reader.close()


def test_three_hundred_who_leave_at_once(lone: Server, upstream: Upstream):
    user = lone.user()
    here = 0

    async def hold(conversation: Conversation) -> None:
        nonlocal here
        here += 1
        await conversation.head()
        try:
            await conversation.chunk(openai_chunks("hi", finish=None)[1])
            await conversation.reader.read()
        finally:
            here -= 1

    upstream.scripts[user.provider_key] = hold
    user.get("/healthz")
    before = _files(lone)
    readers = [user.open_stream() for _ in range(300)]
    assert here == 300
    for reader in readers:
        reader.close()
    _until(lambda: here == 0 and _files(lone) <= before + 2)
    metrics = user.get("/metrics").body
    assert b"rini_streams_open 0.0" in metrics


def _until(what: Callable[[], bool], seconds: float = 8) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
