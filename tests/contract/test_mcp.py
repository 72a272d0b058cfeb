"""/mcp-connections, as clients drive them over a real socket."""

import json
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Script, Upstream
from tests.tools.conftest import SMALL
from tests.tools.lying import speaking, tool

PATH = "/mcp-connections/"
FIELDS = {
    "id", "user_id", "name", "url", "description", "transport", "header_names", "enabled", "allowed_tools",
    "timeout_seconds", "created_at", "updated_at",
}  # fmt: skip


@pytest.fixture
def liar(upstream: Upstream) -> Callable[[Script], dict[str, Any]]:
    """Return a function that sets a lying server up and returns the body that connects it."""

    def make(script: Script) -> dict[str, Any]:
        key = f"liar-{uuid.uuid4().hex}"
        upstream.scripts[key] = script
        return {"name": "liar", "url": f"{upstream.url}/mcp", "headers": {"Authorization": f"Bearer {key}"}}

    return make


def made(user: Client, body: dict[str, Any]) -> int:
    answer = user.post(PATH, body)
    assert answer.status == 201, answer
    return answer.json["id"]


def test_a_connection_from_birth_to_death(user: Client):
    answer = user.post(PATH, {"name": "weather", "url": "https://mcp.example.com/mcp", "description": "날씨"})
    assert answer.status == 201
    connection = answer.json
    assert set(connection) == FIELDS
    assert connection["user_id"] == user.get("/users/me").json["id"]
    assert connection["description"] == "날씨"
    assert (connection["transport"], connection["enabled"], connection["allowed_tools"]) == (
        "streamable_http",
        True,
        None,
    )
    assert (connection["header_names"], connection["timeout_seconds"]) == ([], 30)
    path = f"{PATH}{connection['id']}"
    assert user.get(path).json == connection
    changed = user.put(path, {"description": None, "allowed_tools": ["a"], "timeout_seconds": 5, "transport": "sse"})
    assert changed.status == 200
    assert changed.json["updated_at"] > connection["updated_at"]
    kept = {"description": None, "allowed_tools": ["a"], "timeout_seconds": 5, "transport": "sse"}
    assert changed.json == connection | kept | {"updated_at": changed.json["updated_at"]}
    assert user.get(PATH).json == [changed.json]
    assert user.delete(path).status == 204
    for again in (user.get(path), user.put(path, {"name": "x"}), user.delete(path)):
        assert (again.status, again.json["detail"]) == (404, f"There is no MCP connection {connection['id']}.")
    assert user.get(PATH).json == []


def test_connections_are_listed_in_pages(user: Client):
    ids = [made(user, {"name": str(number), "url": "https://example.com/mcp"}) for number in range(12)]
    first = user.get(PATH)
    assert ([each["id"] for each in first.json], first.headers["x-total-count"]) == (ids[:10], "12")
    assert [each["id"] for each in user.get(f"{PATH}?skip=11&limit=5").json] == ids[11:]


