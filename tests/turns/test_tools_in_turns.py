"""A tool within a turn: offered natively, called once, its result answered over, all of it stored, streamed and booked."""

import json

import pytest

from rini.canon import Text, Thinking, ToolCall, ToolResult, Usage, plain_text
from tests.support.ledger import wait_for_rows
from tests.support.mcp import running_tools
from tests.support.model import MODELS, reply, scripted, user_of
from tests.support.upstream import Conversation


@pytest.fixture(scope="module")
def tools():
    """A real MCP server over streamable HTTP."""
    with running_tools() as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request, shared_server):
    return shared_server(request.param, RINI_ALLOWED_PRIVATE_HOSTS="127.0.0.1")


class Caller:
    """A model that calls ``name`` with ``arguments`` where it may, and else says what the tool said."""

    def __init__(self, name: str = "add", arguments: str = '{"a": 2, "b": 3}', *before) -> None:
        self.call = ToolCall("call_1", name, arguments)
        self.before = before
        self.seen = []

    def __call__(self, request):
        self.seen.append(request)
        may = request.tools and (request.tool_choice is None or request.tool_choice.mode != "none")
        results = [part for message in request.messages for part in message.parts if isinstance(part, ToolResult)]
        if may and not (results and request.messages[-1].parts[-1] is results[-1]):
            return reply(*self.before, self.call, usage=Usage(input_tokens=10, output_tokens=5))
        last = plain_text(results[-1].content) if results else "no tool"
        return reply(Text(f"The tool says: {last}"), usage=Usage(input_tokens=20, output_tokens=7))


def connected(server, upstream, tools, provider: str, model) -> "tuple":
    user = user_of(server, upstream, provider, model)
    answer = user.post("/mcp-connections/", {"name": "calculator", "url": tools.url})
    assert answer.status == 201, answer
    return user, {"provider": provider, "model": MODELS[provider], "llm_params": {"tool_choice": "auto"}}


