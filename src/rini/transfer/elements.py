"""Finding the elements of a JSON array in a stream of bytes, one at a time: only one of them is in memory."""

import io
import re
from collections.abc import Iterator
from typing import Protocol

from rini.transfer.refusal import Refusal

CHUNK_BYTES = 1024 * 1024
LONGEST_BYTES = 32 * 1024 * 1024
"""Of one conversation: read, it takes about four times as many."""
MOST_BRACKETS = 400_000
"""Of one conversation: a message has about twelve objects and lists, and each of these takes hundreds of bytes when it is read."""
LONGEST_GAP = 1024 * 1024

# Everything up to the next bracket outside of strings, or to the string that does not end in this chunk.
_PASSED = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_OPENS, _CLOSES = b"{[", b"}]"


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        ...


def array_elements(stream: Readable) -> Iterator[bytes]:
    """Yield the objects of the array that the stream holds, each as its bytes; they are not checked.

    Raises Refusal for what is no array of objects, for one that does not end, and for an object of more than 32 MiB or 400,000 brackets.
    """
    depth = 0
    pieces: list[bytes] = []
    size = brackets = 0
    in_string = False
    rest = b""  # of the chunk before, which cannot be judged without what follows
    between = bytearray()  # what stands between elements: a comma and spaces
    seen = ended = False
    while chunk := stream.read(CHUNK_BYTES):
        chunk, rest = rest + chunk, b""
        place = start = 0
        while place < len(chunk):
            if in_string:
                place = _matched(_STRING_REST, chunk, place)
                if place < len(chunk) and chunk[place] == 0x22:
                    in_string = False
                    place += 1
                    continue
                break
            before = place
            place = _matched(_PASSED, chunk, place)
            if depth < 2:
                between += chunk[before:place]
            if place == len(chunk):
                break
            mark = chunk[place]
            if mark == 0x22:
                if depth < 2:
                    raise Refusal("is no JSON object")
                in_string = True
                place += 1
                continue
            if ended:
                raise Refusal("comes after the end of the array")
            place += 1
            if mark in _OPENS:
                depth += 1
                if depth == 1:
                    _check(between, b"")
                elif depth == 2:
                    if mark != 0x7B:
                        raise Refusal("is no JSON object")
                    _check(between, b"," if seen else b"")
                    start = place - 1
                brackets += 1
                if brackets > MOST_BRACKETS:
                    raise Refusal(f"has more than {MOST_BRACKETS:,} objects and lists")
                continue
            depth -= 1
            if depth == 1:
                pieces.append(chunk[start:place])
                yield b"".join(pieces)
                pieces.clear()
                size, brackets, seen = 0, 0, True
            elif depth <= 0:
                if depth < 0 or mark != 0x5D:
                    raise Refusal("ends an array that is none")
                _check(between, b"")
                ended = True
        if in_string and place < len(chunk):  # a backslash, and what it escapes comes with the next chunk
            rest = chunk[place:]
        if depth >= 2:
            piece = chunk[start : len(chunk) - len(rest)]
            pieces.append(piece)
            size += len(piece)
            if size > LONGEST_BYTES:
                raise Refusal(f"is larger than {LONGEST_BYTES // 1024 // 1024} MiB")
        elif len(between) > LONGEST_GAP:
            raise Refusal("is no JSON object")
    if not ended:
        raise Refusal("is not whole: the file was cut")
    _check(between, b"")


class Bracketed:
    """A stream of one value as an array with that value."""

    def __init__(self, stream: Readable) -> None:
        self._streams = [io.BytesIO(b"]"), stream, io.BytesIO(b"[")]

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        while self._streams:
            if data := self._streams[-1].read(size):
                return data
            self._streams.pop()
        return b""


def _check(between: bytearray, wanted: bytes) -> None:
    found = bytes(between.strip())
    if found != wanted:
        raise Refusal("is no JSON object" if found.strip(b", \t\r\n") else "is set apart by other than one comma")
    between.clear()


def _matched(pattern: re.Pattern[bytes], data: bytes, place: int) -> int:
    found = pattern.match(data, place)
    return found.end() if found else place
