"""The seed contract: its part "Behaviour", line by line."""

import asyncio
import json
import socket
from datetime import date, timedelta
from typing import Any

import pytest

from rini.canon import Text, ToolCall, ToolResult, plain_text
from tests.contract.rows import PROVIDER
from tests.support.mcp import running_tools
from tests.support.model import MODELS, reply, user_of
from tests.support.server import Answer, Client, Server
from tests.support.things import Things, picture
from tests.support.upstream import Conversation, Upstream, openai_chunks, openai_reply

WITH_KEYS = sorted(MODELS)


@pytest.fixture(scope="module")
def tools():
    with running_tools() as running:
        yield running


@pytest.fixture(scope="module")
def tooled(shared_server):
    """A server that may reach all of this machine."""
    return shared_server(RINI_ALLOWED_PRIVATE_HOSTS="127.0.0.1")


def ask_each_way(user: Client, provider: str, model: str, **fields: Any) -> dict[str, Answer]:
    """Ask at each of the endpoints that take a provider. A form has ``llm_params`` as JSON, embeddings have none."""
    plain = {"provider": provider, "model": model}
    asked = plain | fields
    form = plain | {name: json.dumps(value) for name, value in fields.items()}
    return {
        "text": user.post("/llm/text-completion/", {"text": "t"} | asked),
        "streamed": user.post("/llm/text-completion/", {"text": "t", "stream": True} | asked),
        "chat": user.post("/llm/chat-completions/", {"messages": [{"role": "user", "content": "c"}]} | asked),
        "image": user.form("/llm/image-completion/", {"image_file": ("a.png", picture())}, prompt="p", **form),
        "embeddings": user.post("/llm/embeddings/", {"input": "i"} | plain),
    }


# What a provider, or the way to it, does wrong.


@pytest.mark.parametrize("provider", WITH_KEYS)
def test_without_a_key_400_names_the_provider(server: Server, provider: str):
    user = server.user()
    user.delete(f"/api-keys/{user.get('/api-keys/').json[0]['id']}")
    answers = ask_each_way(user, provider, MODELS[provider])
    if provider == "anthropic":
        assert "openai" in answers.pop("embeddings").json["detail"]  # it has none, with a key or without
    for way, answer in answers.items():
        assert (answer.status, answer.json["code"]) == (400, "provider_key_missing"), way
        assert f"'{provider}'" in answer.json["detail"], way


@pytest.mark.parametrize("provider", WITH_KEYS)
@pytest.mark.parametrize(("theirs", "status"), [(401, 401), (429, 429), (500, 503), (503, 503)])
def test_what_the_provider_refuses_or_cannot_do(
    server: Server, upstream: Upstream, provider: str, theirs: int, status: int
):
    user = user_of(server, upstream, provider, lambda _request: reply(Text("")))

    async def refusing(conversation: Conversation) -> None:
        await conversation.whole({"error": {"message": "because"}}, theirs)

    upstream.scripts[user.provider_key] = refusing
    for way, answer in ask_each_way(user, provider, MODELS[provider]).items():
        if (provider, way) == ("anthropic", "embeddings"):
            continue
        assert answer.status == status, (way, answer)
        assert answer.json["code"].startswith("provider_"), way
        assert "because" in answer.json["detail"], way


@pytest.mark.parametrize("provider", WITH_KEYS)
@pytest.mark.parametrize("nonsense", [b"", b"<html>", b"{}"])
def test_an_answer_that_makes_no_sense_is_502(server: Server, upstream: Upstream, provider: str, nonsense: bytes):
    user = user_of(server, upstream, provider, lambda _request: reply(Text("")))

    async def babbling(conversation: Conversation) -> None:
        await conversation.whole(nonsense)

    upstream.scripts[user.provider_key] = babbling
    for way, answer in ask_each_way(user, provider, MODELS[provider]).items():
        if (provider, way) == ("anthropic", "embeddings"):
            continue
        if way == "streamed":  # it began before anything was there that makes no sense
            assert answer.body.split(b"\n\n")[-2].split(b"\n")[1] == b"event: error"
            assert json.loads(answer.body.strip().split(b"data: ")[-1])["status"] == 502
            continue
        assert answer.status == 502, (way, answer)


