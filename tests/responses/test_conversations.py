"""OpenAI's conversations, with OpenAI's SDK: views on sessions and their messages."""

import json
from typing import Any
from urllib.parse import quote

import openai
import pytest

from rini.canon import Request, Text, ToolCall, ToolResult
from tests.support.dialects import PROVIDERS, World
from tests.support.model import reply
from tests.wire.openai_responses import spec

SAID = {"type": "message", "role": "user", "content": "My name is 리니."}
CALL = {"type": "function_call", "call_id": "call_1", "name": "find", "arguments": '{"a": 1}'}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "found"}
ANSWER = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}


def made(world: World, *items: dict[str, Any], **fields: Any) -> str:
    return world.clients.openai.conversations.create(items=list(items), **fields).id


def listed(world: World, conversation: str, **parameters: Any) -> list[Any]:
    return list(world.clients.openai.conversations.items.list(conversation, **parameters))


def ids(world: World, conversation: str, **parameters: Any) -> list[str]:
    return [item.id for item in listed(world, conversation, **parameters)]


def test_one_is_made_shown_changed_and_deleted(world: World):
    conversations = world.clients.openai.conversations
    new = conversations.create(metadata={"topic": "여행"})
    assert new.id.startswith("conv_")
    assert new.metadata == {"topic": "여행"}
    assert conversations.retrieve(new.id).to_dict() == new.to_dict()
    assert spec.faults("ConversationResource", new.to_dict(mode="json")) == []
    changed = conversations.update(new.id, metadata={"topic": "일"})
    assert conversations.retrieve(new.id).metadata == changed.metadata == {"topic": "일"}
    deleted = conversations.delete(new.id)
    assert spec.faults("DeletedConversationResource", deleted.to_dict()) == []
    with pytest.raises(openai.NotFoundError):
        conversations.retrieve(new.id)


def test_it_is_a_session(world: World):
    conversation = made(world, SAID, metadata={"a": "b"})
    session = world.user.get("/sessions/?limit=1000").json[-1]
    assert session["id"].replace("-", "") == conversation.removeprefix("conv_")
    assert session["memory_mode"] == "disabled"
    messages = world.user.get(f"/sessions/{session['id']}/messages/").json
    assert [(message["role"], message["content"]) for message in messages] == [("user", SAID["content"])]
    assert session["head_message_id"] == messages[-1]["id"]


def test_a_session_of_the_native_api_is_a_conversation(world: World):
    session = world.user.session(system_prompt="Be brief.")
    for role, content in (("user", "hello"), ("assistant", "hi")):
        assert world.user.post(f"/sessions/{session}/messages/", {"role": role, "content": content}).status == 201
    conversation = "conv_" + session.replace("-", "")
    assert world.clients.openai.conversations.retrieve(conversation).metadata == {}
    found = listed(world, conversation, order="asc")
    assert [(item.role, item.content[0].type, item.content[0].text) for item in found] == [
        ("user", "input_text", "hello"),
        ("assistant", "output_text", "hi"),
    ]


def test_items_come_back_as_they_were_given(world: World):
    conversation = made(world, SAID, CALL)
    added = world.clients.openai.conversations.items.create(conversation, items=[RESULT, ANSWER])
    assert spec.faults("ConversationItemList", added.to_dict(mode="json")) == []
    found = listed(world, conversation, order="asc")
    assert [item.type for item in found] == ["message", "function_call", "function_call_output", "message"]
    assert found[0].content[0].text == SAID["content"]
    assert (found[1].call_id, found[1].name, found[1].arguments) == ("call_1", "find", '{"a": 1}')
    assert (found[2].call_id, found[2].output) == ("call_1", "found")
    assert found[3].content[0].text == "Hello."
    assert [item.id for item in found[2:]] == [item.id for item in added.data]
    for item in found:
        read = world.clients.openai.conversations.items.retrieve(item.id, conversation_id=conversation)
        assert read.to_dict() == item.to_dict()
        assert spec.faults("ConversationItem", item.to_dict(mode="json")) == []


