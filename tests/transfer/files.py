"""Exports as they come: Rini's own by its lines, ChatGPT's and Claude's by their objects."""

import io
import json
import zipfile
from datetime import UTC, datetime
from typing import Any

import msgspec

from rini.transfer.export import header

THEN = datetime(2025, 3, 1, 12, tzinfo=UTC)
SESSION = {
    "type": "session",
    "alias": "x",
    "memory_mode": "auto",
    "context_policy": "compact",
    "created_at": THEN.isoformat(),
    "updated_at": THEN.isoformat(),
}


def rini(*lines: Any) -> bytes:
    """Return a file of Rini's own, with its first line."""
    return header() + b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def message(number: int, parent: int | None = None, **fields: Any) -> dict[str, Any]:
    """Return a line of Rini's own."""
    made = {
        "type": "message",
        "id": number,
        "role": "user",
        "status": "complete",
        "content": f"text {number}",
        "created_at": THEN.isoformat(),
    }
    return made | ({} if parent is None else {"parent": parent}) | fields


def end(messages: int, head: int | None = None) -> dict[str, Any]:
    """Return the line that ends a session."""
    return {"type": "end", "messages": messages} | ({} if head is None else {"head": head})


def long_session(count: int) -> bytes:
    """Return a file with one session, a single path."""
    return rini(SESSION, *(message(n, n - 1 or None) for n in range(1, count + 1)), end(count, count))


def node(key: str, parent: str | None, role: str = "user", text: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a node of ChatGPT's mapping; ``text`` becomes a text, a dictionary is the content itself, None is no message."""
    content = text if isinstance(text, dict) else {"content_type": "text", "parts": [text]}
    author = {"role": role, "name": fields.pop("name", None), "metadata": {}}
    said = {"id": key, "author": author, "content": content, "status": "finished_successfully", "weight": 1.0}
    said |= {"recipient": "all", "metadata": {}, "end_turn": True, "channel": None} | fields
    return {"id": key, "parent": parent, "children": [], "message": None if text is None else said}


def chatgpt(*nodes: dict[str, Any], head: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a conversation as ChatGPT exports it."""
    about = {
        "title": "Talk",
        "create_time": 1.7e9,
        "update_time": 1.7e9 + 60,
        "moderation_results": [],
        "is_archived": False,
    }
    return about | {"mapping": {each["id"]: each for each in nodes}, "current_node": head or nodes[-1]["id"]} | fields


def said(name: str, sender: str = "human", text: str = "", **fields: Any) -> dict[str, Any]:
    """Return a message as Claude exports it."""
    about = {"uuid": name, "sender": sender, "text": text, "created_at": "2025-03-01T12:00:00.123456Z"}
    return (
        about | {"content": [{"type": "text", "text": text, "citations": []}], "attachments": [], "files": []} | fields
    )


def claude(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a conversation as Claude exports it."""
    times = {"created_at": "2025-03-01T11:59:00Z", "updated_at": "2025-03-01T12:01:00Z"}
    return {"uuid": "c", "name": "Talk", "account": {"uuid": "a"}, **times, "chat_messages": list(messages)} | fields


def as_json(*conversations: Any) -> bytes:
    """Return conversations.json."""
    return json.dumps(conversations, ensure_ascii=False).encode()


def as_zip(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return found.getvalue()
