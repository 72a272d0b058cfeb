"""Each SDK raises its own class of error, with status, code, message and Retry-After: of providers', of Rini's own, in mid-stream."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from rini.canon import Failure, Request, Text
from tests.support.dialects import DIALECTS, PROVIDERS, SDK_ERRORS, Behind, Clients, Raised, World, raised_by
from tests.support.dialects_errors import ERRORS, IN_MID_STREAM, WAIT, ErrorRow
from tests.support.dialects_features import asking
from tests.support.model import Broken, reply

HI = asking({}, {}, {}, {})


def raised(clients: Clients, dialect: str, model: str, *, stream: bool = False, **asked: Any) -> Raised:
    with pytest.raises(SDK_ERRORS) as found:
        clients.ask(dialect, model, asked or HI[dialect], stream=stream)
    return raised_by(found.value, clients.headers)


def breaking(failure: Failure, before: str | None = None) -> Callable[[Request], Broken]:
    return lambda _: Broken(failure, None if before is None else reply(Text(before)))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("row", ERRORS, ids=lambda row: row.kind)
def test_what_a_provider_fails_with(world: World, row: ErrorRow, dialect: str):
    failure = Failure(row.kind, row.message, retry_after=WAIT if row.waits else None)
    for behind in PROVIDERS:
        for stream in (False, True):
            world.script(behind, breaking(failure))
            found = raised(world.clients, dialect, f"{behind.provider}/{behind.model}", stream=stream)
            assert (found.kind, found.status) == getattr(row, dialect), behind
            assert row.message in found.message
            assert found.headers.get("retry-after") == (str(WAIT) if row.waits else None)
            own = found.headers.get("x-rini-code") is None
            assert own or found.code, "either the provider's own answer, or one with a code"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("behind", PROVIDERS, ids=lambda behind: behind.name)
def test_a_provider_that_breaks_off_in_mid_stream(world: World, dialect: str, behind: Behind):
    world.script(behind, breaking(Failure("overloaded", "I am full."), before="hello there"))
    found = raised(world.clients, dialect, f"{behind.provider}/{behind.model}", stream=True)
    assert found.kind == IN_MID_STREAM[dialect]
    assert "I am full." in found.message
    assert found.status in (None, 200, 503), "the stream began well"


def pieces_of_chat(clients: Clients, model: str) -> Iterator[str]:
    for chunk in clients.openai.chat.completions.create(model=model, stream=True, **HI["chat"]):
        yield chunk.choices[0].delta.content or ""


def pieces_of_responses(clients: Clients, model: str) -> Iterator[str]:
    for event in clients.openai.responses.create(model=model, stream=True, **HI["responses"]):
        if event.type == "response.output_text.delta":
            yield event.delta


def pieces_of_anthropic(clients: Clients, model: str) -> Iterator[str]:
    with clients.anthropic.messages.stream(model=model, max_tokens=50, **HI["anthropic"]) as stream:
        yield from stream.text_stream


def pieces_of_gemini(clients: Clients, model: str) -> Iterator[str]:
    for answer in clients.google.models.generate_content_stream(model=model, **HI["gemini"]):
        yield answer.text or ""


@pytest.mark.parametrize("pieces", [pieces_of_chat, pieces_of_responses, pieces_of_anthropic, pieces_of_gemini])
def test_what_came_before_a_stream_broke_is_seen(world: World, pieces: Callable[[Clients, str], Iterator[str]]):
    for behind in PROVIDERS:
        world.script(behind, breaking(Failure("overloaded", "I am full."), before="hello there"))
        coming = pieces(world.clients, f"{behind.provider}/{behind.model}")
        seen = ""
        while seen != "hello there":
            seen += next(coming)
        with pytest.raises(SDK_ERRORS):
            list(coming)


# -- Rini's own --------------------------------------------------------------------------------------


@pytest.fixture
def newcomer(world: World) -> Iterator[Clients]:
    """A user with a key of OpenAI's alone."""
    user = world.server.user()
    assert user.token is not None
    clients = Clients(world.clients.url, user.token)
    yield clients
    clients.close()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_token_that_nobody_has(world: World, dialect: str, stream: bool):
    stranger = Clients(world.clients.url, "nobody")
    try:
        found = raised(stranger, dialect, "openai/gpt-4o-mini", stream=stream)
    finally:
        stranger.close()
    assert (found.kind, found.status) == _by(dialect, "AuthenticationError", 401)
    assert found.headers["x-rini-code"] == "not_authenticated"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_provider_that_is_not_there(newcomer: Clients, dialect: str):
    found = raised(newcomer, dialect, "nowhere/gpt-4o-mini")
    assert (found.kind, found.status) == _by(dialect, "NotFoundError", 404)
    assert "nowhere" in found.message


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_provider_of_which_the_user_has_no_key(newcomer: Clients, dialect: str):
    found = raised(newcomer, dialect, "anthropic/claude-sonnet-4-5")
    assert (found.kind, found.status) == _by(dialect, "BadRequestError", 400)
    assert found.headers["x-rini-code"] == "provider_key_missing"
    assert "'anthropic'" in found.message


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_token_that_may_not_ask_the_model(world: World, dialect: str):
    made = world.user.post("/users/me/tokens", {"name": dialect, "models": ["openai/gpt-5*"]})
    clients = Clients(world.clients.url, made.json["token"])
    try:
        found = raised(clients, dialect, "anthropic/claude-sonnet-4-5")
    finally:
        clients.close()
    assert (found.kind, found.status) == _by(dialect, "PermissionDeniedError", 403)
    assert found.headers["x-rini-code"] == "model_not_allowed"


@pytest.mark.parametrize("behind", PROVIDERS[2:4], ids=lambda behind: behind.name)
@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_a_request_that_makes_no_sense(world: World, dialect: str, behind: Behind):
    wrong = (
        {"messages": [{"role": "nobody", "content": "hi"}]}
        if dialect == "chat"
        else {"input": [{"role": "nobody", "content": "hi"}]}
    )
    found = raised(world.clients, dialect, f"{behind.provider}/{behind.model}", **wrong)
    assert (found.kind, found.status) == ("BadRequestError", 400)
    assert found.headers["x-rini-code"] == "invalid_request"
    assert not world.seen(behind), "nothing is asked"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_a_body_that_is_no_json(world: World, path: str):
    answer = world.user.request("POST", path, raw=b"{")
    assert answer.status == 400
    assert set(json.loads(answer.body)) >= {"error"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_unsupported_parameter_names_the_field_and_who_has_it(world: World, dialect: str):
    asked = {
        "chat": {"n": 2},
        "responses": {"include": ["message.output_text.logprobs"]},
        "anthropic": {"extra_body": {"top_k": 5}},
        "gemini": {"config": {"candidate_count": 2}},
    }[dialect]
    model = "openai/gpt-4o-mini" if dialect == "anthropic" else "anthropic/claude-sonnet-4-5"
    field = {"chat": "n", "responses": "logprobs", "anthropic": "top_k", "gemini": "n"}[dialect]
    found = raised(world.clients, dialect, model, **{**HI[dialect], **asked})
    assert (found.kind, found.status) == _by(dialect, "UnprocessableEntityError", 422)
    assert found.headers["x-rini-code"] == "unsupported_parameter"
    assert field in found.message
    assert "google" in found.message
    if dialect in ("chat", "responses"):
        assert isinstance(found.error, openai.APIError)
        assert found.error.param == field


def _by(dialect: str, name: str, status: int) -> tuple[str, int]:
    return ("ClientError" if dialect == "gemini" else name, status)
