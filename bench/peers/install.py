"""Install the gateways to measure beside: ``python -m bench.peers.install``.

They come from the registries that pip, uv and npm are set up with, into ``RINI_PEERS_DIR`` (``~/.cache/rini-peers`` without it).
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

PYTHONS = ("python3.12", "python3.13", "python3.11", "python3.10")
LONGEST_SECONDS = 900
_MARK = "installed.json"


class NotInstalledError(Exception):
    """A gateway cannot be had here; the message says why."""


@dataclass(frozen=True)
class Wheels:
    """A gateway from PyPI, in a virtual environment of its own."""

    requirement: str
    overrides: tuple[str, ...] = ()
    """Requirements that replace those of the packages: registries that lag behind lack what these ask for."""

    beside: tuple[str, ...] = ()
    """What it needs and does not ask for by itself."""


@dataclass(frozen=True)
class Modules:
    """A gateway from npm."""

    dependencies: dict[str, str]
    overrides: dict[str, str]


PINS: dict[str, Wheels | Modules] = {
    "smg": Wheels("smg==1.13.0"),
    "tensorzero": Wheels("tensorzero==2026.6.0"),
    "portkey": Modules(
        {"@portkey-ai/gateway": "1.15.2"},
        # Its streams break with newer ones.
        {"@hono/node-server": "1.13.5", "hono": "4.9.7", "@hono/node-ws": "1.2.0"},
    ),
    "litellm": Wheels("litellm[proxy]==1.108.7", ("certifi>=2026",)),
    "ogx": Wheels(
        "ogx==1.5.0",
        beside=("aiosqlite", "chardet", "markitdown", "mcp", "pypdf", "sqlalchemy[asyncio]", "sqlite-vec"),
    ),
}


def folder() -> Path:
    """Return where the gateways are."""
    return Path(os.environ.get("RINI_PEERS_DIR") or "~/.cache/rini-peers").expanduser()


def install(name: str) -> Path:
    """Return the folder that a gateway is in, installed now where it was not. Raises NotInstalledError."""
    pin = PINS[name]
    home = folder() / name
    mark = home / _MARK
    wanted = json.dumps(asdict(pin), sort_keys=True)
    if mark.exists() and mark.read_text() == wanted:
        return home
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    if isinstance(pin, Wheels):
        _install_wheels(pin, home)
    else:
        _install_modules(pin, home)
    mark.write_text(wanted)
    return home


def _install_wheels(pin: Wheels, home: Path) -> None:
    python = _python()
    _run([python, "-m", "venv", str(home / "venv")], home)
    overrides = home / "overrides.txt"
    overrides.write_text("\n".join(pin.overrides))
    target = str(home / "venv/bin/python")
    command = [_uv(python), "pip", "install", "--python", target, "--overrides", str(overrides)]
    _run([*command, pin.requirement, *pin.beside], home)


def _install_modules(pin: Modules, home: Path) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalledError("Node and npm are not on this machine")
    package = {"private": True, "dependencies": pin.dependencies, "overrides": pin.overrides}
    (home / "package.json").write_text(json.dumps(package))
    _run([npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"], home)


def _python() -> str:
    """Return a Python that all gateways support. One that is on the path need not run (it may be a version manager's)."""
    for name in PYTHONS:
        versions = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{name.removeprefix('python')}.*/bin/{name}"))
        for found in (shutil.which(name), *map(str, versions)):
            if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
                return found
    return sys.executable


def _uv(python: str) -> str:
    """Return uv, which pip installs beside the gateways where it is not on the path: pip knows no overrides."""
    if found := shutil.which("uv"):
        return found
    home = folder() / "uv"
    if not (home / "bin/uv").exists():
        home.mkdir(parents=True, exist_ok=True)
        _run([python, "-m", "venv", str(home)], home)
        _run([str(home / "bin/python"), "-m", "pip", "install", "--quiet", "uv"], home)
    return str(home / "bin/uv")


def _run(command: list[str], home: Path) -> None:
    try:
        ran = subprocess.run(
            command, cwd=home, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"{Path(command[0]).name} took more than {LONGEST_SECONDS} s") from None
    if ran.returncode:
        said = ran.stderr.strip().splitlines()[-1:] or ["without a word"]
        raise NotInstalledError(f"{Path(command[0]).name} failed: {said[0]}")


def main() -> int:
    """Install all of them and tell of each."""
    missing = 0
    for name in PINS:
        try:
            print(f"{name}: {install(name)}", flush=True)
        except NotInstalledError as error:
            missing += 1
            print(f"{name}: not installed: {error}", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
