"""What a provider does wrong, as the client meets it: status, code, sentence; and what is kept of the turn."""

import asyncio
import json
import time

import pytest

from tests.support.ledger import rows, wait_for_rows
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Upstream, openai_chunks, openai_reply


@pytest.fixture(scope="module")
def server(tmp_path_factory, upstream: Upstream):
    """A server with short timeouts."""
    settings = {
        "RINI_CONNECT_TIMEOUT": "0.5",
        "RINI_FIRST_BYTE_TIMEOUT": "0.6",
        "RINI_BETWEEN_BYTES_TIMEOUT": "0.6",
        "RINI_ALLOWED_PRIVATE_HOSTS": "127.0.0.0/8",
    }
    running = Server(tmp_path_factory.mktemp("server"), settings, upstream.url).start()
    yield running
    running.stop()


def openai_error(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic_error(message: str, kind: str) -> dict:
    return {"type": "error", "error": {"type": kind, "message": message}}


def google_error(status: int, message: str, name: str) -> dict:
    return {"error": {"code": status, "message": message, "status": name}}


ERRORS = [
    ("openai", 401, openai_error("Incorrect API key provided", code="invalid_api_key"), 401, "provider_key_refused"),
    ("openai", 403, openai_error("Country not supported"), 403, "provider_permission_denied"),
    ("openai", 404, openai_error("The model `x` does not exist", code="model_not_found"), 404, "model_not_found"),
    ("openai", 400, openai_error("maximum context length", code="context_length_exceeded"), 422, "context_too_long"),
    ("openai", 400, openai_error("Bad image"), 422, "provider_rejected_request"),
    ("openai", 400, openai_error("flagged", code="content_policy_violation"), 422, "refused_by_safety"),
    ("openai", 429, openai_error("Slow down", "requests", "rate_limit_exceeded"), 429, "provider_rate_limited"),
    ("openai", 429, openai_error("No credit", "insufficient_quota", "insufficient_quota"), 402, "provider_billing"),
    ("openai", 500, openai_error("Oops", "server_error"), 503, "provider_unavailable"),
    ("openai", 503, b"upstream connect error", 503, "provider_unavailable"),
    ("anthropic", 401, anthropic_error("invalid x-api-key", "authentication_error"), 401, "provider_key_refused"),
    ("anthropic", 404, anthropic_error("model: x", "not_found_error"), 404, "model_not_found"),
    ("anthropic", 400, anthropic_error("prompt is too long: 9 tokens", "invalid_request_error"), 422, "context_too_long"),
    ("anthropic", 413, anthropic_error("too big", "request_too_large"), 413, "provider_request_too_large"),
    ("anthropic", 529, anthropic_error("Overloaded", "overloaded_error"), 503, "provider_unavailable"),
    ("google", 400, google_error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"), 401, "provider_key_refused"),
    ("google", 404, google_error(404, "models/x is not found", "NOT_FOUND"), 404, "model_not_found"),
    ("google", 429, google_error(429, "Resource exhausted", "RESOURCE_EXHAUSTED"), 429, "provider_rate_limited"),
    ("google", 503, google_error(503, "The model is overloaded.", "UNAVAILABLE"), 503, "provider_unavailable"),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "status", "body", "expected", "code"), ERRORS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_error(server: Server, upstream, provider, status, body, expected, code, stream):
    user = server.user(provider=provider)
    session = user.session()

    async def script(conversation: Conversation) -> None:
        await conversation.whole(
            body, status, "text/plain" if isinstance(body, bytes) else "application/json", x_secret="s3cr3t"
        )

    upstream.scripts[user.provider_key] = script
    answer = user.ask("q", provider=provider, model="m", session_id=session, stream=stream)
    problem = answer.json
    assert (answer.status, problem["code"]) == (expected, code), problem
    said = "upstream connect error" if isinstance(body, bytes) else body["error"]["message"]
    assert said in problem["detail"]
    assert said == problem["provider_message"]
    assert problem["provider"] == provider
    assert problem["provider_status"] == status
    assert b"s3cr3t" not in answer.body
    assert user.provider_key.encode() not in answer.body
    # The question is kept, and so is what happened.
    kept = user.get(f"/sessions/{session}/messages/").json
    assert [each["content"] for each in kept] == ["q"]
    assert problem["user_message_id"] == kept[0]["id"]
    row = rows(server, session_id=session)[0]
    assert (row["outcome"], row["error_code"], row["output_tokens"]) == ("refused", code, None)


def test_retry_after_is_passed_on(server: Server, upstream):
    user = server.user()

    async def script(conversation: Conversation) -> None:
        body = openai_error("Slow down", "requests", "rate_limit_exceeded")
        await conversation.whole(body, 429, retry_after="17")

    upstream.scripts[user.provider_key] = script
    assert user.ask().headers["retry-after"] == "17"


def _broken(what: str):
    async def script(conversation: Conversation) -> None:
        match what:
            case "html":
                await conversation.whole(b"<html><body>502 Bad Gateway</body></html>", 200, "text/html")
            case "empty":
                await conversation.whole(b"", 200)
            case "not http":
                await conversation.raw(b"\x00\x01\x02 this is no HTTP\r\n\r\n")
            case "closed":
                pass
            case "cut":
                await conversation.raw(b'HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{"id":')
            case "json of another kind":
                await conversation.whole([1, 2, 3])
            case "half json":
                await conversation.whole(b'{"choices": [')
            case "deep json":
                await conversation.whole(b"[" * 200_000)
        conversation._writer.close()

    return script


@pytest.mark.parametrize(
    "what", ["html", "empty", "not http", "closed", "cut", "json of another kind", "half json", "deep json"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_makes_no_sense_is_502(server: Server, upstream, what: str, stream: bool):
    user = server.user()
    upstream.scripts[user.provider_key] = _broken(what)
    if stream:
        with user.open_stream() as reader:
            if reader.status == 200:
                events = list(reader)
                assert [event.event for event in events][-1] == "error"
                assert events[-1].data["status"] == 502, events
                return
            assert reader.status == 502
            return
    answer = user.ask()
    assert answer.status == 502, answer
    assert answer.json["code"] == "provider_malformed_answer"


def test_a_redirect_is_not_followed(server: Server, upstream):
    user = server.user()

    async def script(conversation: Conversation) -> None:
        await conversation.whole(b"", 302, location=f"{upstream.url}/elsewhere")

    upstream.scripts[user.provider_key] = script
    answer = user.ask()
    assert (answer.status, answer.json["code"]) == (502, "provider_redirected")
    assert len(upstream.calls(user.provider_key)) == 1


def test_nobody_listens(server: Server):
    user = server.user()
    body = {"model_provider": "openai_compatible", "api_key_value": "k", "base_url": "http://127.0.0.1:1/v1"}
    user.post("/api-keys/", body)
    answer = user.ask(provider="openai_compatible")
    assert (answer.status, answer.json["code"]) == (503, "provider_unreachable")


async def _silent(conversation: Conversation) -> None:
    await conversation.until_left()


async def _silent_after_head(conversation: Conversation) -> None:
    await conversation.head()
    await conversation.chunk("".join(openai_chunks("one ", "two", finish=None)))
    await conversation.until_left()


async def _drip(conversation: Conversation) -> None:
    data = "".join(openai_chunks("ok")).encode()
    await conversation.head()
    for start in range(0, len(data), 60):
        await conversation.chunk(data[start : start + 60])
        await asyncio.sleep(0.15)
    await conversation.end()


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_says_nothing_is_504(server: Server, upstream, stream: bool):
    user = server.user()
    upstream.scripts[user.provider_key] = _silent
    began = time.monotonic()
    answer = user.ask(stream=stream)
    assert (answer.status, answer.json["code"]) == (504, "provider_first_byte_timeout")
    assert 0.5 < time.monotonic() - began < 3
    time.sleep(0.2)
    assert upstream.calls(user.provider_key)[0].left_at is not None


def test_a_provider_that_stops_in_the_middle_is_kept_as_partial(server: Server, upstream):
    user = server.user()
    session = user.session()
    upstream.scripts[user.provider_key] = _silent_after_head
    events = user.stream("count", session_id=session)
    assert [event.data["text"] for event in events if event.event == "text"] == ["one ", "two"]
    problem = events[-1].data
    assert (events[-1].event, problem["code"], problem["status"]) == ("error", "provider_stalled", 504)
    kept = user.get(f"/sessions/{session}/messages/").json
    assert [(each["content"], each["status"]) for each in kept] == [("count", "complete"), ("one two", "partial")]
    assert kept[1]["status_reason"] == "provider_stalled"
    assert problem["assistant_message_id"] == kept[1]["id"]
    row = rows(server, session_id=session)[0]
    assert (row["outcome"], row["usage_estimated"], row["message_id"]) == ("provider_failed", 1, kept[1]["id"])
    assert row["input_tokens"] > 0
    assert row["output_tokens"] == 2
    # The conversation goes on from there.
    upstream.scripts.pop(user.provider_key)
    user.ask("go on", session_id=session)
    sent = upstream.calls(user.provider_key)[-1].json["messages"]
    assert [each["content"] for each in sent] == ["count", "one two", "go on"]


def test_a_slow_provider_is_waited_for(server: Server, upstream):
    user = server.user()
    upstream.scripts[user.provider_key] = _drip
    events = user.stream()
    assert events[-1].event == "done"
    assert events[-1].data["response_text"] == "ok"


@pytest.mark.parametrize("error", ["in the stream", "closed", "garbage", "gigantic line"])
def test_a_stream_that_breaks_is_kept_as_partial(server: Server, upstream, error: str):
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.chunk("".join(openai_chunks("some ", "text", finish=None)))
        match error:
            case "in the stream":
                failure = openai_error("The server had an error", "server_error")
                await conversation.chunk(f"data: {json.dumps(failure)}\n\n")
                await conversation.end()
            case "closed":
                conversation._writer.close()
            case "garbage":
                await conversation.chunk(b"data: {\xff\xfe not json\n\n")
                await conversation.end()
            case "gigantic line":
                for _ in range(40):
                    await conversation.chunk(b"data: " + b"x" * 2**20)

    user = server.user()
    session = user.session()
    upstream.scripts[user.provider_key] = script
    events = user.stream("q", session_id=session)
    assert events[-1].event == "error"
    assert events[-1].data["status"] in (502, 503)
    kept = user.get(f"/sessions/{session}/messages/").json[1]
    assert (kept["content"], kept["status"]) == ("some text", "partial")
    assert rows(server, session_id=session)[0]["outcome"] == "provider_failed"


def _left_at(upstream: Upstream, user: Client) -> float:
    """Return when the user's call was closed, as its provider saw it."""
    seen = upstream.calls(user.provider_key)[0]
    until = time.monotonic() + 5
    while seen.left_at is None and time.monotonic() < until:
        time.sleep(0.01)
    assert seen.left_at is not None
    return seen.left_at


@pytest.mark.parametrize("stateful", [True, False])
def test_when_the_client_leaves_the_provider_is_told_at_once(server: Server, upstream, stateful: bool):
    user = server.user()
    fields = {"session_id": user.session()} if stateful else {}
    upstream.scripts[user.provider_key] = _silent_after_head
    reader = user.open_stream("count", **fields)
    events = iter(reader)
    while next(events).event != "text":
        pass
    left = time.monotonic()
    reader.close()
    row = wait_for_rows(server, 1, user_id=user.get("/users/me").json["id"])[0]
    assert _left_at(upstream, user) - left < 0.5
    assert (row["outcome"], row["usage_estimated"], row["output_tokens"]) == ("client_left", 1, 2)
    if stateful:
        kept = user.get(f"/sessions/{fields['session_id']}/messages/").json[1]
        assert (kept["content"], kept["status"], kept["status_reason"]) == ("one two", "partial", "client_left")


def test_when_the_client_of_a_whole_answer_leaves_too(server: Server, upstream):
    user = server.user()
    upstream.scripts[user.provider_key] = _silent
    reader_body = {"text": "q", "provider": "openai", "model": "m", "session_id": user.session()}
    import socket

    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        data = json.dumps(reader_body).encode()
        connection.sendall(
            b"POST /llm/text-completion/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s"
            % (user.token.encode(), len(data), data)
        )
        until = time.monotonic() + 5
        while not upstream.calls(user.provider_key) and time.monotonic() < until:
            time.sleep(0.01)
        left = time.monotonic()
    row = wait_for_rows(server, 1, user_id=user.get("/users/me").json["id"])[0]
    assert row["outcome"] == "client_left"
    assert _left_at(upstream, user) - left < 0.5


def test_the_ledger_knows_every_call(server: Server, upstream):
    user = server.user()

    async def script(conversation: Conversation) -> None:
        usage = {
            "prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500,
            "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 100},
        }  # fmt: skip
        await conversation.whole(openai_reply("x", model="gpt-4o-2024-08-06", usage=usage))

    upstream.scripts[user.provider_key] = script
    session = user.session()
    answer = user.ask(model="gpt-4o", session_id=session).json
    user.post(
        "/llm/chat-completions/",
        {"messages": [{"role": "user", "content": "x"}], "provider": "openai", "model": "gpt-4o"},
    )
    user.ask(model="no-such-model-known")
    stateful, stateless, unpriced = wait_for_rows(server, 3, user_id=answer["user_message"]["user_id"])
    assert stateful["message_id"] == answer["assistant_message"]["id"]
    assert (stateful["session_id"], stateless["session_id"]) == (session, None)
    assert (stateless["endpoint"], stateless["stream"]) == ("/llm/chat-completions/", 0)
    for row in (stateful, stateless):
        assert (row["input_tokens"], row["output_tokens"]) == (1000, 500)
        assert (row["cache_read_tokens"], row["reasoning_tokens"]) == (400, 100)
        # gpt-4o: 600 x 2.50 + 400 x 1.25 + 500 x 10.00 USD per million
        assert row["cost_pico_usd"] == 7_000_000_000
        assert row["usage_estimated"] == 0
        assert row["latency_ms"] >= 0
    assert answer["usage"]["cost_usd"] == "0.007"
    assert unpriced["cost_pico_usd"] is None


def test_a_cheaper_tier_costs_less(server: Server, upstream):
    user = server.user()

    async def script(conversation: Conversation) -> None:
        usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        await conversation.whole(openai_reply("x", model="gpt-5", usage=usage, service_tier="flex"))

    upstream.scripts[user.provider_key] = script
    # gpt-5: 1000 x 1.25 + 500 x 10.00 USD per million, and half of that on the flex tier
    assert user.ask(model="gpt-5").json["usage"]["cost_usd"] == "0.003125"


def test_a_session_deleted_meanwhile(server: Server, upstream):
    user = server.user()
    session = user.session()

    async def script(conversation: Conversation) -> None:
        await asyncio.to_thread(user.delete, f"/sessions/{session}")
        await conversation.whole(openai_reply("too late"))

    upstream.scripts[user.provider_key] = script
    answer = user.ask(session_id=session)
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    row = wait_for_rows(server, 1, session_id=session)[0]
    assert (row["outcome"], row["output_tokens"]) == ("complete", 3)
