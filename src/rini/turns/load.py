"""The first unit of work of a stored turn."""

import msgspec
from sqlalchemy.engine import Connection

from rini.canon import Message, Text, ToolCall, ToolResult, plain_text
from rini.memory.selection import select
from rini.sessions import messages, repository
from rini.turns.values import Ask, Loaded


def load(connection: Connection, ask: Ask, memory_tokens: int) -> Loaded:
    """Read what the model is to know, at most ``memory_tokens`` of memory among it, and store the question.

    The question is not yet the tip of the branch: that is its answer, once it is there. So of two questions at once each keeps its
    own answer, and a question that failed is not in the way of the next one. Raises NotFoundError, InvalidRequestError.
    """
    # Locked, so that the parent is not deleted meanwhile.
    session = repository.get_locked(connection, ask.user_id, ask.session_id or "")
    parent = messages.parent_of(connection, session, ask.parent_message_id)
    before = _answered(messages.context(connection, parent), ask.messages)
    system = session.system_prompt
    memory_ids: tuple[int, ...] = ()
    if session.memory_mode != "disabled" and memory_tokens:
        memory = select(connection, ask.user_id, session.id, memory_tokens)
        memory_ids = memory.ids
        system = "\n\n".join(text for text in (system, memory.text) if text)
    if system:
        before = (Message("system", (Text(system),)), *before)
    asked = ask.messages[-1]
    file = ask.file
    question = messages.add(
        connection,
        session_id=session.id,
        user_id=ask.user_id,
        role=asked.role,
        content=plain_text(asked.parts),
        parts=asked.parts,
        parent_message_id=parent,
        file_reference=file.reference if file else None,
        original_filename=file.filename if file else None,
        mime_type=file.mime_type if file else None,
    )
    return Loaded(session.id, before, question, memory_ids)


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
