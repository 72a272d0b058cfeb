"""OpenAI's stored responses, with OpenAI's SDK, in front of every provider."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pydantic
import pytest

from rini.canon import Failure, Message, Reply, Request, Text, Thinking, ToolCall, ToolResult, plain_text
from tests.responses.gate import Gate
from tests.support.dialects import PROVIDERS, Behind, World
from tests.support.model import Broken, reply
from tests.wire.openai_responses import spec

OPENAI, RESPONSES, CLAUDE, GEMINI, COMPATIBLE = PROVIDERS

TOOL = {
    "type": "function",
    "name": "find",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    "strict": False,
}

PROVEN = Thinking("Hm.", signature="enc", extras={"openai_responses": {"item.id": "rs_1"}})
"""A thought as OpenAI shows it."""


class Model:
    """A scripted model that says ``answer 1``, ``answer 2`` … and keeps what it read."""

    def __init__(self, world: World, *behinds: Behind) -> None:
        self.read: list[Request] = []
        self.answers: list[Reply] = []
        for behind in behinds:
            world.script(behind, self._answer)

    def _answer(self, request: Request) -> Reply:
        self.read.append(request)
        return self.answers.pop(0) if self.answers else reply(Text(f"answer {len(self.read)}"))

    @property
    def said(self) -> list[tuple[str, str]]:
        """The last conversation that it read."""
        return [(message.role, text(message)) for message in self.read[-1].messages]


def text(message: Message) -> str:
    results = [plain_text(part.content) for part in message.parts if isinstance(part, ToolResult)]
    return "".join(results) + plain_text(message.parts)


def named(behind: Behind) -> str:
    return f"{behind.provider}/{behind.model}"


def without_parsed(response: Any) -> dict[str, Any]:
    """What the SDK adds to a streamed answer is not the server's, and the second in which it was done may be the next."""
    shown = response.to_dict(mode="json")
    shown.pop("completed_at", None)
    for item in shown["output"]:
        for part in item.get("content") or ():
            part.pop("parsed", None)
        item.pop("parsed_arguments", None)
    return shown


each_provider = pytest.mark.parametrize("behind", PROVIDERS, ids=lambda behind: behind.name)
whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def create(world: World, *, stream: bool, **asked: Any) -> Any:
    if not stream:
        return world.clients.openai.responses.create(**asked)
    with world.clients.openai.responses.stream(**asked) as events:
        for event in events:
            last = event
    return last.response


@each_provider
@whole_and_streamed
def test_a_response_is_continued_and_branched(world: World, behind: Behind, stream: bool):
    model = Model(world, behind)
    asked = {"model": named(behind), "stream": stream}
    first = create(world, input="one", instructions="Be brief.", **asked)
    second = create(world, input="two", previous_response_id=first.id, **asked)
    assert model.said == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
    other = create(world, input="three", previous_response_id=first.id, **asked)
    assert model.said == [("user", "one"), ("assistant", "answer 1"), ("user", "three")]
    create(world, input="four", previous_response_id=second.id, instructions="In Korean.", **asked)
    assert model.said[-4:] == [("assistant", "answer 1"), ("user", "two"), ("assistant", "answer 2"), ("user", "four")]
    assert "In Korean." in model.said[0][1]
    assert "Be brief." not in model.said[0][1]
    assert (first.instructions, second.instructions) == ("Be brief.", None)
    assert second.previous_response_id == other.previous_response_id == first.id


@each_provider
@whole_and_streamed
def test_what_is_read_later_is_what_was_answered(world: World, behind: Behind, stream: bool):
    model = Model(world, behind)
    model.answers = [
        reply(Thinking("Hm.", signature="c2lnbmVk"), Text("I look."), ToolCall("call_1", "find", '{"a":1}')),
        reply(Text("Found.")),
    ]
    asked = {"model": named(behind), "tools": [TOOL], "metadata": {"a": "b"}, "stream": stream}
    first = create(world, input="Find it.", temperature=0.5, max_output_tokens=100, **asked)
    assert first.to_dict()["store"] is True
    read = world.clients.openai.responses.retrieve(first.id)
    assert without_parsed(read) == without_parsed(first)
    assert spec.faults("Response", read.to_dict(mode="json")) == []
    call = next(item for item in first.output if item.type == "function_call")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "here"}
    second = create(world, input=[output], previous_response_id=first.id, **asked)
    assert second.output_text == "Found."
    assert [role for role, _ in model.said][:2] == ["user", "assistant"]
    results = [part for message in model.read[-1].messages for part in message.parts if isinstance(part, ToolResult)]
    assert [plain_text(each.content) for each in results] == ["here"]
    items = list(world.clients.openai.responses.input_items.list(second.id))
    assert [(item.type, item.call_id, item.output) for item in items] == [
        ("function_call_output", call.call_id, "here")
    ]
    for item in (*items, *first.output):
        assert "_rini_" in item.id


def test_thoughts_go_back_to_the_model_that_had_them(world: World):
    for behind, thoughts in ((CLAUDE, Thinking("Hm.", signature="c2lnbmVk")), (RESPONSES, PROVEN)):
        model = Model(world, behind)
        model.answers = [reply(thoughts, ToolCall("call_1", "find", '{"a":1}'))]
        asked = {"model": f"{behind.provider}/{behind.thinker}", "tools": [TOOL]}
        first = create(world, stream=False, input="Find it.", reasoning={"effort": "low"}, **asked)
        output = {"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "here"}
        create(world, stream=False, input=[output], previous_response_id=first.id, reasoning={"effort": "low"}, **asked)
        found = [part for message in model.read[-1].messages for part in message.parts if isinstance(part, Thinking)]
        assert [part.signature for part in found] == [thoughts.signature]


def test_encrypted_thoughts_are_shown_to_who_asks_for_them(world: World):
    model = Model(world, RESPONSES)
    model.answers = [reply(PROVEN, Text("Yes.")) for _ in range(2)]
    asked = {"model": named(RESPONSES), "input": "Well?"}
    plain = create(world, stream=False, **asked)
    assert plain.output[0].encrypted_content is None
    shown = create(world, stream=False, include=["reasoning.encrypted_content"], **asked)
    assert shown.output[0].encrypted_content == "enc"
    read = world.clients.openai.responses.retrieve(plain.id, include=["reasoning.encrypted_content"])
    assert read.output[0].encrypted_content == "enc"
    assert world.clients.openai.responses.retrieve(shown.id).output[0].encrypted_content is None


def test_nothing_is_stored_with_openai(world: World):
    Model(world, OPENAI)
    first = create(world, stream=False, model=named(OPENAI), input="one")
    create(
        world,
        stream=False,
        model=named(OPENAI),
        input="two",
        previous_response_id=first.id,
        metadata={"a": "b"},
        truncation="auto",
    )
    body = world.seen(OPENAI)[-1].json
    assert body["store"] is False
    assert not body.keys() & {"previous_response_id", "conversation", "metadata", "truncation", "background"}
    assert len(body["input"]) == 3


def test_the_native_api_and_responses_continue_each_other(world: World):
    model = Model(world, OPENAI, CLAUDE)
    session = world.user.session(memory_mode="disabled")
    native = {"provider": "openai", "model": OPENAI.model, "session_id": session}
    assert world.user.ask("one", **native).status == 200
    answer = world.user.get(f"/sessions/{session}/messages/").json[-1]["id"]
    read = world.clients.openai.responses.retrieve(f"resp_{answer}")
    assert (read.output_text, read.status, read.usage.output_tokens) == ("answer 1", "completed", 5)
    items = world.clients.openai.responses.input_items.list(f"resp_{answer}").data
    assert [item.content[0].text for item in items] == ["one"]
    assert spec.faults("Response", read.to_dict(mode="json")) == []
    second = create(world, stream=True, model=named(CLAUDE), input="two", previous_response_id=read.id)
    assert model.said == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
    claude = {"provider": "anthropic", "model": CLAUDE.model, "session_id": session}
    assert world.user.ask("three", **claude).status == 200
    assert model.said[2:] == [("user", "two"), ("assistant", "answer 2"), ("user", "three")]
    shown = world.user.get(f"/sessions/{session}/messages/").json
    assert [message["content"] for message in shown][::2] == ["one", "two", "three"]
    assert f"resp_{shown[3]['id']}" == second.id


def test_a_response_of_its_own_is_a_session_without_memory(world: World):
    model = Model(world, OPENAI)
    assert world.user.post("/user-memory/", {"key": "name", "content": "The user is Mina."}).status in (201, 404)
    create(world, stream=False, model=named(OPENAI), input="Who am I?")
    assert model.said == [("user", "Who am I?")]
    assert len(world.user.get("/sessions/").json) == 1


@whole_and_streamed
def test_a_conversation_goes_on_at_its_end(world: World, stream: bool):
    model = Model(world, GEMINI)
    conversation = world.clients.openai.conversations.create(items=[{"role": "developer", "content": "Be kind."}])
    asked = {"model": named(GEMINI), "stream": stream}
    first = create(world, input="one", conversation=conversation.id, **asked)
    second = create(world, input="two", conversation={"id": conversation.id}, **asked)
    assert model.said[-3:] == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
    assert model.said[0][1].startswith("Be kind.")
    assert first.conversation.id == second.conversation.id == conversation.id
    assert second.previous_response_id is None
    items = list(world.clients.openai.conversations.items.list(conversation.id, order="asc"))
    assert [item.content[0].text for item in items] == ["Be kind.", "one", "answer 1", "two", "answer 2"]
    assert items[2].id == first.output[0].id
    world.clients.openai.conversations.items.delete(items[2].id, conversation_id=conversation.id)
    create(world, input="three", conversation=conversation.id, **asked)
    assert "answer 1" not in [said for _, said in model.said]
    assert [said for _, said in model.said][-2:] == ["answer 2", "three"]


def test_a_deleted_item_of_several_is_not_read_again(world: World):
    model = Model(world, CLAUDE)
    conversation = world.clients.openai.conversations.create()
    calls = (ToolCall("call_1", "find", '{"a":1}'), ToolCall("call_2", "find", '{"a":2}'))
    model.answers = [reply(Text("I look."), *calls)]
    first = create(world, stream=False, model=named(CLAUDE), input="Find.", conversation=conversation.id, tools=[TOOL])
    delete = world.clients.openai.conversations.items.delete
    delete(first.output[0].id, conversation_id=conversation.id)
    delete(first.output[2].id, conversation_id=conversation.id)
    output = {"type": "function_call_output", "call_id": "call_1", "output": "here"}
    create(world, stream=False, model=named(CLAUDE), input=[output], conversation=conversation.id, tools=[TOOL])
    parts = [part for message in model.read[-1].messages for part in message.parts]
    assert [part.id for part in parts if isinstance(part, ToolCall)] == ["call_1"]
    assert "I look." not in [each.text for each in parts if isinstance(each, Text)]


def test_items_and_thoughts_are_taken_over_by_their_ids(world: World):
    model = Model(world, RESPONSES)
    model.answers = [reply(PROVEN, ToolCall("call_1", "find", '{"a":1}'))]
    first = create(world, stream=False, model=named(RESPONSES), input="Find.", tools=[TOOL])
    (question,) = world.clients.openai.responses.input_items.list(first.id).data
    thought, call = first.output
    bare = {"type": "reasoning", "id": thought.id, "summary": []}
    output = {"type": "function_call_output", "call_id": "call_1", "output": "here"}
    given = [{"type": "item_reference", "id": question.id}, bare, {"id": call.id}, output]
    create(world, stream=False, model=named(RESPONSES), input=given, tools=[TOOL])
    kinds = [(message.role, type(part).__name__) for message in model.read[-1].messages for part in message.parts]
    assert kinds == [("user", "Text"), ("assistant", "Thinking"), ("assistant", "ToolCall"), ("tool", "ToolResult")]
    assert model.read[-1].messages[1].parts[0].signature == "enc"


def test_a_deleted_response_is_gone_and_its_messages_stay(world: World):
    Model(world, OPENAI)
    responses = world.clients.openai.responses
    first = create(world, stream=False, model=named(OPENAI), input="one")
    deleted = world.user.delete(f"/v1/responses/{first.id}")
    assert (deleted.status, deleted.json) == (200, {"id": first.id, "object": "response", "deleted": True})
    for gone in (
        lambda: responses.retrieve(first.id),
        lambda: responses.delete(first.id),
        lambda: responses.input_items.list(first.id),
    ):
        with pytest.raises(openai.NotFoundError):
            gone()
    with pytest.raises(openai.BadRequestError) as refused:
        create(world, stream=False, model=named(OPENAI), input="two", previous_response_id=first.id)
    assert (refused.value.param, refused.value.code) == ("previous_response_id", "previous_response_not_found")
    session = world.user.get("/sessions/").json[-1]["id"]
    assert len(world.user.get(f"/sessions/{session}/messages/").json) == 2


def test_an_unstored_response_may_go_on_from_a_stored_one(world: World):
    model = Model(world, CLAUDE)
    first = create(world, stream=False, model=named(CLAUDE), input="one")
    second = create(world, stream=False, model=named(CLAUDE), input="two", previous_response_id=first.id, store=False)
    assert model.said == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
    with pytest.raises(openai.NotFoundError):
        world.clients.openai.responses.retrieve(second.id)
    assert len(world.user.get("/sessions/").json) == 1


def test_input_tokens_count_the_whole_conversation(world: World):
    Model(world, COMPATIBLE)
    count = world.clients.openai.responses.input_tokens.count
    asked = {"model": named(COMPATIBLE), "input": "two words"}
    alone = count(**asked).input_tokens
    first = create(world, stream=False, model=named(COMPATIBLE), input="some " * 200)
    assert count(previous_response_id=first.id, **asked).input_tokens > alone + 100
    conversation = world.clients.openai.conversations.create(items=[{"role": "user", "content": "some " * 200}])
    assert count(conversation=conversation.id, **asked).input_tokens > alone + 100


@each_provider
def test_a_compacted_conversation_goes_on_with_any_provider(world: World, behind: Behind):
    model = Model(world, behind, CLAUDE)
    first = create(world, stream=False, model=named(behind), input="My name is Mina.")
    model.answers = [reply(Text("The user is called Mina."))]
    compact = world.clients.openai.responses.compact
    made = compact(model=named(behind), previous_response_id=first.id, input="And I like tea.", instructions="Briefly.")
    assert spec.faults("CompactResource", made.to_dict(mode="json")) == []
    assert all(said in model.said[-1][1] for said in ("My name is Mina.", "answer 1", "And I like tea."))
    assert "Briefly." in model.said[0][1]
    (item,) = made.output
    assert "Mina" not in item.encrypted_content
    asked = [item.to_dict(), {"role": "user", "content": "Who am I?"}]
    for provider in (behind, CLAUDE):
        create(world, stream=False, model=named(provider), input=asked)
        assert "The user is called Mina." in "".join(said for _, said in model.said)
    refused = world.server.user().post("/v1/responses", {"model": named(OPENAI), "input": asked})
    assert (refused.status, "encrypted_content" in refused.json["error"]["message"]) == (400, True)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"input": None}, 400),
        ({"input": []}, 400),
        ({"input": None, "previous_response_id": "resp_x"}, 400),
        ({"model": None}, 400),
        ({"input": [{"role": "nobody", "content": "x"}]}, 400),
    ],
)
def test_what_cannot_be_compacted_is_told(refused: World, fields: dict[str, Any], status: int):
    answer = refused.user.post("/v1/responses/compact", {"model": named(OPENAI), "input": "hello"} | fields)
    assert answer.status == status, answer
    assert spec.faults("ErrorResponse", answer.json) == []
    assert refused.seen(OPENAI) == []


