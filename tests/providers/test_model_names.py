"""Whose model a bare name is, and what is known of a model by its name."""

import csv

import pytest

from rini.errors import NoVisionError
from rini.providers.capabilities import known_of
from rini.providers.model_names import LONGEST_NAME, bare_name, explicit_name
from rini.providers.vision import image_limits
from tests.wire import recordings

NAMES = {
    "openai": """gpt-4o gpt-4o-2024-08-06 gpt-4.1-nano gpt-5 gpt-5.1-codex-max gpt-6-luna gpt-3.5-turbo-instruct gpt-35-turbo gpt-image-1
        gpt-audio-mini gpt-realtime o1 o1-mini o3-deep-research-2025-06-26 o4-mini o10-pro chatgpt-4o-latest codex-mini-latest
        computer-use-preview text-embedding-3-large text-embedding-ada-002 text-embedding-ada-002-v2 omni-moderation-latest
        text-moderation-stable dall-e-3 sora-2 tts-1 tts-1-hd whisper-1 davinci-002 babbage-002 text-davinci-003 ada
        ft:gpt-4o-mini-2024-07-18:acme::A1b2C3 ft:davinci-002:acme::x curie:ft-acme-2023-01-01""",
    "anthropic": """claude-opus-5 claude-haiku-4-5-20251001 claude-3-5-sonnet-latest claude-2.1 claude-instant-1.2 claude-fable-5-2 claude""",
    "google": """gemini-2.5-flash gemini-flash-latest gemini-3.1-flash-image-preview gemini-embedding-001 gemma-3-27b-it gemma-3n-e4b-it
        learnlm-2.0-flash-experimental text-embedding-004 embedding-001 imagen-4.0-generate-001 veo-3.0-generate-001 aqa gemini
        text-bison-001 nano-banana-pro-preview deep-research-pro-preview-12-2025""",
    None: """gpt-oss-20b gpt-oss:20b gpt2 gpt-neo-2.7b gpt-j-6b llama3.2 qwen3:8b gemma3:27b mistral-large-latest deepseek-chat o2k o-mini
        text-embedding-v3 text-embedding-nomic-embed-text-v1.5 whisper-large-v3 claudette ft:open-mistral-7b:x grok-4 tts-kokoro adamant
        my-gpt-4o anthropic.claude-3-5-sonnet-20240620-v1:0 nomic-embed-text""",
}  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "name"), [(whose, name) for whose, names in NAMES.items() for name in names.split()]
)
def test_a_bare_name_is_a_providers(provider: str | None, name: str):
    found = bare_name(name)
    assert (found.provider if found else None) == provider
    if found:
        assert found.model == name


def test_a_name_with_its_provider_is_what_it_says():
    assert str(explicit_name("openai_compatible/meta-llama/Llama-3")) == "openai_compatible/meta-llama/Llama-3"
    assert str(explicit_name("google/models/gemini-2.5-flash")) == "google/gemini-2.5-flash"
    for name in ("gpt-4o", "openai", "openai/", "google/models/", "OpenAI/gpt-4o", "/gpt-4o", "meta-llama/Llama-3", ""):
        assert explicit_name(name) is None


@pytest.mark.skipif(not recordings.present(), reason=recordings.ABSENT)
def test_every_recorded_model_is_its_providers():
    nobodys = ("exist", "bad", "there-is-no", "no-such")  # what the recordings of errors ask for
    checked = 0
    with (recordings.ROOT / "INDEX.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            name = row["model"].removeprefix("models/")
            if not name or name.startswith("projects/") or any(word in name for word in nobodys):
                continue
            found = bare_name(name)
            assert found is not None, name
            assert found.provider == row["provider"], name
            checked += 1
    assert checked > 1400


def test_a_long_name_takes_no_longer():
    assert bare_name("gpt-" + "5" * LONGEST_NAME)
    assert bare_name("ada" * 100_000) is None


@pytest.mark.parametrize(
    ("provider", "model", "known"),
    [
        ("openai", "gpt-4o-mini-2024-07-18", {"vision": True, "tools": True, "structured_output": True, "thinking": False}),
        ("openai", "ft:gpt-4o-2024-08-06:acme::x", {"vision": True, "pdf": True}),
        ("openai", "gpt-5.6-terra", {"thinking": True, "vision": True, "audio": False}),
        ("openai", "o3-mini", {"thinking": True, "vision": False, "tools": True}),
        ("openai", "gpt-4-turbo-preview", {"vision": False}),
        ("openai", "gpt-4o-audio-preview", {"audio": True}),
        ("openai", "text-embedding-3-small", {"embeddings": True, "tools": False}),
        ("anthropic", "claude-opus-5", {"tools": True, "thinking": True, "structured_output": None}),
        ("anthropic", "claude-2.1", {"tools": False, "vision": False}),
        ("google", "models/gemini-2.5-flash", {"audio": True, "thinking": True, "tools": True}),
        ("google", "gemini-embedding-001", {"embeddings": True, "vision": False}),
        ("openai_compatible", "gpt-4o", {"vision": None, "tools": None}),
        ("openai", "something-new", {"vision": None, "embeddings": None}),
    ],
)  # fmt: skip
def test_what_a_model_can_do(provider: str, model: str, known: dict[str, bool | None]):
    found = known_of(provider, model).capabilities
    assert {name: getattr(found, name) for name in known} == known


def test_no_model_is_said_to_see_that_is_refused_images():
    for provider, names in NAMES.items():
        for name in names.split() if provider else ():
            try:
                image_limits(provider, name)
            except NoVisionError:
                assert known_of(provider, name).capabilities.vision in (False, None), name


def test_how_much_a_model_writes():
    known = {"gpt-4o": 16_384, "gpt-4.1-mini-2025-04-14": 32_768, "o4-mini": 100_000, "gpt-5-mini": 128_000}
    for model, most in known.items():
        assert known_of("openai", model).max_output_tokens == most
    assert known_of("openai", "gpt-99").max_output_tokens is None
