"""Images: what they are by their bytes, and how they become what a provider takes.

What is refused is refused from the headers, before anything is unpacked; then the whole picture is decoded, by the one decoder of its
type, so that a broken file is refused here and not by the provider. All of this is slow work of the processor: ``unhurried`` runs
it in threads, a few at once.
"""

import asyncio
import io
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple, ParamSpec, TypeVar

from PIL import Image
from PIL.Image import Transpose

from rini.errors import ImageRefusedError
from rini.files.headers import GIF, JPEG, PNG, WEBP, BrokenImageError, ImageInfo, read_header, type_of
from rini.providers.vision import ImageLimits

__all__ = ["Fitted", "ImageInfo", "fitted", "inspect", "unhurried"]

P = ParamSpec("P")
T = TypeVar("T")

MOST_PIXELS = {PNG: 64_000_000, JPEG: 64_000_000, GIF: 64_000_000, WEBP: 32_000_000}
"""Cameras of phones make up to 50 million. Decoded that is 4 bytes a pixel, and 16 of a WebP."""
LARGE = 16_000_000
"""Images of more pixels are worked on one at a time, and nothing larger is made: no model looks at more."""
LONGEST_SIDE = 65_500
"""A JPEG's."""
MOST_FRAMES = 1000
AT_ONCE = 2
JPEG_QUALITY = 90
MOST_TRIES = 12
"""Each makes the image smaller by a fifth at least."""

_NAMES = {PNG: "PNG", JPEG: "JPEG", GIF: "GIF", WEBP: "WebP"}
_GREY = frozenset(("1", "L"))
_ORIENTATION = 0x0112
# EXIF 3.0, 4.6.5: how the stored rows and columns lie in the picture.
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
# What Pillow's four decoders raise for bytes that are not what they should be. Warnings are errors where Python is told so.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Warning,
)
_large = threading.Lock()
_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="images")


class Fitted(NamedTuple):
    """An image as a provider takes it."""

    data: bytes
    mime_type: str


