"""Rini's export: a file of lines, each a JSON object (docs/export-and-import.md).

The first line is the ``Header``. A session is a ``SessionLine``, what belongs to it, and an ``EndLine``. Its messages, memory, files,
cuts and system texts have numbers of the file's own, and come before what names them; only memory names messages that follow.

Version 1 had neither ``ResponseLine`` nor ``UsageLine``, and no ``scope`` of memory; it is read like this one.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rini import canon
from rini.memory.repository import MOST_ENTRIES
from rini.memory.schemas import (
    HIGHEST_IMPORTANCE,
    KEYWORD_CHARACTERS,
    MOST_CHARACTERS,
    MOST_KEYWORDS,
    MOST_SOURCES,
    MemoryType,
    Scope,
)
from rini.sessions.marks import MOST_LABELS

FORMAT = "rini"
VERSION = 2
OLDEST = 1
"""The first version that is still read."""

PIECE_BYTES = 720 * 1024
"""What a line of a file's bytes holds: in base64 a little less than 1 MB."""

NOTHING = msgspec.Raw()

_LARGEST = 2**31 - 1
Number = Annotated[int, Meta(ge=1, le=_LARGEST)]
Count = Annotated[int, Meta(ge=0, le=_LARGEST)]
Moment = Annotated[datetime, Meta(tz=True)]
Short = Annotated[str, Meta(max_length=32)]
Name = Annotated[str, Meta(max_length=64)]


class Header(msgspec.Struct, frozen=True):
    """The first line."""

    format: str
    version: int


class _Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="type"):
    pass


class SessionLine(_Line, frozen=True, kw_only=True, tag="session"):
    """A session begins. ``metadata`` is a JSON object."""

    alias: Annotated[str, Meta(max_length=1000)] | None = None
    system_prompt: Annotated[str, Meta(max_length=1_000_000)] | None = None
    memory_mode: Literal["auto", "explicit", "disabled"]
    context_policy: Literal["refuse", "truncate", "compact"]
    metadata: msgspec.Raw = NOTHING
    created_at: Moment
    updated_at: Moment


class MemoryLine(_Line, frozen=True, kw_only=True, tag="memory"):
    """A memory entry of the session, or one of all sessions (scope Shared) that was given to its models. ``sources`` are messages."""

    id: Number
    scope: Scope = "Session"
    memory_type: MemoryType
    content: Annotated[str, Meta(min_length=1, max_length=MOST_CHARACTERS)]
    sources: Annotated[tuple[Number, ...], Meta(max_length=MOST_SOURCES)] | None = None
    keywords: (
        Annotated[tuple[Annotated[str, Meta(max_length=KEYWORD_CHARACTERS)], ...], Meta(max_length=MOST_KEYWORDS)]
        | None
    ) = None
    importance: Annotated[float, Meta(ge=0, le=HIGHEST_IMPORTANCE)] | None = None
    timestamp: Moment


class SystemLine(_Line, frozen=True, kw_only=True, tag="system"):
    """A system text that models were given."""

    id: Number
    text: str


class FileLine(_Line, frozen=True, kw_only=True, tag="file"):
    """A file of so many bytes; ``DataLine``s with all of them follow."""

    id: Number
    size: Count


class DataLine(_Line, frozen=True, kw_only=True, tag="data"):
    """Some bytes of the file before, in base64."""

    base64: str


class MessageLine(_Line, frozen=True, kw_only=True, tag="message"):
    """A message. ``parts`` are canon's; an image in them that is a file has the URL ``rini:<number>``, a lost one ``rini:lost``."""

    id: Number
    parent: Number | None = None
    role: canon.Role
    content: str
    parts: msgspec.Raw = NOTHING
    origin: Short | None = None
    status: Literal["complete", "partial"]
    status_reason: str | None = None
    finish_reason: Short | None = None
    file: Number | None = None
    original_filename: Annotated[str, Meta(max_length=1000)] | None = None
    mime_type: Annotated[str, Meta(max_length=255)] | None = None
    provider: Name | None = None
    model_asked: str | None = None
    model_used: str | None = None
    token_count: Count | None = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    response_time_ms: Count | None = None
    memory: Annotated[tuple[Number, ...], Meta(max_length=MOST_ENTRIES)] | None = None
    system: Number | None = None
    cut: Number | None = None
    labels: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(max_length=MOST_LABELS)] = ()
    note: str | None = None
    created_at: Moment


class ResponseLine(_Line, frozen=True, kw_only=True, tag="response"):
    """What OpenAI's API repeats of the request for the answer ``message``, whose line came right before.

    ``request`` is a JSON object without what the request named by ids: that is ``previous_response``, an answer, and its conversation
    (``in_conversation``). ``first_input`` is the first message of its input, ``previous`` the one before that.
    """

    message: Number
    request: msgspec.Raw = NOTHING
    first_input: Number | None = None
    previous: Number | None = None
    previous_response: Number | None = None
    in_conversation: bool = False
    background: bool = False
    error: msgspec.Raw = NOTHING
    deleted_at: Moment | None = None
    created_at: Moment


class UsageLine(_Line, frozen=True, kw_only=True, tag="usage"):
    """What a call of a model for the answer ``message`` took: to be read, and passed over by the import."""

    message: Number
    provider: Name
    model: str
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    estimated: bool = False
    cost_usd: str | None = None
    outcome: str
    created_at: Moment


class CutLine(_Line, frozen=True, kw_only=True, tag="cut"):
    """Where a path begins for a model that cannot read all of it: after ``message``."""

    id: Number
    message: Number
    summary: str | None = None
    reason: Name | None = None
    window_tokens: Count | None = None
    size_tokens: Count
    provider: Name | None = None
    model: str | None = None
    created_at: Moment


class EndLine(_Line, frozen=True, kw_only=True, tag="end"):
    """The session is complete: it has so many messages, and ``head`` is the tip of its current branch."""

    messages: Count
    head: Number | None = None


Line = (
    SessionLine
    | MemoryLine
    | SystemLine
    | FileLine
    | DataLine
    | MessageLine
    | ResponseLine
    | UsageLine
    | CutLine
    | EndLine
)
