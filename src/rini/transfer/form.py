"""A form with a file (RFC 7578), of which the file goes on as it comes; the form may be larger than the memory."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from rini.errors import InvalidRequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE_FIELD = "file"


def is_form(content_type: str) -> bool:
    """Tell whether a body of that type is a form."""
    return parse_options_header(content_type)[0] == b"multipart/form-data"


async def file_in(content_type: str, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the bytes of the form's file, which is the field ``file``; other fields are passed over.

    Raises InvalidRequestError for a broken form, and for one without that field or with two of them.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InvalidRequestError("The multipart/form-data body needs a boundary in its content type.")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        async for chunk in body:
            parser.write(chunk)
            if reader.found:
                yield bytes(reader.found)
                reader.found.clear()
        parser.finalize()
    except FormParserError:
        raise InvalidRequestError("The body is not the multipart/form-data that its content type promises.") from None
    if not reader.complete:
        raise InvalidRequestError("The multipart/form-data body ends before its last boundary.")
    if reader.files == 0:
        raise InvalidRequestError(f"{FILE_FIELD}: the form has no such field, and the file is to be in it.")


class _Reader:
    """Finds the file among the parts."""

    def __init__(self) -> None:
        self.found = bytearray()
        self.files = 0
        self.complete = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._in_file = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_begin": self._header_begin,
            "on_header_field": self._more_header,
            "on_header_value": self._more_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._more_data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition, self._in_file = b"", False

    def _header_begin(self) -> None:
        self._header.clear()
        self._value.clear()

    def _more_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._in_file = options.get(b"name") == FILE_FIELD.encode()
        if self._in_file:
            self.files += 1
            if self.files > 1:
                raise InvalidRequestError(f"{FILE_FIELD}: is given twice.")

    def _more_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.found += data[start:end]

    def _end(self) -> None:
        self.complete = True
