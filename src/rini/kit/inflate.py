"""Bodies in HTTP's gzip and deflate codings (RFC 9110, section 8.4.1), within a limit."""

import zlib


class InflateError(ValueError):
    """The bytes are not what they claim to be."""


class Inflater:
    """Decodes one body. ``complete`` tells whether its end came (or nothing at all, as for a body without bytes)."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self._stream.eof or not self._begun

    def feed(self, data: bytes, limit: int) -> bytes:
        """Return what ``data`` decodes to, cut off after ``limit`` bytes. Raises InflateError."""
        found: list[bytes] = []
        try:
            while data and limit > 0:
                if self._stream.eof:  # gzip may have several members
                    self._stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
                piece = self._first(data, limit) if not self._begun else self._stream.decompress(data, limit)
                found.append(piece)
                limit -= len(piece)
                data = self._stream.unused_data or self._stream.unconsumed_tail
        except zlib.error as error:
            raise InflateError(str(error)) from None
        return found[0] if len(found) == 1 else b"".join(found)

    def _first(self, data: bytes, limit: int) -> bytes:
        self._begun = True
        try:
            return self._stream.decompress(data, limit)
        except zlib.error:
            # Some servers send deflate without the wrapper that the standard asks for.
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._stream.decompress(data, limit)