def test_parse(world: World):
    class Point(pydantic.BaseModel):
        x: int
        y: int

    model = Model(world, GEMINI)
    model.answers = [reply(Text('{"x": 1, "y": 2}')), reply(Text('{"x": 3, "y": 4}'))]
    parse = world.clients.openai.responses.parse
    first = parse(model=named(GEMINI), input="A point.", text_format=Point)
    second = parse(model=named(GEMINI), input="Another.", text_format=Point, previous_response_id=first.id)
    assert (first.output_parsed, second.output_parsed) == (Point(x=1, y=2), Point(x=3, y=4))
    assert world.clients.openai.responses.retrieve(second.id).text.format.type == "json_schema"


def test_the_asynchronous_sdk(world: World):
    model = Model(world, CLAUDE)

    async def talk() -> None:
        async with openai.AsyncOpenAI(
            base_url=f"{world.user.url}/v1", api_key=world.user.token, max_retries=0
        ) as client:
            conversation = await client.conversations.create()
            first = await client.responses.create(model=named(CLAUDE), input="one", conversation=conversation.id)
            async with client.responses.stream(
                model=named(CLAUDE), input="two", conversation=conversation.id
            ) as events:
                async for _ in events:
                    pass
                second = await events.get_final_response()
            texts = [item.content[0].text async for item in client.conversations.items.list(conversation.id)]
            assert texts == ["answer 2", "two", "answer 1", "one"]
            assert (await client.responses.retrieve(first.id)).id != second.id

    asyncio.run(talk())
    assert len(model.read) == 2


