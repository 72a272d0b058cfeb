"""A small JSON file of secrets: mode 0600, replaced atomically, one writer at a time."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast


def read_secrets(path: Path) -> dict[str, Any]:
    """Return what the file holds; an empty dict where there is none. Raises OSError, ValueError when it is not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # the file's content is wrong, not the caller's argument
    return cast("dict[str, Any]", content)


def update_secrets(path: Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Let ``change`` edit the file's content and return the new content. Processes that do so at once take turns.

    Raises what ``read_secrets`` does.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = read_secrets(path)
        before = json.dumps(content)
        change(content)
        if json.dumps(content) != before:
            _replace(path, content)
        return content


def _replace(path: Path, content: dict[str, Any]) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    # The new name too is to outlast a power cut: what is sealed under a lost secret is lost.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
