"""Contexts that no name tells: the operator says them, the server lists them, or a refusal tells."""

from collections.abc import Callable
from typing import Any

import pytest

from rini.canon import Failure, Reply, Request, Text, Usage
from rini.inference.estimate import request_tokens
from tests.support.model import Broken, reply, scripted, user_of
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Upstream

OPERATORS = "openai_compatible/served-*=4096, openai_compatible/served-long=200000,openai/gpt-4o=4096"
LONG = "word " * 960
"""About a thousand tokens."""


class Model:
    """A model that counts as the estimate does, and refuses more than ``window`` tokens if it has one."""

    def __init__(self, window: int | None = None) -> None:
        self.window = window
        self.sizes: list[int] = []
        self.refused = 0

    def __call__(self, request: Request) -> Reply | Broken:
        tokens = request_tokens(request)
        if self.window is not None and tokens > self.window:
            self.refused += 1
            told = f"This model's maximum context length is {self.window} tokens. However, you asked with {tokens}."
            return Broken(Failure(kind="context_too_long", message=told, status=400, code="context_length_exceeded"))
        self.sizes.append(tokens)
        return reply(Text(LONG), usage=Usage(input_tokens=tokens, output_tokens=1000))


@pytest.fixture
def server(shared_server: Callable[..., Server]) -> Server:
    return shared_server(RINI_CONTEXT_WINDOWS=OPERATORS)


def fill(user: Client, model: str, provider: str = "openai_compatible", turns: int = 7) -> list[Any]:
    """Take so many turns of a thousand tokens each in a session of their own."""
    session = user.session(context_policy="truncate")
    answers = [
        user.ask(f"question {number}", session_id=session, provider=provider, model=model) for number in range(turns)
    ]
    assert [answer.status for answer in answers] == [200] * turns
    return [answer.json for answer in answers]


def lists(user: Client, upstream: Upstream, answer: Model, *models: dict[str, Any]) -> None:
    """Have the user's server list ``models`` too."""
    answering = scripted("openai_compatible", answer)

    async def script(conversation: Conversation) -> None:
        if conversation.seen.path == "/v1/models":
            await conversation.whole({"object": "list", "data": list(models)})
        else:
            await answering(conversation)

    upstream.scripts[user.provider_key] = script


def shown_context(user: Client, answer: Any) -> int | None:
    shown = user.get(f"/messages/{answer['assistant_message']['id']}/context")
    assert shown.status == 200, shown
    return shown.json["context_tokens"]


def test_the_operator_says_what_a_model_reads(server: Server, upstream: Upstream) -> None:
    model = Model(4096)
    user = user_of(server, upstream, "openai_compatible", model)
    answers = fill(user, "served-short")
    assert model.refused == 0
    assert max(model.sizes) <= 4096 - 512
    cuts = [answer["context"] for answer in answers if answer.get("context", {}).get("made_now")]
    assert len(cuts) >= 1
    assert shown_context(user, answers[-1]) == 4096


def test_the_exact_name_goes_before_the_beginning_of_one(server: Server, upstream: Upstream) -> None:
    model = Model()
    user = user_of(server, upstream, "openai_compatible", model)
    answers = fill(user, "served-long")
    assert model.sizes == sorted(model.sizes)
    assert model.sizes[-1] > 6000
    assert shown_context(user, answers[-1]) == 200_000


def test_the_operator_goes_before_what_a_name_tells(server: Server, upstream: Upstream) -> None:
    model = Model()
    fill(user_of(server, upstream, "openai", model), "gpt-4o", "openai")
    assert max(model.sizes) <= 4096 - 512


def test_what_a_server_lists_is_what_its_model_reads(server: Server, upstream: Upstream) -> None:
    model = Model(4096)
    user = user_of(server, upstream, "openai_compatible", model)
    lists(user, upstream, model, {"id": "some-model", "max_model_len": 4096}, {"id": "served-short"})
    listed = {each["id"]: each.get("context_length") for each in user.get("/v1/models").json["data"]}
    assert listed["openai_compatible/some-model"] == 4096
    assert listed["openai_compatible/served-short"] == 4096  # as the operator says
    answers = fill(user, "some-model")
    assert model.refused == 0
    assert max(model.sizes) <= 4096 - 512
    assert shown_context(user, answers[-1]) == 4096
    # It counts for the server that listed it, not for another user's.
    other = Model()
    stranger = user_of(server, upstream, "openai_compatible", other)
    answers = fill(stranger, "some-model")
    assert max(other.sizes) > 6000
    assert shown_context(stranger, answers[-1]) is None


def test_another_server_of_the_same_user_is_another(server: Server, upstream: Upstream) -> None:
    listing, larger = Model(4096), Model()
    user = user_of(server, upstream, "openai_compatible", listing)
    upstream.scripts["sk-larger"] = scripted("openai_compatible", larger)
    lists(user, upstream, listing, {"id": "some-model", "max_model_len": 4096})
    assert user.get("/v1/models").status == 200
    body = {"model_provider": "openai_compatible", "api_key_value": "sk-larger", "base_url": f"{upstream.url}/v1"}
    assert user.post("/api-keys/", body).status == 201
    fill(user, "some-model")
    assert max(larger.sizes) > 6000


def test_a_server_that_refuses_is_refused_by_once(server: Server, upstream: Upstream) -> None:
    model = Model(4096)
    user = user_of(server, upstream, "openai_compatible", model)
    # llama.cpp lists what a model was trained with, however little it is served with.
    lists(user, upstream, model, {"id": "some-model", "meta": {"n_ctx_train": 131_072}})
    assert user.get("/v1/models").status == 200
    fill(user, "some-model", turns=12)
    assert model.refused == 1
    fill(user, "some-model", turns=6)
    assert model.refused == 1
