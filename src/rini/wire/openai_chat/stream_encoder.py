"""Events to a streamed answer's bytes, as OpenAI sends them: a role first, deltas, a finish chunk, a usage chunk, ``[DONE]``."""

import msgspec

from rini.canon import (
    Audio,
    Event,
    Extras,
    Finish,
    Image,
    Meta,
    Opaque,
    Part,
    PartDelta,
    PartStart,
    PartStop,
    Refusal,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageUpdate,
    extras_of,
    merge_extras,
    with_extras,
)
from rini.wire.openai_chat.failure import failure_body
from rini.wire.openai_chat.json_value import NAME, Json, encode, nested_extras, own_extras
from rini.wire.openai_chat.message import thinking_field
from rini.wire.openai_chat.part import encode_reply_image
from rini.wire.openai_chat.reply import encode_finish_reason, split_choice_extras
from rini.wire.openai_chat.tool import is_legacy
from rini.wire.openai_chat.usage import encode_usage

_string = msgspec.json.Encoder().encode

# What OpenAI repeats in every chunk; other fields of the reply stand in one.
_REPEATED = ("service_tier", "system_fingerprint")


class ChatStreamEncoder:
    """Encodes one stream. See rini.wire.codec.StreamEncoder.

    Left out are signatures and what only another wire format knows. Fields that belong to no delta wait for the next
    chunk of their choice, or of the reply.
    """

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._extras: Extras | None = None
        self._waiting = False  # whether fields wait for the next chunk
        self._choices: dict[int, _ChoiceEncoder] = {}
        self._failed = False
        self._ids = 0
        self._head = b""
        self._tail = b""
        self._open(Start())

    def feed(self, event: Event) -> bytes:
        """Return the bytes that ``event`` adds; ``b""`` when it waits for another one."""
        if type(event) is PartDelta and not self._waiting:
            choice = self._choices.get(event.choice)
            frame = None if choice is None else choice.frames.get(event.index)
            if frame is not None and event.extras is None:
                return frame[0] + _string(event.text) + frame[1] if event.text else b""
        if self._failed:
            return b""
        match event:
            case Start():
                self._open(event)
                return b""
            case PartStart():
                return self._part(event)
            case PartDelta():
                return self._more(event)
            case PartStop():
                return self._stop(event)
            case Finish():
                return self._finish(event)
            case UsageUpdate():
                self._usage = event.usage
                return b""
            case Meta():
                return self._meta(event)
            case StreamFailure():
                self._failed = True
                self._choices.clear()
                return _frame(failure_body(event.failure)[1])

    def close(self) -> bytes:
        """Return the bytes that end the stream."""
        if self._failed:
            return _DONE
        end = b""
        for index, choice in self._choices.items():
            if choice.extras is not None:
                end += self._delta(index, {})
        usage = self._usage
        if self._extras is not None or (usage is not None and self._include_usage):
            chunk: Json = {**self._base, **own_extras(self._extras), "choices": []}
            if usage is not None and self._include_usage:
                chunk["usage"] = encode_usage(usage)
            end += _frame(chunk)
        return end + _DONE

    def _open(self, start: Start) -> None:
        own = own_extras(start.extras)
        self._base: Json = {
            "id": start.id or "",
            "object": "chat.completion.chunk",
            "created": start.created or 0,
            "model": start.model or "",
        }
        self._base |= {name: own.pop(name) for name in _REPEATED if name in own}
        self._add(with_extras(NAME, own))
        base = encode(self._base)[:-1]
        self._head = b"data: " + base + b',"choices":[{"index":'
        usage = b',"usage":null' if self._include_usage else b""
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"

    def _add(self, extras: Extras | None) -> None:
        """Keep fields of the reply for the next chunk."""
        self._extras = merge_extras(self._extras, extras)
        self._waiting = self._waiting or extras is not None

    def _meta(self, event: Meta) -> bytes:
        if event.extras is None:
            return b": still here\n\n" if event.choice is None else b""
        extras = with_extras(NAME, own_extras(event.extras))
        if extras is None:
            return b""
        if event.choice is None:
            self._add(extras)
        else:
            choice = self._choice(event.choice)
            choice.extras = merge_extras(choice.extras, extras)
            self._waiting = True
        return b""

    def _choice(self, index: int) -> "_ChoiceEncoder":
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _ChoiceEncoder()
        return choice

    def _delta(self, index: int, delta: Json, word: str | None = None, extras: Extras | None = None) -> bytes:
        """Return a chunk with ``delta`` and all that waits for it; a choice's first has the role."""
        choice = self._choice(index)
        own, message, logprobs = split_choice_extras(own_extras(merge_extras(choice.extras, extras)))
        choice.extras = None
        if not choice.begun:
            choice.begun = True
            delta = {"role": "assistant", "content": "" if "content" in delta or not delta else None} | delta
        encoded: Json = {
            "index": index,
            "delta": delta | message,
            "logprobs": logprobs or None,
            "finish_reason": word,
            **own,
        }
        chunk: Json = {**self._base, **own_extras(self._extras), "choices": [encoded]}
        if self._include_usage:
            chunk["usage"] = None
        self._extras = None
        self._waiting = any(other.extras is not None for other in self._choices.values())
        return _frame(chunk)

    def _part(self, event: PartStart) -> bytes:
        choice = self._choice(event.choice)
        part = event.part
        choice.parts[event.index] = part
        delta: Json = {}
        match part:
            case Text():
                self._frame_text(event, choice, "content")
                if part.text:
                    delta = {"content": part.text}
            case Refusal():
                choice.refused = True
                self._frame_text(event, choice, "refusal")
                if part.text:
                    delta = {"refusal": part.text}
            case Thinking():
                field = thinking_field(part)
                self._frame_text(event, choice, field)
                delta = own_extras(part.extras) | ({field: part.text} if part.text else {})
            case ToolCall():
                delta = self._call(event, part, choice)
            case Audio():
                delta = _sound(part.id, part.media.data, part.transcript, part.extras)
            case Image():
                delta = {"images": images} if (images := encode_reply_image(part)) else {}
            case _:
                return b""
        if delta:
            return self._delta(event.choice, delta)
        return (
            b""
            if choice.begun
            else self._begin(event.choice, choice, {"content": ""} if isinstance(part, Text) else {})
        )

    def _begin(self, index: int, choice: "_ChoiceEncoder", delta: Json) -> bytes:
        """Return the chunk with the role alone; what waits (a token's logprobs) belongs to the next one."""
        held, choice.extras = choice.extras, None
        data = self._delta(index, delta)
        choice.extras = held
        self._waiting = self._waiting or held is not None
        return data

    def _call(self, event: PartStart, call: ToolCall, choice: "_ChoiceEncoder") -> Json:
        own = own_extras(call.extras)
        if is_legacy(call):
            self._frame_nested(event, choice, b'"function_call":{"arguments":', b"}")
            return {"function_call": {**own, "name": call.name, "arguments": call.arguments}}
        kind: str = own.pop("type", "function")
        position = choice.positions[event.index] = len(choice.positions)
        entry: Json = {**own, "index": position, "id": call.id, "type": kind}
        if text := _TEXT_FIELD.get(kind):
            entry["id"] = call.id or self._new_id()
            entry[kind] = {**nested_extras(own, kind), "name": call.name, text: call.arguments}
            before = b'"tool_calls":[{"index":%d,"%b":{"%b":' % (position, kind.encode(), text.encode())
            self._frame_nested(event, choice, before, b"}}]")
        return {"tool_calls": [entry]}

    def _new_id(self) -> str:
        """Return an id for a call that came without one (Gemini's): a client needs it to answer."""
        self._ids += 1
        return f"call_{self._ids - 1}"

    def _frame_text(self, event: PartStart, choice: "_ChoiceEncoder", field: str) -> None:
        self._frame_nested(event, choice, b'"%b":' % field.encode(), b"")

    def _frame_nested(self, event: PartStart, choice: "_ChoiceEncoder", before: bytes, after: bytes) -> None:
        """Prepare the bytes around each further text of a part, which is most of a stream."""
        head = self._head + b'%d,"delta":{' % event.choice + before
        choice.frames[event.index] = (head, after + self._tail)

    def _more(self, event: PartDelta) -> bytes:
        choice = self._choice(event.choice)
        part = choice.parts.get(event.index)
        delta: Json = {}
        match part:
            case Text():
                delta = {"content": event.text} if event.text else {}
            case Refusal():
                delta = {"refusal": event.text} if event.text else {}
            case Thinking():
                delta = own_extras(event.extras) | ({thinking_field(part): event.text} if event.text else {})
            case ToolCall():
                delta = _more_of_call(event, part, choice)
            case Audio():
                delta = _sound(None, event.data, event.text, event.extras)
            case Opaque():
                if event.value is not None:
                    choice.parts[event.index] = Opaque(part.wire, event.value)
            case _:
                pass
        return self._delta(event.choice, delta) if delta else b""

    def _stop(self, event: PartStop) -> bytes:
        choice = self._choice(event.choice)
        choice.frames.pop(event.index, None)
        # A part of this wire format that canon does not know is whole only now.
        part: Part | None = choice.parts.get(event.index)
        if isinstance(part, Opaque) and part.wire == NAME:
            return self._delta(event.choice, {"content": [part.value]})
        return b""

    def _finish(self, event: Finish) -> bytes:
        choice = self._choice(event.choice)
        own = extras_of(event.extras, NAME)
        if "finish_reason" in own and own["finish_reason"] is None and len(own) == 1:
            # The provider named no reason either; only the choice itself must be there.
            return b"" if choice.begun else self._delta(event.choice, {})
        word = encode_finish_reason(event.reason, event.raw, refused=choice.refused)
        return self._delta(event.choice, {}, word, event.extras)


