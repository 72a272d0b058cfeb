"""Whole answers, both ways."""

import re
from collections.abc import Mapping

from rini.canon import (
    Audio,
    Choice,
    Document,
    FinishReason,
    Image,
    Opaque,
    Part,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
    extras_of,
)
from rini.wire.anthropic.blocks import (
    block_of,
    decode_block,
    document_block,
    image_block,
    thinking_block,
    tool_use_block,
)
from rini.wire.anthropic.fields import (
    WIRE,
    Json,
    as_list,
    as_object,
    dump,
    load,
    object_or_none,
    optional_text,
    other_fields,
)
from rini.wire.anthropic.usage import decode_usage, encode_usage
from rini.wire.codec import UnsupportedError


def decode_reply(body: bytes) -> Reply:
    """Return the whole answer in ``body``. Raises MalformedError."""
    message = as_object(load(body), "The answer")
    blocks = as_list(message.get("content"), "content")
    usage = message.get("usage")
    raw = optional_text(message, "stop_reason", "The answer")
    choice = Choice(
        parts=tuple(decode_block(block, f"content[{position}]") for position, block in enumerate(blocks)),
        finish_reason=finish_reason(raw),
        raw_finish_reason=raw,
        stop_sequence=optional_text(message, "stop_sequence", "The answer"),
    )
    return Reply(
        (choice,),
        usage=None if usage is None else decode_usage(as_object(usage, "usage")),
        id=optional_text(message, "id", "The answer") or None,
        model=optional_text(message, "model", "The answer") or None,
        extras=other_fields(message, MESSAGE),
    )


def encode_reply(reply: Reply) -> bytes:
    """Return ``reply`` as a whole answer's body: its first choice, for there is one answer only.

    What the format cannot express of another's reply (sound without a transcript, a film, opaque parts) is left out.
    """
    choice = reply.choices[0] if reply.choices else Choice()
    blocks = (reply_block(part, reply.id, position) for position, part in enumerate(choice.parts))
    calls = any(isinstance(part, ToolCall) for part in choice.parts)
    message = envelope(reply.id, reply.model)
    message["content"] = [block for block in blocks if block is not None]
    message["stop_reason"] = stop_reason(choice.finish_reason, choice.raw_finish_reason, calls=calls)
    message["stop_sequence"] = choice.stop_sequence
    message["usage"] = encode_usage(reply.usage)
    message.update(extras_of(reply.extras, WIRE))
    return dump(message)


def envelope(id_: str | None, model: str | None) -> Json:
    """Return the fields that every answer has, without its content."""
    return {"id": id_ or "", "type": "message", "role": "assistant", "model": model or ""}


def reply_block(part: Part, reply_id: str | None, position: int) -> Json | None:
    """Return the block of a part of an answer; None for one that the format cannot express."""
    match part:
        case Text() | Refusal():
            return block_of("text", {"text": part.text}, part.extras)
        case Thinking():
            return thinking_block(part)
        case ToolCall():
            return tool_use_block(call_id(part, reply_id, position), part)
        case Opaque():
            return object_or_none(part.value) if part.wire == WIRE else None
        case Image() | Document():
            try:
                return image_block(part, "image") if isinstance(part, Image) else document_block(part, "document")
            except UnsupportedError:
                return None
        case Audio():
            return block_of("text", {"text": part.transcript}, None) if part.transcript else None
        case ToolResult() | Video():
            return None


def call_id(part: ToolCall, reply_id: str | None, position: int) -> str:
    """Return the id of a call: a new one where the provider gave none, for its result must name it."""
    return part.id or f"toolu_{_NO_ID.sub('_', reply_id or 'call')}_{position}"


def finish_reason(raw: str | None) -> FinishReason | None:
    """Return canon's word for a stop_reason."""
    return None if raw is None else _FINISH_REASONS.get(raw, "other")


def stop_reason(reason: FinishReason | None, raw: str | None, *, calls: bool) -> str | None:
    """Return the stop_reason for canon's word; ``raw`` where that is this format's own."""
    if reason is None:
        return None
    if raw is not None and (_FINISH_REASONS.get(raw) == reason or (reason == "other" and _OWN_WORD.fullmatch(raw))):
        return raw
    # A client runs the tools that it was asked for only when it is told so.
    if reason == "stop" and calls:
        return "tool_use"
    return _STOP_REASONS[reason]


MESSAGE = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})
"""The fields of an answer that canon names."""

_NO_ID = re.compile(r"[^a-zA-Z0-9_-]+")
_OWN_WORD = re.compile(r"[a-z]+(_[a-z]+)*")

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "compaction": "pause",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_full",
}
_STOP_REASONS: Mapping[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
    "safety": "refusal",
    "pause": "pause_turn",
    "context_full": "model_context_window_exceeded",
    "malformed": "end_turn",
    "other": "end_turn",
}
