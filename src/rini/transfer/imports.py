"""Importing files: received into the data folder, read a piece at a time, stored session by session."""

import asyncio
import contextlib
import functools
import hashlib
import io
import threading
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec
from sqlalchemy import exc

from rini.db import Database
from rini.errors import (
    FilesUnavailableError,
    ImageRefusedError,
    ImportRefusedError,
    NotFoundError,
    RiniError,
    ShuttingDownError,
    StorageFullError,
    StorageUnavailableError,
    TooManyRequestsError,
)
from rini.files.headers import type_of
from rini.files.store import Files
from rini.kit import lasting
from rini.telemetry import logs
from rini.transfer.archive import Archive
from rini.transfer.chatgpt import ChatGPT
from rini.transfer.claude import Claude
from rini.transfer.elements import Bracketed, array_elements
from rini.transfer.foreign import ForeignReader, Translation, elements_of
from rini.transfer.items import File, Item, Reader
from rini.transfer.lines import (
    FORMAT,
    CutLine,
    EndLine,
    MemoryLine,
    MessageLine,
    ResponseLine,
    SessionLine,
    SystemLine,
    UsageLine,
)
from rini.transfer.refusal import Refusal, decoded
from rini.transfer.rini import RiniReader
from rini.transfer.schemas import REASONS, Imported, ImportedSession, ImportFormat, LeftOut
from rini.transfer.spool import Upload, abandoned
from rini.transfer.storing import Storing, drop_staged, index_messages

AT_ONCE = 2
"""Imports that a process works on; others wait with what they sent on the disk."""
EACH = 2
"""Imports that a user may have at once in a process: each takes room on the disk."""
RETRY_SECONDS = 10
UNPACKED_TIMES = 4
"""How much more than an upload's limit an archive may unpack to."""
PEEKED_BYTES = 64 * 1024

_TRANSLATIONS: dict[ImportFormat, Callable[[], Translation]] = {"chatgpt": ChatGPT, "anthropic": Claude}
_BOM = b"\xef\xbb\xbf"
_log = logs.get_logger(__name__)


