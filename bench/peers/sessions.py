"""Two hundred sessions that are active at once: a turn of Rini beside one of OGX, which goes on from ``previous_response_id``."""

import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench import load, processes, report, script
from bench.bench import cpu_of
from bench.peers import gateways
from bench.peers.field import Field
from bench.peers.install import NotInstalledError
from bench.processes import Process, Rini

SECTION = "sessions"
TITLE = "200 sessions at once, CPU of a stored turn, beside OGX 1.5.0 through previous_response_id"
SESSIONS = 200
QUICK_SESSIONS = 40
TARGET = 1 / 40
BEFORE = 10
"""How many turns each session has before the first one that is measured: 20 messages of history."""

QUICK_BEFORE = 2
LEAST = 20
"""How many sessions of OGX go on before a provider that no provider is like."""

LONGEST_SECONDS = 300.0
QUESTION = f"And with children, if it rains? bench:count:{script.TOKENS}:0"
"""OGX asks the provider for a stream whatever its client wants, and gets a token an event, as from a provider."""

AT_ONCE = "And with children, if it rains? bench:count"
"""The same with the whole text in one event, which no provider does: the least that OGX takes."""

PEER = "OGX"


@dataclass
class _Way:
    """One way to take a turn. ``ask`` makes a session's next request of its number and the body of the last answer."""

    name: str
    process: Process
    ask: Callable[[int, bytes], bytes]
    last: list[bytes]
    turns: int = 0
    cpu: list[float] = field(default_factory=list)
    a_second: list[float] = field(default_factory=list)


async def measure(run: Field) -> AsyncIterator[report.Figure]:
    """Measure."""
    count, before = (QUICK_SESSIONS, QUICK_BEFORE) if run.quick else (SESSIONS, BEFORE)
    with ExitStack() as stack:
        server = stack.enter_context(processes.rini(run.upstream, run.server_core))
        ways = _rini(server, count)
        try:
            peer = stack.enter_context(gateways.ogx(run.upstream, run.server_core))
        except (NotInstalledError, RuntimeError) as error:
            run.left_out["ogx"] = str(error)
            yield report.refused(SECTION, "beside OGX", str(error))
        else:
            processes.await_calm(peer)
            model = "openai/" + script.MODELS["openai"]
            ways.append(_Way(PEER, peer, _response(model, "bench"), [b""] * count))
            least = _response(model, "bench", AT_ONCE)
            ways.append(_Way("OGX, before a provider that sends its answer at once", peer, least, [b""] * LEAST))
        for number in range(before + run.rounds):
            for way in list(ways):
                try:
                    await _round(way, measured=number >= before)
                except load.WrongAnswersError as error:
                    ways.remove(way)
                    yield report.refused(SECTION, way.name, str(error))
    for figure in _figures(ways):
        yield figure


def _figures(ways: list[_Way]) -> list[report.Figure]:
    figures: list[report.Figure] = []
    peer = next((way for way in ways if way.name == PEER), None)
    for way in ways:
        note = f"{statistics.median(way.a_second):.0f} turns a second, {len(way.last)} at once"
        if peer is None or way.process is peer.process:
            figures.append(report.value(SECTION, way.name, "ms", [cpu * 1e3 for cpu in way.cpu], None, note))
        else:
            pairs = list(zip(way.cpu, peer.cpu, strict=True))
            figures.append(report.ratio(SECTION, way.name, pairs, TARGET, note, unit="ms"))
    return figures


async def _round(way: _Way, *, measured: bool) -> None:
    """Let each session take a turn, all at once. Every answer tells that the model read the whole conversation."""
    requests = [way.ask(number, body) for number, body in enumerate(way.last)]
    right = load.holds(script.counted(1 + 2 * way.turns).encode())
    async with load.each(way.process.port, requests, right, LONGEST_SECONDS) as ask:
        took = 0.0

        async def run() -> None:
            nonlocal took
            began = time.monotonic()
            way.last = await ask()
            took = time.monotonic() - began

        cpu = await cpu_of(way.process, run)
    way.turns += 1
    if measured:
        way.cpu.append(cpu / len(requests))
        way.a_second.append(len(requests) / took)


def _rini(server: Rini, count: int) -> list[_Way]:
    model = f"openai/{script.MODELS['openai']}"
    sessions = [[server.call("/sessions/", {}, server.token)["id"] for _ in range(count)] for _ in range(2)]
    native = {"text": QUESTION, "provider": "openai", "model": script.MODELS["openai"]}
    chat = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}

    def of_native(number: int, _last: bytes) -> bytes:
        return load.post("/llm/text-completion/", native | {"session_id": sessions[0][number]}, server.token)

    def of_chat(number: int, _last: bytes) -> bytes:
        return load.post("/v1/chat/completions", chat, server.token, {"x-rini-session": sessions[1][number]})

    return [
        _Way("previous_response_id", server, _response(model, server.token), [b""] * count),
        _Way("a session of Rini's own", server, of_native, [b""] * count),
        _Way("OpenAI's chat format with x-rini-session", server, of_chat, [b""] * count),
    ]


def _response(model: str, token: str, question: str = QUESTION) -> Callable[[int, bytes], bytes]:
    def ask(_number: int, last: bytes) -> bytes:
        asked: dict[str, object] = {"model": model, "input": [{"role": "user", "content": question}], "store": True}
        if last:
            asked["previous_response_id"] = json.loads(last)["id"]
        return load.post("/v1/responses", asked, token)

    return ask
