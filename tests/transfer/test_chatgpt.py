"""ChatGPT's export: a tree of nodes for each conversation, with much in it that is the service's own."""

import json
from typing import Any

from tests.support.things import picture
from tests.transfer.conftest import House
from tests.transfer.files import as_json, as_zip, chatgpt, node


def said(house: House, session_id: str) -> list[dict[str, Any]]:
    """Return a session's messages as the export has them."""
    lines = [json.loads(line) for line in house.export(session_id).splitlines()]
    return [line for line in lines if line.get("type") == "message"]


def told(house: House, *nodes: dict[str, Any], **fields: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the messages of a conversation, and what was left out of it."""
    session = house.take(as_json(chatgpt(*nodes, **fields))).sessions[0]
    return said(house, session.id), {each.code: each.count for each in session.left_out}


def test_each_conversation_becomes_a_session_with_its_tree(house: House):
    tree = chatgpt(
        node("root", None),
        node("hidden", "root", "system", "", metadata={"is_visually_hidden_from_conversation": True}),
        node("q", "hidden", "user", "안녕", create_time=1.7e9 + 1),
        node("a", "q", "assistant", "hello", create_time=1.7e9 + 2, metadata={"model_slug": "gpt-4o"}),
        node("a2", "q", "assistant", "hi", create_time=1.7e9 + 4, status="finished_partial_completion"),
        node("q2", "a", "user", "more", create_time=1.7e9 + 3),
        head="a",
        title="여행",
    )
    imported = house.take(as_json(tree, chatgpt(node("r", None), node("x", "r", "user", "other"))))
    assert (imported.format, [each.messages for each in imported.sessions]) == ("chatgpt", [4, 1])
    first = imported.sessions[0]
    assert (first.alias, [(each.code, each.count) for each in first.left_out]) == ("여행", [("empty_message", 1)])
    messages = said(house, first.id)
    assert [(each["role"], each["content"], each.get("parent")) for each in messages] == [
        ("user", "안녕", None),
        ("assistant", "hello", 1),
        ("user", "more", 2),
        ("assistant", "hi", 1),
    ]
    assert messages[0]["created_at"] == "2023-11-14T22:13:21Z"
    assert (messages[1]["model_used"], messages[1]["status"]) == ("gpt-4o", "complete")
    assert (messages[3]["status"], messages[3]["status_reason"]) == ("partial", "finished_partial_completion")
    session, *_, end = [json.loads(line) for line in house.export(first.id).splitlines()][1:]
    assert end["head"] == 2
    assert (session["created_at"], session["updated_at"]) == ("2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z")


def test_tools_and_what_they_say_stay_as_text(house: House):
    messages, left_out = told(
        house,
        node("q", None, "user", "plot it"),
        node("c", "q", "assistant", {"content_type": "code", "language": "python", "text": "print('```')"}, recipient="python"),
        node("o", "c", "tool", {"content_type": "execution_output", "text": "```"}, name="python"),
        node("w", "o", "tool", {"content_type": "tether_quote", "url": "https://a.example", "title": "A", "text": "quoted"}, name="browser"),
        node("s", "w", "assistant", "search(x)", recipient="browser"),
        node("a", "s", "assistant", "there"),
        node("k", "a", "assistant", {"content_type": "reasoning_recap", "content": "Thought for 2 s"}),
    )  # fmt: skip
    assert [(each["role"], each["content"]) for each in messages] == [
        ("user", "plot it"),
        ("assistant", "[to python]\n\n````python\nprint('```')\n````"),
        ("assistant", "[python]\n\n````\n```\n````"),
        ("assistant", "[browser]\n\nA\n\nhttps://a.example\n\nquoted"),
        ("assistant", "[to browser]\n\n```\nsearch(x)\n```"),
        ("assistant", "there"),
    ]
    assert left_out == {"service_message": 1}


def test_thoughts_belong_to_the_answer_that_follows(house: House):
    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "First", "content": "think"}, {"content": "more"}]}
    messages, left_out = told(
        house,
        node("q", None, "user", "why?"),
        node("t", "q", "assistant", thoughts),
        node("a", "t", "assistant", "so"),
        node("b", "t", "assistant", "otherwise"),
    )
    assert [(each["content"], each.get("parent")) for each in messages] == [("why?", None), ("so", 1), ("otherwise", 1)]
    assert messages[1]["parts"][:2] == [
        {"type": "thinking", "text": "First\nthink"},
        {"type": "thinking", "text": "more"},
    ]
    assert messages[2]["parts"][0] == messages[1]["parts"][0]
    assert left_out == {}


def test_custom_instructions_stay_although_they_are_hidden(house: House):
    context = {
        "content_type": "user_editable_context",
        "user_profile": "I am a cook.",
        "user_instructions": "Be brief.",
    }
    hidden = {"is_visually_hidden_from_conversation": True, "is_user_system_message": True}
    messages, left_out = told(
        house,
        node("i", None, "system", context, metadata=hidden, weight=0.0),
        node("m", "i", "system", "secret of the house", weight=0.0),
        node("q", "m", "user", "hi"),
    )
    assert [(each["role"], each["content"]) for each in messages] == [
        ("system", "I am a cook.\n\nBe brief."),
        ("user", "hi"),
    ]
    assert left_out == {"hidden_message": 1}


def test_images_come_out_of_the_archive(house: House):
    def pointer(name: str) -> dict[str, Any]:
        return {"content_type": "image_asset_pointer", "asset_pointer": name, "width": 8}

    content = {
        "content_type": "multimodal_text",
        "parts": [pointer("file-service://file-abc1"), pointer("sediment://file_00ff"), pointer("sediment://file_dead"),
                  pointer("file-service://file-text"), {"content_type": "audio_transcription", "text": "spoken"},
                  {"content_type": "audio_asset_pointer", "asset_pointer": "sediment://file_snd"}, "look"],
    }  # fmt: skip
    attachments = [{"id": "file-abc1", "name": "red.png"}, {"id": "file-pdf", "name": "paper.pdf"}]
    conversation = chatgpt(node("q", None, "user", content, metadata={"attachments": attachments}))
    archive = as_zip(
        {
            "user.json": b"{}",
            "chat.html": b"<html>",
            "conversations.json": as_json(conversation),
            "file-abc1-red.png": picture(),
            "user-x/file_00ff-11-22.png": picture(),
            "file-text-x.txt": b"no image",
        }
    )
    session = house.take(archive).sessions[0]
    assert {each.code: each.count for each in session.left_out} == {
        "attached_file": 1,
        "image_not_there": 1,
        "not_an_image": 1,
        "sound": 1,
    }
    more, message = said(house, session.id)
    assert message["content"] == "[Image]\n[Image]\nspoken\nlook\n[Attached file: paper.pdf]"
    assert (more["parts"], message["parts"][0], message["parent"]) == (
        [{"type": "image", "media": {"url": "rini:1"}}],
        {"type": "image", "media": {"url": "rini:2"}},
        1,
    )
    references = [
        row[0] for row in house.rows("SELECT file_reference FROM messages WHERE session_id = :s", s=session.id)
    ]
    assert [house.files.read_sync(house.user_id, each) for each in references] == [picture(), picture()]


def test_exports_in_several_files_are_read_in_order(house: House):
    def one(text: str) -> bytes:
        return as_json(chatgpt(node("q", None, "user", text), title=text))

    archive = as_zip(
        {"x/conversations-001.json": one("second"), "x/conversations-000.json": one("first"), "a.json": b"no"}
    )
    assert [each.alias for each in house.take(archive).sessions] == ["first", "second"]


def test_conversations_without_messages_are_counted(house: House):
    full = chatgpt(node("q", None, "user", "x"))
    imported = house.take(as_json(chatgpt(node("root", None)), full, full | {"mapping": {}, "current_node": None}))
    assert (len(imported.sessions), imported.empty) == (1, 2)


def test_a_head_that_is_not_there_is_the_last_message(house: House):
    conversation = chatgpt(node("q", None, "user", "x"), node("a", "q", "assistant", "y"), head="gone")
    session = house.take(as_json(conversation)).sessions[0]
    assert json.loads(house.export(session.id).splitlines()[-1])["head"] == 2
    assert [each.code for each in session.left_out] == ["head"]


def test_one_conversation_and_a_wrapped_list_are_read_too(house: House):
    conversation = chatgpt(node("q", None, "user", "x"))
    assert house.take(json.dumps(conversation).encode()).format == "chatgpt"
    assert len(house.take(json.dumps({"conversations": [conversation, conversation]}).encode()).sessions) == 2


def test_text_that_no_database_holds_is_mended(house: House):
    half = json.dumps([chatgpt(node("q", None, "user", "a\ud800b\\ud800 \x00"), title="t\x00")]).encode()
    session = house.take(half).sessions[0]
    assert session.alias == "t\ufffd"
    assert said(house, session.id)[0]["content"] == "a\ufffdb\\ud800 \ufffd"