@pytest.mark.parametrize("provider", sorted(MODELS))
def test_a_tool_is_called_and_answered_over(server, upstream, tools, provider: str):
    model = Caller("add", '{"a": 2, "b": 3}', Text("Let me see."))
    user, asked = connected(server, upstream, tools, provider, model)
    session = user.session(system_prompt="Be exact.")
    answer = user.ask("What is 2 + 3?", session_id=session, **asked).json
    assert answer["response_text"] == "The tool says: 5"
    offered = {tool.name: tool for tool in model.seen[0].tools}
    assert offered["add"].parameters["properties"].keys() == {"a", "b"}
    assert len(model.seen) == 2
    use = answer["tool_calls"]
    assert [(each["name"], json.loads(each["arguments"]), each["result"], each["is_error"]) for each in use] == [
        ("add", {"a": 2, "b": 3}, "5", False)
    ]
    stored = answer["assistant_message"]
    assert stored["content"] == "The tool says: 5"
    assert stored["tool_calls"] == use
    assert (stored["prompt_tokens"], stored["completion_tokens"]) == (30, 12)
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (30, 12)
    # The next turn knows the call and its result, whether or not it may call.
    model.seen.clear()
    asked.pop("llm_params")
    later = user.ask("Sure?", session_id=session, **asked)
    assert later.json["response_text"] == "The tool says: 5", later
    kinds = [type(part).__name__ for message in model.seen[-1].messages for part in message.parts]
    assert kinds == ["Text", "Text", "Text", "ToolCall", "ToolResult", "Text", "Text"]
    listed = user.get(f"/sessions/{session}/messages/").json
    assert [message["role"] for message in listed] == ["user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
def test_the_stream_shows_the_call_and_its_result(server, upstream, tools, provider: str):
    user, asked = connected(server, upstream, tools, provider, Caller("add", '{"a": 2, "b": 3}', Text("Let me see.")))
    session = user.session()
    events = user.stream("What is 2 + 3?", session_id=session, **asked)
    names = [event.event for event in events]
    assert names == ["start", "text", "tool_call", "tool_result", "text", "usage", "done"]
    assert events[1].data["text"] == "Let me see."
    call, result, done = events[2].data, events[3].data, events[-1].data
    assert (call["name"], json.loads(call["arguments"])) == ("add", {"a": 2, "b": 3})
    assert (result["id"], result["result"], result["is_error"]) == (call["id"], "5", False)
    assert result["ms"] >= 0
    assert events[4].data["text"] == done["response_text"] == "The tool says: 5"
    assert done["assistant_message"]["tool_calls"][0]["id"] == call["id"]
    assert [event.id for event in events] == [str(number + 1) for number in range(len(events))]


def test_both_calls_are_booked(server, upstream, tools):
    if "RINI_DATABASE_URL" in server.settings:
        pytest.skip("reads the SQLite file")
    user, asked = connected(server, upstream, tools, "openai", Caller())
    user_id = user.get("/users/me").json["id"]
    session = user.session()
    user.ask("?", session_id=session, **asked)
    first, second = wait_for_rows(server, 2, user_id=user_id)
    assert (first["output_tokens"], second["output_tokens"]) == (5, 7)
    assert first["message_id"] == second["message_id"] is not None
    assert {first["outcome"], second["outcome"]} == {"complete"}
    body = {"messages": [{"role": "user", "content": "?"}]} | asked
    stateless = user.post("/llm/chat-completions/", body).json
    assert stateless["response_text"] == "The tool says: 5"
    assert stateless["tool_calls"][0]["result"] == "5"
    wait_for_rows(server, 4, user_id=user_id)


def test_one_call_in_a_turn(server, upstream, tools):
    seen = []

    def greedy(request):
        seen.append(request)
        if len(seen) == 1:
            return reply(ToolCall("a", "add", '{"a": 1, "b": 1}'), ToolCall("b", "add", '{"a": 2, "b": 2}'))
        results = [part for part in request.messages[-1].parts if isinstance(part, ToolResult)]
        results += [part for part in request.messages[-2].parts if isinstance(part, ToolResult)]
        return reply(Text(" ".join(sorted({part.call_id for part in results}))), ToolCall("c", "add", "{}"))

    user, asked = connected(server, upstream, tools, "openai", greedy)
    answer = user.ask("?", session_id=user.session(), **asked).json
    assert len(seen) == 2
    assert seen[1].tool_choice.mode == "none"
    assert answer["response_text"] == "a b"
    by_id = {use["id"]: use for use in answer["tool_calls"]}
    assert by_id["a"]["result"] == "2"
    assert by_id["b"]["is_error"]
    assert "one tool" in by_id["b"]["result"]
    assert by_id["c"]["result"] is None


def test_a_tool_that_is_named_or_required(server, upstream, tools):
    model = Caller()
    user, asked = connected(server, upstream, tools, "openai", model)
    for choice, mode in (("required", "required"), ("add", "tool"), ("auto", "auto")):
        model.seen.clear()
        answer = user.ask("?", **asked | {"llm_params": {"tool_choice": choice}})
        assert answer.json["response_text"] == "The tool says: 5", answer
        given = model.seen[0].tool_choice
        assert (given.mode if given else "auto") == mode
    for choice in ("none", None):
        model.seen.clear()
        assert user.ask("?", **asked | {"llm_params": {"tool_choice": choice}}).status == 200
        assert model.seen[0].tools == ()


def test_without_tools(server, upstream, tools):
    user = server.user()
    session = user.session()
    for choice in ("required", "add"):
        answer = user.ask("?", llm_params={"tool_choice": choice}, session_id=session)
        assert (answer.status, answer.json["code"]) == (422, "no_tools"), answer
    assert user.ask("?", llm_params={"tool_choice": "auto"}, session_id=session).status == 200
    for choice in (5, {}, [], "", "x" * 600):
        answer = user.ask("?", llm_params={"tool_choice": choice}, session_id=session)
        assert answer.status == 422
        assert "tool_choice" in answer.json["detail"]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("boom", "{}", ""),
        ("add", '{"a": 1', "JSON"),
        ("add", "[1]", "object"),
        ("nosuch", "{}", "no tool"),
        ("add", '{"a": "x"}', ""),
    ],
)
def test_a_tool_that_fails_is_the_models_to_answer_for(server, upstream, tools, name: str, arguments: str, said: str):
    user, asked = connected(server, upstream, tools, "openai", Caller(name, arguments))
    answer = user.ask("?", session_id=user.session(), **asked)
    assert answer.status == 200
    use = answer.json["tool_calls"][0]
    assert use["is_error"]
    assert said in use["result"]
    assert answer.json["response_text"] == f"The tool says: {use['result']}"


