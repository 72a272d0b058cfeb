"""The server as a user runs it: ``rini serve`` in a process of its own, on a real socket."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


def clean_environment(**settings: str) -> dict[str, str]:
    """Return an environment without any of the developer's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RINI_", "JWT_", "PROMETHEUS_"))}
    return kept | {"PYTHONPATH": str(ROOT / "src"), "NO_PROXY": "*"} | settings


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Event:
    """One server-sent event."""

    id: str
    event: str
    data: Any
    at: float = 0.0


@dataclass
class Client:
    """A client of the native API, with one user's token."""

    url: str
    token: str | None = None
    provider_key: str = ""

    def request(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Answer:
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, body: Any = None) -> Answer:
        return self.request("POST", path, body)

    def form(self, path: str, files: dict[str, tuple[str | None, bytes]], **fields: str) -> Answer:
        """Send a multipart/form-data body: texts as ``fields``, files by name as (filename, bytes)."""
        mark = os.urandom(8).hex()
        parts = [(f'name="{name}"', text.encode()) for name, text in fields.items()]
        parts += [
            (f'name="{name}"' + (f'; filename="{filename}"' if filename is not None else ""), data)
            for name, (filename, data) in files.items()
        ]
        body = b"".join(
            f"--{mark}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"
            for head, data in parts
        )
        kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        return self.request("POST", path, raw=body + f"--{mark}--\r\n".encode(), **kind)

    def patch(self, path: str, body: Any) -> Answer:
        return self.request("PATCH", path, body)

    def put(self, path: str, body: Any) -> Answer:
        return self.request("PUT", path, body)

    def delete(self, path: str) -> Answer:
        return self.request("DELETE", path)

    def ask(self, text: str = "hello", **fields: Any) -> Answer:
        """Send a text completion to the scripted upstream's OpenAI."""
        return self.post("/llm/text-completion/", {"text": text, "provider": "openai", "model": "gpt-test"} | fields)

    def open_stream(self, text: str = "hello", path: str = "/llm/text-completion/", **fields: Any) -> "StreamReader":
        body = {"provider": "openai", "model": "gpt-test", "stream": True} | fields
        body |= {} if "messages" in body else {"text": text}
        return StreamReader(self, path, body)

    def stream(self, text: str = "hello", **fields: Any) -> list[Event]:
        with self.open_stream(text, **fields) as reader:
            assert reader.status == 200, reader.rest()
            return list(reader)

    def session(self, **fields: Any) -> str:
        answer = self.post("/sessions/", fields)
        assert answer.status == 201, answer
        return answer.json["id"]


class StreamReader:
    """Reads server-sent events off a raw socket, so that a test can stop anywhere."""

    def __init__(self, client: Client, path: str, body: Any) -> None:
        host, port = client.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {client.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        )
        self._socket.sendall(head.encode() + data)
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        self._chunked = self.headers.get("transfer-encoding") == "chunked"
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def rest(self) -> bytes:
        return self._file.read()

    def __iter__(self) -> Iterator[Event]:
        while (data := self._read()) is not None:
            self._rest += data
            while b"\n\n" in self._rest:
                block, self._rest = self._rest.split(b"\n\n", 1)
                fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
                yield Event(
                    fields[b"id"].decode(), fields[b"event"].decode(), json.loads(fields[b"data"]), time.monotonic()
                )

    def _read(self) -> bytes | None:
        if not self._chunked:
            return self._file.read(65536) or None
        size = self._file.readline().strip()
        if not size or (length := int(size, 16)) == 0:
            return None
        data = self._file.read(length)
        self._file.readline()
        return data


@dataclass
class Server:
    """A running server."""

    data_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    upstream_url: str = ""
    arguments: tuple[str, ...] = ()

    def start(self, seconds: float = 20) -> "Server":
        settings = {
            "RINI_DATA_DIR": str(self.data_dir),
            "RINI_LOCAL_MODEL": "off",
            "RINI_SIGNUP_LIMIT": "0",
            "RINI_PROVIDER_RETRIES": "0",
            "RINI_LOG_FORMAT": "json",
        }
        if self.upstream_url:
            settings |= {
                "RINI_OPENAI_BASE_URL": f"{self.upstream_url}/v1",
                "RINI_ANTHROPIC_BASE_URL": self.upstream_url,
                "RINI_GOOGLE_BASE_URL": self.upstream_url,
            }
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.log = self.data_dir / "server.log"
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rini", "serve", "--port", str(self.port), *self.arguments],
                env=clean_environment(**(settings | self.settings)),
                cwd=self.data_dir,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=1):
                    return self
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the server did not start:\n{self.logged()}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def user(self, key: str | None = None, provider: str = "openai") -> Client:
        """Make a user, with a stored provider key of its own."""
        client = Client(self.url)
        answer = client.post("/users/")
        assert answer.status == 201, answer
        client.token = answer.json["access_token"]
        client.provider_key = key or f"sk-test-{os.urandom(8).hex()}"
        stored = client.post("/api-keys/", {"model_provider": provider, "api_key_value": client.provider_key})
        assert stored.status == 201, stored
        return client

    def stop(self, seconds: float = 10) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End the whole process group at once, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
