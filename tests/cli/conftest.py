"""Commands as an operator runs them."""

import logging
import os
import subprocess
import sys
import time
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from rini.cli.main import main
from tests.support.server import clean_environment

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def rini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Return a function that runs one command in this process, on the data folder ``data`` in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    environment = clean_environment()
    # What `rini serve` does to its process, here and in tests that ran in this one before.
    logging_before = list(logging.root.handlers), logging.root.level
    structlog_before = structlog.get_config()
    alembic = logging.getLogger("alembic")
    alembic_before = alembic.level
    logging.root.handlers = []
    logging.root.setLevel(logging.WARNING)
    alembic.setLevel(logging.NOTSET)
    structlog.reset_defaults()

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        with unittest.mock.patch.dict(os.environ, environment | settings, clear=True):
            status = main(arguments)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, out, err)

    yield run
    logging.root.handlers, logging.root.level = logging_before
    alembic.setLevel(alembic_before)
    logging.captureWarnings(capture=False)
    structlog.configure(**structlog_before)


@pytest.fixture
def rini_process(tmp_path: Path) -> Run:
    """Return a function that runs one command in a process of its own, to its end."""

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rini", *arguments],
            env=clean_environment(**settings),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def group_is_empty(group: int, seconds: float = 5) -> bool:
    """Wait until no process of the group is left; the dead ones that nobody has buried yet do not count."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True)
        living = [line.split() for line in found.stdout.splitlines() if "Z" not in line]
        if str(group) not in [number for number, *_ in living]:
            return True
        time.sleep(0.02)
    return False
