"""A whole answer's body to canon's Reply, and back; and the words for why an answer ended.

In a choice's extras the fields of its ``message`` are named ``message.annotations`` and so on, those of its ``logprobs``
``logprobs.content``: so the lists of a stream's chunks add up to what the whole answer has.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rini.canon import (
    Audio,
    Choice,
    FinishReason,
    Image,
    Opaque,
    Part,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
    extras_of,
    with_extras,
)
from rini.wire.codec import MalformedError
from rini.wire.openai_chat.json_value import (
    NAME,
    Json,
    as_object,
    decode,
    encode,
    left_as_extras,
    own_extras,
    pop_integer,
    pop_list,
    pop_object,
    pop_string,
)
from rini.wire.openai_chat.message import decode_audio, decode_thinking, encode_thinking
from rini.wire.openai_chat.part import decode_image, decode_reply_content, encode_reply_image
from rini.wire.openai_chat.tool import decode_tool_calls, encode_legacy_call, encode_tool_call, is_legacy
from rini.wire.openai_chat.usage import decode_usage, encode_usage

# OpenAI's own words. They come back as they were.
_OFFICIAL: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "safety",
}
# Words of compatible servers. They travel in the extras as well, since an SDK knows the official ones only.
_OTHERS: Mapping[str, FinishReason] = {
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_length": "context_full",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "safety": "safety",
    "refusal": "refusal",
    "malformed_function_call": "malformed",
}
_WORD: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "stop_sequence": "stop",
    "refusal": "content_filter",
    "safety": "content_filter",
    "pause": "length",  # it is not done, and "length" is the only word that says so
    "context_full": "length",
    "malformed": "stop",
    "other": "stop",
}


def decode_finish_reason(word: str) -> tuple[FinishReason, Json]:
    """Return canon's reason for a provider's word, and the extras that keep a word that is not OpenAI's."""
    reason = _OFFICIAL.get(word)
    if reason is not None:
        return reason, {}
    return _OTHERS.get(word, "other"), {"finish_reason": word}


def encode_finish_reason(reason: FinishReason, raw: str | None, *, refused: bool) -> str:
    """Return OpenAI's word for a reason. ``refused``: the model's own refusal stands in the message."""
    if raw is not None and _OFFICIAL.get(raw) == reason:
        return raw
    return "stop" if reason == "refusal" and refused else _WORD[reason]


def decode_reply(body: bytes) -> Reply:
    """Return the answer in ``body``. Raises MalformedError."""
    reply = as_object(decode(body), "The answer")
    choices = pop_list(reply, "choices")
    if choices is None:
        raise MalformedError("The answer has no choices.")
    usage = reply.pop("usage", None)
    reply.pop("object", None)
    reply_id = pop_string(reply, "id")
    model = pop_string(reply, "model")
    created = pop_integer(reply, "created")
    return Reply(
        choices=tuple(_decode_choice(choice) for choice in _in_order(choices)),
        usage=None if usage is None else decode_usage(usage),
        id=reply_id or None,
        model=model or None,
        created=created or None,
        extras=left_as_extras(reply),
    )


def encode_reply(reply: Reply) -> bytes:
    """Return ``reply`` as a whole answer.

    Thinking is shown as ``reasoning_content`` (or where it came from), pictures as ``images``. Left out are signatures and
    what only another wire format knows: its own tools' calls and results.
    """
    calls = _CallIds(reply)
    body: Json = {
        **own_extras(reply.extras),
        "id": reply.id or "",
        "object": "chat.completion",
        "created": reply.created or 0,
        "model": reply.model or "",
        "choices": [_encode_choice(index, choice, calls) for index, choice in enumerate(reply.choices)],
    }
    if reply.usage is not None:
        body["usage"] = encode_usage(reply.usage)
    return encode(body)


def split_choice_extras(fields: Mapping[str, Any]) -> tuple[Json, Json, Json]:
    """Return the fields of a choice, of its message and of its logprobs that are in ``fields``."""
    own: Json = {}
    message: Json = {}
    logprobs: Json = {}
    for name, value in fields.items():
        place, dot, inner = name.partition(".")
        if not dot:
            own[name] = value
        elif place == "message":
            message[inner] = value
        elif place == "logprobs":
            logprobs[inner] = value
        else:
            own[name] = value
    return own, message, logprobs


def logprobs_as_extras(logprobs: Any) -> Json:
    """Return the fields of ``logprobs`` under their names in a choice's extras."""
    return {f"logprobs.{name}": value for name, value in as_object(logprobs, "logprobs").items() if value is not None}


