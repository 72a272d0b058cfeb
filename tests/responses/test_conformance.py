"""What these endpoints take, answer and stream is what OpenAI's specification says, and the document of the API says so too."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rini.canon import Text, Thinking, ToolCall
from tests.responses.conformance import Document, compare, score
from tests.support.dialects import PROVIDERS, World
from tests.support.model import reply
from tests.support.server import Client
from tests.wire.openai_responses import spec

pytestmark = [
    pytest.mark.skipif(spec.file() is None, reason="needs ../shared/specs"),
    # What is shown is the same on every database.
    pytest.mark.parametrize("stored", ["sqlite"], indirect=True, scope="session"),
]

OPENAI, RESPONSES, CLAUDE, GEMINI, COMPATIBLE = PROVIDERS

OGX = {"/conversations": 98.9, "/responses": 88.9}
"""What OGX publishes for itself, in per cent."""

TOOL = {"type": "function", "name": "find", "description": None, "parameters": {"type": "object"}, "strict": None}

PARAMETERS: dict[str, list[Any]] = {
    "background": [False, None],
    "context_management": [[{"type": "compaction", "compact_threshold": 2000}], None],
    "conversation": [None],  # in tests of its own
    "include": [["reasoning.encrypted_content"], ["message.output_text.logprobs"], [], None],
    "input": ["hello", [{"role": "user", "content": "hello"}]],
    "instructions": ["Be brief.", None],
    "max_output_tokens": [16, None],
    "max_tool_calls": [3, None],
    "metadata": [{"a": "b"}, {}, None],
    "model": [],  # in each request
    "moderation": [None],
    "parallel_tool_calls": [True, False, None],
    "previous_response_id": [None],  # in tests of its own
    "prompt": [{"id": "pmpt_1", "version": "2", "variables": {"city": "Seoul"}}, None],
    "prompt_cache_key": ["key", None],
    "prompt_cache_options": [{"ttl": "30m"}, {"mode": "explicit"}],
    "prompt_cache_retention": ["24h", "in_memory", None],
    "reasoning": [{"effort": "low"}, {"summary": "auto"}, {"effort": "none"}, None],
    "safety_identifier": ["user-1", None],
    "service_tier": ["auto", "flex", None],
    "store": [True, False, None],
    "stream": [True, False, None],
    "stream_options": [None],
    "temperature": [0.5, 0, None],
    "text": [{"verbosity": "low"}, {"format": {"type": "json_object"}}, {"format": {"type": "text"}}],
    "tool_choice": ["auto", "required", "none", {"type": "function", "name": "find"}],
    "tools": [[TOOL], []],
    "top_logprobs": [0, 2],
    "top_p": [0.9, None],
    "truncation": ["auto", "disabled", None],
    "user": ["user-1"],
}


@pytest.fixture(scope="module")
def document(stored: Any) -> dict[str, Any]:
    return Client(stored.url).get("/openapi.json").json


@pytest.mark.parametrize("below", OGX)
def test_the_document_says_what_openais_says(document: dict[str, Any], below: str, capsys: pytest.CaptureFixture[str]):
    path = spec.file()
    assert path is not None
    counts = compare(Document(json.loads(path.read_text(encoding="utf-8"))), Document(document, "/v1"), below)
    faults = [each for each in counts if each.fault]
    with capsys.disabled():
        print(f"\n  {below}: {len(counts) - len(faults)} of {len(counts)}, {score(counts)} %", end="")
    assert score(counts) > OGX[below], faults[:20]


@pytest.mark.parametrize("behind", [RESPONSES, CLAUDE, GEMINI, COMPATIBLE], ids=lambda behind: behind.name)
def test_every_parameter_is_taken_and_repeated(world: World, behind: Any, document: dict[str, Any]):
    properties = (
        Document({"components": spec.components()}).shape({"$ref": "#/components/schemas/CreateResponse"}).properties
    )
    assert set(PARAMETERS) == set(properties)
    parts = (Thinking("Hm.", signature="c2ln"), Text("I look."), ToolCall("call_1", "find", '{"a": 1}'))
    world.script(behind, lambda request: reply(*(parts if request.tools else parts[1:2])))
    answered, refused = 0, set[str]()
    for name, values in PARAMETERS.items():
        for value in values:
            asked = {"model": f"{behind.provider}/{behind.thinker}", "input": "hello", name: value}
            if name == "tool_choice" or name == "parallel_tool_calls":
                asked["tools"] = [TOOL]
            came = world.user.post("/v1/responses", asked)
            if came.status == 422:
                # Another provider has no equivalent, and says so by name.
                assert behind is not RESPONSES
                assert came.headers["x-rini-code"] == "unsupported_parameter", came
                refused.add(name)
                continue
            assert came.status == 200, (name, value, came)
            answered += 1
            for shown in responses_in(came.body, streamed=name == "stream" and value is True):
                faults = spec.faults("Response", shown) + own_faults(document, shown)
                assert faults == [], (name, value)
            stored = world.user.get(f"/v1/responses/{shown['id']}")
            assert stored.status == (404 if (name, value) == ("store", False) else 200)
            assert spec.faults("Response", stored.json) == [] or stored.status == 404
            if value is not None and name in shown and name not in ("include", "model", "tools", "text", "reasoning"):
                expected = {"ttl": "30m", "mode": "implicit"} | value if name == "prompt_cache_options" else value
                assert shown[name] == expected, name
    assert answered > 50
    assert refused <= {"prompt", "include", "parallel_tool_calls", "reasoning", "text", "top_logprobs"}


def responses_in(body: bytes, *, streamed: bool) -> Iterator[Any]:
    if not streamed:
        yield json.loads(body)
        return
    for event in spec.events_in(body):
        assert spec.event_faults(event) == []
        if "response" in event:
            yield event["response"]


def own_faults(document: dict[str, Any], shown: Any) -> list[str]:
    """What the document of this server's API says against it."""
    schema = {"$ref": "#/components/schemas/OpenAIResponse", "components": document["components"]}
    return [f"{fault.json_path}: {fault.message[:200]}" for fault in Draft202012Validator(schema).iter_errors(shown)]


