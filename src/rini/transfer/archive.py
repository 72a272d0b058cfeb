"""A zip archive as other services export it: conversations, and the files that they name.

Nothing is unpacked to a place by its name. What an archive may unpack to is bounded while it is read, whatever its directory says.
"""

import re
import zipfile
import zlib
from types import TracebackType
from typing import BinaryIO, Self

from rini.transfer.refusal import Refusal

LARGEST_DIRECTORY_BYTES = 8 * 1024 * 1024
"""About as many bytes a directory of 60,000 files has."""
HIGHEST_RATIO = 200
"""Text is packed to a tenth. What is packed so much more is made to fill the memory or the disk."""
FREE_BYTES = 16 * 1024 * 1024
"""Up to here the ratio does not count."""

_CONVERSATIONS = re.compile(r"(?:.*/)?conversations(?:[-_]\d+)?\.json", re.DOTALL)
_ASSET = re.compile(r"file[-_][A-Za-z0-9]+")
_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)
"""What zipfile raises for archives that are broken, encrypted, or of kinds that it does not know."""


class Archive:
    """An open archive, from which up to ``most`` bytes may be unpacked. Raises Refusal."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._most = most
        self._unpacked = 0
        try:
            self._zip = zipfile.ZipFile(_Bounded(file))  # pyright: ignore[reportArgumentType]  # it reads, seeks and tells
        except _ERRORS:
            raise Refusal("is no zip archive that can be read: it may have been cut") from None
        self._assets: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = info.filename.rpartition("/")[2]
            if found := _ASSET.match(name):
                self._assets.setdefault(found[0], info)

    @property
    def conversations(self) -> list[zipfile.ZipInfo]:
        """The files with conversations, in the order of their names."""
        found = [info for info in self._zip.infolist() if _CONVERSATIONS.fullmatch(info.filename)]
        return sorted(found, key=lambda info: info.filename)

    def open(self, info: zipfile.ZipInfo) -> "Member":
        """Open one of the archive's files."""
        return Member(self, self._zip, info)

    def asset(self, pointer: str, most: int) -> bytes | None:
        """Return the file that a conversation points to (``file-service://file-…``); None where it is not there or has more than ``most`` bytes."""
        found = _ASSET.match(pointer.rpartition("/")[2])
        info = self._assets.get(found[0]) if found else None
        if info is None:
            return None
        with self.open(info) as member:
            data = member.read(most + 1)
            while len(data) <= most and (more := member.read(most + 1 - len(data))):
                data += more
        return data if len(data) <= most else None

    def count(self, size: int, packed: int, unpacked: int) -> None:
        """Note that ``size`` bytes were unpacked; ``packed`` and ``unpacked`` are the file's sizes so far."""
        self._unpacked += size
        if self._unpacked > self._most:
            raise Refusal(f"unpacks to more than {self._most} bytes")
        if unpacked > FREE_BYTES and unpacked > HIGHEST_RATIO * max(packed, 1):
            raise Refusal(f"is packed more than {HIGHEST_RATIO} times, as no text is")


class Member:
    """A file in an archive, to be read from its beginning to its end."""

    def __init__(self, archive: Archive, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._archive = archive
        self._info = info
        self._read = 0
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refusal(f"has {info.filename[:100]!r} in a compression other than deflate")
        try:
            self._file = opened.open(info)
        except _ERRORS:
            raise self._broken() from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end. Raises Refusal."""
        try:
            data = self._file.read(size)
        except _ERRORS:
            raise self._broken() from None
        self._read += len(data)
        self._archive.count(len(data), self._info.compress_size, self._read)
        return data

    def _broken(self) -> Refusal:
        return Refusal(f"has {self._info.filename[:100]!r} in it, which is encrypted or broken")


class _Bounded:
    """A file that does not give a whole directory of any size: zipfile would make an object of each of its entries."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        most = LARGEST_DIRECTORY_BYTES + 1
        data = self._file.read(min(size, most) if size >= 0 else most)
        if len(data) > LARGEST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile
        return data
