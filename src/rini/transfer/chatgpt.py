"""ChatGPT's export: ``conversations.json`` with a tree of nodes for each conversation (docs/export-and-import.md says what is known of it)."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from rini import canon
from rini.files.headers import type_of
from rini.transfer.archive import Archive
from rini.transfer.foreign import Lines, Nodes, Said, end_line, fenced, from_seconds, session_line
from rini.transfer.items import Item
from rini.transfer.refusal import decoded

MOST_PARTS = 10_000
LARGEST_IMAGE_BYTES = 20 * 1024 * 1024

_ROLES = frozenset(("system", "user", "assistant", "tool"))
_TEXTS = ("text", "multimodal_text")


class _Author(msgspec.Struct, frozen=True):
    role: str = ""
    name: str | None = None


class _Attachment(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None


class _Metadata(msgspec.Struct, frozen=True):
    is_visually_hidden_from_conversation: bool | None = None
    is_user_system_message: bool | None = None
    model_slug: str | None = None
    attachments: tuple[_Attachment, ...] | None = None


class _Thought(msgspec.Struct, frozen=True):
    summary: str | None = None
    content: str | None = None


class _Part(msgspec.Struct, frozen=True):
    content_type: str = ""
    asset_pointer: str | None = None
    text: str | None = None


class _Content(msgspec.Struct, frozen=True):
    """All kinds in one: which fields there are depends on ``content_type``."""

    content_type: str = "text"
    parts: Annotated[tuple[str | _Part | None, ...], Meta(max_length=MOST_PARTS)] | None = None
    text: str | None = None
    language: str | None = None
    result: str | None = None
    summary: str | None = None
    title: str | None = None
    url: str | None = None
    name: str | None = None
    user_profile: str | None = None
    user_instructions: str | None = None
    thoughts: tuple[_Thought, ...] | str | None = None


class _Message(msgspec.Struct, frozen=True):
    author: _Author
    content: _Content | None = None
    create_time: float | None = None
    status: str | None = None
    weight: float | None = None
    recipient: str | None = None
    metadata: _Metadata | None = None


class _Node(msgspec.Struct, frozen=True):
    parent: str | None = None
    message: _Message | None = None


class _Conversation(msgspec.Struct, frozen=True):
    mapping: dict[str, _Node]
    title: str | None = None
    create_time: float | None = None
    update_time: float | None = None
    current_node: str | None = None


class _Above(NamedTuple):
    """What a node leaves to those below it: the number of the last message on the way, and thoughts that belong to the next one."""

    number: int | None = None
    thoughts: tuple[canon.Thinking, ...] = ()


_conversation_json = msgspec.json.Decoder(_Conversation)


class ChatGPT:
    """Translates conversations. What is left out is counted."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()

    def lines(self, data: bytes, archive: Archive | None) -> Iterator[Item]:
        """Yield a conversation's lines, nothing for one without messages. Raises Refusal."""
        conversation = decoded(_conversation_json, data)
        created = from_seconds(conversation.create_time or 0)
        nodes = Nodes()
        for name, node in conversation.mapping.items():
            nodes.add(name, node.parent, _time_of(node.message, created))
        above: dict[str | None, _Above] = {None: _Above()}
        lines = Lines()
        for name in nodes.in_order():
            parent = above[nodes.parent(name)]
            message = conversation.mapping[name].message
            said = None if message is None else self._said(message, _time_of(message, created), archive)
            if said is None:
                thoughts = () if message is None else _thoughts(message)
                above[name] = parent._replace(thoughts=(*parent.thoughts, *thoughts))
                continue
            if not lines.count:
                yield session_line(conversation.title, created, from_seconds(conversation.update_time or 0))
            if said.role == "assistant" and parent.thoughts:
                said = said._replace(parts=(*parent.thoughts, *said.parts))
            yield from lines.message(parent.number, said)
            above[name] = _Above(lines.count)
        if lines.count:
            yield end_line(lines.count, self._head(conversation, above, lines.count))

    def _head(self, conversation: _Conversation, above: dict[str | None, _Above], last: int) -> int | None:
        if conversation.current_node is None:
            return last
        if conversation.current_node not in above:
            self.left_out["head"] += 1
            return last
        return above[conversation.current_node].number

    def _said(self, message: _Message, created_at: datetime, archive: Archive | None) -> Said | None:
        """Return what becomes of a message; None for one that is left out."""
        content, metadata = message.content or _Content(), message.metadata or _Metadata()
        role = message.author.role
        if role not in _ROLES:
            self.left_out["unknown_role"] += 1
            return None
        kind = content.content_type
        if kind == "thoughts":  # they go into the answer that follows
            return None
        if kind in ("reasoning_recap", "model_editable_context"):
            self.left_out["service_message"] += 1
            return None
        instructions = kind == "user_editable_context" or metadata.is_user_system_message
        hidden = metadata.is_visually_hidden_from_conversation or (message.weight == 0 and role in ("system", "tool"))
        if hidden and not instructions:
            self._leave_out(content)
            return None
        if kind in _TEXTS:
            parts, images = self._parts(content.parts or (), archive)
        else:
            parts, images = _as_text(content), ()
        parts = (*parts, *self._notes(metadata, content))
        if not parts and not images:
            self._leave_out(content)
            return None
        if role == "tool":
            name = message.author.name or "tool"
            parts = (canon.Text(f"[{name}]\n"), *parts)
        elif role == "assistant" and message.recipient not in (None, "all"):
            parts = (canon.Text(f"[to {message.recipient}]\n"), *_in_fence(parts, kind))
        broken = role == "assistant" and message.status not in (None, "finished_successfully")
        return Said(
            role="system" if role == "system" else "user" if role == "user" else "assistant",
            parts=_joined(parts),
            created_at=created_at,
            model=metadata.model_slug if role == "assistant" else None,
            status_reason=message.status if broken else None,
            images=images,
        )

    def _leave_out(self, content: _Content) -> None:
        says_something = any(part for part in content.parts or ()) or content.text
        self.left_out["hidden_message" if says_something else "empty_message"] += 1

    def _parts(
        self, given: tuple[str | _Part | None, ...], archive: Archive | None
    ) -> tuple[tuple[canon.Text, ...], tuple[bytes, ...]]:
        texts: list[canon.Text] = []
        images: list[bytes] = []
        for part in given:
            if part is None or isinstance(part, str):
                texts += [canon.Text(part)] if part else []
            elif part.text is not None:  # a transcript of what was spoken
                texts.append(canon.Text(part.text))
            elif part.content_type == "image_asset_pointer" and part.asset_pointer is not None:
                data = archive.asset(part.asset_pointer, LARGEST_IMAGE_BYTES) if archive is not None else None
                if data is not None and type_of(data) is not None:
                    images.append(data)
                    continue
                self.left_out["image_not_there" if data is None else "not_an_image"] += 1
                texts.append(canon.Text("[Image]"))
            else:
                self.left_out["sound" if "audio" in part.content_type else "unknown_part"] += 1
        return tuple(texts), tuple(images)

    def _notes(self, metadata: _Metadata, content: _Content) -> Iterator[canon.Text]:
        """Yield a note for each file that came with a message, other than the images in it."""
        shown = str(content.parts)
        for attached in metadata.attachments or ():
            if attached.id is not None and attached.id in shown:
                continue
            self.left_out["attached_file"] += 1
            yield canon.Text(f"[Attached file: {attached.name or 'without a name'}]")


