"""POST /sessions/{id}/fork: what the copy has, and what it leaves alone."""

from typing import Any

import pytest
import sqlalchemy as sa

from rini.accounts import users
from rini.canon import Text
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import AnswerRunningError, InvalidRequestError
from rini.forks import copying
from rini.kit.clock import now
from rini.sessions import messages, repository
from rini.sessions.ancestry import ancestor_at, place_below
from rini.sessions.context import Cut, read_path, store_cut
from rini.sessions.tables import messages as table
from tests.support.model import MODELS, reply, user_of
from tests.support.server import Client, Server
from tests.support.things import picture
from tests.support.upstream import Upstream


def say(user: Client, session: str, content: str, parent: int | None = None, role: str = "user") -> int:
    body = {"role": role, "content": content} | ({} if parent is None else {"parent_message_id": parent})
    answer = user.post(f"/sessions/{session}/messages/", body)
    assert answer.status == 201, answer
    return answer.json["id"]


@pytest.fixture
def grown(user: Client) -> tuple[str, dict[str, int]]:
    """A session with a tree: a > b > c > d, a > e, and b > f > g, where g is the head; and h, which has no parent."""
    session = user.session(alias="trip", system_prompt="Be brief.", memory_mode="explicit", context_policy="refuse")
    ids: dict[str, int] = {}
    user.put(f"/sessions/{session}/head", {"message_id": None})
    ids["h"] = say(user, session, "h")
    user.put(f"/sessions/{session}/head", {"message_id": None})
    for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "c"), ("e", "a"), ("f", "b"), ("g", "f")):
        ids[name] = say(user, session, name, ids.get(parent or ""))
    return session, ids


def fork(user: Client, session: str, **body: Any) -> Any:
    answer = user.post(f"/sessions/{session}/fork", body)
    assert answer.status == 201, answer.body
    return answer.json


def shape(user: Client, session: str) -> dict[str, Any]:
    def of(nodes: list[Any]) -> dict[str, Any]:
        return {node["preview"]: of(node["children"]) for node in nodes}

    return of(user.get(f"/sessions/{session}/tree").json["messages"])


def head(user: Client, session: Any) -> str | None:
    found = session["head_message_id"]
    return None if found is None else user.get(f"/messages/{found}").json["content"]


def test_a_fork_has_the_path_the_branches_or_everything(user: Client, grown):
    session, ids = grown
    before = user.get(f"/sessions/{session}/messages/").json
    path = fork(user, session, message_id=ids["c"])
    assert (shape(user, path["id"]), head(user, path)) == ({"a": {"b": {"c": {}}}}, "c")
    branches = fork(user, session, message_id=ids["b"], mode="branches")
    assert shape(user, branches["id"]) == {"a": {"b": {"c": {"d": {}}, "f": {"g": {}}}}}
    assert head(user, branches) == "g"
    elsewhere = fork(user, session, message_id=ids["c"], mode="branches")
    assert (shape(user, elsewhere["id"]), head(user, elsewhere)) == ({"a": {"b": {"c": {"d": {}}}}}, "c")
    everything = fork(user, session, mode="all")
    assert shape(user, everything["id"]) == shape(user, session)
    assert head(user, everything) == "g"
    assert head(user, fork(user, session, mode="all", message_id=ids["d"])) == "d"
    assert head(user, fork(user, session)) == "g"
    assert user.get(f"/sessions/{session}/messages/").json == before


def test_a_fork_is_as_its_session_is(user: Client, grown):
    session, _ = grown
    made = fork(user, session)
    first = user.get(f"/sessions/{session}").json
    same = ("alias", "system_prompt", "memory_mode", "context_policy", "user_id")
    assert [made[name] for name in same] == [first[name] for name in same]
    assert made["id"] != session
    assert user.get(f"/sessions/{made['id']}").json == made
    assert fork(user, session, alias="다른 길 🛤")["alias"] == "다른 길 🛤"
    assert fork(user, session, alias=None)["alias"] is None
    again = fork(user, made["id"])
    assert shape(user, again["id"]) == {"a": {"b": {"f": {"g": {}}}}}


