"""What goes into a turn and what comes out of it."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from rini.canon import Event, Message, Part, Reply, ToolCall, ToolResult
from rini.db import AnyRow
from rini.inference.outgoing import Outgoing
from rini.usage.usage_record import UsageRecord
from rini.wire.codec import Codec


class Upload(msgspec.Struct, frozen=True):
    """A file that came with the question, as it came. ``filename`` is the client's."""

    data: bytes
    filename: str | None = None


class StoredFile(msgspec.Struct, frozen=True):
    """A file of the question that is kept: its reference, its type by its bytes, and the client's name for it."""

    reference: str
    mime_type: str
    filename: str | None


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request in the client's own wire format, that of ``codec``.

    ``passes`` is its body as a provider of the same format gets it, None where only a translation will do; ``headers`` go with it.
    """

    codec: Codec
    body: bytes
    stream: bool
    passes: bytes | None = None
    headers: Mapping[str, str] = {}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks. With ``session_id`` the session's prompt, memory and path go before ``messages`` and the turn is stored.

    ``params`` are call parameters by a client's names; ``key_id`` picks one of several keys; ``parent_message_id`` another
    place in the tree than the current branch's tip. ``tool_choice`` offers the user's tools: ``auto``, ``required`` or one's name.
    ``image`` is looked at together with the last message. ``given`` stands in the place of messages and params.
    """

    user_id: int
    provider: str
    model: str
    messages: tuple[Message, ...]
    endpoint: str
    session_id: str | None = None
    params: Mapping[str, Any] = {}
    key_id: int | None = None
    parent_message_id: int | None = None
    request_id: str | None = None
    tool_choice: str | None = None
    image: Upload | None = None
    file: StoredFile | None = None
    given: Given | None = None


class Loaded(msgspec.Struct, frozen=True):
    """What the turn found: the messages that come before, the question as it was stored, and the memory that goes along."""

    session_id: str
    context: tuple[Message, ...]
    question: AnyRow
    memory_ids: tuple[int, ...] = ()


class Begun(msgspec.Struct, frozen=True):
    """What is known when the provider begins to answer: what it was sent, and the ``headers`` of its answer."""

    loaded: Loaded | None
    outgoing: Outgoing
    headers: Mapping[str, str]


class Answer(msgspec.Struct, frozen=True):
    """A finished turn. ``parts`` are all that the model and its tools said, ``reply`` the last call's; one record for each call.

    The rows are None in a stateless turn. ``body`` are the bytes of the provider's last answer, None where it was streamed.
    """

    begun: Begun
    reply: Reply
    records: tuple[UsageRecord, ...]
    parts: tuple[Part, ...]
    question: AnyRow | None = None
    answer: AnyRow | None = None
    body: bytes | None = None


class Listener(Protocol):
    """Whoever follows a streamed answer."""

    async def begin(self, begun: Begun) -> None:
        """Take note that the provider began to answer."""
        ...

    async def piece(self, data: bytes, events: list[Event]) -> None:
        """Take more of the answer, in the provider's order: the bytes and what they say. No bytes: the provider's come to their end."""
        ...

    async def tool_called(self, call: ToolCall) -> None:
        """Take note that the model's tool call is made now."""
        ...

    async def tool_answered(self, result: ToolResult, ms: int) -> None:
        """Take what a tool answered."""
        ...
