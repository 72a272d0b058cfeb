"""What /v1 answers and streams is what OpenAI's specification says, whichever provider stands behind."""

import json
from typing import Any

import pytest

from rini.canon import Choice, Reply, Text, Thinking, ToolCall, Usage
from tests.support.dialects import PROVIDERS, Behind, World
from tests.support.server import Client
from tests.wire.openai_responses import spec

pytestmark = pytest.mark.skipif(spec.file() is None, reason="needs ../shared/specs")

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
FLAT_TOOLS = [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]
CALLS = (ToolCall("call_1", "f", '{"a": 1}'), ToolCall("call_2", "f", "{}"))
ANSWERS = {
    "a text": ((Text("hello there"),), "stop"),
    "thoughts and a text": ((Thinking("Hm.", signature="c2lnbmVk"), Text("hello")), "stop"),
    "calls": ((Text("I look."), *CALLS), "tool_calls"),
    "cut off": ((Text("hel"),), "length"),
}


def reply(name: str, behind: Behind) -> Reply:
    parts, reason = ANSWERS[name]
    usage = Usage(input_tokens=10, output_tokens=5, cache_read_tokens=2)
    return Reply((Choice(parts, reason),), usage, "r1", behind.model, 1_700_000_000)  # type: ignore[arg-type]


def events(body: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("behind", PROVIDERS, ids=lambda behind: behind.name)
def test_chat_completions(world: World, behind: Behind, answer: str):
    world.script(behind, lambda _request: reply(answer, behind))
    asked = {
        "model": f"{behind.provider}/{behind.model}",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": TOOLS,
    }
    whole = world.user.post("/v1/chat/completions", asked)
    assert whole.status == 200, whole
    assert spec.faults("CreateChatCompletionResponse", whole.json) == []
    streamed = world.user.post("/v1/chat/completions", asked | {"stream": True})
    found = events(streamed.body)
    assert found
    for event in found:
        assert spec.faults("CreateChatCompletionStreamResponse", event) == []


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("behind", PROVIDERS, ids=lambda behind: behind.name)
def test_responses(world: World, behind: Behind, answer: str):
    world.script(behind, lambda _request: reply(answer, behind))
    asked = {"model": f"{behind.provider}/{behind.model}", "input": "hi", "tools": FLAT_TOOLS}
    whole = world.user.post("/v1/responses", asked)
    assert whole.status == 200, whole
    assert spec.faults("Response", whole.json) == []
    streamed = world.user.post("/v1/responses", asked | {"stream": True})
    found = spec.events_in(streamed.body)
    assert found[-1]["type"] in ("response.completed", "response.incomplete")
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    for event in found:
        assert spec.event_faults(event) == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
def test_errors(world: World, path: str):
    for refused in (world.user.post(path, {"model": 5}), Client(world.user.url, "no token").post(path, {})):
        assert refused.status in (400, 401)
        assert spec.faults("ErrorResponse", refused.json) == []


def test_models_and_embeddings(world: World):
    async def script(conversation: Any) -> None:
        if conversation.seen.method == "GET":
            await conversation.whole({"object": "list", "data": [{"id": "gpt-4o", "object": "model", "created": 7}]})
        else:
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            await conversation.whole(
                {"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}
            )

    world.upstream.scripts[world.keys["openai"]] = script
    listed = world.user.get("/v1/models")
    assert listed.status == 200
    assert spec.faults("ListModelsResponse", listed.json) == []
    embedded = world.user.post("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a text"})
    assert embedded.status == 200
    assert spec.faults("CreateEmbeddingResponse", embedded.json) == []
