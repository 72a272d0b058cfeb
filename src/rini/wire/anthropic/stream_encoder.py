"""Events as the bytes of a streamed answer, in the order that the official SDK demands.

message_start carries the id, the model and the first usage, so it waits for the event after Start. The finish waits for
close(), since the usage may come after it.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from rini.canon import (
    Audio,
    Event,
    Finish,
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
    Usage,
    UsageUpdate,
    extras_of,
    merge_extras,
)
from rini.wire.anthropic.blocks import block_of
from rini.wire.anthropic.failure import error_body
from rini.wire.anthropic.fields import WIRE, Json, dump, object_or_none
from rini.wire.anthropic.reply import call_id, envelope, reply_block, stop_reason
from rini.wire.anthropic.usage import encode_usage

_text = msgspec.json.Encoder().encode


class MessageStreamEncoder:
    """Turns events into the bytes of one streamed answer. See StreamEncoder.

    Only the first choice is written, for there is one answer; parts that the format cannot express are left out.
    """

    def __init__(self) -> None:
        self._start: Start | None = None
        self._begun = False
        self._usage: Usage | None = None
        self._told_usage: Json = {}
        self._blocks: dict[int, _Block] = {}
        self._count = 0
        self._more: Json = {}
        self._finish: Finish | None = None
        self._calls = False
        self._ended = False

    def feed(self, event: Event) -> bytes:
        """Return the bytes that ``event`` adds; ``b""`` when it waits for another one."""
        if type(event) is PartDelta:
            if event.choice:
                return b""
            block = self._blocks.get(event.index)
            return b"" if block is None else block.delta(event)
        if self._ended or getattr(event, "choice", None):
            return b""
        match event:
            case Start():
                self._start = event
                return b""
            case UsageUpdate():
                self._usage = event.usage
                return self._begin() if self._start is not None else b""
            case PartStart():
                return self._begin() + self._part(event)
            case PartStop():
                block = self._blocks.get(event.index)
                return b"" if block is None else block.stop()
            case Finish():
                self._finish = event
                self._add(event.extras)
                return self._begin()
            case Meta():
                self._add(event.extras)
                return self._begin_if_started() + (b"" if event.extras else _PING)
            case StreamFailure():
                self._ended = True
                return self._begin_if_started() + _frame(b"error", error_body(event.failure))
            case PartDelta():
                return b""

    def close(self) -> bytes:
        """Return the bytes that end the stream: an error where the answer was not finished."""
        if self._ended:
            return b""
        self._ended = True
        finish = self._finish
        if finish is None:
            broken: Json = {"type": "api_error", "message": "The answer broke off."}
            return self._begin_if_started() + _frame(b"error", {"type": "error", "error": broken, "request_id": None})
        stops = b"".join(block.stop() for block in self._blocks.values())
        delta: Json = {
            "stop_reason": stop_reason(finish.reason, finish.raw, calls=self._calls),
            "stop_sequence": finish.stop_sequence,
        }
        rest = dict(self._more)
        delta.update((name, rest.pop(name)) for name in _IN_DELTA if name in rest)
        usage = encode_usage(self._usage)
        changed = {
            name: value
            for name, value in usage.items()
            if name in _CUMULATIVE or name not in self._told_usage or self._told_usage[name] != value
        }
        end: Json = {"type": "message_delta", "delta": delta, "usage": changed, **rest}
        return stops + _frame(b"message_delta", end) + _frame(b"message_stop", {"type": "message_stop"})

    def _add(self, extras: Mapping[str, Mapping[str, Any]] | None) -> None:
        if extras is not None:
            merged = merge_extras({WIRE: self._more}, {WIRE: extras_of(extras, WIRE)})
            self._more = dict(extras_of(merged, WIRE))

    def _begin_if_started(self) -> bytes:
        return b"" if self._start is None else self._begin()

    def _begin(self) -> bytes:
        """Return message_start, once."""
        if self._begun:
            return b""
        self._begun = True
        start = self._start or Start()
        self._start = start
        message = envelope(start.id, start.model)
        message.update(content=[], stop_reason=None, stop_sequence=None)
        usage = encode_usage(self._usage)
        if self._usage is not None:
            self._told_usage = usage
        message["usage"] = usage
        message.update(extras_of(start.extras, WIRE))
        return _frame(b"message_start", {"type": "message_start", "message": message})

    def _part(self, event: PartStart) -> bytes:
        self._calls = self._calls or isinstance(event.part, ToolCall)
        held = b"".join(block.release() for block in self._blocks.values())
        block = _block(event.part, self._count, self._start, event.index)
        if block is None:
            self._blocks.pop(event.index, None)
            return held
        self._blocks[event.index] = block
        self._count += 1
        return held + block.start()


def _block(part: Part, index: int, start: Start | None, position: int) -> "_Block | None":
    reply_id = start.id if start is not None else None
    match part:
        case Text() | Refusal():
            return _Block(index, "text", block_of("text", {"text": ""}, part.extras), part.text)
        case Thinking() if part.redacted is None or part.text or part.signature:
            first = block_of("thinking", {"thinking": "", "signature": ""}, part.extras)
            return _Block(index, "thinking", first, part.text, part.signature or "")
        case ToolCall():
            fields: Json = {"id": call_id(part, reply_id, position), "name": part.name, "input": {}}
            return _Block(index, "tool_use", block_of("tool_use", fields, part.extras), part.arguments)
        case Audio():
            return _Block(index, "text", block_of("text", {"text": ""}, None), part.transcript or "")
        case _:
            value = reply_block(part, reply_id, position)
            return None if value is None else _Block(index, "whole", value)


class _Block:
    """One block under way.

    A whole one (opaque, redacted, an image) waits until it stops or another begins, since it may still change. A signature
    goes out in one piece at the end, for the SDK keeps the last piece only.
    """

    __slots__ = ("_first", "_index", "_initial", "_kind", "_open", "_prefix", "_signature", "_waits")

    def __init__(self, index: int, kind: str, first: Json, initial: str = "", signature: str = "") -> None:
        self._index = index
        self._kind = kind
        self._first = first
        self._initial = initial
        self._signature = signature
        self._waits = kind == "whole"
        self._open = True
        type_, field = _DELTAS.get(kind, ("", ""))
        self._prefix = (
            b"event: content_block_delta\n"
            b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
            % (index, type_.encode(), field.encode())
        )

    def start(self) -> bytes:
        if self._waits:
            return b""
        event: Json = {"type": "content_block_start", "index": self._index, "content_block": self._first}
        begun = _frame(b"content_block_start", event)
        return begun + self._prefix + _text(self._initial) + b"}}\n\n" if self._initial else begun

    def delta(self, delta: PartDelta) -> bytes:
        if not self._open:
            return b""
        if self._kind == "whole":
            self._first = object_or_none(delta.value) or self._first
            if delta.data and self._first.get("type") == "redacted_thinking":
                self._first = {**self._first, "data": self._first["data"] + delta.data}
            return b""
        out = self._prefix + _text(delta.text) + b"}}\n\n" if delta.text else b""
        if delta.signature is not None:
            self._signature += delta.signature
        for name, value in extras_of(delta.extras, WIRE).items():
            if name == "citations" and isinstance(value, list):
                for citation in cast("list[object]", value):
                    out += self._frame_delta({"type": "citations_delta", "citation": citation})
            else:
                out += self._frame_delta({"type": f"{name}_delta", name: value})
        return out

    def release(self) -> bytes:
        """Return the block if it still waits: another one begins."""
        return self.stop() if self._waits else b""

    def stop(self) -> bytes:
        if not self._open:
            return b""
        self._open = False
        out = b""
        if self._waits:
            self._waits = False
            out = self.start()
        elif self._signature and self._kind == "thinking":
            out = self._frame_delta({"type": "signature_delta", "signature": self._signature})
        return out + _frame(b"content_block_stop", {"type": "content_block_stop", "index": self._index})

    def _frame_delta(self, delta: Json) -> bytes:
        event: Json = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return _frame(b"content_block_delta", event)


def _frame(name: bytes, event: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, dump(event))


_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_IN_DELTA = ("container", "stop_details")
_CUMULATIVE = frozenset(
    {
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "output_tokens_details",
        "server_tool_use",
    }
)
_DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}
