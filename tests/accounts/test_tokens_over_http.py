"""/users/me/tokens and what its tokens may do, as clients of a running server meet it."""

import http.client
import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.collector import Collector
from tests.support.server import Answer, Client, Server

TOKENS = "/users/me/tokens"
SHOWN = {"id", "name", "hint", "models", "expires_at", "last_used_at", "created_at"}
ASKED = {"text": "hello", "provider": "openai", "model": "gpt-test"}


def make(user: Client, **fields: Any) -> dict[str, Any]:
    made = user.post(TOKENS, {"name": "sdk"} | fields)
    assert made.status == 201, made
    return made.json


def with_token(user: Client, token: str) -> Client:
    return Client(user.url, token, user.provider_key)


def send(client: Client, path: str, *headers: tuple[str, bytes], method: str = "GET") -> Answer:
    """Send headers as they are, several of one name too."""
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=30)
    connection.putrequest(method, path)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    connection.close()
    return found


# From birth to death.


def test_a_token_from_birth_to_death(user: Client):
    made = make(user, name="내 노트북", models=["openai/*", "anthropic/claude-x", "openai/*"])
    assert set(made) == SHOWN | {"token"}
    token = made.pop("token")
    assert token.startswith("rini_")
    assert len(token) == 48
    assert (made["name"], made["hint"], made["last_used_at"]) == ("내 노트북", token[-4:], None)
    assert made["models"] == ["openai/*", "anthropic/claude-x"]
    assert made["expires_at"] is None
    one, listed = user.get(f"{TOKENS}/{made['id']}"), user.get(TOKENS)
    assert (one.status, one.json) == (200, made)
    assert (listed.status, listed.json, listed.headers["x-total-count"]) == (200, [made], "1")
    assert not any(token.encode() in answer.body for answer in (one, listed))
    program = with_token(user, token)
    assert program.get("/users/me").json == user.get("/users/me").json
    assert program.ask().status == 200
    assert user.delete(f"{TOKENS}/{made['id']}").status == 204
    for refused in (program.get("/users/me"), program.ask()):
        assert (refused.status, refused.json["code"]) == (401, "not_authenticated")
        assert refused.headers["www-authenticate"] == "Bearer"
    for method in ("GET", "DELETE"):
        assert user.request(method, f"{TOKENS}/{made['id']}").status == 404


def test_the_last_use_is_told(user: Client):
    made = make(user)
    began = datetime.now(UTC)
    with_token(user, made["token"]).get("/users/me")
    until = time.monotonic() + 10
    while (used := user.get(f"{TOKENS}/{made['id']}").json["last_used_at"]) is None and time.monotonic() < until:
        time.sleep(0.02)
    assert abs((datetime.fromisoformat(used) - began).total_seconds()) < 60


def test_a_token_ends_when_it_says_so(user: Client):
    end = datetime.now(UTC) + timedelta(seconds=1)
    made = make(user, expires_at=end.isoformat())
    assert datetime.fromisoformat(made["expires_at"]) == end
    program = with_token(user, made["token"])
    until = time.monotonic() + 4  # less than a token is remembered for, counted from its last check
    statuses = [program.get("/users/me").status]
    while statuses[-1] == 200 and time.monotonic() < until:
        time.sleep(0.1)
        statuses.append(program.get("/users/me").status)
    assert statuses[0] == 200
    refused = program.ask()
    assert refused.status == 401
    assert "has expired" in refused.json["detail"]
    assert user.get(f"{TOKENS}/{made['id']}").status == 200


def test_an_end_can_be_told_in_days_or_in_another_zone(user: Client):
    days = datetime.fromisoformat(make(user, expires_in_days=3650)["expires_at"])
    assert abs(days - datetime.now(UTC) - timedelta(days=3650)) < timedelta(minutes=5)
    assert datetime.fromisoformat(make(user, expires_at="2100-01-01T09:00:00+09:00")["expires_at"]) == datetime(
        2100, 1, 1, tzinfo=UTC
    )
    assert make(user, expires_at=None, expires_in_days=None, models=None)["expires_at"] is None


def test_tokens_are_listed_in_pages_and_there_are_a_hundred(user: Client):
    for number in range(100):
        make(user, name=f"token {number}")
    first, last = user.get(TOKENS), user.get(f"{TOKENS}/?skip=95&limit=50")
    assert [len(first.json), first.headers["x-total-count"]] == [10, "100"]
    assert [token["name"] for token in last.json] == [f"token {number}" for number in range(95, 100)]
    refused = user.post(TOKENS, {"name": "one too many"})
    assert (refused.status, refused.json["code"]) == (409, "too_many_tokens")
    assert user.delete(f"{TOKENS}/{last.json[0]['id']}").status == 204
    make(user)


def test_tokens_go_with_their_user(server: Server):
    user = server.user()
    program = with_token(user, make(user)["token"])
    assert program.get("/users/me").status == 200
    assert user.delete("/users/me").status == 204
    assert program.get("/users/me").status == 401
    assert program.ask().status == 401