def _in_order(choices: list[Any]) -> list[Json]:
    found = [as_object(choice, "A choice") for choice in choices]
    positions = [choice.pop("index", None) for choice in found]
    if all(type(position) is int for position in positions):
        return [found[at] for at in sorted(range(len(found)), key=positions.__getitem__)]
    return found


def _decode_choice(choice: Json) -> Choice:
    message = pop_object(choice, "message")
    if message is None:
        raise MalformedError("A choice has no message.")
    message.pop("role", None)
    parts: list[Part] = []
    if (thinking := decode_thinking(message)) is not None:
        parts.append(thinking)
    parts.extend(decode_reply_content(message.pop("content", None)))
    parts.extend(decode_image(as_object(item, "An image")) for item in pop_list(message, "images") or ())
    if refusal := pop_string(message, "refusal"):
        parts.append(Refusal(refusal))
    if (audio := pop_object(message, "audio")) is not None:
        parts.append(decode_audio(audio))
    parts.extend(decode_tool_calls(message, positions=False))
    logprobs = choice.pop("logprobs", None)
    word = pop_string(choice, "finish_reason")
    reason: FinishReason | None = None
    extras: Json = {name: value for name, value in choice.items() if value is not None}
    extras |= {f"message.{name}": value for name, value in message.items() if value not in (None, "", [])}
    if logprobs is not None:
        extras |= logprobs_as_extras(logprobs)
    if word:
        reason, kept = decode_finish_reason(word)
        extras |= kept
    else:
        reason = _old_finish_reason(choice)
    return Choice(tuple(parts), reason, word or None, extras=with_extras(NAME, extras))


def _old_finish_reason(choice: Json) -> FinishReason | None:
    # gpt-4-vision-preview had ``finish_details`` instead of a finish_reason.
    details = choice.get("finish_details")
    if type(details) is not dict:
        return None
    word = as_object(details, "finish_details").get("type")
    return decode_finish_reason(word)[0] if type(word) is str else None


class _CallIds:
    """Ids for calls that came without one (Gemini's): a client needs them to answer."""

    def __init__(self, reply: Reply) -> None:
        self._taken = {part.id for choice in reply.choices for part in choice.parts if isinstance(part, ToolCall)}
        self._made = 0

    def of(self, call: ToolCall) -> str:
        if call.id:
            return call.id
        while (call_id := f"call_{self._made}") in self._taken:
            self._made += 1
        self._made += 1
        return call_id


def _encode_choice(index: int, choice: Choice, ids: _CallIds) -> Json:
    own, inner, logprobs = split_choice_extras(extras_of(choice.extras, NAME))
    message = _encode_message(choice.parts, ids) | inner
    word: Any = None
    if choice.finish_reason is not None:
        refused = message["refusal"] is not None
        word = encode_finish_reason(choice.finish_reason, choice.raw_finish_reason, refused=refused)
        if choice.raw_finish_reason is None and "finish_details" in own:
            word = None
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs or None,
        "finish_reason": word,
        **own,
    }


def _encode_message(parts: Sequence[Part], ids: _CallIds) -> Json:
    text: list[str] = []
    refusal: list[str] = []
    images: list[Json] = []
    calls: list[Json] = []
    content: list[Any] = []
    sound: list[Audio] = []
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    for part in parts:
        match part:
            case Text():
                text.append(part.text)
                content.append({"type": "text", "text": part.text})
            case Refusal():
                refusal.append(part.text)
            case Image():
                images += encode_reply_image(part)
            case Audio():
                sound.append(part)
            case ToolCall() if is_legacy(part):
                message["function_call"] = encode_legacy_call(part)
            case ToolCall():
                calls.append(encode_tool_call(part, ids.of(part)))
            case Opaque(wire=wire) if wire == NAME:
                content.append(part.value)
            case _:
                pass
    encode_thinking([part for part in parts if isinstance(part, Thinking)], message)
    if len(content) > len(text):
        message["content"] = content
    elif text:
        message["content"] = "".join(text)
    if refusal:
        message["refusal"] = "".join(refusal)
    if images:
        message["images"] = images
    if sound:
        message["audio"] = encode_audio(sound)
    if calls:
        message["tool_calls"] = calls
    return message


def encode_audio(parts: Sequence[Audio]) -> Json:
    """Return the sound of one answer as its ``audio`` object."""
    audio: Json = {"expires_at": 0}
    for part in parts:
        audio |= own_extras(part.extras)
        audio["id"] = part.id or audio.get("id", "")
        audio["data"] = audio.get("data", "") + (part.media.data or "")
        audio["transcript"] = audio.get("transcript", "") + (part.transcript or "")
    return audio