def test_a_fork_goes_its_own_way(user: Client, grown):
    session, ids = grown
    made = fork(user, session)
    own = say(user, made["id"], "other")
    assert shape(user, made["id"]) == {"a": {"b": {"f": {"g": {"other": {}}}}}}
    assert user.get(f"/sessions/{session}").json["head_message_id"] == ids["g"]
    assert user.delete(f"/sessions/{session}").status == 204
    assert [each["content"] for each in user.get(f"/messages/{own}/history").json] == ["a", "b", "f", "g", "other"]
    found = user.get("/messages/search?q=other").json
    assert [each["message"]["id"] for each in found] == [own]


def test_labels_notes_and_the_search_go_along(user: Client, grown):
    session, ids = grown
    user.patch(f"/messages/{ids['b']}", {"labels": ["idea", "할 일"], "note": "Later."})
    user.patch(f"/messages/{ids['e']}", {"labels": ["idea"]})
    made = fork(user, session)
    copies = {each["content"]: each for each in user.get(f"/sessions/{made['id']}/messages/").json}
    assert (copies["b"]["labels"], copies["b"]["note"]) == (["idea", "할 일"], "Later.")
    assert user.get("/messages/labels").json == [{"label": "idea", "messages": 3}, {"label": "할 일", "messages": 2}]
    found = user.get(f"/messages/search?q=b&session_id={made['id']}").json
    assert [each["message"]["id"] for each in found] == [copies["b"]["id"]]


def remember(user: Client, session: str, content: str, sources: list[int] | None, scope: str = "Session") -> int:
    entry = {"memory_type": "Fact", "content": content, "source_message_ids": sources, "scope": scope}
    answer = user.post(f"/sessions/{session}/memory", entry)
    assert answer.status == 201, answer.body
    return answer.json["id"]


def own_memory(user: Client, session: str) -> dict[str, Any]:
    entries = user.get(f"/memory/?session_id={session}&limit=100").json
    return {each["content"]: each["source_message_ids"] for each in entries if each["scope"] == "Session"}


def test_memory_goes_along_with_the_messages_that_it_is_from(user: Client, grown):
    session, ids = grown
    elsewhere = say(user, user.session(), "x")
    remember(user, session, "of b", [ids["b"], ids["e"], elsewhere])
    remember(user, session, "of e", [ids["e"]])
    remember(user, session, "of none", None)
    remember(user, session, "shared", [ids["b"]], "Shared")
    made = fork(user, session, message_id=ids["c"])
    copies = {each["content"]: each["id"] for each in user.get(f"/sessions/{made['id']}/messages/").json}
    assert own_memory(user, made["id"]) == {"of b": [copies["b"], elsewhere], "of none": None}
    assert set(own_memory(user, session)) == {"of b", "of e", "of none"}
    assert own_memory(user, fork(user, session, mode="all", memory=False)["id"]) == {}
    assert set(own_memory(user, fork(user, session, mode="all")["id"])) == {"of b", "of e", "of none"}


def test_responses_go_along_under_their_new_ids(server: Server, upstream: Upstream):
    user = user_of(server, upstream, "anthropic", lambda _request: reply(Text("Red.")))
    asked = {"model": f"anthropic/{MODELS['anthropic']}", "metadata": {"a": "b"}, "temperature": 0.5}

    def respond(text: str, **fields: Any) -> Any:
        return user.post("/v1/responses", asked | {"input": text} | fields).json

    first = respond("one", instructions="Be brief.")
    second = respond("two", previous_response_id=first["id"])
    deleted = respond("three", previous_response_id=first["id"])
    assert user.delete(f"/v1/responses/{deleted['id']}").status == 200
    session = user.get("/sessions/").json[0]["id"]
    copy = fork(user, session, mode="all")["id"]
    answers = [
        f"resp_{each['id']}" for each in user.get(f"/sessions/{copy}/messages/").json if each["role"] == "assistant"
    ]
    for was, now_, before in zip((first, second), answers, (None, answers[0]), strict=False):
        copied = user.get(f"/v1/responses/{now_}").json
        same = ("metadata", "instructions", "temperature", "created_at", "model", "status")
        assert {name: copied[name] for name in same} == {name: was[name] for name in same}
        assert copied["previous_response_id"] == before
        (item,) = user.get(f"/v1/responses/{now_}/input_items").json["data"]
        assert item["id"].startswith("msg_rini_")
        assert item["content"][0]["text"] == ("one" if was is first else "two")
    # What was deleted does not come back.
    assert user.get(f"/v1/responses/{answers[2]}").status == 404
    assert user.get(f"/v1/responses/{second['id']}").json["previous_response_id"] == first["id"]


