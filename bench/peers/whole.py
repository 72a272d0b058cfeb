"""Whole answers: the gateway's CPU a request, and at one connection the time that it adds."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench import load, report, script
from bench.bench import cpu_of
from bench.peers.field import DIRECT, PROVIDERS, Field, figures, in_turn, percentile, provider_of
from bench.peers.gateways import Gateway

SECTION = "whole"
TITLE = "Whole answer to POST /v1/chat/completions, CPU of the gateway a request"
TARGETS = {"smg": 1.0, "tensorzero": 0.9, "portkey": 1 / 5, "litellm": 1 / 100}
TRANSLATED = 1.5
"""How many times the targets a request may take that is put into another format."""

REQUESTS = {1: 250, 16: 640, 64: 960}
SLOW = {"litellm": 8, "portkey": 2}
"""By how much fewer requests those get that take longest."""


@dataclass(frozen=True)
class _Sample:
    cpu: float
    latencies: list[float]


async def measure(run: Field) -> AsyncIterator[report.Figure]:
    """Measure."""
    for concurrency in REQUESTS:
        async for figure in _cell(run, "openai", concurrency):
            yield figure
    for provider in ("anthropic", "google"):
        for concurrency in (1, 16):
            async for figure in _cell(run, provider, concurrency):
                yield figure


async def _cell(run: Field, provider: str, concurrency: int) -> AsyncIterator[report.Figure]:
    right = load.holds(script.TEXT.encode())

    async def sample(gateway: Gateway) -> _Sample:
        count = max(run.some(REQUESTS[concurrency]) // SLOW.get(gateway.name, 1), 2 * concurrency)
        request = gateway.request(provider_of(gateway, provider), "bench:whole")
        latencies: list[float] = []
        async with load.whole(gateway.process.port, [request] * count, concurrency, right, latencies) as ask:
            return _Sample(await cpu_of(gateway.process, ask) / count, latencies)

    alone = concurrency == 1 and provider == "openai"
    rounds = await in_turn(run, sample, direct=alone)
    targets = TARGETS if provider == "openai" else {peer: most * TRANSLATED for peer, most in TARGETS.items()}
    name = f"{PROVIDERS[provider]}, {concurrency} at a time"
    for figure in figures(run, SECTION, name, rounds, lambda sample: sample.cpu, targets, provider=provider):
        yield figure
    if not alone or DIRECT not in rounds.of:
        return
    for what, share in (("median", 0.5), ("99th percentile", 0.99)):
        for peer, samples in rounds.of.items():
            taken = [percentile(each.latencies, share) for each in samples]
            before = [percentile(each.latencies, share) for each in rounds.of[DIRECT]]
            added = [(mine - less) * 1e6 for mine, less in zip(taken, before, strict=True)]
            if peer == DIRECT:
                yield report.value(
                    SECTION, f"time to an answer without a gateway, {what}", "µs", [t * 1e6 for t in taken]
                )
            else:
                yield report.value(SECTION, f"time that {peer} adds, {what}", "µs", added)
