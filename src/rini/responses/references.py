"""What a stored request names of its session, for copies of it elsewhere: these names follow from ids, and a copy has others."""

from typing import Any

import msgspec

from rini.responses.ids import answer_in, conversation_id, response_id

Json = dict[str, Any]

_PREVIOUS, _CONVERSATION = "previous_response_id", "conversation"
_object = msgspec.json.Decoder(Json)


def taken_apart(request: str) -> tuple[Json, int | None]:
    """Return a stored request (rini.responses.tables) without what it names, and the answer that was its ``previous_response_id``."""
    fields = _object.decode(request)
    fields.pop(_CONVERSATION, None)
    previous = fields.pop(_PREVIOUS, None)
    return fields, answer_in(previous) if isinstance(previous, str) else None


def put_together(fields: Json, previous_id: int | None, session_id: str | None) -> str:
    """Return a request as it is stored. ``previous_id`` is the answer that it names, ``session_id`` the conversation; None: it names none."""
    named: Json = {}
    if previous_id is not None:
        named[_PREVIOUS] = response_id(previous_id)
    if session_id is not None:
        named[_CONVERSATION] = {"id": conversation_id(session_id)}
    return msgspec.json.encode(fields | named).decode()
