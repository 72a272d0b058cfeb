"""Server-sent events: an incremental parser and a writer.

Follows the WHATWG HTML standard, section 9.2 (event streams): lines end in LF, CRLF or CR, a blank line ends an event, several data lines
are joined by LF, comments start with a colon.
"""

from codecs import BOM_UTF8 as BOM
from typing import NamedTuple

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""The most that one unfinished event may hold: a generated image travels as base64 in one line."""


MAX_FOREIGN_BYTES = 64 * 1024
"""About as much is kept of what stands outside the format."""

MAX_HELD_BYTES = 1024 * 1024
"""Of an event that goes on for longer, what came is passed on before its end."""

_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")


class ServerSentEvent(NamedTuple):
    """One event. ``event`` is empty where the stream named none."""

    event: bytes
    data: bytes


class EventTooLargeError(ValueError):
    """One event is larger than the parser takes."""


class EventParser:
    """Cuts bytes into events, whatever the cuts of the transport.

    ``foreign`` holds what stands outside the format (lines without a known field name): some providers send
    a bare JSON error where an event should be.
    """

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_bytes
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._skip_newline = False
        self._at_start = True
        self._mark = b""
        self._event = b""
        self._data: list[bytes] = []
        self._data_size = 0
        self._foreign: list[bytes] = []
        self._foreign_size = 0

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that ``data`` completes. Raises EventTooLargeError."""
        if self._at_start:
            data = self._without_mark(data)
        if data.startswith(b"data: ") and data.endswith(b"\n\n") and not (self._rest or self._data or self._event):
            # Mostly a chunk is one event with one line of data.
            payload = data[6:-2]
            if b"\n" not in payload and b"\r" not in payload and not self._skip_newline:
                return [ServerSentEvent(b"", payload)]
        if self._skip_newline:
            if not data:
                return []
            self._skip_newline = False
            if data[0] == 10:
                data = data[1:]
        # A lone CR ends a line too; a CR at the very end may be the first half of a CRLF.
        if b"\r" in data:
            self._skip_newline = data[-1] == 13
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in data:
            if data:
                self._keep(data)
            return []
        if self._rest:
            self._rest.append(data)
            data = b"".join(self._rest)
            self._rest.clear()
            self._rest_size = 0
        lines = data.split(b"\n")
        last = lines.pop()
        if last:
            self._keep(last)
        found: list[ServerSentEvent] = []
        for line in lines:
            if not line:
                if self._data:
                    payload = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    found.append(ServerSentEvent(self._event, payload))
                self._event = b""
                self._data = []
                self._data_size = 0
            else:
                self._line(line)
        return found

    def close(self) -> list[ServerSentEvent]:
        """Return the event that the end of the bytes completes, if any.

        The standard drops an event without its blank line; providers do end streams so, hence it is taken.
        """
        self._at_start = False
        return self.feed(self._mark + b"\n\n")

    @property
    def foreign(self) -> bytes:
        """The lines that stood outside the format, joined by LF."""
        return b"\n".join(self._foreign)

    def _without_mark(self, data: bytes) -> bytes:
        """Take off one byte order mark at the very start, which may be cut."""
        data = self._mark + data
        if len(data) < len(BOM) and BOM.startswith(data):
            self._mark = data
            return b""
        self._at_start = False
        self._mark = b""
        return data.removeprefix(BOM)

    def _keep(self, data: bytes) -> None:
        self._rest.append(data)
        self._rest_size += len(data)
        self._check(self._rest_size)

    def _check(self, size: int) -> None:
        if size > self._max:
            raise EventTooLargeError(f"One event is larger than {self._max} bytes.")

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            value = line[6:] if line.startswith(b"data: ") else line[5:]
            self._data.append(value)
            self._data_size += len(value)
            self._check(self._data_size)
        elif line.startswith(b"event:"):
            self._event = line[6:].strip()
        elif line.startswith((b":", b"id:", b"retry:")) or line in (b"data", b"event", b"id", b"retry"):
            pass
        elif self._foreign_size < MAX_FOREIGN_BYTES:
            self._foreign.append(line)
            self._foreign_size += len(line)


class WholeEvents:
    """Passes bytes on up to the end of the last whole event: so an answer that breaks off does not end within one.

    ``torn`` says that it does all the same, as with an event of more than MAX_HELD_BYTES.
    """

    def __init__(self) -> None:
        self.torn = False
        self._rest = bytearray()

    @property
    def holds(self) -> bool:
        """Whether the begin of an event waits for its end."""
        return bool(self._rest)

    def feed(self, data: bytes) -> bytes:
        """Return the bytes to pass on."""
        rest = self._rest
        if not rest and data.endswith(_ENDS):  # as mostly
            self.torn = False
            return data
        # The mark of an event's end may be cut too.
        begin = max(len(rest) - 2, 0)
        rest += data
        end = max(found + len(mark) if (found := rest.rfind(mark, begin)) >= 0 else 0 for mark in _ENDS)
        if not end and rest.isspace():  # more blank lines than one
            return self.close()
        if not end and len(rest) > MAX_HELD_BYTES:
            self.torn = True
            return self.close()
        if not end:
            return b""
        self.torn = False
        whole = bytes(rest[:end])
        del rest[:end]
        return whole

    def close(self) -> bytes:
        """Return what is left when the bytes end."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest
