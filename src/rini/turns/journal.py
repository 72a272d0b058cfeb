"""The journal: what clients were shown of answers that are not settled yet, so that kill -9 loses none of it.

Files of this process's own in the data folder's ``run``, held by a lock for as long as it lives. A line is written before
the bytes that it stands for leave; the kernel keeps it when the process dies (it is not synced: a power cut may lose the last
second of an unfinished answer, never a settled one). The next process that starts recovers what a dead one left.

A line is one JSON array: ``["begin", Open]``, ``["add", call_id, [events]]``, ``["pause", row, [parts]]``, ``["book", call_id, [rows]]``,
``["end", [call_ids]]``.
A call after which a tool is used pauses: its row is complete, and the parts are all of its turn so far.
A stateless call that is over is booked here first: its rows are in the database a moment later, with those of many others.
A call that follows a tool begins with what came before it, and so ends the call that it follows.
"""

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rini.canon import Event, Part, ReplyBuilder
from rini.telemetry import logs
from rini.usage.usage_record import UsageRecord

SUFFIX = ".journal"
EMPTIED_ABOVE_BYTES = 4 * 1024 * 1024
PIECE_BYTES = 1024 * 1024

_log = logs.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Open(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call that has begun. ``session_id`` and ``answer_id`` are None in a stateless one; see Settlement for the rest.

    ``earlier`` are the whole calls of the same turn, not booked yet, and ``before`` is what came of them.
    """

    record: UsageRecord
    wire: str
    session_id: str | None = None
    answer_id: int | None = None
    head_id: int | None = None
    moves_head: bool = True
    worker_id: str = ""
    background: bool = False
    memory_ids: tuple[int, ...] = ()
    earlier: tuple[UsageRecord, ...] = ()
    before: tuple[Part, ...] = ()


class Journal:
    """This process's journal: a few files, each with the calls that began while it was the newest.

    A file that has grown is followed by another, and goes when the last of its calls is settled: so under a load that never
    pauses, too, the journal is as long as what is unsettled makes it.
    """

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run_dir = run_dir
        self._newest = _File(run_dir)
        self._calls: dict[str, _File] = {}

    def begin(self, call: Open) -> None:
        """Note that a call begins. It ends the ones before it in its turn."""
        if self._newest.size > EMPTIED_ABOVE_BYTES:
            self._follow()
        # Into the file of the call that it follows: with two, a dead process could leave both calls to be recovered.
        file = self._calls[call.earlier[-1].call_id] if call.earlier else self._newest
        self._calls[call.record.call_id] = file
        file.calls += 1
        file.write(["begin", call])
        if call.earlier:
            self.end(call.earlier[-1].call_id)

    def add(self, call_id: str, events: list[Event]) -> None:
        """Note what came."""
        self._calls[call_id].write(["add", call_id, events])

    def pause(self, record: UsageRecord, parts: tuple[Part, ...]) -> None:
        """Note that the call is over and its turn goes on: its row, and all that was said in the turn."""
        self._calls[record.call_id].write(["pause", record, parts])

    def book(self, records: tuple[UsageRecord, ...]) -> bool:
        """Note the rows of a stateless turn that is over. Return whether they are on the disk: then the answer may leave."""
        call_id = records[-1].call_id
        return self._calls[call_id].write(["book", call_id, records])

    def end(self, *call_ids: str) -> None:
        """Note that calls are settled."""
        ended: dict[_File, list[str]] = {}
        for call_id in call_ids:
            ended.setdefault(self._calls.pop(call_id), []).append(call_id)
        for file, ids in ended.items():
            file.calls -= len(ids)
            if file.calls:
                file.write(["end", ids])
            elif file is not self._newest:
                file.close()
            elif file.size > EMPTIED_ABOVE_BYTES:
                file.empty()
            else:
                file.write(["end", ids])

    def close(self) -> None:
        """Remove the journal; everything is settled."""
        for file in {self._newest, *self._calls.values()}:
            file.close()

    def _follow(self) -> None:
        try:
            self._newest = _File(self._run_dir)
        except OSError as error:  # a full disk, or too many open files: the old one will do
            _log.error("journal_not_followed", reason=errno.errorcode.get(error.errno or 0, "?"))


class _File:
    """One file, mapped into memory: a line is written by copying it, which no other thread can delay as a call of the system can.

    The kernel has what was copied when the process dies. Its place on the disk is taken beforehand, a piece at a time; behind the
    last line stand zeros. ``calls`` counts those in it that are not settled, ``size`` its bytes without the zeros.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / f"turns-{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"
        self.calls = 0
        self.size = 0
        self._warned = False
        # It gets its name when it is locked: a process that starts just now would take it for a dead one's.
        nameless = self.path.with_suffix(".new")
        self._file = os.open(nameless, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(self._file, 0, PIECE_BYTES)
            self._map = mmap.mmap(self._file, PIECE_BYTES)
        except OSError:
            nameless.unlink()
            os.close(self._file)
            raise
        nameless.rename(self.path)

    def write(self, line: list[object]) -> bool:
        """Write a line, and return whether it is there."""
        data = b"\n" + _encode(line)
        end = self.size + len(data)
        if end > len(self._map) and not self._grow(end):
            return False
        self._map[self.size : end] = data
        self.size = end
        return True

    def empty(self) -> None:
        self._map[: self.size] = bytes(self.size)
        self.size = 0

    def close(self) -> None:
        """Remove the file, unless it holds what is not settled."""
        if not self.calls:
            self.path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._file)

    def _grow(self, least: int) -> bool:
        size = -(-least // PIECE_BYTES) * PIECE_BYTES
        try:
            os.posix_fallocate(self._file, 0, size)
            self._map.resize(size)
        except OSError as error:
            # A full disk: the answer goes on. What is lost is only the protection against kill -9 at this moment.
            if not self._warned:
                self._warned = True
                _log.error("journal_not_written", reason=errno.errorcode.get(error.errno or 0, "?"))
            return False
        return True


class Left(msgspec.Struct, frozen=True):
    """A call that a dead process left unsettled, with the reply as far as it had come.

    ``paused`` is the whole row of one that was over, and all that was said in its turn; ``booked`` are the rows of a turn that was over.
    """

    call: Open
    builder: ReplyBuilder
    paused: tuple[UsageRecord, tuple[Part, ...]] | None = None
    booked: tuple[UsageRecord, ...] = ()


def abandoned(run_dir: Path) -> Iterator[tuple[Path, list[Left]]]:
    """Yield the journals of processes that are dead, each with its unsettled calls; the caller deletes the file when done.

    The journal is locked while the caller works on it, so that of several starting processes one does.
    """
    for path in sorted(run_dir.glob(f"*{SUFFIX}")):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if path.exists():
                yield path, list(_unsettled(file.read()))


_begin = msgspec.json.Decoder(tuple[str, Open])
_add = msgspec.json.Decoder(tuple[str, str, list[Event]])
_pause = msgspec.json.Decoder(tuple[str, UsageRecord, tuple[Part, ...]])
_book = msgspec.json.Decoder(tuple[str, str, tuple[UsageRecord, ...]])
_end = msgspec.json.Decoder(tuple[str, list[str]])


def _unsettled(data: bytes) -> Iterator[Left]:
    calls: dict[str, Left] = {}
    for line in data.rstrip(b"\0").split(b"\n"):
        try:
            if line.startswith(b'["add"'):
                _, call_id, events = _add.decode(line)
                builder = calls[call_id].builder
                for event in events:
                    builder.add(event)
            elif line.startswith(b'["begin"'):
                opened = _begin.decode(line)[1]
                for record in opened.earlier:
                    calls.pop(record.call_id, None)
                calls[opened.record.call_id] = Left(opened, ReplyBuilder())
            elif line.startswith(b'["pause"'):
                _, record, parts = _pause.decode(line)
                calls[record.call_id] = msgspec.structs.replace(calls[record.call_id], paused=(record, parts))
            elif line.startswith(b'["book"'):
                _, call_id, records = _book.decode(line)
                calls[call_id] = msgspec.structs.replace(calls[call_id], booked=records)
            elif line.startswith(b'["end"'):
                for call_id in _end.decode(line)[1]:
                    calls.pop(call_id, None)
        except (ValueError, KeyError, RecursionError):
            # A line may be cut off; what it held was not sent. After a power cut it may hold anything.
            continue
    yield from calls.values()
