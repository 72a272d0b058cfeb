"""From one server to another, whatever their databases: what the file says is there again, and is exported as the same file."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from rini.canon import Text, Thinking, Usage
from tests.support.model import MODELS, reply, user_of
from tests.support.server import Client, Server
from tests.support.things import picture
from tests.support.upstream import Upstream
from tests.transfer.files import rini
from tests.transfer.test_round_trip import sessions_of_everything

WAYS = [("sqlite", "postgres"), ("postgres", "sqlite"), ("sqlite", "sqlite")]
TOOL = {"type": "function", "name": "find", "parameters": {"type": "object"}, "strict": False}
ASKED: dict[str, Any] = {
    "model": f"anthropic/{MODELS['anthropic']}",
    "metadata": {"색": "붉은"},
    "instructions": "Be brief.",
    "tools": [TOOL],
    "temperature": 0.5,
    "max_output_tokens": 100,
    "truncation": "auto",
}


@pytest.fixture(params=WAYS, ids=" to ".join)
def two(request: pytest.FixtureRequest, shared_server: Callable[..., Server]) -> tuple[Server, Server]:
    """A server, and the one to which it is exported."""
    return shared_server(request.param[0]), shared_server(request.param[1])


@pytest.fixture
def mine(two: tuple[Server, Server], upstream: Upstream) -> Client:
    answer = reply(Thinking("Hm.", signature="c2lnbmVk"), Text("Red."), usage=Usage(12, 7, 3))
    return user_of(two[0], upstream, "anthropic", lambda _request: answer)


@pytest.fixture
def theirs(two: tuple[Server, Server]) -> Client:
    return two[1].user()


def respond(user: Client, text: str, **asked: Any) -> Any:
    answer = user.post("/v1/responses", ASKED | {"input": text} | asked)
    assert answer.status == 200, answer
    return answer.json


def response(user: Client, named: str) -> Any:
    answer = user.get(f"/v1/responses/{named}")
    assert answer.status == 200, answer
    return answer.json


def take(user: Client, file: bytes, query: str = "") -> list[Any]:
    answer = user.request("POST", f"/sessions/import{query}", raw=file, Content_Type="application/x-ndjson")
    assert answer.status == 201, answer
    return answer.json["sessions"]


def messages(user: Client, session: str) -> list[Any]:
    return user.get(f"/sessions/{session}/messages/").json


def without_names(shown: Any) -> Any:
    """Return a response without what follows from ids, and without the details of its usage, which only the ledger has."""
    shown = {**shown, "output": [{**item, "id": ""} for item in shown["output"]]}
    named = ("id", "conversation", "previous_response_id", "usage", "completed_at")
    return {name: value for name, value in shown.items() if name not in named}


def test_responses_repeat_the_same_under_their_new_ids(mine: Client, theirs: Client):
    first = respond(mine, "one")
    second = respond(mine, "two", previous_response_id=first["id"], metadata={}, instructions=None)
    branch = respond(mine, "three", previous_response_id=first["id"], background=False)
    deleted = respond(mine, "four", previous_response_id=second["id"])
    assert mine.delete(f"/v1/responses/{deleted['id']}").status == 200
    session = mine.get("/sessions/?limit=1").json[0]["id"]
    exported = mine.get(f"/sessions/{session}/export").body
    assert first["id"].encode() not in exported
    (made,) = take(theirs, exported)
    assert made["left_out"] == []
    assert theirs.get(f"/sessions/{made['id']}/export").body == exported
    answers = [f"resp_{each['id']}" for each in messages(theirs, made["id"]) if each["role"] == "assistant"]
    copies = [response(theirs, each) for each in answers[:3]]
    for was, copy in zip((first, second, branch), copies, strict=True):
        assert without_names(copy) == without_names(response(mine, was["id"]))
        tokens = ("input_tokens", "output_tokens", "total_tokens")
        assert [copy["usage"][each] for each in tokens] == [was["usage"][each] for each in tokens]
    assert copies[0]["metadata"] == {"색": "붉은"}
    assert [each["previous_response_id"] for each in copies] == [None, copies[0]["id"], copies[0]["id"]]
    assert theirs.get(f"/v1/responses/{answers[3]}").status == 404
    said = theirs.get(f"/v1/responses/{answers[2]}/input_items").json["data"]
    assert [item["content"][0]["text"] for item in said] == ["three"]
    # They go on from there.
    assert theirs.get("/usage/records/").json == []


def test_a_conversation_is_another_one_with_the_same_metadata(mine: Client, theirs: Client):
    talk = mine.post("/v1/conversations", {"metadata": {"topic": "tea"}}).json["id"]
    first = respond(mine, "one", conversation=talk)
    session = mine.get("/sessions/?limit=1").json[0]["id"]
    exported = mine.get(f"/sessions/{session}/export").body
    (made,) = take(theirs, exported)
    copy = "conv_" + made["id"].replace("-", "")
    assert theirs.get(f"/v1/conversations/{copy}").json["metadata"] == {"topic": "tea"}
    answer = messages(theirs, made["id"])[-1]["id"]
    assert (first["conversation"], response(theirs, f"resp_{answer}")["conversation"]) == ({"id": talk}, {"id": copy})
    assert theirs.get(f"/sessions/{made['id']}/export").body == exported


def test_all_that_a_session_has_is_there_again(mine: Client, theirs: Client):
    (everything,) = take(mine, rini(*sessions_of_everything()))  # with cuts, summaries and system texts
    session = mine.session(alias="여행", system_prompt="Be brief.", memory_mode="auto", context_policy="truncate")
    model = {"provider": "anthropic", "model": MODELS["anthropic"], "session_id": session}
    mine.post(f"/sessions/{session}/memory", {"memory_type": "Rule", "content": "Answer in Korean.", "importance": 0.9})
    asked = mine.post("/llm/text-completion/", {"text": "안녕", **model})
    assert asked.status == 200, asked
    looked = mine.form("/llm/image-completion/", {"image_file": ("붉은.png", picture())}, prompt="look", **model)
    assert looked.status == 200, looked
    question, answer = (asked.json[each]["id"] for each in ("user_message", "assistant_message"))
    assert mine.post(f"/messages/{answer}/regenerate", {"provider": "anthropic", "model": model["model"]}).status == 200
    assert mine.patch(f"/messages/{answer}", {"labels": ["좋다", "a"], "note": "Look\nagain."}).status == 200
    mine.post(
        f"/sessions/{session}/memory",
        {"memory_type": "Fact", "content": "tea", "source_message_ids": [question, answer], "keywords": ["차"]},
    )
    exported = mine.get("/export").body
    made = take(theirs, exported)
    assert {each["alias"] for each in made} == {"여행"}
    assert theirs.get("/export").body == exported
    assert [theirs.get(f"/sessions/{each['id']}/export").body for each in made] == [
        mine.get(f"/sessions/{each}/export").body for each in (everything["id"], session)
    ]
    copy = made[1]["id"]
    own = ("content", "role", "labels", "note", "model_used", "token_count", "prompt_tokens", "mime_type", "created_at")
    assert [{each: row[each] for each in own} for row in messages(theirs, copy)] == [
        {each: row[each] for each in own} for row in messages(mine, session)
    ]
    (labelled,) = (row for row in messages(theirs, copy) if row["note"])
    assert labelled["labels"] == ["a", "좋다"]
    assert {entry["content"] for entry in theirs.get(f"/memory/?session_id={copy}").json} == {
        "tea",
        "Answer in Korean.",
    }
    (with_file,) = (row["id"] for row in messages(theirs, copy) if row["file_reference"])
    assert theirs.get(f"/messages/{with_file}/file").body == picture()
    context = theirs.get(f"/messages/{messages(theirs, copy)[1]['id']}/context").json
    assert "Answer in Korean." in json.dumps(context, ensure_ascii=False)


def remembered(user: Client) -> list[tuple[str, int]]:
    """The memory of all sessions, and how many messages each entry is from."""
    return [
        (entry["content"], len(entry["source_message_ids"] or ()))
        for entry in user.get("/memory/?scope=Shared").json
        if entry["session_id"] is None
    ]


def test_memory_of_all_sessions_goes_along_where_both_say_so(mine: Client, theirs: Client):
    session = mine.session(memory_mode="auto")
    said = mine.post(f"/sessions/{session}/messages/", {"role": "user", "content": "x"}).json["id"]
    entry = {"memory_type": "Fact", "scope": "Shared", "content": "The cat is red.", "importance": 5}
    mine.post(f"/sessions/{session}/memory", entry | {"source_message_ids": [said]})
    asked = {"provider": "anthropic", "model": MODELS["anthropic"], "session_id": session, "text": "hi"}
    assert mine.post("/llm/text-completion/", asked).status == 200
    mine.post(f"/sessions/{session}/memory", entry | {"content": "given to nobody"})
    assert b"cat is red" not in next(iter(mine.get(f"/sessions/{session}/export").body.splitlines()[2:3]))
    exported = mine.get(f"/sessions/{session}/export?shared_memory=true").body
    lines = [json.loads(line) for line in exported.splitlines()]
    assert [(each["content"], each["scope"], each["sources"]) for each in lines if each.get("type") == "memory"] == [
        ("The cat is red.", "Shared", [1])
    ]
    (without,) = take(theirs, exported)
    assert [(each["code"], each["count"]) for each in without["left_out"]] == [("shared_memory", 1)]
    assert remembered(theirs) == []
    (with_it,) = take(theirs, exported, "?shared_memory=true")
    assert with_it["left_out"] == []
    assert theirs.get(f"/sessions/{with_it['id']}/export?shared_memory=true").body == exported
    # An entry that the user has already is not made twice: it is from messages of both sessions then.
    (again,) = take(theirs, exported, "?shared_memory=true")
    assert remembered(theirs) == [("The cat is red.", 2)]
    for made in (with_it, again):
        assert theirs.get(f"/sessions/{made['id']}/export?shared_memory=true").body == exported


def test_what_was_spent_is_told_and_not_booked(mine: Client, theirs: Client):
    respond(mine, "one")
    session = mine.get("/sessions/?limit=1").json[0]["id"]
    plain, told = (mine.get(f"/sessions/{session}/export{query}").body for query in ("", "?usage=true"))
    lines = [json.loads(line) for line in told.splitlines()]
    (usage,) = (each for each in lines if each.get("type") == "usage")
    (record,) = mine.get("/usage/records/").json
    names = ("provider", "model", "prompt_tokens", "completion_tokens", "cache_read_tokens", "cost_usd", "outcome")
    assert {name: usage[name] for name in names} == {name: record[name] for name in names}
    assert (usage["message"], usage["prompt_tokens"], usage["cost_usd"] is None) == (2, 12, False)
    assert [each for each in lines if each.get("type") != "usage"] == [json.loads(line) for line in plain.splitlines()]
    assert (mine.get("/export?usage=true").body, mine.get("/export").body) == (told, plain)
    (made,) = take(theirs, told)
    assert [(each["code"], each["count"]) for each in made["left_out"]] == [("usage", 1)]
    assert theirs.get("/usage/records/").json == []
    assert theirs.get(f"/sessions/{made['id']}/export?usage=true").body == plain
    answer = messages(theirs, made["id"])[-1]
    assert (answer["prompt_tokens"], answer["completion_tokens"]) == (12, 7)


def test_an_export_belongs_to_whoever_imports_it(mine: Client, theirs: Client):
    respond(mine, "one")
    exported = mine.get("/export").body
    (made,) = take(theirs, exported)
    answer = messages(theirs, made["id"])[-1]["id"]
    if mine.url == theirs.url:
        assert mine.get(f"/v1/responses/resp_{answer}").status == 404
        assert mine.get(f"/sessions/{made['id']}").status == 404
    assert theirs.delete(f"/sessions/{made['id']}").status == 204
    assert mine.get("/export").body == exported
