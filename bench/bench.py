"""What every section needs: the processes that run, how much is to be done, and the measuring itself."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.load import SETTLE_SECONDS
from bench.processes import Process


@dataclass(frozen=True)
class Bench:
    """One run of the bench."""

    server_core: int
    load_core: int
    upstream: Process
    baseline: Process
    quick: bool

    def rounds(self, usual: int) -> int:
        """Return how many rounds to take."""
        return 3 if self.quick else usual

    def some(self, usual: int) -> int:
        """Return how many requests to send, or streams to read, in a round that usually has so many."""
        return max(usual // 3, 4) if self.quick else usual


async def cpu_of(process: Process, run: Callable[[], Awaitable[object]]) -> float:
    """Return the CPU time that ``process`` took for ``run``, what it does after the last byte included."""
    gc.collect()
    gc.disable()
    try:
        before = process.cpu()
        await run()
        await asyncio.sleep(SETTLE_SECONDS)
        return process.cpu() - before
    finally:
        gc.enable()
