"""Content parts of messages: text, images, sound, files, refusals, and what canon has no name for.

The shapes are those of OpenAI's API reference, "Create chat completion", as of the SDK 3.54. ``video_url`` and an
assistant's ``images`` are the extensions that compatible servers share.
"""

import re
from typing import Any

from rini.canon import Audio, Document, Image, Media, Opaque, Part, Refusal, Text, Video
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.openai_chat.json_value import (
    NAME,
    NOTE,
    Json,
    as_list,
    as_object,
    as_string,
    left_as_extras,
    nested_extras,
    note,
    own_extras,
    pop_object,
    pop_string,
    put_back,
)

# Only the plainest form is taken apart, so that putting it together again gives the same text.
DATA_URL = re.compile(r"data:([A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+);base64,", re.ASCII)
AUDIO_MIME = {"wav": "audio/wav", "mp3": "audio/mpeg"}
AUDIO_FORMAT = {
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/vnd.wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}


def decode_content(content: Any) -> list[Part]:
    """Return the parts of a request's ``content``: a string, null or an array of parts."""
    if content is None:
        return []
    if type(content) is str:
        return [Text(content)]
    return [decode_part(as_object(item, "A content part")) for item in as_list(content, "content")]


def decode_reply_content(content: Any) -> list[Part]:
    """Return the parts of an answer's ``content``: a string, or with some servers an array of text and their own parts."""
    if content is None or content == "":
        return []
    if type(content) is str:
        return [Text(content)]
    parts: list[Part] = []
    for value in as_list(content, "content"):
        item = as_object(value, "A content part")
        text = item.get("text")
        if item.keys() != {"type", "text"} or item["type"] != "text" or type(text) is not str:
            parts.append(Opaque(NAME, item))
        elif parts and isinstance(last := parts[-1], Text):
            parts[-1] = Text(last.text + text)
        elif text:
            parts.append(Text(text))
    return parts


def decode_part(item: Json) -> Part:
    """Return one part of a content array, which is taken apart unless it is unknown."""
    kind = item.get("type")
    if type(kind) is not str or kind not in _DECODERS:
        return Opaque(NAME, item)
    return _DECODERS[kind](item)


def decode_image(item: Json) -> Image:
    """Return an ``image_url`` part; some clients write the address itself where its object is due."""
    item.pop("type", None)
    where, inner = _address(item, "image_url")
    detail = pop_string(inner, "detail")
    put_back(item, "image_url", inner)
    return Image(where, detail, extras=left_as_extras(item))


def encode_text(part: Text) -> Json:
    """Return a text part."""
    return {**own_extras(part.extras), "type": "text", "text": part.text}


def encode_part(part: Part, path: str, *, strict: bool, dropped: list[str]) -> Json:
    """Return a part of a user's message. ``strict`` refuses what OpenAI itself does. Raises UnsupportedError."""
    match part:
        case Text():
            return encode_text(part)
        case Image():
            return encode_image(part, path, strict=strict)
        case Audio():
            return _encode_audio(part, path, strict=strict)
        case Document():
            return _encode_document(part, path, dropped)
        case Video() if not strict:
            own = own_extras(part.extras)
            inner = nested_extras(own, "video_url")
            return {**own, "type": "video_url", "video_url": {**inner, "url": _url(part.media, path)}}
        case Opaque():
            return own_value(part, path)
        case _:
            raise UnsupportedError(NAME, path, f"a {type(part).__name__} cannot stand in a user's message")


def own_value(part: Opaque, path: str) -> Any:
    """Return what this wire format gave; another's is refused."""
    if part.wire != NAME:
        raise UnsupportedError(NAME, path, f"it is a part that only {part.wire} knows")
    return part.value


def encode_image(part: Image, path: str, *, strict: bool) -> Json:
    """Return an ``image_url`` part. Raises UnsupportedError."""
    own = own_extras(part.extras)
    inner: Json = {**nested_extras(own, "image_url"), "url": _url(part.media, path)}
    if strict and inner["url"].startswith("gs:"):
        raise UnsupportedError(NAME, f"{path}.media.url", "OpenAI fetches http and https addresses only")
    if part.detail is not None:
        inner["detail"] = part.detail
    return {**own, "type": "image_url", "image_url": inner}


def encode_reply_image(part: Image) -> list[Json]:
    """Return a picture of an answer as the list to be shown: empty where it is a file that only its provider holds."""
    try:
        return [encode_image(part, "image", strict=False)]
    except UnsupportedError:
        return []


