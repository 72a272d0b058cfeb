"""A streamed answer's bytes to events.

Content, thoughts and calls come as deltas of one message; a part starts when its first text comes and is whole when another kind
of delta, another call or the end follows. Padding (``obfuscation``) is dropped. OpenAI's audio models send no finish_reason at all
(recorded in May and June 2026): there ``[DONE]`` ends the answer, and the reason is told from what came.
"""

from typing import Any, Literal, cast

from rini.canon import (
    Audio,
    Event,
    Extras,
    Finish,
    Media,
    Meta,
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
    UsageUpdate,
    with_extras,
)
from rini.kit.sse import EventParser, EventTooLargeError
from rini.wire.codec import MalformedError
from rini.wire.openai_chat.failure import failure_in
from rini.wire.openai_chat.json_value import (
    NAME,
    NOTE,
    Json,
    as_list,
    as_object,
    as_string,
    decode,
    left,
    left_as_extras,
    pop_integer,
    pop_object,
    pop_string,
    put_back,
)
from rini.wire.openai_chat.message import decode_thinking
from rini.wire.openai_chat.part import decode_image, decode_reply_content
from rini.wire.openai_chat.reply import decode_finish_reason, logprobs_as_extras
from rini.wire.openai_chat.tool import decode_arguments
from rini.wire.openai_chat.usage import decode_usage

_Kind = Literal["", "text", "thinking", "refusal", "audio", "call"]

# Fields of a chunk that are no news when they differ from chunk to chunk.
_ENVELOPE = ("object", "id", "created", "model")


class ChatStreamDecoder:
    """Decodes one stream. See rini.wire.codec.StreamDecoder."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._choices: dict[int, _ChoiceDecoder] = {}
        self._envelope: Json | None = None  # the fields around the choices of the chunk before
        self._known: Json = {}  # what they said so far
        self._early: Json = {}  # what they said before the answer began
        self._started = False
        self._done = False
        self._failed = False
        self._error: MalformedError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes. Raises MalformedError."""
        if self._error is not None:
            raise self._error
        events: list[Event] = []
        try:
            for name, payload in self._parser.feed(data):
                self._take(name, payload, events)
        except EventTooLargeError as error:
            self._fail(MalformedError(str(error)), events)
        except MalformedError as error:
            self._fail(error, events)
        return events

    def close(self) -> list[Event]:
        """Return what the end of the bytes completes. Raises MalformedError when the stream was not finished."""
        complete = self._complete()
        try:
            events = self.feed(b"\n\n")
        except MalformedError:
            if complete:
                return []  # what is cut off came after the answer
            raise
        if self._failed or complete or self._complete():
            return events
        if self._error is not None:
            raise self._error
        failure = self._foreign_failure()
        if failure is None:
            raise MalformedError("The stream ended before the answer was finished.")
        return [*events, failure]

    def _complete(self) -> bool:
        return bool(self._choices) and all(choice.finished for choice in self._choices.values())

    def _fail(self, error: MalformedError, events: list[Event]) -> None:
        """Raise ``error`` now, or with the next call where there are events to be delivered first."""
        self._error = error
        if not events:
            raise error

    def _foreign_failure(self) -> StreamFailure | None:
        # An error may come as plain JSON instead of an event.
        foreign = self._parser.foreign.strip()
        if not foreign.startswith(b"{"):
            return None
        value = decode(foreign)
        failure = failure_in(value) if type(value) is dict else None
        if failure is None:
            return None
        self._failed = True
        return StreamFailure(failure)

    def _take(self, name: bytes, payload: bytes, events: list[Event]) -> None:
        if self._done or self._failed:
            return
        if payload[:1] != b"{":
            payload = payload.strip()
            if payload.startswith(b"[DONE]"):
                self._done = True
                for choice in self._choices.values():
                    choice.end(events)
                return
            if not payload:
                return
        chunk = as_object(decode(payload), "A chunk")
        choices = chunk.pop("choices", None)
        usage = chunk.pop("usage", None)
        chunk.pop("obfuscation", None)
        if chunk != self._envelope or name:
            self._new_envelope(name, chunk, choices, usage, events)
            if self._failed:
                return
        if choices:
            for choice in as_list(choices, "choices"):
                self._choice(as_object(choice, "A choice"), events)
        if usage is not None:
            events.append(UsageUpdate(decode_usage(usage)))

    def _new_envelope(self, name: bytes, chunk: Json, choices: Any, usage: Any, events: list[Event]) -> None:
        """Take the fields around the choices where they are not those of the chunk before."""
        certain = name == b"error" or bool(chunk.get("error"))
        if certain or choices is None:
            failure = failure_in(chunk, certain=certain)
            if failure is not None:
                self._failed = True
                if usage is not None:
                    events.append(UsageUpdate(decode_usage(usage)))
                events.append(StreamFailure(failure))
                return
        self._envelope = chunk
        news = _news({field: value for field, value in chunk.items() if field not in _ENVELOPE}, self._known)
        if self._started:
            if news:
                events.append(Meta(with_extras(NAME, news)))
            return
        self._early |= news
        reply_id = as_string(chunk.get("id") or "", "id")
        if not (reply_id or choices or usage):
            return  # Azure's first chunk: the prompt's filter results, before the answer has an id
        self._started = True
        model = as_string(chunk.get("model") or "", "model")
        created = pop_integer({"created": chunk.get("created")}, "created")
        events.append(Start(reply_id or None, model or None, created or None, with_extras(NAME, self._early)))

    def _choice(self, choice: Json, events: list[Event]) -> None:
        index = choice.pop("index", 0)
        if type(index) is not int:
            raise MalformedError("A choice's index is not an integer.")
        decoder = self._choices.get(index)
        if decoder is None:
            decoder = self._choices[index] = _ChoiceDecoder(index)
        delta = choice.pop("delta", None)
        word = choice.pop("finish_reason", None)
        logprobs = choice.pop("logprobs", None)
        if logprobs is not None and (fields := logprobs_as_extras(logprobs)):
            events.append(Meta(with_extras(NAME, fields), index))
        if choice != decoder.rest:
            decoder.new_rest(choice, events)
        if delta:
            delta = as_object(delta, "A delta")
            # The common case first: more text of the part that is open.
            if len(delta) == 1 and type(content := delta.get("content")) is str and decoder.kind == "text":
                if content:
                    events.append(PartDelta(decoder.open, content, choice=index))
            else:
                decoder.take(delta, events)
        if word:
            decoder.finish(as_string(word, "finish_reason"), events)