def test_items_come_in_pages(world: World):
    conversation = made(world)
    items = world.clients.openai.conversations.items
    for start in range(0, 120, 20):
        texts = [{"role": "user", "content": f"{number}"} for number in range(start, start + 20)]
        items.create(conversation, items=texts)
    ascending = listed(world, conversation, order="asc", limit=7)
    assert [item.content[0].text for item in ascending] == [str(number) for number in range(120)]
    assert ids(world, conversation, limit=13) == [item.id for item in reversed(ascending)]
    page = items.list(conversation, order="asc", limit=100)
    assert (len(page.data), page.has_more, page.first_id) == (100, True, ascending[0].id)
    last = items.list(conversation, order="asc", after=ascending[117].id)
    assert ([item.id for item in last.data], last.has_more) == ([item.id for item in ascending[118:]], False)


def test_an_item_of_the_middle_is_deleted_and_the_others_keep_their_ids(world: World):
    conversation = made(world, SAID, CALL, RESULT, ANSWER, {"role": "user", "content": "And?"})
    before = ids(world, conversation, order="asc")
    items = world.clients.openai.conversations.items
    left = items.delete(before[3], conversation_id=conversation)
    assert left.id == conversation
    assert ids(world, conversation, order="asc") == [*before[:3], before[4]]
    with pytest.raises(openai.NotFoundError):
        items.retrieve(before[3], conversation_id=conversation)
    with pytest.raises(openai.NotFoundError):
        items.delete(before[3], conversation_id=conversation)


@pytest.mark.parametrize("deleted", ["function_call", "function_call_output"])
def test_a_call_or_a_result_that_is_deleted_keeps_nobody_from_answering(world: World, deleted: str):
    conversation = made(world, SAID, CALL, RESULT, ANSWER)
    item = next(item for item in listed(world, conversation) if item.type == deleted)
    world.clients.openai.conversations.items.delete(item.id, conversation_id=conversation)
    for behind in PROVIDERS:
        requests: list[Request] = []
        world.script(behind, lambda request, requests=requests: requests.append(request) or reply(Text("Yes.")))
        asked = {"model": f"{behind.provider}/{behind.model}", "input": "And?", "conversation": conversation}
        assert world.clients.openai.responses.create(**asked).output_text == "Yes."
        parts = [part for message in requests[0].messages for part in message.parts]
        assert not [part for part in parts if isinstance(part, ToolCall | ToolResult)]


def test_of_several_items_of_one_answer_one_is_deleted(world: World):
    second = CALL | {"call_id": "call_2"}
    conversation = made(world, SAID, ANSWER, CALL, second)
    before = ids(world, conversation, order="asc")
    items = world.clients.openai.conversations.items
    items.delete(before[2], conversation_id=conversation)
    assert ids(world, conversation, order="asc") == [before[0], before[1], before[3]]
    assert items.retrieve(before[3], conversation_id=conversation).to_dict()["call_id"] == "call_2"
    items.delete(before[1], conversation_id=conversation)
    items.delete(before[3], conversation_id=conversation)
    assert ids(world, conversation, order="asc") == before[:1]


PAIRS = {f"k{number}": "v" for number in range(16)}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"metadata": PAIRS | {"more": "v"}}, "at most 16"),
        ({"metadata": {"k" * 65: "v"}}, "at most 64"),
        ({"metadata": {"k": "v" * 513}}, "at most 512"),
        ({"metadata": {"k": 5}}, "metadata"),
        ({"metadata": {"k": "\x00"}}, "NUL"),
        ({"metadata": []}, "metadata"),
        ({"items": [SAID] * 21}, "at most 20"),
        ({"items": ["hello"]}, "items"),
        ({"items": [{"type": "message", "role": "user"}]}, "content: is missing"),
        ({"items": [{"role": "nobody", "content": "x"}]}, "role"),
        ({"items": [{"type": "item_reference"}]}, "reference"),
        ({"items": [{"type": []}]}, "type"),
        ({"items": [{"type": "compaction", "encrypted_content": "rini.AAAA"}]}, "encrypted_content"),
    ],
)
def test_what_is_no_conversation_is_refused_in_openais_envelope(refused: World, body: dict[str, Any], told: str):
    answer = refused.user.post("/v1/conversations", body)
    assert answer.status == 400, answer
    assert told in answer.json["error"]["message"]
    assert spec.faults("ErrorResponse", answer.json) == []