async def unhurried(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` in a thread when its turn has come: at most two run at once in a process, so that memory has a bound.

    Whoever is cancelled while it waits never begins.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(work, *args, **kwargs))


def inspect(data: bytes) -> ImageInfo:
    """Return what the image is. Raises ImageRefusedError for what is no PNG, JPEG, GIF or WebP, is broken, or unpacks to too much."""
    mime_type = type_of(data)
    if mime_type is None:
        raise ImageRefusedError(f"The file is {_what_it_is(data)}; send a PNG, JPEG, GIF or WebP.")
    name = _NAMES[mime_type]
    try:
        info = read_header(data, mime_type)
    except BrokenImageError as error:
        raise ImageRefusedError(f"The {name} cannot be read: it {error}.") from None
    if info.width * info.height > MOST_PIXELS[mime_type] or max(info.width, info.height) > LONGEST_SIDE:
        raise ImageRefusedError(
            f"The {name} has {info.width:,} x {info.height:,} pixels; at most {MOST_PIXELS[mime_type]:,} in all are read, "
            f"and {LONGEST_SIDE:,} in a row."
        )
    if info.frames > MOST_FRAMES:
        raise ImageRefusedError(f"The {name} has {info.frames:,} frames; at most {MOST_FRAMES:,} are read.")
    with _turn_of(info):
        _decoded(data, info)
    return info


def fitted(data: bytes, info: ImageInfo, limits: ImageLimits) -> Fitted:
    """Return the image within a provider's limits: the very bytes where they are, else re-encoded as PNG or JPEG, or smaller.

    ``info`` is what ``inspect`` returned for ``data``. The same input gives the same bytes. A re-encoded image is upright and without
    metadata. Raises ImageRefusedError for an animation that the provider does not read, and for what does not fit however small.
    """
    if info.frames > limits.max_frames:
        raise ImageRefusedError(
            f"The {_NAMES[info.mime_type]} is an animation of {info.frames} frames, and {limits.provider} reads "
            f"{limits.max_frames} at most; send one frame as an image of its own."
        )
    side = max(info.width, info.height)
    if (
        info.mime_type in limits.mime_types
        and len(data) <= limits.max_bytes
        and (limits.max_side is None or side <= limits.max_side)
    ):
        return Fitted(data, info.mime_type)
    with _turn_of(info):
        return _made(data, info, limits)


def _made(data: bytes, info: ImageInfo, limits: ImageLimits) -> Fitted:
    image = _plain(_upright(_decoded(data, info)))
    factor = (LARGE / (image.width * image.height)) ** 0.5
    if limits.max_side is not None:
        factor = min(factor, limits.max_side / max(image.size))
    image = _scaled(image, factor)
    if info.mime_type in (PNG, GIF) or image.mode == "RGBA":  # drawings and screenshots, whose texts JPEG blurs
        found = _saved(image, "PNG")
        if len(found) <= limits.max_bytes:
            return Fitted(found, PNG)
    image = _on_white(image)
    for _ in range(MOST_TRIES):
        found = _saved(image, "JPEG", quality=JPEG_QUALITY)
        if len(found) <= limits.max_bytes:
            return Fitted(found, JPEG)
        image = _scaled(image, min((limits.max_bytes / len(found)) ** 0.5, 0.8))
    raise ImageRefusedError(
        f"The {_NAMES[info.mime_type]} does not fit into the {limits.max_bytes:,} bytes that {limits.provider} takes, however small."
    )


def _turn_of(info: ImageInfo) -> AbstractContextManager[object]:
    return _large if info.width * info.height > LARGE else nullcontext()


def _decoded(data: bytes, info: ImageInfo) -> Image.Image:
    """Return the first frame, fully read."""
    try:
        image = Image.open(io.BytesIO(data), formats=[_NAMES[info.mime_type]])
        image.load()
    except _DECODER_ERRORS:
        raise ImageRefusedError(
            f"The {_NAMES[info.mime_type]} cannot be read: it is damaged, or not all of it is there."
        ) from None
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except _DECODER_ERRORS:  # damaged EXIF data is no reason to refuse a sound picture
        return image
    return image if turn is None else image.transpose(turn)


def _plain(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits a channel, in grey, RGB or RGBA, and without its metadata, which would be saved along."""
    if image.mode.startswith("I"):
        # 16 bits a pixel: Pillow would cut off what is above 255.
        image = image.convert("I").point(lambda value: value / 257).convert("L")  # pyright: ignore[reportUnknownLambdaType, reportUnknownMemberType]  # Pillow gives it no type
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode in _GREY else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    image.info = {}
    return image


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    if factor >= 1:
        return image
    size = (max(int(image.width * factor), 1), max(int(image.height * factor), 1))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    into = io.BytesIO()
    image.save(into, kind, **options)
    return into.getvalue()


_STARTS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF-", "a PDF"),
    (0, b"BM", "a BMP"),
    (0, b"II*\x00", "a TIFF"),
    (0, b"MM\x00*", "a TIFF"),
    (0, b"PK\x03\x04", "a ZIP archive, as Office's documents are"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"\x00\x00\x01\x00", "an icon (ICO)"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%!PS", "PostScript"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (4, b"ftypavi", "an AVIF"),
    (4, b"ftyphei", "an HEIC"),
    (4, b"ftyphev", "an HEIC"),
    (4, b"ftypmif1", "an HEIC"),
    (4, b"ftypmsf1", "an HEIC"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\x89PNG", "a damaged PNG"),
)
_TAGS = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "XML"),
)


def _what_it_is(data: bytes) -> str:
    """Say what the bytes are instead of an image that is read, as the end of a sentence."""
    if not data:
        return "empty"
    for place, start, what in _STARTS:
        if data.startswith(start, place):
            return what
    text = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<"):
        for tag, what in _TAGS:
            if tag in text:
                return what
        return "a document with tags"
    if text.startswith((b"{", b"[")) or (text and b"\x00" not in text and _is_text(data[:4096])):
        return "text"
    return "none of the image types that are read"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut in two at the end of what was looked at.
        if error.start < len(head) - 3 or len(head) < 4096:
            return False
        text = head[: error.start].decode()
    return all(each.isprintable() or each.isspace() for each in text)
