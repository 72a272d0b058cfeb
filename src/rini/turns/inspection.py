"""What a model was given to read for an answer, and what one would be given for a question now."""

from contextlib import suppress

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.canon import Message, Text
from rini.db import AnyRow
from rini.errors import ContextTooLongError
from rini.inference.estimate import conversation_tokens
from rini.inference.window import Windows
from rini.memory.selection import NOTHING, select
from rini.sessions import messages, repository
from rini.sessions.context import PAST_ALL_CUTS, Cut, Path, read_path, read_path_of, system_text
from rini.sessions.tables import messages as table
from rini.turns.context import Conversation, Policy, Reader, fitted, size_of, standing_for
from rini.turns.history import taken


class Shown(msgspec.Struct, frozen=True):
    """A message as it goes to the model, and which stored one it is of; None: of none, it stands for those that are left out.

    ``counted`` says that the provider counted its ``tokens``.
    """

    message_id: int | None
    message: Message
    tokens: int
    counted: bool


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. ``sent``: this is what was sent for the answer; else what would be sent now.

    ``context_tokens`` is the model's context and ``room_tokens`` what a prompt may have of it; None: the context is not known.
    """

    sent: bool
    session_id: str
    policy: Policy
    provider: str | None
    model: str | None
    system: str | None
    cut: Cut | None
    messages: tuple[Shown, ...]
    tokens: int
    counted: bool
    context_tokens: int | None
    room_tokens: int | None


def inspected(
    connection: Connection,
    user_id: int,
    message_id: int,
    provider: str | None,
    model: str | None,
    memory_tokens: int,
    windows: Windows,
) -> Inspected:
    """Return what was sent for the answer ``message_id``, or of any other message what would be sent to ``model`` now.

    Without a provider or a model that is the one that answered there last. Raises NotFoundError.
    """
    row = messages.get(connection, user_id, message_id)
    session = repository.get(connection, user_id, row.session_id)
    sent = row.role == "assistant" and row.provider is not None
    if sent:
        provider, model = row.provider, row.model_asked
        reader = _reader(windows, user_id, provider, model)
        path = read_path_of(connection, row.parent_message_id, row.cut_id, 2 * reader.room)
        system = system_text(connection, user_id, row.system_digest)
    else:
        if provider is None or model is None:
            answered_by, answered = _last_asked(connection, row)
            provider = provider or answered_by
            model = model or (answered if provider == answered_by else None)
        reader = _reader(windows, user_id, provider, model)
        window = PAST_ALL_CUTS if session.context_policy == "refuse" else reader.window_tokens
        path = read_path(connection, row.id, window, 2 * reader.room)
        remembered = NOTHING
        if session.memory_mode != "disabled" and memory_tokens:
            remembered = select(connection, user_id, session.id, memory_tokens)
        system = "\n\n".join([text for text in (session.system_prompt, remembered.text) if text]) or None
    before = (Message("system", (Text(system),)),) if system else ()
    conversation = Conversation(before=before, path=path)
    if not sent:
        # What cannot be made to fit is refused: all that was read of it is shown.
        with suppress(ContextTooLongError):
            conversation = fitted(conversation, reader, session.context_policy).conversation
    path = conversation.path
    size = size_of(conversation, reader.provider, reader.model)
    counted = row.prompt_tokens if sent and not _used_tools(row) else None
    return Inspected(
        sent=sent,
        session_id=session.id,
        policy=session.context_policy,
        provider=provider,
        model=model,
        system=system,
        cut=path.cut,
        messages=_shown(path),
        tokens=size.tokens if counted is None else counted,
        counted=size.counted if counted is None else True,
        context_tokens=reader.window_tokens,
        room_tokens=None if reader.window is None else reader.room,
    )


def _reader(windows: Windows, user_id: int, provider: str | None, model: str | None) -> Reader:
    provider, model = provider or "", model or ""
    return Reader(provider=provider, model=model, window=windows.of(user_id, provider, model))


def _last_asked(connection: Connection, row: AnyRow) -> tuple[str | None, str | None]:
    """Return the model that answered a message last, or else the one that answered last before it."""
    here = sa.or_(table.c.parent_message_id == row.id, table.c.id == row.parent_message_id)
    query = sa.select(table.c.provider, table.c.model_asked).where(here, table.c.provider.is_not(None))
    found = connection.execute(query.order_by(table.c.id.desc()).limit(1)).first()
    return (None, None) if found is None else (found.provider, found.model_asked)


def _shown(path: Path) -> tuple[Shown, ...]:
    said: list[Message] = []
    of: list[tuple[int | None, int | None]] = []
    for step in path.steps:
        counted = step.completion_tokens if len(step.messages) == 1 else None
        said += step.messages
        of += [(step.message_id, counted)] * len(step.messages)
    full = standing_for(path.cut, tuple(said))
    if len(full) > len(said):
        added = next((place for place, message in enumerate(said) if full[place] is not message), len(said))
        of.insert(added, (None, None))
    shown: list[Shown] = []
    for place, message in taken(full):
        message_id, counted = of[place]
        tokens = conversation_tokens((message,)) if counted is None else counted
        shown.append(Shown(message_id, message, tokens, counted is not None))
    return tuple(shown)


def _used_tools(row: AnyRow) -> bool:
    return row.parts is not None and '"tool_result"' in row.parts