class Imports:
    """The imports of one process. ``folder`` is where uploads lie; none has more than ``most_bytes``, no file in one more than ``largest_file``."""

    def __init__(self, database: Database, files: Files, folder: Path, most_bytes: int, largest_file: int) -> None:
        self._database = database
        self._files = files
        self._folder = folder
        self._most_unpacked = UNPACKED_TIMES * most_bytes
        self._largest_file = largest_file
        self._running: Counter[int] = Counter()
        self._turns = anyio.CapacityLimiter(AT_ONCE)

    async def take(
        self, user_id: int, body: AsyncIterator[bytes], wanted: ImportFormat | None, *, shared_memory: bool = False
    ) -> Imported:
        """Import a file. ``wanted`` is its format, where it is not to be found out. ``shared_memory``: with its memory of all sessions.

        Each session is stored whole or not at all. Raises ImportRefusedError for what cannot be read, with the ids of the sessions before;
        TooManyRequestsError.
        """
        async with self._one_of(user_id), Upload(self._folder) as upload:
            async for data in body:
                await upload.write(data)
            await upload.flush()
            stop = threading.Event()
            run = functools.partial(self._import, user_id, upload, wanted, stop, shared_memory=shared_memory)
            work = asyncio.ensure_future(anyio.to_thread.run_sync(run, limiter=self._turns))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:  # the server does not wait any longer
                stop.set()
                with contextlib.suppress(RiniError):
                    await work
                raise

    @contextlib.asynccontextmanager
    async def _one_of(self, user_id: int) -> AsyncGenerator[None]:
        """Count the user's imports. Raises TooManyRequestsError for one too many."""
        if self._running[user_id] >= EACH:
            raise TooManyRequestsError(
                f"You import {EACH} files at the moment; send more when one of them is done.", retry_after=RETRY_SECONDS
            )
        self._running[user_id] += 1
        try:
            yield
        finally:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]

    def sweep(self) -> None:
        """Clear away what dead processes left: their uploads, and sessions that they had not stored to the end."""
        for left in abandoned(self._folder):
            if left.staged is not None:
                if drop_staged(self._database, *left.staged):
                    _log.info("import_dropped")
                else:
                    index_messages(self._database, *left.staged)
            left.clear()

    def _import(
        self, user_id: int, upload: Upload, wanted: ImportFormat | None, stop: threading.Event, *, shared_memory: bool
    ) -> Imported:
        stored: list[ImportedSession] = []
        reader: Reader | None = None
        try:
            kind, reader = self._reader(upload.file, wanted)
            new = functools.partial(Storing, self._database, user_id, upload, shared_memory=shared_memory)
            self._store(user_id, new, reader, stop, stored)
        except Refusal as refusal:
            raise _refused(reader.where if reader is not None else "the file", refusal.why, stored) from None
        except (StorageUnavailableError, FilesUnavailableError) as error:
            raise _broken_off(error, stored) from error
        except exc.IntegrityError:
            raise NotFoundError("The user was deleted while the file was imported.") from None
        if not stored:
            raise _refused("the file", "holds no conversation with a message in it", stored)
        return Imported(format=kind, sessions=stored, empty=reader.empty)

    def _store(
        self,
        user_id: int,
        new: Callable[[SessionLine], Storing],
        reader: Reader,
        stop: threading.Event,
        stored: list[ImportedSession],
    ) -> None:
        """Store the sessions and add each to ``stored`` when it is."""
        storing: Storing | None = None
        alias: str | None = None
        try:
            for item in reader.items():
                if stop.is_set():
                    raise ShuttingDownError
                if isinstance(item, SessionLine):
                    storing, alias = new(item), item.alias
                    continue
                assert storing is not None, "a reader begins with a session"
                self._add(user_id, storing, item, reader)
                if isinstance(item, EndLine):
                    done, storing = storing, None
                    left_out = [
                        LeftOut(code=code, why=REASONS[code], count=count)
                        for code, count in sorted(reader.left_out.items())
                        if count
                    ]
                    lasting.note()
                    stored.append(
                        ImportedSession(id=done.session_id, alias=alias, messages=done.count, left_out=left_out)
                    )
                    done.index()
        finally:
            if storing is not None:
                try:
                    storing.drop()
                finally:
                    self._files.delete_sync(storing.references)

    def _add(self, user_id: int, storing: Storing, item: Item, reader: Reader) -> None:
        match item:
            case MessageLine():
                storing.add_message(item)
            case MemoryLine():
                reader.left_out["shared_memory"] += not storing.add_memory(item)
            case SystemLine():
                storing.add_system(item)
            case ResponseLine():
                storing.add_response(item)
            case UsageLine():
                reader.left_out["usage"] += 1
            case CutLine():
                storing.add_cut(item)
            case File():
                reference = self._kept(user_id, item.data, storing.images)
                if reference is None:
                    reader.left_out["not_an_image"] += 1
                storing.add_file(item.number, reference)
            case EndLine():
                storing.finish(item)
            case SessionLine():
                pass

    def _kept(self, user_id: int, data: bytes, looked_at: dict[bytes, bool]) -> str | None:
        """Keep an image and return its reference; None for what is none."""
        digest = hashlib.sha256(data).digest()
        if digest not in looked_at:
            looked_at[digest] = _is_image(data)
        if not looked_at[digest]:
            return None
        return anyio.from_thread.run(self._files.save, user_id, data, type_of(data) or "")

    def _reader(self, file: BinaryIO, wanted: ImportFormat | None) -> tuple[ImportFormat, Reader]:
        """Return what reads the file, by its first bytes, and its format. Raises Refusal."""
        file.seek(0)
        head = file.read(PEEKED_BYTES)
        file.seek(len(_BOM) if head.startswith(_BOM) else 0)
        start = head.removeprefix(_BOM).lstrip()
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            archive = Archive(file, self._most_unpacked)
            if not archive.conversations:
                raise Refusal("is an archive without a conversations.json")
            return _foreign(elements_of(archive), wanted, archive)
        if start.startswith(b"["):
            return _foreign(array_elements(file), wanted, None)
        if not start.startswith(b"{"):
            raise Refusal("is neither a zip archive nor JSON: nothing that an export is")
        if _is_header(start):
            if wanted not in (None, "rini"):
                raise Refusal(f"is Rini's own export, and format says {wanted}")
            return "rini", RiniReader(file, self._largest_file)
        return _foreign(_in_object(file), wanted, None)


