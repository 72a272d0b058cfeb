"""A scripted provider: a real HTTP server on loopback whose every byte a test decides.

The key that a call carries (in whichever header) picks the script, so that tests share one upstream and never meet.
"""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    left_at: float | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Conversation:
    """The connection to whoever called, after its request was read."""

    def __init__(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen = seen
        self.reader = reader
        self._writer = writer

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int = 200, content_type: str = "text/event-stream", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", "transfer-encoding: chunked"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def chunk(self, data: bytes | str) -> None:
        data = data.encode() if isinstance(data, str) else data
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def whole(self, body: Any, status: int = 200, content_type: str = "application/json", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", f"content-length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw(("\r\n".join(lines) + "\r\n\r\n").encode() + data)

    async def until_left(self, seconds: float = 10) -> None:
        """Wait until the caller closes the connection, and note when."""
        await asyncio.wait_for(self.reader.read(), seconds)
        self.seen.left_at = time.monotonic()


Script = Callable[[Conversation], Awaitable[None]]


def openai_chunks(*texts: str, usage: dict[str, Any] | None = None, finish: str | None = "stop") -> list[str]:
    """Return the server-sent events of an OpenAI chat stream, each as one string."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test-1"}

    def event(delta: dict[str, Any], reason: str | None = None) -> str:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        return f"data: {json.dumps(base | {'choices': choices})}\n\n"

    events = [event({"role": "assistant", "content": ""})]
    events += [event({"content": text}) for text in texts]
    if finish is not None:
        events.append(event({}, finish))
        usage = usage or {"prompt_tokens": 7, "completion_tokens": len(texts), "total_tokens": 7 + len(texts)}
        events.append(f"data: {json.dumps(base | {'choices': [], 'usage': usage})}\n\n")
        events.append("data: [DONE]\n\n")
    return events


def openai_reply(text: str, **changes: Any) -> dict[str, Any]:
    """Return a whole OpenAI chat answer."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-test-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    } | changes


async def echo(conversation: Conversation) -> None:
    """Answer with what was asked last, in OpenAI's format, streamed or whole."""
    body = conversation.seen.json
    text = body["messages"][-1]["content"]
    text = "echo: " + (text if isinstance(text, str) else "".join(part.get("text", "") for part in text))
    if body.get("stream"):
        await conversation.head()
        for event in openai_chunks(*(text[i : i + 4] for i in range(0, len(text), 4))):
            await conversation.chunk(event)
        await conversation.end()
    else:
        await conversation.whole(openai_reply(text))


@dataclass
class Upstream:
    """The server. ``url`` has no path; scripts are set by key."""

    scripts: dict[str, Script] = field(default_factory=dict)
    seen: dict[str, list[Seen]] = field(default_factory=dict)
    port: int = 0

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def calls(self, key: str) -> list[Seen]:
        return self.seen.get(key, [])

    def _run(self, ready: threading.Event) -> None:
        async def main() -> None:
            self._stop = asyncio.Event()
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**26)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await self._stop.wait()
            server.close()
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()

        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(main())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request, *lines = head.decode("latin-1").split("\r\n")
                method, path, _ = request.split(" ")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                key = (
                    headers.get("authorization", "").removeprefix("Bearer ")
                    or headers.get("x-api-key")
                    or headers.get("x-goog-api-key", "")
                )
                seen = Seen(method, path, headers, body)
                self.seen.setdefault(key, []).append(seen)
                await self.scripts.get(key, echo)(Conversation(seen, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, TimeoutError):
            pass
        finally:
            writer.close()
