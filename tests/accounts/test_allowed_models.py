"""Patterns of the models that an access token may call."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rini.accounts.access import Caller
from rini.accounts.allowed_models import check_pattern, fits
from rini.errors import ModelNotAllowedError


@pytest.mark.parametrize(
    ("pattern", "name", "good"),
    [
        ("openai/gpt-4o", "openai/gpt-4o", True),
        ("openai/gpt-4o", "openai/gpt-4o-mini", False),
        ("openai/gpt-4o", "openai/GPT-4o", False),
        ("openai/*", "openai/gpt-4o", True),
        ("openai/*", "openai_compatible/gpt-4o", False),
        ("openai_compatible/*", "openai_compatible/meta/llama", True),
        ("openai/gpt-*-mini", "openai/gpt-4o-mini", True),
        ("openai/gpt-*-mini", "openai/gpt-mini", False),
        ("*/gpt-4o", "openai/gpt-4o", True),
        ("*", "anthropic/claude", True),
        ("openai/gpt-[4]o", "openai/gpt-4o", False),
        ("openai/gpt-?o", "openai/gpt-4o", False),
        ("openai/gpt.4o", "openai/gpt-4o", False),
    ],
)
def test_only_the_star_is_special(pattern: str, name: str, good: bool):
    assert fits(pattern, name) is good


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
@example("a*a", "a")
@example("ab*ba", "aba")
def test_a_star_is_any_characters(pattern: str, name: str):
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert fits(pattern, name) is bool(re.fullmatch(expression, name))


def test_many_stars_take_no_time():
    pattern = "openai/" + "a*" * 150 + "b"
    started = time.process_time()
    assert not fits(pattern, "openai/" + "a" * 256)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "pattern", ["*", "openai/gpt-4o", "anthropic/*", "*/x", "openai_compatible/meta/llama:70b", "local/*"]
)
def test_good_patterns(pattern: str):
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("", "provider/model"),
        ("gpt-4o", "provider/model"),
        ("**", "provider/model"),
        ("openai", "provider/model"),
        ("openai/", "provider/model"),
        ("openai/gpt 4o", "provider/model"),
        ("openai/gpt-4o\n", "provider/model"),
        ("/gpt-4o", "begin with a provider"),
        ("opnai/gpt-4o", "begin with a provider"),
        ("open*/gpt-4o", "begin with a provider"),
    ],
)
def test_what_is_no_pattern_is_told(pattern: str, word: str):
    with pytest.raises(ValueError, match=word):
        check_pattern(pattern)


def test_a_refusal_names_the_model_and_what_is_allowed():
    Caller(1).check_model("openai", "anything")
    caller = Caller(1, 2, ("openai/gpt-4o-mini", "anthropic/*"))
    caller.check_model("anthropic", "claude")
    with pytest.raises(ModelNotAllowedError) as refused:
        caller.check_model("openai", "gpt-4o")
    assert refused.value.detail == (
        "This access token may not call openai/gpt-4o; it may call openai/gpt-4o-mini, anthropic/*."
    )
    assert refused.value.fields == {"provider": "openai", "model": "gpt-4o"}
    many = Caller(1, 2, tuple(f"openai/m{number}" for number in range(100)))
    with pytest.raises(ModelNotAllowedError, match=r"openai/m9 and 90 more\.$"):
        many.check_model("openai", "x")
