"""The tree of a session: its pages, its head, the ways through it, labels and notes."""

from typing import Any

import pytest

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import migrate
from rini.sessions import messages, repository
from rini.sessions.ancestry import ancestor_at, is_ancestor
from tests.support.server import Client, Server


def say(user: Client, session: str, content: str, parent: int | None = None, role: str = "user") -> int:
    body = {"role": role, "content": content} | ({} if parent is None else {"parent_message_id": parent})
    answer = user.post(f"/sessions/{session}/messages/", body)
    assert answer.status == 201, answer
    return answer.json["id"]


@pytest.fixture
def grown(user: Client) -> tuple[str, dict[str, int]]:
    """A session with a tree: a > b > c > d, a > e, and b > f > g, where g is the head."""
    session = user.session()
    ids: dict[str, int] = {}
    for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "c"), ("e", "a"), ("f", "b"), ("g", "f")):
        ids[name] = say(user, session, f"{name} " * 100, ids.get(parent or ""))
    return session, ids


def shape(nodes: list[Any]) -> dict[str, Any]:
    return {node["preview"][0]: shape(node["children"]) for node in nodes}


def test_a_tree_is_nested_and_marks_the_way_to_the_head(user: Client, grown):
    session, ids = grown
    answer = user.get(f"/sessions/{session}/tree")
    tree = answer.json
    assert shape(tree["messages"]) == {"a": {"b": {"c": {"d": {}}, "f": {"g": {}}}, "e": {}}}
    assert (tree["head_message_id"], tree["message_count"], tree["next_after"]) == (ids["g"], 7, None)
    assert answer.headers["etag"] == f'"{ids["g"]}"'
    (top,) = tree["messages"]
    assert len(top["preview"]) <= 120
    flat = user.get(f"/sessions/{session}/tree?shape=flat").json["messages"]
    assert [node["preview"][0] for node in flat] == ["a", "b", "e", "c", "f", "d", "g"]
    assert {node["preview"][0] for node in flat if node["on_head_path"]} == {"a", "b", "f", "g"}
    assert [node["preview"][0] for node in flat if node["is_head"]] == ["g"]
    assert {node["preview"][0]: node["child_count"] for node in flat}["b"] == 2
    assert all(node["children"] is None for node in flat)


def test_a_tree_comes_in_pages_by_depth_and_breadth(user: Client, grown):
    session, ids = grown
    shallow = user.get(f"/sessions/{session}/tree?depth=2").json["messages"]
    assert shape(shallow) == {"a": {"b": {}, "e": {}}}
    below = user.get(f"/sessions/{session}/tree?from={ids['b']}").json["messages"]
    assert shape(below) == {"b": {"c": {"d": {}}, "f": {"g": {}}}}
    assert below[0]["on_head_path"]
    narrow = user.get(f"/sessions/{session}/tree?breadth=1").json["messages"]
    assert shape(narrow) == {"a": {"b": {"c": {"d": {}}}}}
    assert (narrow[0]["children_after"], narrow[0]["child_count"]) == (ids["b"], 2)
    rest = user.get(f"/sessions/{session}/tree?from={ids['a']}&after={ids['b']}&breadth=1").json
    assert (shape(rest["messages"]), rest["next_after"]) == ({"e": {}}, None)
    few = user.get(f"/sessions/{session}/tree?limit=3&shape=flat").json["messages"]
    assert [node["preview"][0] for node in few] == ["a", "b", "e"]


def test_several_roots_come_in_pages(user: Client):
    session = user.session()
    for name in "xyz":
        say(user, session, name)
        assert user.put(f"/sessions/{session}/head", {"message_id": None}).status == 200
    first = user.get(f"/sessions/{session}/tree?breadth=2").json
    assert shape(first["messages"]) == {"x": {}, "y": {}}
    second = user.get(f"/sessions/{session}/tree?breadth=2&after={first['next_after']}").json
    assert (shape(second["messages"]), second["next_after"]) == ({"z": {}}, None)


