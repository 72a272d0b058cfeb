"""What a name means, for whom."""

import asyncio
import os
from typing import Any

import pytest

from rini.accounts import provider_keys, users
from rini.accounts.keyring import Keyring
from rini.db import Database
from rini.errors import InvalidRequestError, ModelNotFoundError
from rini.models import aliases
from rini.models.naming import KEPT_USERS, ModelName, ModelNames

_ring = Keyring([os.urandom(32)])


def resolve(names: ModelNames, user_id: int, name: str) -> str:
    return str(asyncio.run(names.resolve(user_id, name)))


def store_key(database: Database, user_id: int, provider: str = "openai_compatible") -> int:
    return database.write_sync(
        provider_keys.store, _ring, user_id, provider, "sk-x", None, "https://llm.example.com/v1"
    ).id


def alias(database: Database, user_id: int, name: str, target: str) -> None:
    provider, _, model = target.partition("/")
    database.write_sync(aliases.put, user_id, name, ModelName(provider, model))


@pytest.fixture
def names(database: Database) -> ModelNames:
    return ModelNames(database, ["smollm2-135m-instruct", "gemma-3-270m"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("models/openai/gpt-4o", "openai/gpt-4o"),
        ("google/models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("tunedModels/mine-123", "google/tunedModels/mine-123"),
        ("openai_compatible/meta-llama/Llama-3", "openai_compatible/meta-llama/Llama-3"),
        ("openai/claude-opus-5", "openai/claude-opus-5"),
        ("claude-opus-5", "anthropic/claude-opus-5"),
        ("smollm2-135m-instruct", "local/smollm2-135m-instruct"),
        ("gemma-3-270m", "local/gemma-3-270m"),
        ("gemma-3-27b-it", "google/gemma-3-27b-it"),
        ("GPT-4o", "openai/GPT-4o"),
        ("computer-use", "openai/computer-use"),
    ],
)
def test_a_name_means_the_model_of_one_provider(names: ModelNames, user_id: int, name: str, meant: str):
    assert resolve(names, user_id, name) == meant


def test_an_alias_counts_before_a_bare_name_and_never_before_a_provider(
    database: Database, names: ModelNames, user_id: int
):
    alias(database, user_id, "gpt-4o", "anthropic/claude-opus-5")
    alias(database, user_id, "team/fast", "openai_compatible/meta-llama/Llama-3")
    assert resolve(names, user_id, "gpt-4o") == "anthropic/claude-opus-5"
    assert resolve(names, user_id, "models/team/fast") == "openai_compatible/meta-llama/Llama-3"
    assert resolve(names, user_id, "openai/gpt-4o") == "openai/gpt-4o"


def test_an_alias_is_its_users_alone(database: Database, names: ModelNames, user_id: int):
    alias(database, user_id, "mine", "openai/gpt-4o")
    other = database.write_sync(users.create)
    with pytest.raises(ModelNotFoundError) as refused:
        resolve(names, other, "mine")
    assert "gpt-4o," not in refused.value.detail
    assert resolve(names, user_id, "mine") == "openai/gpt-4o"


def test_a_name_that_nobody_is_known_for_goes_to_the_only_server_of_the_user(
    database: Database, names: ModelNames, user_id: int
):
    with pytest.raises(ModelNotFoundError, match=r"provider/model.*POST /models/aliases"):
        resolve(names, user_id, "llama3")
    key_id = store_key(database, user_id)  # at once, although the user was looked up a moment ago
    assert resolve(names, user_id, "llama3") == "openai_compatible/llama3"
    assert resolve(names, user_id, "gpt-oss-20b") == "openai_compatible/gpt-oss-20b"
    assert resolve(names, user_id, "llama3.2:latest") == "openai_compatible/llama3.2:latest"
    store_key(database, user_id)
    names.forget(user_id)
    with pytest.raises(ModelNotFoundError):
        resolve(names, user_id, "llama3")
    database.write_sync(provider_keys.delete, user_id, key_id)
    assert resolve(names, user_id, "llama3") == "openai_compatible/llama3"


@pytest.mark.parametrize("name", ["", "models/", "  ", "a\x00b", "half \ud800 pair"])
def test_what_is_no_name_is_refused(names: ModelNames, user_id: int, name: str):
    with pytest.raises(InvalidRequestError, match=r"^model: "):
        resolve(names, user_id, name)


@pytest.mark.parametrize("name", ["openai/", "google/models/", "x" * 10_000_000, "openai/" + "x" * 257, "y" * 257])
def test_a_name_that_no_model_can_have_is_not_found(names: ModelNames, user_id: int, name: str):
    with pytest.raises(ModelNotFoundError) as refused:
        resolve(names, user_id, name)
    assert len(refused.value.detail) < 700
    assert refused.value.status == 404


def test_names_of_a_user_are_looked_up_once_until_they_change(
    database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
):
    looked_up: list[int] = []
    real = aliases.own_names

    def counted(connection: Any, user_id: int) -> Any:
        looked_up.append(user_id)
        return real(connection, user_id)

    monkeypatch.setattr(aliases, "own_names", counted)
    names = ModelNames(database)
    for _ in range(5):
        assert resolve(names, user_id, "gpt-4o") == "openai/gpt-4o"
        assert resolve(names, user_id, "openai/gpt-4o") == "openai/gpt-4o"
    assert len(looked_up) == 1
    alias(database, user_id, "gpt-4o", "google/gemini-2.5-pro")
    assert resolve(names, user_id, "gpt-4o") == "openai/gpt-4o"
    names.forget(user_id)
    assert resolve(names, user_id, "gpt-4o") == "google/gemini-2.5-pro"
    assert len(looked_up) == 2


def test_what_was_read_while_an_alias_changed_is_not_kept(database: Database, user_id: int):
    names = ModelNames(database)

    class Slow:
        async def read(self, unit: Any, *arguments: Any) -> Any:
            found = await database.read(unit, *arguments)
            alias(database, user_id, "gpt-4o", "google/gemini-2.5-pro")
            names.forget(user_id)
            return found

    names._database = Slow()
    assert resolve(names, user_id, "gpt-4o") == "openai/gpt-4o"
    names._database = database
    assert resolve(names, user_id, "gpt-4o") == "google/gemini-2.5-pro"


def test_only_so_many_users_are_kept(monkeypatch: pytest.MonkeyPatch):
    class Empty:
        async def read(self, _unit: Any, _user_id: int) -> aliases.OwnNames:
            return aliases.OwnNames({}, 0)

    names = ModelNames(Empty())

    async def all_of_them() -> None:
        for user_id in range(KEPT_USERS + 10):
            await names.resolve(user_id, "gpt-4o")

    asyncio.run(all_of_them())
    assert len(names._kept) == KEPT_USERS
