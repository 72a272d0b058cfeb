"""Content parts of input messages and of tool results: text, images, files, sound, and what canon has no name for."""

import re
from collections.abc import Sequence
from typing import Any

from rini.canon import Audio, Document, Extras, Image, Media, Opaque, Part, Refusal, Text
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.openai_chat.json_value import (
    NOTE,
    Json,
    as_list,
    as_object,
    nested_extras,
    pop_object,
    pop_string,
    put_back,
)
from rini.wire.openai_chat.part import AUDIO_FORMAT, AUDIO_MIME, DATA_URL
from rini.wire.openai_responses.fields import NAME, left_as_extras, note, own_extras
from rini.wire.openai_responses.shared import split_shared_of_content

# How the ids and addresses of files begin that lie with Anthropic and Google.
_FOREIGN_FILE = re.compile(r"file_|.*/")


def decode_content(content: Any) -> tuple[Part, ...]:
    """Return the parts of ``content``: a string, null or an array of parts. Raises MalformedError."""
    if content is None:
        return ()
    if type(content) is str:
        return (Text(content),)
    return tuple(_decode_part(as_object(item, "A content part")) for item in as_list(content, "content"))


def decode_text(item: Json, field: str) -> str:
    """Take the text of a part out of ``field``. Raises MalformedError."""
    del item["type"]
    text = pop_string(item, field)
    if text is None:
        raise MalformedError(f"A part has no {field}.")
    return text


def encode_content(parts: Sequence[Part], path: str, dropped: list[str]) -> str | list[Any]:
    """Return the parts at ``path`` as an input message or a tool result has them: a string where one plain text is all.

    Raises UnsupportedError.
    """
    content = [encode_part(part, f"{path}[{index}]", dropped) for index, part in enumerate(parts)]
    if not content:
        return ""
    if len(content) == 1 and type(content[0]) is dict:
        only = as_object(content[0], "A content part")
        if only.keys() == {"type", "text"} and only["type"] == "input_text":
            return only["text"]
    return content


def encode_part(part: Part, path: str, dropped: list[str]) -> Any:
    """Return one part of an input message. Raises UnsupportedError."""
    match part:
        case Text():
            return {**_fields(part.extras), "type": "input_text", "text": part.text}
        case Image():
            return _encode_image(part, path)
        case Document():
            return _encode_document(part, path, dropped)
        case Audio():
            return _encode_audio(part, path)
        case Refusal():
            return {**own_extras(part.extras), "type": "refusal", "refusal": part.text}
        case Opaque():
            return own_value(part, path)
        case _:
            raise UnsupportedError(NAME, path, f"a {type(part).__name__} cannot stand in an input message")


def own_value(part: Opaque, path: str) -> Any:
    """Return what this wire format gave; another's is refused."""
    if part.wire != NAME:
        raise UnsupportedError(NAME, path, f"it is a part that only {part.wire} knows")
    return part.value


def _decode_part(item: Json) -> Part:
    match item.get("type"):
        case "input_text":
            return Text(decode_text(item, "text"), extras=left_as_extras(item))
        case "input_image":
            return _decode_image(item)
        case "input_file":
            return _decode_file(item)
        case "input_audio":
            return _decode_audio(item)
        case "refusal":
            return Refusal(decode_text(item, "refusal"), extras=left_as_extras(item))
        case _:
            return Opaque(NAME, item)


def _decode_image(item: Json) -> Part:
    del item["type"]
    url = pop_string(item, "image_url")
    file_id = pop_string(item, "file_id")
    detail = pop_string(item, "detail")
    if url is None:
        media = Media(file_id=file_id)
    elif head := DATA_URL.match(url):
        media = Media(data=url[head.end() :], file_id=file_id, mime_type=head[1])
    else:
        media = Media(url=url, file_id=file_id)
    return Image(media, detail, extras=left_as_extras(item))


