"""Reading Rini's own export."""

import base64
import binascii
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from rini.transfer.items import File, Item
from rini.transfer.lines import OLDEST, VERSION, DataLine, EndLine, FileLine, Header, Line, SessionLine
from rini.transfer.refusal import Refusal, decoded

BESIDE_BYTES = 4 * 1024 * 1024
"""What a line of a message may have beside the message's text."""

_header_json = msgspec.json.Decoder(Header)
_line_json = msgspec.json.Decoder(Line)


class RiniReader:
    """Reads a file of lines. No file in it may have more than ``largest_file`` bytes, and no message a text of more."""

    def __init__(self, file: BinaryIO, largest_file: int) -> None:
        self.where = "line 1"
        self.left_out: Counter[str] = Counter()
        self.empty = 0
        self._file = file
        self._largest = largest_file
        # A message as large as the server takes it, its text once in the content and once in the parts.
        self._longest = 2 * largest_file + BESIDE_BYTES

    def items(self) -> Iterator[Item]:
        """Yield the lines, files put together."""
        lines = self._lines()
        first = decoded(_header_json, next(lines, b""))
        if not OLDEST <= first.version <= VERSION:
            raise Refusal(f"says version {first.version} of the format, and this server reads {OLDEST} to {VERSION}")
        began = ""
        for data in lines:
            line = decoded(_line_json, data)
            if isinstance(line, SessionLine):
                if began:
                    raise Refusal(f"begins a session before the one of {began} has ended")
                began = self.where
                self.left_out = Counter()
            elif not began:
                raise Refusal("comes before the line of a session")
            if isinstance(line, DataLine):
                raise Refusal("is data of no file")
            if isinstance(line, FileLine):
                yield self._put_together(line, lines)
                continue
            yield line
            if isinstance(line, EndLine):
                began = ""
        if began:
            raise Refusal(f"is the last one, and the session of {began} has not ended: the file was cut")

    def _lines(self) -> Iterator[bytes]:
        number = 0
        while line := self._file.readline(self._longest + 1):
            number += 1
            self.where = f"line {number}"
            if len(line) > self._longest:
                raise Refusal(f"has more than {self._longest} bytes")
            if line.strip():
                yield line

    def _put_together(self, begun: FileLine, lines: Iterator[bytes]) -> File:
        if begun.size > self._largest:
            raise Refusal(f"is a file of {begun.size} bytes, and the most is {self._largest}")
        data = bytearray()
        while len(data) < begun.size:
            line = decoded(_line_json, next(lines, b""))
            if not isinstance(line, DataLine) or not line.base64:
                raise Refusal(f"is no data of the file {begun.id}, of which {begun.size - len(data)} bytes are missing")
            try:
                data += base64.b64decode(line.base64, validate=True)
            except (binascii.Error, ValueError):
                raise Refusal("is no base64") from None
        if len(data) > begun.size:
            raise Refusal(f"gives the file {begun.id} more than its {begun.size} bytes")
        return File(begun.id, bytes(data))
