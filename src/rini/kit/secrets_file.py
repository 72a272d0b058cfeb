"""A small JSON file of secrets: mode 0600, replaced atomically, one writer at a time."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read_secrets(path: Path) -> dict[str, Any]:
    """Return what the file holds; an empty dict where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def update_secrets(path: Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Let ``change`` edit the file's content and return the new content. Processes that do so at once take turns."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = read_secrets(path)
        before = json.dumps(content)
        change(content)
        if json.dumps(content) != before:
            fresh = path.with_name(path.name + ".new")
            fresh.unlink(missing_ok=True)
            with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        return content
