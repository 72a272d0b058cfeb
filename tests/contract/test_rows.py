"""The seed contract, row by row: what holds for each of them."""

import ast
import http.client
import json
import re
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.contract.rows import MESSAGE, PROVIDER, ROWS, Row
from tests.support.server import Answer, Client, Server
from tests.support.things import Things, picture
from tests.support.upstream import Conversation, Upstream, echo

HERE = Path(__file__).parent
MISSING = 2**62
BEHAVIOURS = 24
"""How many lines README.md's second table has: what the contract says around its rows, and its part "Behaviour"."""


async def provider(conversation: Conversation) -> None:
    """Answer as OpenAI's chat and embeddings do."""
    if not conversation.seen.path.endswith("/embeddings"):
        await echo(conversation)
        return
    data = [{"index": at, "embedding": [0.5]} for at, _ in enumerate(conversation.seen.json["input"])]
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    await conversation.whole({"object": "list", "data": data, "model": "e", "usage": usage})


def _made(server: Server, upstream: Upstream) -> Things:
    made = Things(server)
    upstream.scripts[made.client.provider_key] = provider
    return made


@pytest.fixture(scope="module")
def things(server: Server, upstream: Upstream) -> Things:
    """One of everything, for tests that change nothing of it."""
    return _made(server, upstream)


@pytest.fixture
def own_things(server: Server, upstream: Upstream) -> Things:
    """One of everything for one test."""
    return _made(server, upstream)


def straight(client: Client, method: str, path: str, body: Any = None) -> Answer:
    """Send a request with a client that follows no redirect."""
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=30)
    headers = {"Authorization": f"Bearer {client.token}"} if client.token is not None else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    connection.close()
    return found


def send(things: Things, row: Row, path: str | None = None) -> Answer:
    path = things.path(path or row.path) + things.path(row.query)
    if row.form:
        return things.client.form(path, {"image_file": ("a.png", picture())}, **row.body)
    return straight(things.client, row.method, path, row.body)


def objects(answer: Answer, row: Row) -> list[dict[str, Any]]:
    if not row.listed:
        return [answer.json]
    assert isinstance(answer.json, list)
    assert answer.json, row.name
    return answer.json


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_row_answers_with_its_status_and_fields_whatever_its_slash(own_things: Things, row: Row, server, upstream):
    answer = send(own_things, row)
    assert answer.status == row.status, answer
    if row.status == 204:
        assert answer.body == b""
    else:
        for each in objects(answer, row):
            assert row.fields <= set(each), row.name
            _check_types(each)
    if row.path == "/":
        return
    if row.method == "DELETE":
        own_things = Things(server)
    other = send(own_things, row, row.of(row.path))
    assert (other.status, "location" in other.headers) == (row.status, False), other
    if row.body is not None and not row.form and row.path.startswith("/llm/"):
        # The body came along.
        assert (
            upstream.calls(own_things.client.provider_key)[-1].body
            == upstream.calls(own_things.client.provider_key)[-2].body
        )
    elif row.status != 204:
        assert [set(each) for each in objects(other, row)] == [set(each) for each in objects(answer, row)]


def _check_types(shown: dict[str, Any]) -> None:
    """Look at what is common to all: ids are integers but a session's, times have a zone."""
    if "alias" in shown:
        assert str(uuid.UUID(shown["id"])) == shown["id"]
    elif "id" in shown:
        assert type(shown["id"]) is int
    if "user_id" in shown:
        assert type(shown["user_id"]) is int
    for name in ("created_at", "updated_at", "timestamp"):
        if name in shown:
            assert datetime.fromisoformat(shown[name]).tzinfo is not None


def test_the_llm_rows_in_a_session_have_their_messages(own_things: Things):
    session = own_things.ids["session_id"]
    text = own_things.client.post("/llm/text-completion/", {"text": "t", "session_id": session, **PROVIDER})
    image = own_things.client.form(
        "/llm/image-completion/", {"image_file": ("a.png", picture())}, session_id=session, **PROVIDER
    )
    for answer in (text, image):
        assert answer.status == 200, answer
        assert answer.json["session_id"] == session
        assert set(answer.json["assistant_message"]) >= MESSAGE
        assert answer.json["assistant_message"]["content"] == answer.json["response_text"]
    assert set(text.json["user_message"]) >= MESSAGE


def test_vectors_have_their_index(own_things: Things):
    answer = own_things.client.post("/llm/embeddings/", {"input": "one text", "provider": "openai"})
    assert answer.json["data"] == [{"embedding": [0.5], "index": 0}]
    assert answer.json["usage"] | {"prompt_tokens": 2, "total_tokens": 2} == answer.json["usage"]


def test_costs_are_told_by_model(own_things: Things):
    own_things.client.ask(model="gpt-4o-mini", session_id=own_things.ids["session_id"])
    (row,) = (row for row in ROWS if row.path == "/usage/cost-estimation/")
    found = send(own_things, row, row.path).json
    assert (found["currency"], list(found["details"])) == ("USD", ["gpt-4o-mini"])
    (cost,) = found["details"].values()
    assert {"prompt_tokens", "completion_tokens", "estimated_cost"} <= set(cost)
    assert cost["estimated_cost"] == found["total_estimated_cost"] > 0


