"""The first unit of work of a stored turn."""

import msgspec
from sqlalchemy.engine import Connection

from rini.canon import Image, Message, Text, ToolResult, plain_text
from rini.db import AnyRow
from rini.memory.selection import NOTHING, select
from rini.providers.vision import image_limits
from rini.sessions import messages, repository
from rini.turns import runs
from rini.turns.history import takable
from rini.turns.values import Ask, Loaded


class Busy(msgspec.Struct, frozen=True):
    """The session's current branch is being answered: nothing was stored."""

    answer_id: int


def load(connection: Connection, ask: Ask, worker_id: str, memory_tokens: int) -> Loaded | Busy:
    """Read what the model is to know, at most ``memory_tokens`` of memory among it, and store the question and the place of its answer.

    The tip of the branch moves to the answer when that is there: a question that failed is not in the way of the next one.
    Raises NotFoundError, InvalidRequestError, AnswerRunningError, and NoVisionError where the model cannot read the images that the
    conversation has.
    """
    session = _session(connection, ask)
    if ask.continues_branch and (running := runs.holder(connection, session.id)) is not None:
        return Busy(running)
    above = None if ask.at_root else messages.parent_of(connection, session, ask.answers or ask.parent_message_id)
    conversation = takable((*messages.context(connection, above), *ask.messages))
    if any(type(part) is Image for message in conversation for part in message.parts):
        image_limits(ask.provider, ask.model)
    memory = NOTHING
    if session.memory_mode != "disabled" and memory_tokens:
        memory = select(connection, ask.user_id, session.id, memory_tokens)
    system = "\n\n".join(text for text in (session.system_prompt, memory.text) if text)
    before = (Message("system", (Text(system),)), *ask.instructions) if system else ask.instructions
    question = _store_question(connection, ask, session.id, above)
    answer_id = messages.open_answer(
        connection,
        session_id=session.id,
        user_id=ask.user_id,
        parent_message_id=above if question is None else question.id,
        provider=ask.provider,
        model=ask.model,
    )
    runs.begin(connection, answer_id, session.id, worker_id, holds_session=ask.continues_branch)
    return Loaded(
        session_id=session.id,
        messages=(*before, *conversation),
        question=question,
        answer_id=answer_id,
        head_id=session.head_message_id,
        memory_ids=memory.ids,
        moves_head=ask.moves_head,
    )


def _session(connection: Connection, ask: Ask) -> AnyRow:
    new = ask.new_session
    if new is not None:
        return repository.create(
            connection, ask.user_id, new.alias, new.system_prompt, new.memory_mode, meta=new.metadata
        )
    # Locked, so that the parent is not deleted meanwhile.
    return repository.get_locked(connection, ask.user_id, ask.session_id or "")


def _store_question(connection: Connection, ask: Ask, session_id: str, above: int | None) -> AnyRow | None:
    """Store the messages that were asked, each below the one before, and return the last; without any the one that is ``above``."""
    if not ask.messages:
        return None if above is None else messages.get(connection, ask.user_id, above)
    question: AnyRow | None = None
    for asked in ask.messages:
        file = ask.file if asked is ask.messages[-1] else None
        question = messages.add(
            connection,
            session_id=session_id,
            user_id=ask.user_id,
            role=asked.role,
            content=_shown(asked),
            parts=asked.parts,
            origin=asked.origin,
            parent_message_id=above,
            file_reference=file.reference if file else None,
            original_filename=file.filename if file else None,
            mime_type=file.mime_type if file else None,
        )
        above = question.id
    return question


def _shown(message: Message) -> str:
    """Return what a reader sees of a message: its text, and of a tool's results theirs."""
    results = [plain_text(part.content) for part in message.parts if isinstance(part, ToolResult)]
    return "\n".join(text for text in (*results, plain_text(message.parts)) if text)
