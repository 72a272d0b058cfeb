"""What the bytes of an image say of it before anything is unpacked.

Only the containers are read, never the pixels: PNG (W3C PNG, third edition), JPEG (ITU-T T.81, annex B), GIF89a and WebP (RFC 9649).
The largest size that any header names is what counts, so that nothing unpacks to more.
"""

from typing import NamedTuple

PNG, JPEG, GIF, WEBP = "image/png", "image/jpeg", "image/gif", "image/webp"
IMAGE_TYPES = (PNG, JPEG, GIF, WEBP)

MOST_BLOCKS = 1_000_000
"""A file with more blocks than this is no picture, but work for whoever reads it."""
MOST_SCANS = 100
"""Each scan of a progressive JPEG is a pass over the whole picture. Common encoders make about ten."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9


class ImageInfo(NamedTuple):
    """What an image is: its type, its size in pixels as stored (before any EXIF turn), its frames (1: no animation)."""

    mime_type: str
    width: int
    height: int
    frames: int = 1


class BrokenImageError(ValueError):
    """The headers contradict themselves, or end too early. The text continues a sentence that begins with the type."""


def type_of(data: bytes) -> str | None:
    """Return the MIME type of a PNG, JPEG, GIF or WebP by its first bytes; None for anything else."""
    if data.startswith(_PNG_START):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WEBP
    return None


def read_header(data: bytes, mime_type: str) -> ImageInfo:
    """Return what the headers say. Raises BrokenImageError."""
    try:
        info = _READERS[mime_type](data)
    except IndexError:
        raise BrokenImageError("ends too early") from None
    if info.width < 1 or info.height < 1:
        raise BrokenImageError("has no size")
    return info


def _png(data: bytes) -> ImageInfo:
    if data[12:16] != b"IHDR":
        raise BrokenImageError("does not begin with its header")
    width, height = _big(data, 16, 4), _big(data, 20, 4)
    place, frames = 8, 1
    for _ in range(MOST_BLOCKS):
        kind = data[place + 4 : place + 8]
        if kind == b"acTL":
            frames = max(frames, _big(data, place + 8, 4))
        place += 12 + _big(data, place, 4)
        if place > len(data):
            break
        if kind == b"IEND":
            return ImageInfo(PNG, width, height, frames)
    raise BrokenImageError("ends too early")


def _jpeg(data: bytes) -> ImageInfo:
    place, width, height = 2, 0, 0
    for _ in range(MOST_BLOCKS):
        if data[place] != 0xFF:
            raise BrokenImageError("has something else where a marker belongs")
        while data[place] == 0xFF:
            place += 1
        marker = data[place]
        place += 1
        if marker in _JPEG_ALONE:
            continue
        if marker == _JPEG_END:
            break
        if marker == _JPEG_SCAN:
            # Within a scan 0xFF is escaped, so each of these is another scan.
            if data.count(b"\xff\xda", place) > MOST_SCANS:
                raise BrokenImageError(f"has more than {MOST_SCANS} scans")
            return ImageInfo(JPEG, width, height)
        if marker in _JPEG_SIZES:
            height, width = max(height, _big(data, place + 3, 2)), max(width, _big(data, place + 5, 2))
        place += _big(data, place, 2)
    raise BrokenImageError("holds no picture")


def _gif(data: bytes) -> ImageInfo:
    width, height = _little(data, 6, 2), _little(data, 8, 2)
    place, frames = 13 + _gif_palette(data[10]), 0
    for _ in range(MOST_BLOCKS):
        kind = data[place]
        if kind == 0x3B:
            if not frames:
                raise BrokenImageError("holds no picture")
            return ImageInfo(GIF, width, height, frames)
        if kind == 0x2C:
            frames += 1
            width = max(width, _little(data, place + 1, 2) + _little(data, place + 5, 2))
            height = max(height, _little(data, place + 3, 2) + _little(data, place + 7, 2))
            place += 11 + _gif_palette(data[place + 9])
        elif kind == 0x21:
            place += 2
        else:
            raise BrokenImageError("has something else where a block belongs")
        place = _after_sub_blocks(data, place)
    raise BrokenImageError(f"has more than {MOST_BLOCKS:,} blocks")


def _gif_palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, place: int) -> int:
    for _ in range(MOST_BLOCKS):
        size = data[place]
        place += 1 + size
        if size == 0:
            return place
    raise BrokenImageError(f"has more than {MOST_BLOCKS:,} blocks")


def _webp(data: bytes) -> ImageInfo:
    end = 8 + _little(data, 4, 4)
    if end > len(data):
        raise BrokenImageError("ends too early")
    place, width, height, frames = 12, 0, 0, 0
    for _ in range(MOST_BLOCKS):
        if place >= end:
            return ImageInfo(WEBP, width, height, max(frames, 1))
        kind, body = data[place : place + 4], place + 8
        found = (0, 0)
        if kind == b"VP8X":
            found = (_little(data, body + 4, 3) + 1, _little(data, body + 7, 3) + 1)
        elif kind == b"ANMF":
            frames += 1
            found = (_little(data, body + 6, 3) + 1, _little(data, body + 9, 3) + 1)
        elif kind == b"VP8 ":
            found = (_little(data, body + 6, 2) & 0x3FFF, _little(data, body + 8, 2) & 0x3FFF)
        elif kind == b"VP8L":
            bits = _little(data, body + 1, 4)
            found = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        width, height = max(width, found[0]), max(height, found[1])
        size = _little(data, place + 4, 4)
        place = body + size + (size & 1)
    raise BrokenImageError(f"has more than {MOST_BLOCKS:,} blocks")


def _big(data: bytes, place: int, size: int) -> int:
    if place + size > len(data):
        raise BrokenImageError("ends too early")
    return int.from_bytes(data[place : place + size], "big")


def _little(data: bytes, place: int, size: int) -> int:
    if place + size > len(data):
        raise BrokenImageError("ends too early")
    return int.from_bytes(data[place : place + size], "little")


_READERS = {PNG: _png, JPEG: _jpeg, GIF: _gif, WEBP: _webp}