def samples() -> list[dict[str, Any]]:
    """Items of every kind that the specification knows, with no more than what they must have, and with all that they may."""
    theirs = Document({"components": spec.components()})
    found = []
    for name, variant in theirs.shape({"$ref": "#/components/schemas/InputItem"}).variants.items():
        if any(word in name for word in ("item_reference", "compaction", "additional_tools")):
            continue  # they stand for something else, in tests of their own
        for whole in (False, True):
            made = sample(theirs, variant, whole=whole, depth=0)
            if spec.faults("InputItem", made) == []:
                found.append(made)
    return found


def sample(theirs: Document, schema: dict[str, Any], *, whole: bool, depth: int) -> Any:
    schema = theirs.whole(schema)
    several = schema.get("anyOf") or schema.get("oneOf")
    if several:
        return sample(theirs, several[0], whole=whole, depth=depth + 1)
    if "enum" in schema:
        # An item that is under way is taken in more forms than it is shown in.
        return "completed" if "completed" in schema["enum"] else schema["enum"][0]
    if "properties" in schema:
        wanted = schema["properties"] if whole and depth < 6 else schema.get("required", ())
        return {
            name: sample(theirs, schema["properties"][name], whole=whole, depth=depth + 1)
            for name in wanted
            if name in schema["properties"]
        }
    kinds: dict[Any, Any] = {"string": "x" * schema.get("minLength", 3), "integer": 1, "number": 1, "boolean": True}
    if schema.get("format") == "uri":
        return "https://example.com/x.png"
    if schema.get("type") == "array":
        return [sample(theirs, schema["items"], whole=whole, depth=depth + 1)] if depth < 6 else []
    return kinds.get(schema.get("type"), {})


def test_items_of_every_kind_are_kept_and_shown(world: World, document: dict[str, Any]):
    made = samples()
    kinds = {each.get("type", "message") for each in made}
    assert len(kinds) > 20
    conversation = world.user.post("/v1/conversations", {}).json["id"]
    path = f"/v1/conversations/{conversation}/items"
    own = {"$ref": "#/components/schemas/OpenAIConversationItem", "components": document["components"]}
    for given in made:
        added = world.user.post(path, {"items": [given]})
        assert added.status == 200, (given, added)
        (shown,) = added.json["data"]
        assert shown["type"] == given.get("type", "message")
        assert spec.faults("ConversationItem", shown) == [], given
        assert not list(Draft202012Validator(own).iter_errors(shown)), given
        assert world.user.get(f"{path}/{shown['id']}").json == shown
    listed = world.user.get(f"{path}?limit=100&order=asc").json
    assert spec.faults("ConversationItemList", listed) == []
    assert len(listed["data"]) == len(made)
