"""Calls that are made again, and calls that are not: against a real server, whole and streamed."""

import asyncio
import json
import os
import socket
import time

import pytest

from rini.canon import Message, Request, Text
from rini.errors import ProviderError, ProviderUnavailableError, RiniError
from rini.inference import retry
from rini.inference.call import Stream, complete
from rini.inference.outgoing import Outgoing
from rini.inference.target import Target
from rini.kit.draining import process as draining
from rini.kit.http import Timeouts, Transport
from rini.providers.catalog import PROVIDERS
from tests.support.ledger import wait_for_rows
from tests.support.server import Server
from tests.support.upstream import Conversation, Upstream, echo

REQUEST = Request(model="gpt-test", messages=(Message("user", (Text("hi"),)),))


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)


@pytest.fixture
def call(upstream: Upstream):
    """A function that calls the upstream, which answers as the given scripts say and then with an echo. Returns what came."""
    key = f"sk-{os.urandom(8).hex()}"

    def run(*scripts, stream=False, provider="openai", retries=2):
        left = list(scripts)

        async def script(conversation: Conversation) -> None:
            await (left.pop(0) if left else echo)(conversation)

        upstream.scripts[key] = script

        async def main():
            async with Transport(timeouts=Timeouts(1, 0.3, 0.3)) as transport:
                return await ask(transport, target_of(upstream.url, key, provider, retries), stream)

        return asyncio.run(main())

    run.key = key
    run.count = lambda: len(upstream.calls(key))
    return run


def target_of(url, key="", provider="openai", retries=2):
    known = PROVIDERS[provider]
    base = f"{url}/v1" if provider == "openai" else url
    headers = {**known.authenticate(key), "content-type": "application/json"}
    return Target(known, known.codec, base, headers, None, trusted=True, key=key, retries=retries)


async def ask(transport, target, stream):
    if not stream:
        reply, _ = await complete(transport, target, Outgoing.of(target, REQUEST))
        return reply.text
    said = ""
    request = Request(**{**_fields(), "stream": True})
    async with Stream(transport, target, Outgoing.of(target, request)) as answer:
        while (piece := await answer.read()) is not None:
            said += "".join(getattr(event, "text", None) or "" for event in piece[1])
    return said


def _fields():
    return {name: getattr(REQUEST, name) for name in REQUEST.__struct_fields__}


def failing(status, body=b"upstream error", **headers):
    async def script(conversation: Conversation) -> None:
        await conversation.whole(body, status, **headers)

    return script


def openai(message, code=None, kind="server_error"):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