class _ChoiceEncoder:
    __slots__ = ("begun", "extras", "frames", "parts", "positions", "refused")

    def __init__(self) -> None:
        self.begun = False
        self.refused = False
        self.extras: Extras | None = None
        self.parts: dict[int, Part] = {}
        self.positions: dict[int, int] = {}
        self.frames: dict[int, tuple[bytes, bytes]] = {}


def _more_of_call(event: PartDelta, call: ToolCall, choice: _ChoiceEncoder) -> Json:
    own = own_extras(event.extras)
    if not own and not event.text:
        return {}
    if is_legacy(call):
        return {"function_call": {**own, "arguments": event.text}}
    kind: str = extras_of(call.extras, NAME).get("type", "function")
    entry: Json = {**own, "index": choice.positions[event.index]}
    if event.text and (text := _TEXT_FIELD.get(kind)):
        entry[kind] = {**nested_extras(own, kind), text: event.text}
    return {"tool_calls": [entry]}


def _sound(audio_id: str | None, data: str | None, transcript: str | None, extras: Extras | None) -> Json:
    audio = own_extras(extras)
    for name, value in (("id", audio_id), ("data", data), ("transcript", transcript)):
        if value:
            audio[name] = value
    return {"audio": audio} if audio else {}


def _frame(value: Json) -> bytes:
    return b"data: " + encode(value) + b"\n\n"


_TEXT_FIELD = {"function": "arguments", "custom": "input"}
_DONE = b"data: [DONE]\n\n"
