import asyncio
import contextlib
import gc
import gzip
import os
import random
import socket
import struct
import time
import zlib

import pytest
import uvloop

from rini.kit import http, http_connection
from rini.kit.http import AddressError, Timeouts, Transport, TransportError
from tests.kit.upstream import Certificates, Upstream, answer, says, silent

KEY = {"authorization": "Bearer sk-secret", "content-type": "application/json"}
BODY = b'{"model":"m"}'
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
QUICK = Timeouts(connect=0.2, first_byte=0.2, between_bytes=0.2)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request):
    return request.param


@pytest.fixture(scope="module", autouse=True)
def _no_certificates_of_the_system(tmp_path_factory):
    """Each transport would read all of them, for 30 ms, and nobody here has one that they vouch for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(tmp_path_factory.mktemp("none") / "none.pem"))
        yield


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("tls"), "127.0.0.1", "llm.example")


@pytest.fixture(params=["plain", "tls"])
def secured(request, certificates):
    """The server's and the client's side of TLS, or of none."""
    return (certificates.server, certificates.client) if request.param == "tls" else (None, None)


async def failure(awaitable):
    with pytest.raises(TransportError) as caught:
        await awaitable
    assert "secret" not in str(caught.value)
    assert "/v1" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return caught.value.phase, caught.value.timeout


async def read_all(response):
    found = b""
    while (data := await response.read()) is not None:
        assert data
        found += data
    return found


def post(transport, upstream, path="/v1/chat?key=secret", body=BODY, **options):
    return transport.post(upstream.url + path, KEY, body, trusted=True, **options)


def stream(transport, upstream, path="/v1/chat?key=secret", body=BODY, **options):
    return transport.post_stream(upstream.url + path, KEY, body, trusted=True, **options)


async def whole_or_streamed(transport, upstream, way, **options):
    """Return the body of an answer, by either way."""
    if way == "post":
        return (await post(transport, upstream, **options)).body
    async with await stream(transport, upstream, **options) as response:
        return await read_all(response)


def test_a_whole_answer(run, secured):
    async def scenario():
        async with Upstream(says(answer(b"hello", "201 Created", X_Request_Id="7", A="1")), tls=secured[0]) as upstream:
            async with Transport(tls=secured[1]) as transport:
                response = await post(transport, upstream)
            assert (response.status, response.body) == (201, b"hello")
            assert response.headers == {"content-length": "5", "x-request-id": "7", "a": "1"}
            [request] = upstream.requests
            assert request.line == "POST /v1/chat?key=secret HTTP/1.1"
            assert request.body == BODY
            assert request.headers == {
                "host": f"127.0.0.1:{upstream.port}",
                "content-length": str(len(BODY)),
                "user-agent": "rini",
                "accept-encoding": "gzip, deflate",
                **KEY,
            }

    run(scenario())


def test_get_and_empty_bodies(run):
    async def scenario():
        async with Upstream(says(b"HTTP/1.1 204 No Content\r\n\r\n")) as upstream, Transport() as transport:
            response = await transport.get(upstream.url, {"User-Agent": "me"}, trusted=True)
            assert (response.status, response.body) == (204, b"")
            await post(transport, upstream, body=b"")
            first, second = upstream.requests
            assert first.line == "GET / HTTP/1.1"
            assert first.headers["user-agent"] == "me"
            assert "content-length" not in first.headers
            assert second.headers["content-length"] == "0"
            assert second.connection == 1

    run(scenario())


def test_chunks_come_as_they_are_sent(run, secured):
    async def scenario():
        turn = asyncio.Event()

        async def script(connection, request):
            connection.write(CHUNKED)
            for word in (b"one", b"two", b"three"):
                await turn.wait()
                turn.clear()
                connection.write(b"%x\r\n%b\r\n" % (len(word), word))
            await turn.wait()
            connection.write(b"0\r\nx-trailer: 1\r\n\r\n")

        async with Upstream(script, tls=secured[0]) as upstream, Transport(tls=secured[1]) as transport:
            async with await stream(transport, upstream) as response:
                assert response.status == 200
                assert response.headers == {"transfer-encoding": "chunked"}
                assert upstream.requests[0].headers["accept-encoding"] == "identity"
                for word in (b"one", b"two", b"three", None):
                    turn.set()
                    assert await response.read() == word
                assert await response.read() is None
            assert (await asyncio.wait_for(stream(transport, upstream), 1)).status == 200
            assert len(upstream.connections) == 1

    run(scenario())


def test_answers_cut_anywhere(run):
    cuts = random.Random(7)
    body = bytes(cuts.randbytes(5000))
    plain = answer(body, X="y")
    chunked = (
        CHUNKED
        + b"".join(b"%x\r\n%b\r\n" % (len(body[i : i + 700]), body[i : i + 700]) for i in range(0, 5000, 700))
        + b"0\r\n\r\n"
    )

    async def script(connection, request):
        data = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + (plain if "plain" in request.line else chunked)
        while data:
            size = cuts.randint(1, 60)
            connection.write(data[:size])
            data = data[size:]
            await asyncio.sleep(0)

    async def scenario():
        async with Upstream(script) as upstream, Transport() as transport:
            for path in ("/plain", "/chunked") * 3:
                response = await post(transport, upstream, path)
                assert response.body == body
                assert "link" not in response.headers
                async with await stream(transport, upstream, path) as streamed:
                    assert await read_all(streamed) == body
            assert len(upstream.connections) == 1

    run(scenario())


def test_odd_headers():
    async def scenario():
        head = b"HTTP/1.1 200 OK\r\nx-name: Gr\xfc\xdfe\r\nset-cookie: a\r\nSet-Cookie: b\r\nempty:\r\ncontent-length: 0\r\n\r\n"
        async with Upstream(says(head)) as upstream, Transport() as transport:
            headers = (await post(transport, upstream)).headers
            assert headers == {"x-name": "Gr\xfc\xdfe", "set-cookie": "a, b", "empty": "", "content-length": "0"}

    asyncio.run(scenario())


def raw_deflate(data):
    writer = zlib.compressobj(wbits=-15)
    return writer.compress(data) + writer.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"hello" * 999)),
        ("GZIP", gzip.compress(b"hello" * 500) + gzip.compress(b"hello" * 499)),
        ("x-gzip", gzip.compress(b"hello" * 999)),
        ("deflate", zlib.compress(b"hello" * 999)),
        ("deflate", raw_deflate(b"hello" * 999)),
        ("identity", b"hello" * 999),
    ],
    ids=["gzip", "members", "x-gzip", "deflate", "raw-deflate", "identity"],
)
@pytest.mark.parametrize("way", ["post", "stream"])
def test_compressed_answers(coding, packed, way):
    async def scenario():
        async with Upstream(says(answer(packed, Content_Encoding=coding))) as upstream, Transport() as transport:
            assert await whole_or_streamed(transport, upstream, way) == b"hello" * 999

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["post", "stream"])
@pytest.mark.parametrize(
    ("data", "phase"),
    [
        (answer(gzip.compress(b"hello")[:-9], Content_Encoding="gzip"), "protocol"),
        (answer(b"hello", Content_Encoding="gzip"), "protocol"),
        (answer(b"hello", Content_Encoding="br"), "protocol"),
        (answer(gzip.compress(bytes(10**7)), Content_Encoding="gzip"), "too_large"),
        (answer(bytes(1001)), "too_large"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n", "too_large"),
        (CHUNKED + b"3e9\r\n" + bytes(1001) + b"\r\n0\r\n\r\n", "too_large"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 3_000_000 + b"\r\n\r\n", "too_large"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000, "too_large"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "protocol"),
        (b"HTTP/2 200 OK\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk", "protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok", "protocol"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", "protocol"),
        (CHUNKED + b"zz\r\n", "protocol"),
        (CHUNKED + b"fffffffffffffffff\r\n", "protocol"),
    ],
    ids=[
        "cut-gzip",
        "no-gzip",
        "brotli",
        "bomb",
        "long",
        "announced",
        "long-chunked",
        "one-giant-header",
        "many-headers",
        "ssh",
        "http2",
        "two-lengths",
        "length-and-chunked",
        "upgrade",
        "bad-chunk",
        "giant-chunk",
    ],
)
def test_answers_that_are_refused(way, data, phase):
    async def scenario():
        async with Upstream(says(data)) as upstream, Transport() as transport:
            assert await failure(whole_or_streamed(transport, upstream, way, max_bytes=1000)) == (phase, False)
            await upstream.gone()
            assert not transport._open

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["post", "stream"])
@pytest.mark.parametrize(
    ("data", "phase"),
    [
        (b"", "first_byte"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "first_byte"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc", "between_bytes"),
        (CHUNKED, "between_bytes"),
        (CHUNKED + b"5\r\nhello\r\n", "between_bytes"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", "between_bytes"),
    ],
    ids=["nothing", "half-a-head", "length", "chunked", "a-chunk", "no-trailer"],
)
def test_answers_that_break_off(run, secured, way, data, phase):
    async def scenario():
        async with Upstream(says(data, close=True), tls=secured[0]) as upstream, Transport(tls=secured[1]) as transport:
            assert await failure(whole_or_streamed(transport, upstream, way)) == (phase, False)
            assert len(upstream.connections) == 1
            assert not transport._open

    run(scenario())


def test_what_came_before_the_break_is_read_first(run):
    async def scenario():
        async with Upstream(says(CHUNKED + b"5\r\nhello\r\n", close=True)) as upstream, Transport() as transport:
            response = await stream(transport, upstream)
            await asyncio.sleep(0.05)
            assert await response.read() == b"hello"
            for _ in range(2):
                assert await failure(response.read()) == ("between_bytes", False)

    run(scenario())


@pytest.mark.parametrize("way", ["post", "stream"])
def test_a_reset(run, way):
    async def script(connection, request):
        connection.write(CHUNKED)
        await asyncio.sleep(0.02)
        connection.reset()

    async def scenario():
        async with Upstream(script) as upstream, Transport() as transport:
            assert await failure(whole_or_streamed(transport, upstream, way)) == ("between_bytes", False)

    run(scenario())


@pytest.mark.parametrize("way", ["post", "stream"])
def test_a_body_that_the_end_of_the_connection_ends(run, secured, way):
    async def scenario():
        script = says(b"HTTP/1.1 200 OK\r\n\r\nhello", close=True)
        async with Upstream(script, tls=secured[0]) as upstream, Transport(tls=secured[1]) as transport:
            assert await whole_or_streamed(transport, upstream, way) == b"hello"
            assert not transport._open

    run(scenario())


def test_such_a_body_must_not_end_by_a_reset(run):
    async def script(connection, request):
        connection.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await asyncio.sleep(0.02)
        linger = struct.pack("ii", 1, 0)
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.reset()

    async def scenario():
        async with Upstream(script) as upstream, Transport() as transport:
            assert await failure(post(transport, upstream)) == ("between_bytes", False)

    run(scenario())


def test_such_a_body_must_end_properly_in_tls(run, certificates):
    async def script(connection, request):
        connection.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await asyncio.sleep(0.02)
        # Past TLS, without its farewell: what somebody on the way could do.
        with socket.socket(fileno=os.dup(connection.transport.get_extra_info("socket").fileno())) as below:
            below.shutdown(socket.SHUT_RDWR)

    async def scenario():
        async with (
            Upstream(script, tls=certificates.server) as upstream,
            Transport(tls=certificates.client) as transport,
        ):
            assert await failure(post(transport, upstream)) == ("between_bytes", False)

    run(scenario())


@pytest.mark.parametrize(
    "status",
    ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"],
)
def test_redirects_are_answers(status):
    async def scenario():
        async with (
            Upstream(says(answer(b"", status, Location="http://127.0.0.1:1/"))) as upstream,
            Transport() as transport,
        ):
            response = await post(transport, upstream)
            assert response.status == int(status[:3])
            assert response.headers["location"] == "http://127.0.0.1:1/"
            assert len(upstream.requests) == 1

    asyncio.run(scenario())


# Leaving: the other side must notice at once.


async def cancelled(upstream, awaitable):
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.gone()


@pytest.mark.parametrize("way", ["post", "stream"])
@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200 OK\r\n", CHUNKED, CHUNKED + b"5\r\nhello\r\n"],
    ids=["head", "in-head", "body", "in-body"],
)
def test_cancelling_ends_the_connection(run, secured, way, data):
    async def scenario():
        async with Upstream(says(data), tls=secured[0]) as upstream, Transport(tls=secured[1]) as transport:
            await cancelled(upstream, whole_or_streamed(transport, upstream, way))
            assert not transport._open

    run(scenario())


def test_cancelling_in_the_handshake(run):
    async def scenario():
        async with Upstream(silent) as upstream, Transport() as transport:
            url = upstream.url.replace("http:", "https:")
            await cancelled(upstream, transport.post(url, KEY, BODY, trusted=True))
            assert not transport._open

    run(scenario())


def test_cancelling_while_connecting(run):
    async def scenario():
        # A listener whose queue is full drops what else wants in.
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            port = listener.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                async with Transport() as transport:
                    task = asyncio.ensure_future(transport.post(f"http://127.0.0.1:{port}/", KEY, BODY, trusted=True))
                    await asyncio.sleep(0.1)
                    assert not task.done()
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    asked = transport.post(f"http://127.0.0.1:{port}/", KEY, BODY, trusted=True, timeouts=QUICK)
                    assert await failure(asked) == ("connect", True)

    run(scenario())


def test_cancelling_while_sending(run):
    async def scenario():
        # The kernel takes the connection and the first bytes; nobody takes more.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            async with Transport() as transport:
                task = asyncio.ensure_future(transport.post(url, KEY, bytes(30_000_000), trusted=True))
                await asyncio.sleep(0.1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await asyncio.sleep(0.05)
                assert not transport._open
                with listener.accept()[0] as connection:
                    connection.settimeout(1)
                    with contextlib.suppress(ConnectionResetError):
                        while connection.recv(1_000_000):
                            pass

    run(scenario())


def test_closing_ends_the_connection(run, secured):
    async def scenario():
        async with (
            Upstream(says(CHUNKED + b"5\r\nhello\r\n"), tls=secured[0]) as upstream,
            Transport(tls=secured[1]) as transport,
        ):
            response = await stream(transport, upstream)
            assert await response.read() == b"hello"
            await response.close()
            await upstream.gone()
            assert await failure(response.read()) == ("between_bytes", False)
            await response.close()
            async with await stream(transport, upstream):
                pass
            await upstream.gone(2)

    run(scenario())


def test_a_closed_transport_ends_everything(run):
    async def scenario():
        async with Upstream(says(CHUNKED)) as upstream:
            async with Transport() as transport:
                response = await stream(transport, upstream)
                reading = asyncio.ensure_future(response.read())
                await asyncio.sleep(0)
            await upstream.gone()
            assert await failure(reading) == ("between_bytes", False)

    run(scenario())


def test_a_closed_transport_sends_nothing_again(run):
    async def scenario():
        async with Upstream(silent) as upstream:
            upstream.answer = says(answer())
            async with Transport() as transport:
                await post(transport, upstream)
                upstream.answer = silent
                again = asyncio.ensure_future(post(transport, upstream))
                await asyncio.sleep(0.02)
            assert await failure(again) == ("first_byte", False)
            assert len(upstream.connections) == 1

    run(scenario())


def test_exchanges_leave_no_cycles(run):
    async def scenario():
        async with Upstream(says(answer())) as upstream, Transport() as transport:
            for _ in range(10):
                await post(transport, upstream)
                await read_all(await stream(transport, upstream))
            return sum(isinstance(each, http_connection.Exchange) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        assert run(scenario()) == 0
    finally:
        gc.enable()


def test_a_late_cancel_does_not_touch_the_next_exchange(run):
    async def scenario():
        async with Upstream(says(answer())) as upstream, Transport() as transport:
            first = await stream(transport, upstream)
            assert await read_all(first) == b"ok"
            second = await stream(transport, upstream)
            await first.close()
            assert await read_all(second) == b"ok"
            assert [request.connection for request in upstream.requests] == [1, 1]

    run(scenario())


# Limits of time.


@pytest.mark.parametrize("way", ["post", "stream"])
@pytest.mark.parametrize(
    ("data", "phase"),
    [
        (b"", "first_byte"),
        (b"HTTP/1.1 200 OK\r\n", "first_byte"),
        (CHUNKED, "between_bytes"),
        (CHUNKED + b"5\r\nhello\r\n", "between_bytes"),
    ],
    ids=["head", "in-head", "body", "in-body"],
)
def test_silence_is_limited(run, way, data, phase):
    limits = Timeouts(connect=9, first_byte=0.2, between_bytes=9) if phase == "first_byte" else Timeouts(9, 9, 0.2)

    async def scenario():
        async with Upstream(says(data)) as upstream, Transport(timeouts=limits) as transport:
            begun = time.perf_counter()
            assert await failure(whole_or_streamed(transport, upstream, way)) == (phase, True)
            assert 0.19 < time.perf_counter() - begun < 0.3
            await upstream.gone()

    run(scenario())


def test_a_slow_handshake_is_limited(run):
    async def scenario():
        async with Upstream(silent) as upstream, Transport(timeouts=Timeouts(0.2, 9, 9)) as transport:
            begun = time.perf_counter()
            url = upstream.url.replace("http:", "https:")
            assert await failure(transport.post(url, KEY, BODY, trusted=True)) == ("connect", True)
            assert 0.19 < time.perf_counter() - begun < 0.3
            await upstream.gone()

    run(scenario())


def test_a_request_that_nobody_reads_is_limited(run):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            async with Transport(timeouts=QUICK) as transport:
                assert await failure(transport.post(url, KEY, bytes(30_000_000), trusted=True)) == ("send", True)

    run(scenario())


@pytest.mark.parametrize("way", ["post", "stream"])
def test_slow_but_steady_bytes_are_taken(run, way):
    async def script(connection, request):
        for byte in CHUNKED:
            connection.write(bytes([byte]))
            await asyncio.sleep(0.001)
        for byte in b"1\r\nx\r\n0\r\n\r\n":
            await asyncio.sleep(0.06)
            connection.write(bytes([byte]))

    async def scenario():
        async with Upstream(script) as upstream, Transport(timeouts=QUICK) as transport:
            assert await whole_or_streamed(transport, upstream, way) == b"x"

    run(scenario())


def test_a_head_that_drips_is_limited(run):
    async def drip(connection, request):
        connection.write(b"HTTP/1.1 200 OK\r\n")
        while not connection.lost.is_set():
            connection.write(b"a: b\r\n")
            await asyncio.sleep(0.05)

    async def scenario():
        async with Upstream(drip) as upstream, Transport(timeouts=QUICK) as transport:
            begun = time.perf_counter()
            assert await failure(post(transport, upstream)) == ("first_byte", True)
            assert time.perf_counter() - begun < 0.3

    run(scenario())


def test_a_slow_reader_is_not_the_other_sides_fault(run, secured):
    size = 30_000_000

    async def scenario():
        async with (
            Upstream(says(answer(bytes(size))), tls=secured[0]) as upstream,
            Transport(tls=secured[1], timeouts=QUICK) as transport,
        ):
            async with await stream(transport, upstream) as response:
                first = await response.read()
                await asyncio.sleep(0.5)
                # What is not read waits in the kernel and on the other side.
                assert len(first) + len(await response.read()) < 3_000_000
                rest = 0
                while (data := await response.read()) is not None:
                    rest += len(data)
            assert rest > size - 3_000_000

    run(scenario())


# Connections that are kept.


def test_connections_are_used_again(run, secured):
    async def scenario():
        async with Upstream(says(answer()), tls=secured[0]) as upstream, Transport(tls=secured[1]) as transport:
            for _ in range(3):
                await post(transport, upstream)
                async with await stream(transport, upstream) as response:
                    assert await read_all(response) == b"ok"
            assert len(upstream.connections) == 1

    run(scenario())


def test_exchanges_at_once_have_connections_of_their_own(run):
    async def script(connection, request):
        await asyncio.sleep(0.02)
        connection.write(answer(request.body))

    async def scenario():
        async with Upstream(script) as upstream, Transport() as transport:
            for _ in range(2):
                found = await asyncio.gather(*[post(transport, upstream, body=b"%d" % n) for n in range(30)])
                assert [response.body for response in found] == [b"%d" % n for n in range(30)]
            assert len(upstream.connections) == 30

    run(scenario())


@pytest.mark.parametrize(
    "data",
    [
        answer(Connection="close"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        answer() + b"HTTP/1.1 200 OK\r\n",
        answer() + b"surplus",
        answer() + answer(b"another", "500 Error", Content_Encoding="gzip"),
    ],
    ids=["close", "http1.0", "second", "surplus", "two"],
)
def test_some_connections_are_not(run, data):
    async def scenario():
        async with Upstream(says(data)) as upstream, Transport() as transport:
            for number in (1, 2):
                response = await post(transport, upstream)
                assert (response.status, response.body) == (200, b"ok")
                await upstream.gone(number)
            assert not transport._open

    run(scenario())


def test_unasked_bytes_end_a_kept_connection(run):
    async def script(connection, request):
        connection.write(answer())
        await asyncio.sleep(0.02)
        connection.write(answer(b"unasked"))

    async def scenario():
        async with Upstream(script) as upstream, Transport() as transport:
            assert (await post(transport, upstream)).body == b"ok"
            await upstream.gone()
            assert (await post(transport, upstream)).body == b"ok"

    run(scenario())


def test_the_other_side_may_close_what_is_kept(run, secured):
    async def script(connection, request):
        connection.write(answer())
        await asyncio.sleep(0.005)
        connection.close()

    async def scenario():
        async with Upstream(script, tls=secured[0]) as upstream, Transport(tls=secured[1]) as transport:
            for wait in (0, 0.003, 0.004, 0.005, 0.006, 0.007, 0.02) * 6:
                assert (await post(transport, upstream)).body == b"ok"
                await asyncio.sleep(wait)

    run(scenario())


@pytest.mark.parametrize("way", ["post", "stream"])
def test_a_request_that_met_a_closing_connection_is_sent_again(run, secured, way):
    async def script(connection, request):
        if connection.number == 1 and len(upstreams[0].requests) > 1:
            connection.reset()
        else:
            connection.write(answer())

    upstreams = []

    async def scenario():
        async with Upstream(script, tls=secured[0]) as upstream, Transport(tls=secured[1]) as transport:
            upstreams.append(upstream)
            await post(transport, upstream)
            assert await whole_or_streamed(transport, upstream, way) == b"ok"
            assert [request.connection for request in upstream.requests] == [1, 1, 2]
            assert upstream.requests[1][:3] == upstream.requests[2][:3]

    run(scenario())


@pytest.mark.parametrize("how", ["always", "late", "heard"])
def test_a_request_that_may_have_cost_something_is_not(run, how, monkeypatch):
    monkeypatch.setattr(http, "_STALE_SECONDS", 0.05)

    async def script(connection, request):
        if how != "always" and len(upstreams[0].requests) == 1:
            connection.write(answer())
            return
        if how == "late":
            await asyncio.sleep(0.1)
        elif how == "heard":
            connection.write(b"HTTP")
            await asyncio.sleep(0.01)
        connection.close()

    upstreams = []

    async def scenario():
        async with Upstream(script) as upstream, Transport() as transport:
            upstreams.append(upstream)
            if how != "always":
                await post(transport, upstream)
            assert await failure(post(transport, upstream)) == ("first_byte", False)
            assert len(upstream.connections) == 1

    run(scenario())


def test_idle_connections_are_closed(run, monkeypatch):
    monkeypatch.setattr(http_connection, "IDLE_SECONDS", 0.1)

    async def scenario():
        async with Upstream(says(answer())) as upstream, Transport() as transport:
            await post(transport, upstream)
            await asyncio.sleep(0.05)
            assert not upstream.connections[0].lost.is_set()
            await upstream.gone(within=0.15)
            assert (transport._open, transport._idle, transport._idle_count) == ({}, {}, 0)

    run(scenario())


def test_idle_connections_are_few(monkeypatch):
    monkeypatch.setattr(http, "MAX_IDLE", 3)

    async def script(connection, request):
        await asyncio.sleep(0.02)
        connection.write(answer())

    async def scenario():
        async with Upstream(script) as upstream, Transport() as transport:
            await asyncio.gather(*[post(transport, upstream) for _ in range(10)])
            assert len(transport._open) == transport._idle_count == 3

    asyncio.run(scenario())


# Requests.


def test_a_large_body(run, secured):
    body = random.Random(1).randbytes(5_000_000)

    async def script(connection, request):
        connection.write(answer(b"same" if request.body == body else b"other"))

    async def scenario():
        async with Upstream(script, tls=secured[0]) as upstream, Transport(tls=secured[1]) as transport:
            for _ in range(2):
                assert (await post(transport, upstream, body=body)).body == b"same"
            assert len(upstream.connections) == 1

    run(scenario())


def test_an_answer_before_the_request_was_sent(run):
    async def scenario():
        done = asyncio.Event()

        async def refuse(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(b"too large", "413 Content Too Large"))
            await done.wait()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0, limit=2**12)
        async with server, Transport() as transport:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            response = await transport.post(url, KEY, bytes(30_000_000), trusted=True)
            assert (response.status, response.body) == (413, b"too large")
            assert not transport._open
            done.set()
            await asyncio.sleep(0.02)

    run(scenario())


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer secret\r\nx: y"},
        {"authorization": "secret\n"},
        {"authorization": "secret\r"},
        {"authorization": "secret\x00"},
        {"authorization": "secret\u20ac"},
        {"a b": "secret"},
        {"a:": "secret"},
        {"": "secret"},
        {"x\r\ny": "secret"},
        {"Host": "secret"},
        {"Content-Length": "1"},
        {"transfer-encoding": "chunked"},
    ],
)
def test_headers_that_are_not_sent(headers):
    async def scenario():
        async with Upstream(says(answer())) as upstream, Transport() as transport:
            assert await failure(transport.post(upstream.url, headers, BODY, trusted=True)) == ("send", False)
            assert not upstream.connections

    asyncio.run(scenario())


# Connecting.


def resolver(*answers):
    """Return a resolver that gives ``answers`` in turn, then the last one, and the names that it was asked for."""
    asked = []

    async def resolve(host, port):
        asked.append((host, port))
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


def test_nobody_listens(run):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with Transport() as transport:
            url = f"http://127.0.0.1:{port}/v1?key=secret"
            assert await failure(transport.post(url, KEY, BODY, trusted=True)) == ("connect", False)

    run(scenario())


def test_names_are_checked_in_certificates(run, certificates):
    async def scenario():
        resolve, asked = resolver(["127.0.0.1"])
        async with Upstream(says(answer()), tls=certificates.server) as upstream:
            async with Transport(tls=certificates.client, resolver=resolve) as transport:
                url = f"https://llm.example:{upstream.port}/"
                assert (await transport.post(url, KEY, BODY, trusted=True)).status == 200
                assert upstream.requests[0].headers["host"] == f"llm.example:{upstream.port}"
                assert asked == [("llm.example", upstream.port)]
                other = f"https://other.example:{upstream.port}/"
                assert await failure(transport.post(other, KEY, BODY, trusted=True)) == ("connect", False)
            async with Transport(resolver=resolve) as transport:
                with pytest.raises(TransportError, match=r"certificate of llm\.example is not valid: unable to get"):
                    await transport.post(url, KEY, BODY, trusted=True)
            assert len(upstream.requests) == 1

    run(scenario())


def test_tls_to_a_server_without(run):
    async def scenario():
        async with Upstream(says(answer())) as upstream, Transport(timeouts=QUICK) as transport:

            async def talk(reader, writer):
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(talk, "127.0.0.1", 0)
            async with server:
                url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
                assert await failure(transport.post(url, KEY, BODY, trusted=True)) == ("connect", False)
            assert not upstream.connections

    run(scenario())


def test_names_without_addresses(run):
    async def fails(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async def hangs(host, port):
        await asyncio.sleep(60)

    async def nothing(host, port):
        return []

    async def scenario():
        for resolve, timeout in ((fails, False), (hangs, True), (nothing, False)):
            async with Transport(resolver=resolve, timeouts=QUICK) as transport:
                asked = transport.post("http://llm.example/v1", KEY, BODY, trusted=False)
                assert await failure(asked) == ("connect", timeout)

    run(scenario())


def test_the_systems_resolver(run):
    async def scenario():
        async with Upstream(says(answer())) as upstream, Transport() as transport:
            url = f"http://localhost:{upstream.port}/"
            assert (await transport.post(url, KEY, BODY, trusted=True)).status == 200

    run(scenario())


def test_further_addresses_are_tried(run):
    async def scenario():
        with socket.create_server(("127.0.0.3", 0), backlog=0) as full:
            port = full.getsockname()[1]
            with socket.create_connection(("127.0.0.3", port)):
                # Nobody listens on the first, the second never answers.
                resolve, _ = resolver(["127.0.0.2", "127.0.0.3", "127.0.0.1"])
                async with Upstream(says(answer()), port=port), Transport(resolver=resolve) as transport:
                    begun = time.perf_counter()
                    assert (await transport.post(f"http://llm.example:{port}/", KEY, BODY, trusted=True)).status == 200
                    assert 0.2 < time.perf_counter() - begun < 0.4

    run(scenario())


# The guard.


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:7f00:1]", "localhost", "127.0.0.1."])
def test_users_do_not_reach_loopback(run, host):
    async def scenario():
        async with Upstream(says(answer())) as upstream, Transport() as transport:
            url = f"http://{host}:{upstream.port}/v1"
            with pytest.raises(AddressError):
                await transport.post(url, KEY, BODY, trusted=False)
            assert await failure(transport.post_stream(url, KEY, BODY, trusted=False)) == ("address", False)
            assert await failure(transport.get("ftp://host/v1", KEY, trusted=True)) == ("address", False)
            assert not upstream.connections

    run(scenario())


def test_names_that_lead_inside_are_refused(run):
    async def scenario():
        async with Upstream(says(answer())) as upstream:
            url = f"http://llm.example:{upstream.port}/v1"
            for addresses in (["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%lo"]):
                resolve, _ = resolver(addresses)
                async with Transport(resolver=resolve) as transport:
                    assert await failure(transport.post(url, KEY, BODY, trusted=False)) == ("address", False)
            assert not upstream.connections

    run(scenario())


@pytest.mark.parametrize("entry", ["llm.example", "llm.example:{port}", "127.0.0.1", "127.0.0.1:{port}", "127.0.0.0/8"])
def test_names_that_the_operator_allows(run, entry):
    async def scenario():
        async with Upstream(says(answer())) as upstream:
            resolve, _ = resolver(["127.0.0.1"])
            allowed = frozenset({entry.format(port=upstream.port)})
            async with Transport(resolver=resolve, allowed_private_hosts=allowed) as transport:
                url = f"http://llm.example:{upstream.port}/v1"
                assert (await transport.post(url, KEY, BODY, trusted=False)).status == 200
                assert upstream.requests[0].headers["host"] == f"llm.example:{upstream.port}"

    run(scenario())


def test_rebinding():
    """Only the very address that was checked is connected to, and every new connection is checked anew."""

    async def scenario():
        async with Upstream(says(answer())) as upstream:
            resolve, asked = resolver(["93.184.215.14"], ["127.0.0.1"])
            dialled = []

            async def dial(protocol, host, port):
                dialled.append((host, port))
                raise ConnectionRefusedError(111, "refused")

            async with Transport(resolver=resolve) as transport:
                loop = asyncio.get_running_loop()
                loop.create_connection = dial  # nothing leaves this machine
                url = f"http://llm.example:{upstream.port}/v1"
                assert await failure(transport.post(url, KEY, BODY, trusted=False)) == ("connect", False)
                assert dialled == [("93.184.215.14", upstream.port)]
                assert await failure(transport.post(url, KEY, BODY, trusted=False)) == ("address", False)
                assert len(asked) == 2
                assert len(dialled) == 1
            assert not upstream.connections

    asyncio.run(scenario())


def test_the_operators_connections_are_not_for_users(run):
    async def scenario():
        async with Upstream(says(answer())) as upstream, Transport() as transport:
            assert (await post(transport, upstream)).status == 200
            assert await failure(transport.post(upstream.url + "/v1", KEY, BODY, trusted=False)) == ("address", False)
            assert len(upstream.requests) == 1

    run(scenario())


def test_redirects_do_not_lead_inside(run):
    async def scenario():
        async with Upstream(silent) as inside, Upstream(says(answer(b"", "307 x", Location=inside.url))) as upstream:
            allowed = frozenset({f"127.0.0.1:{upstream.port}"})
            async with Transport(allowed_private_hosts=allowed) as transport:
                assert (await transport.post(upstream.url, KEY, BODY, trusted=False)).status == 307
            assert not inside.connections

    run(scenario())