def test_a_fork_of_a_conversation_is_another_conversation(server: Server, upstream: Upstream):
    user = user_of(server, upstream, "anthropic", lambda _request: reply(Text("Red.")))
    talk = user.post("/v1/conversations", {"metadata": {"topic": "tea"}}).json["id"]
    body = {"model": f"anthropic/{MODELS['anthropic']}", "input": "one", "conversation": talk}
    assert user.post("/v1/responses", body).status == 200
    copy = fork(user, user.get("/sessions/").json[0]["id"])
    response = user.get(f"/v1/responses/resp_{copy['head_message_id']}").json
    assert response["conversation"] == {"id": "conv_" + copy["id"].replace("-", "")}
    assert user.get(f"/v1/conversations/{response['conversation']['id']}").json["metadata"] == {"topic": "tea"}


def test_a_file_is_there_until_the_last_of_its_messages_goes(server: Server, user: Client):
    session = user.session()
    image = picture()
    asked = {"provider": "openai", "model": "gpt-4o", "session_id": session}
    answer = user.form("/llm/image-completion/", {"image_file": ("a.png", image)}, prompt="What?", **asked)
    assert answer.status == 200, answer.body
    made, bare = fork(user, session), fork(user, session, files=False)
    assert user.delete(f"/sessions/{session}").status == 204
    question = user.get(f"/sessions/{made['id']}/messages/").json[0]
    kept = user.get(f"/messages/{question['id']}/file")
    assert (kept.status, kept.body) == (200, image)
    without = user.get(f"/sessions/{bare['id']}/messages/").json[0]
    assert (without["file_reference"], without["original_filename"], without["mime_type"]) == (None, None, None)
    assert user.get(f"/messages/{without['id']}/file").status == 404
    assert user.ask("And now?", session_id=bare["id"], model="gpt-4o").status == 200
    assert user.delete(f"/sessions/{made['id']}").status == 204
    assert user.get(f"/messages/{question['id']}/file").status == 404


def test_what_cannot_be_forked(server: Server, user: Client, grown):
    session, ids = grown
    elsewhere = say(user, user.session(), "x")
    for wrong in (elsewhere, 2**63 - 1):
        answer = user.post(f"/sessions/{session}/fork", {"message_id": wrong})
        assert (answer.status, answer.json["code"]) == (422, "invalid_request")
        assert str(wrong) in answer.json["detail"]
    for wrong in (
        {"message_id": 0},
        {"message_id": 2**63},
        {"message_id": "1"},
        {"mode": "some"},
        {"alias": "\x00"},
        [],
    ):
        assert user.post(f"/sessions/{session}/fork", wrong).status == 422
    stranger = server.user()
    assert stranger.post(f"/sessions/{session}/fork", {}).status == 404
    assert stranger.post(f"/sessions/{stranger.session()}/fork", {"message_id": ids["a"]}).status == 422
    assert user.delete(f"/messages/{ids['e']}").status == 204
    assert user.post(f"/sessions/{session}/fork", {"message_id": ids["e"]}).status == 422
    empty = user.session()
    assert user.post(f"/sessions/{empty}/fork", {}).status == 422
    assert fork(user, empty, mode="all")["head_message_id"] is None


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path):
    url = f"sqlite:///{tmp_path / 'fork.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    made = Database(url)
    yield made
    made.close()


def copy(connection: Any, user_id: int, session_id: str, message_id: int | None, mode: Any = "path") -> Any:
    return copying.fork(
        connection, user_id, session_id, message_id=message_id, mode=mode, changes={}, with_memory=True, with_files=True
    )


def ids_in(connection: Any, session_id: str) -> list[int]:
    here = sa.select(table.c.id).where(table.c.session_id == session_id).order_by(table.c.id)
    return list(connection.execute(here).scalars())


