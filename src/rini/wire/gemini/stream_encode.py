"""A streamed answer, from events.

Text goes out as it comes. Anything else waits until its part is whole, since Gemini sends calls, media and the like in one piece.
Usage and other fields wait for the next chunk and ride with it, as Gemini's own do.
"""

from typing import Any

from rini.canon import (
    Event,
    Extras,
    Finish,
    Meta,
    PartDelta,
    PartStart,
    PartStop,
    Refusal,
    ReplyBuilder,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
    extras_of,
    merge_extras,
)
from rini.wire.codec import MalformedError
from rini.wire.gemini.failure import encode_failure
from rini.wire.gemini.fields import WIRE, dumps
from rini.wire.gemini.reply import block_reason, finish_fields, reply_parts, unreadable_call
from rini.wire.gemini.usage import encode_usage


class GeminiStreamEncoder:
    """Encodes one stream, as server-sent events or as one JSON array. See ``rini.wire.codec.StreamEncoder``."""

    def __init__(self, *, include_usage: bool, json_array: bool) -> None:
        self._include_usage = include_usage
        self._json_array = json_array
        self._before, self._after = (b"[", b"") if json_array else (b"data: ", b"\r\n\r\n")
        self._named = b"}"  # the end of a chunk: the answer's model and id, which every chunk repeats
        self._named_fields: dict[str, Any] = {}
        self._usage: dict[str, Any] | None = None
        self._top: dict[str, Any] = {}
        self._top_merged: Extras | None = None
        self._choices: dict[int, _Choice] = {}
        self._texts: dict[tuple[int, int], _TextPart] = {}
        self._wholes: dict[tuple[int, int], ReplyBuilder] = {}
        self._ending: tuple[int, dict[str, Any]] | None = (
            None  # a choice that finished, whose last chunk waits for the usage
        )
        self._failed = False

    def feed(self, event: Event) -> bytes:
        """Return the bytes that ``event`` adds."""
        if type(event) is PartDelta:
            text = self._texts.get((event.choice, event.index))
            if text is None:
                return self._grow(event)
            if (
                event.signature is None
                and event.extras is None
                and not text.extras
                and not self._top
                and not text.choice.meta
            ):
                if not event.text:
                    return b""
                body = text.head + dumps(event.text) + text.tail
                if self._usage is not None:
                    body += b',"usageMetadata":' + dumps(self._usage)
                    self._usage = None
                framed = self._before + body + self._named + self._after
                if self._json_array:
                    self._before = b",\r\n"
                return framed
            return self._signed(text, event)
        if self._failed:
            return b""
        match event:
            case PartStart():
                return self._start_part(event)
            case PartStop():
                return self._stop_part((event.choice, event.index))
            case UsageUpdate():
                if self._include_usage:
                    self._usage = encode_usage(event.usage)
            case Start():
                self._start(event)
            case Meta():
                self._note(event.choice, event.extras)
            case Finish():
                return self._finish(event)
            case StreamFailure():
                waiting = self._end() + self._stop_unfinished()
                self._failed = True
                return waiting + self._framed(encode_failure(event.failure)[1])
            case PartDelta():
                pass
        return b""

    def close(self) -> bytes:
        """Return the bytes that end the stream."""
        waiting = b""
        if not self._failed:
            waiting += self._stop_unfinished() + self._end()
            late = [index for index, choice in self._choices.items() if choice.meta]
            for index in late:
                waiting += self._chunk(index, None, {})
            if self._top or self._usage is not None:
                waiting += self._chunk(None, None, {})
        if self._json_array:
            waiting += b"[]" if self._before == b"[" else b"]"
        return waiting

    def _start(self, event: Start) -> None:
        if event.model is not None:
            self._named_fields["modelVersion"] = event.model
        if event.id is not None:
            self._named_fields["responseId"] = event.id
        self._named = b"," + dumps(self._named_fields)[1:] if self._named_fields else b"}"
        self._note(None, event.extras)

    def _start_part(self, event: PartStart) -> bytes:
        key = event.choice, event.index
        part = event.part
        choice = self._choice(event.choice)
        if not isinstance(part, Text | Thinking | Refusal):
            builder = self._wholes[key] = ReplyBuilder()
            builder.add(PartStart(0, part))
            return b""
        choice.has_parts = True
        extras = {} if isinstance(part, Refusal) else dict(extras_of(part.extras, WIRE))
        text = self._texts[key] = _TextPart(event.choice, choice, isinstance(part, Thinking), extras)
        signature = None if isinstance(part, Refusal) else part.signature
        if part.text or signature is not None:
            return self._signed(text, PartDelta(event.index, part.text, signature=signature, choice=event.choice))
        return b""

    def _grow(self, event: PartDelta) -> bytes:
        builder = self._wholes.get((event.choice, event.index))
        if builder is not None:
            builder.add(
                PartDelta(0, event.text, event.data, event.signature, event.extras, event.value),
            )
        return b""

    def _signed(self, text: "_TextPart", event: PartDelta) -> bytes:
        """Return the chunk of a text that carries more than text, or has other fields waiting to ride with it."""
        text.extras.update(extras_of(event.extras, WIRE))
        if not event.text and event.signature is None:
            return b""
        fields: dict[str, Any] = {"text": event.text}
        if text.thought:
            fields["thought"] = True
        if event.signature is not None:
            fields["thoughtSignature"] = event.signature
        fields.update(text.extras)
        text.extras = {}
        return self._chunk(event.choice, [fields], {})

    def _stop_part(self, key: tuple[int, int]) -> bytes:
        text = self._texts.pop(key, None)
        if text is not None:
            # A text that never came is nothing, unless a field of it is to be told.
            if text.extras:
                fields = {"text": "", **({"thought": True} if text.thought else {}), **text.extras}
                return self._chunk(key[0], [fields], {})
            return b""
        builder = self._wholes.pop(key, None)
        if builder is None:
            return b""
        part = builder.reply().choices[0].parts[0]
        choice = self._choice(key[0])
        choice.calls_lost = choice.calls_lost or unreadable_call(part)
        parts = reply_parts(part)
        choice.has_parts = choice.has_parts or bool(parts)
        return self._chunk(key[0], parts, {}) if parts else b""

    def _stop_unfinished(self) -> bytes:
        """End what broke off: it is shown as far as it came, but a call without all of its arguments is no call."""
        waiting = b""
        for key in [*self._texts, *self._wholes]:
            builder = self._wholes.get(key)
            if builder is None or not isinstance(builder.reply().choices[0].parts[0], ToolCall):
                waiting += self._stop_part(key)
        return waiting

    def _finish(self, event: Finish) -> bytes:
        waiting = self._end()
        for key in [key for key in (*self._texts, *self._wholes) if key[0] == event.choice]:
            waiting += self._stop_part(key)
        self._note(event.choice, event.extras)
        choice = self._choice(event.choice)
        blocked = event.reason == "safety" and event.raw is None and not choice.has_parts
        if blocked and block_reason(extras_of(self._top_merged, WIRE)):
            return waiting
        self._ending = event.choice, finish_fields(event.reason, event.raw, choice.calls_lost)
        return waiting

    def _end(self) -> bytes:
        """Return the chunk of the finish that waits, if one does: the usage goes along, for SDKs expect candidates in every chunk."""
        if self._ending is None:
            return b""
        (index, fields), self._ending = self._ending, None
        # The last chunk of a text ends with an empty one, as Gemini's often does: SDKs read its text.
        return self._chunk(index, [{"text": ""}], fields)

    def _note(self, choice: int | None, extras: Extras | None) -> None:
        """Keep fields for the next chunk: merged as events are, since Gemini replaces what it repeats."""
        own = extras_of(extras, WIRE)
        if not own:
            return
        if choice is None:
            self._top_merged = merge_extras(self._top_merged, {WIRE: own})
            merged, waiting = self._top_merged, self._top
        else:
            state = self._choice(choice)
            state.merged = merge_extras(state.merged, {WIRE: own})
            merged, waiting = state.merged, state.meta
        fields = extras_of(merged, WIRE)
        waiting.update((name, fields[name]) for name in own)

    def _choice(self, index: int) -> "_Choice":
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        return choice

    def _chunk(self, index: int | None, parts: list[dict[str, Any]] | None, more: dict[str, Any]) -> bytes:
        """Return one chunk with everything that waits for one."""
        chunk: dict[str, Any] = {}
        if index is not None:
            choice = self._choice(index)
            choice.has_parts = choice.has_parts or bool(parts)
            candidate: dict[str, Any] = {}
            if parts is not None:
                candidate["content"] = {"parts": parts, "role": "model"}
            candidate.update(more)
            candidate["index"] = index
            candidate.update(choice.meta)
            choice.meta = {}
            chunk["candidates"] = [candidate]
        if self._usage is not None:
            chunk["usageMetadata"] = self._usage
            self._usage = None
        chunk.update(self._named_fields)
        chunk.update(self._top)
        self._top = {}
        try:
            return self._framed(dumps(chunk))
        except RecursionError:
            raise MalformedError("The answer is nested too deeply.") from None

    def _framed(self, body: bytes) -> bytes:
        framed = self._before + body + self._after
        if self._json_array:
            self._before = b",\r\n"
        return framed


class _Choice:
    """One choice: the fields that wait for its next chunk, and what its finish will need to know."""

    __slots__ = ("calls_lost", "has_parts", "merged", "meta")

    def __init__(self) -> None:
        self.meta: dict[str, Any] = {}
        self.merged: Extras | None = None
        self.has_parts = False
        self.calls_lost: str | None = None


class _TextPart:
    """A text that grows: the bytes around it in a chunk that holds nothing else."""

    __slots__ = ("choice", "extras", "head", "tail", "thought")

    def __init__(self, index: int, choice: _Choice, thought: bool, extras: dict[str, Any]) -> None:  # noqa: FBT001  # positional in a private class
        self.choice = choice
        self.thought = thought
        self.extras = extras
        self.head = b'{"candidates":[{"content":{"parts":[{"text":'
        self.tail = (b',"thought":true' if thought else b"") + b'}],"role":"model"},"index":%d}]' % index
