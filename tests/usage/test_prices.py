import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from genai_prices.types import ClauseEquals, ConditionalPrice, ModelInfo, ModelPrice, TimeOfDateConstraint
from hypothesis import given, settings
from hypothesis import strategies as st

from rini import canon
from rini.usage import list_prices
from rini.usage.price_file import PriceFileError, load_overrides
from rini.usage.prices import MAX_MODEL_LENGTH, REMEMBERED_MODELS, Prices
from rini.usage.rates import FALLBACK, rates

AT = datetime(2026, 11, 1, tzinfo=UTC)
prices = Prices()


def price(provider, model, at=AT, tier=None, **tokens):
    return prices.price(provider, model, canon.Usage(**tokens), at=at, tier=tier)


def total(*terms):
    """The sum of tokens x USD per million."""
    return sum((Decimal(count) * Decimal(usd) for count, usd in terms), Decimal(0)) / 1_000_000


def test_openai_with_cached_tokens():
    # gpt-4o: 2.50 read, 1.25 cached, 10 written
    found = price("openai", "gpt-4o", input_tokens=10_000, cache_read_tokens=6_000, output_tokens=1_000)
    assert found.total == Decimal("0.0275") == total((4_000, "2.5"), (6_000, "1.25"), (1_000, "10"))
    assert found.classes == {"input": Decimal("0.01"), "cache_read": Decimal("0.0075"), "output": Decimal("0.01")}
    assert (found.source, found.model, found.unpriced) == ("list", "gpt-4o", None)


def test_openai_with_reasoning_tokens():
    # o3 since June 2025: 2 read, 8 written; reasoning is written too, and counted in output_tokens
    found = price("openai", "o3", input_tokens=1_000, output_tokens=5_000, reasoning_tokens=4_000)
    assert found.total == Decimal("0.042")
    assert found.classes == {"input": Decimal("0.002"), "output": Decimal("0.008"), "reasoning": Decimal("0.032")}


def test_openai_with_audio():
    # gpt-4o-realtime-preview: 5 and 20 for text, 40 and 80 for audio, 2.50 for cached text and audio
    found = price(
        "openai",
        "gpt-4o-realtime-preview",
        input_tokens=1_000,
        input_audio_tokens=600,
        cache_read_tokens=300,
        cache_audio_read_tokens=200,
        output_tokens=500,
        output_audio_tokens=400,
    )
    # 400 of the audio and 300 of the text were new; 200 audio and 100 text came from the cache
    assert found.total == total((300, "5"), (400, "40"), (100, "2.5"), (200, "2.5"), (100, "20"), (400, "80"))
    assert found.classes["cache_audio_read"] == Decimal("0.0005")


def test_anthropic_with_both_kinds_of_cache_write_and_a_read():
    # claude-sonnet-4-5: 3 read, 3.75 written to the cache for 5 minutes, 6 for an hour, 0.30 read from it, 15 written
    found = price(
        "anthropic",
        "claude-sonnet-4-5-20250929",
        input_tokens=50 + 3_000 + 20_000,  # Anthropic's own input_tokens would be 50
        cache_write_tokens=3_000,
        cache_write_1h_tokens=1_000,
        cache_read_tokens=20_000,
        output_tokens=400,
    )
    assert found.classes == {
        "input": Decimal("0.00015"),
        "cache_write": Decimal("0.0075"),
        "cache_write_1h": Decimal("0.006"),
        "cache_read": Decimal("0.006"),
        "output": Decimal("0.006"),
    }
    assert found.total == Decimal("0.02565")
    assert found.model == "claude-sonnet-4-5"


@pytest.mark.parametrize(("read", "usd"), [(200_000, "3"), (200_001, "6")])
def test_anthropic_beyond_200k_costs_more_for_every_token_and_the_cache_counts(read, usd):
    found = price("anthropic", "claude-sonnet-4-5", input_tokens=read, cache_read_tokens=read - 10, output_tokens=10)
    written = "15" if usd == "3" else "22.5"
    assert found.total == total((10, usd), (read - 10, Decimal(usd) / 10), (10, written))


