"""The events of a streamed answer.

A stream is a sequence of GenerateContentResponse objects: as server-sent events with ``alt=sse``, else as one JSON array; the first
byte tells. Successive texts of one kind (thought or not) continue one part. A text with a signature, or with a field that canon has
no name for, is a part by itself, since a signature is valid only where it stood; an empty text without either is nothing.

A call whose arguments come in pieces (``partialArgs``, by JSON path and in any order) gets them whole when it ends.
"""

import codecs
from typing import Any, cast

from rini.canon import (
    Event,
    Finish,
    Meta,
    Part,
    PartDelta,
    PartStart,
    PartStop,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    UsageUpdate,
)
from rini.kit.sse import EventParser, EventTooLargeError
from rini.wire.codec import MalformedError
from rini.wire.gemini.failure import failure_of
from rini.wire.gemini.fields import WIRE, a_string, an_object, camel, dumps, loads, objects
from rini.wire.gemini.finish import decode_finish
from rini.wire.gemini.json_stream import ObjectSplitter
from rini.wire.gemini.part import decode_part
from rini.wire.gemini.partial_args import PartialArguments
from rini.wire.gemini.reply import block_reason
from rini.wire.gemini.usage import decode_usage, has_counts

_OWN_PLACE = frozenset({"candidates", "usageMetadata"})
_OPENERS: dict[bool, Text | Thinking] = {False: Text(""), True: Thinking()}


class GeminiStreamDecoder:
    """Decodes one stream. See ``rini.wire.codec.StreamDecoder``."""

    def __init__(self) -> None:
        self._head = b""
        self._sse: EventParser | None = None
        self._json: ObjectSplitter | None = None
        self._top: dict[str, Any] = {}
        self._started = False
        self._usage: Any = None
        self._candidates: dict[int, _Candidate] = {}
        self._failed = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes. Raises MalformedError."""
        events: list[Event] = []
        if self._sse is None and self._json is None:
            data = self._begin(data)
        if self._sse is not None:
            try:
                for event in self._sse.feed(data):
                    self._payload(event.data, events)
            except EventTooLargeError:
                raise MalformedError("One event of the answer is too large.") from None
        elif self._json is not None:
            for payload in self._json.feed(data):
                self._payload(payload, events)
        return events

    def close(self) -> list[Event]:
        """Return what the end of the bytes completes. Raises MalformedError when the answer is not finished."""
        events: list[Event] = []
        if self._sse is not None:
            try:
                for event in self._sse.close():
                    self._payload(event.data, events)
            except EventTooLargeError:
                raise MalformedError("One event of the answer is too large.") from None
            if not self._failed and self._sse.foreign:
                self._foreign(self._sse.foreign, events)
        if self._failed:
            return events
        if self._json is not None and self._json.incomplete:
            raise MalformedError("The answer broke off in the middle of a chunk.")
        for index, candidate in self._candidates.items():
            if candidate.held is not None:
                events.append(Finish(*candidate.held, choice=index))
        if not self._candidates and block_reason(self._top):
            events.append(Finish("safety"))
        elif not self._candidates or not all(candidate.finished for candidate in self._candidates.values()):
            raise MalformedError("The answer broke off before it was finished.")
        return events

    def _begin(self, data: bytes) -> bytes:
        """Tell the kind of stream by its first byte; return the bytes from there on."""
        data = (self._head + data).lstrip()
        if data.startswith(codecs.BOM_UTF8):
            data = data[len(codecs.BOM_UTF8) :].lstrip()
        elif len(data) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(data):
            self._head = data
            return b""
        if data:
            if data[:1] in b"[{":
                self._json = ObjectSplitter()
            else:
                self._sse = EventParser()
        self._head = b""
        return data

    def _payload(self, payload: bytes, events: list[Event]) -> None:
        if self._failed or payload == b"[DONE]":
            return
        chunk = loads(payload)
        if isinstance(chunk, list):
            chunk = next(iter(cast("list[Any]", chunk)), None)
        if type(chunk) is not dict:
            raise MalformedError("A chunk of the answer is not an object.")
        self._chunk(cast("dict[str, Any]", chunk), events)

    def _foreign(self, text: bytes, events: list[Event]) -> None:
        """Read what stood outside the events: an error in the middle of a stream comes as bare JSON."""
        try:
            self._payload(text, events)
        except MalformedError:
            # Not an answer's bytes. Whether it was finished without them is for close to say.
            return

    def _chunk(self, chunk: dict[str, Any], events: list[Event]) -> None:
        if "error" in chunk:
            self._failed = True
            events.append(StreamFailure(failure_of(chunk)))
            return
        fresh: dict[str, Any] | None = None
        top = self._top
        for name, value in chunk.items():
            if value is not None and name not in _OWN_PLACE and top.get(name) != value:
                if fresh is None:
                    fresh = {}
                fresh[name] = value
        if not self._started or fresh is not None:
            self._take_top(fresh or {}, events)
        usage = chunk.get("usageMetadata")
        if usage is not None and usage != self._usage:
            if self._usage is not None and not has_counts(usage) and type(usage) is dict:
                usage = {**self._usage, **cast("dict[str, Any]", usage)}
            events.append(UsageUpdate(decode_usage(usage)))
            self._usage = usage
        candidates = chunk.get("candidates")
        if candidates is None:
            return
        if type(candidates) is not list:
            raise MalformedError("candidates is not a list.")
        for position, candidate in enumerate(cast("list[Any]", candidates)):
            if type(candidate) is not dict:
                raise MalformedError("A candidate is not an object.")
            self._candidate(cast("dict[str, Any]", candidate), position, events)

    def _take_top(self, fresh: dict[str, Any], events: list[Event]) -> None:
        """Take what is new of the answer's own fields. The first chunk names its id and model; every other repeats them."""
        identity = [fresh.pop(name, None) for name in ("responseId", "modelVersion")]
        for name in identity:
            if name is not None:
                a_string(name, "modelVersion or responseId")
        if self._started:
            if fresh:
                _changed(self._top, fresh, None, events)
            return
        self._started = True
        self._top.update(fresh)
        self._top["responseId"], self._top["modelVersion"] = identity
        events.append(Start(id=identity[0], model=identity[1], extras={WIRE: fresh} if fresh else None))

    def _candidate(self, fields: dict[str, Any], position: int, events: list[Event]) -> None:
        index = fields.get("index")
        if index is None:
            index = position
        elif type(index) is not int:
            raise MalformedError("index is not an integer.")
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = _Candidate(index)
        finish: Any = None
        fresh: dict[str, Any] | None = None
        seen = candidate.seen
        for name, value in fields.items():
            if name == "content":
                if value is not None:
                    candidate.content(value, events)
            elif name == "finishReason":
                finish = value
            elif name != "index" and value is not None and seen.get(name) != value:
                if fresh is None:
                    fresh = {}
                fresh[name] = value
        if fresh is not None:
            _changed(seen, fresh, index, events)
        if finish is not None:
            candidate.finish(finish, events)