def test_answers_are_shown_with_who_wrote_them_and_what_they_cost(user: Client):
    session = user.session()
    assert user.get(f"/sessions/{session}/tree").json["cost_usd"] is None
    user.ask("hello", session_id=session, model="gpt-4o-mini")
    whole = user.get(f"/sessions/{session}/tree").json
    (question,) = whole["messages"]
    (answer,) = question["children"]
    assert (answer["provider"], answer["model"], answer["tokens"]) == ("openai", "gpt-test-1", 3)
    assert float(answer["cost_usd"]) > 0
    assert whole["cost_usd"] == answer["cost_usd"]
    assert user.delete(f"/messages/{answer['id']}").status == 204
    assert user.get(f"/sessions/{session}/tree").json["cost_usd"] == answer["cost_usd"]
    assert (question["cost_usd"], question["provider"]) == (None, None)
    assert question["tokens"] > 0


@pytest.mark.parametrize(
    "wrong", ["depth=0", "depth=101", "breadth=0", "limit=1001", "after=-1", "from=0", "shape=round"]
)
def test_a_tree_has_limits(user: Client, grown, wrong: str):
    assert user.get(f"/sessions/{grown[0]}/tree?{wrong}").status == 422


def test_a_message_of_another_session_is_no_top(user: Client, grown):
    other = say(user, user.session(), "x")
    answer = user.get(f"/sessions/{grown[0]}/tree?from={other}")
    assert (answer.status, answer.json["code"]) == (422, "invalid_request")


def test_the_head_is_moved_by_compare_and_set(user: Client, grown):
    session, ids = grown
    first = user.get(f"/sessions/{session}/head")
    assert (first.json["head_message_id"], first.headers["etag"]) == (ids["g"], f'"{ids["g"]}"')
    moved = user.request("PUT", f"/sessions/{session}/head", {"message_id": ids["d"]}, If_Match=first.headers["etag"])
    assert (moved.status, moved.json["head_message_id"]) == (200, ids["d"])
    late = user.request("PUT", f"/sessions/{session}/head", {"message_id": ids["e"]}, If_Match=first.headers["etag"])
    assert (late.status, late.json["code"], late.json["head_message_id"]) == (412, "head_moved", ids["d"])
    assert late.headers["etag"] == moved.headers["etag"]
    assert user.get(f"/sessions/{session}").headers["etag"] == moved.headers["etag"]
    assert say(user, session, "below d")
    assert user.put(f"/sessions/{session}/head", {"message_id": ids["e"]}).status == 200
    none = user.request("PUT", f"/sessions/{session}/head", {"message_id": None}, If_Match="*")
    assert (none.json["head_message_id"], none.headers["etag"]) == (None, '"0"')
    assert user.request("PUT", f"/sessions/{session}/head", {"message_id": ids["a"]}, If_Match='"0"').status == 200


@pytest.mark.parametrize(
    ("tags", "status"),
    [('{}, "99"', 200), ('"99" , {}', 200), ("W/{}", 200), ('"98", "99"', 412), ('"98",', 422), ("17", 422), ("*, {}", 422)],
)  # fmt: skip
def test_heads_may_be_expected_as_http_has_it(user: Client, grown, tags: str, status: int):
    session, ids = grown
    tag = user.get(f"/sessions/{session}/head").headers["etag"]
    body = {"message_id": ids["d"]}
    answer = user.request("PUT", f"/sessions/{session}/head", body, If_Match=tags.format(tag))
    assert answer.status == status, answer


def test_what_cannot_be_a_head(server: Server, user: Client, grown):
    session, ids = grown
    path = f"/sessions/{session}/head"
    elsewhere = say(user, user.session(), "x")
    strangers = server.user()
    theirs = say(strangers, strangers.session(), "x")
    for wrong in (elsewhere, theirs, 10**15):
        assert (user.put(path, {"message_id": wrong}).status) == 422
    assert strangers.put(path, {"message_id": ids["a"]}).status == 404
    assert strangers.get(f"/sessions/{session}/tree").status == 404
    assert user.request("PUT", path, {"message_id": ids["a"]}, If_Match="17").status == 422
    assert user.request("PUT", path, {"message_id": ids["a"]}, If_Match='W/"x"').status == 422
    assert user.get(path).json["head_message_id"] == ids["g"]


def names(rows: list[Any]) -> str:
    return "".join(row["content"][0] for row in rows)


