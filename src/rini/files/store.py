"""Users' files: a row for each in the database, its bytes in a folder or a bucket.

The row is made before the bytes are and goes after them, so that nothing lies about that no row knows of. What a crash, or a storage
that did not answer, leaves behind is swept up later.
"""

import asyncio
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

from sqlalchemy.engine import Connection

from rini.db import AnyRow, Database
from rini.errors import NotFoundError, RiniError
from rini.files import repository
from rini.files.blobs import open_blobs
from rini.kit.clock import now
from rini.telemetry import logs

P = ParamSpec("P")
T = TypeVar("T")

KEPT_BYTES = 64 * 1024 * 1024
THREADS = 8
SWEEP_SECONDS = 600
LEFT_FOR = timedelta(hours=1)
"""How long a file may be without a message: it is stored before its message is."""

_log = logs.get_logger(__name__)


class Files:
    """The files of all users; one for each process. The last files read are kept in memory, up to 64 MiB.

    ``url`` is RINI_FILES_URL, ``folder`` where files are kept when it is empty. Raises SettingsError when neither can be used.
    """

    def __init__(self, database: Database, folder: Path, url: str = "") -> None:
        self._database = database
        self._blobs = open_blobs(url, folder)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="files")
        self._kept = _Kept()

    async def save(self, user_id: int, data: bytes, mime_type: str) -> str:
        """Keep a file and return its reference. Raises FilesUnavailableError.

        A message must name it within an hour, or it is swept up.
        """
        reference = str(uuid.uuid4())
        await self._database.write(repository.add, reference, user_id, mime_type, len(data))
        key = _key(user_id, reference)
        await self._run(self._blobs.put, key, data)
        self._kept.add(key, data)
        return reference

    async def read(self, user_id: int, reference: str) -> bytes:
        """Return the bytes of a user's file. Raises NotFoundError, FilesUnavailableError."""
        kept = self._kept.get(_key(user_id, reference))
        return kept if kept is not None else await self._run(self.read_sync, user_id, reference)

    def read_sync(self, user_id: int, reference: str) -> bytes:
        """Do the same from a thread that may wait."""
        key = _key(user_id, reference)
        data = self._kept.get(key)
        if data is None:
            data = self._blobs.get(key)
            self._kept.add(key, data)
        return data

    async def delete(self, references: Sequence[str]) -> None:
        """Delete those of the files that no message names any more.

        What the storage does not delete now, because it does not answer, is swept up later.
        """
        if references:
            await self._run(self.delete_sync, references)

    def delete_sync(self, references: Sequence[str]) -> None:
        """Do the same from a thread that may wait."""
        if references:
            self._discard(repository.unnamed, references)

    def delete_user_sync(self, user_id: int) -> None:
        """Delete all files of a user who is gone, as ``delete`` does."""
        self._discard(repository.of_user, user_id)

    async def sweep(self) -> int:
        """Delete files without a message and files without a user; return how many. Raises RiniError.

        It may be stopped anywhere, and run in several processes at once.
        """
        count, after = 0, ""
        while True:
            rows, end = await self._database.read(repository.left_behind, after, now() - LEFT_FOR)
            if rows:
                await self._run(self._delete, rows)
                count += len(rows)
            if end is None:
                return count
            after = end

    async def keep_swept(self) -> None:
        """Sweep now and every ten minutes, until cancelled."""
        while True:
            try:
                count = await self.sweep()
            except Exception as error:  # noqa: BLE001  # nobody waits for this task: whatever it is, the next sweep is due
                _log.warning("files_not_swept", reason=str(error))
            else:
                if count:
                    _log.info("files_swept", count=count)
            await asyncio.sleep(SWEEP_SECONDS)

    def close(self) -> None:
        """Let what runs end."""
        self._threads.shutdown(cancel_futures=True)

    def _discard(self, found: Callable[[Connection, T], list[AnyRow]], of: T) -> None:
        """Delete what ``found`` finds. Whatever named it is gone already, so a failure here is no failure to the client."""
        try:
            self._delete(self._database.read_sync(found, of))
        except RiniError as error:
            _log.warning("files_left_to_sweep", reason=error.detail)

    def _delete(self, rows: Sequence[AnyRow]) -> None:
        if not rows:
            return
        keys = [_key(row.user_id, row.reference) for row in rows]
        self._kept.forget(keys)
        self._blobs.delete(keys)
        self._database.write_sync(repository.remove, [row.reference for row in rows])

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))


class _Kept:
    """The bytes of the files that were used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> bytes | None:
        with self._lock:
            data = self._files.get(key)
            if data is not None:
                self._files.move_to_end(key)
            return data

    def add(self, key: str, data: bytes) -> None:
        with self._lock:
            self._drop(key)
            self._files[key] = data
            self._bytes += len(data)
            while self._bytes > KEPT_BYTES:
                self._drop(next(iter(self._files)))

    def forget(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._drop(key)

    def _drop(self, key: str) -> None:
        self._bytes -= len(self._files.pop(key, b""))


def _key(user_id: int, reference: str) -> str:
    """Return where a file is kept. Raises NotFoundError for what is no reference, such as a path that leads elsewhere."""
    try:
        return f"{user_id}/{uuid.UUID(reference)}"
    except ValueError:
        raise NotFoundError("There is no such file.") from None
