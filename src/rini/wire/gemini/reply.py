"""A whole answer, in both directions.

An answer without candidates whose ``promptFeedback`` names a blockReason becomes a Reply with one empty choice that finished for
``safety`` without a raw reason, and goes back to no candidates.
"""

from typing import Any

import msgspec

from rini.canon import (
    Audio,
    Choice,
    FinishReason,
    Part,
    Reply,
    Thinking,
    ToolCall,
    ToolResult,
    extras_of,
    with_extras,
)
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.gemini.fields import WIRE, a_string, an_integer, an_object, dumps, is_object, loads, objects
from rini.wire.gemini.finish import BLOCKED, decode_finish, encode_finish, is_blocked
from rini.wire.gemini.part import attachments, decode_part, encode_part
from rini.wire.gemini.usage import decode_usage, encode_usage

_KNOWN = ("candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId")


def decode_reply(body: bytes) -> Reply:
    """Return the whole answer in ``body``. Raises MalformedError."""
    rest = dict(an_object(loads(body), "The answer"))
    if not any(name in rest for name in _KNOWN):
        raise MalformedError("The answer has none of an answer's fields.")
    model = _optional_string(rest.pop("modelVersion", None), "modelVersion")
    identity = _optional_string(rest.pop("responseId", None), "responseId")
    usage = rest.pop("usageMetadata", None)
    choices = tuple(_choice(candidate) for candidate in objects(rest.pop("candidates", None), "candidates"))
    if not choices and block_reason(rest):
        choices = (BLOCKED,)
    return Reply(
        choices=choices,
        usage=None if usage is None else decode_usage(usage),
        id=identity,
        model=model,
        extras=with_extras(WIRE, _present(rest)),
    )


def encode_reply(reply: Reply) -> bytes:
    """Return ``reply`` as a whole answer's body. What Gemini has no place for is left out."""
    extras = extras_of(reply.extras, WIRE)
    fields: dict[str, Any] = {}
    if not (len(reply.choices) == 1 and is_blocked(reply.choices[0]) and block_reason(extras)):
        fields["candidates"] = [_encode_choice(index, choice) for index, choice in enumerate(reply.choices)]
    if reply.usage is not None:
        fields["usageMetadata"] = encode_usage(reply.usage)
    if reply.model is not None:
        fields["modelVersion"] = reply.model
    if reply.id is not None:
        fields["responseId"] = reply.id
    fields.update(extras)
    try:
        return dumps(fields)
    except RecursionError:
        raise MalformedError("The answer is nested too deeply.") from None


def block_reason(fields: Any) -> Any:
    """Return why the prompt was blocked, ``None`` if it was not; ``fields`` are those of the whole answer."""
    feedback = fields.get("promptFeedback")
    return feedback.get("blockReason") if is_object(feedback) else None


def reply_parts(part: Part) -> list[dict[str, Any]]:
    """Return ``part`` of an answer as Gemini's parts: none where Gemini has no place for it."""
    match part:
        case ToolResult():
            return [encode_part(part, ""), *(fields for item in attachments(part) for fields in reply_parts(item))]
        case Audio() if part.transcript is not None:
            sound = msgspec.structs.replace(part, transcript=None)
            return [{"text": part.transcript}, *reply_parts(sound)]
        case Thinking() if part.redacted is not None and not part.text and part.signature is None:
            return []
        case _:
            pass
    try:
        return [encode_part(part, "")]
    except UnsupportedError:
        return []


def unreadable_call(part: Part) -> str | None:
    """Return what a finishMessage says of a call whose arguments are no JSON object; ``None`` for anything else."""
    if isinstance(part, ToolCall) and not reply_parts(part):
        return f"Malformed function call: {part.name}({part.arguments})"
    return None


def finish_fields(reason: FinishReason, raw: str | None, calls_lost: str | None) -> dict[str, Any]:
    """Return a candidate's finishReason, and its finishMessage where a call could not be written."""
    if calls_lost is None:
        return {"finishReason": encode_finish(reason, raw)}
    reason = "malformed" if reason == "tool_calls" else reason
    return {"finishReason": encode_finish(reason, raw), "finishMessage": calls_lost}


def _choice(candidate: dict[str, Any]) -> Choice:
    rest = dict(candidate)
    index = rest.pop("index", None)
    if index is not None:
        an_integer(index, "index")
    content = rest.pop("content", None)
    parts: tuple[Part, ...] = ()
    if content is not None:
        found = objects(an_object(content, "content").get("parts"), "parts")
        parts = tuple(decode_part(part) for part in found)
    finish = rest.pop("finishReason", None)
    reason, raw = (None, None) if finish is None else decode_finish(finish, parts)
    return Choice(parts, reason, raw, extras=with_extras(WIRE, _present(rest)))


def _encode_choice(index: int, choice: Choice) -> dict[str, Any]:
    parts = [fields for part in choice.parts for fields in reply_parts(part)]
    content: dict[str, Any] = {"role": "model"}
    if parts:
        content = {"parts": parts, "role": "model"}
    fields: dict[str, Any] = {"content": content}
    if choice.finish_reason is not None:
        lost = next(filter(None, map(unreadable_call, choice.parts)), None)
        fields.update(finish_fields(choice.finish_reason, choice.raw_finish_reason, lost))
    fields["index"] = index
    fields.update(extras_of(choice.extras, WIRE))
    return fields


def _optional_string(value: object, name: str) -> str | None:
    return None if value is None else a_string(value, name)


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
