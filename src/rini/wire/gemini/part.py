"""One part of a content, in both directions.

How canon's ToolResult and ``functionResponse`` map: a response of ``{"result": text}`` or ``{"error": text}`` is that text. Any
other response is kept whole in the extras beside a readable form of it (the text of its only ``output``, or its JSON), and goes back
whole as long as nobody changed the content. Media in a functionResponse's ``parts`` are content too, and kept the same way.
"""

from base64 import b64encode
from collections.abc import Mapping
from mimetypes import guess_type
from typing import Any

from rini.canon import (
    Audio,
    Document,
    Image,
    Media,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
    extras_of,
    with_extras,
)
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.gemini.fields import WIRE, a_boolean, a_string, an_object, camel, dumps, is_object, loads, objects

# The members of Part's ``data`` union: exactly one of them says what a part is.
_KINDS = frozenset({
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
    "audioTranscription",
})  # fmt: skip
_URL_SAFE = str.maketrans("-_", "+/")


def decode_part(fields: Mapping[str, Any]) -> Part:
    """Return the part that ``fields`` is; an Opaque where canon has no name for it. Raises MalformedError."""
    rest = camel(fields)
    kinds = [name for name in rest if name in _KINDS]
    kind = kinds[0] if len(kinds) == 1 else None
    thought = a_boolean(rest.get("thought", False), "thought")
    if "thoughtSignature" in rest:
        a_string(rest["thoughtSignature"], "thoughtSignature")
    if kind == "text" or (not kinds and (thought or "thoughtSignature" in rest)):
        text = a_string(rest.pop("text", ""), "text")
        signature = rest.pop("thoughtSignature", None)
        rest.pop("thought", None)
        extras = with_extras(WIRE, rest)
        return (Thinking if thought else Text)(text=text, signature=signature, extras=extras)
    part: Part | None = None
    if not thought:
        rest.pop("thought", None)
    if kind in ("inlineData", "fileData"):
        # A picture that is itself a thought is not part of the answer.
        part = None if thought else _decode_media(kind, rest)
    elif kind == "functionCall":
        part = _decode_call(rest)
    elif kind == "functionResponse":
        part = _decode_result(rest)
    elif kind is not None:
        an_object(rest[kind], kind)
    return part or Opaque(WIRE, dict(fields))


def encode_part(part: Part, path: str) -> dict[str, Any]:
    """Return ``part`` as Gemini writes it; ``path`` names it in errors. Raises UnsupportedError.

    Whether signatures, thinking and names may go there is the caller's to decide. Media within a ToolResult are left
    to ``attachments``.
    """
    match part:
        case Text() | Thinking():
            fields: dict[str, Any] = {"text": part.text}
            if isinstance(part, Thinking):
                fields["thought"] = True
            if part.signature is not None:
                fields["thoughtSignature"] = part.signature
            fields.update(extras_of(part.extras, WIRE))
            return fields
        case Refusal():
            return {"text": part.text}
        case Image() | Audio() | Video() | Document():
            return _encode_media(part, path)
        case ToolCall():
            return _encode_call(part, path)
        case ToolResult():
            return _encode_result(part)
        case Opaque():
            if part.wire != WIRE:
                raise UnsupportedError(WIRE, path, f"it is a part that only {part.wire} knows")
            if not is_object(part.value):
                raise UnsupportedError(WIRE, path, "a part is an object")
            return part.value


def attachments(part: ToolResult) -> list[Part]:
    """Return what a functionResponse of ``part`` cannot hold, to stand beside it."""
    return [] if _is_untouched(part) else [item for item in part.content if not isinstance(item, Text | Refusal)]


def _decode_media(kind: str, rest: dict[str, Any]) -> Part | None:
    inline = kind == "inlineData"
    blob = camel(an_object(rest.pop(kind), kind))
    where = blob.pop("data" if inline else "fileUri", None)
    mime = blob.pop("mimeType", None)
    if where is None or (inline and mime is None):
        return None
    a_string(where, "data" if inline else "fileUri")
    mime = None if mime is None else a_string(mime, "mimeType")
    media = Media(data=_standard_base64(where), mime_type=mime) if inline else Media(url=where, mime_type=mime)
    name = blob.get("displayName")
    if blob:
        rest[kind] = blob
    family = (mime or "").partition("/")[0].lower()
    if family == "image":
        signature = rest.pop("thoughtSignature", None)
        return Image(media, signature=signature, extras=with_extras(WIRE, rest))
    extras = with_extras(WIRE, rest)
    if family == "audio":
        return Audio(media, extras=extras)
    if family == "video":
        return Video(media, extras=extras)
    return Document(media, name=name if isinstance(name, str) else None, extras=extras)


