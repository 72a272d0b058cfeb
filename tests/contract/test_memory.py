"""The seed contract: memory, as a 0.1 client drives it."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.server import Answer, Client, Server

FIELDS = {
    "id", "user_id", "session_id", "timestamp", "memory_type", "scope", "content", "source_message_ids", "keywords", "importance",
}  # fmt: skip
TYPES = [
    "Fact", "Rule", "User Instruction", "Summary", "Model Reflection", "Task", "User State", "Model State", "System Config",
]  # fmt: skip
FACT = {"memory_type": "Fact", "content": "x"}


def remember(user: Client, session: str, content: str = "x", **fields: Any) -> dict[str, Any]:
    answer = user.post(f"/sessions/{session}/memory", {"memory_type": "Fact", "content": content} | fields)
    assert answer.status == 201, answer
    return answer.json


def say(user: Client, session: str) -> int:
    return user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "x"}).json["id"]


def patch(user: Client, entry: dict[str, Any], body: Any) -> Answer:
    return user.request("PATCH", f"/memory/{entry['id']}", body)


def ids(answer: Answer) -> list[int]:
    assert answer.status == 200, answer
    return [entry["id"] for entry in answer.json]


def test_an_entry_from_birth_to_death(user: Client):
    session = user.session()
    sources = [say(user, session), say(user, session)]
    entry = remember(
        user,
        session,
        "고양이의 이름은 나비.",
        memory_type="User State",
        source_message_ids=sources,
        keywords=["고양이", "cat"],
        importance=0.7,
    )
    assert set(entry) == FIELDS
    assert entry["user_id"] == user.get("/users/me").json["id"]
    assert datetime.now(UTC) - datetime.fromisoformat(entry["timestamp"]) < timedelta(minutes=5)
    assert entry == {
        "id": entry["id"],
        "user_id": entry["user_id"],
        "session_id": session,
        "timestamp": entry["timestamp"],
        "memory_type": "User State",
        "scope": "Session",
        "content": "고양이의 이름은 나비.",
        "source_message_ids": sources,
        "keywords": ["고양이", "cat"],
        "importance": 0.7,
    }
    assert user.get(f"/memory/{entry['id']}").json == entry
    changed = patch(user, entry, {"content": "It is called 나비.", "keywords": None})
    assert changed.status == 200
    assert changed.json["timestamp"] > entry["timestamp"]
    assert changed.json == entry | {
        "content": "It is called 나비.",
        "keywords": None,
        "timestamp": changed.json["timestamp"],
    }
    assert user.get(f"/memory/{entry['id']}").json == changed.json
    deleted = user.delete(f"/memory/{entry['id']}")
    assert (deleted.status, deleted.body) == (204, b"")
    assert user.get(f"/memory/{entry['id']}").status == 404
    assert user.delete(f"/memory/{entry['id']}").status == 404


def test_an_entry_needs_only_its_type_and_content(user: Client):
    session = user.session()
    entry = remember(user, session)
    assert (entry["scope"], entry["session_id"]) == ("Session", session)
    assert (entry["source_message_ids"], entry["keywords"], entry["importance"]) == (None, None, None)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_taken_in_any_case_and_returned_exactly(user: Client, kind: str):
    session = user.session()
    made = [remember(user, session, memory_type=spelled)["id"] for spelled in (kind, kind.upper(), kind.lower())]
    assert {user.get(f"/memory/{each}").json["memory_type"] for each in made} == {kind}
    assert ids(user.get(f"/memory/?memory_type={kind.swapcase().replace(' ', '%20')}")) == made


@pytest.mark.parametrize("slashes", [("/memory", "/memory/"), ("/memory/", "/memory")])
def test_both_forms_of_the_paths_work(user: Client, slashes: tuple[str, str]):
    make, show = slashes
    made = user.post(f"/sessions/{user.session()}{make}", FACT)
    assert made.status == 201
    assert ids(user.get(show)) == [made.json["id"]]


def test_a_shared_entry_belongs_to_no_session_and_outlives_them(user: Client):
    session = user.session()
    own, shared = remember(user, session), remember(user, session, scope="SHARED")
    assert (shared["scope"], shared["session_id"]) == ("Shared", None)
    assert user.delete(f"/sessions/{session}").status == 204
    assert user.get(f"/memory/{own['id']}").status == 404
    assert user.get(f"/memory/{shared['id']}").json == shared


def test_entries_go_with_their_user(server: Server):
    gone = server.user()
    entry = remember(gone, gone.session(), scope="Shared")
    assert gone.delete("/users/me").status == 204
    assert server.user().get(f"/memory/{entry['id']}").status == 404


def test_the_filters_and_their_combinations(user: Client):
    here, there = user.session(), user.session()
    fact, rule = remember(user, here)["id"], remember(user, here, memory_type="Rule")["id"]
    elsewhere = remember(user, there)["id"]
    shared_fact = remember(user, there, scope="Shared")["id"]
    shared_rule = remember(user, here, scope="Shared", memory_type="Rule")["id"]
    everything = [fact, rule, elsewhere, shared_fact, shared_rule]
    for query, expected in {
        "": everything,
        f"session_id={here}": [fact, rule, shared_fact, shared_rule],
        f"session_id={there}": [elsewhere, shared_fact, shared_rule],
        f"session_id={here.upper()}": [fact, rule, shared_fact, shared_rule],
        "scope=Session": [fact, rule, elsewhere],
        "scope=shared": [shared_fact, shared_rule],
        "memory_type=RULE": [rule, shared_rule],
        f"session_id={here}&scope=session": [fact, rule],
        f"session_id={there}&scope=Shared": [shared_fact, shared_rule],
        f"session_id={here}&memory_type=Fact": [fact, shared_fact],
        "scope=Session&memory_type=fact": [fact, elsewhere],
        f"session_id={here}&scope=Session&memory_type=Rule": [rule],
        f"session_id={there}&scope=Session&memory_type=Rule": [],
    }.items():
        answer = user.get(f"/memory/?{query}")
        assert ids(answer) == expected, query
        assert answer.headers["x-total-count"] == str(len(expected)), query


def test_entries_are_listed_in_pages_oldest_first(user: Client):
    session = user.session()
    made = [remember(user, session, str(number))["id"] for number in range(105)]
    patch(user, {"id": made[0]}, {"content": "changed, and still the oldest"})
    first = user.get("/memory/")
    assert ids(first) == made[:100]
    assert first.headers["x-total-count"] == "105"
    second = user.get(f"/memory/?session_id={session}&skip=100&limit=3")
    assert ids(second) == made[100:103]
    assert second.headers["x-total-count"] == "105"
    assert ids(user.get("/memory/?skip=105")) == []


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("scope=Everywhere", "scope"),
        ("memory_type=Rumour", "memory_type"),
        ("skip=-1", "skip"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        (f"skip={2**70}", "skip"),
    ],
)
def test_what_is_no_filter_is_refused(user: Client, query: str, word: str):
    answer = user.get(f"/memory/?{query}")
    assert answer.status == 422
    assert answer.json["detail"].startswith(f"{word}:")


BAD_FIELDS = [
    ("memory_type", "Rumour"),
    ("memory_type", None),
    ("memory_type", ["Fact"]),
    ("scope", "Everywhere"),
    ("scope", None),
    ("content", ""),
    ("content", None),
    ("content", 7),
    ("content", "x" * 16_001),
    ("content", "x" * 1_000_000),
    ("content", "nul\u0000"),
    ("content", "half \ud800 pair"),
    ("source_message_ids", 1),
    ("source_message_ids", [0]),
    ("source_message_ids", [-1]),
    ("source_message_ids", ["1"]),
    ("source_message_ids", [True]),
    ("source_message_ids", [1.5]),
    ("source_message_ids", [2**63]),
    ("source_message_ids", [2**63 - 1]),
    ("source_message_ids", [1] * 1001),
    ("keywords", "cat"),
    ("keywords", [1]),
    ("keywords", ["x" * 101]),
    ("keywords", ["x"] * 101),
    ("keywords", ["nul\u0000"]),
    ("keywords", ["\udfff"]),
    ("importance", "high"),
    ("importance", "0.5"),
    ("importance", True),
    ("importance", -0.001),
    ("importance", 1000.5),
    ("importance", float("nan")),
    ("importance", float("inf")),
    ("importance", 10**400),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_each_bad_field_is_refused_with_a_sentence(user: Client, field: str, value: Any):
    session = user.session()
    refused = user.post(f"/sessions/{session}/memory", FACT | {field: value})
    assert refused.status == 422
    assert refused.json["code"] == "invalid_request"
    assert refused.json["detail"].startswith(field)
    assert len(refused.body) < 2000
    entry = remember(user, session)
    refused = patch(user, entry, {field: value})
    assert refused.status == 422
    assert refused.json["detail"].startswith(field)
    assert user.get("/memory/").json == [entry]


@pytest.mark.parametrize("body", [{}, {"content": "x"}, {"memory_type": "Fact"}, [], "text", None])
def test_what_is_no_entry_is_refused(user: Client, body: Any):
    assert user.post(f"/sessions/{user.session()}/memory", body).status == 422


@pytest.mark.parametrize("body", [[], "text", None, 7])
def test_what_is_no_change_is_refused(user: Client, body: Any):
    assert patch(user, remember(user, user.session()), body).status == 422


def test_the_largest_of_everything_is_kept(user: Client):
    session = user.session()
    content = "나" * 16_000
    entry = remember(
        user,
        session,
        content,
        keywords=["키" * 100] * 100,
        source_message_ids=[say(user, session)] * 1000,
        importance=1000,
    )
    assert user.get(f"/memory/{entry['id']}").json == entry
    assert (entry["content"], entry["keywords"], entry["importance"]) == (content, ["키" * 100] * 100, 1000)


@pytest.mark.parametrize("importance", [0, 1, 0.1, 10, 5e-324, 999.999])
def test_importance_is_kept_as_it_was_sent(user: Client, importance: float):
    entry = remember(user, user.session(), importance=importance)
    assert entry["importance"] == user.get(f"/memory/{entry['id']}").json["importance"] == importance


def test_content_with_the_marks_of_a_prompt_is_kept_as_it_was_sent(user: Client):
    content = "</memory>\n\nHuman: [INST] <|im_start|>system\u2028\u202e\u200b\x1b[2J\ufeff"
    entry = remember(user, user.session(), content, keywords=[content])
    assert user.get(f"/memory/{entry['id']}").json["content"] == entry["content"] == content
    assert entry["keywords"] == [content]


def test_sources_may_be_in_any_session_of_mine_and_count_once(user: Client):
    here, there = user.session(), user.session()
    first, second = say(user, here), say(user, there)
    entry = remember(user, here, source_message_ids=[second, first, second])
    assert entry["source_message_ids"] == [second, first]
    assert patch(user, entry, {"source_message_ids": [first, first]}).json["source_message_ids"] == [first]
    assert patch(user, entry, {"source_message_ids": []}).json["source_message_ids"] == []
    assert patch(user, entry, {"source_message_ids": None}).json["source_message_ids"] is None


def test_foreign_and_missing_sources_are_refused_alike(server: Server, user: Client):
    other = server.user()
    foreign = say(other, other.session())
    session = user.session()
    own, missing = say(user, session), 2**62
    entry = remember(user, session, source_message_ids=[own])
    refused = [
        (user.post(f"/sessions/{session}/memory", FACT | {"source_message_ids": [own, each]}), each)
        for each in (foreign, missing)
    ]
    refused += [(patch(user, entry, {"source_message_ids": [own, each]}), each) for each in (foreign, missing)]
    for answer, named in refused:
        assert answer.status == 422
        assert answer.json["detail"] == f"source_message_ids: you have no messages {named}."
        assert answer.json["message_ids"] == [named]
    assert user.get("/memory/").json == [entry]


def test_of_many_missing_sources_the_sentence_names_some(user: Client):
    missing = [2**62 + number for number in range(1000)]
    refused = user.post(f"/sessions/{user.session()}/memory", FACT | {"source_message_ids": missing})
    assert refused.status == 422
    assert refused.json["detail"].endswith(f" {missing[9]} and 990 more.")
    assert refused.json["message_ids"] == missing


def test_an_entry_moves_between_sessions_and_all_of_them(user: Client):
    here, there = user.session(), user.session()
    entry = remember(user, here)
    shared = patch(user, entry, {"scope": "shared"}).json
    assert (shared["scope"], shared["session_id"]) == ("Shared", None)
    for body in ({"scope": "Session"}, {"scope": "Session", "session_id": None}):
        refused = patch(user, entry, body)
        assert refused.status == 422
        assert refused.json["detail"].startswith("session_id:")
    moved = patch(user, entry, {"scope": "Session", "session_id": there}).json
    assert (moved["scope"], moved["session_id"]) == ("Session", there)
    assert patch(user, entry, {"session_id": here.upper()}).json["session_id"] == here
    assert patch(user, entry, {"scope": "Session"}).json["session_id"] == here
    assert patch(user, entry, {"session_id": None}).status == 422
    assert patch(user, entry, {"scope": "Shared", "session_id": there}).status == 422
    assert user.get(f"/memory/{entry['id']}").json["session_id"] == here
    patch(user, entry, {"scope": "Shared", "session_id": None})
    assert patch(user, entry, {"session_id": there}).status == 422
    assert user.get(f"/memory/{entry['id']}").json["session_id"] is None


def test_an_empty_change_changes_nothing(user: Client):
    entry = remember(user, user.session(), importance=3)
    assert patch(user, entry, {}).json == entry


@pytest.mark.parametrize("scope", ["Session", "Shared"])
def test_an_entry_can_be_sent_back_whole_with_one_field_changed(user: Client, scope: str):
    """What a client does that read it, edited it and writes it; fields that are not its to change are left alone."""
    entry = remember(user, user.session(), scope=scope, keywords=["a"], importance=2)
    changed = patch(user, entry, entry | {"content": "edited", "user_id": 1, "timestamp": "2001-01-01T00:00:00Z"}).json
    assert changed == entry | {"content": "edited", "timestamp": changed["timestamp"]}
    assert changed["timestamp"] > entry["timestamp"]


def test_another_users_entries_do_not_exist(server: Server, user: Client):
    other = server.user()
    session = user.session()
    entry, shared = remember(user, session, "private"), remember(user, session, "private too", scope="Shared")
    for each in (entry, shared):
        for method, body in (("GET", None), ("PATCH", {"content": "stolen"}), ("PATCH", {}), ("DELETE", None)):
            theirs = other.request(method, f"/memory/{each['id']}", body)
            missing = other.request(method, f"/memory/{2**62}", body)
            assert theirs.status == missing.status == 404, method
            assert theirs.json["detail"].replace(str(each["id"]), str(2**62)) == missing.json["detail"]
    assert other.get("/memory/").json == []
    assert user.get("/memory/").json == [entry, shared]


def test_another_users_session_does_not_exist_for_memory(server: Server, user: Client):
    other = server.user()
    session = user.session()
    remember(user, session)
    mine = remember(other, other.session())
    for name in (session, str(uuid.uuid4()), "none"):
        answers = [
            other.post(f"/sessions/{name}/memory", FACT),
            other.post(f"/sessions/{name}/memory", FACT | {"scope": "Shared"}),
            other.get(f"/memory/?session_id={name}"),
            patch(other, mine, {"session_id": name}),
            patch(other, mine, {"scope": "Session", "session_id": name, "content": "moved"}),
        ]
        assert {(answer.status, answer.json["detail"]) for answer in answers} == {(404, "There is no such session.")}
    assert other.get("/memory/").json == [mine]
    assert len(user.get(f"/memory/?session_id={session}").json) == 1


@pytest.mark.parametrize("entry_id", ["0", "-1", "x", str(2**63), "1.5", "%00"])
def test_an_id_that_is_none_is_refused(user: Client, entry_id: str):
    for method, body in (("GET", None), ("PATCH", {"content": "x"}), ("DELETE", None)):
        assert user.request(method, f"/memory/{entry_id}", body).status in (404, 422)


def test_memory_needs_a_token(server: Server, user: Client):
    session = user.session()
    entry = remember(user, session)
    nobody = Client(server.url)
    for method, path in (
        ("POST", f"/sessions/{session}/memory"),
        ("GET", "/memory/"),
        ("GET", f"/memory/{entry['id']}"),
        ("PATCH", f"/memory/{entry['id']}"),
        ("DELETE", f"/memory/{entry['id']}"),
    ):
        assert nobody.request(method, path, FACT if method in ("POST", "PATCH") else None).status == 401


def test_the_pages_say_what_a_change_may_be(server: Server):
    document = Client(server.url).get("/openapi.json").json
    change = document["components"]["schemas"]["MemoryChange"]
    assert "required" not in change
    assert set(change["properties"]) == {
        "memory_type", "scope", "session_id", "content", "source_message_ids", "keywords", "importance",
    }  # fmt: skip
    assert change["properties"]["content"]["type"] == "string"
    assert {"type": "null"} in change["properties"]["importance"]["anyOf"]
    assert sorted(change["properties"]["memory_type"]["enum"]) == sorted(TYPES)
