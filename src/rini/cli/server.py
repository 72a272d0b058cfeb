"""One server process."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType
from typing import NoReturn

import uvicorn

from rini.cli.connection import ClientConnection
from rini.cli.refusal import REFUSALS, refuse
from rini.kit.draining import process as draining
from rini.settings import Settings

FAILED_TO_START = 3
BACKLOG = 2048
LAST_SECONDS = 3
"""What cancelled answers get to settle, after the grace period."""


class Server(uvicorn.Server):
    """Uvicorn's server, which calls ``on_listening`` once, and at its end cancels what still runs after the grace period."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: running answers had their time already, see ``Draining``."""
        if draining.over:
            for task in list(self.server_state.tasks):
                task.cancel()
        await super().shutdown(sockets)


def configure(settings: Settings) -> uvicorn.Config:
    """Return how uvicorn is to serve the application."""
    return uvicorn.Config(
        "rini.app:app",
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        http=ClientConnection,
        backlog=BACKLOG,
        timeout_graceful_shutdown=LAST_SECONDS,
    )


def serve(config: uvicorn.Config, listening: socket.socket, on_listening: Callable[[], None]) -> int:
    """Serve until a signal ends it, and return the exit status. Raises what makes the application impossible."""
    # Uvicorn takes the signals while it runs, and passes them on when it has ended: then there is nothing left to do.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    server = Server(config, on_listening)
    server.run(sockets=[listening])
    return 0 if server.started else FAILED_TO_START


def serve_as_worker(config: uvicorn.Config, listening: socket.socket, supervisor: Connection) -> NoReturn:
    """Do the same as one of several processes: tell the supervisor once it listens, and end when the supervisor is gone."""
    threading.Thread(target=_end_with_parent, name="supervisor", daemon=True).start()

    def tell() -> None:
        with suppress(BrokenPipeError):  # the supervisor is gone: the thread sees to that
            supervisor.send(None)

    try:
        status = serve(config, listening, tell)
    except REFUSALS as error:
        status = refuse(error)
    sys.exit(status)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
