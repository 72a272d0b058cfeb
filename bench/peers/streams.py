"""Streams: the gateway's CPU an event, the time to the first event, and the gaps between events."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench import load, report
from bench.bench import cpu_of
from bench.peers.field import DIRECT, PROVIDERS, Field, figures, in_turn, percentile, provider_of
from bench.peers.gateways import Gateway

SECTION = "streams"
TITLE = "Streamed answer, CPU of the gateway an event (its share of the stream's begin and end included)"
TARGETS = {"smg": 1.3, "tensorzero": 0.9, "litellm": 1 / 25}
EVENTS = 200
PERIOD = 0.004
FIRSTS = 60
FIRST_EVENTS = 3
FIRST_TARGETS = {"smg": 1.0}
GAP_TARGETS = {"smg": 1.05}
"""A gap is the pace, which is the same for all, and a little more."""

MOST_GAP = 1.5 * PERIOD
"""The 99th percentile of gaps without a gateway up to which those with one are judged."""


@dataclass(frozen=True)
class _Sample:
    cpu: float
    found: load.Streamed


async def measure(run: Field) -> AsyncIterator[report.Figure]:
    """Measure."""
    for concurrency in (1, 8, 16):
        async for figure in _cell(run, "openai", concurrency):
            yield figure
    for provider in ("anthropic", "google"):
        async for figure in _cell(run, provider, 8):
            yield figure
    async for figure in _firsts(run):
        yield figure


async def _cell(run: Field, provider: str, concurrency: int) -> AsyncIterator[report.Figure]:
    mark = f"bench:stream:{EVENTS}:{round(PERIOD * 1e6)}"

    async def sample(gateway: Gateway) -> _Sample:
        asked = provider_of(gateway, provider)
        request = gateway.request(asked, mark, stream=True)
        async with load.streams(gateway.process.port, request, concurrency) as batch:
            cpu = await cpu_of(gateway.process, batch.run)
            return _Sample(cpu / (concurrency * EVENTS), batch.judge(EVENTS, gateway.ways[asked].end))

    alone = concurrency == 1
    rounds = await in_turn(run, sample, direct=alone)
    count = "one stream" if alone else f"{concurrency} streams at once"
    name = f"{PROVIDERS[provider]}, {count}"
    for figure in figures(run, SECTION, name, rounds, lambda sample: sample.cpu, TARGETS, provider=provider):
        yield figure
    if not alone:
        return

    def gap(sample: _Sample) -> float:
        return percentile(sample.found.gaps, 0.99)

    def late(sample: _Sample) -> float:
        return percentile(sample.found.lateness, 0.5)

    # Where the pace itself was not kept, on the core of upstream and load, gaps tell about the machine.
    kept = DIRECT in rounds.of and max(gap(each) for each in rounds.of[DIRECT]) < MOST_GAP
    name = "99th percentile of gaps" if kept else "99th percentile of gaps, not judged"
    for figure in figures(run, SECTION, name, rounds, gap, GAP_TARGETS if kept else {}, unit="ms"):
        yield figure
    for figure in figures(run, SECTION, "an event's way from upstream to client", rounds, late, {}):
        yield figure
    if DIRECT in rounds.of:
        direct = rounds.of[DIRECT]
        yield report.value(SECTION, "99th percentile of gaps, no gateway", "ms", [gap(each) * 1e3 for each in direct])
        yield report.value(SECTION, "an event's way, no gateway", "µs", [late(each) * 1e6 for each in direct])


async def _firsts(run: Field) -> AsyncIterator[report.Figure]:
    """Measure the time to the first event: short streams, one after the other, whose first event leaves at once."""
    mark = f"bench:stream:{FIRST_EVENTS}:{round(PERIOD * 1e6)}:now"

    async def sample(gateway: Gateway) -> float:
        request = gateway.request("openai", mark, stream=True)
        taken: list[float] = []
        for _ in range(run.some(FIRSTS)):
            async with load.streams(gateway.process.port, request, 1) as batch:
                await batch.run()
                taken += batch.judge(FIRST_EVENTS, gateway.ways["openai"].end).first
        return percentile(taken, 0.5)

    rounds = await in_turn(run, sample, direct=True)
    name = "time to the first event"
    for figure in figures(run, SECTION, name, rounds, lambda seconds: seconds, FIRST_TARGETS):
        yield figure
    if DIRECT in rounds.of:
        yield report.value(SECTION, f"{name}, no gateway", "µs", [each * 1e6 for each in rounds.of[DIRECT]])
