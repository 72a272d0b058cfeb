"""Five hundred streams at once on one worker."""

import asyncio
import statistics
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench import load, machine, processes, report
from bench.bench import Bench, cpu_of
from bench.processes import Process, Rini
from bench.stateless import body

SECTION = "crowd"
TITLE = "500 streams at once on one worker, OpenAI format to native"
STREAMS = 500
FASTEST = 20.0
"""Events a second in each stream, when the server has the CPU for it."""

MOST_WAITED = 0.1
"""The share of the core that others may take where lateness is to be judged."""

BUSY = 0.6
"""The share of its core that the server is to take."""

MOST_BUSY = 0.7
"""Beyond it, waiting for the core is what one measures."""

LATE_TARGET_MS = 100.0
STREAM_TARGET_KIB = 100.0
RETURN_TARGET_PERCENT = 10.0
CALM_SECONDS = 2.0


@dataclass(frozen=True)
class Crowd:
    """What one round of all streams was like."""

    lateness: list[float]
    events: int
    busy: float
    waited: float
    memory: int


async def measure(bench: Bench) -> AsyncIterator[report.Figure]:
    """Measure."""
    seconds = 4.0 if bench.quick else 10.0
    try:
        with processes.rini(bench.upstream, bench.server_core) as server:
            rate = await _rate(server)
            fresh = machine.resident_bytes(server.pid)
            first = await _round(server, rate, seconds / 2, server.token)
            await asyncio.sleep(CALM_SECONDS)
            before = machine.resident_bytes(server.pid)
            crowd = await _round(server, rate, seconds, server.token)
            await asyncio.sleep(CALM_SECONDS)
            after = machine.resident_bytes(server.pid)
        direct = await _round(bench.upstream, rate, seconds / 4, None)
    except load.WrongAnswersError as error:
        yield report.refused(SECTION, "500 streams", str(error))
        return
    late, floor = _percentiles(crowd.lateness), _percentiles(direct.lateness)
    note = f"{crowd.events} events, none lost, {rate:.1f} a second in each stream"
    yield report.value(SECTION, "share of its core that the server took", "%", [crowd.busy * 100], None, note)
    yield report.value(SECTION, "share that others on the machine took from it", "%", [crowd.waited * 100])
    yield report.value(SECTION, "lateness at the median", "ms", [late[50]], None, f"upstream to load: {floor[50]:.2f}")
    note, target = f"upstream to load: {floor[99]:.2f}", LATE_TARGET_MS
    if crowd.busy > MOST_BUSY or crowd.waited > MOST_WAITED:
        note, target = f"not judged: the CPU had no room; {note}", None
    yield report.value(SECTION, "lateness at the 99th percentile", "ms", [late[99]], target, note)
    kib = (first.memory - fresh) / STREAMS / 1024
    note = f"{fresh / 2**20:.0f} MiB before the first streams, {first.memory / 2**20:.0f} MiB during"
    yield report.value(SECTION, "memory per open stream", "KiB", [kib], STREAM_TARGET_KIB, note)
    change = (after / before - 1) * 100
    note = f"{before / 2**20:.1f} MiB after a warm-up of 500, {after / 2**20:.1f} MiB after 500 more"
    yield report.value(SECTION, "memory afterwards against before", "%", [change], RETURN_TARGET_PERCENT, note)


async def _rate(server: Rini) -> float:
    """Return how many events a second each stream may have, from what an event costs now."""
    events, streams, rate = 40, 100, 20.0
    request = _request(events, rate, server.token)
    async with load.streams(server.port, request, streams) as batch:
        cpu = await cpu_of(server, batch.run)
        batch.judge(events, load.native_end)
    return min(FASTEST, BUSY / (STREAMS * cpu / (events * streams)))


async def _round(process: Process, rate: float, seconds: float, token: str | None) -> Crowd:
    events = max(round(rate * seconds), 10)
    end = load.any_end if token is None else load.native_end
    return await gather(process, _request(events, rate, token), STREAMS, events, end, seconds)


async def gather(process: Process, request: bytes, streams: int, events: int, end: load.End, seconds: float) -> Crowd:
    """Ask for ``streams`` streams at once, which take about ``seconds``. Raises WrongAnswersError when one lacks anything."""
    memory: list[int] = []

    async def sample() -> None:
        while True:
            await asyncio.sleep(seconds / 10)
            memory.append(machine.resident_bytes(process.pid))

    async with load.streams(process.port, request, streams) as batch:
        sampling = asyncio.create_task(sample())
        began = asyncio.get_running_loop().time()
        waited = machine.waited_seconds(process.pid)
        cpu = await cpu_of(process, batch.run)
        took = asyncio.get_running_loop().time() - began
        waited = machine.waited_seconds(process.pid) - waited
        sampling.cancel()
        found = batch.judge(events, end)
    return Crowd(found.lateness, found.events, cpu / took, waited / took, max(memory))


def _request(events: int, rate: float, token: str | None) -> bytes:
    mark = f"bench:stream:{events}:{round(1e6 / rate)}"
    if token is None:
        return load.post("/v1/chat/completions", body("openai", mark, stream=True))
    return load.post("/llm/chat-completions/", body("openai", mark, stream=True), token)


def _percentiles(lateness: list[float]) -> dict[int, float]:
    """Return the median and the 99th percentile in milliseconds."""
    cuts = statistics.quantiles(lateness, n=100, method="inclusive")
    return {50: cuts[49] * 1000, 99: cuts[98] * 1000}
