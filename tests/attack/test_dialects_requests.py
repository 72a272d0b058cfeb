"""Requests in a dialect that mean no good: tokens for some models that ask for others, paths, answers that a browser would run."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from rini import errors
from rini.api.dialects.errors import rendering
from rini.errors import RiniError
from rini.providers.failures import without_key
from rini.wire.anthropic import ANTHROPIC
from rini.wire.gemini import GEMINI
from rini.wire.openai_chat import OPENAI_CHAT
from rini.wire.openai_responses import OPENAI_RESPONSES
from tests.dialects.test_passing import SAMPLES, call
from tests.dialects.test_usage import newest, since
from tests.support.dialects import DIALECTS, World, world
from tests.support.upstream import Conversation, Seen, Upstream

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def one_for_all(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("requests"), upstream) as made:
        yield made


@pytest.fixture
def made(one_for_all: World) -> World:
    for provider, key in one_for_all.keys.items():
        one_for_all.upstream.seen.pop(key, None)
        sample = next((each for each in SAMPLES.values() if each.provider == provider), SAMPLES["chat"])

        async def script(conversation: Conversation, answer: bytes = sample.answer) -> None:
            if conversation.seen.path.endswith("/responses"):
                answer = SAMPLES["responses"].answer
            await conversation.whole(answer)

        one_for_all.upstream.scripts[key] = script
    return one_for_all


def seen(made: World) -> list[Seen]:
    return [each for key in made.keys.values() for each in made.upstream.calls(key)]


# -- tokens for some models --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restricted(one_for_all: World) -> str:
    models = ["openai_compatible/small", "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-fl*"]
    return one_for_all.user.post("/users/me/tokens", {"name": "some", "models": models}).json["token"]


OTHERS = [
    (CHAT, b'{"model":"openai_compatible/small","models":["big"],"messages":[]}'),
    (CHAT, b'{"model":"openai_compatible/small","model\\u0073":["big"],"messages":[]}'),
    (CHAT, b'{"model":"openai_compatible/small","Models":["big"],"messages":[]}'),
    (CHAT, b'{"model":"openai_compatible/small","route":"fallback","messages":[]}'),
    (CHAT, b'{"model":"openai_compatible/small","fallbacks":["big"],"messages":[]}'),
    (CHAT, b'{"model":"openai_compatible/small","Model":"big","messages":[]}'),
    ("/v1/messages", b'{"model":"claude-sonnet-4-5","fallbacks":[{"model":"claude-opus-4-5"}],"max_tokens":5,"messages":[]}'),
    ("/v1/messages", b'{"model":"claude-sonnet-4-5","tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-opus-4-5"}],"messages":[]}'),
    ("/v1/responses", b'{"model":"gpt-4o-mini","tools":[1,{"type":"image_generation","model":"gpt-image-1"}],"input":"x"}'),
    ("/v1/embeddings", b'{"model":"openai_compatible/small","models":["big"],"input":"x"}'),
    ("/llm/chat-completions/", b'{"provider":"openai_compatible","model":"small","messages":[{"role":"user","content":"x"}],"llm_params":{"models":["big"]}}'),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), OTHERS, ids=range(len(OTHERS)))
def test_a_token_for_some_models_has_no_other_ones_asked(made: World, restricted: str, path: str, body: bytes):
    refused = call(made, path, body, authorization=f"Bearer {restricted}")
    assert refused.status == 403, refused.body
    assert b"model_not_allowed" in refused.body or refused.headers["x-rini-code"] == "model_not_allowed"
    assert not seen(made)


@pytest.mark.parametrize("name", [b'"model"', b'"mod\\u0065l"'])
def test_the_model_that_was_checked_is_the_only_one_in_the_body(made: World, restricted: str, name: bytes):
    body = (
        b'{%s:"big","model":"openai_compatible/small","stream":true,"stream":false,"models":null,"messages":[]}' % name
    )
    assert call(made, CHAT, body, authorization=f"Bearer {restricted}").status == 200
    (one,) = seen(made)
    assert one.body == b'{"model":"small","stream":false,"models":null,"messages":[]}'


def test_a_token_for_all_models_may_use_a_providers_fallbacks(made: World):
    body = b'{"model":"openai_compatible/small","models":["big"],"messages":[]}'
    assert call(made, CHAT, body).status == 200
    (one,) = seen(made)
    assert one.json["models"] == ["big"]


def test_a_name_is_no_path(made: World, restricted: str):
    path = "/v1beta/models/google/gemini-2.5-fl..%2f..%2fgemini-3-pro:generateContent"
    assert call(made, path, SAMPLES["gemini"].body, authorization=f"Bearer {restricted}").status == 200
    (one,) = seen(made)
    assert one.path == "/v1beta/models/gemini-2.5-fl..%2F..%2Fgemini-3-pro:generateContent"


# -- requests ----------------------------------------------------------------------------------------


def test_a_thread_that_is_no_text_is_the_clients_fault(made: World):
    body = b'{"model":"openai/gpt-4o-mini","max_tokens":5,"thread":"\xff","messages":[{"role":"user","content":"x"}]}'
    came = call(made, "/v1/messages", body)
    assert (came.status, came.headers["x-rini-code"]) == (400, "invalid_request")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_slash_behind_the_path_changes_nothing(made: World, dialect: str):
    sample = SAMPLES[dialect]
    assert call(made, sample.path + "/", sample.body).status == 200


def test_beta_features_in_several_headers_all_go_on(made: World):
    address = urlsplit(made.server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    body = SAMPLES["anthropic"].body
    connection.putrequest("POST", "/v1/messages")
    for name, value in [
        ("authorization", f"Bearer {made.user.token}"),
        ("content-length", str(len(body))),
        ("anthropic-beta", "one"),
        ("anthropic-beta", "two"),
    ]:
        connection.putheader(name, value)
    connection.endheaders(body)
    assert connection.getresponse().status == 200
    connection.close()
    (one,) = seen(made)
    assert one.headers["anthropic-beta"] == "one, two"


# -- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", [200, 403, 500])
@pytest.mark.parametrize("kind", ["text/html", "application/xhtml+xml", "image/svg+xml", "multipart/x-mixed-replace"])
def test_no_answer_is_a_page_of_this_servers(made: World, dialect: str, status: int, kind: str):
    page = b"<html><script>alert(1)</script></html>"

    async def script(conversation: Conversation) -> None:
        await conversation.whole(page, status, kind)

    sample = SAMPLES[dialect]
    made.upstream.scripts[made.keys[sample.provider]] = script
    came = call(made, sample.path, sample.body)
    assert (came.status, came.body) == (status, page)
    assert came.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", [600, 799, 999])
@pytest.mark.parametrize("stream", [False, True])
def test_a_status_that_http_does_not_have_is_an_error_like_others(
    made: World, dialect: str, status: int, *, stream: bool
):
    sample = SAMPLES[dialect]

    async def script(conversation: Conversation) -> None:
        await conversation.whole(sample.error, status)

    made.upstream.scripts[made.keys[sample.provider]] = script
    last = newest(made)
    came = call(made, sample.stream_path if stream else sample.path, sample.asked(stream=stream))
    assert 400 <= came.status <= 599
    assert "error" in json.loads(came.body)
    (row,) = since(made, last, 1)
    assert row["outcome"] == "refused"


def test_a_key_is_taken_out_however_it_is_written():
    key = 'sk-a/b"cdefg'
    as_json = json.dumps(key)
    for quoted in (key, as_json, as_json.replace("/", "\\/")):
        assert b"sk-a" not in without_key(key, f"bad key {quoted}".encode())


# -- errors ------------------------------------------------------------------------------------------


def _all(kind: type[RiniError] = RiniError) -> Iterator[type[RiniError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _all(each)


@pytest.mark.parametrize("codec", [OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC, GEMINI], ids=lambda codec: codec.name)
def test_each_error_has_a_message_and_a_status_in_each_dialect(codec: Any):
    kinds = [each for each in dict.fromkeys(_all()) if each.__module__ == errors.__name__]
    assert len(kinds) > 30
    for kind in kinds:
        error = kind.__new__(kind)
        RiniError.__init__(error, "What went wrong.", headers={"retry-after": "7"})
        answer: Any = rendering(codec)({"type": "http", "headers": []}, error)
        body = json.loads(answer.body)
        assert 400 <= answer.status_code <= 599, kind
        assert body["error"]["message"].endswith("What went wrong."), kind
        assert answer.headers["retry-after"] == "7"
        assert answer.headers["x-rini-code"] == kind.code
        assert (answer.status_code >= 500) == (kind.status >= 500), kind