class _Candidate:
    """One candidate's parts so far: which is open, and what came beside them."""

    __slots__ = ("_arguments", "_calls", "_next", "_open", "_thought", "finished", "held", "index", "seen")

    def __init__(self, index: int) -> None:
        self.index = index
        self.seen: dict[str, Any] = {}
        self.finished = False
        self.held: tuple[Any, str] | None = None
        self._next = 0
        self._open = False
        self._thought = False
        self._arguments: PartialArguments | None = None
        self._calls: list[Part] = []

    def content(self, content: object, events: list[Event]) -> None:
        """Take one content's parts."""
        if type(content) is not dict:
            raise MalformedError("content is not an object.")
        parts = cast("dict[str, Any]", content).get("parts")
        if parts is None:
            return
        if type(parts) is not list:
            raise MalformedError("parts is not a list.")
        for part in cast("list[Any]", parts):
            if type(part) is not dict:
                raise MalformedError("A part is not an object.")
            fields = cast("dict[str, Any]", part)
            text = fields.get("text")
            if type(text) is str and (len(fields) == 1 or (len(fields) == 2 and type(fields.get("thought")) is bool)):
                if text:
                    self._text(text, thought=fields.get("thought") is True, events=events)
            else:
                self._part(fields, events)

    def finish(self, value: object, events: list[Event]) -> None:
        """Take the finish reason.

        A call that Google's servers run themselves ends a chunk with STOP as well, and its result follows; so the end of
        the stream decides whether a tool is waited for.
        """
        self._stop(events)
        self._stop_call(events)
        reason, raw = decode_finish(value, self._calls)
        self.finished = True
        if reason == "tool_calls":
            self.held = reason, raw
        else:
            self.held = None
            events.append(Finish(reason, raw, choice=self.index))

    def _text(self, text: str, *, thought: bool, events: list[Event]) -> None:
        if not self._open or self._thought is not thought:
            self._make_room(events)
            events.append(PartStart(self._next, _OPENERS[thought], self.index))
            self._open = True
            self._thought = thought
            self._next += 1
        events.append(PartDelta(self._next - 1, text, choice=self.index))

    def _part(self, fields: dict[str, Any], events: list[Event]) -> None:
        if self._continues_call(fields, events):
            return
        part = decode_part(fields)
        match part:
            case Text() | Thinking() if part.signature is None and part.extras is None:
                if part.text:
                    self._text(part.text, thought=isinstance(part, Thinking), events=events)
            case Text() | Thinking():
                opener = type(part)(text="", extras=part.extras)
                delta = PartDelta(self._next, part.text, signature=part.signature, choice=self.index)
                self._whole(opener, delta if part.text or part.signature is not None else None, events)
            case ToolCall():
                self._calls.append(part)
                opener = ToolCall(part.id, part.name, signature=part.signature, extras=part.extras)
                self._whole(opener, PartDelta(self._next, part.arguments, choice=self.index), events)
            case _:
                if isinstance(part, ToolResult):
                    self._calls.append(part)
                self._whole(part, None, events)

    def _whole(self, opener: Part, delta: PartDelta | None, events: list[Event]) -> None:
        self._make_room(events)
        events.append(PartStart(self._next, opener, self.index))
        if delta is not None:
            events.append(delta)
        events.append(PartStop(self._next, self.index))
        self._next += 1

    def _continues_call(self, fields: dict[str, Any], events: list[Event]) -> bool:
        """Whether ``fields`` belong to a call whose arguments come in pieces; if so, take them."""
        if fields.get("functionCall") is None:
            return False
        call = camel(an_object(fields["functionCall"], "functionCall"))
        if self._arguments is None:
            if call.get("willContinue") is not True or "name" not in call:
                return False
            opener = decode_part({**fields, "functionCall": {"name": call["name"], "id": call.get("id")}})
            if not isinstance(opener, ToolCall):
                return False
            self._make_room(events)
            self._calls.append(opener)
            self._arguments = PartialArguments(self._next)
            opener = ToolCall(opener.id, opener.name, signature=opener.signature, extras=opener.extras)
            events.append(PartStart(self._next, opener, self.index))
            self._next += 1
            if "args" in call:
                self._arguments.value = dict(an_object(call["args"], "functionCall.args"))
        elif "name" in call:
            self._stop_call(events)
            return self._continues_call(fields, events)
        for piece in objects(call.get("partialArgs"), "partialArgs"):
            self._arguments.add(camel(piece))
        if call.get("willContinue") is not True:
            self._stop_call(events)
        return True

    def _make_room(self, events: list[Event]) -> None:
        """End what is open before another part begins."""
        self._stop(events)
        self._stop_call(events)
        if self.held is not None:
            self.held = None
            self.finished = False

    def _stop_call(self, events: list[Event]) -> None:
        arguments = self._arguments
        if arguments is not None:
            events.append(PartDelta(arguments.index, dumps(arguments.value).decode(), choice=self.index))
            events.append(PartStop(arguments.index, self.index))
            self._arguments = None

    def _stop(self, events: list[Event]) -> None:
        if self._open:
            events.append(PartStop(self._next - 1, self.index))
            self._open = False


def _changed(seen: dict[str, Any], fresh: dict[str, Any], choice: int | None, events: list[Event]) -> None:
    """Report ``fresh`` fields as a Meta. Gemini replaces what it repeats; citations add up.

    A Meta's lists are added to the ones before, so a list that changed is first taken back.
    """
    cited = fresh.get("citationMetadata")
    if isinstance(cited, dict) and isinstance(seen.get("citationMetadata"), dict):
        fresh["citationMetadata"] = _joined(seen["citationMetadata"], cast("dict[str, Any]", cited))
    stale = {name: None for name, value in fresh.items() if isinstance(value, list) and name in seen}
    if stale:
        events.append(Meta({WIRE: stale}, choice))
    seen.update(fresh)
    events.append(Meta({WIRE: fresh}, choice))


def _joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    joined = {**old, **new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, list) and isinstance(before, list):
            items = cast("list[Any]", value)
            joined[name] = [*before, *(item for item in items if item not in before)]
    return joined
