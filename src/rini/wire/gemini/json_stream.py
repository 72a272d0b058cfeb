"""Cuts a stream of JSON objects into its objects: the JSON array that streamGenerateContent sends without ``alt=sse``."""

import re

from rini.kit.sse import MAX_EVENT_BYTES
from rini.wire.codec import MalformedError

_OUTSIDE = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'["\\]')
_BETWEEN = re.compile(rb"[\s,]*")


class ObjectSplitter:
    """Finds the objects of an array, or bare objects one after the other, whatever the cuts of the transport."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at: int = 0
        self._depth = 0
        self._in_string = False
        self._in_array = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the objects that ``data`` completes. Raises MalformedError."""
        self._data += data
        found: list[bytes] = []
        start: int = 0
        while True:
            if not self._depth:
                start = self._at = self._skip_between(self._at)
                if self._at == len(self._data):
                    break
                if not self._open():
                    continue
            if not self._find_end():
                break
            found.append(bytes(self._data[start : self._at]))
            start = self._at
        del self._data[:start]
        self._at -= start
        if len(self._data) > MAX_EVENT_BYTES:
            raise MalformedError("One chunk of the answer is too large.")
        return found

    @property
    def incomplete(self) -> bool:
        """Whether the bytes so far end within an object."""
        return self._depth > 0

    def _skip_between(self, position: int) -> int:
        match = _BETWEEN.match(self._data, position)
        return match.end() if match else position

    def _open(self) -> bool:
        """Read the byte between two objects that is no space or comma. Return whether it begins an object."""
        byte = self._data[self._at]
        self._at += 1
        if byte == ord("{"):
            self._depth = 1
            return True
        if byte != (ord("]") if self._in_array else ord("[")):
            raise MalformedError("The answer is not a list of objects.")
        self._in_array = not self._in_array
        return False

    def _find_end(self) -> bool:
        """Go to the end of the object that was begun. Return whether it has come."""
        data = self._data
        while True:
            match = (_INSIDE if self._in_string else _OUTSIDE).search(data, self._at)
            if match is None:
                self._at = len(data)
                return False
            byte = data[match.start()]
            if byte == ord("\\"):
                if match.end() == len(data):
                    self._at = match.start()
                    return False
                self._at = match.end() + 1
                continue
            self._at = match.end()
            if byte == ord('"'):
                self._in_string = not self._in_string
            elif byte in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    return True
