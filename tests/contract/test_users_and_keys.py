"""The seed contract: /, /users, /api-keys, as a 0.1 client drives them."""

import base64
import hashlib
import hmac
import json
import sqlite3
import time
from contextlib import closing

import pytest

from tests.support.server import Client, Server


def test_greeting(server: Server):
    answer = Client(server.url).get("/")
    assert answer.status == 200
    assert set(answer.json) == {"message"}


def test_a_new_user_gets_a_token_that_names_it(server: Server):
    answer = Client(server.url).post("/users/")
    assert answer.status == 201
    assert set(answer.json) == {"id", "access_token", "token_type"}
    assert answer.json["token_type"] == "bearer"
    assert isinstance(answer.json["id"], int)
    me = Client(server.url, answer.json["access_token"]).get("/users/me")
    assert (me.status, me.json) == (200, {"id": answer.json["id"]})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users/me"),
        ("POST", "/users/me/tokens"),
        ("GET", "/users/me/tokens"),
        ("GET", "/users/me/tokens/1"),
        ("DELETE", "/users/me/tokens/1"),
        ("POST", "/api-keys/"),
        ("GET", "/api-keys/"),
        ("GET", "/api-keys/1"),
        ("PUT", "/api-keys/1"),
        ("DELETE", "/api-keys/1"),
        ("POST", "/sessions/"),
        ("GET", "/sessions/"),
        ("GET", "/sessions/x"),
        ("PUT", "/sessions/x"),
        ("DELETE", "/sessions/x"),
        ("POST", "/sessions/x/messages/"),
        ("GET", "/sessions/x/messages/"),
        ("GET", "/messages/1"),
        ("GET", "/messages/1/history"),
        ("POST", "/llm/text-completion/"),
        ("POST", "/llm/chat-completions/"),
    ],
)
def test_without_a_token_everything_is_401(server: Server, method: str, path: str):
    for token in (None, "nonsense", "a.b.c", f"rini_{'x' * 43}"):
        answer = Client(server.url, token).request(method, path, {} if method in ("POST", "PUT") else None)
        assert answer.status == 401, (method, path, token)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json["code"] == "not_authenticated"
        assert isinstance(answer.json["detail"], str)


def _forge(claims: dict, secret: bytes, algorithm: str = "HS256") -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    signed = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}"
    digest = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}.get(algorithm)
    signature = hmac.new(secret, signed.encode(), digest).digest() if digest else b""
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_forged_and_stale_tokens_are_refused(server: Server, user: Client):
    secret = json.loads((server.data_dir / "secrets.json").read_text())["jwt_secret_key"].encode()
    mine = str(user.get("/users/me").json["id"])
    soon, gone = time.time() + 60, time.time() - 60
    assert Client(server.url, _forge({"sub": mine, "exp": soon}, secret)).get("/users/me").status == 200
    bad = {
        "expired": _forge({"sub": mine, "exp": gone}, secret),
        "another algorithm": _forge({"sub": mine, "exp": soon}, secret, "HS512"),
        "unsigned": _forge({"sub": mine, "exp": soon}, b"", "none"),
        "another secret": _forge({"sub": mine, "exp": soon}, b"x" * 64),
        "no expiry": _forge({"sub": mine}, secret),
        "no user": _forge({"exp": soon}, secret),
        "not a number": _forge({"sub": "admin", "exp": soon}, secret),
        "nobody": _forge({"sub": "999999999", "exp": soon}, secret),
    }
    for name, token in bad.items():
        assert Client(server.url, token).get("/users/me").status == 401, name
        asked = Client(server.url, token).ask()
        assert asked.status == 401, name


def test_a_deleted_user_is_gone_with_all_that_was_theirs(server: Server, user: Client):
    session = user.session()
    assert user.ask(session_id=session).status == 200
    assert user.delete("/users/me").status == 204
    assert user.get("/users/me").status == 401
    assert user.ask().status == 401
    assert user.get(f"/sessions/{session}").status == 401


def test_ids_of_deleted_users_are_not_given_again(server: Server):
    first, second = server.user(), None
    number = first.get("/users/me").json["id"]
    first.delete("/users/me")
    second = server.user()
    assert second.get("/users/me").json["id"] > number


def test_keys_from_birth_to_death(user: Client):
    made = user.post("/api-keys/", {"model_provider": "anthropic", "api_key_value": "sk-ant-1", "description": "one"})
    assert made.status == 201
    key = made.json
    assert {"id", "user_id", "model_provider", "description", "created_at", "updated_at"} <= set(key)
    assert (key["model_provider"], key["description"]) == ("anthropic", "one")
    assert key["user_id"] == user.get("/users/me").json["id"]
    assert user.get(f"/api-keys/{key['id']}").json == key
    changed = user.put(f"/api-keys/{key['id']}", {"description": "둘"})
    assert (changed.status, changed.json["description"]) == (200, "둘")
    assert user.delete(f"/api-keys/{key['id']}").status == 204
    assert user.get(f"/api-keys/{key['id']}").status == 404
    assert user.delete(f"/api-keys/{key['id']}").status == 404


def test_a_keys_value_never_comes_back(server: Server, user: Client):
    secret = "sk-very-secret-1234567890"
    made = user.post("/api-keys/", {"model_provider": "google", "api_key_value": secret})
    listed = user.get("/api-keys/")
    one = user.get(f"/api-keys/{made.json['id']}")
    for answer in (made, listed, one):
        assert secret.encode() not in answer.body
    assert secret not in server.logged()


