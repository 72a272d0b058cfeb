"""Content blocks and the parts they are: what requests and replies have in common.

Blocks that canon has no part for (server-side tools and their results, container uploads, compaction, search results
and whatever comes next) become Opaque with the block as it is.
"""

import binascii
from base64 import b64decode
from typing import Final, cast

from rini.canon import Document, Extras, Image, Media, Opaque, Part, Text, Thinking, ToolCall, ToolResult, extras_of
from rini.wire.anthropic.fields import (
    WIRE,
    Json,
    as_list,
    as_object,
    dump,
    load,
    object_or_none,
    optional_flag,
    optional_text,
    other_fields,
    text_field,
)
from rini.wire.codec import MalformedError, UnsupportedError

INVALID_JSON: Final = "INVALID_JSON"
"""The key under which text that is no JSON object travels as a tool's input, which must be an object.

The name is the one that Anthropic's page on fine-grained tool streaming proposes for giving broken JSON back to the model.
"""


def decode_content(content: object, where: str) -> tuple[Part, ...]:
    """Return the parts of a message's or tool result's ``content``: a string, blocks or nothing. Raises MalformedError."""
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (Text(content),)
    return tuple(decode_block(block, f"{where}[{position}]") for position, block in enumerate(as_list(content, where)))


def decode_block(value: object, where: str) -> Part:
    """Return the part that one block is. Raises MalformedError."""
    block = as_object(value, where)
    match text_field(block, "type", where):
        case "text":
            return Text(text_field(block, "text", where), extras=other_fields(block, _TEXT))
        case "thinking":
            return Thinking(
                text_field(block, "thinking", where),
                signature=optional_text(block, "signature", where),
                extras=other_fields(block, _THINKING),
            )
        case "redacted_thinking":
            return Thinking(redacted=text_field(block, "data", where), extras=other_fields(block, _REDACTED))
        case "tool_use":
            return ToolCall(
                id=text_field(block, "id", where),
                name=text_field(block, "name", where),
                arguments=arguments_text(as_object(block.get("input") or {}, f"{where}.input")),
                extras=other_fields(block, _TOOL_USE),
            )
        case "tool_result":
            return ToolResult(
                call_id=text_field(block, "tool_use_id", where),
                content=decode_content(block.get("content"), f"{where}.content"),
                is_error=optional_flag(block, "is_error", where) or False,
                extras=other_fields(block, _TOOL_RESULT),
            )
        case "image":
            media = _decode_source(block.get("source"))
            return Opaque(WIRE, block) if media is None else Image(media, extras=other_fields(block, _IMAGE))
        case "document":
            return _decode_document(block, where)
        case _:
            return Opaque(WIRE, block)


def arguments_text(value: Json) -> str:
    """Return a tool's input as JSON text: ``{}`` where it is empty."""
    if not value:
        return "{}"
    if len(value) == 1:
        broken = value.get(INVALID_JSON)
        if isinstance(broken, str) and broken.strip() and _object_in(broken) is None:
            return broken
    return dump(value).decode()


def arguments_object(text: str) -> Json:
    """Return JSON text of a tool's arguments as the object that ``input`` must be."""
    if not text.strip():
        return {}
    value = _object_in(text)
    return {INVALID_JSON: text} if value is None else value


def block_of(type_: str, fields: Json, extras: Extras | None) -> Json:
    """Return the block with what its part's extras hold for this wire."""
    return {"type": type_, **fields, **extras_of(extras, WIRE)}


def thinking_block(part: Thinking) -> Json:
    """Return the block of ``part``: with a signature at any rate, as the SDK asks for one."""
    if part.redacted is not None and not part.text and not part.signature:
        return block_of("redacted_thinking", {"data": part.redacted}, part.extras)
    return block_of("thinking", {"thinking": part.text, "signature": part.signature or ""}, part.extras)


def tool_use_block(call_id: str, part: ToolCall) -> Json:
    """Return the block of ``part`` under the id ``call_id``."""
    fields: Json = {"id": call_id, "name": part.name, "input": arguments_object(part.arguments)}
    return block_of("tool_use", fields, part.extras)


def image_block(part: Image, where: str) -> Json:
    """Return the block of ``part``. Raises UnsupportedError for an image that the API does not take."""
    media = part.media
    source: Json
    if media.data is not None:
        mime = media.mime_type or _sniff(media.data)
        if mime not in _IMAGE_TYPES:
            raise UnsupportedError(WIRE, f"{where}.media.mime_type", f"images are {', '.join(sorted(_IMAGE_TYPES))}")
        source = {"type": "base64", "media_type": mime, "data": media.data}
    else:
        source = _reference(media, where)
    return block_of("image", {"source": source}, part.extras)


