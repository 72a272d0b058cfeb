"""A streamed answer's bytes to events.

An item begins with response.output_item.added, its contents come as deltas, and response.output_item.done holds the whole of it: what that
says beyond the deltas (annotations, the encrypted reasoning, a status) is told there, so that a stream adds up to what the whole
answer is. Probabilities are those beside the deltas, where there are any: they come again at the end, rounded. Padding
(``obfuscation``) is dropped.

What happens inside of OpenAI's own tools is told as a new value of their Opaque: its status as it changes, and the item itself at the end.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal, cast

import msgspec

from rini.canon import (
    Event,
    Finish,
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
    UsageUpdate,
    extras_of,
    with_extras,
)
from rini.kit.sse import EventParser, EventTooLargeError
from rini.wire.codec import MalformedError
from rini.wire.logprobs import tokens_for_responses, tokens_of
from rini.wire.openai_chat.failure import failure_in
from rini.wire.openai_chat.json_value import NOTE, Json, as_object, as_string, decode
from rini.wire.openai_responses.failure import failure_of_event, failure_of_response
from rini.wire.openai_responses.fields import ITEM, NAME, note
from rini.wire.openai_responses.output import (
    Kind,
    decode_call,
    decode_item,
    decode_output_content,
    item_fields,
    kind_of,
    with_fragment,
)
from rini.wire.openai_responses.reply import ResponseFields, read_response

_Content = Literal["text", "refusal", "summary", "raw", "call"]


class _ContentDelta(msgspec.Struct, rename={"position": "content_index"}):
    output_index: int
    delta: str
    position: int = 0
    logprobs: Any = None


class _SummaryDelta(msgspec.Struct, rename={"position": "summary_index"}):
    output_index: int
    delta: str
    position: int = 0


_decode_content = msgspec.json.Decoder(_ContentDelta).decode
_decode_summary = msgspec.json.Decoder(_SummaryDelta).decode

_Reader = Callable[[bytes], _ContentDelta | _SummaryDelta]

_DELTAS: Mapping[str, tuple[_Content, _Reader]] = {
    "response.output_text.delta": ("text", _decode_content),
    "response.refusal.delta": ("refusal", _decode_content),
    "response.reasoning_summary_text.delta": ("summary", _decode_summary),
    "response.reasoning_text.delta": ("raw", _decode_content),
    "response.function_call_arguments.delta": ("call", _decode_content),
    "response.custom_tool_call_input.delta": ("call", _decode_content),
}
_BY_NAME: Mapping[bytes, tuple[_Content, _Reader]] = {name.encode(): found for name, found in _DELTAS.items()}

_KIND: Mapping[_Content, Kind] = {
    "text": "message",
    "refusal": "message",
    "summary": "reasoning",
    "raw": "reasoning",
    "call": "call",
}
_CONTENT = "content_index"
_SUMMARY = "summary_index"

_WHOLE: Mapping[str, tuple[_Content, str]] = {
    "response.output_text.done": ("text", "text"),
    "response.refusal.done": ("refusal", "refusal"),
    "response.reasoning_summary_text.done": ("summary", "text"),
    "response.reasoning_text.done": ("raw", "text"),
    "response.function_call_arguments.done": ("call", "arguments"),
    "response.custom_tool_call_input.done": ("call", "input"),
}
_PROGRESS: Final = frozenset({"in_progress", "searching", "interpreting", "generating", "completed", "failed"})


class _Piece:
    """A part under way: how much of its text came, and what its extras say so far."""

    __slots__ = ("index", "received", "signed", "told", "value")

    def __init__(self, index: int, received: int, told: Json) -> None:
        self.index = index
        self.received = received
        self.told = told
        self.signed = False
        self.value: Any = None  # of one that canon does not know


class _Item:
    """An output item under way. Its pieces are keyed by their place: contents and summaries count apart."""

    __slots__ = ("done", "fields", "follows", "id", "kind", "open", "pieces", "value")

    def __init__(self, kind: Kind, item: Json, *, follows: bool) -> None:
        self.kind: Kind = kind
        self.id = item.get("id")
        self.value = item  # of an opaque one
        self.fields = item_fields(item)
        self.fields.pop(ITEM + "status", None)
        self.follows = follows
        self.pieces: dict[tuple[bool, int], _Piece] = {}
        self.open = -1  # the part that is still to be stopped
        self.done = False


class ResponseStreamDecoder:
    """Decodes one stream. See rini.wire.codec.StreamDecoder."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._items: dict[int, _Item] = {}
        self._kind: Kind | None = None  # of the item that began last
        self._next = 0
        self._calls = False
        # The place of the delta before, which is mostly that of the next one.
        self._content: _Content | None = None
        self._at: int = -1
        self._position: int = -1
        self._piece = _Piece(-1, 0, {})
        self._known: Json = {}
        self._started = False
        self._failure: StreamFailure | None = None  # told, and waiting for response.failed
        self._ended = False
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
        except RecursionError:
            self._fail(MalformedError("An event is nested too deeply."), events)
        except MalformedError as error:
            self._fail(error, events)
        return events

    def close(self) -> list[Event]:
        """Return what the end of the bytes completes. Raises MalformedError when the stream was not finished."""
        ended = self._ended
        try:
            events = self.feed(b"\n\n")
        except MalformedError:
            if ended:
                return []  # what is cut off came after the answer
            raise
        if self._ended:
            return events
        if self._error is not None:
            raise self._error
        failure = self._failure or self._foreign_failure()
        if failure is None:
            raise MalformedError("The stream ended before the answer was finished.")
        self._ended = True
        return [*events, failure]

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
        return None if failure is None else StreamFailure(failure)

    def _take(self, name: bytes, payload: bytes, events: list[Event]) -> None:
        if self._ended:
            return
        hot = _BY_NAME.get(name)
        if hot is not None:
            content, read = hot
            try:
                delta = read(payload)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise MalformedError("A delta is not as this wire format has it.") from error
            self._delta(content, delta, events)
            return
        payload = payload.strip()
        if not payload or payload.startswith(b"[DONE]"):
            return
        event = as_object(decode(payload), "An event")
        kind = event.get("type")
        if type(kind) is not str:
            kind = name.decode("utf-8", "replace")
        if kind in _DELTAS:
            content, read = _DELTAS[kind]
            try:
                delta = read(payload)
            except msgspec.DecodeError as error:
                raise MalformedError("A delta is not as this wire format has it.") from error
            self._delta(content, delta, events)
        elif (handler := self._HANDLERS.get(kind)) is not None:
            handler(self, event, events)
        elif kind == "error" or event.get("error"):
            self._failure = StreamFailure(failure_of_event(event))
        elif kind == "keepalive":
            events.append(Meta())
        else:
            self._progress(kind, event, events)

    # -- the answer --------------------------------------------------------------------------------

    def _begin(self, event: Json, events: list[Event]) -> None:
        """Take response.created, or whichever of its like comes first."""
        if not self._started:
            self._start_answer(read_response(event.get("response"))[0], events)

    def _start_answer(self, fields: ResponseFields, events: list[Event]) -> None:
        self._started = True
        self._known = fields.rest
        events.append(Start(fields.id, fields.model, fields.created, with_extras(NAME, dict(fields.rest))))

    def _end(self, event: Json, events: list[Event]) -> None:
        """Take the event that ends the answer, with the whole of it."""
        fields, output = read_response(event.get("response"))
        failed = event.get("type") == "response.failed" or self._failure is not None
        error = fields.rest.pop("error", None) if failed else None
        if not self._started:
            self._start_answer(fields, events)
        if not failed:
            self._finish_items(output, events)
        if fields.usage is not None:
            events.append(UsageUpdate(fields.usage))
        if news := _news(fields.rest, self._known):
            events.append(Meta(with_extras(NAME, news)))
        self._ended = True
        if failed:
            events.append(self._failure or StreamFailure(failure_of_response(error)))
        else:
            reason, raw = fields.finish(calls=self._calls)
            events.append(Finish(reason or "other", raw))

    def _finish_items(self, output: list[Any], events: list[Event]) -> None:
        """End the items that no event has ended: with what the answer says of them, as far as it does."""
        done = {item.id for item in self._items.values() if item.done and type(item.id) is str}
        for at, value in enumerate(output):
            item = self._items.get(at)
            if item is not None and item.done:
                continue
            whole = as_object(value, "An output item")
            item_id = whole.get("id")
            if type(item_id) is str and item_id in done:
                continue
            self._item_done({"output_index": at, "item": whole}, events)
        for item in self._items.values():
            self._stop(item, events)

    # -- items -------------------------------------------------------------------------------------

    def _item_added(self, event: Json, events: list[Event]) -> None:
        at = _integer(event, "output_index")
        if at in self._items:
            raise MalformedError("Two output items have the same index.")
        self._new_item(at, as_object(event.get("item"), "item"), events)

    def _new_item(self, at: int, value: Json, events: list[Event]) -> _Item:
        kind = kind_of(value)
        item = self._items[at] = _Item(kind, value, follows=self._kind == kind)
        self._kind = kind
        match kind:
            case "call":
                call = decode_call(dict(value))
                fields = dict(extras_of(call.extras, NAME))
                fields.pop("status", None)
                self._start(item, (False, 0), ToolCall(call.id, call.name, call.arguments), fields, events)
                self._calls = True
            case "reasoning":
                self._start(item, (False, 0), Thinking(), {}, events)
            case "opaque":
                value.pop(NOTE + "item", None)
                self._start(item, (False, 0), Opaque(NAME, value), {}, events)
            case "message":
                pass  # its parts come with its contents
        return item

    def _start(self, item: _Item, place: tuple[bool, int], part: Part, fields: Json, events: list[Event]) -> _Piece:
        """Begin a part of ``item``, with ``fields`` as its extras."""
        self._stop(item, events)
        if not item.pieces and item.kind in {"message", "reasoning"}:
            fields = {**fields, **item.fields}
            if item.follows and ITEM + "id" not in fields:
                fields[NOTE + "item"] = True
        index = item.open = self._next
        self._next = index + 1
        piece = item.pieces[place] = _Piece(index, len(_text_of(part)), fields)
        if not isinstance(part, Opaque):
            part = msgspec.structs.replace(part, extras=with_extras(NAME, dict(fields)))
        elif item.kind == "message":
            part = with_fragment(part, fields)
            piece.value = part.value
        events.append(PartStart(index, part))
        return piece

    def _stop(self, item: _Item, events: list[Event]) -> None:
        if item.open >= 0:
            events.append(PartStop(item.open))
            item.open = -1

    def _item_done(self, event: Json, events: list[Event]) -> None:
        at = _integer(event, "output_index")
        whole = as_object(event.get("item"), "item")
        item = self._items.get(at)
        if item is None:
            item = self._new_item(at, dict(whole), events)
        if item.done:
            return
        item.done = True
        if item.kind == "opaque":
            whole.pop(NOTE + "item", None)
            if whole != item.value:
                events.append(PartDelta(item.pieces[False, 0].index, value=whole))
        elif item.kind == kind_of(whole):
            self._reconcile_item(item, whole, events)
        else:
            raise MalformedError("An output item became another one.")
        self._stop(item, events)

    def _reconcile_item(self, item: _Item, whole: Json, events: list[Event]) -> None:
        """Tell what the whole item says beyond its deltas."""
        counts = [0, 0]
        for part in decode_item(whole, follows=item.follows):
            raw = isinstance(part, Thinking) and bool(note(part.extras, "raw"))
            place = (raw, counts[raw])
            counts[raw] += 1
            self._reconcile(item.pieces.get(place) or self._new_piece(item, place, part, events), part, events)

    def _new_piece(self, item: _Item, place: tuple[bool, int], part: Part, events: list[Event]) -> _Piece:
        """Begin a part of ``item``, empty as yet and of the kind of ``part``."""
        if item.kind != "reasoning":
            empty = part if isinstance(part, Opaque) else Refusal("") if isinstance(part, Refusal) else Text("")
            return self._start(item, place, empty, {}, events)
        if not place[0]:
            return self._start(item, place, Thinking(), {}, events)
        mark: Json = {NOTE + "raw": True}
        held = item.pieces.get((False, 0))
        if held is None or held.received or len(item.pieces) > 1:
            return self._start(item, place, Thinking(), mark, events)
        # No summary came: what was begun with the item is the first raw thought.
        del item.pieces[False, 0]
        item.pieces[place] = held
        held.told |= mark
        events.append(PartDelta(held.index, extras=with_extras(NAME, mark)))
        return held

    def _reconcile(self, piece: _Piece, part: Part, events: list[Event]) -> None:
        if isinstance(part, Opaque):
            value = with_fragment(part, piece.told).value
            if value != piece.value:
                piece.value = value
                events.append(PartDelta(piece.index, value=value))
            return
        text = "" if piece.received else _text_of(part)
        piece.received += len(text)
        news = _news(extras_of(part.extras, NAME), piece.told)
        signature = None
        if isinstance(part, Thinking) and part.signature is not None and not piece.signed:
            piece.signed = True
            signature = part.signature
        if text or news or signature is not None:
            events.append(PartDelta(piece.index, text, signature=signature, extras=with_extras(NAME, news)))

    # -- contents ----------------------------------------------------------------------------------

    def _delta(self, content: _Content, delta: _ContentDelta | _SummaryDelta, events: list[Event]) -> None:
        text = delta.delta
        if delta.position == self._position and delta.output_index == self._at and content == self._content:
            piece = self._piece
        else:
            piece = self._find(content, delta.output_index, delta.position, events)
            self._content = content
            self._at = delta.output_index
            self._position = delta.position
            self._piece = piece
        logprobs = tokens_of(delta.logprobs) if type(delta) is _ContentDelta and delta.logprobs else None
        if logprobs:
            logprobs = tokens_for_responses(logprobs)
            piece.told.setdefault("logprobs", []).extend(logprobs)
            piece.received += len(text)
            events.append(PartDelta(piece.index, text, extras=with_extras(NAME, {"logprobs": logprobs})))
        elif text:
            piece.received += len(text)
            events.append(PartDelta(piece.index, text))

    def _find(self, content: _Content, at: int, position: int, events: list[Event]) -> _Piece:
        """Return the part that an event belongs to; some servers do not announce it."""
        kind = _KIND[content]
        item = self._items.get(at)
        if item is None:
            if kind == "call":
                raise MalformedError("A call's arguments belong to no call.")
            item = self._new_item(at, {"type": kind}, events)
        if item.kind != kind:
            raise MalformedError("An event does not fit its output item.")
        place = (content == "raw", 0 if kind == "call" else position)
        piece = item.pieces.get(place)
        if piece is None:
            part: Part = Refusal("") if content == "refusal" else Thinking() if kind == "reasoning" else Text("")
            piece = self._new_piece(item, place, part, events)
        return piece

    def _part_added(self, event: Json, events: list[Event]) -> None:
        at = _integer(event, "output_index")
        position = _integer(event, "content_index")
        value = as_object(event.get("part"), "part")
        if value.get("type") == "reasoning_text":
            self._find("raw", at, position, events)
            return
        item = self._items.get(at) or self._new_item(at, {"type": "message"}, events)
        if item.kind != "message":
            raise MalformedError("An event does not fit its output item.")
        part = decode_output_content(value)
        piece = item.pieces.get((False, position))
        if piece is None:
            piece = self._new_piece(item, (False, position), part, events)
        self._reconcile(piece, part, events)

    def _part_done(self, event: Json, events: list[Event]) -> None:
        at = _integer(event, "output_index")
        item = self._items.get(at)
        if item is None or item.done:
            return
        self._part_added(event, events)

    def _summary_added(self, event: Json, events: list[Event]) -> None:
        self._find("summary", _integer(event, "output_index"), _integer(event, "summary_index"), events)

    def _text_done(self, event: Json, events: list[Event]) -> None:
        """Take the whole of a text, of which some servers send no deltas."""
        content, field = _WHOLE[event["type"]]
        position = 0 if content == "call" else _integer(event, _SUMMARY if content == "summary" else _CONTENT)
        piece = self._find(content, _integer(event, "output_index"), position, events)
        whole = event.get(field)
        if whole and not piece.received:
            text = as_string(whole, field)
            piece.received = len(text)
            events.append(PartDelta(piece.index, text))

    def _annotation(self, event: Json, events: list[Event]) -> None:
        piece = self._find("text", _integer(event, "output_index"), _integer(event, "content_index"), events)
        annotation = event.get("annotation")
        if annotation is not None:
            piece.told.setdefault("annotations", []).append(annotation)
            events.append(PartDelta(piece.index, extras=with_extras(NAME, {"annotations": [annotation]})))

    def _progress(self, kind: str, event: Json, events: list[Event]) -> None:
        """Take the news of one of OpenAI's own tools; an event that is not known says nothing."""
        status = kind.rpartition(".")[2]
        at = event.get("output_index")
        item = self._items.get(at) if type(at) is int else None
        if status not in _PROGRESS or item is None or item.kind != "opaque" or item.done:
            return
        if item.value.get("status") != status:
            item.value = {**item.value, "status": status}
            events.append(PartDelta(item.pieces[False, 0].index, value=item.value))

    def _no_news(self, event: Json, events: list[Event]) -> None:
        """Take an event that says nothing that others do not."""

    _HANDLERS: ClassVar[Mapping[str, Callable[..., None]]] = {
        "response.created": _begin,
        "response.queued": _begin,
        "response.in_progress": _begin,
        "response.completed": _end,
        "response.incomplete": _end,
        "response.cancelled": _end,
        "response.failed": _end,
        "response.output_item.added": _item_added,
        "response.output_item.done": _item_done,
        "response.content_part.added": _part_added,
        "response.content_part.done": _part_done,
        "response.reasoning_summary_part.added": _summary_added,
        "response.reasoning_summary_part.done": _no_news,
        "response.output_text.annotation.added": _annotation,
        **dict.fromkeys(_WHOLE, _text_done),
    }


def _integer(event: Json, name: str) -> int:
    value = event.get(name)
    if type(value) is not int:
        raise MalformedError(f"{name} is not an integer.")
    return value


def _text_of(part: Part) -> str:
    match part:
        case Text() | Thinking() | Refusal():
            return part.text
        case ToolCall():
            return part.arguments
        case _:
            return ""


def _news(fields: Mapping[str, Any], told: Json) -> Json:
    """Return what ``fields`` add to those ``told``, which take it in. A list that does not go on with what was told is left as it was."""
    news: Json = {}
    for field, value in fields.items():
        before = told.get(field)
        if value == before:
            continue
        if isinstance(value, list):
            new = cast("list[Any]", value)
            old = cast("list[Any]", before) if isinstance(before, list) else []
            if new[: len(old)] != old:
                continue
            news[field] = new[len(old) :]
            told[field] = list(new)
        else:
            news[field] = told[field] = value
    return news
