"""Claude's export: a list of messages for each conversation, in newer ones a tree."""

import json
from typing import Any

from tests.transfer.conftest import House
from tests.transfer.files import as_json, as_zip, claude
from tests.transfer.files import said as message
from tests.transfer.test_chatgpt import said

NOBODY = "00000000-0000-4000-8000-000000000000"


def told(house: House, *messages: dict[str, Any], **fields: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    session = house.take(as_json(claude(*messages, **fields))).sessions[0]
    return said(house, session.id), {each.code: each.count for each in session.left_out}


def test_a_list_becomes_a_path(house: House):
    imported = house.take(
        as_zip({"conversations.json": as_json(claude(message("1", text="안녕"), message("2", "assistant", "hi")), claude(name="empty"))})
    )  # fmt: skip
    assert (imported.format, len(imported.sessions), imported.empty) == ("anthropic", 1, 1)
    messages = said(house, imported.sessions[0].id)
    assert [(each["role"], each["content"], each.get("parent")) for each in messages] == [
        ("user", "안녕", None),
        ("assistant", "hi", 1),
    ]
    assert messages[0]["created_at"] == "2025-03-01T12:00:00.123456Z"
    lines = house.export(imported.sessions[0].id).splitlines()
    assert (json.loads(lines[1])["alias"], json.loads(lines[-1])["head"]) == ("Talk", 2)


def test_parents_make_a_tree(house: House):
    messages, _ = told(
        house,
        message("1", text="q", parent_message_uuid=NOBODY),
        message("2", "assistant", "a", parent_message_uuid="1"),
        message("3", "assistant", "b", parent_message_uuid="1", created_at="2025-03-01T13:00:00"),
        message("4", text="again", parent_message_uuid="2", created_at="2025-03-01T14:00:00Z"),
        current_leaf_message_uuid="3",
    )
    assert [(each["content"], each.get("parent")) for each in messages] == [
        ("q", None),
        ("a", 1),
        ("b", 1),
        ("again", 2),
    ]


def test_calls_and_results_stay_together(house: House):
    blocks = [
        {"type": "thinking", "thinking": "hm", "summaries": []},
        {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"q": "tea"}},
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "name": "search",
            "content": [{"type": "text", "text": "found"}],
        },
        {"type": "tool_use", "id": None, "name": "old", "input": {}},
        {"type": "tool_result", "name": "old", "content": "plain", "is_error": True},
        {"type": "tool_result", "tool_use_id": "nobody", "content": []},
        {"type": "token_budget"},
        {"type": "something_new", "x": {}},
        {"type": "text", "text": "tea"},
    ]
    messages, left_out = told(house, message("1", text="q"), message("2", "assistant", "", content=blocks))
    assert messages[1]["content"] == "tea"
    assert messages[1]["parts"] == [
        {"type": "thinking", "text": "hm"},
        {"type": "tool_call", "id": "toolu_1", "name": "search", "arguments": '{"q": "tea"}'},
        {"type": "tool_result", "call_id": "toolu_1", "content": [{"type": "text", "text": "found"}], "name": "search"},
        {"type": "tool_call", "id": "call_3", "name": "old", "arguments": "{}"},
        {"type": "tool_result", "call_id": "call_3", "content": [{"type": "text", "text": "plain"}], "name": "old", "is_error": True},
        {"type": "text", "text": "tea"},
    ]  # fmt: skip
    assert left_out == {"result_without_call": 1, "service_message": 1, "unknown_part": 1}


def test_attached_texts_stay_and_other_files_are_named(house: House):
    messages, left_out = told(
        house,
        message("1", text="read", attachments=[{"file_name": "a.txt", "extracted_content": "inside"}], files=[{"file_name": "b.png"}, {"file_name": "a.txt"}]),
        message("2", text="", content=[], attachments=[{"file_name": "", "extracted_content": "pasted"}]),
        message("3", "assistant", "only text", content=[]),
        message("4", text="", content=[]),
    )  # fmt: skip
    assert [each["content"] for each in messages] == [
        "read\n\n[Attached file: a.txt]\ninside\n\n[Attached file: b.png]",
        "pasted",
        "only text",
    ]
    assert left_out == {"attached_file": 1, "empty_message": 1}
