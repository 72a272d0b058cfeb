"""Which models a user can reach, as providers say it and where they fail."""

import asyncio
import threading
from decimal import Decimal
from typing import Any

import pytest

from rini.canon import ModelInfo
from rini.errors import ModelNotFoundError, ProviderKeyRefusedError, ProviderUnavailableError
from rini.models import aliases, listing, provider_lists
from rini.models.listing import Listing
from rini.providers.model_names import ModelName
from tests.models.conftest import World, answering, at_paths, openai_list
from tests.support.upstream import Conversation, Script

BOXED = ModelInfo(id="local/smollm2-135m-instruct", provider="local", context_tokens=8192)

CLAUDE = {
    "type": "model",
    "id": "claude-opus-5",
    "display_name": "Claude Opus 5",
    "created_at": "2026-07-24T00:00:00Z",
    "max_input_tokens": 1_000_000,
    "max_tokens": 128_000,
    "capabilities": {"pdf_input": {"supported": False}, "image_input": {}},
}
GEMINI = {
    "name": "models/gemini-2.5-flash",
    "displayName": "Gemini 2.5 Flash",
    "inputTokenLimit": 1_048_576,
    "outputTokenLimit": 65_536,
    "supportedGenerationMethods": ["generateContent", "countTokens"],
    "thinking": True,
}


def failing(status: int = 500) -> Script:
    return answering({"error": {"message": "no", "type": "server_error"}}, status)


def test_every_provider_that_the_user_has_a_key_of_is_asked(world: World):
    world.boxed = (BOXED,)
    world.key("openai", openai_list("gpt-4o", "text-embedding-3-small"))
    world.key("anthropic", answering({"data": [CLAUDE], "has_more": False}))
    google, _ = world.key("google", answering({"models": [GEMINI]}))
    server, _ = world.key("openai_compatible", openai_list("meta-llama/Llama-3"), f"{world.upstream.url}/v1")
    assert world.ids() == [
        "openai/gpt-4o",
        "openai/text-embedding-3-small",
        "anthropic/claude-opus-5",
        "google/gemini-2.5-flash",
        "openai_compatible/meta-llama/Llama-3",
        "local/smollm2-135m-instruct",
    ]
    assert world.upstream.calls(google)[0].path.startswith("/v1beta/models?pageSize=1000")
    assert [(seen.method, seen.path) for seen in world.upstream.calls(server)] == [("GET", "/v1/models")]


def test_who_has_no_key_has_the_models_in_the_box(world: World):
    assert world.ids() == []
    world.boxed = (BOXED,)
    assert world.ids() == ["local/smollm2-135m-instruct"]


def test_what_the_provider_does_not_say_is_joined(world: World):
    world.key("openai", openai_list("gpt-4o"))
    world.key("anthropic", answering({"data": [CLAUDE]}))
    openai, claude = world.run(lambda listing: listing.of(world.user_id))
    assert openai.context_tokens == 128_000
    assert openai.max_output_tokens == 16_384
    assert openai.capabilities.vision is True
    assert openai.capabilities.thinking is False
    assert (openai.prices.input, openai.prices.output) == (Decimal("2.5"), Decimal(10))
    assert openai.prices.cache_read == Decimal("1.25")
    assert (claude.display_name, claude.context_tokens, claude.max_output_tokens) == (
        "Claude Opus 5",
        1_000_000,
        128_000,
    )
    assert (claude.capabilities.tools, claude.capabilities.vision) == (True, True)
    assert claude.capabilities.pdf is False  # as it says itself
    assert claude.prices.input is not None


def test_pages_are_followed(world: World):
    async def script(conversation: Conversation) -> None:
        path = conversation.seen.path
        number = int(path.rpartition("after_id=m")[2]) + 1 if "after_id" in path else 0
        body = {"data": [{**CLAUDE, "id": f"m{number}"}], "has_more": number < 3, "last_id": f"m{number}"}
        await conversation.whole(body)

    world.key("anthropic", script)
    assert world.ids() == [f"anthropic/m{number}" for number in range(4)]


def test_pages_without_end_end(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provider_lists, "MOST_PAGES", 5)
    count = 0

    async def endless(conversation: Conversation) -> None:
        nonlocal count
        count += 1
        await conversation.whole({"models": [{"name": f"models/m{count}"}], "nextPageToken": f"t{count}"})

    async def in_a_circle(conversation: Conversation) -> None:
        await conversation.whole({"data": [{**CLAUDE, "id": "a"}], "has_more": True, "last_id": "a"})

    world.key("google", endless)
    circle, _ = world.key("anthropic", in_a_circle)
    assert world.ids() == ["anthropic/a", *(f"google/m{number}" for number in range(1, 6))]
    assert len(world.upstream.calls(circle)) == 2


