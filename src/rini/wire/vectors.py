"""Vectors as JSON has them, in compact arrays: lists of numbers, or 32-bit floats in base64."""

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Iterable, Iterator

import msgspec

from rini.canon import Vector
from rini.wire.codec import MalformedError

PIECE_BYTES = 64 * 1024

_encode = msgspec.json.Encoder().encode
_numbers = msgspec.json.Decoder(list[float])
_text = msgspec.json.Decoder(str)


def read_vector(raw: msgspec.Raw, what: str) -> Vector:
    """Return the vector in a JSON value, a list or base64. Raises MalformedError that names ``what``."""
    try:
        if bytes(memoryview(raw)[:1]) == b'"':
            vector = _from_base64(_text.decode(raw))
        else:
            vector = array("d", _numbers.decode(raw))
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise MalformedError(f"{what} is neither a list of numbers nor 32-bit floats in base64.") from None
    if not vector:
        raise MalformedError(f"{what} is empty.")
    # The sum of finite numbers may overflow, so that it alone does not tell.
    if not math.isfinite(sum(vector)) and not all(map(math.isfinite, vector)):
        raise MalformedError(f"{what} holds numbers that are not finite.")
    return vector


def vector_as_json(vector: Vector) -> bytes:
    """Return ``vector`` as a JSON list of numbers, each exactly as it is held."""
    return _encode(vector.tolist())


def vector_as_base64(vector: Vector) -> bytes:
    """Return ``vector`` as a JSON string: little-endian 32-bit floats in base64."""
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return b'"' + base64.b64encode(floats) + b'"'


def gathered(pieces: Iterable[bytes], size: int = PIECE_BYTES) -> Iterator[bytes]:
    """Join ``pieces`` to ones of at least ``size`` bytes, the last one apart."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= size:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _from_base64(text: str) -> Vector:
    vector = array("f")
    vector.frombytes(base64.b64decode(text, validate=True))  # ValueError where it is not whole floats
    if sys.byteorder == "big":
        vector.byteswap()
    return vector