def test_the_largest_metadata_is_kept(world: World):
    whole = {f"k{number:02}".ljust(64, "한"): "값" * 512 for number in range(16)}
    conversation = made(world, metadata=whole)
    assert world.clients.openai.conversations.retrieve(conversation).metadata == whole


@pytest.mark.parametrize(
    "query", ["order=up", "limit=0", "limit=101", "limit=x", "include=everything", "after=%FF", "limit=%D9%A3"]
)
def test_a_query_that_says_nothing_is_refused(world: World, query: str):
    refused = world.user.get(f"/v1/conversations/{made(world, SAID)}/items?{query}")
    assert refused.status == 400, refused
    assert spec.faults("ErrorResponse", refused.json) == []


@pytest.mark.parametrize(
    "garbage", ["conv_", "conv_1", "x", "conv_" + "g" * 32, "%00", "resp_1", "conv_" + "0" * 32, "a/b", "%2e%2e", "😀"]
)
def test_an_id_that_is_none_is_not_found(refused: World, garbage: str):

    path = f"/v1/conversations/{garbage if '%' in garbage else quote(garbage)}"
    for method, below, body in (
        ("GET", "", None),
        ("POST", "", {"metadata": {}}),
        ("DELETE", "", None),
        ("GET", "/items", None),
        ("POST", "/items", {"items": [SAID]}),
        ("GET", "/items/msg_rini_1_0", None),
        ("DELETE", "/items/msg_rini_1_0", None),
    ):
        answer = refused.user.request(method, path + below, body)
        assert answer.status == 404, (method, below, answer)
        assert spec.faults("ErrorResponse", answer.json) == []


def test_another_users_conversation_is_not_found(world: World):
    conversation = made(world, SAID)
    item = ids(world, conversation)[0]
    other = world.server.user()
    path = f"/v1/conversations/{conversation}"
    assert other.get(path).status == 404
    assert other.post(path, {"metadata": {"mine": "now"}}).status == 404
    assert other.delete(path).status == 404
    assert other.get(f"{path}/items").status == 404
    assert other.post(f"{path}/items", {"items": [SAID]}).status == 404
    assert other.get(f"{path}/items/{item}").status == 404
    assert other.delete(f"{path}/items/{item}").status == 404
    own = other.post("/v1/conversations", {"items": [SAID]}).json["id"]
    assert other.get(f"/v1/conversations/{own}/items/{item}").status == 404
    assert other.get(f"/v1/conversations/{own}/items?after={item}").status == 404
    reference = {"items": [{"type": "item_reference", "id": item}]}
    assert other.post(f"/v1/conversations/{own}/items", reference).status == 404
    assert len(ids(world, conversation)) == 1


def test_an_item_is_taken_over_by_its_id(world: World):
    first = made(world, SAID, ANSWER)
    references = [{"type": "item_reference", "id": each} for each in ids(world, first, order="asc")]
    second = made(world, *references)
    assert [item.content[0].text for item in listed(world, second, order="asc")] == [SAID["content"], "Hello."]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"items": "hello"}', b"[]", b'{"items": [{"role": "user", "content": "\\ud800"}]}']
)
def test_a_broken_body_is_refused(world: World, raw: bytes):
    conversation = made(world)
    refused = world.user.request("POST", f"/v1/conversations/{conversation}/items", raw=raw)
    assert refused.status == 400, refused
    assert json.loads(refused.body)["error"]["message"]


@pytest.mark.parametrize(
    "item", [{"type": "shell_call", "action": 5}, {"type": "web_search_call"}, {"type": "?", "id": 5}]
)
def test_items_of_an_unknown_form_are_kept_as_they_are(world: World, item: dict[str, Any]):
    conversation = made(world, item)
    (shown,) = world.user.get(f"/v1/conversations/{conversation}/items").json["data"]
    assert {name: shown[name] for name in item if name != "id"} == {name: item[name] for name in item if name != "id"}
    assert shown["id"]


def test_a_nul_in_a_text_is_kept_as_providers_take_it(world: World):
    conversation = made(world, {"role": "user", "content": "a\x00b"})
    assert listed(world, conversation)[0].content[0].text in ("a\x00b", "a\ufffdb")
