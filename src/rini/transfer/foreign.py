"""What is common to the exports of other services: a conversation becomes lines as Rini would have written them."""

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from rini import canon
from rini.files.headers import type_of
from rini.transfer.archive import Archive
from rini.transfer.elements import array_elements
from rini.transfer.export import SCHEME
from rini.transfer.items import File, Item
from rini.transfer.lines import NOTHING, EndLine, MessageLine, SessionLine
from rini.transfer.refusal import Refusal, storable

LONGEST_TITLE = 1000

_RUN = re.compile(r"`{3,}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Said(NamedTuple):
    """What becomes of one message of another service. ``images`` are files of the archive."""

    role: canon.Role
    parts: tuple[canon.Part, ...]
    created_at: datetime
    model: str | None = None
    status_reason: str | None = None
    images: tuple[bytes, ...] = ()


class Translation(Protocol):
    """How a service's conversations are read."""

    left_out: Counter[str]

    def lines(self, data: bytes, archive: Archive | None) -> Iterator[Item]:
        """Yield a conversation's lines, nothing for one without messages. Raises Refusal."""
        ...


class ForeignReader:
    """Reads conversations, each whole in memory and one at a time."""

    def __init__(self, conversations: Iterable[bytes], translation: Translation, archive: Archive | None) -> None:
        self.where = "the file"
        self.left_out: Counter[str] = Counter()
        self.empty = 0
        self._conversations = conversations
        self._translation = translation
        self._archive = archive

    def items(self) -> Iterator[Item]:
        """Yield the conversations as lines."""
        self.where = "conversation 1"
        for number, data in enumerate(self._conversations, 1):
            self.where = f"conversation {number}"
            self._translation.left_out = self.left_out = Counter()
            some = False
            for item in self._translation.lines(data, self._archive):
                some = True
                yield item
            self.empty += not some
            self.where = f"conversation {number + 1}"


class Nodes:
    """A conversation's messages by their service's ids, to be put into an order in which each comes after its parent."""

    def __init__(self) -> None:
        self._parents: dict[str, str | None] = {}
        self._times: dict[str, datetime] = {}

    def add(self, name: str, parent: str | None, created_at: datetime) -> None:
        """Add one. Raises Refusal when its id was there before."""
        if name in self._parents:
            raise Refusal(f"has two messages with the id {name[:100]!r}")
        self._parents[name] = parent
        self._times[name] = created_at

    def parent(self, name: str) -> str | None:
        """Return the parent's id."""
        return self._parents[name]

    def in_order(self) -> Iterator[str]:
        """Yield the ids, the oldest first as far as parents come before. Raises Refusal for parents that are not there, and for a cycle."""
        children: dict[str | None, list[str]] = {}
        for name, parent in self._parents.items():
            if parent is not None and parent not in self._parents:
                raise Refusal(f"has a message {name[:100]!r} below {parent[:100]!r}, which is not there")
            children.setdefault(parent, []).append(name)
        places = {name: place for place, name in enumerate(self._parents)}
        ready = [(self._times[name], places[name], name) for name in children.get(None, ())]
        heapq.heapify(ready)
        count = 0
        while ready:
            _, _, name = heapq.heappop(ready)
            count += 1
            yield name
            for child in children.get(name, ()):
                heapq.heappush(ready, (self._times[child], places[child], child))
        if count != len(self._parents):
            raise Refusal("has messages that are each other's ancestors")


class Lines:
    """Writes a conversation's messages as lines. A message has one file: further images become messages of their own before it."""

    def __init__(self) -> None:
        self.count = 0

    def message(self, parent: int | None, said: Said) -> Iterator[Item]:
        """Yield the message's lines; its number is then ``count``."""
        for image in said.images[1:]:
            yield from self._one(parent, said._replace(parts=(), images=(image,)))
            parent = self.count
        yield from self._one(parent, said._replace(images=said.images[:1]))

    def _one(self, parent: int | None, said: Said) -> Iterator[Item]:
        self.count += 1
        parts = said.parts
        file = None
        if said.images:
            file = self.count
            yield File(file, said.images[0])
            parts = (canon.Image(canon.Media(url=f"{SCHEME}{file}")), *parts)
        content = canon.plain_text(parts)
        plain = parts == (canon.Text(content),)
        yield MessageLine(
            id=self.count,
            parent=parent,
            role=said.role,
            content=content,
            parts=NOTHING if plain else msgspec.Raw(msgspec.json.encode(parts)),
            status="partial" if said.status_reason else "complete",
            status_reason=said.status_reason,
            file=file,
            mime_type=type_of(said.images[0]) if said.images else None,
            model_used=said.model,
            created_at=said.created_at,
        )


def session_line(title: str | None, created_at: datetime, updated_at: datetime) -> SessionLine:
    """Return the line with which a conversation begins."""
    return SessionLine(
        alias=storable(title)[:LONGEST_TITLE] if title else None,
        memory_mode="auto",
        context_policy="compact",
        created_at=created_at,
        updated_at=max(updated_at, created_at),
    )


def end_line(count: int, head: int | None) -> EndLine:
    """Return the line with which it ends."""
    return EndLine(messages=count, head=head)


def from_seconds(seconds: float) -> datetime:
    """Return the moment so many seconds after 1970. Raises Refusal for one that no calendar has."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise Refusal(f"has the time {seconds!r}, which is no date") from None


def fenced(text: str, language: str = "") -> str:
    """Return ``text`` as a block of code, in a fence that nothing in it ends."""
    longest = max((len(run[0]) for run in _RUN.finditer(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}{'' if text.endswith(chr(10)) else chr(10)}{fence}"


def elements_of(archive: Archive) -> Iterator[bytes]:
    """Yield the conversations of all of an archive's files of them."""
    for info in archive.conversations:
        with archive.open(info) as member:
            yield from array_elements(member)