def document_block(part: Document, where: str) -> Json:
    """Return the block of ``part``. Raises UnsupportedError for a file that the API does not take."""
    media = part.media
    source: Json
    text = part.text
    if text is None and media.data is not None and (media.mime_type or "").startswith("text/"):
        text = _plain_text(media.data, where)
    if text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": text}
    elif media.data is not None:
        mime = media.mime_type or _sniff(media.data)
        if mime != _PDF:
            raise UnsupportedError(WIRE, f"{where}.media.mime_type", "documents are PDF or plain text")
        source = {"type": "base64", "media_type": mime, "data": media.data}
    else:
        if media.url is not None and media.mime_type not in (None, _PDF):
            raise UnsupportedError(WIRE, f"{where}.media.mime_type", "a document's address must be that of a PDF")
        source = _reference(media, where)
    fields: Json = {"source": source}
    if part.name is not None:
        fields["title"] = part.name
    return block_of("document", fields, part.extras)


def _object_in(text: str) -> Json | None:
    try:
        return object_or_none(load(text))
    except MalformedError:
        return None


def _decode_source(value: object) -> Media | None:
    """Return what a ``source`` points to; None where canon has no words for it."""
    source = object_or_none(value)
    if source is None:
        return None
    type_ = source.get("type")
    if type_ == "base64" and source.keys() == {"type", "media_type", "data"}:
        data, mime = source["data"], source["media_type"]
        return Media(data=data, mime_type=mime) if isinstance(data, str) and isinstance(mime, str) else None
    name, field = _REFERENCES.get(str(type_), ("", ""))
    reference = source.get(name)
    if isinstance(reference, str) and source.keys() == {"type", name}:
        return Media(**{field: reference})
    return None


def _decode_document(block: Json, where: str) -> Part:
    source = object_or_none(block.get("source")) or {}
    name = optional_text(block, "title", where)
    if source.get("type") == "text" and source.keys() == {"type", "media_type", "data"}:
        text, mime = source["data"], source["media_type"]
        if isinstance(text, str) and mime == "text/plain":
            return Document(Media(mime_type=mime), name=name, text=text, extras=other_fields(block, _DOCUMENT))
    if source.get("type") == "content":
        text = _text_of(source.get("content"))
        if text is not None:
            # The blocks go back as they came: their borders are what citations count.
            return Document(
                Media(mime_type="text/plain"), name=name, text=text, extras=other_fields(block, _DOCUMENT_BUT_SOURCE)
            )
    media = _decode_source(source)
    if media is None:
        return Opaque(WIRE, block)
    if media.url is not None:
        media = Media(url=media.url, mime_type=_PDF)  # an address is always that of a PDF
    return Document(media, name=name, extras=other_fields(block, _DOCUMENT))


def _text_of(content: object) -> str | None:
    """Return the text of a document's own blocks; None where there is more to them than text."""
    if isinstance(content, str):
        return content
    found: list[str] = []
    for value in cast("list[object]", content) if isinstance(content, list) else [None]:
        block = object_or_none(value) or {}
        text = block.get("text")
        if block.get("type") != "text" or not isinstance(text, str):
            return None
        found.append(text)
    return "\n\n".join(found)


def _reference(media: Media, where: str) -> Json:
    if media.url is not None:
        if not media.url.startswith(("https://", "http://")):
            raise UnsupportedError(WIRE, f"{where}.media.url", "an address must begin with https://")
        return {"type": "url", "url": media.url}
    if media.file_id is not None:
        # OpenAI writes file-…, Gemini files/… or an address: neither names a file of Anthropic's.
        if media.file_id.startswith("file-") or "/" in media.file_id:
            raise UnsupportedError(WIRE, f"{where}.media.file_id", "the file lies with another provider")
        return {"type": "file", "file_id": media.file_id}
    raise UnsupportedError(WIRE, f"{where}.media", "it holds nothing")


def _plain_text(data: str, where: str) -> str:
    try:
        return b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise UnsupportedError(WIRE, f"{where}.media.data", "a plain text must be UTF-8") from error


def _sniff(data: str) -> str | None:
    return next((mime for start, mime in _MAGIC.items() if data.startswith(start)), None)


_PDF = "application/pdf"
_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# How the formats' first bytes look in base64.
_MAGIC = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi0": _PDF,
}
_REFERENCES = {"url": ("url", "url"), "file": ("file_id", "file_id")}

_TEXT = frozenset({"type", "text"})
_THINKING = frozenset({"type", "thinking", "signature"})
_REDACTED = frozenset({"type", "data"})
_TOOL_USE = frozenset({"type", "id", "name", "input"})
_TOOL_RESULT = frozenset({"type", "tool_use_id", "content", "is_error"})
_IMAGE = frozenset({"type", "source"})
_DOCUMENT = frozenset({"type", "source", "title"})
_DOCUMENT_BUT_SOURCE = frozenset({"type", "title"})