def test_anthropics_searches():
    usage = canon.Usage(
        input_tokens=1_000,
        output_tokens=0,
        extras={"anthropic_messages": {"server_tool_use": {"web_search_requests": 3}}},
    )
    found = prices.price("anthropic", "claude-sonnet-4-5", usage, at=AT)
    assert found.classes["web_search"] == Decimal("0.03")
    assert found.total == Decimal("0.033")


def test_gemini_with_audio_cached_and_not():
    # gemini-2.5-flash: 0.30 and 2.50; audio 1.00; cached 0.03, cached audio 0.10
    found = price(
        "google",
        "gemini-2.5-flash",
        input_tokens=10_000,
        input_audio_tokens=3_000,
        cache_read_tokens=2_000,
        cache_audio_read_tokens=500,
        output_tokens=1_000,
        reasoning_tokens=700,
    )
    assert found.total == total(
        (10_000 - 2_500 - 1_500 - 500, "0.3"), (2_500, "1"), (1_500, "0.03"), (500, "0.1"), (1_000, "2.5")
    )


@pytest.mark.parametrize(
    ("read", "usd", "cached", "written"), [(200_000, "1.25", "0.125", "10"), (200_001, "2.5", "0.25", "15")]
)
def test_gemini_beyond_200k(read, usd, cached, written):
    found = price("google", "gemini-2.5-pro", input_tokens=read, cache_read_tokens=50_000, output_tokens=1_000)
    assert found.total == total((read - 50_000, usd), (50_000, cached), (1_000, written))


def test_geminis_images_are_told_from_text():
    # gemini-2.5-flash-image: 0.30 and 2.50 for text, 30 for images written
    usage = canon.Usage(
        input_tokens=100,
        output_tokens=1_300,
        extras={"gemini": {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}]}},
    )
    found = prices.price("google", "gemini-2.5-flash-image", usage, at=AT)
    assert found.total == total((100, "0.3"), (10, "2.5"), (1_290, "30"))
    untold = price("google", "gemini-2.5-flash-image", input_tokens=100, output_tokens=1_300)
    assert untold.total is None
    assert "images" in untold.unpriced


@pytest.mark.parametrize(
    ("provider", "asked", "model"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "gpt-5.5-2099-01-01", "gpt-5.5"),
        ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("google", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "gemini-2.5-flash-001", "gemini-2.5-flash"),
        ("google", "models/gemini-2.5-flash-lite-001", "gemini-2.5-flash-lite"),
        ("google", "GEMINI-2.5-PRO", "gemini-2.5-pro"),
    ],
)
def test_names_with_dates_versions_and_prefixes(provider, asked, model):
    found = price(provider, asked, input_tokens=1, output_tokens=1)
    assert found.model == model
    assert found.total > 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "my-own"),
        ("openai", "gpt-4o-something"),
        ("openai", "claude-sonnet-4-5"),
        ("openai", ""),
        ("openai", "g" * (MAX_MODEL_LENGTH + 1)),
        ("openai", "whisper-1"),  # by the hour
        ("google", "gemma-3"),  # listed without a price
        ("openai_compatible", "gpt-4o"),
        ("nobody", "gpt-4o"),
    ],
)
def test_what_is_not_known_is_unpriced_and_not_zero(provider, model):
    found = price(provider, model, input_tokens=10, output_tokens=10)
    assert found.total is None
    assert found.classes == {}
    assert found.unpriced.endswith(".")


def test_a_call_without_counted_tokens_is_unpriced():
    assert price("openai", "gpt-4o").total is None
    assert price("openai", "gpt-4o", input_tokens=0, output_tokens=0).total == 0


def test_tokens_without_a_price_are_unpriced():
    assert price("openai", "text-embedding-3-small", input_tokens=1_000_000).total == Decimal("0.02")
    assert price("openai", "text-embedding-3-small", input_tokens=1, output_tokens=1).total is None


