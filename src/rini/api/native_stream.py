"""A streamed native answer: server-sent events ``start``, ``text``, ``thinking``, ``tool_call``, ``tool_result``, ``usage``, ``done``, ``error``.

Each event has an id (1, 2, 3 …) and a JSON object. ``done`` carries the very object that the unstreamed answer would have been; after
``done`` or ``error`` nothing comes.
"""

from typing import Any

import msgspec
from starlette.types import Send

from rini.api import native_shown
from rini.api.native_schemas import ContextShown, MessageShown, UsageShown
from rini.api.problems import problem_document
from rini.api.signs_of_life import SignsOfLife
from rini.canon import (
    Audio,
    Event,
    PartDelta,
    PartStart,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    plain_text,
)
from rini.errors import RiniError
from rini.turns.values import Begun

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_encode = msgspec.json.Encoder(decimal_format="string").encode


class EventWriter:
    """Writes numbered server-sent events, each with a JSON object; only those that come after number ``after``. To be closed."""

    def __init__(self, send: Send, after: int = 0) -> None:
        self.begun = False
        self._send = send
        self._signs = SignsOfLife(send)
        self._after = after
        self._sent = 0

    async def open(self) -> None:
        """Send the head, once."""
        if not self.begun:
            self.begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            self._signs.begin()

    def close(self) -> None:
        """Send nothing more by itself."""
        self._signs.end()

    def event(self, name: str, data: bytes) -> bytes:
        """Return the next event; nothing of one that the client has."""
        self._sent += 1
        if self._sent <= self._after:
            return b""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (self._sent, name.encode(), data)

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Send events."""
        self._signs.is_silent = False
        if last:
            self._signs.end()
        if data or last:
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})


class NativeStream:
    """Writes one streamed answer. Listens to a turn.

    Where several answers are streamed together, ``number`` says in each event's data which one it is about.
    """

    def __init__(self, writer: EventWriter, model: str, number: int | None = None) -> None:
        self._writer = writer
        self._model = model
        self._mark = b"" if number is None else b'"answer":%d,' % number
        self._is_alone = number is None
        self._kinds: dict[int, str] = {}

    @property
    def begun(self) -> bool:
        """Whether the head is sent, so that an error is told in the stream."""
        return self._writer.begun

    async def begin(self, begun: Begun) -> None:
        """Open the answer."""
        loaded = begun.loaded
        if loaded is None:
            await self._start({})
        else:
            cut = native_shown.context(loaded)
            await self.start(loaded.session_id, native_shown.question(loaded), loaded.answer_id, cut)

    async def start(
        self, session_id: str, question: MessageShown | None, answer_id: int, cut: ContextShown | None
    ) -> None:
        """Open an answer that is stored."""
        told: dict[str, Any] = {
            "session_id": session_id,
            "user_message": question,
            "assistant_message_id": answer_id,
        }
        await self._start(told if cut is None else {**told, "context": cut})

    async def _start(self, told: dict[str, Any]) -> None:
        await self._writer.open()
        start = {"model": self._model, **told}
        await self._writer.write(self._event("start", _encode(start)))

    async def piece(self, data: bytes, events: list[Event]) -> None:  # noqa: ARG002  # nobody else's bytes are passed on
        """Pass on what a reader sees of the first choice: text and thinking."""
        written = b"".join([self._shown(event) for event in events])
        if written:
            await self._writer.write(written)

    async def tool_called(self, call: ToolCall) -> None:
        """Show the tool call that is made now."""
        self._kinds.clear()  # what follows is another answer of the model's, with parts counted anew
        data = _encode({"id": call.id, "name": call.name, "arguments": call.arguments})
        await self._writer.write(self._event("tool_call", data))

    async def tool_answered(self, result: ToolResult, ms: int) -> None:
        """Show what the tool answered."""
        shown = {
            "id": result.call_id,
            "name": result.name,
            "result": plain_text(result.content),
            "is_error": result.is_error,
            "ms": ms,
        }
        await self._writer.write(self._event("tool_result", _encode(shown)))

    async def done(self, answer: bytes, usage: UsageShown) -> None:
        """Close a whole answer, which is stored by now."""
        await self._writer.write(
            self._event("usage", _encode(usage)) + self._event("done", answer), last=self._is_alone
        )

    async def error(self, error: RiniError, request_id: str | None) -> None:
        """Close an answer that broke off."""
        await self.broke_off(problem_document(error, request_id))

    async def broke_off(self, problem: dict[str, Any]) -> None:
        """Close an answer that broke off with what its problem document says."""
        await self._writer.write(self._event("error", _encode(problem)), last=self._is_alone)

    def _shown(self, event: Event) -> bytes:
        if type(event) is PartDelta:
            if event.choice or not event.text:
                return b""
            name = self._kinds.get(event.index)
            return self._event(name, _encode({"text": event.text})) if name else b""
        if type(event) is PartStart and event.choice == 0:
            part = event.part
            if isinstance(part, Text | Refusal | Thinking | Audio):
                name = self._kinds[event.index] = "thinking" if isinstance(part, Thinking) else "text"
                text = part.transcript if isinstance(part, Audio) else part.text
                if text:
                    return self._event(name, _encode({"text": text}))
        return b""

    def _event(self, name: str, data: bytes) -> bytes:
        return self._writer.event(name, b"{%s%s" % (self._mark, data[1:]) if self._mark else data)