def test_another_users_token_does_not_exist(server: Server, user: Client):
    other, mine = server.user(), make(user)["id"]
    for method in ("GET", "DELETE"):
        theirs = other.request(method, f"{TOKENS}/{mine}")
        nothing = other.request(method, f"{TOKENS}/999999999")
        assert (theirs.status, nothing.status) == (404, 404)
        assert theirs.json["detail"].replace(str(mine), "N") == nothing.json["detail"].replace("999999999", "N")
    assert other.get(TOKENS).json == []
    assert user.get(f"{TOKENS}/{mine}").status == 200


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"name": "n\u0000"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": 7}, "name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at: must be in the future"),
        ({"expires_at": "2100-01-01T00:00:00"}, "expires_at: must be a time with its zone"),
        ({"expires_at": "2100-01-01"}, "expires_at: must be a time"),
        ({"expires_at": "tomorrow"}, "expires_at: must be a time"),
        ({"expires_at": "4102444800"}, "expires_at: must be a time"),
        ({"expires_at": 4102444800}, "expires_at: must be a time"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at: must be a time"),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at: must be a time"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 3651}, "expires_in_days"),
        ({"expires_in_days": 1.0}, "expires_in_days"),
        ({"expires_in_days": "1"}, "expires_in_days"),
        ({"expires_in_days": 1, "expires_at": "2100-01-01T00:00:00Z"}, "body: expires_at and expires_in_days"),
        ({"models": []}, "models"),
        ({"models": "*"}, "models"),
        ({"models": ["*"] * 101}, "models"),
        ({"models": ["openai/" + "m" * 315]}, "models.0"),
        ({"models": ["*", "gpt-4o"]}, "models.1: must be provider/model"),
        ({"models": ["opnai/gpt-4o"]}, "models.0: must begin with a provider"),
        ({"models": ["openai/\u0000"]}, "models.0"),
        ({"models": ["openai/\ud800"]}, "models.0"),
        ({"models": [None]}, "models.0"),
    ],
)
def test_what_is_no_token_is_refused_in_one_sentence(user: Client, body: dict[str, Any], word: str):
    answer = user.post(TOKENS, ({"name": "x"} if body and "name" not in body else {}) | body)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["detail"].startswith(word)
    assert "\n" not in answer.json["detail"]


# What an access token may do.


def test_a_program_may_do_all_but_change_who_may_do_what(user: Client):
    program = with_token(user, make(user)["token"])
    key = user.get("/api-keys/").json[0]["id"]
    token = user.get(TOKENS).json[0]["id"]
    for method, path, body in (
        ("POST", TOKENS, {"name": "another"}),
        ("GET", TOKENS, None),
        ("GET", f"{TOKENS}/{token}", None),
        ("DELETE", f"{TOKENS}/{token}", None),
        ("POST", "/api-keys/", {"model_provider": "openai", "api_key_value": "k"}),
        ("PUT", f"/api-keys/{key}", {"description": "mine now"}),
        ("DELETE", f"/api-keys/{key}", None),
        ("DELETE", "/users/me", None),
    ):
        refused = program.request(method, path, body)
        assert (refused.status, refused.json["code"]) == (403, "token_not_allowed"), (method, path)
        assert "JWT" in refused.json["detail"]
        assert f"rini user token {user.get('/users/me').json['id']}" in refused.json["detail"]
    assert user.get(f"/api-keys/{key}").json["description"] is None
    assert user.get(TOKENS).headers["x-total-count"] == "1"
    session = program.session(alias="a program's")
    assert user.get(f"/sessions/{session}").status == 200
    assert program.get("/api-keys/").json[0]["id"] == key
    assert program.ask(session_id=session).status == 200
    assert len(program.get("/usage/records/").json) == 1


def test_only_allowed_models_are_called(server: Server, user: Client, upstream):
    program = with_token(user, make(user, models=["openai/gpt-test", "google/*"])["token"])
    session = program.session()
    assert program.ask().status == 200
    chat = {"messages": [{"role": "user", "content": "x"}], "provider": "openai", "model": "gpt-4o"}
    calls = len(upstream.seen[user.provider_key])
    embedding = {"input": "x", "provider": "openai"}
    image = {"image_file": ("a.png", b"not looked at")}
    refusals = [
        program.ask(model="gpt-4o"),
        program.ask(model="gpt-4o", session_id=session),
        program.ask(provider="anthropic"),
        program.post("/llm/chat-completions/", chat),
        program.post("/llm/embeddings/", embedding),
        program.form("/llm/image-completion/", image, provider="openai", prompt="x"),
    ]
    for refused in refusals:
        assert (refused.status, refused.json["code"]) == (403, "model_not_allowed"), refused
        assert "it may call openai/gpt-test, google/*." in refused.json["detail"]
    with program.open_stream(model="gpt-4o") as stream:
        assert stream.status == 403
    assert len(upstream.seen[user.provider_key]) == calls
    assert program.get(f"/sessions/{session}/messages/").json == []
    # What is allowed goes on to the next question: this user has no key of Google's.
    assert program.ask(provider="google", model="gemini").json["code"] == "provider_key_missing"
    assert user.ask(model="gpt-4o").status == 200


