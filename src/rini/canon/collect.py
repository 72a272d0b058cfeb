"""How a stream of events adds up to a whole reply."""

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from rini.canon.event import (
    Event,
    Finish,
    Meta,
    PartDelta,
    PartStart,
    PartStop,
    Start,
    StreamFailure,
    UsageUpdate,
)
from rini.canon.extras import Extras
from rini.canon.failure import Failure
from rini.canon.part import Audio, Opaque, Part, Refusal, Text, Thinking, ToolCall
from rini.canon.reply import Choice, Reply
from rini.canon.usage import Usage


class ReplyBuilder:
    """Adds events up. ``reply()`` may be asked at any time; ``failure`` is set when the stream broke off."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.failure: Failure | None = None
        self._start = Start()
        self._extras = _ExtrasBuilder()
        self._choices: dict[int, _ChoiceBuilder] = {}

    def add(self, event: Event) -> None:
        """Take one more event."""
        if type(event) is PartDelta:
            self._choice(event.choice).parts[event.index].add(event)
            return
        match event:
            case PartStart():
                self._choice(event.choice).parts[event.index] = _PartBuilder(event.part)
            case Start():
                self._start = event
                self._extras.add(event.extras)
            case UsageUpdate():
                self.usage = event.usage
            case Finish():
                choice = self._choice(event.choice)
                choice.finish = event
                choice.extras.add(event.extras)
            case Meta():
                if event.choice is None:
                    self._extras.add(event.extras)
                else:
                    choice = self._choice(event.choice)
                    choice.extras.add(event.extras)
            case StreamFailure():
                self.failure = event.failure
            case PartStop() | PartDelta():
                pass

    @property
    def finished(self) -> bool:
        """Whether every choice that began has its finish reason, and one did."""
        return bool(self._choices) and all(choice.finish for choice in self._choices.values())

    def reply(self) -> Reply:
        """Return what the events added up to so far."""
        return Reply(
            choices=tuple(self._choices[index].build() for index in sorted(self._choices)),
            usage=self.usage,
            id=self._start.id,
            model=self._start.model,
            created=self._start.created,
            extras=self._extras.build(),
        )

    def _choice(self, index: int) -> "_ChoiceBuilder":
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _ChoiceBuilder()
        return choice


def collect(events: Iterable[Event]) -> Reply:
    """Return the reply that ``events`` add up to."""
    builder = ReplyBuilder()
    for event in events:
        builder.add(event)
    return builder.reply()


def merge_extras(old: Extras | None, new: Extras | None) -> Extras | None:
    """Merge ``new`` into ``old``, field by field: a list is extended, anything else replaced."""
    builder = _ExtrasBuilder()
    builder.add(old)
    builder.add(new)
    return builder.build()


class _ExtrasBuilder:
    """Extras that grow: lists are extended in place, so that a long answer costs linear time."""

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields: dict[str, dict[str, Any]] | None = None

    def add(self, extras: Extras | None) -> None:
        if not extras:
            return
        if self._fields is None:
            self._fields = {}
        for wire, fields in extras.items():
            into = self._fields.setdefault(wire, {})
            for name, value in fields.items():
                before = into.get(name)
                if isinstance(value, list):
                    if isinstance(before, list):
                        cast("list[Any]", before).extend(cast("list[Any]", value))
                    else:
                        into[name] = list(cast("list[Any]", value))
                else:
                    into[name] = value

    def build(self) -> Extras | None:
        """Return what came, on its own: more may follow."""
        if self._fields is None:
            return None
        return {
            wire: {
                name: list(cast("list[Any]", value)) if isinstance(value, list) else value
                for name, value in fields.items()
            }
            for wire, fields in self._fields.items()
        }


class _ChoiceBuilder:
    __slots__ = ("extras", "finish", "parts")

    def __init__(self) -> None:
        self.parts: dict[int, _PartBuilder] = {}
        self.finish: Finish | None = None
        self.extras = _ExtrasBuilder()

    def build(self) -> Choice:
        finish = self.finish
        return Choice(
            parts=tuple(self.parts[index].build() for index in sorted(self.parts)),
            finish_reason=finish.reason if finish else None,
            raw_finish_reason=finish.raw if finish else None,
            stop_sequence=finish.stop_sequence if finish else None,
            extras=self.extras.build(),
        )


class _PartBuilder:
    """A part that grows: fragments are joined once, at the end, so that a long answer costs linear time."""

    __slots__ = ("_data", "_extras", "_part", "_signature", "_text", "_value")

    def __init__(self, part: Part) -> None:
        self._part = part
        self._text: list[str] = []
        self._data: list[str] = []
        self._signature: str | None = None
        self._extras: _ExtrasBuilder | None = None
        self._value: object = None

    def add(self, delta: PartDelta) -> None:
        if delta.text:
            self._text.append(delta.text)
        if delta.data:
            self._data.append(delta.data)
        if delta.signature is not None:
            self._signature = (self._signature or "") + delta.signature
        if delta.extras is not None:
            if self._extras is None:
                self._extras = _ExtrasBuilder()
                if not isinstance(self._part, Opaque):
                    self._extras.add(self._part.extras)
            self._extras.add(delta.extras)
        if delta.value is not None:
            self._value = delta.value

    def build(self) -> Part:
        part = self._part
        if isinstance(part, Opaque):
            return part if self._value is None else Opaque(part.wire, self._value)
        changes: dict[str, Any] = {}
        if self._extras is not None:
            changes["extras"] = self._extras.build()
        if self._signature is not None and isinstance(part, Text | Thinking | ToolCall):
            changes["signature"] = (part.signature or "") + self._signature
        if self._text:
            more = "".join(self._text)
            match part:
                case Text() | Thinking() | Refusal():
                    changes["text"] = part.text + more
                case ToolCall():
                    changes["arguments"] = part.arguments + more
                case Audio():
                    changes["transcript"] = (part.transcript or "") + more
                case _:
                    pass
        if self._data:
            more = "".join(self._data)
            match part:
                case Thinking():
                    changes["redacted"] = (part.redacted or "") + more
                case Audio():
                    changes["media"] = msgspec.structs.replace(part.media, data=(part.media.data or "") + more)
                case _:
                    pass
        return msgspec.structs.replace(part, **changes) if changes else part
