"""What is known of models' contexts by their names, and what a refusal tells of them."""

import pytest
from genai_prices.data_snapshot import get_snapshot

from rini.inference.window import window_of
from rini.providers.windows import Window, known_window, told_window

TOKENS = [
    ("openai", "gpt-4", 8192),
    ("openai", "gpt-4-0613", 8192),
    ("openai", "gpt-4-turbo-2024-04-09", 128_000),
    ("openai", "gpt-4o-mini", 128_000),
    ("openai", "ft:gpt-4o-mini:acme::x", 128_000),
    ("openai", "gpt-4.1-nano", 1_047_576),
    ("openai", "o3-mini", 200_000),
    ("openai", "gpt-5-2025-08-07", 400_000),
    ("openai", "gpt-6-luna", 1_050_000),
    ("anthropic", "claude-haiku-4-5-20251001", 200_000),
    ("anthropic", "claude-opus-4-1", 200_000),
    ("anthropic", "claude-sonnet-4-20250514", 200_000),
    ("anthropic", "claude-sonnet-4-6", 1_000_000),
    ("anthropic", "claude-opus-5", 1_000_000),
    ("google", "models/gemini-2.5-pro", 1_048_576),
    ("google", "gemini-flash-latest", 1_048_576),
]


@pytest.mark.parametrize(("provider", "model", "tokens"), TOKENS)
def test_a_model_s_context_is_known_by_its_name(provider: str, model: str, tokens: int) -> None:
    window = known_window(provider, model)
    assert window is not None
    assert window.tokens == tokens


@pytest.mark.parametrize("model", ["some-model", "gpt-4o", "llama-3.3-70b"])
def test_of_a_server_of_one_s_own_nothing_is_known(model: str) -> None:
    assert window_of("openai_compatible", model) is None


def test_the_model_in_the_box_has_the_context_that_it_is_started_with() -> None:
    assert window_of("local", "smollm2-135m") == Window(8192)


def test_what_no_rule_says_the_price_list_does() -> None:
    assert known_window("google", "gemma-4-31b-it") is None
    assert window_of("google", "gemma-4-31b-it") == Window(262_144)
    assert window_of("openai", "gpt-nobody-knows") is None
    assert window_of("openai", "x" * 10_000) is None


def test_the_rules_say_nothing_else_than_the_price_list() -> None:
    wrong = [
        (provider.id, model.id, model.context_window, window.tokens)
        for provider in get_snapshot().providers
        for model in provider.models
        if provider.id in ("openai", "anthropic", "google") and model.context_window is not None
        if (window := known_window(provider.id, model.id)) is not None
        if not 0.93 < window.tokens / model.context_window < 1.07
        # Google's own page says two million of this one.
        if model.id != "gemini-1.5-pro"
    ]
    # The page of each model is later than the list.
    assert [model for _, model, _, _ in wrong] == []


def test_the_answer_has_its_place() -> None:
    gpt_4, claude, gemini, gpt_5 = (
        known_window(provider, model)
        for provider, model in (
            ("openai", "gpt-4"),
            ("anthropic", "claude-haiku-4-5"),
            ("google", "gemini-2.5-pro"),
            ("openai", "gpt-5"),
        )
    )
    assert gpt_4 is not None
    assert gpt_4.room("openai", None) == 7168
    assert gpt_4.room("openai", 2000) == 6192
    # A limit that leaves no room for a question is not taken at its word.
    assert gpt_4.room("openai", 8192) == 4096
    assert claude is not None
    assert claude.room("anthropic", None) == 168_000
    assert gemini is not None
    assert gemini.room("google", 60_000) == 1_048_576
    assert gpt_5 is not None
    assert gpt_5.room("openai", None) == 272_000


REFUSALS = [
    ("This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.", 8192),
    ("prompt is too long: 3333404 tokens > 200000 maximum", 200_000),
    ("input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease either", 200_000),
    ("The input token count (1250074) exceeds the maximum number of tokens allowed (1048576).", 1_048_576),
    ("request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it", 8192),
    ("Request too large for gpt-4.1 on tokens per min (TPM): Limit 400000, Requested 2500013.", None),
    ("Your input exceeds the context window of this model.", None),
]


@pytest.mark.parametrize(("message", "tokens"), REFUSALS)
def test_a_refusal_tells_the_context(message: str, tokens: int | None) -> None:
    assert told_window(message) == tokens
