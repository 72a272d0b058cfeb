"""What Linux tells of a process: CPU time to the nanosecond, memory, and how long it waited for its core."""

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "msgspec", "sqlalchemy")


class UnsuitableMachineError(Exception):
    """Nothing can be measured here; the message says why."""


def cores() -> tuple[int, int]:
    """Return the core of the servers and that of upstream and load. They are the same one where there is no other.

    Raises UnsuitableMachineError on anything but Linux.
    """
    if sys.platform != "linux":
        raise UnsuitableMachineError("The bench reads CPU time from Linux' process clocks: run it on Linux.")
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run on ``core`` meanwhile: processes that are started here stay there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """Return the user and system time that a process, all its threads and its children that live have taken."""
    # The kernel's id of another process's CPU clock, as clock_getcpuclockid(3) makes it.
    own = time.clock_gettime((~pid << 3) | 2)
    return own + sum(cpu_seconds(child) for child in children(pid))


def waited_seconds(pid: int) -> float:
    """Return how long the process's threads were ready to run while something else had the core."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[1])
    return total / 1e9


def resident_bytes(pid: int) -> int:
    """Return the memory that the process and its children hold (RSS)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident_bytes(child) for child in children(pid))


def proportional_bytes(pid: int) -> int:
    """Return the memory of the process and its children, where what several processes share is divided among them (PSS)."""
    found = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = next(int(line.split()[1]) for line in found.splitlines() if line.startswith("Pss:"))
    return kib * 1024 + sum(proportional_bytes(child) for child in children(pid))


def describe() -> dict[str, Any]:
    """Return what the figures depend on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "kernel": platform.release(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that live."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
