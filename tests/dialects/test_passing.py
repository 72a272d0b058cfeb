"""The same format on both sides: what the provider gets and what the client gets are the bytes of the other, and the ledger is right."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.dialects.test_usage import newest, since
from tests.support.dialects import DIALECTS, World
from tests.support.upstream import Conversation, Script

USAGE = (321, 45)
"""Tokens in and out, as each answer below tells them."""

_EVENTS = {
    "chat": [
        'data: {"id":"c1", "object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"role":"assistant","content":"\\u00e9"},"finish_reason":null}],"future":1e2}\n\n',
        ": a comment\n\n",
        'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":321,"completion_tokens":45,"total_tokens":366}}\n\n',
        "data: [DONE]\n\n",
    ],
    "responses": [
        'event: response.created\ndata: {"type":"response.created", "sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":1.0,"status":"in_progress","model":"gpt-4o-mini","output":[]}}\n\n',
        'event: response.future\ndata: {"type":"response.future","sequence_number":1,"new":[1e2]}\n\n',
        'event: response.completed\ndata: {"type":"response.completed","sequence_number":2,"response":{"id":"resp_1","object":"response","created_at":1.0,"status":"completed","model":"gpt-4o-mini","output":[],"usage":{"input_tokens":321,"output_tokens":45,"total_tokens":366}}}\n\n',
    ],
    "anthropic": [
        'event: message_start\ndata: {"type":"message_start", "message":{"id":"m1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":321,"output_tokens":1}}}\n\n',
        'event: ping\ndata: {"type": "ping"}\n\n',
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\u00e9"}}\n\n',
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":45},"future":1e2}\n\n',
        'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ],
    "gemini": [
        'data: {"candidates": [{"content": {"parts": [{"text": "\\u00e9"}],"role": "model"},"index": 0}],"future": 1e2}\r\n\r\n',
        'data: {"candidates": [{"content": {"parts": [{"text": ""}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 321,"candidatesTokenCount": 45,"totalTokenCount": 366},"modelVersion": "gemini-2.5-flash"}\r\n\r\n',
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """An exchange in one format: a body that no encoder here would write, and answers that none would write either."""

    provider: str
    path: str
    stream_path: str
    upstream_path: str
    body: bytes
    answer: bytes
    error: bytes

    def asked(self, *, stream: bool) -> bytes:
        """The request's body."""
        if not stream or self.provider == "google":
            return self.body
        return self.body.replace(b'"temperature"', b'"stream" : true, "temperature"')


