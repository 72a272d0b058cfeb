"""/models/aliases, as clients use it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import InvalidRequestError
from rini.models import aliases
from rini.providers.model_names import ModelName
from tests.support.server import Client, Server

PATH = "/models/aliases"


def test_an_alias_from_birth_to_death(user: Client):
    made = user.post(PATH, {"alias": "fast", "model": "openai/gpt-4o-mini"})
    assert made.status == 201
    assert made.json == {"alias": "fast", "model": "openai/gpt-4o-mini", "created_at": made.json["created_at"]}
    assert user.get(f"{PATH}/fast").json == made.json
    changed = user.put(f"{PATH}/fast", {"model": "google/models/gemini-2.5-flash"})
    assert (changed.status, changed.json["model"]) == (200, "google/gemini-2.5-flash")
    assert user.put(f"{PATH}/team/slow:v1@x", {"model": "openai_compatible/meta-llama/Llama-3"}).status == 200
    listed = user.get(PATH)
    assert [each["alias"] for each in listed.json] == ["fast", "team/slow:v1@x"]
    assert listed.headers["x-total-count"] == "2"
    assert [each["alias"] for each in user.get(f"{PATH}?skip=1&limit=1").json] == ["team/slow:v1@x"]
    assert user.get(f"{PATH}/team%2Fslow:v1@x").json["model"] == "openai_compatible/meta-llama/Llama-3"
    assert user.delete(f"{PATH}/team/slow:v1@x").status == 204
    assert user.delete(f"{PATH}/fast").status == 204
    assert user.get(PATH).json == []
    for answer in (user.get(f"{PATH}/fast"), user.delete(f"{PATH}/fast")):
        assert (answer.status, answer.json["code"]) == (404, "not_found")


def test_paths_work_with_their_trailing_slash(user: Client):
    assert user.post(f"{PATH}/", {"alias": "fast", "model": "openai/gpt-4o"}).status == 201
    assert user.get(f"{PATH}/").json == user.get(PATH).json != []
    assert user.get(f"{PATH}/fast/").status == 200
    assert user.put(f"{PATH}/fast/", {"model": "openai/gpt-5"}).json["alias"] == "fast"
    assert user.delete(f"{PATH}/fast/").status == 204


def test_a_name_that_is_taken_is_refused(user: Client):
    assert user.post(PATH, {"alias": "fast", "model": "openai/gpt-4o"}).status == 201
    again = user.post(PATH, {"alias": "fast", "model": "openai/gpt-5"})
    assert (again.status, again.json["code"]) == (409, "alias_taken")
    assert user.get(f"{PATH}/fast").json["model"] == "openai/gpt-4o"


def test_of_many_who_make_the_same_alias_one_does(user: Client):
    def make(number: int) -> int:
        return user.post(PATH, {"alias": "fast", "model": f"openai/gpt-{number}"}).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(make, range(8)))
    assert sorted(statuses) == [201] + [409] * 7


@pytest.mark.parametrize(
    "alias",
    [
        "", "a b", "a/", "/a", "a//b", "한국어", "a\u0000", "openai/gpt-4o", "openai", "local/x", "models/x",
        "tunedModels/x", "..", "a/../b", ".", "x" * 201, 7, None,
    ],
)  # fmt: skip
def test_what_is_no_alias_is_refused(user: Client, alias: object):
    answer = user.post(PATH, {"alias": alias, "model": "openai/gpt-4o"})
    assert (answer.status, answer.json["code"]) == (422, "invalid_request")
    assert answer.json["detail"].startswith("alias: ")


@pytest.mark.parametrize(
    "model",
    [
        "fast",
        "",
        "openai/",
        "nobody/gpt-4o",
        "gpt-4o",
        "openai/a\u0000",
        "openai/a\nb",
        "openai/\ud800",
        "openai/" + "x" * 257,
        None,
    ],
)
def test_an_alias_means_the_model_of_a_provider(user: Client, model: object):
    user.post(PATH, {"alias": "fast", "model": "openai/gpt-4o"})
    for answer in (user.post(PATH, {"alias": "new", "model": model}), user.put(f"{PATH}/fast", {"model": model})):
        assert (answer.status, answer.json["code"]) == (422, "invalid_request")
        assert answer.json["detail"].startswith("model: ")
    assert [each["alias"] for each in user.get(PATH).json] == ["fast"]


def test_another_users_alias_does_not_exist(server: Server, user: Client):
    user.post(PATH, {"alias": "mine", "model": "openai/gpt-4o"})
    other = server.user()
    assert other.get(PATH).json == []
    for method in ("GET", "DELETE"):
        theirs, nothing = (other.request(method, f"{PATH}/{name}") for name in ("mine", "nothing"))
        assert theirs.status == 404
        assert theirs.json["detail"] == nothing.json["detail"]
    assert other.post(PATH, {"alias": "mine", "model": "openai/gpt-5"}).status == 201
    assert user.get(f"{PATH}/mine").json["model"] == "openai/gpt-4o"
    assert Client(server.url).get(PATH).status == 401


@pytest.mark.parametrize("path", ["x%00y", "x" * 300])
def test_a_path_that_can_be_no_alias_is_refused(user: Client, path: str):
    assert user.get(f"{PATH}/{path}").status == 422
    assert user.delete(f"{PATH}/{path}").status == 422


def test_a_user_may_have_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(aliases, "MOST_ALIASES", 2)
    url = f"sqlite:///{tmp_path / 'rini.db'}"
    migrate(url)
    database = Database(url)
    user_id = database.write_sync(users.create)
    target = ModelName("openai", "gpt-4o")
    database.write_sync(aliases.create, user_id, "a", target)
    database.write_sync(aliases.put, user_id, "b", target)
    for unit in (aliases.create, aliases.put):
        with pytest.raises(InvalidRequestError, match="You have 2 aliases, and there may be no more"):
            database.write_sync(unit, user_id, "c", target)
    assert database.write_sync(aliases.put, user_id, "b", ModelName("openai", "gpt-5")).model == "gpt-5"
    database.close()