def _time_of(message: _Message | None, otherwise: datetime) -> datetime:
    return otherwise if message is None or message.create_time is None else from_seconds(message.create_time)


def _thoughts(message: _Message) -> tuple[canon.Thinking, ...]:
    found = message.content.thoughts if message.content is not None else None
    if found is None:
        return ()
    if isinstance(found, str):
        return (canon.Thinking(found),) if found else ()
    texts = ["\n".join(filter(None, (each.summary, each.content))) for each in found]
    return tuple(canon.Thinking(text) for text in texts if text)


def _as_text(content: _Content) -> tuple[canon.Text, ...]:
    """Return what a part says that is no plain text: code, its output, what a browser found, instructions."""
    kind = content.content_type
    if kind in ("code", "execution_output", "system_error"):
        text = content.text or ""
        if content.name:
            text = f"{content.name}\n{text}"
        language = (content.language or "") if kind == "code" else ""
        return (
            (canon.Text(fenced(text, language if language.isalnum() and language != "unknown" else "")),)
            if text
            else ()
        )
    if kind == "user_editable_context":
        found = (content.user_profile, content.user_instructions)
    else:
        found = (content.title, content.url, content.result or content.text, content.summary)
        found = (*found, *(part for part in content.parts or () if isinstance(part, str)))
    text = "\n\n".join(filter(None, found))
    return (canon.Text(text),) if text else ()


def _in_fence(parts: tuple[canon.Text, ...], kind: str) -> tuple[canon.Text, ...]:
    """Return what was said to a tool as a block of code, which ``code`` is already."""
    if kind == "code" or not parts:
        return parts
    return (canon.Text(fenced("\n".join(part.text for part in parts))),)


def _joined(parts: tuple[canon.Text, ...]) -> tuple[canon.Text, ...]:
    return (canon.Text("\n".join(part.text for part in parts)),) if parts else ()