def test_every_row_but_the_open_ones_needs_a_token(server: Server, things: Things):
    good = things.client.token or ""
    bad = [None, "", "nonsense", "a.b.c", good[:-4] + "AAAA", f"{good} {good}"]
    for row in ROWS:
        for path in {row.path, row.of(row.path)}:
            for token in bad:
                answer = straight(Client(server.url, token), row.method, things.path(path), row.body)
                if row.open:
                    assert answer.status == row.status, (row.name, token)
                    continue
                assert answer.status == 401, (row.name, path, token)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.headers["content-type"] == "application/problem+json"
                assert isinstance(answer.json["detail"], str)


@pytest.mark.parametrize("scheme", ["Basic", "Token", "bear"])
def test_only_bearer_tokens_are_taken(things: Things, scheme: str):
    client = things.client
    assert client.request("GET", "/users/me", Authorization=f"{scheme} {client.token}").status == 401
    assert client.request("GET", "/users/me", Authorization=f"bearer {client.token}").status == 200


@pytest.mark.parametrize("row", [row for row in ROWS if "{" in row.path], ids=lambda row: row.name)
def test_what_is_anothers_is_answered_as_what_does_not_exist(server: Server, things: Things, row: Row):
    stranger = server.user()
    missing = row.path.format_map(dict.fromkeys(things.ids, MISSING) | {"session_id": uuid.uuid4()})
    before = things.client.get(things.path(row.path))
    theirs = straight(stranger, row.method, things.path(row.path), row.body)
    nothing = straight(stranger, row.method, missing, row.body)
    assert theirs.status == nothing.status == 404
    for answer in (theirs, nothing):
        assert answer.json["code"] == "not_found"
    ids = re.compile(r"[0-9a-f-]{36}|\d+")
    assert ids.sub("N", theirs.json["detail"]) == ids.sub("N", nothing.json["detail"])
    assert set(theirs.json) == set(nothing.json)
    assert (
        things.client.get(things.path(row.path)).body.split(b'"request_id"')[0] == before.body.split(b'"request_id"')[0]
    )


def test_anothers_session_in_a_body_does_not_exist(server: Server, things: Things):
    stranger = server.user()
    for session in (things.ids["session_id"], str(uuid.uuid4()), "no-uuid"):
        text = stranger.post("/llm/text-completion/", {"text": "t", "session_id": session, **PROVIDER})
        image = stranger.form(
            "/llm/image-completion/", {"image_file": ("a.png", picture())}, session_id=session, **PROVIDER
        )
        listed = stranger.get(f"/memory/?session_id={session}")
        for answer in (text, image, listed):
            assert (answer.status, answer.json["detail"]) == (404, "There is no such session."), answer
    assert len(things.client.get(f"/sessions/{things.ids['session_id']}/messages/").json) == 1


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.body is not None and not row.form], ids=lambda row: row.name
)
def test_bad_bodies_are_422_with_one_clear_sentence(things: Things, row: Row):
    path = things.path(row.path)
    name, value = next(iter(row.body.items()))
    wrong = [{**row.body, name: 7 if isinstance(value, str | list) else "seven"}, [], "text", 7, None, [row.body]]
    answers = [straight(things.client, row.method, path, body) for body in wrong]
    answers += [
        things.client.request(row.method, path, raw=raw, Content_Type="application/json")
        for raw in (b"", b"{", b"\xff", b'{"a": NaN', b"null")
    ]
    for answer in answers:
        assert answer.status == 422, answer
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["status"] == 422
        assert re.fullmatch(r"[^\n]{5,300}\.", answer.json["detail"]), answer.json["detail"]
    assert answers[0].json["detail"].startswith(f"{name}:")


@pytest.mark.parametrize("row", [row for row in ROWS if "skip=" in row.query], ids=lambda row: row.name)
def test_pages_of_no_size_are_422(things: Things, row: Row):
    for query in ("skip=-1", "skip=x", "limit=0", "limit=-5", "limit=x", f"skip={2**64}", f"limit={2**64}"):
        answer = things.client.get(f"{things.path(row.path)}?{query}")
        assert answer.status == 422, query
        assert answer.json["detail"].startswith(f"{query.partition('=')[0]}:"), query


@pytest.mark.parametrize("row", [row for row in ROWS if "_id}" in row.path], ids=lambda row: row.name)
def test_ids_that_are_none_are_refused_and_never_an_error_of_the_server(things: Things, row: Row):
    for wrong in ("0", "-1", "x", "1.5", str(2**63), "%00", "%F0%9F%90%88", "1%27%20OR%201=1"):
        path = re.sub(r"\{\w+\}", wrong, row.path)
        answer = straight(things.client, row.method, path, row.body)
        assert answer.status == (404 if "{session_id}" in row.path else 422), (path, answer)


# The table in README.md.


def _table() -> dict[str, list[str]]:
    """Return the tests of each row and behaviour, as README.md lists them."""
    found: dict[str, list[str]] = {}
    for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and "::" in line:
            found[cells[0].strip("`")] = re.findall(r"`(test_\w+::\w+)`", cells[1])
    return found


def _tests() -> set[str]:
    """Return the tests of this folder."""
    return {
        f"{file.stem}::{node.name}"
        for file in HERE.glob("test_*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_and_behaviour_has_a_test():
    table, tests = _table(), _tests()
    rows = {row.name for row in ROWS}
    assert rows <= set(table)
    assert len(table) - len(rows) >= BEHAVIOURS
    for line, named in table.items():
        assert named, line
        assert set(named) <= tests, line


def test_every_row_is_in_the_api_pages(server: Server):
    paths = Client(server.url).get("/openapi.json").json["paths"]
    for row in ROWS:
        assert row.method.lower() in paths[row.path], row.name