def test_a_provider_where_nobody_listens_is_503(tooled: Server):
    user = tooled.user()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    body = {"model_provider": "openai_compatible", "api_key_value": "k", "base_url": address}
    assert user.post("/api-keys/", body).status == 201
    answers = ask_each_way(user, "openai_compatible", "m")
    assert {way: answer.status for way, answer in answers.items()} == dict.fromkeys(answers, 503)


# A turn in a session.


def words(request: Any) -> list[tuple[str, str]]:
    return [(message.role, plain_text(message.parts)) for message in request.messages]


@pytest.mark.parametrize("provider", WITH_KEYS)
@pytest.mark.parametrize("mode", ["auto", "EXPLICIT", "Disabled"])
def test_the_model_is_given_prompt_memory_and_path(server: Server, upstream: Upstream, provider: str, mode: str):
    seen = []

    def answer(request: Any):
        seen.append(words(request))
        return reply(Text(f"answer {len(seen)}"))

    user = user_of(server, upstream, provider, answer)
    session = user.session(system_prompt="Be brief.", memory_mode=mode)
    user.post(f"/sessions/{session}/memory", {"memory_type": "Fact", "content": "The cat is red."})
    asked = {"provider": provider, "model": MODELS[provider], "session_id": session}
    for number in (1, 2):
        assert user.ask(f"question {number}", **asked).status == 200
    last = seen[-1]
    system = "".join(text for role, text in last if role in ("system", "developer"))
    assert system.startswith("Be brief.")
    assert ("The cat is red." in system) == (mode != "Disabled")
    assert [each for each in last if each[0] in ("user", "assistant")] == [
        ("user", "question 1"),
        ("assistant", "answer 1"),
        ("user", "question 2"),
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_the_question_is_stored_before_the_call_and_the_answer_before_the_reply(user: Client, script, stream: bool):
    session = user.session()
    path = f"/sessions/{session}/messages/"
    during: list[Any] = []

    async def looking(conversation: Conversation) -> None:
        during.append((await asyncio.to_thread(user.get, path)).json)
        if not conversation.seen.json.get("stream"):
            await conversation.whole(openai_reply("the answer"))
            return
        await conversation.head()
        for event in openai_chunks("the ", "answer"):
            await conversation.chunk(event)
        await conversation.end()

    script(looking)
    if stream:
        with user.open_stream("the question", session_id=session) as reader:
            for event in reader:
                if event.event == "done":
                    stored = user.get(path).json
    else:
        user.ask("the question", session_id=session)
        stored = user.get(path).json
    assert [(each["content"], each["status"]) for each in during[0]] == [("the question", "complete"), ("", "running")]
    assert [(each["role"], each["content"]) for each in stored] == [
        ("user", "the question"),
        ("assistant", "the answer"),
    ]
    assert stored[1]["parent_message_id"] == stored[0]["id"]


def test_without_a_parent_a_question_continues_the_current_branch(server: Server, upstream: Upstream):
    seen = []

    def answer(request: Any):
        seen.append([text for role, text in words(request) if role != "system"])
        return reply(Text(f"a{len(seen)}"))

    user = user_of(server, upstream, "openai", answer)
    session = user.session()
    asked = {"model": MODELS["openai"], "session_id": session}
    first = user.ask("q1", **asked).json
    user.ask("q2", **asked)
    root = first["assistant_message"]["id"]
    branched = user.ask("q3", parent_message_id=root, **asked).json
    assert branched["user_message"]["parent_message_id"] == root
    user.ask("q4", **asked)
    assert seen[2] == ["q1", "a1", "q3"]
    assert seen[3] == ["q1", "a1", "q3", "a3", "q4"]
    # A message that is stored by itself continues it too.
    stored = user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "by hand"}).json
    history = user.get(f"/messages/{stored['id']}/history").json
    assert [each["content"] for each in history] == ["q1", "a1", "q3", "a3", "q4", "a4", "by hand"]


