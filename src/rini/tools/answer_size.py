"""How much of an answer is taken. Reading JSON holds up all other requests of the process, longer by its values than by its bytes."""

import re

MAX_BYTES = 8 * 1024 * 1024
"""The most that all answers to one thing that is asked may hold together."""

MAX_VALUES = 100_000
"""The most JSON values that they may hold, about: 8 MiB of the smallest ones would take seconds to read."""

TOO_LARGE = f"The server answered with more than {MAX_BYTES // 1024 // 1024} MiB."
TOO_MANY = f"The server answered with more than {MAX_VALUES} values."

# A line's end ends a string too, as JSON has none in there: no stray quote of an event stream can hide what follows.
_STRING = re.compile(rb'"(?:[^"\\\r\n]++|\\[^\r\n])*+["\r\n]')


class AnswerSize:
    """Counts the bytes and values of answers as they come in pieces."""

    def __init__(self) -> None:
        self._bytes = 0
        self._values = 0
        self._carried = b""

    def add(self, piece: bytes) -> str | None:
        """Count a piece; return a sentence when it is too much."""
        self._bytes += len(piece)
        outside = _STRING.sub(b"", self._carried + piece)
        start = outside.find(b'"')
        self._carried = b""
        if start >= 0:
            # A string that goes on: of what is in it only a first half of an escape matters.
            backslashes = len(outside) - len(outside.rstrip(b"\\"))
            self._carried = b'"\\' if backslashes % 2 else b'"'
            outside = outside[:start]
        self._values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if self._bytes > MAX_BYTES:
            return TOO_LARGE
        return TOO_MANY if self._values > MAX_VALUES else None