def test_a_user_may_have_50(user: Client):
    for number in range(50):
        made(user, {"name": str(number), "url": "https://example.com/mcp"})
    refused = user.post(PATH, {"name": "51", "url": "https://example.com/mcp"})
    assert (refused.status, refused.json["detail"][:31]) == (422, "You have 50 MCP connections, wh")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "name:"),
        ({"name": "a\u0000"}, "name:"),
        ({"name": "n" * 129}, "name:"),
        ({"name": None}, "name:"),
        ({"url": "ftp://example.com"}, "url: The URL must begin with http:// or https://."),
        ({"url": "https://u:p@example.com"}, "url: The URL must hold no user name or password."),
        ({"url": "http://10.0.0.1/mcp"}, "url: 10.0.0.1 is inside a private network"),
        ({"url": "http://[::1]/mcp"}, "url: ::1 is inside"),
        ({"url": "http://2130706433/mcp"}, "url: 127.0.0.1 is inside"),
        ({"url": "http://localhost:1/mcp"}, "url: localhost is inside"),
        ({"url": "http://169.254.169.254/"}, "url:"),
        ({"url": 7}, "url:"),
        ({"transport": "stdio"}, "transport: stdio servers are commands that run on this server, so only its operator"),
        ({"transport": "carrier pigeon"}, "transport:"),
        ({"headers": {"A": "b\r\nX: y"}}, "headers: must have values of"),
        ({"headers": {"A\r\nX": "y"}}, "headers: must have names of"),
        ({"headers": {"A": "ключ"}}, "headers: must have values of"),
        ({"headers": {"A": ""}}, "headers: must have values of"),
        ({"headers": {"A": "x" * 5000}}, "headers: must have values of"),
        ({"headers": {"Host": "inside"}}, "headers: must not set host"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "headers: must not set transfer-encoding"),
        ({"headers": {"Mcp-Session-Id": "x"}}, "headers: must not set mcp-session-id"),
        ({"headers": {"A": "1", "a": "2"}}, "headers: must name a once"),
        ({"headers": {f"h{n}": "x" for n in range(21)}}, "headers: must be at most 20"),
        ({"headers": {f"h{n}": "x" * 4000 for n in range(5)}}, "headers: must have at most"),
        ({"headers": [["A", "b"]]}, "headers:"),
        ({"allowed_tools": "all"}, "allowed_tools:"),
        ({"allowed_tools": [""]}, "allowed_tools.0:"),
        ({"timeout_seconds": 0}, "timeout_seconds:"),
        ({"timeout_seconds": 301}, "timeout_seconds:"),
        ({"enabled": None}, "enabled:"),
    ],
)
def test_what_is_no_connection_is_refused_in_one_sentence(user: Client, change: dict[str, Any], words: str):
    good = {"name": "x", "url": "https://example.com/mcp"}
    connection = made(user, good)
    for answer in (user.post(PATH, good | change), user.put(f"{PATH}{connection}", change)):
        assert answer.status == 422
        assert answer.json["detail"].startswith(words)
        assert "\n" not in answer.json["detail"]
    assert user.get(f"{PATH}{connection}").json["name"] == "x"


@pytest.mark.parametrize("word", ["streamable-http", "Streamable_HTTP", "http", "streamableHttp"])
def test_other_words_for_a_transport_are_taken(user: Client, word: str):
    answer = user.post(PATH, {"name": "x", "url": "https://example.com/mcp", "transport": word})
    assert answer.json["transport"] == "streamable_http"


def test_headers_are_never_shown_again(server: Server, user: Client, liar: Any):
    body = liar(speaking([tool("a")]))
    secret = body["headers"]["Authorization"].split()[1]
    connection = made(user, body | {"headers": body["headers"] | {"X-Other": "value-of-another"}})
    path = f"{PATH}{connection}"
    answers = [user.get(path), user.get(PATH), user.put(path, {"name": "y"})]
    answers += [user.post(f"{path}/test"), user.get(f"{path}/tools")]
    assert answers[3].json["ok"] is True
    for answer in answers:
        assert answer.status == 200
        assert secret.encode() not in answer.body
        assert b"value-of-another" not in answer.body
    assert answers[0].json["header_names"] == ["Authorization", "X-Other"]
    assert secret not in server.logged()
    # They are replaced as a whole.
    assert user.put(path, {"headers": {"X-New": "1"}}).json["header_names"] == ["X-New"]
    assert user.put(path, {"headers": None}).json["header_names"] == []


def test_headers_do_not_follow_a_url_to_another_server(user: Client):
    connection = made(user, {"name": "x", "url": "https://a.example.com/mcp", "headers": {"Authorization": "Bearer x"}})
    path = f"{PATH}{connection}"
    moved = user.put(path, {"url": "https://b.example.com/mcp"})
    assert (moved.status, moved.json["detail"][:50]) == (422, "url: leads to another server than the stored heade")
    assert user.put(path, {"url": "https://a.example.com/other"}).status == 200
    assert user.put(path, {"url": "https://b.example.com/mcp", "headers": {}}).json["header_names"] == []


def test_a_connection_is_tried(user: Client, liar: Any):
    good = made(user, liar(speaking([tool("a"), tool("b")])))
    answer = user.post(f"{PATH}{good}/test")
    assert answer.status == 200
    assert answer.json["ms"] >= 0
    assert {name: answer.json[name] for name in ("ok", "server_name", "protocol_version", "tools")} == {
        "ok": True,
        "server_name": "liar",
        "protocol_version": "2025-06-18",
        "tools": 2,
    }