def test_a_list_is_asked_for_once_however_many_ask(world: World):
    key, _ = world.key("openai", openai_list("gpt-4o"))

    async def many(listing: Listing) -> Any:
        return await asyncio.gather(*(listing.of(world.user_id) for _ in range(20)), listing.of(world.user_id))

    answers = world.run(many)
    assert {tuple(model.id for model in answer) for answer in answers} == {("openai/gpt-4o",)}
    assert len(world.upstream.calls(key)) == 1


def test_who_leaves_does_not_take_the_answer_from_the_others(world: World):
    go_on = threading.Event()

    async def slow(conversation: Conversation) -> None:
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        await openai_list("gpt-4o")(conversation)

    key, _ = world.key("openai", slow)

    async def leave(listing: Listing) -> Any:
        leaving, staying = (asyncio.create_task(listing.of(world.user_id)) for _ in range(2))
        while not world.upstream.calls(key):
            await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.wait([leaving])
        go_on.set()
        return await staying

    assert [model.id for model in world.run(leave)] == ["openai/gpt-4o"]
    assert len(world.upstream.calls(key)) == 1


def test_another_key_has_another_list_at_once(world: World):
    world.key("openai", openai_list("gpt-4o"))

    async def change(listing: Listing) -> list[list[str]]:
        found = [[model.id for model in await listing.of(world.user_id)]]
        _, key_id = world.key("openai", openai_list("gpt-5"))
        found.append([model.id for model in await listing.of(world.user_id)])
        world.database.write_sync(lambda connection: _delete_key(connection, world.user_id, key_id))
        world.keys.forget(world.user_id)
        found.append([model.id for model in await listing.of(world.user_id)])
        return found

    assert world.run(change) == [["openai/gpt-4o"], ["openai/gpt-5"], ["openai/gpt-4o"]]


def _delete_key(connection: Any, user_id: int, key_id: int) -> None:
    from rini.accounts import provider_keys

    provider_keys.delete(connection, user_id, key_id)


def test_a_provider_that_fails_is_left_out_and_its_last_list_used(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listing, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(listing, "FAILURE_KEPT_SECONDS", 100.0)
    world.key("openai", openai_list("gpt-4o"))
    failed, _ = world.key("anthropic", failing(401))

    async def fail(listing: Listing) -> list[list[str]]:
        found = [[model.id for model in await listing.of(world.user_id)]]
        for script in world.upstream.scripts:
            if world.upstream.scripts[script] is not None and script.startswith("sk-models"):
                world.upstream.scripts[script] = failing(503)
        found += [[model.id for model in await listing.of(world.user_id)] for _ in range(3)]
        return found

    assert world.run(fail) == [["openai/gpt-4o"]] * 4
    assert len(world.upstream.calls(failed)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"7",
        b'{"object":"list"}',
        b'{"data":7}',
        b'{"data":[',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"error":{"message":"x"}}',
    ],
)
def test_what_is_no_list_is_left_out(world: World, body: bytes):
    world.boxed = (BOXED,)
    world.key("openai", answering(body))
    assert world.ids() == ["local/smollm2-135m-instruct"]


def test_what_is_no_model_is_left_out_of_a_list(world: World):
    odd = [
        None,
        7,
        {},
        {"id": 7},
        {"id": ""},
        {"id": "a\u0000"},
        {"id": "a\nb"},
        {"id": "n" * 10_000},
        {"id": "good", "created": "yesterday", "owned_by": ["x"], "context_length": "long", "pricing": 7},
        {"id": "good", "context_length": 5},
        {"id": "dear", "pricing": {"prompt": "1e-9999999", "completion": "-1"}, "context_length": -5},
    ]
    world.key("openai_compatible", answering({"data": odd}), f"{world.upstream.url}/v1")
    good, dear = world.run(lambda listing: listing.of(world.user_id))
    assert (good.id, good.context_tokens, good.created) == ("openai_compatible/good", None, None)
    assert (dear.prices.input, dear.prices.output, dear.context_tokens) == (None, None, None)


@pytest.mark.parametrize(("count", "listed"), [(6000, provider_lists.MOST_MODELS), (300_000, 0)])
def test_of_very_many_models_some_are_listed_or_none(world: World, count: int, listed: int):
    body = b'{"data":[' + b",".join(b'{"id":"%d"}' % number for number in range(count)) + b"]}"
    world.key("openai_compatible", answering(body), f"{world.upstream.url}/v1")
    assert len(world.ids()) == listed


def test_a_list_that_is_too_large_is_left_out(world: World):
    body = b'{"data":[{"id":"' + b"x" * 10_000_000 + b'"}]}'
    world.key("openai_compatible", answering(body), f"{world.upstream.url}/v1")
    assert world.ids() == []


def test_a_provider_that_does_not_come_to_an_end_does_not_hold_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(provider_lists, "SECONDS", 0.3)

    async def trickling(conversation: Conversation) -> None:
        await conversation.head(content_type="application/json")
        while True:
            await conversation.chunk(b" ")
            await asyncio.sleep(0.05)

    world.key("openai", trickling)
    world.key("anthropic", answering({"data": [CLAUDE]}))
    assert world.ids() == ["anthropic/claude-opus-5"]


