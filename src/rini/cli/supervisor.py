"""Several server processes on one socket, and the process that looks after them.

Uvicorn has one too. It looks at its workers twice a second, takes no second signal, starts a worker that cannot load the
application again and again, and its workers outlive it when it is killed.
"""

import multiprocessing
import signal
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from types import FrameType

import uvicorn

from rini.cli.server import FAILED_TO_START, serve_as_worker
from rini.telemetry import logs, metrics

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logs.get_logger(__name__)
_spawn = multiprocessing.get_context("spawn")


class Supervisor:
    """Keeps ``count`` workers serving. A worker that died is replaced; while its replacements fail, after ever longer pauses.

    A signal ends the workers, each after its grace period; a second one ends them at once, a third one kills them.
    """

    def __init__(
        self, config: uvicorn.Config, count: int, listening: socket.socket, on_listening: Callable[[], None]
    ) -> None:
        self._config = config
        self._count = count
        self._listening = listening
        self._on_listening = on_listening
        self._workers: list[_Worker] = []
        self._all_listened = False
        self._failed = False
        self._signals = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._start_at = 0.0

    def run(self) -> int:
        """Serve until a signal ends it, and return the exit status: not 0 when the server did not start."""
        with _signals() as signals:
            self._start()
            while self._workers or not self._ending:
                pause = None if self._ending or len(self._workers) == self._count else self._start_at - time.monotonic()
                told = wait([signals, *(item for worker in self._workers for item in worker.waited_for)], pause)
                if signals in told:
                    for _ in signals.recv(256):
                        self._end()
                self._listen_to_workers()
                self._bury()
                if not self._ending and time.monotonic() >= self._start_at:
                    self._start()
        return FAILED_TO_START if self._failed else 0

    @property
    def _ending(self) -> bool:
        return self._failed or self._signals > 0

    def _start(self) -> None:
        # The terminal sends its Ctrl-C to workers too, and one that still imports would print where.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            while len(self._workers) < self._count:
                self._workers.append(_Worker(self._config, self._listening))
        finally:
            signal.signal(signal.SIGINT, before)

    def _listen_to_workers(self) -> None:
        for worker in self._workers:
            worker.listen()
        if len(self._workers) == self._count and all(worker.serves for worker in self._workers):
            self._pause = FIRST_PAUSE_SECONDS
            if not self._all_listened:
                self._all_listened = True
                self._on_listening()

    def _bury(self) -> None:
        for worker in [worker for worker in self._workers if not worker.process.is_alive()]:
            self._workers.remove(worker)
            metrics.worker_died(worker.pid)
            if self._ending:
                continue
            _log.error("worker_died", pid=worker.pid, exit_status=worker.process.exitcode, served=worker.serves)
            if worker.serves:
                self._start_at = time.monotonic()
            elif self._all_listened:
                self._start_at = time.monotonic() + self._pause
                self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            else:
                # It would fail again in the same way.
                self._failed = True
                for other in self._workers:
                    other.process.terminate()

    def _end(self) -> None:
        self._signals += 1
        for worker in self._workers:
            if self._signals > 2:
                worker.process.kill()
            else:
                worker.process.terminate()


class _Worker:
    """One worker process, as its parent sees it."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket) -> None:
        self.serves = False
        self._told, tells = _spawn.Pipe(duplex=False)
        # A daemon in multiprocessing's sense: it is ended when its parent breaks.
        self.process = _spawn.Process(target=serve_as_worker, args=(config, listening, tells), daemon=True)
        self.process.start()
        tells.close()
        self.pid = self.process.pid or 0

    @property
    def waited_for(self) -> list[Connection | int]:
        """What says that the worker serves, or died."""
        return [self.process.sentinel] if self.serves else [self._told, self.process.sentinel]

    def listen(self) -> None:
        """Take note when the worker says that it serves."""
        if not self.serves and self._told.poll():
            try:
                self._told.recv()
            except EOFError:  # it died: its sentinel says so too
                return
            self.serves = True
            self._told.close()


@contextmanager
def _signals() -> Generator[socket.socket]:
    """Let signals come as bytes from a socket, one each, so that they interrupt nothing."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno())
    handlers = {number: signal.signal(number, _woken) for number in SIGNALS}
    try:
        yield reader
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        reader.close()
        writer.close()


def _woken(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the byte on the socket is what counts."""