def _encode_media(part: Image | Audio | Video | Document, path: str) -> dict[str, Any]:
    media = part.media
    extras = dict(extras_of(part.extras, WIRE))
    if media.url is not None and media.url.startswith("data:"):
        media = _of_data_url(media.url, path)
    if isinstance(part, Document) and part.text is not None:
        media = Media(data=b64encode(part.text.encode()).decode(), mime_type="text/plain")
    blob: dict[str, Any]
    if media.data is not None:
        kind = "inlineData"
        blob = {"data": media.data}
        if media.mime_type is None:
            raise UnsupportedError(WIRE, f"{path}.media.mime_type", "data needs its type")
        blob["mimeType"] = media.mime_type
    elif media.url is not None:
        kind = "fileData"
        blob = {"fileUri": media.url}
        # Only an image comes without its type from elsewhere; Gemini's own parts without one are Documents.
        mime = media.mime_type or (guess_type(media.url)[0] if isinstance(part, Image) else None)
        if mime:
            blob["mimeType"] = mime
    elif media.file_id is not None:
        raise UnsupportedError(WIRE, f"{path}.media.file_id", "files belong to the provider that holds them")
    else:
        raise UnsupportedError(WIRE, f"{path}.media", "it holds neither data nor a URL")
    blob.update(extras.pop(kind, {}))
    fields = {kind: blob, **extras}
    if isinstance(part, Image) and part.signature is not None:
        fields["thoughtSignature"] = part.signature
    return fields


def _decode_call(rest: dict[str, Any]) -> Part | None:
    call = camel(an_object(rest.pop("functionCall"), "functionCall"))
    name = call.pop("name", None)
    if name is None:
        return None
    a_string(name, "functionCall.name")
    arguments = dumps(an_object(call.pop("args", {}), "functionCall.args")).decode()
    identity = a_string(call.pop("id", ""), "functionCall.id")
    signature = rest.pop("thoughtSignature", None)
    if call:
        rest["functionCall"] = call
    return ToolCall(identity, name, arguments, signature=signature, extras=with_extras(WIRE, rest))


def _encode_call(part: ToolCall, path: str) -> dict[str, Any]:
    extras = dict(extras_of(part.extras, WIRE))
    call: dict[str, Any] = {"name": part.name, "args": _arguments(part.arguments, path)}
    if part.id:
        call["id"] = part.id
    call.update(extras.pop("functionCall", {}))
    fields: dict[str, Any] = {"functionCall": call, **extras}
    if part.signature is not None:
        fields["thoughtSignature"] = part.signature
    return fields


def _arguments(text: str, path: str) -> dict[str, Any]:
    try:
        return an_object(loads(text or "{}"), "arguments")
    except MalformedError:
        raise UnsupportedError(WIRE, f"{path}.arguments", "they are not a JSON object") from None


def _decode_result(rest: dict[str, Any]) -> Part:
    answer = camel(an_object(rest.pop("functionResponse"), "functionResponse"))
    identity = a_string(answer.pop("id", ""), "functionResponse.id")
    name = answer.pop("name", None)
    if name is not None:
        a_string(name, "functionResponse.name")
    response = answer.get("response")
    if response is not None:
        an_object(response, "functionResponse.response")
    parts = objects(answer.get("parts"), "functionResponse.parts")
    content, is_error = _readable(response, parts)
    if not parts and response == _plain_response(content, is_error=is_error):
        del answer["response"]
    elif response is None:
        answer["response"] = None
    if answer:
        rest["functionResponse"] = answer
    return ToolResult(identity, content, name=name, is_error=is_error, extras=with_extras(WIRE, rest))


def _encode_result(part: ToolResult) -> dict[str, Any]:
    extras = dict(extras_of(part.extras, WIRE))
    answer: dict[str, Any] = {"name": part.name} if part.name is not None else {}
    if part.call_id:
        answer["id"] = part.call_id
    kept = dict(extras.pop("functionResponse", {}))
    if not _is_untouched(part):
        kept.pop("parts", None)
        kept["response"] = _plain_response(part.content, is_error=part.is_error)
    elif "response" not in kept:
        kept["response"] = _plain_response(part.content, is_error=part.is_error)
    elif kept["response"] is None:
        del kept["response"]
    answer.update(kept)
    return {"functionResponse": answer, **extras}


def _is_untouched(part: ToolResult) -> bool:
    """Whether the content still is what the kept response said."""
    kept = extras_of(part.extras, WIRE).get("functionResponse", {})
    if "response" not in kept:
        return all(isinstance(item, Text) for item in part.content)
    readable = _readable(kept["response"], objects(kept.get("parts"), "functionResponse.parts"))
    return readable == (part.content, part.is_error)


def _readable(response: Mapping[str, Any] | None, parts: list[dict[str, Any]]) -> tuple[tuple[Part, ...], bool]:
    """Return a functionResponse as content, and whether it tells of an error."""
    content: list[Part] = []
    if response:
        only = next(iter(response)) if len(response) == 1 else None
        value = response[only] if only in ("result", "output", "error") else response
        content.append(Text(value if isinstance(value, str) else dumps(value).decode()))
    content += (decode_part(part) for part in parts)
    is_error = bool(response) and response.get("error") is not None and not {"result", "output"} & response.keys()
    return tuple(content), is_error


def _plain_response(content: tuple[Part, ...], *, is_error: bool) -> dict[str, Any]:
    text = "\n".join(item.text for item in content if isinstance(item, Text | Refusal))
    return {"error" if is_error else "result": text}


def _standard_base64(data: str) -> str:
    """Return ``data`` in the standard alphabet, padded: Gemini takes and some of its SDKs send the URL-safe one."""
    if "-" in data or "_" in data:
        data = data.translate(_URL_SAFE)
        data += "=" * (-len(data) % 4)
    return data


def _of_data_url(url: str, path: str) -> Media:
    head, _, data = url.partition(",")
    if not head.endswith(";base64"):
        raise UnsupportedError(WIRE, f"{path}.media.url", "a data URL must hold base64")
    return Media(data=data, mime_type=head[5:].partition(";")[0] or None)
