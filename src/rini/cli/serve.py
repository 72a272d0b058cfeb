"""``rini serve``."""

import os
import shlex
import socket
import sys
from pathlib import Path

from rini import __version__
from rini.cli.secrets import announced
from rini.cli.server import BACKLOG, configure, serve
from rini.cli.supervisor import Supervisor
from rini.db.migrate import migrate
from rini.providers.local.installation import BOXED_MODEL_ID
from rini.settings import Settings, SettingsError
from rini.telemetry import logs, metrics
from rini.tools.servers_file import load_servers
from rini.usage.price_file import load_overrides


def run(settings: Settings) -> int:
    """Serve until a signal ends it, and return the exit status."""
    logs.configure_logs(settings.log_format, settings.log_level)
    _hand_down(settings)
    if settings.prices_file is not None:
        load_overrides(settings.prices_file)  # a mistake in it is told before anything else is done
    if settings.mcp_servers_file is not None:
        load_servers(settings.mcp_servers_file)
    with _bind(settings.host, settings.port) as listening:
        announced(settings)
        migrate(settings.database)
        _listen(listening)
        greeting = _greeting(settings, listening.getsockname()[1])
        config = configure(settings)
        if settings.workers == 1:
            return serve(config, listening, lambda: print(greeting, flush=True))
        metrics.prepare_multiprocess(settings.run_dir / "metrics")
        return Supervisor(config, settings.workers, listening, lambda: print(greeting, flush=True)).run()


def _hand_down(settings: Settings) -> None:
    """Give what the command line said to the workers, which read the environment."""
    os.environ["RINI_HOST"] = settings.host
    os.environ["RINI_PORT"] = str(settings.port)
    os.environ["RINI_WORKERS"] = str(settings.workers)
    os.environ["RINI_DATA_DIR"] = str(settings.data_dir)


def _bind(host: str, port: int) -> socket.socket:
    """Take the address, before the database is migrated: where another server runs there, that one uses it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise SettingsError(f"{host}:{port} cannot be listened on: {error.strerror or error}.") from None
    return bound


def _listen(bound: socket.socket) -> None:
    """Listen, before the application is ready: two servers may have bound one address, and the second is told only here."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        host, port, *_ = bound.getsockname()
        raise SettingsError(f"{host}:{port} cannot be listened on: {error.strerror or error}.") from None


def _greeting(settings: Settings, port: int) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  # it is compared, not bound
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    greeting = f"Rini {__version__} listens on {address} (pages: {address}/docs)."
    if settings.signup == "closed" or settings.local_model == "off":
        return greeting
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    field = f"{shlex.quote(str(python))} -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])'"
    send = "-H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d"
    ask = f'{{"provider": "local", "model": "{BOXED_MODEL_ID}", "text": "Tell me a short story.", "stream": true, "llm_params": {{"max_tokens": 200}}'
    lines = (
        f"TOKEN=$(curl -sX POST {address}/users/ | {field} access_token)",
        f"SESSION=$(curl -s {address}/sessions/ {send} '{{}}' | {field} id)",
        f"curl -sN {address}/llm/text-completion/ {send} '{ask}, \"session_id\": \"'$SESSION'\"}}'",
    )
    pasted = "\n".join(f"  {line}" for line in lines)
    return f"{greeting} Paste this elsewhere:\n\n{pasted}\n"
