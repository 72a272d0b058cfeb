"""Why an answer ended: Gemini's finish reasons and canon's.

Gemini has no word for "the model waits for a tool": it says STOP. So STOP is ``tool_calls`` when a call in the answer has no
result there (a result stands in the answer itself when Google's servers ran the tool).
"""

from collections.abc import Iterable
from typing import Any

from rini.canon import Choice, FinishReason, Part, ToolCall, ToolResult
from rini.wire.codec import MalformedError

_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "safety",
    "RECITATION": "safety",
    "LANGUAGE": "safety",
    "BLOCKLIST": "safety",
    "PROHIBITED_CONTENT": "safety",
    "SPII": "safety",
    "MODEL_ARMOR": "safety",
    "IMAGE_SAFETY": "safety",
    "IMAGE_PROHIBITED_CONTENT": "safety",
    "IMAGE_RECITATION": "safety",
    "MALFORMED_FUNCTION_CALL": "malformed",
    "MALFORMED_RESPONSE": "malformed",
    "UNEXPECTED_TOOL_CALL": "malformed",
    "CONTINUATION": "pause",
}

# What enum-encoding=int sends: the numbers of Candidate.FinishReason in google.ai.generativelanguage.v1beta.
_NUMBERS = {
    1: "STOP",
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    6: "LANGUAGE",
    7: "BLOCKLIST",
    8: "PROHIBITED_CONTENT",
    9: "SPII",
    10: "MALFORMED_FUNCTION_CALL",
    11: "IMAGE_SAFETY",
    12: "UNEXPECTED_TOOL_CALL",
    14: "IMAGE_PROHIBITED_CONTENT",
    17: "IMAGE_RECITATION",
}

_WORDS: dict[FinishReason, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "context_full": "MAX_TOKENS",
    "safety": "SAFETY",
    "refusal": "SAFETY",
    "malformed": "MALFORMED_FUNCTION_CALL",
    "pause": "OTHER",
    "other": "OTHER",
}


def decode_finish(value: object, parts: Iterable[Part]) -> tuple[FinishReason, str]:
    """Return canon's reason and the raw form of a ``finishReason``, a word or a number, at the end of ``parts``."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise MalformedError("finishReason is neither a string nor an integer.")
    raw = str(value)
    reason = _reason(raw)
    return ("tool_calls" if reason == "stop" and waits_for_tool(parts) else reason), raw


def encode_finish(reason: FinishReason, raw: str | None) -> Any:
    """Return the ``finishReason`` for ``reason``: ``raw`` where that is Gemini's own word for it."""
    if raw and (raw.isupper() or raw.isdecimal()):
        own = _reason(raw)
        if own == reason or (own == "stop" and reason == "tool_calls"):
            return int(raw) if raw.isdecimal() else raw
    return _WORDS[reason]


def waits_for_tool(parts: Iterable[Part]) -> bool:
    """Whether a tool was called to which no result follows."""
    waiting: list[ToolCall] = []
    for part in parts:
        if isinstance(part, ToolCall):
            waiting.append(part)
        elif isinstance(part, ToolResult):
            answered = next((call for call in waiting if (call.id, call.name) == (part.call_id, part.name)), None)
            if answered:
                waiting.remove(answered)
    return bool(waiting)


def is_blocked(choice: Choice) -> bool:
    """Whether ``choice`` stands for a prompt that was blocked: no candidate came, only a promptFeedback.

    A candidate that a filter cut always has a raw reason; this one has none.
    """
    return choice == BLOCKED


BLOCKED = Choice(finish_reason="safety")


def _reason(raw: str) -> FinishReason:
    return _REASONS.get(_NUMBERS.get(int(raw), "") if raw.isdecimal() else raw, "other")
