"""The first unit of work of a stored turn."""

from sqlalchemy.engine import Connection

from rini.canon import Image, Message, Text, plain_text
from rini.memory.selection import select
from rini.providers.vision import image_limits
from rini.sessions import messages, repository
from rini.turns.history import takable
from rini.turns.values import Ask, Loaded


def load(connection: Connection, ask: Ask, memory_tokens: int) -> Loaded:
    """Read what the model is to know, at most ``memory_tokens`` of memory among it, and store the question.

    The question is not yet the tip of the branch: that is its answer, once it is there. So of two questions at once each keeps its
    own answer, and a question that failed is not in the way of the next one. Raises NotFoundError, InvalidRequestError, and
    NoVisionError where the model cannot read the images that the conversation has.
    """
    # Locked, so that the parent is not deleted meanwhile.
    session = repository.get_locked(connection, ask.user_id, ask.session_id or "")
    parent = messages.parent_of(connection, session, ask.parent_message_id)
    before = takable(messages.context(connection, parent))
    if any(type(part) is Image for message in before for part in message.parts):
        image_limits(ask.provider, ask.model)
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