def test_messages_are_listed_oldest_first_a_hundred_at_a_time(user: Client):
    session = user.session()
    path = f"/sessions/{session}/messages/"
    ids = [user.post(path, {"role": "user", "content": str(number)}).json["id"] for number in range(103)]
    assert [each["id"] for each in user.get(path).json] == ids[:100]
    assert [each["id"] for each in user.get(f"{path}?skip=100").json] == ids[100:]
    assert [each["id"] for each in user.get(f"{path}?skip=2&limit=3").json] == ids[2:5]
    assert [each["id"] for each in user.get(f"/messages/{ids[-1]}/history").json] == ids


# What a change changes.


@pytest.mark.parametrize("mode", ["auto", "explicit", "disabled"])
def test_memory_modes_are_taken_in_both_cases(user: Client, mode: str):
    for written in (mode, mode.upper()):
        made = user.post("/sessions/", {"memory_mode": written}).json
        assert made["memory_mode"] == mode
        other = user.session()
        assert user.put(f"/sessions/{other}", {"memory_mode": written}).json["memory_mode"] == mode
        assert user.get(f"/sessions/{other}").json["memory_mode"] == mode


def test_a_session_is_changed_by_what_is_put(user: Client):
    path = f"/sessions/{user.session(alias='a', system_prompt='s', memory_mode='explicit')}"
    born = user.get(path).json

    def now(**changes: Any) -> dict[str, Any]:
        answer = user.put(path, changes)
        assert answer.status == 200
        assert answer.json == user.get(path).json
        assert (answer.json["id"], answer.json["created_at"]) == (born["id"], born["created_at"])
        assert answer.json["updated_at"] >= born["updated_at"]
        return {name: answer.json[name] for name in ("alias", "system_prompt", "memory_mode")}

    assert now() == {"alias": "a", "system_prompt": "s", "memory_mode": "explicit"}
    assert now(alias="b") == {"alias": "b", "system_prompt": "s", "memory_mode": "explicit"}
    assert now(alias="c", system_prompt="t", memory_mode="DISABLED") == {
        "alias": "c",
        "system_prompt": "t",
        "memory_mode": "disabled",
    }
    assert now(alias=None, system_prompt=None) == {"alias": None, "system_prompt": None, "memory_mode": "disabled"}


def test_of_a_key_only_the_description_is_changed(user: Client, upstream: Upstream):
    key = user.get("/api-keys/").json[0]
    path = f"/api-keys/{key['id']}"
    body = {"description": "one", "api_key_value": "other", "model_provider": "google", "user_id": 1}
    changed = user.put(path, body).json
    kept = {name: changed[name] for name in ("id", "user_id", "model_provider", "created_at")}
    assert kept == {name: key[name] for name in kept}
    assert changed["description"] == "one"
    assert user.put(path, {}).json == changed
    assert user.put(path, {"description": None}).json["description"] is None
    assert user.ask().status == 200
    assert len(upstream.calls(user.provider_key)) == 1


def test_a_connection_is_changed_by_what_is_put(user: Client):
    made = user.post("/mcp-connections/", {"name": "n", "url": "https://a.example.com/", "description": "d"}).json
    path = f"/mcp-connections/{made['id']}"
    whole = {"name": "m", "url": "https://b.example.com/", "description": "e"}
    changed = user.put(path, whole).json
    assert {name: changed[name] for name in whole} == whole
    assert user.put(path, {"name": "o"}).json["url"] == "https://b.example.com/"
    assert user.put(path, {}).json["name"] == "o"


# What goes along when something is deleted.


