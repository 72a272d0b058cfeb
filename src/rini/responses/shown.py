"""A stored answer as the response object of OpenAI's API: one that was asked for there, or any other."""

from typing import Any

import msgspec

from rini.canon import Refusal, Usage
from rini.responses.ids import response_id
from rini.responses.items import Json, items_of, parts_of
from rini.responses.repository import Found
from rini.wire.openai_responses.reply import StoredAs, state_of, stored_envelope
from rini.wire.openai_responses.usage import encode_usage

_object = msgspec.json.Decoder(dict[str, Any])

ENDED = {"cancelled": "cancelled", "client_left": "incomplete"}
"""Why an answer is partial where that is no failure, and the status of such a response."""

_CODES = {
    "provider_rate_limited": "rate_limit_exceeded",
    "context_too_long": "invalid_prompt",
    "provider_rejected_request": "invalid_prompt",
    "refused_by_safety": "invalid_prompt",
}


def stored_as(found: Found) -> StoredAs:
    """Return what a response says beside its model's answer."""
    answer, record = found
    created = answer.created_at.timestamp()
    repeats: Json = {"store": True} if record is None else _object.decode(record.request)
    took = answer.response_time_ms
    return StoredAs(
        id=response_id(answer.id),
        created=int(created),
        model=answer.model_asked or "",
        repeats=repeats,
        completed=None if took is None else int(created + took / 1000),
    )


def shown(found: Found, usage: Usage | None, *, proofs: bool, is_queued: bool = False) -> Json:
    """Return the response. ``proofs``: with encrypted thoughts. ``is_queued``: it waits for its model, see ``may_be_queued``."""
    answer = found.answer
    state = {"status": "queued"} if is_queued else state_of_stored(found)
    body = stored_envelope(answer.model_used, stored_as(found), state)
    body["output"] = [item.value for item in items_of(answer, proofs=proofs)]
    if usage is not None and body["status"] not in ("in_progress", "queued"):
        body["usage"] = encode_usage(usage)
    return body


def may_be_queued(found: Found) -> bool:
    """Tell whether the response is one in the background that runs: until its model begins it is queued."""
    return found.record is not None and bool(found.record.background) and found.answer.status == "running"


def state_of_stored(found: Found) -> Json:
    """Return the fields of a response that tell how it ended, or that it has not yet."""
    answer, record = found
    if record is not None and record.error is not None and answer.status not in ("running", "complete"):
        return {"status": "failed", "error": _object.decode(record.error)}
    if answer.status == "running":
        return {"status": "in_progress"}
    reason = answer.status_reason
    if answer.status == "complete":
        refused = any(isinstance(part, Refusal) for part in parts_of(answer))
        return state_of(answer.finish_reason or "stop", None, refused=refused)
    if reason in ENDED:
        return {"status": ENDED[reason]}
    message = f"The answer broke off: {reason or 'its reason is not known'}."
    return {"status": "failed", "error": error_of(reason, message)}


def error_of(reason: str | None, message: str) -> Json:
    """Return the error object of a response whose answer broke off, with what the client was told."""
    return {"code": _CODES.get(reason or "", "server_error"), "message": message}
