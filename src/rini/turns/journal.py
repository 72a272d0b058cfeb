"""The journal: what clients were shown of answers that are not settled yet, so that kill -9 loses none of it.

One file a process, in the data folder's ``run``, held by a lock for as long as the process lives. A line is written before
the bytes that it stands for leave; the kernel keeps it when the process dies (it is not synced: a power cut may lose the last
second of an unfinished answer, never a settled one). The next process that starts recovers what a dead one left.

A line is one JSON array: ``["begin", Open]``, ``["add", call_id, [events]]``, ``["end", call_id]``.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rini.canon import Event, ReplyBuilder
from rini.telemetry import logs
from rini.usage.ledger import UsageRecord

SUFFIX = ".journal"
EMPTIED_ABOVE_BYTES = 4 * 1024 * 1024

_log = logs.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Open(msgspec.Struct, frozen=True):
    """A call that has begun. ``session_id`` and ``question_id`` are None in a stateless one."""

    record: UsageRecord
    wire: str
    session_id: str | None
    question_id: int | None


class Journal:
    """This process's journal."""

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = run_dir / f"turns-{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._open = 0
        self._size = 0
        self._warned = False

    def begin(self, record: UsageRecord, wire: str, session_id: str | None, question_id: int | None) -> None:
        """Note that a call begins."""
        self._open += 1
        self._write(["begin", Open(record, wire, session_id, question_id)])

    def add(self, call_id: str, events: list[Event]) -> None:
        """Note what came."""
        self._write(["add", call_id, events])

    def end(self, call_id: str) -> None:
        """Note that the call is settled."""
        self._open -= 1
        if self._open == 0 and self._size > EMPTIED_ABOVE_BYTES:
            os.ftruncate(self._file, 0)
            self._size = 0
        else:
            self._write(["end", call_id])

    def close(self) -> None:
        """Remove the journal; everything is settled."""
        if self._open == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def _write(self, line: list[object]) -> None:
        data = _encode(line) + b"\n"
        try:
            self._size += os.write(self._file, data)
        except OSError as error:
            # A full disk: the answer goes on. What is lost is only the protection against kill -9 at this moment.
            if not self._warned:
                self._warned = True
                _log.error("journal_not_written", reason=errno.errorcode.get(error.errno or 0, "?"))


class Left(msgspec.Struct, frozen=True):
    """A call that a dead process left unsettled, with the reply as far as it had come."""

    call: Open
    builder: ReplyBuilder


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


def _unsettled(data: bytes) -> Iterator[Left]:
    calls: dict[str, Left] = {}
    for line in data.split(b"\n"):
        try:
            kind, rest = _head(line)
            if kind == "begin":
                opened = msgspec.json.decode(rest[0], type=Open)
                calls[opened.record.call_id] = Left(opened, ReplyBuilder())
            elif kind == "add":
                builder = calls[msgspec.json.decode(rest[0], type=str)].builder
                for event in msgspec.json.decode(rest[1], type=list[Event]):
                    builder.add(event)
            else:
                calls.pop(msgspec.json.decode(rest[0], type=str), None)
        except (msgspec.MsgspecError, KeyError, IndexError):
            # The last line may be cut off; what it held was not sent.
            continue
    yield from calls.values()


def _head(line: bytes) -> tuple[str, list[msgspec.Raw]]:
    first, *rest = msgspec.json.decode(line, type=list[msgspec.Raw])
    return msgspec.json.decode(first, type=str), rest