def test_what_a_session_takes_along_when_it_is_deleted(server: Server, upstream: Upstream):
    user = user_of(server, upstream, "openai", lambda _request: reply(Text("red")))
    session, other = user.session(), user.session()
    fields = {"provider": "openai", "model": MODELS["openai"], "session_id": session}
    image = user.form("/llm/image-completion/", {"image_file": ("a.png", picture())}, **fields).json
    entry = user.post(f"/sessions/{session}/memory", {"memory_type": "Fact", "content": "c"}).json
    shared = user.post(f"/sessions/{session}/memory", {"memory_type": "Fact", "content": "c", "scope": "Shared"}).json
    kept = user.post(f"/sessions/{other}/messages/", {"role": "user", "content": "kept"}).json
    question, answer = image["user_message"]["id"], image["assistant_message"]["id"]
    assert user.get(f"/messages/{question}/file").body == picture()
    spent = user.get("/usage/cost-estimation/").json
    assert user.delete(f"/sessions/{session}").status == 204
    for path in (
        *(f"/sessions/{session}", f"/sessions/{session}/messages/", f"/messages/{question}", f"/messages/{answer}"),
        *(f"/messages/{question}/file", f"/messages/{answer}/history", f"/memory/{entry['id']}"),
        f"/memory/?session_id={session}",
    ):
        assert user.get(path).status == 404, path
    assert user.ask(session_id=session).status == 404
    assert user.delete(f"/sessions/{session}").status == 404
    assert user.get(f"/messages/{kept['id']}").json == kept
    assert user.get(f"/memory/{shared['id']}").json == shared
    assert user.get("/usage/cost-estimation/").json == spent


def test_what_is_deleted_is_gone_and_deleted_once(server: Server):
    things = Things(server)
    user = things.client
    for path in (
        "/api-keys/{key_id}",
        "/memory/{entry_id}",
        "/mcp-connections/{connection_id}",
        "/sessions/{session_id}",
    ):
        listed, _, name = path.rstrip("}").partition("{")
        others = [each for each in user.get(listed).json if each["id"] != things.ids[name]]
        assert len(user.get(listed).json) == len(others) + 1
        assert user.delete(things.path(path)).status == 204
        assert user.get(listed).json == others
        assert user.get(things.path(path)).status == user.delete(things.path(path)).status == 404
    assert user.ask().json["code"] == "provider_key_missing"


# Parameters and tools.


@pytest.mark.parametrize(
    ("provider", "sent"),
    [
        ("openai", {"temperature": 0.5, "max_tokens": 7, "top_p": 0.9, "stop": ["x"]}),
        ("anthropic", {"temperature": 0.5, "max_tokens": 7, "top_p": 0.9, "stop_sequences": ["x"]}),
        (
            "google",
            {"generationConfig": {"temperature": 0.5, "maxOutputTokens": 7, "topP": 0.9, "stopSequences": ["x"]}},
        ),
        ("openai_compatible", {"temperature": 0.5, "max_tokens": 7, "top_p": 0.9, "stop": ["x"]}),
    ],
)
def test_the_usual_parameters_go_to_each_provider_by_its_own_names(
    server, upstream, provider: str, sent: dict[str, Any]
):
    user = user_of(server, upstream, provider, lambda _request: reply(Text("ok")))
    params = {"temperature": 0.5, "max_tokens": 7, "top_p": 0.9, "stop": ["x"]}
    answers = ask_each_way(user, provider, MODELS[provider], llm_params=params)
    for way in ("text", "streamed", "chat", "image"):
        assert answers[way].status == 200, (way, answers[way])
    calls = [each for each in upstream.calls(user.provider_key) if "mbed" not in each.path]
    assert len(calls) == 4
    for call in calls:
        assert {name: call.json.get(name) for name in sent} == sent