def _encode_image(part: Image, path: str) -> Json:
    media = part.media
    encoded: Json = {**_fields(part.extras), "type": "input_image"}
    if media.url is not None:
        encoded["image_url"] = _fetched(media.url, path)
    elif media.data is not None:
        if media.mime_type is None:
            raise UnsupportedError(NAME, f"{path}.media", "bytes need their mime_type")
        encoded["image_url"] = f"data:{media.mime_type};base64,{media.data}"
    if media.file_id is not None:
        encoded["file_id"] = _own_file(media.file_id, path)
    elif "image_url" not in encoded:
        raise UnsupportedError(NAME, f"{path}.media", "there is nothing in it")
    if part.detail is not None:
        encoded["detail"] = part.detail
    return encoded


def _decode_file(item: Json) -> Part:
    del item["type"]
    data = pop_string(item, "file_data")
    url = pop_string(item, "file_url")
    file_id = pop_string(item, "file_id")
    name = pop_string(item, "filename")
    mime = None
    if data is not None and (head := DATA_URL.match(data)):
        mime = head[1]
        data = data[head.end() :]
    if name is not None and data is None:
        item[NOTE + "named"] = True  # elsewhere a name belongs to bytes only
    return Document(Media(data, url, file_id, mime), name, extras=left_as_extras(item))


def _encode_document(part: Document, path: str, dropped: list[str]) -> Json:
    media = part.media
    if part.text is not None:
        if part.name is not None:
            dropped.append(f"{path}.name")
        return {"type": "input_text", "text": part.text}
    encoded: Json = {**_fields(part.extras), "type": "input_file"}
    if media.data is not None:
        mime = media.mime_type
        encoded["file_data"] = media.data if mime is None else f"data:{mime};base64,{media.data}"
        encoded["filename"] = part.name or ("document.pdf" if mime == "application/pdf" else "document")
    elif part.name is not None:
        if note(part.extras, "named"):
            encoded["filename"] = part.name
        else:
            dropped.append(f"{path}.name")
    if media.url is not None:
        encoded["file_url"] = _fetched(media.url, path)
    if media.file_id is not None:
        encoded["file_id"] = _own_file(media.file_id, path)
    if not encoded.keys() & {"file_data", "file_url", "file_id"}:
        raise UnsupportedError(NAME, f"{path}.media", "there is nothing in it")
    return encoded


def _decode_audio(item: Json) -> Part:
    del item["type"]
    inner = pop_object(item, "input_audio") or {}
    data = pop_string(inner, "data")
    encoding = pop_string(inner, "format")
    if data is None:
        raise MalformedError("An input_audio part has no data.")
    mime = None if encoding is None else AUDIO_MIME.get(encoding)
    if encoding is not None and mime is None:
        mime = f"audio/{encoding}"
        inner["format"] = encoding
    put_back(item, "input_audio", inner)
    return Audio(Media(data=data, mime_type=mime), extras=left_as_extras(item))


def _encode_audio(part: Audio, path: str) -> Json:
    if part.media.data is None:
        raise UnsupportedError(NAME, f"{path}.media", "sound must come as bytes")
    own = own_extras(part.extras)
    inner: Json = {**nested_extras(own, "input_audio"), "data": part.media.data}
    mime = part.media.mime_type
    if mime is not None and "format" not in inner:
        encoding = AUDIO_FORMAT.get(mime.lower())
        if encoding is None:
            raise UnsupportedError(NAME, f"{path}.media.mime_type", "OpenAI hears wav and mp3 only")
        inner["format"] = encoding
    return {**own, "type": "input_audio", "input_audio": inner}


def _fields(extras: Extras | None) -> Json:
    return split_shared_of_content(extras)[0] | own_extras(extras)


def _fetched(url: str, path: str) -> str:
    if url.startswith("gs:"):
        raise UnsupportedError(NAME, f"{path}.media.url", "OpenAI fetches http and https addresses only")
    return url


def _own_file(file_id: str, path: str) -> str:
    if _FOREIGN_FILE.match(file_id):
        raise UnsupportedError(NAME, f"{path}.media.file_id", "the file lies with another provider")
    return file_id