def test_the_local_model_costs_nothing():
    found = price("local", "smollm2", input_tokens=10, output_tokens=10)
    assert (found.total, found.source) == (Decimal(0), "local")
    assert price("local", "smollm2").total == 0


@pytest.mark.parametrize(
    ("model", "tier", "usd"),
    [
        ("gpt-5", None, "1.25"),
        ("gpt-5", "default", "1.25"),
        ("gpt-5", "never heard of", "1.25"),
        ("gpt-5", "flex", "0.625"),
        ("gpt-5", "priority", "2.5"),
        ("gpt-5", "batch", "0.625"),
    ],
)
def test_how_a_call_was_served_counts(model, tier, usd):
    assert price("openai", model, tier=tier, input_tokens=1_000_000).total == Decimal(usd)


def test_prices_change_with_the_day():
    eve = datetime(2025, 6, 9, 23, 59, tzinfo=UTC)
    for at, usd in ((eve, "10"), (eve + timedelta(minutes=1), "2"), (eve, "10")):
        assert price("openai", "o3", at=at, input_tokens=1_000_000).total == Decimal(usd)
    # 2025-06-10 01:00 in Seoul is still the 9th in UTC
    seoul = datetime(2025, 6, 10, 1, tzinfo=timezone(timedelta(hours=9)))
    assert price("openai", "o3", at=seoul, input_tokens=1_000_000).total == Decimal(10)


def test_prices_that_change_within_the_day(monkeypatch):
    night = TimeOfDateConstraint(clock(16, 30), clock(0, 30))
    info = ModelInfo(
        "owl",
        ClauseEquals("owl"),
        prices=[
            ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(2))),
            ConditionalPrice(night, prices=ModelPrice(input_mtok=Decimal(1))),
        ],
    )
    monkeypatch.setattr(list_prices, "_find", lambda *_: info)
    fresh = Prices()
    usage = canon.Usage(input_tokens=1_000_000)
    for hour, usd in ((12, 2), (16, 2), (17, 1), (23, 1), (0, 1), (1, 2)):
        assert fresh.price("openai", "owl", usage, at=AT.replace(hour=hour)).total == usd


@pytest.mark.parametrize(
    "tokens",
    [
        {"input_tokens": 10, "cache_read_tokens": 30, "output_tokens": 0},
        {"cache_read_tokens": 30, "output_tokens": 0},
        {"input_tokens": 30, "cache_read_tokens": 30, "output_tokens": -5},
        {"input_tokens": -30, "cache_read_tokens": 30, "output_tokens": 0, "cache_write_tokens": -100},
    ],
)
def test_counts_that_contradict_each_other_never_lower_the_price(tokens):
    assert price("openai", "gpt-4o", **tokens).total == total((30, "1.25"))


counts = st.integers(0, 300_000)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["claude-sonnet-4-5", "claude-opus-4-1"]), counts, counts, counts, counts, counts, counts)
def test_anthropic_agrees_with_the_lists_own_calculation(model, fresh, read, write, write_1h, answer, thought):
    ours = price(
        "anthropic",
        model,
        input_tokens=fresh + read + write + write_1h,
        cache_read_tokens=read,
        cache_write_tokens=write + write_1h,
        cache_write_1h_tokens=write_1h,
        output_tokens=answer + thought,
        reasoning_tokens=thought,
    )
    theirs = calc_price(
        ListUsage(
            input_tokens=fresh + read + write + write_1h,
            cache_read_tokens=read,
            cache_write_tokens=write + write_1h,
            cache_write_1h_tokens=write_1h,
            output_tokens=answer + thought,
            output_reasoning_tokens=thought,
        ),
        model,
        provider_id="anthropic",
        genai_request_timestamp=AT,
    )
    assert ours.total == theirs.total_price == sum(ours.classes.values())


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(
        [
            ("google", "gemini-2.5-flash"),
            ("google", "gemini-2.5-pro"),
            ("openai", "gpt-4o-realtime-preview"),
            ("openai", "gpt-5.5"),
            ("openai", "gpt-5.6-sol"),
        ]
    ),
    st.sampled_from([None, "flex", "priority", "batch", "default"]),
    *[counts] * 6,
)
def test_the_others_agree_too(named, tier, text, audio, text_read, audio_read, answer, spoken):
    provider, model = named
    common = {
        "input_tokens": text + audio + text_read + audio_read,
        "input_audio_tokens": audio + audio_read,
        "cache_read_tokens": text_read + audio_read,
        "cache_audio_read_tokens": audio_read,
        "output_tokens": answer + spoken,
        "output_audio_tokens": spoken,
    }
    theirs = calc_price(
        ListUsage(**common),
        model,
        provider_id=provider,
        genai_request_timestamp=AT,
        price_context={"service_tier": tier, "processing": tier} if tier else None,
    )
    assert price(provider, model, tier=tier, **common).total == theirs.total_price


