"""Claude's export: ``conversations.json`` with a list of messages for each conversation (docs/export-and-import.md says what is known of it)."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from rini import canon
from rini.transfer.archive import Archive
from rini.transfer.foreign import Lines, Nodes, Said, end_line, session_line
from rini.transfer.items import Item
from rini.transfer.refusal import Refusal, decoded

_ROLES: dict[str, canon.Role] = {"human": "user", "user": "user", "assistant": "assistant"}
_NO_PARENT = re.compile(r"0{8}-0{4}-[04]0{3}-[08]0{3}-0{12}")
"""What a message without a parent names as its parent."""


class _Block(msgspec.Struct, frozen=True):
    """All kinds in one: which fields there are depends on ``type``."""

    type: str = "text"
    text: str | None = None
    thinking: str | None = None
    title: str | None = None
    id: str | None = None
    tool_use_id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    is_error: bool | None = None


class _Found(msgspec.Struct, frozen=True):
    """One of the things that a tool answered."""

    title: str | None = None
    url: str | None = None
    text: str | None = None


class _File(msgspec.Struct, frozen=True):
    file_name: str | None = None
    extracted_content: str | None = None


class _Message(msgspec.Struct, frozen=True):
    sender: str
    uuid: str | None = None
    text: str | None = None
    content: tuple[_Block, ...] | None = None
    created_at: datetime | None = None
    parent_message_uuid: str | None = None
    attachments: tuple[_File, ...] | None = None
    files: tuple[_File, ...] | None = None


class _Conversation(msgspec.Struct, frozen=True):
    chat_messages: tuple[_Message, ...]
    name: str | None = None
    model: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    current_leaf_message_uuid: str | None = None


_conversation_json = msgspec.json.Decoder(_Conversation)
_text_json = msgspec.json.Decoder(str)
_blocks_json = msgspec.json.Decoder(tuple[_Found, ...])
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Claude:
    """Translates conversations. What is left out is counted."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()

    def lines(self, data: bytes, archive: Archive | None) -> Iterator[Item]:
        """Yield a conversation's lines, nothing for one without messages. Raises Refusal."""
        del archive  # it holds no files
        conversation = decoded(_conversation_json, data)
        created = _utc(conversation.created_at, _EPOCH)
        messages = dict[str, _Message]()
        nodes = Nodes()
        before: str | None = None
        is_tree = any(message.parent_message_uuid for message in conversation.chat_messages)
        for place, message in enumerate(conversation.chat_messages, 1):
            name = message.uuid or f"#{place}"
            parent = before
            if is_tree:
                parent = message.parent_message_uuid
                parent = None if parent is None or _NO_PARENT.fullmatch(parent) else parent
            nodes.add(name, parent, _utc(message.created_at, created))
            messages[name] = message
            before = name
        numbers: dict[str | None, int | None] = {None: None}
        lines = Lines()
        for name in nodes.in_order():
            message = messages[name]
            said = self._said(message, _utc(message.created_at, created), conversation.model)
            above = numbers[nodes.parent(name)]
            if said is None:
                numbers[name] = above
                continue
            if not lines.count:
                yield session_line(conversation.name, created, _utc(conversation.updated_at, created))
            yield from lines.message(above, said)
            numbers[name] = lines.count
        if lines.count:
            yield end_line(lines.count, self._head(conversation, numbers, before))

    def _head(self, conversation: _Conversation, numbers: dict[str | None, int | None], last: str | None) -> int | None:
        leaf = conversation.current_leaf_message_uuid
        if leaf is not None and leaf not in numbers:
            self.left_out["head"] += 1
            leaf = None
        return numbers[leaf if leaf is not None else last]

    def _said(self, message: _Message, created_at: datetime, model: str | None) -> Said | None:
        """Return what becomes of a message; None for one that says nothing."""
        role = _ROLES.get(message.sender)
        if role is None:
            raise Refusal(f"has a message of {message.sender[:100]!r}, and only human and assistant are known")
        parts = list(self._blocks(message.content or ()))
        if message.text and not any(isinstance(part, canon.Text) for part in parts):
            parts.append(canon.Text(message.text))
        for text in self._attached(message):
            parts.append(canon.Text(f"\n\n{text}" if parts else text))
        if not parts:
            self.left_out["empty_message"] += 1
            return None
        return Said(role, tuple(parts), created_at, model if role == "assistant" else None)

    def _blocks(self, blocks: tuple[_Block, ...]) -> Iterator[canon.Part]:
        """Yield a message's parts. A call and its result go together, by their ids or, in older exports, by their order."""
        answered = {block.tool_use_id for block in blocks if block.type == "tool_result" and block.tool_use_id}
        called: set[str] = set()
        waiting: list[str] = []
        for place, block in enumerate(blocks):
            if block.type == "text":
                if block.text:
                    yield canon.Text(block.text)
            elif block.type == "thinking":
                if block.thinking:
                    yield canon.Thinking(block.thinking)
            elif block.type == "tool_use":
                call_id = block.id or f"call_{place}"
                called.add(call_id)
                if block.id not in answered:
                    waiting.append(call_id)
                arguments = bytes(block.input).decode("utf-8", "replace") or "{}"
                yield canon.ToolCall(call_id, block.name or "tool", "{}" if arguments == "null" else arguments)
            elif block.type == "tool_result":
                call_id = block.tool_use_id if block.tool_use_id in called else None
                if call_id is None and waiting:
                    call_id = waiting.pop(0)
                if call_id is None:
                    self.left_out["result_without_call"] += 1
                    continue
                yield canon.ToolResult(call_id, self._result(block), block.name, bool(block.is_error))
            elif block.text:
                yield canon.Text("\n".join(filter(None, (block.title, block.text))))
            else:
                self.left_out["service_message" if block.type in ("token_budget", "flag") else "unknown_part"] += 1

    def _result(self, block: _Block) -> tuple[canon.Part, ...]:
        raw = bytes(block.content)
        if raw in (b"", b"null"):
            return ()
        if raw.startswith(b'"'):
            return (canon.Text(decoded(_text_json, raw)),)
        if not raw.startswith(b"["):
            return (canon.Text(raw.decode("utf-8", "replace")),)
        found: list[canon.Part] = []
        for inner in decoded(_blocks_json, raw):
            text = "\n".join(filter(None, (inner.title, inner.url, inner.text)))
            if text:
                found.append(canon.Text(text))
            else:
                self.left_out["unknown_part"] += 1
        return tuple(found)

    def _attached(self, message: _Message) -> Iterator[str]:
        """Yield what is known of the files that came with a message: the text of some, the names of others."""
        names: set[str] = set()
        for file in message.attachments or ():
            name = file.file_name or ""
            names.add(name)
            if file.extracted_content:
                yield f"[Attached file: {name}]\n{file.extracted_content}" if name else file.extracted_content
            else:
                self.left_out["attached_file"] += 1
                yield f"[Attached file: {name or 'without a name'}]"
        for file in message.files or ():
            if file.file_name and file.file_name not in names:
                names.add(file.file_name)
                self.left_out["attached_file"] += 1
                yield f"[Attached file: {file.file_name}]"


def _utc(moment: datetime | None, otherwise: datetime) -> datetime:
    if moment is None:
        return otherwise
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
