"""What goes into a turn and what comes out of it."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from rini.canon import Event, Message, Reply
from rini.db import AnyRow
from rini.usage.ledger import UsageRecord


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks. With ``session_id`` the session's prompt and path go before ``messages`` and the turn is stored.

    ``params`` are call parameters by a client's names; ``key_id`` picks one of several keys; ``parent_message_id`` another
    place in the tree than the current branch's tip.
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


class Loaded(msgspec.Struct, frozen=True):
    """What the turn found: the messages that come before, and the question as it was stored."""

    session_id: str
    context: tuple[Message, ...]
    question: AnyRow


class Answer(msgspec.Struct, frozen=True):
    """A finished turn. The rows are None in a stateless one."""

    reply: Reply
    record: UsageRecord
    question: AnyRow | None = None
    answer: AnyRow | None = None


class Listener(Protocol):
    """Whoever follows a streamed answer."""

    async def begin(self, loaded: Loaded | None) -> None:
        """Take note that the provider began to answer."""
        ...

    async def events(self, events: list[Event]) -> None:
        """Take more of the answer, in the provider's order."""
        ...
