"""Stateless whole answers: /llm/chat-completions/, everything on."""

from collections.abc import AsyncIterator

from bench import load, processes, report, script
from bench.bench import Bench, cpu_of
from bench.processes import Rini

SECTION = "stateless"
TITLE = "Stateless whole answer, CPU a request; beside: a bare echo of as many bytes"
TARGET = 3.5
LABELS = {"openai": "OpenAI", "anthropic": "Anthropic", "google": "Gemini"}
CONVERSATION = (
    ("system", "You are a travel guide. Answer in a few sentences, and say when something is closed."),
    ("user", "I am in Busan for a day in March, I like food and walking. What should I not miss?"),
    ("assistant", "Eat at Jagalchi, walk the coast at Igidae, and see Gamcheon before the buses come."),
)
REQUESTS = {1: 250, 16: 800, 64: 960}


async def measure(bench: Bench) -> AsyncIterator[report.Figure]:
    """Measure."""
    with processes.rini(bench.upstream, bench.server_core) as server:
        for concurrency, count in REQUESTS.items():
            yield await _floor(bench, concurrency, bench.some(count))
        for provider, label in LABELS.items():
            for concurrency, count in REQUESTS.items():
                name = f"{label} format, {concurrency} at a time"
                try:
                    yield await _figure(bench, server, provider, concurrency, bench.some(count), name)
                except load.WrongAnswersError as error:
                    yield report.refused(SECTION, name, str(error))


async def _figure(bench: Bench, server: Rini, provider: str, concurrency: int, count: int, name: str) -> report.Figure:
    request = load.post("/llm/chat-completions/", body(provider), server.token)
    right = load.holds(b'"response_text":"' + script.TEXT.encode() + b'"')
    async with load.whole(server.port, [request] * (20 + 2 * concurrency), concurrency, right) as run:
        size = await run()
    echo = load.post(f"/echo/{size}", body(provider))
    alike = load.has_length(size)
    async with load.whole(bench.baseline.port, [echo] * 50, concurrency, alike) as run:
        await run()
    rounds = []
    for _ in range(bench.rounds(7)):
        async with load.whole(bench.baseline.port, [echo] * count, concurrency, alike) as run:
            beside = await cpu_of(bench.baseline, run) / count
        async with load.whole(server.port, [request] * count, concurrency, right) as run:
            rounds.append((await cpu_of(server, run) / count, beside))
    note = "every request is a group of its own in the ledger" if concurrency == 1 else ""
    return report.ratio(SECTION, name, rounds, TARGET, note)


async def _floor(bench: Bench, concurrency: int, count: int) -> report.Figure:
    """Return what a bare relay of the same answer takes: uvicorn, one call of the upstream and nothing else."""
    answer = script.codec("openai").encode_reply(script.reply("openai", script.TEXT))
    echo = load.post(f"/echo/{len(answer)}", body("openai"))
    relayed = load.post(script.PATHS["openai"] + script.codec("openai").path("", stream=False), body("openai"))
    rounds = []
    for number in range(1 + bench.rounds(7)):
        async with load.whole(bench.baseline.port, [echo] * count, concurrency, load.has_length(len(answer))) as run:
            beside = await cpu_of(bench.baseline, run) / count
        async with load.whole(bench.baseline.port, [relayed] * count, concurrency, load.has_length(len(answer))) as run:
            measured = await cpu_of(bench.baseline, run) / count
        if number:  # the first one warms up
            rounds.append((measured, beside))
    return report.ratio(SECTION, f"for comparison, a bare relay, {concurrency} at a time", rounds)


def body(provider: str, mark: str = "bench:whole", *, stream: bool = False) -> dict[str, object]:
    """Return a request of a conversation whose last question carries ``mark``."""
    messages = [{"role": role, "content": content} for role, content in CONVERSATION]
    messages.append({"role": "user", "content": f"And with children, if it rains? {mark}"})
    made: dict[str, object] = {"messages": messages, "provider": provider, "model": script.MODELS[provider]}
    return made | ({"stream": True} if stream else {})