def test_the_ways_to_below_and_beside_a_message(server: Server, user: Client, grown):
    _, ids = grown
    assert names(user.get(f"/messages/{ids['d']}/path").json) == "abcd"
    page = user.get(f"/messages/{ids['d']}/path?skip=1&limit=2")
    assert (names(page.json), page.headers["x-total-count"]) == ("bc", "4")
    assert names(user.get(f"/messages/{ids['d']}/path?skip=3").json) == "d"
    assert user.get(f"/messages/{ids['d']}/path?skip=4").json == []
    assert names(user.get(f"/messages/{ids['b']}/children").json) == "cf"
    page = user.get(f"/messages/{ids['b']}/children?skip=1")
    assert (names(page.json), page.headers["x-total-count"]) == ("f", "2")
    assert names(user.get(f"/messages/{ids['e']}/siblings").json) == "be"
    assert names(user.get(f"/messages/{ids['a']}/siblings").json) == "a"
    assert user.get(f"/messages/{ids['d']}/children").json == []
    stranger = server.user()
    for way in ("path", "children", "siblings", "history"):
        assert stranger.get(f"/messages/{ids['b']}/{way}").status == 404


def test_labels_and_notes(server: Server, user: Client, grown):
    session, ids = grown
    marked = user.patch(f"/messages/{ids['c']}", {"labels": ["idea", "할 일", "idea"], "note": "Later."}).json
    assert (marked["labels"], marked["note"]) == (["idea", "할 일"], "Later.")
    assert user.get(f"/messages/{ids['c']}").json["labels"] == ["idea", "할 일"]
    user.patch(f"/messages/{ids['f']}", {"labels": ["idea"]})
    found = user.get("/messages/?label=idea")
    assert (names(found.json), found.headers["x-total-count"]) == ("fc", "2")
    assert user.get("/messages/labels").json == [{"label": "idea", "messages": 2}, {"label": "할 일", "messages": 1}]
    assert user.patch(f"/messages/{ids['c']}", {"labels": []}).json["note"] == "Later."
    assert user.patch(f"/messages/{ids['c']}", {"note": None}).json["note"] is None
    assert user.patch(f"/messages/{ids['c']}", {"content": "other words"}).status == 422
    assert user.get("/messages/labels").json == [{"label": "idea", "messages": 1}]
    (tree,) = user.get(f"/sessions/{session}/tree?from={ids['f']}&depth=1").json["messages"]
    assert tree["labels"] == ["idea"]
    assert names(row for row in user.get(f"/messages/{ids['g']}/history").json if row["labels"]) == "f"
    stranger = server.user()
    assert stranger.patch(f"/messages/{ids['c']}", {"labels": ["x"]}).status == 404
    assert stranger.get("/messages/labels").json == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": ["x" * 101]},
        {"labels": [""]},
        {"labels": ["a\x00"]},
        {"labels": [str(number) for number in range(51)]},
        {"labels": "idea"},
        {"note": "x" * 10_001},
        {"note": "\ud800"},
    ],
)
def test_labels_and_notes_have_limits(user: Client, grown, wrong: dict[str, Any]):
    assert user.patch(f"/messages/{grown[1]['c']}", wrong).status == 422


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path):
    url = f"sqlite:///{tmp_path / 'tree.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    made = Database(url)
    yield made
    made.close()


def test_any_ancestor_is_found(database: Database):
    def grow(connection: Any) -> tuple[list[int], dict[int, int | None]]:
        user_id = users.create(connection)
        session = repository.create(connection, user_id, None, None, "auto")
        parents: dict[int, int | None] = {}
        made: list[int] = []
        for number in range(300):
            parent = None if not made else made[-1] if number % 7 else made[number // 3]
            row = messages.append(connection, user_id, session.id, "user", "x", parent)
            parents[row.id] = row.parent_message_id
            made.append(row.id)
        return made, parents

    made, parents = database.write_sync(grow)

    def look(connection: Any) -> None:
        for leaf in made[::43]:
            way = [leaf]
            while (above := parents[way[-1]]) is not None:
                way.append(above)
            way.reverse()
            assert [ancestor_at(connection, leaf, depth) for depth in range(len(way))] == way
            assert ancestor_at(connection, leaf, len(way)) is None
            assert [each for each in made if is_ancestor(connection, each, leaf)] == sorted(way)

    database.read_sync(look)
