"""What the gateways hold: before their first request, and the most that was seen in the sections before."""

from collections.abc import AsyncIterator

from bench import report
from bench.peers.field import Field

SECTION = "memory"
TITLE = "Memory of one worker"
IDLE_TARGETS = {"rini": 120e6 / 2**20}


async def measure(run: Field) -> AsyncIterator[report.Figure]:
    """Tell what was seen."""
    for name, (resident, proportional) in run.idle.items():
        note = f"PSS {proportional / 2**20:.0f} MiB"
        yield report.value(SECTION, f"{name}, idle", "MiB", [resident / 2**20], IDLE_TARGETS.get(name), note)
    for name in run.idle:
        if name in run.loaded:
            yield report.value(SECTION, f"{name}, under load", "MiB", [run.loaded[name] / 2**20])
