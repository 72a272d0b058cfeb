"""A whole answer: the response object and canon's Reply; and how status and finish reason say the same.

What the response repeats of its request, and all else that canon has no name for, is in the reply's extras.
"""

from collections.abc import Mapping
from time import time
from typing import Any, Final

import msgspec

from rini.canon import Choice, FinishReason, Refusal, Reply, Request, ToolCall, Usage, with_extras
from rini.wire.openai_chat.json_value import Json, as_list, as_object, decode, pop_integer, pop_object, pop_string
from rini.wire.openai_responses.fields import NAME, encode, own_extras
from rini.wire.openai_responses.output import ItemIds, decode_items, encode_items
from rini.wire.openai_responses.request import repeated_fields
from rini.wire.openai_responses.usage import decode_usage, encode_usage

_INCOMPLETE: Mapping[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "safety"}
_REASON: Mapping[FinishReason, str] = {
    "length": "max_output_tokens",
    "safety": "content_filter",
    "pause": "max_output_tokens",  # it is not done, and this is the word that says so
    "context_full": "max_output_tokens",
}
_UNFINISHED: Final = frozenset({"queued", "in_progress"})

# What the response object always has, as far as it is known. ``user`` and ``usage`` are left out where there is none: the API itself
# sends null, but its specification does not allow it.
_DEFAULTS: Json = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
}


class StoredAs(msgspec.Struct, frozen=True, kw_only=True):
    """What a stored response says beside its model's answer: its id, and what it ``repeats`` of its request.

    Times are seconds since 1970: when it was asked for, and when it was ``completed``; None: now. ``model`` is what was asked for.
    """

    id: str
    created: int
    model: str
    repeats: Json
    completed: int | None = None


def decode_reply(body: bytes) -> Reply:
    """Return the answer in ``body``. Raises MalformedError."""
    response = as_object(decode(body), "The answer")
    output = response.pop("output", None)
    parts = tuple(decode_items(as_list(output, "output")))
    fields = ResponseFields(response)
    reason, raw = fields.finish(calls=any(isinstance(part, ToolCall) for part in parts))
    return Reply(
        choices=(Choice(parts, reason, raw),),
        usage=fields.usage,
        id=fields.id,
        model=fields.model,
        created=fields.created,
        extras=with_extras(NAME, fields.rest),
    )


class ResponseFields:
    """The fields of a response object around its output, which are taken apart. Raises MalformedError."""

    def __init__(self, response: Json) -> None:
        response.pop("object", None)
        usage = response.pop("usage", None)
        self.usage: Usage | None = None if usage is None else decode_usage(usage)
        self.id = pop_string(response, "id") or None
        self.model = pop_string(response, "model") or None
        self.created = pop_integer(response, "created_at") or None
        self._status = pop_string(response, "status")
        details = pop_object(response, "incomplete_details") or {}
        self._reason = pop_string(details, "reason")
        if details:
            response["incomplete_details"] = details
        self.rest: Json = {name: value for name, value in response.items() if value is not None}

    def finish(self, *, calls: bool) -> tuple[FinishReason | None, str | None]:
        """Return why the answer ended, and OpenAI's word for that. ``calls``: the model waits for tools."""
        status = self._status
        match status:
            case "completed" | "complete" | None:
                return "tool_calls" if calls else "stop", status and "completed"
            case "incomplete":
                return _INCOMPLETE.get(self._reason or "", "other"), self._reason or status
            case _:
                return None if status in _UNFINISHED else "other", status


def encode_reply(reply: Reply, request: Request | None = None, stored: StoredAs | None = None) -> bytes:
    """Return ``reply`` as a whole answer's body: its first choice, for there is one answer only.

    Left out is what the format cannot express: another's signatures and opaque parts, sound without a transcript, files.
    """
    choice = reply.choices[0] if reply.choices else Choice()
    ids = ItemIds(reply.id) if stored is None else ItemIds(stored.id, own=True)
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    state = state_of(choice.finish_reason, choice.raw_finish_reason, refused=refused)
    message_status = "incomplete" if state["status"] == "incomplete" else "completed"
    if stored is not None:
        body = stored_envelope(reply.model, stored, state)
    else:
        body = envelope(reply.model, reply.created, ids, request)
        body |= own_extras(reply.extras) if request is None else own_extras(reply.extras) | repeated_fields(request)
        body |= with_details(state, body)
    body["output"] = encode_items(choice.parts, ids, message_status)
    if reply.usage is not None:
        body["usage"] = encode_usage(reply.usage)
    return encode(body)


def stored_envelope(model: str | None, stored: StoredAs, state: Json) -> Json:
    """Return the fields of a stored response but for its output and its usage."""
    body = envelope(model or stored.model, stored.created, ItemIds(stored.id), None) | stored.repeats | state
    if body["status"] == "completed":
        body["completed_at"] = stored.completed or max(int(time()), stored.created)
    return body


def envelope(model: str | None, created: int | None, ids: ItemIds, request: Request | None) -> Json:
    """Return the fields that every response object has."""
    named = model or (request.model if request is not None else "")
    # Without a time is only what broke off before the provider began: turns give every other answer one.
    fields: Json = {"id": ids.response, "object": "response", "created_at": created or int(time()), "model": named}
    return fields | _DEFAULTS


def state_of(reason: FinishReason | None, raw: str | None, *, refused: bool) -> Json:
    """Return ``status`` and ``incomplete_details`` for a finish reason.

    ``raw`` counts where it is OpenAI's own word for it. ``refused``: the model's own refusal stands in the answer.
    """
    word: Any = None
    if reason is None:
        status = raw if raw in _UNFINISHED else "incomplete"
    elif raw is not None and _INCOMPLETE.get(raw) == reason:
        status, word = "incomplete", raw
    elif reason == "other" and raw in {"cancelled", "failed", "incomplete"}:
        status = raw
    elif reason == "refusal" and not refused:
        status, word = "incomplete", "content_filter"
    else:
        word = _REASON.get(reason)
        status = "completed" if word is None else "incomplete"
    return {"status": status, "incomplete_details": None if word is None else {"reason": word}}


def with_details(state: Json, body: Json) -> Json:
    """Return ``state`` with what else a provider said of why the answer is incomplete."""
    known = body.get("incomplete_details")
    if type(known) is dict and state["incomplete_details"] is not None:
        return {**state, "incomplete_details": {**known, **state["incomplete_details"]}}
    return state


def read_response(value: Any) -> tuple[ResponseFields, list[Any]]:
    """Return the fields of a response object in a stream, and its output items. Raises MalformedError."""
    response = as_object(value, "response")
    output = response.pop("output", None)
    return ResponseFields(response), as_list(output or [], "output")