class _CallDecoder:
    """A tool call whose pieces are coming in. It starts when its name and its id are known, or nothing more can come."""

    __slots__ = ("arguments", "extras", "id", "index", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = ""
        self.extras: Json = {}
        self.index = -1  # the part's, once it is started


class _ChoiceDecoder:
    """The parts of one choice."""

    __slots__ = ("_audio", "_call", "_calls", "_choice", "_known", "_next", "finished", "kind", "open", "rest")

    def __init__(self, choice: int) -> None:
        self.kind: _Kind = ""  # of the part that is open
        self.open = -1  # its index
        self.rest: Json = {}  # the choice's fields of the chunk before
        self.finished = False
        self._choice = choice
        self._known: Json = {}
        self._next = 0
        self._audio = -1
        self._call: _CallDecoder | None = None
        self._calls: dict[int, _CallDecoder] = {}

    def new_rest(self, rest: Json, events: list[Event]) -> None:
        """Take the fields beside the delta where they are not those of the chunk before."""
        self.rest = rest
        if news := _news(rest, self._known):
            events.append(Meta(with_extras(NAME, news), self._choice))

    def take(self, delta: Json, events: list[Event]) -> None:
        """Take any delta."""
        delta.pop("role", None)
        thinking = decode_thinking(delta)
        if thinking is not None:
            self._think(thinking, events)
        content = delta.pop("content", None)
        if content:
            for part in decode_reply_content(content):
                if isinstance(part, Text):
                    self._more("text", Text(""), part.text, events)
                else:
                    self._whole(part, events)
        if refusal := pop_string(delta, "refusal"):
            self._more("refusal", Refusal(""), refusal, events)
        audio = pop_object(delta, "audio")
        if audio:
            self._hear(audio, events)
        for item in as_list(delta.pop("images", None) or [], "images"):
            self._whole(decode_image(as_object(item, "An image")), events)
        for item in as_list(delta.pop("tool_calls", None) or [], "tool_calls"):
            self._tool_call(as_object(item, "A tool call"), events)
        legacy = pop_object(delta, "function_call")
        if legacy is not None:
            self._legacy_call(legacy, events)
        if delta and (
            rest := {f"message.{name}": value for name, value in delta.items() if value not in (None, "", [])}
        ):
            events.append(Meta(with_extras(NAME, rest), self._choice))

    def finish(self, word: str, events: list[Event]) -> None:
        """Take the finish_reason; some servers repeat it in later chunks."""
        if self.finished:
            return
        self._stop(events)
        self.finished = True
        reason, kept = decode_finish_reason(word)
        events.append(Finish(reason, word, choice=self._choice, extras=with_extras(NAME, kept)))

    def end(self, events: list[Event]) -> None:
        """Take the end of the stream: without a finish_reason it is told from what came."""
        self._stop(events)
        if not self.finished:
            self.finished = True
            reason = "tool_calls" if self._calls else "stop"
            events.append(Finish(reason, choice=self._choice, extras=with_extras(NAME, {"finish_reason": None})))

    def _start(self, kind: _Kind, part: Part, events: list[Event]) -> int:
        self._stop(events)
        self.kind = kind
        index = self.open = self._next
        self._next = index + 1
        events.append(PartStart(index, part, self._choice))
        return index

    def _stop(self, events: list[Event]) -> None:
        call = self._call
        if call is not None and call.index < 0:
            self._start_call(call, events)
        self._call = None
        if self.open >= 0:
            events.append(PartStop(self.open, self._choice))
        self.kind = ""
        self.open = -1

    def _more(self, kind: _Kind, empty: Part, text: str, events: list[Event]) -> None:
        if self.kind != kind:
            self._start(kind, empty, events)
        events.append(PartDelta(self.open, text, choice=self._choice))

    def _whole(self, part: Part, events: list[Event]) -> None:
        self._start("", part, events)
        self._stop(events)

    def _think(self, thinking: Thinking, events: list[Event]) -> None:
        fields: dict[str, Any] = dict(thinking.extras[NAME]) if thinking.extras else {}
        field = fields.pop(NOTE + "field", None)
        if self.kind != "thinking":
            marked = None if field is None else with_extras(NAME, {NOTE + "field": field})
            self._start("thinking", Thinking("", extras=marked), events)
        events.append(PartDelta(self.open, thinking.text, extras=with_extras(NAME, fields), choice=self._choice))

    def _hear(self, audio: Json, events: list[Event]) -> None:
        audio_id = pop_string(audio, "id")
        data = pop_string(audio, "data") or ""
        transcript = pop_string(audio, "transcript") or ""
        extras: Extras | None = left_as_extras(audio)
        # There is one per answer, and its expires_at may come when all else is over.
        if self._audio < 0:
            self._audio = self._start("audio", Audio(Media(), audio_id or None), events)
        if data or transcript or extras is not None:
            events.append(PartDelta(self._audio, transcript, data, extras=extras, choice=self._choice))

    def _legacy_call(self, item: Json, events: list[Event]) -> None:
        call = self._calls.get(-1)
        if call is None:
            call = self._calls[-1] = _CallDecoder()
            call.extras[NOTE + "legacy"] = True
        name = pop_string(item, "name")
        arguments = decode_arguments(item.pop("arguments", None))
        self._piece(call, None, name, arguments, left(item), events)

    def _tool_call(self, item: Json, events: list[Event]) -> None:
        position = pop_integer(item, "index")
        call_id = pop_string(item, "id")
        kind = pop_string(item, "type") or ("custom" if "custom" in item else "function")
        if kind != "function":
            item["type"] = kind
        name = None
        arguments = ""
        if kind in {"function", "custom"}:
            inner = pop_object(item, kind) or {}
            name = pop_string(inner, "name")
            arguments = decode_arguments(inner.pop("input" if kind == "custom" else "arguments", None))
            put_back(item, kind, inner)
        call = self._find_call(position, call_id, name)
        self._piece(call, call_id, name, arguments, left(item), events)

    def _find_call(self, position: int | None, call_id: str | None, name: str | None) -> _CallDecoder:
        """Return the call that a delta belongs to: by index, or where servers give none (or always 0) by id."""
        calls = self._calls
        call = None
        if position is not None:
            call = calls.get(position)
            if call is not None and call_id and call.id and call.id != call_id:
                # Some servers give each of several whole calls the index 0.
                call = next((other for other in calls.values() if other.id == call_id), None)
                position = None
        elif call_id:
            call = next((other for other in calls.values() if other.id == call_id), None)
        elif not name:
            call = self._call
        if call is None:
            call = _CallDecoder()
            calls[-2 - len(calls) if position is None else position] = call
        return call

    def _piece(
        self, call: _CallDecoder, call_id: str | None, name: str | None, arguments: str, rest: Json, events: list[Event]
    ) -> None:
        if call.index >= 0:
            if arguments or rest:
                extras = with_extras(NAME, {name: value for name, value in rest.items() if name != "type"})
                events.append(PartDelta(call.index, arguments, extras=extras, choice=self._choice))
            return
        if self._call is not call:
            self._stop(events)
            self._call = call
        call.id = call.id or call_id or ""
        call.name = call.name or name or ""
        call.arguments += arguments
        call.extras |= rest
        if call.name and (call.id or NOTE + "legacy" in call.extras):
            self._start_call(call, events)

    def _start_call(self, call: _CallDecoder, events: list[Event]) -> None:
        if not call.name and call.extras.get("type") in {None, "custom"}:
            raise MalformedError("A tool call has no name.")
        self._call = None  # so that starting it does not start it once more
        call.index = self._start("call", ToolCall(call.id, call.name, extras=left_as_extras(call.extras)), events)
        self._call = call
        if call.arguments:
            events.append(PartDelta(call.index, call.arguments, choice=self._choice))


def _news(fields: Json, known: Json) -> Json:
    """Return what ``fields`` add to those ``known``, which take it in. A list may repeat what it had, and grow."""
    news: Json = {}
    for field, value in fields.items():
        before = known.get(field)
        if value is None or value == before or (value == {} and before is not None):
            continue  # Azure's empty filter results take nothing back
        known[field] = value
        news[field] = _growth(before, value)
    return news


def _growth(before: Any, value: Any) -> Any:
    if type(before) is not list or type(value) is not list:
        return value
    old = cast("list[Any]", before)
    new = cast("list[Any]", value)
    return new[len(old) :] if new[: len(old)] == old else new
