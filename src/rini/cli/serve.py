"""``rini serve``."""

import os
import socket
import sys

import uvicorn
from uvicorn.supervisors import Multiprocess

from rini import __version__
from rini.accounts.secrets import load_secrets
from rini.db.migrate import migrate
from rini.providers.local.installation import BOXED_MODEL_ID
from rini.settings import Settings, SettingsError
from rini.telemetry import metrics

LAST_SECONDS = 3
"""What cancelled answers get to settle, after the grace period."""

FAILED_TO_START = 3
BACKLOG = 2048


class Server(uvicorn.Server):
    """A server that says, once it listens, what a newcomer can do with it."""

    def __init__(self, config: uvicorn.Config, greeting: str) -> None:
        super().__init__(config)
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then greet."""
        await super().startup(sockets)
        if self.started:
            print(self._greeting, flush=True)


def run(settings: Settings) -> int:
    """Serve until a signal ends it, and return the exit status."""
    _hand_down(settings)
    secrets = load_secrets(settings)
    if secrets.generated is not None:
        print(f"Secrets were made and kept in {secrets.generated} (mode 0600).", flush=True)
    migrate(settings.database)
    if settings.workers > 1:
        metrics.prepare_multiprocess(settings.run_dir / "metrics")
    listening = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        "rini.app:app",
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    greeting = _greeting(settings, listening.getsockname()[1])
    if settings.workers > 1:
        print(greeting, flush=True)
        Multiprocess(config, sockets=[listening]).run()
        return 0
    server = Server(config, greeting)
    server.run(sockets=[listening])
    return 0 if server.started else FAILED_TO_START


def _hand_down(settings: Settings) -> None:
    """Give what the command line said to the workers, which read the environment."""
    os.environ["RINI_HOST"] = settings.host
    os.environ["RINI_PORT"] = str(settings.port)
    os.environ["RINI_WORKERS"] = str(settings.workers)
    os.environ["RINI_DATA_DIR"] = str(settings.data_dir)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(f"{host}:{port} cannot be listened on: {error.strerror or error}.") from None
    listening.set_inheritable(True)
    return listening


def _greeting(settings: Settings, port: int) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  # it is compared, not bound
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    python = os.path.relpath(sys.executable)
    field = f"{python} -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])'"
    send = "-H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d"
    ask = f'{{"provider": "local", "model": "{BOXED_MODEL_ID}", "text": "Tell me a short story.", "stream": true'
    lines = (
        f"TOKEN=$(curl -sX POST {address}/users/ | {field} access_token)",
        f"SESSION=$(curl -s {address}/sessions/ {send} '{{}}' | {field} id)",
        f"curl -N {address}/llm/text-completion/ {send} '{ask}, \"session_id\": \"'$SESSION'\"}}'",
    )
    pasted = "\n".join(f"  {line}" for line in lines)
    return f"Rini {__version__} listens on {address} (pages: {address}/docs). Paste this elsewhere:\n\n{pasted}\n"
