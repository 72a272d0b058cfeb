"""The parts of a message."""

from collections.abc import Iterable
from typing import Any

import msgspec

from rini.canon.extras import Extras


class Media(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the bytes of an image, document, audio or video are: exactly one of data, url, file_id.

    ``data`` is base64 text (standard alphabet) as it travels in JSON: it is never decoded on the way through.
    ``mime_type`` is ``None`` where the wire format does not tell (OpenAI's image URLs).
    """

    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    mime_type: str | None = None


class Text(msgspec.Struct, frozen=True, omit_defaults=True, tag="text"):
    """Text. ``signature`` is the provider's proof over it (Gemini's thoughtSignature), only valid for its origin."""

    text: str
    signature: str | None = None
    extras: Extras | None = None


class Thinking(msgspec.Struct, frozen=True, omit_defaults=True, tag="thinking"):
    """Reasoning that a provider showed. It is never text.

    ``signature`` proves it to its origin; ``redacted`` holds the encrypted form that came instead of text.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    extras: Extras | None = None


class Image(msgspec.Struct, frozen=True, omit_defaults=True, tag="image"):
    """An image. ``detail`` is OpenAI's low, high or auto."""

    media: Media
    detail: str | None = None
    signature: str | None = None
    extras: Extras | None = None


class Document(msgspec.Struct, frozen=True, omit_defaults=True, tag="document"):
    """A file such as a PDF. A plain-text document has its text in ``text`` and a Media without bytes."""

    media: Media
    name: str | None = None
    text: str | None = None
    extras: Extras | None = None


class Audio(msgspec.Struct, frozen=True, omit_defaults=True, tag="audio"):
    """Sound, in or out. ``id`` and ``transcript`` come with audio that a model made."""

    media: Media
    id: str | None = None
    transcript: str | None = None
    extras: Extras | None = None


class Video(msgspec.Struct, frozen=True, omit_defaults=True, tag="video"):
    """A film, in."""

    media: Media
    extras: Extras | None = None


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True, tag="tool_call"):
    """The model asks for a client-side tool.

    ``arguments`` is JSON text exactly as the model wrote it (it may be cut off or invalid). ``id`` is ``""``
    where the provider gave none (Gemini, sometimes).
    """

    id: str
    name: str
    arguments: str = ""
    signature: str | None = None
    extras: Extras | None = None


class ToolResult(msgspec.Struct, frozen=True, omit_defaults=True, tag="tool_result"):
    """What a tool answered to the call ``call_id``. ``name`` is the tool's, where the wire format tells it."""

    call_id: str
    content: "tuple[Part, ...]" = ()
    name: str | None = None
    is_error: bool = False
    extras: Extras | None = None


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True, tag="refusal"):
    """The model's own words when it declines."""

    text: str
    extras: Extras | None = None


class Opaque(msgspec.Struct, frozen=True, omit_defaults=True, tag="opaque"):
    """A part that canon does not express, kept whole for the wire format that it came from.

    ``value`` is the part's JSON value (mostly an object). Server-side tool calls and their results are such.
    """

    wire: str
    value: Any


Part = Text | Thinking | Image | Document | Audio | Video | ToolCall | ToolResult | Refusal | Opaque


def plain_text(parts: Iterable[Part]) -> str:
    """Join the text of ``parts``: what a reader sees, refusals and transcripts included, thinking and tools not."""
    found: list[str] = []
    for part in parts:
        match part:
            case Text() | Refusal():
                found.append(part.text)
            case Audio() if part.transcript:
                found.append(part.transcript)
            case _:
                pass
    return "".join(found)