def test_a_call_without_an_id_gets_one(server, upstream, tools):
    user, asked = connected(server, upstream, tools, "google", Caller())

    async def gemini(conversation: Conversation) -> None:
        contents = conversation.seen.json["contents"]
        parts = [part for content in contents for part in content["parts"]]
        if not any("functionResponse" in part for part in parts):
            said = [{"functionCall": {"name": "add", "args": {"a": 2, "b": 3}}, "thoughtSignature": "c2ln"}]
        else:
            said = [{"text": "done"}]
        candidate = {"content": {"role": "model", "parts": said}, "finishReason": "STOP", "index": 0}
        await conversation.whole({"candidates": [candidate], "modelVersion": "gemini-test"})

    upstream.scripts[user.provider_key] = gemini
    session = user.session()
    answer = user.ask("?", session_id=session, **asked).json
    assert answer["response_text"] == "done"
    assert answer["tool_calls"][0]["id"]
    # Google's proof over its own call comes back to it, in this turn and the next.
    user.ask("again", session_id=session, **asked)
    for call in upstream.calls(user.provider_key)[1:]:
        parts = [part for content in call.json["contents"] for part in content["parts"]]
        assert next(part for part in parts if "functionCall" in part)["thoughtSignature"] == "c2ln"
    # Another provider goes on with the same conversation.
    key = f"{user.provider_key}-anthropic"
    assert user.post("/api-keys/", {"model_provider": "anthropic", "api_key_value": key}).status == 201
    model = Caller()
    upstream.scripts[key] = scripted("anthropic", model)
    other = {"provider": "anthropic", "model": MODELS["anthropic"]}
    assert user.ask("and you?", session_id=session, **other).json["response_text"] == "The tool says: 5"
    assert [tool.name for tool in model.seen[0].tools] == ["add"]
    assert model.seen[0].tool_choice.mode == "none"


def test_thinking_goes_back_with_its_proof(server, upstream, tools):
    model = Caller("add", '{"a": 2, "b": 3}', Thinking("hm", signature="c2ln"))
    user, asked = connected(server, upstream, tools, "anthropic", model)
    answer = user.ask("?", session_id=user.session(), **asked).json
    assert answer["thinking"] == "hm"
    thoughts = [part for message in model.seen[1].messages for part in message.parts if isinstance(part, Thinking)]
    assert [(part.text, part.signature) for part in thoughts] == [("hm", "c2ln")]


def test_when_the_second_call_fails_the_first_is_kept(server, upstream, tools):
    model = Caller()
    user, asked = connected(server, upstream, tools, "openai", model)
    good = upstream.scripts[user.provider_key]

    async def once(conversation: Conversation) -> None:
        if len(upstream.calls(user.provider_key)) == 1:
            await good(conversation)
        else:
            await conversation.whole({"error": {"message": "slow down"}}, status=429)

    upstream.scripts[user.provider_key] = once
    session = user.session()
    answer = user.ask("?", session_id=session, **asked)
    assert answer.status == 429
    kept = user.get(f"/messages/{answer.json['assistant_message_id']}").json
    assert (kept["status"], kept["status_reason"]) == ("partial", "provider_rate_limited")
    assert kept["tool_calls"][0]["result"] == "5"
    # What broke off is not in the way of the next question.
    upstream.scripts[user.provider_key] = good
    assert user.ask("again", session_id=session, **asked).json["response_text"] == "The tool says: 5"


def test_a_client_that_leaves_while_the_tool_runs(server, upstream, tools):
    user, asked = connected(server, upstream, tools, "openai", Caller("slow", '{"seconds": 20}'))
    session = user.session()
    with user.open_stream("?", session_id=session, **asked) as reader:
        for event in reader:
            if event.event == "tool_call":
                break

    def partial():
        return [
            message for message in user.get(f"/sessions/{session}/messages/").json if message["status"] == "partial"
        ]

    from tests.support.model import until

    kept = until(partial)[0]
    assert (kept["status"], kept["status_reason"]) == ("partial", "client_left")
    assert kept["tool_calls"][0]["name"] == "slow"
    assert len(upstream.calls(user.provider_key)) == 1
