"""A thousand streams at once over two workers of Rini."""

import asyncio
from collections.abc import AsyncIterator

from bench import load, machine, report
from bench.bench import cpu_of
from bench.crowd import BUSY, CALM_SECONDS, FASTEST, gather
from bench.peers import gateways
from bench.peers.field import Field, percentile
from bench.peers.gateways import Gateway

SECTION = "crowd"
TITLE = "1,000 streams at once over 2 workers of Rini"
STREAMS = 1000
WORKERS = 2
STREAM_TARGET_KIB = 64.0
IDLE_TARGET_MIB = 120e6 / 2**20
SECONDS = 10.0


async def measure(run: Field) -> AsyncIterator[report.Figure]:
    """Measure."""
    seconds = SECONDS / 2 if run.quick else SECONDS
    with gateways.rini(run.upstream, run.server_core, WORKERS) as gateway:
        pid = gateway.process.pid
        workers = sorted(machine.resident_bytes(child) for child in machine.children(pid))[-WORKERS:]
        shares = sorted(machine.proportional_bytes(child) for child in machine.children(pid))[-WORKERS:]
        try:
            rate = await _rate(gateway)
            await asyncio.sleep(CALM_SECONDS)
            fresh = machine.resident_bytes(pid)
            events = max(round(rate * seconds), 10)
            request = gateway.request("openai", f"bench:stream:{events}:{round(1e6 / rate)}", stream=True)
            end = gateway.ways["openai"].end
            crowd = await gather(gateway.process, request, STREAMS, events, end, seconds)
        except load.WrongAnswersError as error:
            yield report.refused(SECTION, f"{STREAMS} streams", str(error))
            return
    note = f"{crowd.events} events of {STREAMS} streams, none lost, none cut, {rate:.1f} a second in each"
    yield report.value(SECTION, "share of a core that the workers took", "%", [crowd.busy * 100], None, note)
    late = percentile(crowd.lateness, 0.99) * 1000
    yield report.value(SECTION, "lateness at the 99th percentile", "ms", [late])
    kib = (crowd.memory - fresh) / STREAMS / 1024
    note = f"{fresh / 2**20:.0f} MiB before, {crowd.memory / 2**20:.0f} MiB during, supervisor included"
    yield report.value(SECTION, "memory per open stream", "KiB", [kib], STREAM_TARGET_KIB, note)
    idle = [worker / 2**20 for worker in workers]
    note = f"PSS {max(shares) / 2**20:.0f} MiB"
    yield report.value(SECTION, "an idle worker of two", "MiB", idle, IDLE_TARGET_MIB, note)


async def _rate(gateway: Gateway) -> float:
    """Return how many events a second each stream may have, from what an event costs now."""
    events, streams = 40, 100
    request = gateway.request("openai", f"bench:stream:{events}:50000", stream=True)
    async with load.streams(gateway.process.port, request, streams) as batch:
        cpu = await cpu_of(gateway.process, batch.run)
        batch.judge(events, gateway.ways["openai"].end)
    return min(FASTEST, BUSY / (STREAMS * cpu / (events * streams)))
