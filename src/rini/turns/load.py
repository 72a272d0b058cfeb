"""The first unit of work of a stored turn."""

import msgspec
from sqlalchemy.engine import Connection

from rini.canon import Message, Text, ToolCall, ToolResult, plain_text
from rini.sessions import messages, repository
from rini.turns.values import Ask, Loaded


def load(connection: Connection, ask: Ask) -> Loaded:
    """Read what the model is to know and store the question.

    The question is not yet the tip of the branch: that is its answer, once it is there. So of two questions at once each keeps its
    own answer, and a question that failed is not in the way of the next one. Raises NotFoundError, InvalidRequestError.
    """
    session = repository.get(connection, ask.user_id, ask.session_id or "")
    parent = messages.parent_of(connection, session, ask.parent_message_id)
    before = _answered(messages.context(connection, parent), ask.messages)
    if session.system_prompt:
        before = (Message("system", (Text(session.system_prompt),)), *before)
    asked = ask.messages[-1]
    question = messages.add(
        connection,
        session_id=session.id,
        user_id=ask.user_id,
        role=asked.role,
        content=plain_text(asked.parts),
        parts=asked.parts,
        parent_message_id=parent,
    )
    return Loaded(session.id, before, question)


def _answered(before: tuple[Message, ...], asked: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return ``before`` without the tool calls that nobody answered: providers refuse a conversation that has them."""
    found: list[Message] = []
    results: set[str] = set()
    for message in reversed((*before, *asked)):
        kept = message
        if message.role != "assistant":
            results.update(part.call_id for part in message.parts if isinstance(part, ToolResult))
        else:
            parts = tuple(part for part in message.parts if not isinstance(part, ToolCall) or part.id in results)
            if len(parts) < len(message.parts):
                kept = msgspec.structs.replace(message, parts=parts)
            results = set()
        if kept.parts:
            found.append(kept)
    found.reverse()
    return tuple(found[: len(found) - len(asked)])
