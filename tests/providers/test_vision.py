"""Which provider and model reads which images."""

import pytest
from genai_prices import Usage, calc_price

from rini.errors import NoVisionError
from rini.providers.catalog import PROVIDERS
from rini.providers.vision import default_vision_model, image_limits

WITH_VISION = [name for name in PROVIDERS if name != "local"]


@pytest.mark.parametrize("provider", WITH_VISION)
def test_every_provider_takes_png_and_jpeg(provider: str):
    """What is made anew is one of these."""
    assert {"image/png", "image/jpeg"} <= image_limits(provider, "a-model-of-tomorrow").mime_types


def test_the_model_in_the_box_reads_none_and_another_is_named():
    with pytest.raises(NoVisionError) as refused:
        image_limits("local", "smollm2-135m-instruct")
    assert refused.value.detail == (
        "The model in the box reads no images; ask one that does, such as 'gpt-6-luna' of the provider 'openai'."
    )


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-3.5-turbo"),
        ("openai", "ft:gpt-3.5-turbo-0125:acme::abc"),
        ("openai", "GPT-4"),
        ("openai", "gpt-4-0613"),
        ("openai", "gpt-4-32k"),
        ("openai", "gpt-4-turbo-preview"),
        ("openai", "gpt-4-1106-preview"),
        ("openai", "o1-mini-2024-09-12"),
        ("openai", "o3-mini"),
        ("openai", "gpt-oss-120b"),
        ("openai", "text-embedding-3-large"),
        ("openai", "gpt-4o-audio-preview"),
        ("anthropic", "claude-2.1"),
        ("anthropic", "claude-instant-1.2"),
        ("anthropic", "claude-v1"),
        ("google", "models/gemini-embedding-001"),
        ("google", "gemini-1.0-pro"),
        ("google", "gemini-2.5-flash-preview-tts"),
        ("google", "gemma-2-27b-it"),
    ],
)
def test_a_model_known_to_be_blind_is_refused_and_another_is_named(provider: str, model: str):
    with pytest.raises(NoVisionError) as refused:
        image_limits(provider, model)
    assert refused.value.detail == (
        f"The model '{model}' reads no images; ask one that does, such as "
        f"'{default_vision_model(provider)}' of the provider '{provider}'."
    )


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o"),
        ("openai", "gpt-4-turbo"),
        ("openai", "gpt-4-vision-preview"),
        ("openai", "gpt-4-1106-vision-preview"),
        ("openai", "gpt-4.1-nano"),
        ("openai", "o1"),
        ("openai", "o4-mini"),
        ("anthropic", "claude-3-haiku-20240307"),
        ("anthropic", "claude-sonnet-4-20250514"),
        ("google", "models/gemini-2.5-flash"),
        ("google", "gemini-1.0-pro-vision-001"),
        ("google", "gemma-3"),
        ("openai_compatible", "gpt-3.5-turbo"),
        ("openai_compatible", "llava"),
    ],
)
def test_what_may_see_is_let_through(provider: str, model: str):
    assert image_limits(provider, model).max_frames == 1


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
def test_the_model_for_whoever_names_none_exists_and_sees(provider: str):
    model = default_vision_model(provider)
    assert model is not None
    image_limits(provider, model)
    price = calc_price(Usage(input_tokens=1_000_000), model_ref=model, provider_id=provider)
    assert price.model.id == model
    assert price.total_price < 1


@pytest.mark.parametrize("provider", ["local", "openai_compatible", "nobody"])
def test_others_have_no_model_to_name(provider: str):
    assert default_vision_model(provider) is None


def test_many_images_share_what_a_request_may_hold():
    """By powers of two, so that one more image does not change all earlier ones."""
    sizes = [image_limits("google", "gemini-2.5-flash", images).max_bytes for images in (1, 2, 3, 4, 5, 8, 9)]
    assert sizes == [13_500_000 // share for share in (1, 2, 4, 4, 8, 8, 16)]
    assert (
        image_limits("anthropic", "claude-haiku-4-5", 4).max_bytes
        == image_limits("anthropic", "claude-haiku-4-5").max_bytes
    )


def test_anthropic_takes_smaller_ones_when_there_are_many():
    assert [image_limits("anthropic", "claude-haiku-4-5", images).max_side for images in (1, 20, 21)] == [
        8000,
        8000,
        2000,
    ]
