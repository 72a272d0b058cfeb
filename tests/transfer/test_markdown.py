"""The document to read: one branch or all, in which no text takes in what follows it."""

import msgspec
import pytest

from rini import canon
from rini.errors import NotFoundError
from rini.transfer import markdown
from tests.transfer.conftest import House
from tests.transfer.files import SESSION, end, message, rini


def document(house: House, *messages: dict, head: int | None = None, branch=None, **session) -> str:
    file = rini(SESSION | session, *messages, end(len(messages), head or len(messages) or None))
    made = house.take(file).sessions[0]
    if isinstance(branch, int):
        ids = house.rows("SELECT id FROM messages WHERE session_id = :s ORDER BY id", s=made.id)
        branch = ids[branch - 1][0]
    return b"".join(markdown.document(house.database, house.user_id, made.id, branch)).decode()


def parts(*found: canon.Part) -> dict:
    return {"parts": msgspec.to_builtins(found), "content": canon.plain_text(found), "role": "assistant"}


TREE = [
    message(1),
    message(2, 1, role="assistant", model_used="gpt-4o"),
    message(3, 2),
    message(4, 1, role="assistant"),
]


def test_the_current_branch_is_what_is_read(house: House):
    assert document(house, *TREE, head=3, system_prompt="Be `brief`.") == (
        "# x\n\nBegun 2025-03-01 12:00 UTC.\n\n## System prompt\n\n```\nBe `brief`.\n```\n"
        "\n## 1. User · 2025-03-01 12:00:00 UTC\n\ntext 1\n"
        "\n## 2. Assistant · gpt-4o · 2025-03-01 12:00:00 UTC\n\ntext 2\n"
        "\n## 3. User · 2025-03-01 12:00:00 UTC\n\ntext 3\n"
    )


def test_another_branch_or_all_of_them_can_be_read(house: House):
    assert "text 4" in (text := document(house, *TREE, head=3, branch=4))
    assert "text 2" not in text
    text = document(house, *TREE, head=3, branch="all")
    assert text.count("\n## ") == 4
    assert "## 4. Assistant · 2025-03-01 12:00:00 UTC\n\n*After 1.*\n\ntext 4" in text


def test_a_session_without_messages_and_a_message_of_none(house: House):
    assert document(house, alias=None) == "# Session\n\nBegun 2025-03-01 12:00 UTC.\n"
    session = house.take(rini(SESSION, message(1), end(1))).sessions[0]
    with pytest.raises(NotFoundError):
        markdown.document(house.database, house.user_id, session.id, 2**40)


def test_everything_that_a_message_has_is_named(house: House):
    said = parts(
        canon.Thinking("hm\nhm"),
        canon.ToolCall("1", "look`up", '{"q": "```"}'),
        canon.ToolResult("1", (canon.Text("````\n# no"),), is_error=True),
        canon.Document(canon.Media(), name="a.txt", text="inside"),
        canon.Image(canon.Media(url="https://a.example/x.png")),
        canon.Opaque("openai", {"a": 1}),
        canon.Text("so"),
    )
    text = document(house, message(1), message(2, 1, status="partial", status_reason="interrupted", note="mine", original_filename="red.png") | said)  # fmt: skip
    assert text.partition("## 2. Assistant")[2].partition("\n\n")[2] == (
        "*Thinking:*\n\n> hm\n> hm\n\n"
        '*Tool call: `` look`up ``*\n\n````json\n{"q": "```"}\n````\n\n'
        "*Tool error:*\n\n`````\n````\n# no\n`````\n\n"
        "*Document: `a.txt`*\n\n```\ninside\n```\n\n"
        "*Image.*\n\n"
        '*`openai`:*\n\n```json\n{"a":1}\n```\n\n'
        "so\n\n*Broken off: interrupted.*\n\n*Note:*\n\n> mine\n"
    )


@pytest.mark.parametrize(
    ("content", "closed"),
    [
        ("```py\nopen", "```py\nopen\n```"),
        ("~~~~\n```\n~~~", "~~~~\n```\n~~~\n~~~~"),
        ("```\nclosed\n```\nafter", "```\nclosed\n```\nafter"),
        ("```\n``` no end", "```\n``` no end\n```"),
        ("``` in `line` ```", "``` in `line` ```"),
        ("    ```\ncode by spaces", "    ```\ncode by spaces"),
        ("<!-- hidden", "\\<!-- hidden"),
        ("a\n  <script>x", "a\n  \\<script>x"),
        ("```\n<!-- code\n```", "```\n<!-- code\n```"),
        ("<b>bold</b> a < b", "<b>bold</b> a < b"),
    ],
)
def test_what_a_text_leaves_open_is_closed(house: House, content: str, closed: str):
    text = document(house, message(1, content=content), message(2, 1))
    assert f"UTC\n\n{closed}\n\n## 2. User" in text