def test_cuts_go_along_and_running_answers_do_not(database: Database):
    def grow(connection: Any) -> None:
        user_id = users.create(connection)
        session = repository.create(connection, user_id, None, None, "auto").id
        first, second, third = (
            messages.append(connection, user_id, session, "user", text, None).id for text in ("one", "two", "three")
        )
        cut = store_cut(connection, user_id, Cut(message_id=first, summary="It began.", window_tokens=50), third)
        store_cut(connection, user_id, Cut(message_id=second, window_tokens=50), third)
        store_cut(connection, user_id, Cut(message_id=first, summary="It began!", window_tokens=50), third)
        running = messages.open_answer(
            connection, session_id=session, user_id=user_id, parent_message_id=third, provider="openai", model="m"
        )
        with pytest.raises(AnswerRunningError):
            copy(connection, user_id, session, running)
        for mode in ("path", "branches", "all"):
            made = copy(connection, user_id, session, second, mode)
            copies = ids_in(connection, made.id)
            assert len(copies) == (2 if mode == "path" else 3)
            path = read_path(connection, copies[1], 50, 10_000)
            assert path.cut is not None
            assert (path.cut.message_id, path.cut.summary) == (copies[1], None)
            one = read_path(connection, copies[0], 50, 10_000)
            assert one.cut is not None
            assert (one.cut.message_id, one.cut.summary, one.cut.id != cut.id) == (copies[0], "It began!", True)
        (given,) = connection.execute(sa.select(table.c.cut_id).where(table.c.id == copies[2])).one()
        assert given == one.cut.id

    database.write_sync(grow)


def test_copies_find_their_ancestors(database: Database):
    def grow(connection: Any) -> None:
        user_id = users.create(connection)
        session = repository.create(connection, user_id, None, None, "auto").id
        made: list[int] = []
        for number in range(200):
            parent = None if not made else made[-1] if number % 7 else made[number // 3]
            made.append(messages.append(connection, user_id, session, "user", str(number), parent).id)
        copied = ids_in(connection, copy(connection, user_id, session, None, "all").id)
        to_copy = dict(zip(made, copied, strict=True))
        for leaf in made[::17]:
            depth = place_below(connection, leaf)["depth"] - 1
            for at in range(depth + 1):
                above = ancestor_at(connection, leaf, at)
                assert above is not None
                assert ancestor_at(connection, to_copy[leaf], at) == to_copy[above]

    database.write_sync(grow)


def test_a_fork_is_whole_or_not_at_all(database: Database, monkeypatch: pytest.MonkeyPatch):
    def grow(connection: Any) -> tuple[int, str]:
        user_id = users.create(connection)
        session = repository.create(connection, user_id, None, None, "auto").id
        top = messages.append(connection, user_id, session, "user", "top", None)
        shared = {"session_id": session, "user_id": user_id, "role": "user", "status": "complete", "created_at": now()}
        rows = [
            {**shared, "content": str(n), "parent_message_id": top.id, "depth": 1, "jump_id": top.id}
            for n in range(1500)
        ]
        connection.execute(table.insert(), rows)
        return user_id, session

    user_id, session = database.write_sync(grow)
    made = database.write_sync(copy, user_id, session, None, "all")
    assert len(database.read_sync(ids_in, made.id)) == 1501
    batches: list[int] = []

    def fail_later(connection: Any, rows: list[Any]) -> None:
        batches.append(len(rows))
        if len(batches) > 2:
            raise RuntimeError("the third batch")

    monkeypatch.setattr(copying, "index_many", fail_later)
    with pytest.raises(RuntimeError, match="the third batch"):
        database.write_sync(copy, user_id, session, None, "all")
    monkeypatch.setattr(copying, "MOST_MESSAGES", 1500)
    with pytest.raises(InvalidRequestError, match="1,501"):
        database.write_sync(copy, user_id, session, None, "all")
    assert len(database.read_sync(repository.page, user_id, 0, 10)[0]) == 2
    assert (
        database.read_sync(lambda connection: connection.execute(sa.select(sa.func.count(table.c.id))).scalar()) == 3002
    )
