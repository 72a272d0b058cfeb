"""Streams translated from each provider's format to the native one, and passed on as they come, beside a bare relay of the same bytes."""

from collections.abc import AsyncIterator

from bench import load, processes, report, script
from bench.bench import Bench, cpu_of
from bench.processes import Process, Rini
from bench.stateless import LABELS, body

SECTION = "streams"
TITLE = "Streamed event, CPU each (its share of the stream's begin and end included); beside: a bare relay"
TRANSLATED_TARGET = 2.5
UNTRANSLATED_TARGET = 1.5
STREAMS = 8
EVENTS = 200
PERIOD = 0.004


async def measure(bench: Bench) -> AsyncIterator[report.Figure]:
    """Measure."""
    with processes.rini(bench.upstream, bench.server_core) as server:
        for provider, label in LABELS.items():
            try:
                rounds, pieces = await _rounds(bench, server, provider, "/llm/chat-completions/", load.native_end)
            except load.WrongAnswersError as error:
                yield report.refused(SECTION, f"{label} format to native", str(error))
                continue
            note = f"{pieces:.2f} reads of the client an event"
            yield report.ratio(SECTION, f"{label} format to native", rounds, TRANSLATED_TARGET, note)
        name = "OpenAI format passed on as it comes"
        try:
            rounds, pieces = await _rounds(bench, server, "openai", "/v1/chat/completions", load.openai_end)
        except load.WrongAnswersError as error:
            yield report.refused(SECTION, name, str(error))
        else:
            note = f"{pieces:.2f} reads of the client an event"
            yield report.ratio(SECTION, name, rounds, UNTRANSLATED_TARGET, note)


async def _rounds(
    bench: Bench, server: Rini, provider: str, path: str, end: load.End
) -> tuple[list[tuple[float, float]], float]:
    mark = f"bench:stream:{EVENTS}:{round(PERIOD * 1e6)}"
    asked = body(provider, mark, stream=True)
    rini = load.post(path, asked, server.token)
    upstream = script.PATHS[provider] + script.codec(provider).path(script.MODELS[provider], stream=True)
    relayed = load.post(upstream, asked)
    rounds = []
    pieces = events = 0
    for number in range(1 + bench.rounds(7)):
        beside, _ = await _cpu_an_event(bench.baseline, relayed, load.any_end)
        measured, found = await _cpu_an_event(server, rini, end)
        if number:  # the first one warms up
            rounds.append((measured, beside))
            pieces += found.pieces
            events += found.events
    return rounds, pieces / events


async def _cpu_an_event(process: Process, request: bytes, end: load.End) -> tuple[float, load.Streamed]:
    async with load.streams(process.port, request, STREAMS) as batch:
        cpu = await cpu_of(process, batch.run)
        return cpu / (STREAMS * EVENTS), batch.judge(EVENTS, end)
