"""Events to a streamed answer's bytes, as OpenAI sends them: every event numbered, every beginning with its end, and at last the whole answer.

A message stays open for further parts until another item begins or the answer ends, and so does a reasoning item; calls and all else
end with their part. Where parts interleave, so do their items.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from rini.canon import (
    Audio,
    Event,
    Extras,
    Failure,
    Finish,
    Image,
    Meta,
    Opaque,
    Part,
    PartDelta,
    PartStart,
    PartStop,
    Refusal,
    ReplyBuilder,
    Request,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageUpdate,
    extras_of,
    merge_extras,
)
from rini.wire.openai_chat.json_value import Json, as_object
from rini.wire.openai_responses.failure import error_event, response_error
from rini.wire.openai_responses.fields import NAME, encode, note, own_extras
from rini.wire.openai_responses.output import (
    CALL_TEXT,
    ItemIds,
    Kind,
    encode_item,
    encode_output_content,
    kind_of_part,
    starts_item,
)
from rini.wire.openai_responses.reply import StoredAs, envelope, state_of, stored_envelope, with_details
from rini.wire.openai_responses.request import repeated_fields
from rini.wire.openai_responses.usage import encode_usage

_string = msgspec.json.Encoder().encode

# The events that OpenAI has for what its own tools are doing.
_PROGRESS: Mapping[str, frozenset[str]] = {
    "web_search_call": frozenset({"in_progress", "searching", "completed"}),
    "file_search_call": frozenset({"in_progress", "searching", "completed"}),
    "code_interpreter_call": frozenset({"in_progress", "interpreting", "completed"}),
    "image_generation_call": frozenset({"in_progress", "generating", "completed"}),
    "mcp_call": frozenset({"in_progress", "completed", "failed"}),
    "mcp_list_tools": frozenset({"in_progress", "completed", "failed"}),
}
# The event with which a response of that status ends. There is none for one that was cancelled (specification of August 2026): so it ends with the
# one for what is not complete, which is no error, and after which every client stops reading; the response says that it was cancelled.
_END_OF: Mapping[str, str] = {"incomplete": "incomplete", "failed": "failed", "cancelled": "incomplete"}
_CUT_SHORT: Final = frozenset({"incomplete", "cancelled"})
_UNDER_WAY: Final = frozenset({"queued", "in_progress"})
_EMPTY_TEXT: Json = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}


class _Words:
    """The names of the events that tell one kind of text."""

    __slots__ = ("added", "done", "place", "stem", "text")

    def __init__(self, stem: str, text: str, part: str = "", place: str = "content_index") -> None:
        self.stem = f"response.{stem}"
        self.text = text  # the field that holds the whole of it
        self.added = f"response.{part}.added" if part else ""
        self.done = f"response.{part}.done" if part else ""
        self.place = place if part else ""


_TEXT: Final = _Words("output_text", "text", "content_part")
_REFUSAL: Final = _Words("refusal", "refusal", "content_part")
_SUMMARY: Final = _Words("reasoning_summary_text", "text", "reasoning_summary_part", "summary_index")
_RAW: Final = _Words("reasoning_text", "text", "content_part")
_CALL: Final = _Words("function_call_arguments", "arguments")
_CUSTOM: Final = _Words("custom_tool_call_input", "input")


class _Item:
    """One output item under way."""

    __slots__ = ("ended", "id", "kind", "parts", "position", "summaries")

    def __init__(self, kind: Kind, position: int) -> None:
        self.kind: Kind = kind
        self.position = position
        self.id: Any = None
        self.parts: list[_Part] = []
        self.ended: Json | None = None
        self.summaries = [0, 0]  # how many were announced: texts or summaries, and raw thoughts


class _Part:
    """One part under way. Its text is kept in pieces, and the bytes around a piece are made once."""

    __slots__ = ("_builder", "annotations", "head", "index", "item", "open", "part", "place", "tail", "texts", "words")

    def __init__(self, index: int, part: Part, item: _Item) -> None:
        self.index = index
        self.item = item
        self.part = part
        self.words: _Words | None = None
        self.place = -1  # within its item, once it is announced
        self.head = b""
        self.tail = b""
        self.texts: list[str] = []
        self.annotations = 0
        self.open = True
        self._builder = ReplyBuilder()
        self._builder.add(PartStart(0, part))

    def add(self, event: PartDelta) -> None:
        """Keep what is not text."""
        self._builder.add(
            PartDelta(0, data=event.data, signature=event.signature, extras=event.extras, value=event.value)
        )

    def built(self) -> Part:
        """Return the part as far as it came."""
        if self.texts:
            self._builder.add(PartDelta(0, "".join(self.texts)))
            self.texts.clear()
        return self._builder.reply().choices[0].parts[0]


class ResponseStreamEncoder:
    """Encodes one stream. See rini.wire.codec.StreamEncoder.

    Only the first choice is written, for there is one answer; what the format cannot express is left out as in a whole answer.
    """

    def __init__(self, request: Request | None = None, stored: StoredAs | None = None) -> None:
        self._request = request
        self._stored = stored
        self._repeated = {} if request is None else repeated_fields(request)
        self._sequence = 0
        self._start: Start | None = None
        self._begun = False
        self._queued = False
        self._ids = ItemIds(None)
        self._extras: Extras | None = None
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._items: list[_Item] = []
        self._parts: dict[int, _Part] = {}
        self._refused = False
        self._ended = False

    def queue(self) -> bytes:
        """Return the events that tell of a stored answer that waits for its model. To be called first, or not at all."""
        self._queued = True
        response = self._opened({"status": "queued"})
        return self._event({"type": "response.created", "response": response}) + self._event(
            {"type": "response.queued", "response": response}
        )

    def count_on(self, number: int) -> None:
        """Give the next event that number, or the one that it has if that is higher: the client has those before it."""
        self._sequence = max(self._sequence, number)

    def cut_off(self, failure: Failure) -> bytes:
        """Return an error that is no event of the answer, which goes on: it has the number of the last one that is."""
        number = max(self._sequence - 1, 0)
        return b"event: error\ndata: %b\n\n" % encode(error_event(failure, number))

    def feed(self, event: Event) -> bytes:
        """Return the bytes that ``event`` adds; ``b""`` when it waits for another one."""
        if type(event) is PartDelta:
            if event.choice:
                return b""
            part = self._parts.get(event.index)
            if part is None:
                return b""
            if part.head and event.text and event.extras is None and event.signature is None:
                part.texts.append(event.text)
                sequence = self._sequence
                self._sequence = sequence + 1
                return b"%b%d%b%b}\n\n" % (part.head, sequence, part.tail, _string(event.text))
            return self._more(part, event)
        if self._ended or getattr(event, "choice", None):
            return b""
        match event:
            case Start():
                self._start = event
                return self._begin()
            case PartStart():
                return self._begin() + self._part(event)
            case PartStop():
                part = self._parts.get(event.index)
                return b"" if part is None else self._stop(part)
            case UsageUpdate():
                self._usage = event.usage
                return b""
            case Meta():
                if event.extras is None:
                    return b": still here\n\n"
                self._extras = merge_extras(self._extras, event.extras)
                return b""
            case Finish():
                return self._before_end() + self._finished(event)
            case StreamFailure():
                return self._before_end() + self._failed(event.failure)
            case PartDelta():
                return b""

    def close(self) -> bytes:
        """Return the bytes that end the stream: an error where the answer was not finished."""
        if self._ended:
            return b""
        finish = self._finish
        if finish is None:
            return self._before_end() + self._failed(Failure("server_error", "The answer broke off."))
        self._ended = True
        state = state_of(finish.reason, finish.raw, refused=self._refused)
        name = f"response.{_END_OF.get(state['status'], 'completed')}"
        return self._event({"type": name, "response": self._response(state)})

    # -- the answer --------------------------------------------------------------------------------

    def _event(self, event: Json) -> bytes:
        kind: str = event["type"]
        numbered = {"type": kind, "sequence_number": self._sequence, **event}
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(numbered))

    def _begin(self) -> bytes:
        """Return the events that begin the answer, once."""
        if self._begun:
            return b""
        self._begun = True
        response = self._opened({"status": "in_progress"})
        created = b"" if self._queued else self._event({"type": "response.created", "response": response})
        return created + self._event({"type": "response.in_progress", "response": response})

    def _before_end(self) -> bytes:
        """Return the same before an end; one that ends while it is queued was never in progress."""
        return b"" if self._queued else self._begin()

    def _opened(self, state: Json) -> Json:
        """Return the response before any of its output."""
        start = self._start or Start()
        # The time is told once and stays.
        created = start.created or envelope(None, None, self._ids, None)["created_at"]
        self._start = msgspec.structs.replace(start, created=created)
        self._ids = ItemIds(start.id) if self._stored is None else ItemIds(self._stored.id, own=True)
        self._extras = merge_extras(start.extras, self._extras)
        return self._response(state)

    def _response(self, state: Json) -> Json:
        assert self._start is not None
        if self._stored is not None:
            response = stored_envelope(self._start.model, self._stored, state)
        else:
            response = envelope(self._start.model, self._start.created, self._ids, self._request)
            response |= own_extras(self._extras) | self._repeated
            response |= with_details(state, response) if "incomplete_details" in state else state
        response["output"] = [item.ended or self._encoded(item, "incomplete") for item in self._items]
        if self._usage is not None and state["status"] not in _UNDER_WAY:
            response["usage"] = encode_usage(self._usage)
        return response

    def _finished(self, event: Finish) -> bytes:
        self._finish = event
        ends = b"".join(self._stop(part) for part in self._parts.values())
        incomplete = state_of(event.reason, event.raw, refused=self._refused)["status"] in _CUT_SHORT
        last = len(self._items) - 1
        for position, item in enumerate(self._items):
            ends += self._end(item, "incomplete" if incomplete and position == last else "completed")
        return ends

    def _failed(self, failure: Failure) -> bytes:
        self._ended = True
        self._parts.clear()
        event = error_event(failure, self._sequence)
        state: Json = {"status": "failed", "error": response_error(failure)}
        return self._event(event) + self._event({"type": "response.failed", "response": self._response(state)})

    # -- items -------------------------------------------------------------------------------------

    def _part(self, event: PartStart) -> bytes:
        part = event.part
        kind = "message" if isinstance(part, Audio) else kind_of_part(part)
        if kind is None or self._finish is not None:
            self._parts.pop(event.index, None)
            return b""
        begun = b""
        item = self._items[-1] if self._items else None
        goes_on = item is not None and item.kind == kind and item.ended is None and kind in {"message", "reasoning"}
        if item is None or not goes_on or starts_item(part):
            item = _Item(kind, len(self._items))
            begun = self._end_before()
            self._items.append(item)
        under_way = _Part(event.index, part, item)
        item.parts.append(under_way)
        self._parts[event.index] = under_way
        if len(item.parts) == 1:
            begun += self._added(item, part)
        match part:
            case Text() | Refusal() | Thinking() | Audio():
                initial = (part.transcript or "") if isinstance(part, Audio) else part.text
                self._refused = self._refused or isinstance(part, Refusal)
                if initial:
                    begun += self._announce(under_way) + self._piece(under_way, initial)
            case ToolCall():
                under_way.words = _CUSTOM if extras_of(part.extras, NAME).get("type") == "custom_tool_call" else _CALL
                self._frame(under_way)
                if part.arguments:
                    begun += self._piece(under_way, part.arguments)
            case _:
                pass
        return begun

    def _end_before(self) -> bytes:
        """Return the end of the item before, if nothing more of it can come."""
        if not self._items or any(part.open for part in self._items[-1].parts):
            return b""
        return self._end(self._items[-1], "completed")

    def _added(self, item: _Item, part: Part) -> bytes:
        encoded = self._encoded(item, "in_progress")
        item.id = encoded.get("id")
        match item.kind:
            case "message":
                encoded["content"] = []
            case "reasoning":
                encoded["summary"] = []
                encoded.pop("content", None)
            case "call":
                encoded[CALL_TEXT.get(encoded["type"], "arguments")] = ""
                if encoded["type"] == "function_call":
                    encoded["status"] = "in_progress"
            case "opaque":
                if isinstance(part, Image):
                    encoded |= {"status": "in_progress", "result": None}
        added = self._event({"type": "response.output_item.added", "output_index": item.position, "item": encoded})
        return added + self._progress(item, encoded)

    def _encoded(self, item: _Item, status: str) -> Json:
        encoded = encode_item(item.kind, [part.built() for part in item.parts], self._ids, item.position, status)
        if item.id is not None and "id" in encoded:
            encoded["id"] = item.id
        return encoded

    def _end(self, item: _Item, status: str) -> bytes:
        if item.ended is not None:
            return b""
        item.ended = self._encoded(item, status)
        return self._event({"type": "response.output_item.done", "output_index": item.position, "item": item.ended})

    def _progress(self, item: _Item, value: Json) -> bytes:
        """Return the event for what one of OpenAI's own tools is doing."""
        kind = value.get("type")
        status = value.get("status")
        if type(kind) is not str or type(status) is not str or status not in _PROGRESS.get(kind, ()):
            return b""
        return self._event({"type": f"response.{kind}.{status}", "output_index": item.position, "item_id": item.id})

    # -- parts -------------------------------------------------------------------------------------

    def _frame(self, part: _Part) -> None:
        """Make the bytes around each further text of a part, which is most of a stream."""
        words = part.words
        assert words is not None
        name = f"{words.stem}.delta".encode()
        part.head = b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name)
        tail = b',"item_id":%b,"output_index":%d' % (encode(part.item.id), part.item.position)
        if words.place:
            tail += b',"%b":%d' % (words.place.encode(), part.place)
        part.tail = tail + (b',"logprobs":[],"delta":' if words is _TEXT else b',"delta":')

    def _announce(self, part: _Part) -> bytes:
        """Return the event that begins a text within its item, once."""
        if part.words is not None:
            return b""
        empty = _EMPTY_TEXT
        words = _TEXT
        if isinstance(part.part, Refusal):
            words, empty = _REFUSAL, {"type": "refusal", "refusal": ""}
        elif isinstance(part.part, Thinking):
            built = part.built()
            if isinstance(built, Thinking) and note(built.extras, "raw"):
                words, empty = _RAW, {"type": "reasoning_text", "text": ""}
            else:
                words, empty = _SUMMARY, {"type": "summary_text", "text": ""}
        counts = part.item.summaries
        part.place = counts[words is _RAW]
        counts[words is _RAW] += 1
        part.words = words
        self._frame(part)
        return self._within(part, words.added, {"part": empty})

    def _within(self, part: _Part, name: str, fields: Json) -> bytes:
        """Return an event that belongs to a part."""
        event: Json = {"type": name, "item_id": part.item.id, "output_index": part.item.position}
        if part.words is not None and part.words.place:
            event[part.words.place] = part.place
        return self._event(event | fields)

    def _piece(self, part: _Part, text: str, logprobs: Any = None) -> bytes:
        assert part.words is not None
        fields: Json = {"delta": text}
        if part.words is _TEXT:
            fields["logprobs"] = logprobs or []
        return self._within(part, f"{part.words.stem}.delta", fields)

    def _more(self, part: _Part, event: PartDelta) -> bytes:
        """Take any delta."""
        if part.item.ended is not None:
            return b""
        own = extras_of(event.extras, NAME)
        out = b""
        if event.extras is not None or event.signature is not None or event.data or event.value is not None:
            part.add(event)
        if isinstance(part.part, Opaque):
            if event.value is not None and part.item.kind == "opaque":
                before: Any = part.part.value
                part.part = Opaque(part.part.wire, event.value)
                now = as_object(event.value, "An item")
                if now.get("status") != before.get("status"):
                    out += self._progress(part.item, now)
            return out
        if isinstance(part.part, Image):
            return out
        if event.text and part.open:
            out += self._announce(part)
            part.texts.append(event.text)
            out += self._piece(part, event.text, own.get("logprobs"))
        annotations = own.get("annotations")
        if isinstance(part.part, Text) and isinstance(annotations, list):
            for annotation in cast("list[Any]", annotations):
                told: Json = {"annotation_index": part.annotations, "annotation": annotation}
                part.annotations += 1
                out += self._announce(part)
                out += self._within(part, "response.output_text.annotation.added", told)
        return out

    def _stop(self, part: _Part) -> bytes:
        if not part.open:
            return b""
        part.open = False
        part.head = b""
        item = part.item
        whole = part.built()
        out = b""
        if isinstance(whole, Text | Refusal | Audio) and not note(whole.extras, "empty"):
            out += self._announce(part)
        words = part.words
        if words is None:
            if isinstance(whole, Opaque) and item.kind == "message":
                out += self._unknown(part, whole)
        elif isinstance(whole, ToolCall):
            fields: Json = {words.text: whole.arguments}
            if words is _CALL:
                fields["name"] = whole.name
            out += self._within(part, f"{words.stem}.done", fields)
        else:
            text = (whole.transcript or "") if isinstance(whole, Audio) else getattr(whole, "text", "")
            fields = {words.text: text}
            content: Json = {"type": "reasoning_text" if words is _RAW else "summary_text", "text": text}
            if not isinstance(whole, Thinking):
                content = encode_output_content(whole)
            if words is _TEXT:
                fields["logprobs"] = content["logprobs"]
            out += self._within(part, f"{words.stem}.done", fields) + self._within(part, words.done, {"part": content})
        if item.kind == "opaque" and isinstance(whole, Image):
            out += self._progress(item, self._encoded(item, "completed"))
        if item.kind in {"call", "opaque"} or (
            item is not self._items[-1] and not any(each.open for each in item.parts)
        ):
            out += self._end(item, "completed")
        return out

    def _unknown(self, part: _Part, whole: Opaque) -> bytes:
        """Return the events for a part of a message that canon does not know: it is whole only now."""
        counts = part.item.summaries
        event: Json = {
            "item_id": part.item.id,
            "output_index": part.item.position,
            "content_index": counts[0],
            "part": encode_output_content(whole),
        }
        counts[0] += 1
        return self._event({"type": "response.content_part.added", **event}) + self._event(
            {"type": "response.content_part.done", **event}
        )
