"""/messages/{message_id}/context: what a model was given to read."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from rini.accounts.dependencies import CurrentUser
from rini.db.dependency import DatabaseDependency
from rini.inference.window import Windows
from rini.kit.parameters import RowId
from rini.providers.catalog import provider_named
from rini.turns.inspection import Inspected, Shown, inspected

router = APIRouter()

CountedBy = Literal["provider", "estimate"]


class ContextMessage(BaseModel):
    """A message as it went to the model. ``message_id`` is null where it stands for messages that were left out.

    ``parts`` are its parts, each with its ``type``; stored images are named by ``rini:`` references.
    """

    message_id: int | None
    role: str
    parts: list[dict[str, Any]]
    tokens: int
    counted_by: CountedBy


class ContextCut(BaseModel):
    """Where the path begins: what comes up to ``after_message_id`` was left out, and ``summary`` stands for it.

    ``reason`` says why there is no summary of all of it although the session wants one: an error's code. ``provider`` and ``model`` wrote
    the summary; null: it is none of a model's. ``context_tokens`` is the context for which the cut was made. ``id`` is null where the
    question's turn would make the cut, and the summary is not written yet.
    """

    id: int | None
    after_message_id: int
    summary: str | None
    reason: str | None
    provider: str | None
    model: str | None
    context_tokens: int | None
    summary_tokens: int


class MessageContext(BaseModel):
    """What was sent for an answer (``sent``), or what would be sent now of a question.

    ``tokens`` are those of all of it; ``context_tokens`` is how much the model reads at once, ``room_tokens`` what a prompt may have of
    that beside its answer; null: it is not known.
    """

    message_id: int
    session_id: str
    sent: bool
    context_policy: Literal["refuse", "truncate", "compact"]
    provider: str | None
    model: str | None
    system: str | None
    cut: ContextCut | None
    messages: list[ContextMessage]
    tokens: int
    counted_by: CountedBy
    context_tokens: int | None
    room_tokens: int | None


@router.get("/messages/{message_id}/context", tags=["messages"], summary="Read what the model was given")
def read_context(
    message_id: RowId,
    user_id: CurrentUser,
    database: DatabaseDependency,
    request: Request,
    provider: Annotated[
        str | None, Query(max_length=64, description="Of a question: who would be asked.", examples=["openai"])
    ] = None,
    model: Annotated[
        str | None,
        Query(max_length=256, description="Of a question: which model would be asked.", examples=["gpt-4o-mini"]),
    ] = None,
) -> MessageContext:
    """Return what the model of an answer was given to read; of a question, what would be sent now.

    Without a provider or a model that is for the one that answered there last.
    """
    if provider is not None:
        provider_named(provider)
    memory_tokens: int = request.app.state.settings.memory_tokens
    windows: Windows = request.app.state.windows
    found = database.read_sync(inspected, user_id, message_id, provider, model, memory_tokens, windows)
    return _context(message_id, found)


def _context(message_id: int, found: Inspected) -> MessageContext:
    return MessageContext(
        message_id=message_id,
        session_id=found.session_id,
        sent=found.sent,
        context_policy=found.policy,
        provider=found.provider,
        model=found.model,
        system=found.system,
        cut=_cut(found),
        messages=[_message(shown) for shown in found.messages],
        tokens=found.tokens,
        counted_by=_by(found.counted),
        context_tokens=found.context_tokens,
        room_tokens=found.room_tokens,
    )


def _cut(found: Inspected) -> ContextCut | None:
    cut = found.cut
    if cut is None:
        return None
    return ContextCut(
        id=cut.id,
        after_message_id=cut.message_id,
        summary=cut.summary,
        reason=cut.reason,
        provider=cut.provider,
        model=cut.model,
        context_tokens=cut.window_tokens,
        summary_tokens=cut.size_tokens,
    )


def _message(shown: Shown) -> ContextMessage:
    message = shown.message
    return ContextMessage(
        message_id=shown.message_id,
        role=message.role,
        parts=msgspec.to_builtins(message.parts),
        tokens=shown.tokens,
        counted_by=_by(shown.counted),
    )


def _by(counted: bool) -> CountedBy:  # noqa: FBT001  # two names of one fact
    return "provider" if counted else "estimate"
