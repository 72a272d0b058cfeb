"""The lists of models, as the official SDKs read them from a running server."""

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types

from tests.models.conftest import answering
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Upstream

NAMES = ("gpt-4o", "gpt-5-mini", "text-embedding-3-small")


@pytest.fixture
def reader(server: Server, upstream: Upstream) -> Client:
    """A user with three OpenAI models and an alias."""
    user = server.user()
    listed = {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 7, "owned_by": "o"} for name in NAMES],
    }

    async def script(conversation: Conversation) -> None:
        if conversation.seen.path == "/v1/models":
            await conversation.whole(listed)
        else:
            await conversation.whole({"error": {"message": "no such model", "code": "model_not_found"}}, 404)

    upstream.scripts[user.provider_key] = script
    assert user.post("/models/aliases", {"alias": "fast", "model": "openai/gpt-4o"}).status == 201
    return user


IDS = ["openai/gpt-4o", "openai/gpt-5-mini", "openai/text-embedding-3-small", "fast"]


def test_openais_sdk(reader: Client):
    with openai.OpenAI(base_url=f"{reader.url}/v1", api_key=reader.token, max_retries=0) as client:
        models = client.models.list().data
        assert [model.id for model in models] == IDS
        assert (models[0].object, models[0].created, models[0].owned_by) == ("model", 7, "o")
        assert models[0].context_length == 128_000
        for name, found in (("openai/gpt-4o", IDS[0]), ("gpt-4o", IDS[0]), ("fast", "fast")):
            assert client.models.retrieve(name).id == found
        for name in ("openai/gpt-none", "nobody-knows", "anthropic/claude-opus-5"):
            with pytest.raises(openai.NotFoundError):
                client.models.retrieve(name)
    with (
        openai.OpenAI(base_url=f"{reader.url}/v1", api_key="nobody", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_anthropics_sdk(reader: Client):
    with anthropic.Anthropic(base_url=reader.url, api_key=reader.token, max_retries=0) as client:
        page = client.models.list(limit=3)
        assert (page.has_more, page.first_id, page.last_id) == (True, IDS[0], IDS[2])
        assert [model.id for model in page] == IDS
        assert [model.id for model in client.models.list(limit=1)] == IDS
        assert [model.id for model in client.models.list(before_id=IDS[2], limit=1)] == [IDS[1], IDS[0]]
        assert client.models.list(before_id=IDS[1], limit=1).has_more is False
        first = page.data[0]
        assert (first.type, first.max_input_tokens, first.max_tokens) == ("model", 128_000, 16_384)
        assert first.created_at.timestamp() == 7
        assert first.capabilities is not None
        assert first.capabilities.image_input.supported
        assert client.models.retrieve("fast").display_name == "fast (openai/gpt-4o)"
        assert client.models.retrieve("openai/gpt-4o").id == "openai/gpt-4o"
        assert [model.id for model in client.models.list(lifecycle=["retired"])] == []
        with pytest.raises(anthropic.NotFoundError):
            client.models.retrieve("nobody-knows")
        for wrong in (
            {"limit": 0},
            {"limit": 1001},
            {"after_id": "nothing"},
            {"after_id": IDS[0], "before_id": IDS[1]},
        ):
            with pytest.raises(anthropic.BadRequestError):
                client.models.list(**wrong)
    with (
        anthropic.Anthropic(base_url=reader.url, api_key="nobody", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError),
    ):
        stranger.models.list()


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_googles_sdk(reader: Client, version: str):
    options = types.HttpOptions(base_url=reader.url, api_version=version)
    with genai.Client(api_key=reader.token, http_options=options) as client:
        names = [f"models/{name}" for name in IDS]
        assert [model.name for model in client.models.list()] == names
        assert [model.name for model in client.models.list(config={"page_size": 1})] == names
        found = client.models.get(model="openai/gpt-4o")
        assert (found.name, found.input_token_limit, found.output_token_limit) == (names[0], 128_000, 16_384)
        assert found.supported_actions == ["generateContent", "countTokens"]
        assert client.models.get(model=names[1]).thinking is True
        assert client.models.get(model="fast").display_name == "fast (openai/gpt-4o)"
        with pytest.raises(google_errors.ClientError) as missing:
            client.models.get(model="nobody-knows")
        assert missing.value.code == 404
        with pytest.raises(google_errors.ClientError) as wrong:
            client.models.list(config={"page_token": "nothing"})
        assert wrong.value.code == 400
    with genai.Client(api_key="nobody", http_options=options) as stranger, pytest.raises(google_errors.ClientError):
        stranger.models.list()


def test_a_token_sees_the_models_that_it_may_call(reader: Client):
    token = reader.post("/users/me/tokens", {"name": "x", "models": ["openai/gpt-5*"]}).json["token"]
    with openai.OpenAI(base_url=f"{reader.url}/v1", api_key=token, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["openai/gpt-5-mini"]
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("openai/gpt-4o")


def test_a_name_in_the_path_may_be_encoded_or_not(reader: Client):
    for path in ("openai/gpt-4o", "openai%2Fgpt-4o", "openai%2fgpt%2D4o", "openai/gpt-4o/"):
        assert reader.get(f"/v1/models/{path}").json["id"] == "openai/gpt-4o"
    assert reader.get("/v1beta/models/models%2Fopenai%2Fgpt-4o").json["name"] == "models/openai/gpt-4o"
    assert reader.get("/v1/models/").json == reader.get("/v1/models").json


def test_only_get_is_taken(reader: Client):
    for path in ("/v1/models", "/v1/models/openai/gpt-4o", "/v1beta/models"):
        answer = reader.request("DELETE", path)
        assert answer.status in (400, 405)  # each dialect's own way of refusing
        assert answer.headers["allow"] == "GET"


def test_where_a_provider_fails_the_list_is_there(server: Server, upstream: Upstream, reader: Client):
    user = server.user()
    upstream.scripts[user.provider_key] = answering(b"<html>down</html>", 503)
    answer = user.get("/v1/models")
    assert (answer.status, answer.json) == (200, {"object": "list", "data": []})
    assert user.get("/v1/models/gpt-4o").status == 503
    logged = [line for line in server.logged().splitlines() if "models_not_listed" in line]
    assert logged
    assert user.provider_key not in "".join(logged)
