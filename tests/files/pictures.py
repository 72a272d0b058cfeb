"""Pictures for the tests: sound ones by Pillow, and bad ones by hand."""

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image

TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return an image that no encoder makes small, the same each time."""
    size = width * height * len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, (width, height), random.Random(1).randbytes(size))


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    into = io.BytesIO()
    (image or noise(60, 40)).save(into, kind, **options)
    return into.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def animated(kind: str, frames: int = 3) -> bytes:
    images = [Image.new("RGB", (20, 10), (number * 40 % 256, 0, 0)) for number in range(frames)]
    return saved(kind, images[0], save_all=True, append_images=images[1:], duration=100)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, pixels: bytes | None = None) -> bytes:
    """Return a PNG of one byte a pixel whose header says ``width`` x ``height``."""
    rows = b"".join(b"\0" + b"\x80" * width for _ in range(height)) if pixels is None else pixels
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def gif(frames: int, width: int = 1, height: int = 1) -> bytes:
    """Return a GIF of one pixel with frames of ``width`` x ``height``."""
    frame = b"\x2c\0\0\0\0" + struct.pack("<HH", width, height) + b"\0\x02\x02\x44\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"


def webp_header(width: int, height: int) -> bytes:
    """Return a WebP that is no more than a canvas."""
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0"
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
