"""What is odd and can be read all the same: odd bytes between lines, odd trees, odd names, and what services invent."""

import json
from pathlib import Path
from typing import Any

import pytest

from rini.sessions.ancestry import is_ancestor
from tests.transfer.conftest import House
from tests.transfer.files import SESSION, as_json, as_zip, chatgpt, claude, end, long_session, message, node, rini, said

BOM = b"\xef\xbb\xbf"
TWO = rini(SESSION, message(1), message(2, 1), end(2, 2))
TALK = chatgpt(node("r", None), node("q", "r", "user", "x"), node("a", "q", "assistant", "y"))


def contents(house: House, session_id: str) -> list[str]:
    rows = house.rows("SELECT content FROM messages WHERE session_id = :s ORDER BY id", s=session_id)
    return [row.content for row in rows]


@pytest.mark.parametrize(
    "file",
    [
        BOM + TWO,
        TWO.replace(b"\n", b"\r\n"),
        TWO.replace(b"\n", b"\n\n \t\r\n"),
        TWO[:-1],
        TWO.replace(b'"id":1', b'"id":7,"id":1'),
        TWO.replace(b'"role"', b'"invented":{"a":[1,null]},"role"'),
    ],
)
def test_lines_are_read_whatever_stands_between_them(one_house: House, file: bytes):
    (session,) = one_house.take(file).sessions
    assert contents(one_house, session.id) == ["text 1", "text 2"]


@pytest.mark.parametrize(
    "file",
    [
        BOM + as_json(TALK),
        json.dumps([TALK], indent=2).replace("\n", "\r\n").encode(),
        b" \n\t" + as_json(TALK) + b"\n\n",
        json.dumps(TALK).encode(),
        as_json(TALK).replace(b'"mapping"', b'"mapping": {}, "mapping"'),
    ],
)
def test_json_is_read_however_it_is_laid_out(one_house: House, file: bytes):
    (session,) = one_house.take(file).sessions
    assert contents(one_house, session.id) == ["x", "y"]


@pytest.mark.parametrize(
    ("escaped", "stored"),
    [
        (r"a\u0000b", "a\ufffdb"),
        (r"\ud800", "\ufffd"),
        (r"\udfff!", "\ufffd!"),
        (r"\ud83d\ude00\ud83d", "😀\ufffd"),
        (r"\\ud800", "\\ud800"),
        (r"e\u0301\u200d\u202e\uffff", "e\u0301\u200d\u202e\uffff"),
    ],
)
def test_what_no_database_holds_is_mended(house: House, escaped: str, stored: str):
    for file in (TWO.replace(b"text 1", escaped.encode()), as_json(TALK).replace(b'"x"', f'"{escaped}"'.encode())):
        (session,) = house.take(file).sessions
        assert contents(house, session.id)[0] == stored


def test_a_path_of_five_thousand_messages_and_a_fan_of_as_many(house: House):
    path, fan = long_session(5000), rini(SESSION, message(1), *(message(n, 1) for n in range(2, 5001)), end(5000, 2))
    for file, depth in ((path, 4999), (fan, 1)):
        (session,) = house.take(file).sessions
        query = "SELECT min(id) AS first, max(id) AS last, max(depth) AS depth FROM messages WHERE session_id = :s"
        (row,) = house.rows(query, s=session.id)
        assert (session.messages, row.depth) == (5000, depth)
        assert house.database.read_sync(is_ancestor, row.first, row.last)


def test_names_in_an_archive_lead_nowhere(one_house: House, tmp_path: Path):
    before = {path for path in one_house.folder.parent.rglob("*") if path.is_file()}
    names = (
        "../../evil.json",
        "/evil/conversations.json",
        "..\\..\\file-evil.png",
        "a/" * 50 + "file-x",
        "file-\u202e\n.png",
    )
    archive = as_zip({name: as_json(TALK) if name.endswith("conversations.json") else b"evil" for name in names})
    (session,) = one_house.take(archive).sessions
    assert contents(one_house, session.id) == ["x", "y"]
    written = {path for path in one_house.folder.parent.rglob("*") if path.is_file()} - before
    assert not [path for path in written if "evil" in path.name]
    assert not Path("/evil").exists()


def told(house: House, *conversations: Any) -> tuple[list[list[str]], dict[str, int]]:
    """Return the texts of each session, and what was left out of the last one."""
    found = house.take(as_json(*conversations)).sessions
    return [contents(house, each.id) for each in found], {each.code: each.count for each in found[-1].left_out}


def content(kind: str, **fields: Any) -> dict[str, Any]:
    return {"content_type": kind, **fields}


@pytest.mark.parametrize(
    ("said_so", "text", "left_out"),
    [
        (content("text", parts=["a", "b", None, ""]), ["a\nb"], {}),
        (content("code", language="python", text="x = 1"), ["```python\nx = 1\n```"], {}),
        (content("tether_quote", url="https://example.com", title="T", text="quoted"), ["T\n\nhttps://example.com\n\nquoted"], {}),
        (content("tether_browsing_display", result="found", summary=None), ["found"], {}),
        (content("multimodal_text", parts=["a", {"content_type": "audio_asset_pointer"}, {"content_type": "hologram"}]), ["a"], {"sound": 1, "unknown_part": 1}),
        (content("canvas_of_the_future", canvas={"code": "x"}, text="shown"), ["shown"], {}),
        (content("canvas_of_the_future", canvas={"code": "x"}), [], {"empty_message": 1}),
        (content("", parts=["x"]), ["x"], {}),
    ],
)  # fmt: skip
def test_kinds_of_chatgpts_messages(one_house: House, said_so: Any, text: list[str], left_out: dict[str, int]):
    conversation = chatgpt(node("r", None), node("a", "r", "assistant", said_so), node("z", "a", "user", "end"))
    assert told(one_house, conversation) == ([[*text, "end"]], left_out)


def test_several_roots_and_hidden_ones(one_house: House):
    talk = chatgpt(
        node("s", None, "system", "hidden", weight=0.0),
        node("a", "s", "user", "first"),
        node("b", None, "user", "second"),
        node("t", "b", "tool", "also hidden", weight=0),
        node("c", "t", "assistant", "third"),
    )
    found, left_out = told(one_house, talk)
    assert (found, left_out) == ([["first", "second", "third"]], {"hidden_message": 2})
    (row,) = one_house.rows(
        "SELECT count(*) FROM messages WHERE content IN ('first','second') AND parent_message_id IS NULL"
    )
    assert row[0] == 2


def test_what_claude_exports_with_nothing_in_it(one_house: House):
    nulls = said("1", text="x", content=None, attachments=None, files=None, created_at=None)
    tool = said(
        "2", "assistant", content=[{"type": "tool_use", "name": "t", "input": {"a": "\u0000"}}, {"type": "hologram"}]
    )
    found, left_out = told(one_house, claude(nulls, tool, said("3", text="")))
    assert (found, left_out) == ([["x", ""]], {"unknown_part": 1, "empty_message": 1})
