"""An MCP server as a child process that is spoken to over its standard input and output, a JSON message a line.

Written here rather than taken from the MCP library because of what that leaves open: lines of any length, and variables of this
server's environment that the operator did not name.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

from rini.tools.answer_size import MAX_BYTES, TOO_LARGE, AnswerSize
from rini.tools.server import NoAnswerError, ToolServer

_INHERITED = ("PATH", "HOME", "LANG")
_LEAVE_SECONDS = 2.0
_LOOK_SECONDS = 0.02
_TAIL_BYTES = 2000

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class Child:
    """The process, and what is known of it. ``ended`` is set once it says nothing more; ``heard_at`` is the loop's time."""

    def __init__(self, process: asyncio.subprocess.Process, transport: asyncio.SubprocessTransport) -> None:
        self.process = process
        self._transport = transport
        self.ended = asyncio.Event()
        self.heard_at = 0.0
        self.fault: str | None = None
        self._tail = b""

    @property
    def said(self) -> str:
        """The last that it wrote to its standard error."""
        return self._tail.decode(errors="replace").strip()

    async def read(self, into: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        """Hand on its messages until it ends. Lines that are none are left out: many servers print to the wrong place."""
        loop = asyncio.get_running_loop()
        try:
            async with into:
                while (line := await self._line()) is not None:
                    self.heard_at = loop.time()
                    try:
                        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValidationError:
                        continue
                    await into.send(SessionMessage(message))
        except anyio.BrokenResourceError:
            pass  # the session is over
        finally:
            self.ended.set()

    async def write(self, given: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Send the client's messages until it closes."""
        assert self.process.stdin is not None
        async with given:
            async for message in given:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                try:
                    self.process.stdin.write(text.encode() + b"\n")
                    await self.process.stdin.drain()
                except (ConnectionError, RuntimeError):  # uvloop's word for a closed pipe
                    return

    async def listen(self) -> None:
        """Keep the end of what it writes to its standard error, and let it write on."""
        assert self.process.stderr is not None
        while piece := await self.process.stderr.read(4096):
            self._tail = (self._tail + piece)[-_TAIL_BYTES:]

    async def end(self) -> None:
        """End it and what it started: it gets two seconds to go by itself, and two more after SIGTERM."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
            gone = await self._gone()
            self._signal(signal.SIGKILL if gone else number)
            if gone:
                break
        # A descendant that left the group may hold the other ends of the pipes for as long as it likes.
        self._transport.close()
        await asyncio.sleep(0)

    async def _line(self) -> bytes | None:
        assert self.process.stdout is not None
        try:
            line = await self.process.stdout.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            self.fault = TOO_LARGE
            return None
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self.fault = AnswerSize().add(line)
        return line if self.fault is None else None

    async def _gone(self) -> bool:
        # Not process.wait(): that waits for the ends of the pipes too.
        until = asyncio.get_running_loop().time() + _LEAVE_SECONDS
        while self.process.returncode is None:
            if asyncio.get_running_loop().time() >= until:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


@asynccontextmanager
async def running(server: ToolServer) -> AsyncGenerator[tuple[Child, Streams]]:
    """Start the server's process and return it with the streams that lead to it; at the end it is gone.

    Its environment is what the operator's file gives, with PATH, HOME and LANG. Raises NoAnswerError where it does not start.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    pipe = asyncio.subprocess.PIPE
    loop = asyncio.get_running_loop()
    try:
        # What asyncio.create_subprocess_exec does, which keeps the transport to itself.
        transport, protocol = await loop.subprocess_exec(
            lambda: asyncio.subprocess.SubprocessStreamProtocol(MAX_BYTES, loop),
            *server.command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=inherited | dict(server.environment),
            cwd=server.folder,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise NoAnswerError(f"The server's command cannot be started: {why}.") from error
    child = Child(asyncio.subprocess.Process(transport, protocol, loop), transport)
    incoming, read_stream = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write_stream, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with incoming, read_stream, write_stream, outgoing, anyio.create_task_group() as tasks:
            tasks.start_soon(child.read, incoming)
            tasks.start_soon(child.write, outgoing)
            tasks.start_soon(child.listen)
            try:
                yield child, (read_stream, write_stream)
            finally:
                tasks.cancel_scope.cancel()
    finally:
        await child.end()