def test_input_items_come_in_pages(world: World):
    Model(world, OPENAI)
    given = [{"role": "user" if place % 2 else "assistant", "content": f"{place}"} for place in range(128)]
    first = create(world, stream=False, model=named(OPENAI), input=given)
    items = world.clients.openai.responses.input_items
    found = list(items.list(first.id, order="asc", limit=50))
    assert [item.content[0].text for item in found] == [str(place) for place in range(128)]
    assert [item.id for item in items.list(first.id, limit=7)] == [item.id for item in reversed(found)]
    for item in found:
        assert spec.faults("ItemResource", item.to_dict(mode="json")) == []
    with pytest.raises(openai.NotFoundError):
        items.list(first.id, after="msg_rini_1_0")


@whole_and_streamed
def test_a_failure_of_the_provider_leaves_no_response(world: World, stream: bool):
    world.script(OPENAI, lambda _: Broken(Failure("overloaded", "Too many.", status=503)))
    with pytest.raises(openai.APIError):
        create(world, stream=stream, model=named(OPENAI), input="one")
    session = world.user.get("/sessions/").json[-1]["id"]
    assert [each["role"] for each in world.user.get(f"/sessions/{session}/messages/").json] == ["user"]


def test_a_stream_that_breaks_off_is_read_as_failed(world: World):
    world.script(CLAUDE, lambda _: Broken(Failure("overloaded", "Too many.", status=529), before=reply(Text("hal"))))
    with world.user.open_stream(path="/v1/responses", model=named(CLAUDE), input="one", messages=[]) as stream:
        stream.rest()
    session = world.user.get("/sessions/").json[-1]["id"]
    answer = world.user.get(f"/sessions/{session}/messages/").json[-1]
    assert answer["status"] == "partial"
    read = world.user.get(f"/v1/responses/resp_{answer['id']}").json
    assert (read["status"], read["error"]["code"]) == ("failed", "server_error")
    assert spec.faults("Response", read) == []