@pytest.mark.parametrize("provider", WITH_KEYS)
def test_a_parameter_that_a_provider_has_not_is_refused_and_not_dropped(server, upstream, provider: str):
    user = user_of(server, upstream, provider, lambda _request: reply(Text("ok")))
    params = {"frobnicate": 1}
    if provider == "openai_compatible":  # one's own server may have what no other has
        assert user.ask(provider=provider, model="m", llm_params=params).status == 200
        assert upstream.calls(user.provider_key)[-1].json["frobnicate"] == 1
        return
    for way, answer in ask_each_way(user, provider, MODELS[provider], llm_params=params).items():
        if way != "embeddings":
            assert (answer.status, answer.json["code"]) == (422, "unsupported_parameter"), way
            assert "frobnicate" in answer.json["detail"]
    assert [each for each in upstream.calls(user.provider_key) if "frobnicate" in each.body.decode()] == []


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_one_turn_makes_one_tool_call_and_returns_the_answer_over_its_result(tooled, upstream, tools, choice: str):
    asked: list[Any] = []

    def insisting(request: Any):
        """Call the tool whenever it may."""
        asked.append(request)
        if request.tools and (request.tool_choice is None or request.tool_choice.mode != "none"):
            return reply(ToolCall(f"call_{len(asked)}", "add", '{"a": 2, "b": 3}'))
        results = [part for message in request.messages for part in message.parts if isinstance(part, ToolResult)]
        return reply(Text(f"It is {plain_text(results[-1].content)}."))

    user = user_of(tooled, upstream, "openai", insisting)
    body = {"model": MODELS["openai"], "llm_params": {"tool_choice": choice}}
    without = user.ask("2 + 3?", **body)
    if choice == "required":
        assert (without.status, without.json["code"]) == (422, "no_tools")
    assert user.post("/mcp-connections/", {"name": "calculator", "url": tools.url}).status == 201
    asked.clear()
    answer = user.ask("2 + 3?", **body)
    assert (answer.status, answer.json["response_text"]) == (200, "It is 5.")
    assert len(asked) == 2
    assert {tool.name for tool in asked[0].tools} >= {"add"}
    # Another user's tools are not offered.
    stranger = user_of(tooled, upstream, "openai", insisting)
    assert stranger.ask("2 + 3?", **body | {"llm_params": {"tool_choice": "required"}}).status == 422


# Costs.


def test_the_days_of_an_estimate_are_included(user: Client):
    user.ask(model="gpt-4o-mini")
    day = date.fromisoformat(user.get("/usage/records/").json[0]["created_at"][:10])
    before, after = day - timedelta(days=1), day + timedelta(days=1)
    for start, end, found in (
        (day, day, 1), (before, day, 1), (day, after, 1), (before, before, 0), (after, after, 0), (before, after, 1),
    ):  # fmt: skip
        answer = user.get(f"/usage/cost-estimation/?start_date={start}&end_date={end}").json
        assert (answer["start_date"], answer["end_date"]) == (str(start), str(end))
        assert (len(answer["details"]), answer["total_estimated_cost"] > 0) == (found, bool(found)), (start, end)


def test_the_filters_of_an_estimate_go_together(server: Server, upstream: Upstream):
    user = server.user()
    session, other = user.session(), user.session()
    for fields in ({"session_id": session}, {"session_id": session, "model": "gpt-4o"}, {"session_id": other}, {}):
        assert user.ask(**{"model": "gpt-4o-mini"} | fields).status == 200

    def tokens(query: str) -> dict[str, int]:
        details = user.get(f"/usage/cost-estimation/?{query}").json["details"]
        return {model: cost["prompt_tokens"] for model, cost in details.items()}

    assert tokens("") == {"gpt-4o-mini": 21, "gpt-4o": 7}
    assert tokens(f"session_id={session}") == {"gpt-4o-mini": 7, "gpt-4o": 7}
    assert tokens("model=gpt-4o") == {"gpt-4o": 7}
    assert tokens(f"session_id={other}&model=gpt-4o") == {}
    assert tokens(f"session_id={session}&model=gpt-4o&provider=openai") == {"gpt-4o": 7}
    assert tokens("provider=anthropic") == {}


def test_a_chat_completion_leaves_nothing_but_its_usage(user: Client):
    body = {"messages": [{"role": "user", "content": "c"}], **PROVIDER}
    assert user.post("/llm/chat-completions/", body).status == 200
    assert user.get("/sessions/").json == user.get("/memory/").json == []
    assert len(user.get("/usage/records/").json) == 1