def test_what_is_remembered_is_bounded():
    fresh = Prices()
    usage = canon.Usage(input_tokens=1, output_tokens=1)
    for number in range(REMEMBERED_MODELS + 50):
        fresh.price("anthropic", f"claude-sonnet-4-5-{number}", usage, at=AT)
    assert fresh._find.cache_info().currsize == REMEMBERED_MODELS


def test_pricing_a_known_model_costs_little():
    usage = canon.Usage(input_tokens=10_000, cache_read_tokens=6_000, output_tokens=1_000, reasoning_tokens=100)
    prices.price("openai", "gpt-5.5", usage, tier="default")
    begun = time.process_time()
    for _ in range(2_000):
        prices.price("openai", "gpt-5.5", usage, tier="default")
    assert (time.process_time() - begun) / 2_000 < 40e-6  # 3.5 µs on a quiet machine


def test_the_lists_are_loaded_late_and_nothing_is_fetched():
    script = """
import socket, sys
def refuse(*args): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from rini import canon
from rini.usage.prices import Prices
prices = Prices()
usage = canon.Usage(input_tokens=1)
assert prices.price("local", "x", usage).total == 0
assert prices.price("openai_compatible", "x", usage).total is None
assert "genai_prices" not in sys.modules
prices.load()
assert "genai_prices" in sys.modules
assert prices.price("openai", "gpt-4o", usage).total
"""
    source = str(Path(list_prices.__file__).parents[2])
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": source}, check=True, timeout=30)


def test_a_price_is_written_as_json():
    found = price("openai", "gpt-4o", input_tokens=1, output_tokens=1)
    document = msgspec.json.decode(msgspec.json.encode(found))
    assert Decimal(document["total"]) == Decimal("0.0000125")
    assert document["classes"] == {"input": "0.0000025", "output": "0.000010"}


def test_a_class_without_a_price_of_its_own_costs_what_its_nearest_costs():
    found = rates("m", {-1: {"input": Decimal(1), "cache_write": Decimal(2), "output": Decimal(3)}})
    ((_, filled),) = found.steps
    assert filled["cache_write_1h"] == 2
    assert filled["cache_read"] == filled["input_audio"] == filled["cache_audio_read"] == 1
    assert filled["reasoning"] == filled["output_audio"] == 3
    assert set(filled) == {"input", "output", *FALLBACK}


def written(tmp_path, text):
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return path