SAMPLES = {
    "chat": Sample(
        "openai",
        "/v1/chat/completions",
        "/v1/chat/completions",
        "/v1/chat/completions",
        b'{ "temperature": 1e0,  "messages" : [ {"content":"h\\u00e9 \xf0\x9f\x98\x80","role":"user"} ], "future":{"b":[1.0,2]}, "stream_options":{"include_usage":true}, "model": "gpt-4o-mini" }\n',
        b'{"id":"c1", "object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"\\u00e9","future":1e2},"finish_reason":"stop"}],"usage":{"prompt_tokens":321,"completion_tokens":45,"total_tokens":366}}\n',
        b'{"error": {"message":"no \\u00e9", "type":"tokens","param":null,"code":"rate_limit_exceeded","future":1e2}}',
    ),
    "responses": Sample(
        "openai",
        "/v1/responses",
        "/v1/responses",
        "/v1/responses",
        b'{ "store": false, "temperature": 1e0,  "input" : [ {"content":"h\\u00e9","role":"user"} ], "future":{"b":[1.0,2]}, "model": "gpt-4o-mini" }\n',
        b'{"id":"resp_1", "object":"response","created_at":1.0,"status":"completed","model":"gpt-4o-mini","output":[],"future":1e2,"usage":{"input_tokens":321,"output_tokens":45,"total_tokens":366}}\n',
        b'{"error": {"message":"no \\u00e9", "type":"tokens","param":null,"code":"rate_limit_exceeded","future":1e2}}',
    ),
    "anthropic": Sample(
        "anthropic",
        "/v1/messages",
        "/v1/messages",
        "/v1/messages",
        b'{ "max_tokens":9, "temperature": 1e0,  "messages" : [ {"content":"h\\u00e9","role":"user"} ], "future":{"b":[1.0,2]}, "model": "claude-sonnet-4-5" }\n',
        b'{"id":"m1", "type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":"\\u00e9"}],"stop_reason":"end_turn","stop_sequence":null,"future":1e2,"usage":{"input_tokens":321,"output_tokens":45}}\n',
        b'{"type":"error", "error":{"type":"rate_limit_error","message":"no \\u00e9","future":1e2},"request_id":"q"}',
    ),
    "gemini": Sample(
        "google",
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        "/v1beta/models/gemini-2.5-flash:",
        b'{ "generation_config":{"temperature": 1e0},  "contents" : [ {"parts":[{"text":"h\\u00e9"}],"role":"user"} ], "future":{"b":[1.0,2]} }\n',
        b'{"candidates": [{"content": {"parts": [{"text": "\\u00e9"}],"role": "model"},"finishReason": "STOP","index": 0}],\n "usageMetadata": {"promptTokenCount": 321,"candidatesTokenCount": 45,"totalTokenCount": 366},"modelVersion": "gemini-2.5-flash","future": 1e2}\n',
        b'{"error": {"code": 429, "message": "no \\u00e9", "status": "RESOURCE_EXHAUSTED", "future": 1e2}}\n',
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Came:
    status: int
    headers: dict[str, str]
    body: bytes


def call(world: World, path: str, body: bytes, **headers: str) -> Came:
    """What a client gets off the socket. The token goes where every dialect takes it."""
    address = urlsplit(world.server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    sent = {"authorization": f"Bearer {world.user.token}", "content-type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request("POST", path, body, sent)
        answer = connection.getresponse()
        return Came(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def serving(sample: Sample, dialect: str, *, stream: bool) -> Script:
    async def script(conversation: Conversation) -> None:
        if not stream:
            await conversation.whole(sample.answer, x_ratelimit_remaining_requests="9", openai_organization="o")
            return
        await conversation.head(x_ratelimit_remaining_requests="9")
        for event in cut("".join(_EVENTS[dialect]).encode()):
            await conversation.chunk(event)
        await conversation.end()

    return script


def cut(data: bytes, size: int = 77) -> Iterator[bytes]:
    """Pieces that keep to no event's border."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_the_bytes_pass_both_ways(world: World, dialect: str, stream: bool):
    sample = SAMPLES[dialect]
    key = world.keys[sample.provider]
    world.upstream.scripts[key] = serving(sample, dialect, stream=stream)
    last = newest(world)
    asked = sample.asked(stream=stream)
    came = call(world, sample.stream_path if stream else sample.path, asked)
    (seen,) = world.upstream.calls(key)
    assert seen.body == asked
    assert seen.path.startswith(sample.upstream_path)
    assert came.status == 200
    assert came.body == ("".join(_EVENTS[dialect]).encode() if stream else sample.answer)
    assert came.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
    assert came.headers["x-ratelimit-remaining-requests"] == "9"
    (row,) = since(world, last, 1)
    assert (row["prompt_tokens"], row["completion_tokens"]) == USAGE
    assert (row["stream"], row["outcome"], row["usage_estimated"]) == (stream, "complete", False)


def test_a_providers_error_passes_as_it_is(world: World, dialect: str, stream: bool):
    sample = SAMPLES[dialect]

    async def script(conversation: Conversation) -> None:
        await conversation.whole(sample.error, 429, "application/json; charset=utf-8", retry_after="12.5")

    world.upstream.scripts[world.keys[sample.provider]] = script
    last = newest(world)
    came = call(world, sample.stream_path if stream else sample.path, sample.asked(stream=stream))
    assert (came.status, came.body) == (429, sample.error)
    assert came.headers["retry-after"] == "12.5"
    assert came.headers["content-type"] == "application/json; charset=utf-8"
    (row,) = since(world, last, 1)
    assert (row["outcome"], row["error_code"]) == ("refused", "provider_rate_limited")


def test_a_model_named_with_its_provider_changes_the_name_alone(world: World, dialect: str, stream: bool):
    sample = SAMPLES[dialect]
    key = world.keys[sample.provider]
    world.upstream.scripts[key] = serving(sample, dialect, stream=stream)
    asked, path = sample.asked(stream=stream), sample.stream_path if stream else sample.path
    named = asked
    if dialect == "gemini":
        path = path.replace("models/", "models/google/")
    else:
        named = asked.replace(b'"model": "', f'"model": "{sample.provider}/'.encode())
        assert named != asked
    assert call(world, path, named).status == 200
    (seen,) = world.upstream.calls(key)
    assert json.loads(seen.body) == json.loads(asked)
    assert b"1e0" in seen.body, "numbers stay as they were written"


# -- what is added, and hidden -----------------------------------------------------------------------


def test_the_usage_of_a_stream_is_asked_for_and_hidden(world: World):
    sample = SAMPLES["chat"]
    key = world.keys["openai"]
    world.upstream.scripts[key] = serving(sample, "chat", stream=True)
    last = newest(world)
    asked = sample.asked(stream=True).replace(b'"stream_options":{"include_usage":true}, ', b"")
    came = call(world, sample.path, asked)
    (seen,) = world.upstream.calls(key)
    assert json.loads(seen.body) == {**json.loads(asked), "stream_options": {"include_usage": True}}
    shown = [event for event in _EVENTS["chat"] if '"usage"' not in event]
    assert len(shown) == len(_EVENTS["chat"]) - 1
    assert came.body == "".join(shown).encode()
    (row,) = since(world, last, 1)
    assert (row["prompt_tokens"], row["completion_tokens"]) == USAGE


@pytest.mark.parametrize("told", [b"", b'"store": true, '])
def test_responses_are_stored_unless_the_client_says_no_and_never_with_openai(world: World, told: bytes):
    sample = SAMPLES["responses"]
    key = world.keys["openai"]
    world.upstream.scripts[key] = serving(sample, "responses", stream=False)
    came = call(world, sample.path, sample.body.replace(b'"store": false, ', told))
    assert came.status == 200
    (seen,) = world.upstream.calls(key)
    assert json.loads(seen.body)["store"] is False
    assert world.user.get(f"{sample.path}/{json.loads(came.body)['id']}").json == json.loads(came.body)


def test_headers_of_the_format_go_on_and_the_token_does_not(world: World):
    sample = SAMPLES["anthropic"]
    key = world.keys["anthropic"]
    world.upstream.scripts[key] = serving(sample, "anthropic", stream=False)
    came = call(world, sample.path, sample.body, anthropic_beta="one-2026-01-01", anthropic_version="2023-06-01")
    assert came.status == 200
    (seen,) = world.upstream.calls(key)
    assert seen.headers["anthropic-beta"] == "one-2026-01-01"
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert seen.headers["x-api-key"] == key
    assert world.user.token is not None
    assert world.user.token not in json.dumps(seen.headers)


@pytest.mark.parametrize("place", ["authorization", "x-api-key", "x-goog-api-key", "query"])
def test_the_token_travels_in_each_sdks_own_place(world: World, dialect: str, place: str):
    sample = SAMPLES[dialect]
    world.upstream.scripts[world.keys[sample.provider]] = serving(sample, dialect, stream=False)
    token = world.user.token
    assert token is not None
    address = urlsplit(world.server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    headers: dict[str, Any] = {"content-type": "application/json"}
    path = sample.path
    if place == "query":
        path += f"?key={token}"
    else:
        headers[place] = f"Bearer {token}" if place == "authorization" else token
    try:
        connection.request("POST", path, sample.body, headers)
        assert connection.getresponse().status == 200
    finally:
        connection.close()
    assert token not in world.server.logged()
