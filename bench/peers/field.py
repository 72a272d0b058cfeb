"""One run of the comparison: the gateways that take part, and the measuring in turn."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bench import load, machine, processes, report
from bench.peers import gateways
from bench.peers.gateways import Gateway
from bench.peers.install import NotInstalledError
from bench.processes import Process

RINI = "rini"
DIRECT = "direct"
ORDER = ("smg", RINI, "tensorzero", "portkey", "litellm")
"""Rini is measured between the two that it is nearest to: the machine's speed drifts."""

PROVIDERS = {"openai": "OpenAI format", "anthropic": "to Anthropic's format", "google": "to Gemini's format"}

Sample = TypeVar("Sample")


@dataclass
class Field:
    """Who runs. ``left_out`` says why others are not among the ``gateways``."""

    upstream: Process
    direct: Gateway
    server_core: int
    rounds: int
    quick: bool
    gateways: dict[str, Gateway] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    idle: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The memory that each held before its first request: RSS and PSS in bytes."""

    loaded: dict[str, int] = field(default_factory=dict)
    """The most that each was seen to hold between its rounds: RSS in bytes."""

    def some(self, usual: int) -> int:
        """Return how many requests to send, or streams to read, in a round that usually has so many."""
        return max(usual // 3, 4) if self.quick else usual


@dataclass
class Rounds(Generic[Sample]):
    """The samples of each one by round, all of one length, and for those with wrong answers what was wrong."""

    of: dict[str, list[Sample]]
    wrong: dict[str, str]

    def beside(self, name: str, figure: Callable[[Sample], float]) -> Iterator[tuple[float, float]]:
        """Return Rini's figure and that of ``name``, round by round."""
        for mine, others in zip(self.of[RINI], self.of[name], strict=True):
            yield figure(mine), figure(others)


def start(stack: ExitStack, run: Field, peers: Iterable[str]) -> None:
    """Start Rini and the peers; those that cannot be are left out."""
    begin = {**gateways.PEERS, RINI: gateways.rini}
    for name in ORDER:
        if name != RINI and name not in peers:
            continue
        try:
            gateway = stack.enter_context(begin[name](run.upstream, run.server_core))
        except (NotInstalledError, RuntimeError) as error:
            run.left_out[name] = str(error)
            continue
        processes.await_calm(gateway.process)
        pid = gateway.process.pid
        run.gateways[name] = gateway
        run.idle[name] = (machine.resident_bytes(pid), machine.proportional_bytes(pid))


async def in_turn(
    run: Field, measure: Callable[[Gateway], Awaitable[Sample]], *, direct: bool = False
) -> Rounds[Sample]:
    """Measure each one once a round, with ``direct`` also the upstream by itself."""
    found: Rounds[Sample] = Rounds({name: [] for name in ([DIRECT] if direct else []) + list(run.gateways)}, {})
    for number in range(1 + run.rounds):
        for name, samples in list(found.of.items()):
            gateway = run.direct if name == DIRECT else run.gateways[name]
            try:
                sample = await measure(gateway)
            except load.WrongAnswersError as error:
                found.wrong[name] = str(error)
                del found.of[name]
                continue
            held = machine.resident_bytes(gateway.process.pid)
            run.loaded[name] = max(run.loaded.get(name, 0), held)
            if number:  # the first one warms up
                samples.append(sample)
    return found


def figures(
    run: Field,
    section: str,
    name: str,
    rounds: Rounds[Sample],
    figure: Callable[[Sample], float],
    targets: dict[str, float],
    *,
    provider: str = "openai",
    unit: str = "µs",
) -> Iterator[report.Figure]:
    """Yield Rini's figure beside each peer's."""
    for peer, why in rounds.wrong.items():
        yield report.refused(section, f"{name}, {peer}", why)
    if RINI not in rounds.of:
        return
    for peer in rounds.of:
        if peer in (RINI, DIRECT):
            continue
        note = "" if provider in run.gateways[peer].ways else "its own figure is for OpenAI's format"
        pairs = list(rounds.beside(peer, figure))
        yield report.ratio(section, f"{name}, beside {peer}", pairs, targets.get(peer), note, unit=unit)


def provider_of(gateway: Gateway, provider: str) -> str:
    """Return the provider to ask a gateway for: OpenAI's format where it cannot be pointed at another."""
    return provider if provider in gateway.ways else "openai"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share is not above."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
