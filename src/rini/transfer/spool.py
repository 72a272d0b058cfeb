"""Uploads in the data folder while they are imported, each held by a lock for as long as its process lives.

Beside an upload may be a note of the session that is being stored piece by piece. What a dead process left is cleared away by the next
one that starts.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from rini.errors import StorageFullError

UPLOAD = ".upload"
NOTE = ".staged"
WRITTEN_AT_ONCE = 1024 * 1024

# The last one: the file system, or whoever started the server, does not let a file be so large.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Upload:
    """A file that is received and then read; it is gone when the context ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{uuid.uuid4().hex}{UPLOAD}"
        self._waiting = bytearray()

    async def __aenter__(self) -> Self:
        self.file: BinaryIO = await asyncio.to_thread(_opened, self._path)
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.shield(asyncio.to_thread(self._gone))

    async def write(self, data: bytes) -> None:
        """Add bytes."""
        self._waiting += data
        if len(self._waiting) >= WRITTEN_AT_ONCE:
            await self.flush()

    async def flush(self) -> None:
        """Write what waits. Raises StorageFullError."""
        waiting, self._waiting = self._waiting, bytearray()
        try:
            await asyncio.to_thread(self._write, waiting)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise StorageFullError("The disk for uploads is full; nothing was imported.") from None

    def note(self, session_id: str, user_id: int) -> None:
        """Note, before it is so, that a session is being stored piece by piece for the user."""
        path = self._path.with_suffix(NOTE)
        with path.open("w", encoding="ascii") as note:
            note.write(f"{session_id} {user_id}")
            note.flush()
            os.fsync(note.fileno())

    def strike(self) -> None:
        """Take the note away."""
        self._path.with_suffix(NOTE).unlink(missing_ok=True)

    def _write(self, data: bytes | bytearray) -> None:
        self.file.write(data)
        self.file.flush()

    def _gone(self) -> None:
        # With its note, it is for the next start.
        if not self._path.with_suffix(NOTE).exists():
            self._path.unlink(missing_ok=True)
        self.file.close()


class Left:
    """What a dead process left: an upload, and the session and user of its note, if there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.staged: tuple[str, int] | None = None
        with contextlib.suppress(OSError, ValueError):
            session_id, user_id = path.with_suffix(NOTE).read_text(encoding="ascii").split()
            self.staged = session_id, int(user_id)

    def clear(self) -> None:
        """Delete the files, the note first: an upload without one can be cleared again."""
        self._path.with_suffix(NOTE).unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


def abandoned(folder: Path) -> Iterator[Left]:
    """Yield what dead processes left, locked while the caller has it."""
    for path in sorted(folder.glob(f"*{UPLOAD}")):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # its process lives
                continue
            yield Left(path)


def _opened(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        # Before it was locked, a process that starts may have taken it for one that was left.
        if path.exists():
            return file
        file.close()
