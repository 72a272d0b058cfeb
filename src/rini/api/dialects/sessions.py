"""The session of a dialect's request: by its headers any dialect becomes stateful, and only what is new is sent.

``x-rini-session`` names a session, or is ``new``; ``x-rini-parent`` names the message below which the new ones come, where that is not the tip of the
current branch; ``x-rini-if-busy`` is queue, reject or interrupt. The answer's headers name the session, the question and the answer.
"""

from typing import cast, get_args

import msgspec
from starlette.types import Scope

from rini.errors import InvalidRequestError
from rini.kit.ids import session_id_or_none
from rini.kit.parameters import LARGEST_ID
from rini.turns.context import Policy
from rini.turns.values import IfBusy, Loaded, NewSession

SESSION = b"x-rini-session"
PARENT = b"x-rini-parent"
IF_BUSY = b"x-rini-if-busy"
QUESTION = b"x-rini-question"
ANSWER = b"x-rini-answer"
CONTEXT = b"x-rini-context"
"""Says after which message the model began to read, where it was not given the whole conversation."""

NEW = "new"
_WAYS: tuple[str, ...] = get_args(IfBusy)


class InSession(msgspec.Struct, frozen=True, kw_only=True):
    """Where in which session a request comes. See rini.turns.values.Ask."""

    session_id: str | None = None
    new_session: NewSession | None = None
    parent_message_id: int | None = None
    if_busy: IfBusy = "queue"
    context_policy: Policy | None = None


def session_in(scope: Scope) -> InSession | None:
    """Return the session that a request's headers name; None: it is stateless. Raises InvalidRequestError."""
    told = {name: value for name, value in scope["headers"] if name.startswith(b"x-rini-")}
    if not told:
        return None
    session, parent, if_busy = (_text(told.get(name)) for name in (SESSION, PARENT, IF_BUSY))
    if session is None:
        for name, value in ((PARENT, parent), (IF_BUSY, if_busy)):
            if value is not None:
                raise InvalidRequestError(f"{name.decode()}: goes with {SESSION.decode()}.")
        return None
    if if_busy is not None and if_busy not in _WAYS:
        raise InvalidRequestError(f"{IF_BUSY.decode()}: must be one of {', '.join(_WAYS)}.")
    if session != NEW and session_id_or_none(session) is None:
        raise InvalidRequestError(f"{SESSION.decode()}: must be a session's id, or {NEW}.")
    if session == NEW and parent is not None:
        raise InvalidRequestError(f"{PARENT.decode()}: a new session has no messages.")
    return InSession(
        session_id=None if session == NEW else session,
        new_session=NewSession() if session == NEW else None,
        parent_message_id=None if parent is None else _message_id(parent),
        if_busy=cast("IfBusy", if_busy or "queue"),
    )


def told_of(loaded: Loaded) -> list[tuple[bytes, bytes]]:
    """Return the headers that name the session, the question and the answer, and say what was left out."""
    headers = [(SESSION, loaded.session_id.encode()), (ANSWER, b"%d" % loaded.answer_id)]
    if loaded.question is not None:
        headers.append((QUESTION, b"%d" % loaded.question.id))
    cut = loaded.reading.cut
    if cut is not None:
        summary = b"true" if cut.provider is not None else b"false"
        reason = b"" if cut.reason is None else b"; reason=" + cut.reason.encode()
        headers.append((CONTEXT, b"cut=%d; after=%d; summary=%s%s" % (cut.id or 0, cut.message_id, summary, reason)))
    return headers


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _message_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= LARGEST_ID):
        raise InvalidRequestError(f"{PARENT.decode()}: must be a message's id.")
    return int(text)
