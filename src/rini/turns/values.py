"""What goes into a turn and what comes out of it."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from rini.canon import Event, Message, Part, Reply, ToolCall, ToolResult
from rini.db import AnyRow
from rini.inference.outgoing import Outgoing
from rini.responses.repository import Record
from rini.turns.context import Policy, Reading
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
    Of a stored turn so many leading messages are ``instructions`` of this turn alone; None: all system messages with which it begins.
    """

    codec: Codec
    body: bytes
    stream: bool
    passes: bytes | None = None
    headers: Mapping[str, str] = {}
    instructions: int | None = None


IfBusy = Literal["queue", "reject", "interrupt"]
"""What a question does that continues a branch which is just being answered: wait, fail, or end that answer."""


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that is made for a turn. ``metadata`` is a JSON object as text."""

    alias: str | None = None
    system_prompt: str | None = None
    memory_mode: str = "auto"
    metadata: str | None = None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks. With ``session_id``, or a ``new_session``, its prompt, memory and path go before ``messages`` and the turn is stored.

    A ``parent_message_id`` without either is an answer, in whichever of the user's sessions: a response that this one follows.

    ``params`` are call parameters by a client's names; ``key_id`` picks one of several keys; ``parent_message_id`` another
    place in the tree than the current branch's tip. ``tool_choice`` offers the user's tools: ``auto``, ``required`` or one's name.
    ``image`` is looked at together with the last message. ``given`` stands in the place of messages and params.

    ``at_root`` begins the tree anew. ``answers`` is a stored question that gets one more answer; then there are no messages. ``instructions`` are system messages that
    go to the model in this turn and are not stored. ``moves_head`` makes the answer the branch's tip. One in the ``background`` does not end with its client, nor with its process: then another one
    ``completes`` the answer, which was begun when the head was at ``head_id``. ``context_policy`` is for this turn
    what the session's is for others; a call that is not stored is ``booked_to`` a session. ``response`` is what is kept of a request for
    one of OpenAI's stored responses.
    """

    user_id: int
    provider: str
    model: str
    messages: tuple[Message, ...]
    endpoint: str
    session_id: str | None = None
    new_session: NewSession | None = None
    params: Mapping[str, Any] = {}
    key_id: int | None = None
    parent_message_id: int | None = None
    at_root: bool = False
    request_id: str | None = None
    tool_choice: str | None = None
    image: Upload | None = None
    file: StoredFile | None = None
    given: Given | None = None
    answers: int | None = None
    instructions: tuple[Message, ...] = ()
    if_busy: IfBusy = "queue"
    moves_head: bool = True
    background: bool = False
    completes: int | None = None
    head_id: int | None = None
    context_policy: Policy | None = None
    booked_to: str | None = None
    response: Record | None = None

    @property
    def stored(self) -> bool:
        """Whether the turn is stored."""
        places = (self.session_id, self.new_session, self.parent_message_id)
        return any(place is not None for place in places)

    @property
    def continues_branch(self) -> bool:
        """Whether the question comes at the tip of a session's current branch, wherever that is when it is its turn."""
        named = self.at_root or any(
            place is not None for place in (self.parent_message_id, self.answers, self.completes)
        )
        return self.session_id is not None and not named


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What the turn found: what the model is to read, the question as it was stored, the answer's id, and which worker gets it.

    ``system_digest`` names the stored text of the system messages. ``head_id`` is where the session's head was; ``question`` is None where there is nothing above the answer.
    """

    session_id: str
    reading: Reading
    question: AnyRow | None
    answer_id: int
    worker_id: str
    head_id: int | None
    memory_ids: tuple[int, ...] = ()
    system_digest: str | None = None
    moves_head: bool = True
    background: bool = False
    labels: tuple[str, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """All that the model is to read."""
        return self.reading.conversation.messages


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
