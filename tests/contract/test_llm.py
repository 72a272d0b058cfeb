"""The seed contract: /llm/text-completion/ and /llm/chat-completions/, whole and streamed, against a scripted provider."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.server import Client, Server
from tests.support.upstream import Conversation, openai_chunks, openai_reply

ANTHROPIC_REPLY = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test-1",
    "content": [{"type": "text", "text": "bonjour"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1, "output_tokens": 4},
}  # fmt: skip
GEMINI_REPLY = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hola"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {
        "promptTokenCount": 6, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 11,
    },
    "modelVersion": "gemini-test-1",
}  # fmt: skip


def _answer(reply: object):
    async def script(conversation: Conversation) -> None:
        await conversation.whole(reply)

    return script


def test_a_completion_without_a_session(user: Client, upstream):
    answer = user.ask("hello")
    assert answer.status == 200
    assert answer.json["response_text"] == "echo: hello"
    assert not {"user_message", "assistant_message", "session_id"} & set(answer.json)
    seen = upstream.calls(user.provider_key)[-1]
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert seen.headers["authorization"] == f"Bearer {user.provider_key}"
    assert seen.json["messages"] == [{"role": "user", "content": "hello"}]


def test_a_completion_in_a_session_remembers(user: Client, upstream):
    session = user.session(system_prompt="Be brief.")
    first = user.ask("one", session_id=session)
    second = user.ask("two", session_id=session)
    assert (first.status, second.status) == (200, 200)
    body = second.json
    assert body["session_id"] == session
    assert (body["user_message"]["role"], body["user_message"]["content"]) == ("user", "two")
    assert body["assistant_message"]["content"] == body["response_text"] == "echo: two"
    assert body["assistant_message"]["parent_message_id"] == body["user_message"]["id"]
    assert body["user_message"]["parent_message_id"] == first.json["assistant_message"]["id"]
    assert body["assistant_message"]["model_used"] == "gpt-test-1"
    assert body["assistant_message"]["prompt_tokens"] == 7
    assert body["assistant_message"]["completion_tokens"] == 3
    assert isinstance(body["assistant_message"]["response_time_ms"], int)
    assert [(m["role"], m["content"]) for m in upstream.calls(user.provider_key)[-1].json["messages"]] == [
        ("system", "Be brief."), ("user", "one"), ("assistant", "echo: one"), ("user", "two"),
    ]  # fmt: skip
    listed = user.get(f"/sessions/{session}/messages/").json
    assert [each["content"] for each in listed] == ["one", "echo: one", "two", "echo: two"]


def test_a_stream_says_what_the_whole_answer_says(user: Client, script):
    session = user.session()
    events = user.stream("please stream this", session_id=session)
    names = [event.event for event in events]
    assert names[0] == "start"
    assert names[-2:] == ["usage", "done"]
    assert set(names[1:-2]) == {"text"}
    assert [event.id for event in events] == [str(number) for number in range(1, len(events) + 1)]
    done = events[-1].data
    assert "".join(event.data["text"] for event in events if event.event == "text") == done["response_text"]
    assert events[0].data["user_message"] == done["user_message"]
    assert done["session_id"] == session
    assert user.get(f"/messages/{done['assistant_message']['id']}").json == done["assistant_message"]
    script(_answer(openai_reply("echo: please stream this")))
    whole = user.ask("please stream this", session_id=session).json
    assert set(whole) == set(done)
    assert whole["response_text"] == done["response_text"]


def test_a_chat_completion_is_never_stored(user: Client, upstream):
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    body = {"messages": messages, "provider": "openai", "model": "gpt-test"}
    answer = user.post("/llm/chat-completions/", body)
    assert answer.status == 200
    assert answer.json["response_text"] == "echo: c"
    assert (answer.json["prompt_tokens"], answer.json["completion_tokens"]) == (7, 3)
    assert upstream.calls(user.provider_key)[-1].json["messages"] == messages
    assert user.get("/sessions/").json == []
    with user.open_stream(path="/llm/chat-completions/", messages=messages) as reader:
        events = list(reader)
    assert events[-1].event == "done"
    assert events[-1].data["response_text"] == "echo: c"
    assert set(events[-1].data) == set(answer.json)


def test_anthropic(server: Server, upstream):
    user = server.user(provider="anthropic")
    upstream.scripts[user.provider_key] = _answer(ANTHROPIC_REPLY)
    session = user.session(system_prompt="Be kind.")
    answer = user.ask("salut", provider="anthropic", model="claude-test", session_id=session)
    assert answer.json["response_text"] == "bonjour"
    # Anthropic's input_tokens leaves out what was cached; the totals here do not.
    assert answer.json["assistant_message"]["prompt_tokens"] == 8
    assert answer.json["usage"]["cache_read_tokens"] == 2
    seen = upstream.calls(user.provider_key)[-1]
    assert seen.path == "/v1/messages"
    assert seen.headers["x-api-key"] == user.provider_key
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in seen.headers
    assert seen.json["messages"][0]["role"] == "user"
    assert "Be kind." in json.dumps(seen.json["system"])


def test_google(server: Server, upstream):
    user = server.user(provider="google")
    upstream.scripts[user.provider_key] = _answer(GEMINI_REPLY)
    answer = user.ask("hi", provider="google", model="gemini-test", llm_params={"max_tokens": 9, "temperature": 0.5})
    assert answer.json["response_text"] == "hola"
    # Gemini's candidatesTokenCount leaves out the thoughts; the total here does not.
    assert answer.json["usage"]["completion_tokens"] == 5
    assert answer.json["usage"]["reasoning_tokens"] == 2
    seen = upstream.calls(user.provider_key)[-1]
    assert seen.path == "/v1beta/models/gemini-test:generateContent"
    assert seen.headers["x-goog-api-key"] == user.provider_key
    assert seen.json["generationConfig"] == {"maxOutputTokens": 9, "temperature": 0.5}


def test_an_openai_compatible_server(server: Server, upstream):
    user = server.user()
    key = f"{user.provider_key}-own"
    body = {"model_provider": "openai_compatible", "api_key_value": key, "base_url": f"{upstream.url}/own/v1"}
    assert user.post("/api-keys/", body).status == 201
    params = {"max_tokens": 5, "repetition_penalty": 1.1}
    answer = user.ask("x", provider="openai_compatible", model="qwen", llm_params=params)
    assert answer.json["response_text"] == "echo: x"
    seen = upstream.calls(key)[-1]
    assert seen.path == "/own/v1/chat/completions"
    assert (seen.json["max_tokens"], seen.json["repetition_penalty"]) == (5, 1.1)


def test_the_newest_key_is_used_unless_another_is_named(user: Client, upstream):
    old = user.get("/api-keys/").json[0]["id"]
    newer = f"{user.provider_key}-newer"
    user.post("/api-keys/", {"model_provider": "openai", "api_key_value": newer})
    user.ask("a")
    assert len(upstream.calls(newer)) == 1
    user.ask("b", api_key_id=old)
    assert len(upstream.calls(user.provider_key)) == 1
    user.delete(f"/api-keys/{user.get('/api-keys/').json[1]['id']}")
    user.ask("c")
    assert len(upstream.calls(user.provider_key)) == 2


def test_without_a_key_the_provider_is_named(user: Client):
    answer = user.ask(provider="anthropic")
    assert (answer.status, answer.json["code"]) == (400, "provider_key_missing")
    assert "anthropic" in answer.json["detail"]


@pytest.mark.parametrize(
    ("provider", "params", "sent"),
    [
        ("openai", {"max_tokens": 5, "stop": ["a"], "logit_bias": {"1": 2}}, {"max_tokens": 5, "stop": ["a"], "logit_bias": {"1": 2}}),
        ("openai", {"maxOutputTokens": 5}, {"max_completion_tokens": 5}),
        ("openai", {"reasoning_effort": "low", "seed": 7}, {"reasoning_effort": "low", "seed": 7}),
        ("anthropic", {"max_tokens": 5, "stop": "a", "top_k": 3}, {"max_tokens": 5, "stop_sequences": ["a"], "top_k": 3}),
        ("anthropic", {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("google", {"stop": "a", "top_k": 3}, {"generationConfig": {"stopSequences": ["a"], "topK": 3}}),
        ("google", {"thinkingConfig": {"thinkingBudget": 0}}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
    ],
)  # fmt: skip
def test_parameters_reach_the_provider_in_its_own_terms(server: Server, upstream, provider, params, sent):
    user = server.user(provider=provider)
    replies = {"openai": openai_reply("x"), "anthropic": ANTHROPIC_REPLY, "google": GEMINI_REPLY}
    upstream.scripts[user.provider_key] = _answer(replies[provider])
    answer = user.ask(provider=provider, model="m", llm_params=params)
    assert answer.status == 200, answer
    body = upstream.calls(user.provider_key)[-1].json
    assert {name: body.get(name) for name in sent} == sent


@pytest.mark.parametrize(
    ("provider", "params", "word"),
    [
        ("openai", {"top_k": 3}, "top_k"),
        ("anthropic", {"seed": 3}, "seed"),
        ("anthropic", {"presence_penalty": 1}, "presence_penalty"),
        ("google", {"logit_bias": {}}, "logit_bias"),
        ("google", {"frobnicate": 1}, "frobnicate"),
        ("openai", {"messages": []}, "messages"),
        ("openai", {"model": "other"}, "model"),
        ("openai", {"stream": True}, "stream"),
        ("openai", {"temperature": "hot"}, "temperature"),
        ("google", {"maxOutputTokens": {"x": 1}}, "maxOutputTokens"),
        ("openai", {"max_tokens": 3, "max_completion_tokens": 3, "maxOutputTokens": 4}, "maxOutputTokens"),
        ("openai", {"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_parameters_that_a_provider_does_not_have_are_refused(server: Server, upstream, provider, params, word):
    user = server.user(provider=provider)
    session = user.session()
    answer = user.ask(provider=provider, model="m", llm_params=params, session_id=session)
    assert answer.status == 422, answer
    assert word in answer.json["detail"]
    assert upstream.calls(user.provider_key) == []
    assert user.get(f"/sessions/{session}/messages/").json == []


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"provider": "openai", "model": "m"}, "text"),
        ({"text": "x", "model": "m"}, "provider"),
        ({"text": "x", "provider": "openai"}, "model"),
        ({"text": "", "provider": "openai", "model": "m"}, "text"),
        ({"text": 7, "provider": "openai", "model": "m"}, "text"),
        ({"text": "x", "provider": "acme", "model": "m"}, "provider"),
        ({"text": "x", "provider": "openai", "model": ""}, "model"),
        ({"text": "x", "provider": "openai", "model": "m" * 300}, "model"),
        ({"text": "x\u0000", "provider": "openai", "model": "m"}, "text"),
        ({"text": "x", "provider": "openai", "model": "m", "llm_params": []}, "llm_params"),
        ({"text": "x", "provider": "openai", "model": "m", "stream": "yes"}, "stream"),
        ({"text": "x", "provider": "openai", "model": "m", "parent_message_id": 1}, "parent_message_id"),
    ],
)
def test_what_is_no_question_is_refused_in_one_sentence(user: Client, body: dict, word: str):
    answer = user.post("/llm/text-completion/", body)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert word in answer.json["detail"]
    assert "\n" not in answer.json["detail"]


@pytest.mark.parametrize("messages", [None, [], [{"role": "robot", "content": "x"}], [{"role": "user"}], "x"])
def test_what_is_no_conversation_is_refused(user: Client, messages: object):
    body = {"messages": messages, "provider": "openai", "model": "m"}
    assert user.post("/llm/chat-completions/", body).status == 422


@pytest.mark.parametrize("path", ["/llm/text-completion/", "/sessions/", "/api-keys/"])
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"not json",
        b"\xff\xfe\xfa",
        b'{"text": "\xff"}',
        b'{"alias": "\xff", "text": "\xff"}',
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 100_000,
        b'{"text": "\\ud800", "provider": "openai", "model": "m", "alias": "\\ud800", "model_provider": "\\ud800", "api_key_value": "x"}',
    ],
)  # fmt: skip
def test_garbage_is_refused(user: Client, path: str, raw: bytes):
    answer = user.request("POST", path, raw=raw, Content_Type="application/json")
    assert answer.status == 422, answer
    assert answer.json["code"] in ("invalid_request", "unprocessable_content")


def test_a_huge_body_is_refused_before_it_is_read(user: Client):
    import http.client

    host = user.url.removeprefix("http://")
    for path in ("/llm/text-completion/", "/sessions/"):
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.putrequest("POST", path)
        connection.putheader("Authorization", f"Bearer {user.token}")
        connection.putheader("Content-Length", str(100 * 1024 * 1024))
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["code"] == "body_too_large"
        connection.close()


def test_a_huge_body_in_chunks_is_cut_off(user: Client):
    import http.client

    host = user.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.putrequest("POST", "/sessions/")
    connection.putheader("Authorization", f"Bearer {user.token}")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Content-Type", "application/json")
    connection.endheaders()
    piece = b"x" * 65536
    try:
        for _ in range(400):
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server stopped reading
    answer = connection.getresponse()
    assert answer.status == 413
    connection.close()


def test_two_questions_at_once_each_get_their_own_answer(user: Client, script):
    async def slow(conversation: Conversation) -> None:
        await asyncio.sleep(0.2)
        await conversation.whole(openai_reply("re: " + conversation.seen.json["messages"][-1]["content"]))

    script(slow)
    session = user.session()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: user.ask(f"q{number}", session_id=session), range(8)))
    assert {answer.status for answer in answers} == {200}
    messages = {each["id"]: each for each in user.get(f"/sessions/{session}/messages/").json}
    assert len(messages) == 16
    for each in messages.values():
        if each["role"] == "assistant":
            assert each["content"] == "re: " + messages[each["parent_message_id"]]["content"]


def test_thinking_is_apart_from_text(user: Client, script):
    chunks = openai_chunks("The answer.")
    thought = json.loads(chunks[1][6:])
    thought["choices"][0]["delta"] = {"reasoning_content": "Let me think."}

    async def thinking(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.chunk(chunks[0] + f"data: {json.dumps(thought)}\n\n" + "".join(chunks[1:]))
        await conversation.end()

    script(thinking)
    session = user.session()
    events = user.stream(session_id=session)
    assert [(e.event, e.data["text"]) for e in events if e.event in ("text", "thinking")] == [
        ("thinking", "Let me think."), ("text", "The answer."),
    ]  # fmt: skip
    assert events[-1].data["response_text"] == "The answer."
    assert events[-1].data["thinking"] == "Let me think."
    assert events[-1].data["assistant_message"]["content"] == "The answer."


def test_events_arrive_as_they_come(user: Client, script):
    async def paced(conversation: Conversation) -> None:
        await conversation.head()
        for event in openai_chunks("a", "b", "c"):
            await conversation.chunk(event)
            await asyncio.sleep(0.1)
        await conversation.end()

    script(paced)
    began = time.monotonic()
    events = [event for event in user.stream() if event.event == "text"]
    assert events[0].at - began < 0.35
    assert events[2].at - events[0].at > 0.15


def test_metrics_and_logs_name_the_route(server: Server, user: Client):
    user.ask()
    user.post("/llm/text-completion", {})
    metrics = user.get("/metrics").body.decode()
    assert 'rini_http_requests_total{method="POST",route="/llm/text-completion/",status="200"}' in metrics
    assert 'rini_http_requests_total{method="POST",route="/llm/text-completion/",status="422"}' in metrics
    assert '"route":"/llm/text-completion/"' in server.logged()


def test_parameters_have_a_largest_size(user: Client):
    answer = user.ask(llm_params={"metadata": {"a": ["x"] * 20_000}})
    assert answer.status == 422
    assert answer.json["detail"].startswith("llm_params:")
    assert "65536" in answer.json["detail"]
