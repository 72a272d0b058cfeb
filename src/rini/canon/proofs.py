"""Proofs of who thought something: signatures and encrypted thoughts, which mean nothing in another provider's format."""

import msgspec

from rini.canon.event import Event, PartDelta, PartStart
from rini.canon.part import Image, Part, Text, Thinking, ToolCall
from rini.canon.reply import Reply


def unproven(reply: Reply) -> Reply:
    """Return the reply without proofs."""
    choices = [
        msgspec.structs.replace(choice, parts=tuple([unproven_part(part) for part in choice.parts]))
        for choice in reply.choices
    ]
    return msgspec.structs.replace(reply, choices=tuple(choices))


class Unproving:
    """Takes the proofs out of one stream's events."""

    def __init__(self) -> None:
        self._thoughts: set[tuple[int, int]] = set()

    def event(self, event: Event) -> Event:
        """Return the event without proofs."""
        if type(event) is PartDelta:
            if event.signature is None and not event.data:
                return event
            encrypted = (event.choice, event.index) in self._thoughts
            return msgspec.structs.replace(event, signature=None, data="" if encrypted else event.data)
        if type(event) is PartStart:
            if type(event.part) is Thinking:
                self._thoughts.add((event.choice, event.index))
            part = unproven_part(event.part)
            return event if part is event.part else msgspec.structs.replace(event, part=part)
        return event


def unproven_part(part: Part) -> Part:
    """Return the part without proofs."""
    match part:
        case Thinking() if part.signature is not None or part.redacted is not None:
            return msgspec.structs.replace(part, signature=None, redacted=None)
        case Text() | Image() | ToolCall() if part.signature is not None:
            return msgspec.structs.replace(part, signature=None)
        case _:
            return part


def has_proofs(parts: tuple[Part, ...]) -> bool:
    """Whether any part has a signature or is encrypted."""
    return any(unproven_part(part) is not part for part in parts)
