"""A streamed answer's bytes as events.

The order is that of platform.claude.com/docs, "Streaming messages": message_start, then per block content_block_start, its
deltas and content_block_stop, then message_delta and message_stop; pings and an error may come anywhere.
"""

from typing import Any, cast

import msgspec

from rini.canon import (
    Event,
    Finish,
    Meta,
    Opaque,
    PartDelta,
    PartStart,
    PartStop,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
    with_extras,
)
from rini.kit.sse import EventParser, EventTooLargeError, ServerSentEvent
from rini.wire.anthropic.blocks import arguments_text, decode_block
from rini.wire.anthropic.failure import failure_of
from rini.wire.anthropic.fields import WIRE, Json, as_list, as_object, load, object_or_none, optional_text, text_field
from rini.wire.anthropic.reply import MESSAGE, finish_reason
from rini.wire.anthropic.usage import decode_usage
from rini.wire.codec import MalformedError

_decode = msgspec.json.Decoder().decode


class MessageStreamDecoder:
    """Turns the bytes of one streamed answer into events. See StreamDecoder."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._blocks: dict[Any, _Block] = {}
        self._count = 0
        self._usage: Json = {}
        self._started = False
        self._told: Json = {}
        self._lists: Json = {}
        self._finished = False
        self._ended = False
        self._error: MalformedError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that ``data`` completes. Raises MalformedError."""
        if self._ended:
            self._raise_held()
            return []
        events: list[Event] = []
        try:
            for event in self._parser.feed(data):
                self._take(event, events)
                if self._ended:
                    break
        except EventTooLargeError as error:
            self._hold(MalformedError(str(error)))
        except RecursionError:
            self._hold(MalformedError("An event is nested too deeply."))
        except MalformedError as error:
            self._hold(error)
        if self._error is not None and not events:
            self._raise_held()
        return events

    def close(self) -> list[Event]:
        """Return what the end of the bytes completes. Raises MalformedError when the answer is not finished."""
        events = self.feed(b"\n\n")
        self._raise_held()
        if not self._ended and not self._finished:
            events += self._bare_error()
        if not self._ended and not self._finished:
            raise MalformedError("The stream ended before the answer was finished.")
        self._ended = True
        return events

    def _hold(self, error: MalformedError) -> None:
        # What came before the fault in the same bytes is delivered first.
        self._error = error
        self._ended = True

    def _raise_held(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _bare_error(self) -> list[Event]:
        """Return the failure where a plain JSON error stands in place of a stream."""
        body = self._parser.foreign
        try:
            value = load(body)
        except MalformedError:
            return []
        if "error" not in (object_or_none(value) or {}):
            return []
        self._ended = True
        return [StreamFailure(failure_of(value, body, status=None))]

    def _take(self, sse: ServerSentEvent, events: list[Event]) -> None:
        try:
            event = _decode(sse.data)
            type_ = event["type"]
            if type_ == "content_block_delta":
                delta = event["delta"]
                block = self._blocks[event["index"]]
                # The way that almost every event takes.
                if delta["type"] == "text_delta" and block.text:
                    text = delta["text"]
                    if text.__class__ is str:
                        events.append(PartDelta(block.index, text))
                        return
                block.delta(as_object(delta, "delta"), events)
                return
        except (msgspec.DecodeError, ValueError, LookupError, TypeError) as error:
            if isinstance(error, MalformedError):
                raise
            if sse.event == b"error":
                self._fail(None, sse.data, events)
                return
            raise MalformedError("An event of the stream cannot be read.") from error
        match type_:
            case "message_start":
                self._start(as_object(event.get("message"), "message"), events)
            case "content_block_start":
                self._begin(event.get("index"), as_object(event.get("content_block"), "content_block"), events)
            case "content_block_stop":
                block = self._blocks.pop(event.get("index"), None) if _is_index(event.get("index")) else None
                if block is None:
                    raise MalformedError("A block ends that did not begin.")
                block.stop(events)
            case "message_delta":
                self._delta(event, events)
            case "message_stop":
                self._stop_blocks(events)
                if not self._finished:
                    raise MalformedError("The message ended without a stop_reason.")
                self._ended = True
            case "ping":
                events.append(Meta())
            case "error":
                self._fail(event, sse.data, events)
            case str():
                # The page on API versions announces that types of events may be added: a sign of life.
                events.append(Meta())
            case _:
                raise MalformedError("An event of the stream has no type.")

    def _fail(self, value: object, data: bytes, events: list[Event]) -> None:
        events.append(StreamFailure(failure_of(value, data, status=None)))
        self._ended = True

    def _start(self, message: Json, events: list[Event]) -> None:
        if self._started:
            raise MalformedError("The message begins twice.")
        self._started = True
        for name, value in message.items():
            if name not in MESSAGE:
                # A later list replaces this one, and extras of events add up: so a list waits for the end.
                (self._lists if isinstance(value, list) else self._told)[name] = value
        events.append(
            Start(
                id=optional_text(message, "id", "message") or None,
                model=optional_text(message, "model", "message") or None,
                extras=with_extras(WIRE, dict(self._told)),
            )
        )
        if message.get("usage") is not None:
            self._usage = dict(as_object(message["usage"], "usage"))
            events.append(UsageUpdate(decode_usage(self._usage)))
        if message.get("content"):
            for block in as_list(message["content"], "content"):
                events.append(PartStart(self._count, decode_block(block, "content_block")))
                events.append(PartStop(self._count))
                self._count += 1

    def _begin(self, index: object, value: Json, events: list[Event]) -> None:
        if not self._started or not _is_index(index):
            raise MalformedError("A block begins out of place.")
        block = _Block(self._count, value, events)
        before = self._blocks.get(index)
        if before is not None:
            before.stop(events)
        self._blocks[index] = block
        self._count += 1

    def _delta(self, event: Json, events: list[Event]) -> None:
        delta = as_object(event.get("delta"), "delta")
        usage = event.get("usage")
        if usage is not None:
            # The counts are totals; one that is left out stands as it did at the start.
            for name, value in as_object(usage, "usage").items():
                if value is not None or name not in self._usage:
                    self._usage[name] = value
            events.append(UsageUpdate(decode_usage(self._usage)))
        more = {**self._lists}
        self._lists = {}
        for fields, named in ((delta, _DELTA), (event, _MESSAGE_DELTA)):
            more.update((name, value) for name, value in fields.items() if name not in named)
        more = {name: value for name, value in more.items() if name not in self._told or self._told[name] != value}
        self._told.update(more)
        if more:
            events.append(Meta({WIRE: more}))
        raw = optional_text(delta, "stop_reason", "delta")
        reason = finish_reason(raw)
        if reason is not None and not self._finished:
            self._finished = True
            self._stop_blocks(events)
            events.append(Finish(reason, raw, optional_text(delta, "stop_sequence", "delta")))

    def _stop_blocks(self, events: list[Event]) -> None:
        for block in self._blocks.values():
            block.stop(events)
        self._blocks.clear()


class _Block:
    """One block under way."""

    __slots__ = ("fragments", "index", "input", "part", "text", "value")

    def __init__(self, index: int, value: Json, events: list[Event]) -> None:
        self.index = index
        self.value = value
        self.fragments: list[str] = []
        self.input: Json | None = None
        part = decode_block(value, "content_block")
        if isinstance(part, ToolCall):
            # What stands in ``input`` at the start counts only if no fragments of it follow.
            self.input = cast("Json", value.get("input") or {})
            part = ToolCall(part.id, part.name, extras=part.extras)
        self.part = part
        self.text = isinstance(part, Text)
        events.append(PartStart(index, part))

    def delta(self, delta: Json, events: list[Event]) -> None:
        """Take one delta."""
        part = self.part
        if isinstance(part, Opaque):
            self._merge(delta)
            return
        match text_field(delta, "type", "delta"), part:
            case "input_json_delta", ToolCall():
                text = text_field(delta, "partial_json", "delta")
                if text:
                    self.input = None
                    events.append(PartDelta(self.index, text))
            case "text_delta", Text():
                events.append(PartDelta(self.index, text_field(delta, "text", "delta")))
            case "thinking_delta", Thinking():
                # An empty one tells with its estimate that the model still thinks.
                text = text_field(delta, "thinking", "delta")
                events.append(PartDelta(self.index, text) if text else Meta())
            case "signature_delta", Thinking():
                events.append(PartDelta(self.index, signature=text_field(delta, "signature", "delta")))
            case "citations_delta", Text():
                events.append(PartDelta(self.index, extras={WIRE: {"citations": [delta.get("citation")]}}))
            case _:
                fields = {name: value for name, value in delta.items() if name != "type"}
                events.append(PartDelta(self.index, extras=with_extras(WIRE, fields)))

    def stop(self, events: list[Event]) -> None:
        """Take the end."""
        if self.input is not None:
            events.append(PartDelta(self.index, arguments_text(self.input)))
        elif self.fragments or (isinstance(self.part, Opaque) and self.value is not self.part.value):
            if self.fragments:
                self.value = {**self.value, "input": _joined(self.fragments)}
            events.append(PartDelta(self.index, value=self.value))
        events.append(PartStop(self.index))

    def _merge(self, delta: Json) -> None:
        """Add a delta to an opaque block: text is continued, a list extended, anything else replaced."""
        fragment = delta.get("partial_json")
        if delta.get("type") == "input_json_delta" and isinstance(fragment, str):
            if fragment:
                self.fragments.append(fragment)
            return
        value = dict(self.value)
        for name, more in delta.items():
            if name == "type":
                continue
            before = value.get(name)
            if isinstance(before, str) and isinstance(more, str):
                value[name] = before + more
            elif isinstance(before, list) and isinstance(more, list):
                value[name] = [*cast("list[Any]", before), *cast("list[Any]", more)]
            else:
                value[name] = more
        self.value = value


def _joined(fragments: list[str]) -> object:
    """Return the input of a server-side tool; as text where the answer was cut off within it."""
    text = "".join(fragments)
    try:
        return load(text)
    except MalformedError:
        return text


def _is_index(index: object) -> bool:
    return isinstance(index, int) and not isinstance(index, bool)


_DELTA = frozenset({"stop_reason", "stop_sequence"})
_MESSAGE_DELTA = frozenset({"type", "delta", "usage"})