BAD = [
    ({"previous_response_id": "resp_1x"}, 400, "resp_1x"),
    ({"previous_response_id": "garbage"}, 400, "garbage"),
    ({"previous_response_id": ""}, 400, "response"),
    ({"previous_response_id": 5}, 400, "previous_response_id"),
    ({"conversation": "conv_1"}, 404, "conv_1"),
    ({"conversation": {}}, 400, "conversation"),
    ({"conversation": {"id": 5}}, 400, "conversation"),
    ({"conversation": "conv_1", "previous_response_id": "resp_1"}, 400, "beside conversation"),
    ({"conversation": "conv_1", "store": False}, 400, "store"),
    ({"input": None}, 400, "input"),
    ({"input": []}, 400, "input"),
    ({"input": ""}, 400, "input"),
    ({"input": 5}, 400, "input"),
    ({"input": ["x"]}, 400, "input"),
    ({"input": [{"role": "user"}]}, 400, "content: is missing"),
    ({"input": [{"type": "item_reference", "id": "msg_rini_9999999_0"}]}, 404, "msg_rini_9999999_0"),
    ({"input": [{"type": "item_reference", "id": "x" * 5000}]}, 404, "item"),
    ({"metadata": {f"k{number}": "v" for number in range(17)}}, 400, "at most 16"),
    ({"metadata": {"k" * 65: "v"}}, 400, "at most 64"),
    ({"metadata": {"k": "v" * 513}}, 400, "at most 512"),
    ({"metadata": {"k": 5}}, 400, "metadata"),
    ({"include": ["all"]}, 400, "include"),
    ({"truncation": "some"}, 400, "truncation"),
    ({"background": True, "store": False}, 400, "background"),
    ({"store": "yes"}, 400, "store"),
    ({"reasoning": [None]}, 400, "reasoning"),
    ({"text": "short"}, 400, "text"),
    ({"tools": {}}, 400, "tools"),
    ({"service_tier": "cheap"}, 400, "service_tier"),
    ({"prompt_cache_options": {"mode": 5}}, 400, "mode"),
]


@pytest.mark.parametrize(("fields", "status", "told"), BAD, ids=[str(fields)[:60] for fields, _, _ in BAD])
def test_bad_input_is_told_in_openais_envelope(refused: World, fields: dict[str, Any], status: int, told: str):
    answer = refused.user.post("/v1/responses", {"model": named(OPENAI), "input": "hello"} | fields)
    assert answer.status == status, answer
    assert told in answer.json["error"]["message"]
    assert spec.faults("ErrorResponse", answer.json) == []
    if isinstance(previous := fields.get("previous_response_id"), str) and "conversation" not in fields:
        assert (answer.json["error"]["param"], answer.json["error"]["code"]) == (
            "previous_response_id",
            "previous_response_not_found",
        ), previous
    assert refused.seen(OPENAI) == []
    assert refused.user.get("/sessions/").json == []