def test_the_operators_prices_come_first(tmp_path):
    path = written(
        tmp_path,
        """
        [openai_compatible."llama-3.3-70b"]
        input = 0.59
        cache_read = 0.1
        output = 0.79

        [openai_compatible."llama*"]
        input = 1

        [openai_compatible."llama-3*"]
        input = 2
        output = 2

        [openai."gpt-4o*"]
        input = 0
        output = 0

        [local."*"]
        input = 0.01
        output = 0.02
        """,
    )
    own = Prices(load_overrides(path))
    usage = canon.Usage(input_tokens=1_000_000, cache_read_tokens=400_000, output_tokens=1_000_000)
    exact = own.price("openai_compatible", "llama-3.3-70b", usage)
    assert exact.total == Decimal("0.354") + Decimal("0.04") + Decimal("0.79")
    assert (exact.source, exact.model) == ("override", "llama-3.3-70b")
    longest = own.price("openai_compatible", "llama-3.1-8b", usage)
    assert (longest.total, longest.model) == (4, "llama-3*")
    half = own.price("openai_compatible", "llama-2", usage)
    assert half.total is None
    assert half.unpriced == "llama* has no price for output."
    assert own.price("openai_compatible", "qwen", usage).total is None
    assert own.price("openai", "gpt-4o-2024-08-06", usage).total == 0
    assert own.price("openai", "o3", usage).source == "list"
    assert own.price("local", "anything", usage).total == Decimal("0.03")


def test_prices_are_read_exactly(tmp_path):
    own = Prices(load_overrides(written(tmp_path, '[openai."m"]\ninput = 0.1\noutput = 0.000001')))
    found = own.price("openai", "m", canon.Usage(input_tokens=3, output_tokens=1))
    assert found.total == Decimal("0.0000003") + Decimal("0.000000000001")


MISTAKES = [
    (
        '[opnai."m"]\ninput = 1',
        "[opnai] is no provider; there are openai, anthropic, google, openai_compatible, local.",
    ),
    ("openai = 3", "[openai] must hold one table for each model."),
    ("[openai]\nm = 3", '[openai."m"] must be a table of prices.'),
    ('[openai."m"]\noutput = 1', '[openai."m"]: input is missing.'),
    ('[openai."m"]\ninput = "1"', '[openai."m"]: input must be a number, USD per million tokens.'),
    ('[openai."m"]\ninput = true', '[openai."m"]: input must be a number, USD per million tokens.'),
    ('[openai."m"]\ninput = -1', '[openai."m"]: input must be between 0 and 1000000 USD per million tokens.'),
    ('[openai."m"]\ninput = nan', '[openai."m"]: input must be between 0 and 1000000 USD per million tokens.'),
    ('[openai."m"]\ninput = inf', '[openai."m"]: input must be between 0 and 1000000 USD per million tokens.'),
    ('[openai."m"]\ninput = 1\ncached = 1', '[openai."m"]: cached is no class of tokens; there are input, cache_read,'),
    ('[openai."a*b"]\ninput = 1', '[openai."a*b"]: a * may only stand at the end of a model\'s name.'),
    (
        '[openai."m"]\ninput = 1\ncache_read = 1\ninput_audio = 1',
        '[openai."m"]: cache_audio_read is missing, as cache_read and input_audio have different prices.',
    ),
    ("[openai", "This is not TOML: "),
    ('[openai."m"]\ninput = 1\n[openai."m"]\ninput = 2', "This is not TOML: "),
]


@pytest.mark.parametrize(("text", "sentence"), MISTAKES)
def test_each_mistake_has_its_sentence(tmp_path, text, sentence):
    path = written(tmp_path, text)
    with pytest.raises(PriceFileError) as caught:
        load_overrides(path)
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(sentence)
    assert mistake.endswith(".")
    assert str(caught.value) == f"{path}: {mistake}"


def test_all_mistakes_are_told_at_once(tmp_path):
    text = '[opnai."m"]\ninput = 1\n[openai."m"]\ninput = -1\noutput = "x"\nfoo = 1'
    with pytest.raises(PriceFileError) as caught:
        load_overrides(written(tmp_path, text))
    assert len(caught.value.mistakes) == 4


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(PriceFileError, match=r"The file cannot be read: No such file or directory\."):
        load_overrides(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PriceFileError, match="This is not TOML"):
        load_overrides(tmp_path / "bytes.toml")


def test_a_day_stands_for_all_its_hours():
    found = list_prices.find_model("openai", "o3")
    assert found.rates(date(2025, 6, 10), None).steps == found.rates(datetime(2025, 6, 10, 23, tzinfo=UTC), None).steps