def test_aliases_are_listed_with_what_is_known_of_their_models(world: World):
    world.key("openai", openai_list("gpt-4o"))
    for name, target in (("fast", "gpt-4o"), ("other", "gpt-99")):
        world.database.write_sync(aliases.create, world.user_id, name, ModelName("openai", target))
    models = {model.id: model for model in world.run(lambda listing: listing.of(world.user_id))}
    assert list(models) == ["openai/gpt-4o", "fast", "other"]
    assert (models["fast"].owned_by, models["fast"].context_tokens) == ("alias", 128_000)
    assert (models["other"].owned_by, models["other"].context_tokens) == ("alias", None)


def test_what_may_not_be_called_is_neither_listed_nor_found(world: World):
    world.boxed = (BOXED,)
    world.key("openai", openai_list("gpt-4o", "gpt-5"))
    world.database.write_sync(aliases.create, world.user_id, "fast", ModelName("openai", "gpt-4o"))
    world.database.write_sync(aliases.create, world.user_id, "good", ModelName("openai", "gpt-5"))

    def may_call(provider: str, model: str) -> bool:
        return (provider, model) == ("openai", "gpt-5")

    assert world.ids(may_call) == ["openai/gpt-5", "good"]
    for name in ("openai/gpt-4o", "gpt-4o", "fast", "local/smollm2-135m-instruct"):
        with pytest.raises(ModelNotFoundError):
            world.run(lambda listing, name=name: listing.one(world.user_id, name, may_call))
    assert world.run(lambda listing: listing.one(world.user_id, "good", may_call)).id == "good"


def test_one_model_by_all_of_its_names(world: World):
    world.boxed = (BOXED,)
    world.key("openai", openai_list("gpt-4o"))
    world.database.write_sync(aliases.create, world.user_id, "fast", ModelName("openai", "gpt-4o"))

    async def ask(listing: Listing) -> list[str]:
        names = ("openai/gpt-4o", "gpt-4o", "models/gpt-4o", "fast", "smollm2-135m-instruct")
        names = (*names, "models/fast")
        return [(await listing.one(world.user_id, name)).id for name in names]

    assert world.run(ask) == [
        "openai/gpt-4o",
        "openai/gpt-4o",
        "openai/gpt-4o",
        "fast",
        "local/smollm2-135m-instruct",
        "fast",
    ]


def test_what_the_list_does_not_hold_its_provider_is_asked_for(world: World):
    """Anthropic lists claude-sonnet-4-5-20250929, and knows claude-sonnet-4-5 too."""
    dated = {**CLAUDE, "id": "claude-sonnet-4-5-20250929"}
    key, _ = world.key("anthropic", at_paths(**{"models": {"data": [CLAUDE]}, "claude-sonnet-4-5": dated}))

    async def ask(listing: Listing) -> ModelInfo:
        return await listing.one(world.user_id, "claude-sonnet-4-5")

    assert world.run(ask).id == "anthropic/claude-sonnet-4-5-20250929"
    assert world.upstream.calls(key)[-1].path == "/v1/models/claude-sonnet-4-5"
    with pytest.raises(ModelNotFoundError):
        world.run(lambda listing: listing.one(world.user_id, "claude-nothing"))


def test_no_other_path_of_the_provider_can_be_asked(world: World):
    key, _ = world.key("openai", at_paths(models={"data": []}, files={"id": "secret"}))
    for name in ("openai/../files", "openai/x?y=/files", "openai/..", "openai/x#/files"):
        with pytest.raises(ModelNotFoundError):
            world.run(lambda listing, name=name: listing.one(world.user_id, name))
    paths = {seen.path for seen in world.upstream.calls(key)}
    assert paths >= {"/v1/models/..%2Ffiles", "/v1/models/x%3Fy%3D%2Ffiles"}


def test_a_model_that_cannot_be_reached_is_not_found(world: World):
    for name in ("openai/gpt-4o", "claude-opus-5", "nobody-knows", "local/other"):
        with pytest.raises(ModelNotFoundError):
            world.run(lambda listing, name=name: listing.one(world.user_id, name))


@pytest.mark.parametrize(("status", "error"), [(503, ProviderUnavailableError), (401, ProviderKeyRefusedError)])
def test_where_the_provider_fails_one_model_says_so(world: World, status: int, error: type[Exception]):
    world.key("openai", failing(status))
    with pytest.raises(error):
        world.run(lambda listing: listing.one(world.user_id, "gpt-4o"))


def test_what_is_kept_has_a_bound(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listing, "MAX_KEPT_BYTES", 3000)
    world.key("openai", openai_list("gpt-4o"))
    world.key("anthropic", answering({"data": [CLAUDE]}))
    world.key("google", answering({"models": [GEMINI]}))

    async def ask(listing: Listing) -> tuple[int, int]:
        await listing.of(world.user_id)
        return len(listing._kept), listing._kept_bytes

    kept, size = world.run(ask)
    assert kept == 2
    assert 0 < size <= 3000