def _decode_text(item: Json) -> Part:
    del item["type"]
    text = pop_string(item, "text")
    if text is None:
        raise MalformedError("A text part has no text.")
    return Text(text, extras=left_as_extras(item))


def _decode_refusal(item: Json) -> Part:
    del item["type"]
    text = pop_string(item, "refusal")
    if text is None:
        raise MalformedError("A refusal part has no refusal.")
    item[NOTE + "part"] = True  # a refusal has two places, and this is not the usual one
    return Refusal(text, extras=left_as_extras(item))


def _decode_audio(item: Json) -> Part:
    del item["type"]
    inner = _inner(item, "input_audio")
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


def _decode_file(item: Json) -> Part:
    del item["type"]
    inner = _inner(item, "file")
    data = pop_string(inner, "file_data")
    file_id = pop_string(inner, "file_id")
    name = pop_string(inner, "filename")
    mime = None
    if data is not None and (head := DATA_URL.match(data)):
        mime = head[1]
        data = data[head.end() :]
    put_back(item, "file", inner)
    return Document(Media(data=data, file_id=file_id, mime_type=mime), name, extras=left_as_extras(item))


def _decode_video(item: Json) -> Part:
    del item["type"]
    where, inner = _address(item, "video_url")
    put_back(item, "video_url", inner)
    return Video(where, extras=left_as_extras(item))


def _inner(item: Json, name: str) -> Json:
    inner = pop_object(item, name)
    if inner is None:
        raise MalformedError(f"A part has no {name}.")
    return inner


def _address(item: Json, name: str) -> tuple[Media, Json]:
    inner = item.pop(name, None)
    if type(inner) is str:
        inner = {"url": inner}
    inner = as_object(inner, name)
    url = as_string(inner.pop("url", None), f"{name}.url")
    head = DATA_URL.match(url)
    return (Media(data=url[head.end() :], mime_type=head[1]) if head else Media(url=url)), inner


def _url(media: Media, path: str) -> str:
    if media.url is not None:
        return media.url
    if media.data is None:
        raise UnsupportedError(NAME, f"{path}.media.file_id", "it takes an address or the bytes, not an uploaded file")
    if media.mime_type is None:
        raise UnsupportedError(NAME, f"{path}.media", "bytes need their mime_type")
    return f"data:{media.mime_type};base64,{media.data}"


def _encode_audio(part: Audio, path: str, *, strict: bool) -> Json:
    if part.media.data is None:
        raise UnsupportedError(NAME, f"{path}.media", "sound must come as bytes")
    own = own_extras(part.extras)
    inner: Json = {**nested_extras(own, "input_audio"), "data": part.media.data}
    mime = part.media.mime_type
    if mime is not None and "format" not in inner:
        encoding = AUDIO_FORMAT.get(mime.lower())
        if encoding is None and strict:
            raise UnsupportedError(NAME, f"{path}.media.mime_type", "OpenAI hears wav and mp3 only")
        inner["format"] = encoding or mime.rpartition("/")[2]
    return {**own, "type": "input_audio", "input_audio": inner}


def _encode_document(part: Document, path: str, dropped: list[str]) -> Json:
    media = part.media
    if part.text is not None:
        if part.name is not None:
            dropped.append(f"{path}.name")
        return {"type": "text", "text": part.text}
    if media.url is not None:
        raise UnsupportedError(NAME, f"{path}.media.url", "a file comes as bytes or as an uploaded file's id")
    own = own_extras(part.extras)
    inner: Json = dict(nested_extras(own, "file"))
    if media.data is not None:
        mime = media.mime_type
        inner["file_data"] = media.data if mime is None else f"data:{mime};base64,{media.data}"
        inner["filename"] = "document.pdf" if mime == "application/pdf" else "document"
    if media.file_id is not None:
        inner["file_id"] = media.file_id
    if part.name is not None:
        inner["filename"] = part.name
    if not inner:
        raise UnsupportedError(NAME, f"{path}.media", "there is nothing in it")
    return {**own, "type": "file", "file": inner}


def refusal_as_part(part: Refusal) -> Json | None:
    """Return a refusal as a content part where it came as one, or ``None``."""
    if not note(part.extras, "part"):
        return None
    return {**own_extras(part.extras), "type": "refusal", "refusal": part.text}


_DECODERS = {
    "text": _decode_text,
    "image_url": decode_image,
    "input_audio": _decode_audio,
    "file": _decode_file,
    "refusal": _decode_refusal,
    "video_url": _decode_video,
}