def test_a_server_that_does_not_answer_is_told_of(user: Client, liar: Any):
    async def gone(conversation: Conversation) -> None:
        await conversation.whole(b"no", 404, "text/plain")

    words = "The server answered 404 Not Found."
    connection = made(user, liar(gone))
    tried = user.post(f"{PATH}{connection}/test")
    assert (tried.status, tried.json["ok"], tried.json["detail"]) == (200, False, words)
    listed = user.get(f"{PATH}{connection}/tools")
    assert (listed.status, listed.json["code"]) == (502, "tool_server_failed")
    assert listed.json["detail"] == f"The tools of connection {connection} cannot be listed: {words}"


def test_tools_are_listed_with_their_names(user: Client, liar: Any):
    bad = tool("bad", inputSchema={"type": "object", "properties": {"a": {"$ref": "http://inside/"}}})
    connection = made(user, liar(speaking([tool("b.c"), bad, tool("a")])) | {"name": "mine"})
    answer = user.get(f"{PATH}{connection}/tools")
    assert answer.status == 200
    schema = {"type": "object", "properties": {}}
    assert answer.json[0] == {
        "name": "a", "offered_as": "a", "description": "a.", "input_schema": schema, "offered": True, "reason": None,
    }  # fmt: skip
    assert (answer.json[1]["offered"], answer.json[1]["offered_as"]) == (True, "mine__b_c")
    assert (answer.json[2]["offered"], answer.json[2]["input_schema"]) == (False, None)
    assert answer.json[2]["reason"] == "Its input schema refers to another document, which is not fetched."


def test_another_users_connection_does_not_exist(server: Server, user: Client):
    mine = made(user, {"name": "x", "url": "https://example.com/mcp"})
    other = server.user()
    missing = 999_999_999
    for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/tools")):
        body = {"name": "y"} if method == "PUT" else None
        theirs = other.request(method, f"{PATH}{mine}{path}", body)
        nothing = other.request(method, f"{PATH}{missing}{path}", body)
        assert theirs.status == nothing.status == 404
        assert theirs.json["detail"].replace(str(mine), "N") == nothing.json["detail"].replace(str(missing), "N")
    assert other.get(PATH).json == []
    assert user.get(f"{PATH}{mine}").json["name"] == "x"


def test_it_asks_for_a_token(server: Server):
    for method, path in (("GET", ""), ("POST", ""), ("GET", "1"), ("POST", "1/test"), ("GET", "1/tools")):
        assert Client(server.url).request(method, PATH + path).status == 401


def test_stored_headers_are_encrypted_and_open_only_where_they_belong(new_server: Callable[..., Server], liar: Any):
    server = new_server(RINI_ALLOWED_PRIVATE_HOSTS="127.0.0.1")
    first, second = server.user(), server.user()
    body = liar(speaking([tool("a")]))
    made(first, body)
    made(second, body)
    server.stop()
    for file in server.data_dir.rglob("*"):
        if file.is_file():
            assert body["headers"]["Authorization"].encode() not in file.read_bytes(), file.name
    with closing(sqlite3.connect(server.data_dir / "rini.db")) as database, database:
        database.execute(
            "update mcp_connections set sealed_headers = (select sealed_headers from mcp_connections where id = 1)"
        )
    server.start()
    first.url = second.url = server.url
    assert first.post(f"{PATH}1/test").json["ok"] is True
    moved = second.post(f"{PATH}2/test").json
    assert (moved["ok"], "do not open under any master key" in moved["detail"]) == (False, True)


def test_the_operators_file_is_read_at_start(new_server: Callable[..., Server], tmp_path: Path):
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"a": {"command": 7}}}')
    with pytest.raises(AssertionError, match=r"RINI_MCP_SERVERS_FILE: .*a.command must be a string"):
        new_server(RINI_MCP_SERVERS_FILE=str(file))
    file.write_text(json.dumps({"mcpServers": {"small": {"command": SMALL[0], "args": SMALL[1:]}}}))
    server = new_server(RINI_MCP_SERVERS_FILE=str(file), data_dir=tmp_path / "second")
    assert server.stop() == 0
