"""Bodies of ``multipart/form-data`` (RFC 7578), read whole: the gate has seen to their size."""

from typing import TYPE_CHECKING

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from rini.errors import InvalidRequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_FIELDS = 50
LONGEST_FIELD_BYTES = 1024 * 1024


class FormFile(msgspec.Struct, frozen=True):
    """A field that is a file. ``filename`` is the client's, as it came."""

    data: bytes
    filename: str | None


class Form(msgspec.Struct, frozen=True):
    """The fields by name: texts, and files."""

    texts: dict[str, str]
    files: dict[str, FormFile]


def parse_form(content_type: str, body: bytes, file_fields: frozenset[str]) -> Form:
    """Return the form. ``file_fields`` are files whether or not they have a filename, all others are texts.

    Raises InvalidRequestError for another type of body, a broken one, and a field that comes twice.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidRequestError("The body must be multipart/form-data, with a boundary in its content type.")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise InvalidRequestError("The body is not the multipart/form-data that its content type promises.") from None
    if not reader.complete:
        raise InvalidRequestError("The multipart/form-data body ends before its last boundary.")
    form = Form({}, {})
    for part in reader.parts:
        _take(form, part, file_fields)
    return form


def _take(form: Form, part: "_Part", file_fields: frozenset[str]) -> None:
    kind, options = parse_options_header(bytes(part.headers.get(b"content-disposition", b"")))
    try:
        name = options.get(b"name", b"").decode()
        filename = options[b"filename"].decode() if b"filename" in options else None
    except UnicodeDecodeError:
        raise InvalidRequestError("A field's name or filename is not UTF-8.") from None
    if kind != b"form-data" or not name:
        raise InvalidRequestError("A part of the form has no name.")
    if name in form.texts or name in form.files:
        raise InvalidRequestError(f"{name}: is given twice.")
    if name in file_fields:
        form.files[name] = FormFile(bytes(part.data), filename)
        return
    if len(part.data) > LONGEST_FIELD_BYTES:
        raise InvalidRequestError(f"{name}: must not have more than {LONGEST_FIELD_BYTES} bytes.")
    try:
        form.texts[name] = part.data.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{name}: is not UTF-8.") from None


class _Part:
    def __init__(self) -> None:
        self.headers: dict[bytes, bytearray] = {}
        self.data = bytearray()


class _Reader:
    """Gathers the parts of one body."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.complete = False
        self._field = bytearray()
        self._value = bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_begin": self._header,
            "on_header_field": self._more_field,
            "on_header_value": self._more_value,
            "on_header_end": self._header_end,
            "on_part_data": self._more_data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == MOST_FIELDS:
            raise InvalidRequestError(f"The form has more than {MOST_FIELDS} fields.")
        self.parts.append(_Part())

    def _header(self) -> None:
        self._field, self._value = bytearray(), bytearray()

    def _more_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _more_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].data += data[start:end]

    def _header_end(self) -> None:
        self.parts[-1].headers[bytes(self._field).lower()] = self._value

    def _end(self) -> None:
        self.complete = True