def test_keys_are_listed_in_pages(user: Client):
    for number in range(12):
        user.post("/api-keys/", {"model_provider": "openai", "api_key_value": f"sk-{number}"})
    first = user.get("/api-keys/")
    assert (len(first.json), first.headers["x-total-count"]) == (10, "13")
    assert len(user.get("/api-keys/?skip=10&limit=100").json) == 3
    for query in ("skip=-1", "limit=0", "limit=1001", "skip=x", "limit=99999999999999999999"):
        answer = user.get(f"/api-keys/?{query}")
        assert answer.status == 422, query
        assert answer.json["detail"].startswith(query.split("=")[0] + ":")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "model_provider"),
        ({"model_provider": "openai"}, "api_key_value"),
        ({"model_provider": "acme", "api_key_value": "k"}, "model_provider"),
        ({"model_provider": "local", "api_key_value": "k"}, "model_provider"),
        ({"model_provider": "openai", "api_key_value": ""}, "api_key_value"),
        ({"model_provider": "openai", "api_key_value": "two\nlines"}, "api_key_value"),
        ({"model_provider": "openai", "api_key_value": "ключ"}, "api_key_value"),
        ({"model_provider": "openai", "api_key_value": "k\u0000"}, "api_key_value"),
        ({"model_provider": "openai", "api_key_value": "k" * 5000}, "api_key_value"),
        ({"model_provider": "openai", "api_key_value": "k", "description": "d\u0000"}, "description"),
        ({"model_provider": "openai", "api_key_value": 7}, "api_key_value"),
        ({"model_provider": "openai_compatible", "api_key_value": "k"}, "base_url"),
        ({"model_provider": "openai", "api_key_value": "k", "base_url": "ftp://x"}, "base_url"),
        ({"model_provider": "openai", "api_key_value": "k", "base_url": "http://10.0.0.1/v1"}, "base_url"),
        ({"model_provider": "openai", "api_key_value": "k", "base_url": "http://2130706433/v1"}, "base_url"),
        ({"model_provider": "openai", "api_key_value": "k", "base_url": "http://[::1]/v1"}, "base_url"),
        ({"model_provider": "openai", "api_key_value": "k", "base_url": "http://169.254.169.254/"}, "base_url"),
        ({"model_provider": "openai", "api_key_value": "k", "base_url": "http://u:p@example.com/"}, "base_url"),
    ],
)
def test_what_is_no_key_is_refused_in_one_sentence(user: Client, body: dict, word: str):
    answer = user.post("/api-keys/", body)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["detail"].startswith(f"{word}:")
    assert "\n" not in answer.json["detail"]


def test_another_users_key_does_not_exist(server: Server, user: Client):
    other = server.user()
    mine = user.post("/api-keys/", {"model_provider": "openai", "api_key_value": "sk-mine"}).json["id"]
    missing = 999_999_999
    for method, body in (("GET", None), ("PUT", {"description": "x"}), ("DELETE", None)):
        theirs = other.request(method, f"/api-keys/{mine}", body)
        nothing = other.request(method, f"/api-keys/{missing}", body)
        assert theirs.status == nothing.status == 404
        assert theirs.json["detail"].replace(str(mine), "N") == nothing.json["detail"].replace(str(missing), "N")
    assert user.get(f"/api-keys/{mine}").json["description"] is None
    assert all(key["id"] != mine for key in other.get("/api-keys/").json)
    used = other.ask(api_key_id=mine)
    assert used.status == 404


def test_trailing_slashes_may_come_or_not(user: Client):
    for path in ("/api-keys", "/sessions", "/users/me/", "/healthz/"):
        assert user.get(path).status == 200, path
    made = user.post("/sessions", {"alias": "body kept"})
    assert (made.status, made.json["alias"]) == (201, "body kept")
    assert user.get(f"/sessions/{made.json['id']}/messages").status == 200
    asked = user.post("/llm/text-completion", {"text": "x", "provider": "openai", "model": "m"})
    assert asked.status == 200


def test_stored_keys_are_encrypted_and_open_only_where_they_belong(new_server):
    server = new_server()
    first, second = server.user("sk-plain-as-day-123456"), server.user("sk-second")
    assert first.ask().status == 200
    server.stop()
    for file in server.data_dir.rglob("*"):
        if file.is_file():
            assert b"sk-plain-as-day-123456" not in file.read_bytes(), file.name
    with closing(sqlite3.connect(server.data_dir / "rini.db")) as database, database:
        assert len(database.execute("select sealed from provider_keys").fetchone()[0]) > 40
        database.execute(
            "update provider_keys set sealed = (select sealed from provider_keys where id = 1) where id = 2"
        )
    server.start()
    second.url = first.url = server.url
    assert first.ask().status == 200
    moved = second.ask()
    assert moved.status == 500
    assert moved.json["code"] == "provider_key_unreadable"


def test_sign_up_can_be_closed_and_is_limited(new_server):
    closed = new_server(RINI_SIGNUP="closed")
    refused = Client(closed.url).post("/users/")
    assert (refused.status, refused.json["code"]) == (403, "signup_closed")
    closed.kill()
    limited = new_server(RINI_SIGNUP_LIMIT="2")
    statuses = [Client(limited.url).post("/users/") for _ in range(3)]
    assert [answer.status for answer in statuses] == [201, 201, 429]
    assert int(statuses[2].headers["retry-after"]) > 3000
