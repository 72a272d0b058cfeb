"""What a call took: in each dialect's own terms, and the same in the ledger whichever dialect asked."""

from typing import Any

import pytest

from rini.canon import Choice, Failure, Reply, Text, Usage
from tests.support.dialects import DIALECTS, PROVIDERS, SDK_ERRORS, Behind, Tokens, World
from tests.support.dialects_features import asking
from tests.support.model import Broken, reply, until

HI = asking({}, {}, {}, {})

TOOK = {
    "openai": Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=600, reasoning_tokens=200),
    "responses": Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=600, reasoning_tokens=200),
    "anthropic": Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=600, cache_write_tokens=100),
    "google": Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=600, reasoning_tokens=200),
    "compatible": Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=600, reasoning_tokens=200),
}
"""The classes that each provider tells of."""

_OF_THE_CALL = {"id", "call_id", "request_id", "created_at", "endpoint", "stream", "latency_ms", "first_token_ms"}


def answer_of(behind: Behind) -> Reply:
    return Reply((Choice((Text("hello there"),), "stop"),), TOOK[behind.name], "r1", behind.model, 1)


def newest(world: World) -> int:
    found = world.user.get("/usage/records/?limit=1").json
    return found[0]["id"] if found else 0


def since(world: World, last: int, count: int) -> list[dict[str, Any]]:
    """The rows after the one with the id ``last``, oldest first, once there are so many."""

    def found() -> list[dict[str, Any]] | None:
        listed = world.user.get("/usage/records/?limit=100").json
        after = [row for row in reversed(listed) if row["id"] > last]
        return after if len(after) >= count else None

    rows = until(found)
    assert rows is not None
    assert len(rows) == count
    return rows


@pytest.mark.parametrize("behind", PROVIDERS, ids=lambda behind: behind.name)
def test_the_ledger_is_equal_whichever_dialect_asked(world: World, behind: Behind):
    last = newest(world)
    for dialect in DIALECTS:
        for stream in (False, True):
            world.ask(dialect, behind, HI[dialect], answer_of(behind), stream=stream)
    found = since(world, last, 8)
    took = TOOK[behind.name]
    for row in found:
        assert row["prompt_tokens"] == took.input_tokens
        assert row["completion_tokens"] == took.output_tokens
        assert row["cache_read_tokens"] == took.cache_read_tokens
        assert (row["cache_write_tokens"] or None) == took.cache_write_tokens
        assert (row["reasoning_tokens"] or None) == took.reasoning_tokens
        assert row["usage_estimated"] is False
        assert row["outcome"] == "complete"
    # Responses always tell a number of tokens that were written to the cache.
    same = [{name: value or None for name, value in row.items() if name not in _OF_THE_CALL} for row in found]
    assert same.count(same[0]) == 8
    assert [row["stream"] for row in found] == [False, True] * 4
    assert [row["endpoint"] for row in found[:6:2]] == ["/v1/chat/completions", "/v1/responses", "/v1/messages"]
    assert [row["endpoint"].partition("{model}")[2] for row in found[6:]] == [
        ":generateContent",
        ":streamGenerateContent",
    ]
    if behind.name != "compatible":
        assert float(found[0]["cost_usd"]) > 0


TERMS = {
    "chat": Tokens(1000, 500, cache_read=600, reasoning=200),
    "responses": Tokens(1000, 500, cache_read=600, reasoning=200),
    "anthropic": Tokens(400, 500, cache_read=600, reasoning=200),
    "gemini": Tokens(1000, 300, cache_read=600, reasoning=200),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_usage_is_in_the_dialects_own_terms(world: World, dialect: str, stream: bool):
    for behind in PROVIDERS:
        _, got = world.ask(dialect, behind, HI[dialect], answer_of(behind), stream=stream)
        if behind.name != "anthropic":
            assert got.tokens == TERMS[dialect], behind
            continue
        tokens = got.tokens
        assert tokens.cache_read == 600
        if dialect == "anthropic":
            assert (tokens.input, tokens.output, tokens.cache_write) == (300, 500, 100)
        else:
            assert (tokens.input, tokens.output) == (1000, 500)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_broke_off_is_booked_too(world: World, dialect: str):
    behind = PROVIDERS[2]
    last = newest(world)
    world.script(behind, lambda _: Broken(Failure("overloaded", "I am full."), reply(Text("hello there"))))
    with pytest.raises(SDK_ERRORS):
        world.clients.ask(dialect, f"{behind.provider}/{behind.model}", HI[dialect], stream=True)
    (row,) = since(world, last, 1)
    assert (row["outcome"], row["error_code"]) == ("provider_failed", "provider_unavailable")
    assert row["prompt_tokens"]
    assert row["completion_tokens"]