def test_another_users_response_is_not_found(world: World):
    Model(world, OPENAI)
    first = create(world, stream=False, model=named(OPENAI), input="one")
    other = world.server.user()
    for path in (f"/v1/responses/{first.id}", f"/v1/responses/{first.id}/input_items"):
        refused = other.get(path)
        assert refused.status == 404
        assert spec.faults("ErrorResponse", refused.json) == []
    assert other.delete(f"/v1/responses/{first.id}").status == 404
    asked = {"model": named(OPENAI), "input": "two", "previous_response_id": first.id}
    for path in ("/v1/responses", "/v1/responses/input_tokens"):
        refused = other.post(path, asked)
        assert (refused.status, refused.json["error"]["code"]) == (400, "previous_response_not_found")
    mine = other.post("/v1/conversations", {}).json["id"]
    stolen = {"model": named(OPENAI), "input": [{"type": "item_reference", "id": first.output[0].id}]}
    assert other.post("/v1/responses", stolen | {"conversation": mine}).status == 404
    assert world.user.get(f"/v1/responses/{first.id}").status == 200


@pytest.mark.parametrize("garbage", ["resp_", "resp_0", "resp_01", "resp_9223372036854775808", "x", "%00", "resp_1/x"])
def test_an_id_that_is_none_is_not_found(refused: World, garbage: str):
    for method, below in (("GET", ""), ("DELETE", ""), ("GET", "/input_items")):
        answer = refused.user.request(method, f"/v1/responses/{garbage}{below}")
        assert answer.status == 404, answer
        assert spec.faults("ErrorResponse", answer.json) == []


def test_an_answer_that_is_being_written_is_read_and_not_continued(world: World):
    with Gate(world, OPENAI) as gate, ThreadPoolExecutor(2) as pool:
        conversation = world.clients.openai.conversations.create()
        asked = {"model": named(OPENAI), "conversation": conversation.id}
        first = pool.submit(world.user.post, "/v1/responses", asked | {"input": "one"})
        assert gate.begun.wait(10)
        session = world.user.get("/sessions/").json[-1]["id"]
        running = world.user.get(f"/sessions/{session}/messages/").json[-1]
        shown = world.user.get(f"/v1/responses/resp_{running['id']}").json
        assert (shown["status"], shown["output"]) == ("in_progress", [])
        assert shown["conversation"] == {"id": conversation.id}
        assert spec.faults("Response", shown) == []
        refused = world.user.post(
            "/v1/responses", {"model": named(OPENAI), "input": "x", "previous_response_id": shown["id"]}
        )
        assert refused.status == 409
        busy = world.user.post(
            f"/v1/conversations/{conversation.id}/items", {"items": [{"role": "user", "content": "x"}]}
        )
        assert busy.status == 409
        assert spec.faults("ErrorResponse", busy.json) == []
        second = pool.submit(world.user.post, "/v1/responses", asked | {"input": "two"})
        gate.open()
        assert (first.result().status, second.result().status) == (200, 200)
    items = list(world.clients.openai.conversations.items.list(conversation.id, order="asc"))
    assert [item.content[0].text for item in items] == ["one", "done", "two", "done"]


@pytest.mark.parametrize(
    "wrong",
    [{"include": ["message.output_text.logprobs"]}, {"input": [{"role": "user", "content": [{"type": "foo"}]}]}],
    ids=["field", "part"],
)
def test_what_a_provider_cannot_be_asked_leaves_nothing(refused: World, wrong: dict[str, Any]):
    anthropic = next(behind for behind in PROVIDERS if behind.provider == "anthropic")
    asked = {"model": named(anthropic), "input": "hello"} | wrong
    answer = refused.user.post("/v1/responses", asked)
    assert answer.status == 422, answer
    assert refused.user.get("/sessions/").json == []
    session = refused.user.post("/sessions/", {}).json["id"]
    first = refused.user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "first"}).json["id"]
    for _ in range(2):
        answer = refused.user.request("POST", "/v1/responses", asked, x_rini_session=session)
        assert answer.status == 422, answer
    assert [each["id"] for each in refused.user.get(f"/sessions/{session}/messages/").json] == [first]
    assert refused.user.delete(f"/sessions/{session}").status in (200, 204)
