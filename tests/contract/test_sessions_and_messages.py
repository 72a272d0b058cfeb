"""The seed contract: /sessions and /messages, as a 0.1 client drives them."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.server import Client, Server

MESSAGE_FIELDS = {
    "id", "session_id", "user_id", "role", "content", "parent_message_id", "file_reference", "original_filename",
    "mime_type", "model_used", "token_count", "prompt_tokens", "completion_tokens", "response_time_ms", "created_at",
}  # fmt: skip


def test_a_session_from_birth_to_death(user: Client):
    made = user.post("/sessions/", {"alias": "여행", "system_prompt": "Be brief.", "memory_mode": "EXPLICIT"})
    assert made.status == 201
    session = made.json
    assert {"id", "user_id", "alias", "system_prompt", "memory_mode", "created_at", "updated_at"} <= set(session)
    assert str(uuid.UUID(session["id"])) == session["id"]
    assert (session["alias"], session["memory_mode"]) == ("여행", "explicit")
    assert user.get(f"/sessions/{session['id']}").json == session
    changed = user.put(f"/sessions/{session['id']}", {"alias": "trip"})
    assert changed.status == 200
    assert (changed.json["alias"], changed.json["system_prompt"]) == ("trip", "Be brief.")
    assert user.delete(f"/sessions/{session['id']}").status == 204
    assert user.get(f"/sessions/{session['id']}").status == 404


def test_a_session_needs_nothing(user: Client):
    made = user.post("/sessions/", {})
    assert (made.json["alias"], made.json["system_prompt"], made.json["memory_mode"]) == (None, None, "auto")


@pytest.mark.parametrize(
    "body",
    [
        {"memory_mode": "sometimes"},
        {"alias": 7},
        {"alias": "a\u0000b"},
        {"alias": "x" * 1001},
        {"system_prompt": ["no"]},
        [],
        "text",
        None,
    ],
)
def test_what_is_no_session_is_refused(user: Client, body: object):
    answer = user.post("/sessions/", body)
    assert answer.status == 422
    assert answer.json["code"] == "invalid_request"


def test_sessions_are_listed_in_pages(user: Client):
    ids = [user.session(alias=str(number)) for number in range(12)]
    first = user.get("/sessions/")
    assert [session["id"] for session in first.json] == ids[:10]
    assert first.headers["x-total-count"] == "12"
    assert [session["id"] for session in user.get("/sessions/?skip=11&limit=5").json] == ids[11:]


def test_messages_follow_one_another(user: Client):
    session = user.session()
    sent = [
        user.post(f"/sessions/{session}/messages/", {"role": role, "content": content})
        for role, content in (("system", "rules"), ("user", "안녕"), ("assistant", "hello"))
    ]
    assert [answer.status for answer in sent] == [201, 201, 201]
    first, second, third = (answer.json for answer in sent)
    assert set(first) >= MESSAGE_FIELDS
    assert first["parent_message_id"] is None
    assert second["parent_message_id"] == first["id"]
    assert third["parent_message_id"] == second["id"]
    listed = user.get(f"/sessions/{session}/messages/")
    assert listed.json == [first, second, third]
    assert listed.headers["x-total-count"] == "3"
    assert user.get(f"/messages/{second['id']}").json == second
    assert user.get(f"/messages/{third['id']}/history").json == [first, second, third]
    assert user.get(f"/messages/{first['id']}/history").json == [first]
    assert user.get(f"/sessions/{session}").json["head_message_id"] == third["id"]


def test_a_named_parent_makes_a_branch(user: Client):
    session = user.session()
    path = f"/sessions/{session}/messages/"
    root = user.post(path, {"role": "user", "content": "root"}).json["id"]
    left = user.post(path, {"role": "assistant", "content": "left"}).json["id"]
    right = user.post(path, {"role": "assistant", "content": "right", "parent_message_id": root}).json["id"]
    leaf = user.post(path, {"role": "user", "content": "leaf"}).json
    assert leaf["parent_message_id"] == right
    assert [each["content"] for each in user.get(f"/messages/{leaf['id']}/history").json] == ["root", "right", "leaf"]
    assert [each["content"] for each in user.get(f"/messages/{left}/history").json] == ["root", "left"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"role": "user"}, "content"),
        ({"content": "x"}, "role"),
        ({"role": "robot", "content": "x"}, "role"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "user", "content": "nul\u0000"}, "content"),
        ({"role": "user", "content": "half \ud800 pair"}, "content"),
        ({"role": "user", "content": "x", "parent_message_id": 999_999_999}, "parent_message_id"),
        ({"role": "user", "content": "x", "parent_message_id": -1}, "parent_message_id"),
        ({"role": "user", "content": "x", "parent_message_id": 2**70}, "parent_message_id"),
    ],
)
def test_what_is_no_message_is_refused(user: Client, body: dict, word: str):
    session = user.session()
    answer = user.post(f"/sessions/{session}/messages/", body)
    assert answer.status == 422
    assert answer.json["detail"].startswith(f"{word}:")
    assert user.get(f"/sessions/{session}/messages/").json == []


def test_a_parent_in_another_session_is_refused(user: Client):
    other = user.post(f"/sessions/{user.session()}/messages/", {"role": "user", "content": "x"}).json["id"]
    session = user.session()
    body = {"role": "user", "content": "y", "parent_message_id": other}
    assert user.post(f"/sessions/{session}/messages/", body).status == 422
    assert user.ask(session_id=session, parent_message_id=other).status == 422


def test_another_users_session_and_messages_do_not_exist(server: Server, user: Client):
    other = server.user()
    session = user.session(alias="mine")
    message = user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "private"}).json["id"]
    nothing = str(uuid.uuid4())
    calls = [
        ("GET", "/sessions/{}", None),
        ("PUT", "/sessions/{}", {"alias": "stolen"}),
        ("DELETE", "/sessions/{}", None),
        ("GET", "/sessions/{}/messages/", None),
        ("POST", "/sessions/{}/messages/", {"role": "user", "content": "intruder"}),
    ]
    for method, path, body in calls:
        theirs = other.request(method, path.format(session), body)
        missing = other.request(method, path.format(nothing), body)
        assert theirs.status == missing.status == 404, (method, path)
        assert theirs.json["detail"] == missing.json["detail"]
    for path in (f"/messages/{message}", f"/messages/{message}/history"):
        assert other.get(path).status == 404
    for stream in (False, True):
        assert other.ask(session_id=session, stream=stream).status == 404
    assert user.get(f"/sessions/{session}").json["alias"] == "mine"
    assert len(user.get(f"/sessions/{session}/messages/").json) == 1


@pytest.mark.parametrize("name", ["x", "00000000-0000-0000-0000-00000000000", "%00", "'%20OR%201=1--", "é"])
def test_a_session_id_that_is_none_is_404(user: Client, name: str):
    path = f"/sessions/{name.encode().decode('latin-1') if name.isascii() else '%C3%A9'}"
    assert user.get(path).status == 404
    assert user.ask(session_id=name).status == 404


def test_deleting_a_session_takes_its_messages_along(user: Client):
    session = user.session()
    message = user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "x"}).json["id"]
    assert user.delete(f"/sessions/{session}").status == 204
    assert user.get(f"/messages/{message}").status == 404
    assert user.get(f"/sessions/{session}/messages/").status == 404


def test_many_writers_at_once_lose_nothing(user: Client):
    session = user.session()

    def send(number: int) -> int:
        return user.post(f"/sessions/{session}/messages/", {"role": "user", "content": str(number)}).status

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(send, range(60))) == {201}
    listed = user.get(f"/sessions/{session}/messages/?limit=100").json
    assert sorted(int(each["content"]) for each in listed) == list(range(60))
    # Each continued what was the tip when it came: one chain.
    assert len(user.get(f"/messages/{listed[-1]['id']}/history").json) == 60


def test_a_long_conversation_can_be_deleted(server: Server, user: Client):
    """SQLite's cascades end at a depth of 1,000."""
    said = [{"sender": "human", "text": str(number)} for number in range(1200)]
    imported = user.post("/sessions/import?format=anthropic", [{"chat_messages": said}])
    assert imported.status == 201, imported
    session = user.get("/sessions/").json[0]
    assert len(user.get(f"/messages/{session['head_message_id']}/history").json) == 1200
    assert user.delete(f"/sessions/{session['id']}").status == 204