# Where it travels.


def test_the_models_endpoints_take_it_from_every_place(user: Client):
    for token in (make(user)["token"], str(user.token)):
        stranger = Client(user.url)
        assert stranger.request("POST", "/llm/text-completion/", ASKED, x_api_key=token).status == 200
        assert stranger.request("POST", "/llm/text-completion/", ASKED, x_goog_api_key=token).status == 200
        assert stranger.request("POST", f"/llm/text-completion/?key={token}", ASKED).status == 200
        for headers in ({"x_api_key": token}, {"x_goog_api_key": token}):
            assert stranger.request("GET", "/users/me", **headers).status == 401
        assert stranger.get(f"/users/me?key={token}").status == 401


def test_large_bodies_come_with_a_token_in_any_place(user: Client):
    body, token = ASKED | {"text": "x" * 100_000}, make(user)["token"]
    assert Client(user.url).request("POST", "/llm/text-completion/", body, x_api_key=token).status == 200
    assert Client(user.url).post(f"/llm/text-completion/?key={token}", body).status == 200
    refused = Client(user.url).request("POST", "/llm/text-completion/", body, x_api_key=f"{token}x")
    assert (refused.status, refused.json["code"]) == (401, "not_authenticated")


def test_headers_that_are_wrong_are_401(user: Client):
    token = make(user)["token"].encode()
    for headers in (
        (("authorization", b"Bearer"),),
        (("authorization", b"Bearer "),),
        (("authorization", b""),),
        (("authorization", token),),
        (("authorization", b"Basic " + token),),
        (("authorization", b"Bearer Bearer " + token),),
        (("authorization", b"Bearer " + token + b" x"),),
        (("authorization", b"Bearer " + token + "é".encode()),),
        (("authorization", b"Bearer \xff\xfe\x80"),),
        (("authorization", b"Bearer rini_" + b"\xe9" * 43),),
        (("authorization", b"Bearer rini_" + b"x" * 5000),),
        (("authorization", b"Bearer " + b"x" * 5000),),
        (("authorization", b"Bearer nonsense"), ("authorization", b"Bearer " + token)),
    ):
        for path in ("/users/me", "/llm/text-completion/"):
            answer = send(user, path, *headers, ("content-length", b"0"), method="GET" if "me" in path else "POST")
            assert (answer.status, answer.json["code"]) == (401, "not_authenticated"), (path, headers)
    for scheme in (b"Bearer ", b"bearer ", b"BEARER   "):
        assert send(user, "/users/me", ("authorization", scheme + token)).status == 200


# What nobody is to see.


def test_a_token_in_an_address_is_in_no_log_trace_metric_or_answer(new_server, upstream):
    pytest.importorskip("opentelemetry.sdk")
    with Collector() as collector:
        server: Server = new_server(
            RINI_LOG_LEVEL="debug", RINI_OTLP_ENDPOINT=collector.url, RINI_SLOW_CALL_SECONDS="0.000001"
        )
        user = server.user()
        good, broken = make(user), make(user)
        tokens = [good["token"], broken["token"], str(user.token)]
        with closing(sqlite3.connect(server.data_dir / "rini.db")) as database, database:
            database.execute("update access_tokens set models = '{' where id = ?", (broken["id"],))
        stranger, told, statuses = Client(server.url), b"", set()
        for token in tokens:
            escaped = "".join(f"%{byte:02x}" for byte in token.encode())
            for key in (token, escaped):
                for method, path, body in (
                    ("POST", "/llm/text-completion/", ASKED),
                    ("POST", "/llm/text-completion", ASKED | {"text": "x" * 100_000}),
                    ("POST", "/llm/text-completion/", {"text": 7}),
                    ("POST", "/llm/embeddings/", {"input": "x", "provider": "anthropic"}),
                    ("DELETE", "/llm/embeddings/", None),
                    ("GET", "/sessions/", None),
                    ("GET", "/missing", None),
                    ("POST", "/v1beta/models/none:none", {}),
                    ("PATCH", "/users/me", {}),
                    ("GET", "/docs", None),
                    ("GET", "/openapi.json", None),
                ):
                    answer = stranger.request(method, f"{path}?alt=sse&key={key}", body)
                    statuses.add(answer.status)
                    told += answer.body + str(answer.headers).encode()
        told += stranger.get("/metrics").body
        server.stop()
        told += server.logged().encode() + collector.raw
    # It was found, there was nothing, it was refused, and it failed.
    assert {200, 401, 404, 405, 422, 500} <= statuses
    assert json.dumps("request_failed").encode() in told
    assert collector.spans
    for token in tokens:
        for secret in (token, "".join(f"%{byte:02x}" for byte in token.encode()), token[5:], token[-20:]):
            assert secret.encode() not in told
    for file in server.data_dir.rglob("*"):
        if file.is_file():
            assert not any(token.encode() in file.read_bytes() for token in tokens), file