GOES_AGAIN = {
    "rate limit": failing(429, openai("Slow down", "rate_limit_exceeded", "requests")),
    "rate limit of a moment": failing(429, openai("Slow down"), retry_after_ms="20"),
    "rate limit in the text": failing(429, openai("Please try again in 20ms.", "rate_limit_exceeded")),
    "request timeout": failing(408),
    "server error": failing(500, openai("Oops")),
    "bad gateway": failing(502, b"<html>Bad Gateway</html>"),
    "unavailable": failing(503),
    "gateway timeout": failing(504),
    "overloaded": failing(529),
    "a lock, says the server": failing(409, openai("locked"), x_should_retry="true"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", GOES_AGAIN)
def test_a_call_that_met_something_passing_is_made_again(call, name, stream):
    assert call(GOES_AGAIN[name], stream=stream) == "echo: hi"
    assert call.count() == 2


async def _silent(conversation: Conversation) -> None:
    await conversation.until_left()


async def _closed(conversation: Conversation) -> None:
    conversation._writer.close()


async def _cut(conversation: Conversation) -> None:
    await conversation.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{")
    conversation._writer.close()


GOES_ONCE = {
    "bad request": failing(400, openai("Bad", None, "invalid_request_error")),
    "key refused": failing(401, openai("No", "invalid_api_key")),
    "no permission": failing(403, openai("No")),
    "no such model": failing(404, openai("No", "model_not_found")),
    "a lock": failing(409, openai("locked")),
    "too large": failing(413, openai("Big")),
    "too long": failing(400, openai("Long", "context_length_exceeded")),
    "unsafe": failing(400, openai("Flagged", "content_policy_violation")),
    "no credit": failing(429, openai("No credit", "insufficient_quota", "insufficient_quota")),
    "no credit, try again": failing(429, openai("No credit", "insufficient_quota"), x_should_retry="true"),
    "rate limit of six seconds": failing(429, openai("Slow down"), retry_after="6"),
    "overloaded for six seconds": failing(503, retry_after="6"),
    "do not, says the server": failing(503, x_should_retry="false"),
    "took too long behind Cloudflare": failing(524),
    "redirect": failing(302, b"", location="/elsewhere"),
    "not begun in time": _silent,
    "closed without an answer": _closed,
    "broke off": _cut,
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", GOES_ONCE)
def test_a_call_that_would_fail_again_or_may_have_cost_is_not_made_again(call, name, stream):
    with pytest.raises(RiniError):
        call(GOES_ONCE[name], stream=stream)
    assert call.count() == 1


def test_an_answer_without_sense_is_not_asked_for_again(call):
    with pytest.raises(ProviderError, match="makes no sense"):
        call(failing(200, b"<html>"))
    assert call.count() == 1


@pytest.mark.parametrize(
    ("provider", "status", "body"),
    [
        ("anthropic", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        ("google", 503, {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}),
    ],
)
def test_every_wire_format_tells_what_is_passing(call, provider, status, body):
    with pytest.raises(ProviderUnavailableError):
        call(*[failing(status, body)] * 3, provider=provider)
    assert call.count() == 3


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_call_is_made_again_as_often_as_set(call, retries):
    with pytest.raises(ProviderUnavailableError):
        call(*[failing(503)] * 9, retries=retries)
    assert call.count() == 1 + retries


def test_the_last_error_is_the_one_that_is_told(call):
    with pytest.raises(ProviderError) as told:
        call(failing(503), failing(400, openai("Bad", None, "invalid_request_error")))
    assert told.value.code == "provider_rejected_request"


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_comes_back_is_reached(call, monkeypatch, stream):
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.2)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(openai("Bad", None, "invalid_request_error")).encode()
        writer.write(b"HTTP/1.1 400 X\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async def main():
        async with Transport() as transport:
            asking = asyncio.create_task(ask(transport, target_of(f"http://127.0.0.1:{port}"), stream))
            await asyncio.sleep(0.1)
            async with await asyncio.start_server(serve, "127.0.0.1", port):
                await asking

    with pytest.raises(ProviderError) as told:
        asyncio.run(main())
    assert told.value.code == "provider_rejected_request"


def test_the_wait_that_was_asked_for_is_kept(call, upstream):
    began = time.monotonic()
    assert call(failing(503, retry_after_ms="300")) == "echo: hi"
    assert time.monotonic() - began >= 0.3


def test_the_wait_grows_and_is_never_the_same_for_all(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.25)
    error = ProviderError("x")
    waits = [[retry._wait(error, number) for _ in range(50)] for number in range(8)]
    for number, found in enumerate(waits):
        least = min(0.25 * 2**number, 5.0)
        assert least <= min(found) < max(found) <= least * 1.25
    error.retry_after = 4.0
    assert 4.0 <= retry._wait(error, 0) <= 5.0


def test_no_call_begins_long_after_the_first(call, monkeypatch):
    monkeypatch.setattr(retry, "LATEST_REPEAT", 0.005)
    with pytest.raises(ProviderUnavailableError):
        call(failing(503))
    assert call.count() == 1


def test_who_is_cancelled_while_waiting_ends_at_once(call, upstream, monkeypatch):
    monkeypatch.setattr(retry, "FIRST_WAIT", 4.0)
    upstream.scripts[call.key] = failing(503)

    async def main():
        async with Transport() as transport:
            asking = asyncio.create_task(ask(transport, target_of(upstream.url, call.key), stream=False))
            while not call.count():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            asking.cancel()
            await asyncio.wait_for(asyncio.wait([asking]), 2)
            return asking.cancelled()

    assert asyncio.run(main())
    assert call.count() == 1


def test_a_process_that_drains_waits_for_no_other_attempt(call, upstream, monkeypatch):
    monkeypatch.setattr(retry, "FIRST_WAIT", 4.0)
    upstream.scripts[call.key] = failing(503)

    async def main():
        async with Transport() as transport:
            asking = asyncio.create_task(ask(transport, target_of(upstream.url, call.key), stream=False))
            while not call.count():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            monkeypatch.setattr(draining, "begun", True)
            await asyncio.wait_for(asking, 2)

    with pytest.raises(ProviderUnavailableError):
        asyncio.run(main())
    assert call.count() == 1


# As a client and an operator see it.


@pytest.fixture(scope="module")
def server(tmp_path_factory, upstream: Upstream):
    settings = {"RINI_PROVIDER_RETRIES": "2", "RINI_SLOW_CALL_SECONDS": "0.2"}
    running = Server(tmp_path_factory.mktemp("server"), settings, upstream.url).start()
    yield running
    running.stop()


def events(server, name, **fields):
    found = [json.loads(line) for line in server.logged().splitlines() if line.startswith("{")]
    return [each for each in found if each["event"] == name and fields.items() <= each.items()]


@pytest.mark.parametrize("stream", [False, True])
def test_a_repeated_call_is_one_row_and_is_logged_and_counted(server: Server, upstream, stream):
    user = server.user()
    calls = []

    async def script(conversation: Conversation) -> None:
        calls.append(conversation)
        await (failing(503) if len(calls) == 1 else echo)(conversation)

    upstream.scripts[user.provider_key] = script
    session = user.session()
    body = {"text": "q", "provider": "openai", "model": "gpt-test", "session_id": session, "stream": stream}
    answer = user.request("POST", "/llm/text-completion/", body, x_request_id=f"mine-{stream}")
    assert answer.status == 200, answer
    (row,) = wait_for_rows(server, 1, session_id=session)
    assert (row["outcome"], row["error_code"]) == ("complete", None)
    (event,) = events(server, "provider_retried", request_id=f"mine-{stream}")
    assert event["level"] == "warning"
    assert {name: event[name] for name in ("provider", "model", "attempt", "code")} == {
        "provider": "openai",
        "model": "gpt-test",
        "attempt": 1,
        "code": "provider_unavailable",
    }
    assert 250 <= event["wait_ms"] <= 313
    counted = 'rini_provider_retries_total{code="provider_unavailable",provider="openai"}'
    assert counted in user.get("/metrics").body.decode()
    # It waited for a quarter of a second, so it is slow too, once.
    (slow,) = events(server, "slow_call", request_id=f"mine-{stream}")
    assert (slow["level"], slow["outcome"], slow["call_id"]) == ("warning", "complete", row["call_id"])
    assert slow["ms"] == row["latency_ms"] >= 250
    assert (slow["first_token_ms"] is not None) is stream


def test_a_client_that_leaves_while_waiting_ends_the_call(server: Server, upstream):
    user = server.user()
    upstream.scripts[user.provider_key] = failing(503, retry_after="4")
    with _asking(user):
        until = time.monotonic() + 5
        while not upstream.calls(user.provider_key) and time.monotonic() < until:
            time.sleep(0.01)
    (row,) = wait_for_rows(server, 1, seconds=3, user_id=user.get("/users/me").json["id"])
    assert row["outcome"] == "client_left"
    assert len(upstream.calls(user.provider_key)) == 1


def _asking(user):
    body = json.dumps({"text": "q", "provider": "openai", "model": "gpt-test"}).encode()
    host, port = user.url.removeprefix("http://").split(":")
    sent = socket.create_connection((host, int(port)), timeout=10)
    sent.sendall(
        f"POST /llm/text-completion/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return sent