def _is_image(data: bytes) -> bool:
    # Late: Pillow takes 3 MB that a process without images need not spend.
    from rini.files.images import inspect  # noqa: PLC0415

    try:
        inspect(data)
    except ImageRefusedError:
        return False
    return True


class _Kind(msgspec.Struct, frozen=True):
    mapping: msgspec.Raw = msgspec.Raw()
    chat_messages: msgspec.Raw = msgspec.Raw()
    conversations: msgspec.Raw = msgspec.Raw()


class _Format(msgspec.Struct, frozen=True):
    format: str


_format_json = msgspec.json.Decoder(_Format)
_kind_json = msgspec.json.Decoder(_Kind)


def _foreign(
    conversations: Iterator[bytes], wanted: ImportFormat | None, archive: Archive | None
) -> tuple[ImportFormat, Reader]:
    """Return what reads the conversations, and their format, which the first of them tells."""
    first = next(conversations, b"{}")
    kind = wanted or _kind_of(first)
    if kind is None:
        raise Refusal("has conversations with neither ChatGPT's mapping nor Claude's chat_messages")
    if kind == "rini":
        raise Refusal("is not Rini's own export, as format says")
    return kind, ForeignReader(chain((first,), conversations), _TRANSLATIONS[kind](), archive)


def _kind_of(conversation: bytes) -> ImportFormat | None:
    found = decoded(_kind_json, conversation)
    if bytes(found.mapping):
        return "chatgpt"
    return "anthropic" if bytes(found.chat_messages) else None


def _is_header(start: bytes) -> bool:
    """Tell whether a file's first line is that of Rini's own export, of whichever version."""
    try:
        return _format_json.decode(start.partition(b"\n")[0]).format == FORMAT
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False


def _in_object(file: BinaryIO) -> Iterator[bytes]:
    """Yield the conversations of a file that is one of them, or an object that has them in ``conversations``."""
    for data in array_elements(Bracketed(file)):
        inside = bytes(decoded(_kind_json, data).conversations)
        if inside:
            yield from array_elements(io.BytesIO(inside))
        else:
            yield data


def _broken_off(
    error: StorageUnavailableError | FilesUnavailableError, stored: list[ImportedSession]
) -> StorageUnavailableError | FilesUnavailableError:
    """Return the error with what was stored before."""
    why = "the database does not answer"
    if isinstance(error, StorageFullError):
        why = "the disk is full"
    elif isinstance(error, FilesUnavailableError):
        why = "the place where files are kept does not answer, or is full"
    return type(error)(f"The import broke off: {why}. {_before(stored)}", session_ids=[each.id for each in stored])


def _before(stored: list[ImportedSession]) -> str:
    told = {0: "Nothing was stored.", 1: "One session was stored before."}
    return told.get(len(stored), f"{len(stored)} sessions were stored before.")


def _refused(where: str, why: str, stored: list[ImportedSession]) -> ImportRefusedError:
    sentence = f"{where[:1].upper()}{where[1:]} {why}. {_before(stored)}"
    return ImportRefusedError(sentence, where=where, session_ids=[each.id for each in stored])
