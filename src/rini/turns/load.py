"""The first unit of work of a stored turn."""

from collections.abc import Container
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from rini.canon import Image, Message, Text
from rini.db import AnyRow
from rini.memory.selection import NOTHING, select
from rini.providers.vision import image_limits
from rini.responses import repository as responses
from rini.sessions import messages, repository
from rini.sessions.context import PAST_ALL_CUTS, keep_system_text, note_given, read_path, store_cut
from rini.sessions.marks import labels_of
from rini.turns import runs
from rini.turns.context import Conversation, Reader, fitted
from rini.turns.given import answering
from rini.turns.lasting import kept
from rini.turns.values import Ask, Loaded


class Busy(msgspec.Struct, frozen=True):
    """The session's current branch is being answered: nothing was stored."""

    answer_id: int


def load(
    connection: Connection,
    ask: Ask,
    reader: Reader,
    tools: int,
    worker_id: str,
    memory_tokens: int,
    known: Container[str],
) -> Loaded | Busy:
    """Read what the model is to know, at most ``memory_tokens`` of memory among it, and store the question and the place of its answer.

    ``tools`` is about how many tokens the declarations of the tools have. System texts whose digests are ``known`` are stored already.
    What is too long for the reader is left out, and where that is summarised (``wants_summary``) the cut is not stored yet.

    The tip of the branch moves to the answer when that is there: a question that failed is not in the way of the next one.
    Raises NotFoundError, InvalidRequestError, AnswerRunningError, ContextTooLongError, and NoVisionError where the model cannot read the images that the
    conversation has.
    """
    session = _session(connection, ask)
    if ask.continues_branch and (running := runs.holder(connection, session.id)) is not None:
        return Busy(running)
    above = _above(connection, ask, session)
    # Twice of what fits is read: what goes is to be summarised.
    policy = ask.context_policy or session.context_policy
    # What is to be sent whole begins at no cut, whoever made it.
    window = PAST_ALL_CUTS if policy == "refuse" else reader.window_tokens
    path = read_path(connection, above, window, 2 * reader.room)
    ask = msgspec.structs.replace(ask, messages=answering(ask.messages, path))
    memory = NOTHING
    if session.memory_mode != "disabled" and memory_tokens:
        memory = select(connection, ask.user_id, session.id, memory_tokens)
    system = "\n\n".join(text for text in (session.system_prompt, memory.text) if text)
    before = (Message("system", (Text(system),)), *ask.instructions) if system else ask.instructions
    conversation = Conversation(before=before, path=path, new=ask.messages, tools=tools)
    reading = fitted(conversation, reader, policy)
    if any(type(part) is Image for message in reading.conversation.said for part in message.parts):
        image_limits(ask.provider, ask.model)
    digest = keep_system_text(connection, ask.user_id, before, known)
    question, first_id = _store_question(connection, ask, session.id, above)
    cut_id = None if path.cut is None else path.cut.id
    answer_id = ask.completes
    if answer_id is not None:
        note_given(connection, answer_id, digest, cut_id)
    else:
        answer_id = _store_place(
            connection,
            ask,
            session,
            above if question is None else question.id,
            worker_id,
            system_digest=digest,
            cut_id=cut_id,
        )
    if reading.gone and reading.cut is not None and not reading.wants_summary:
        reading = reading.with_cut(store_cut(connection, ask.user_id, reading.cut, answer_id))
    if ask.response is not None:
        responses.insert(
            connection,
            ask.response,
            answer_id=answer_id,
            user_id=ask.user_id,
            first_input_id=first_id,
            previous_id=above,
        )
    return Loaded(
        session_id=session.id,
        reading=reading,
        question=question,
        answer_id=answer_id,
        worker_id=worker_id,
        head_id=session.head_message_id if ask.completes is None else ask.head_id,
        memory_ids=memory.ids,
        system_digest=digest,
        moves_head=ask.moves_head,
        background=ask.background,
        labels=() if ask.answers is None else tuple(labels_of(connection, [ask.answers]).get(ask.answers, ())),
    )


def _above(connection: Connection, ask: Ask, session: AnyRow) -> int | None:
    """Return the message below which the question comes; None: it begins the tree. Raises InvalidRequestError, AnswerRunningError."""
    if ask.at_root:
        return None
    if ask.completes is not None:
        return messages.get(connection, ask.user_id, ask.completes).parent_message_id
    return messages.parent_of(connection, session, ask.answers or ask.parent_message_id)


def _store_place(
    connection: Connection, ask: Ask, session: AnyRow, above: int | None, worker_id: str, **given: Any
) -> int:
    """Store the place of an answer, with what its model was ``given``, and that this worker gets it; return its id."""
    answer_id = messages.open_answer(
        connection,
        session_id=session.id,
        user_id=ask.user_id,
        parent_message_id=above,
        provider=ask.provider,
        model=ask.model,
        **given,
    )
    asked = kept(ask, session.id, session.head_message_id) if ask.background else None
    runs.begin(connection, answer_id, session.id, worker_id, holds_session=ask.continues_branch, ask=asked)
    return answer_id


def _session(connection: Connection, ask: Ask) -> AnyRow:
    new = ask.new_session
    if new is not None:
        return repository.create(
            connection, ask.user_id, new.alias, new.system_prompt, new.memory_mode, meta=new.metadata
        )
    session_id = ask.session_id
    if session_id is None and ask.parent_message_id is not None:
        session_id = responses.session_of(connection, ask.user_id, ask.parent_message_id)
    # Locked, so that the parent is not deleted meanwhile.
    return repository.get_for_turn(connection, ask.user_id, session_id or "")


def _store_question(
    connection: Connection, ask: Ask, session_id: str, above: int | None
) -> tuple[AnyRow | None, int | None]:
    """Store the messages that were asked, each below the one before; return the last, and the first's id.

    Without any the last is the one that is ``above``.
    """
    if not ask.messages:
        return None if above is None else messages.get(connection, ask.user_id, above), None
    first_id: int | None = None
    question: AnyRow | None = None
    for asked in ask.messages:
        file = ask.file if asked is ask.messages[-1] else None
        question = messages.add(
            connection,
            session_id=session_id,
            user_id=ask.user_id,
            role=asked.role,
            content=responses.shown_text(asked),
            parts=asked.parts,
            origin=asked.origin,
            parent_message_id=above,
            file_reference=file.reference if file else None,
            original_filename=file.filename if file else None,
            mime_type=file.mime_type if file else None,
        )
        above = question.id
        first_id = first_id or question.id
    return question, first_id
