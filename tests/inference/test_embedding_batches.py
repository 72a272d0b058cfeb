"""How a list is cut into batches, and what a provider's words on size mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rini.errors import (
    ContextTooLongError,
    ProviderError,
    ProviderRateLimitedError,
    ProviderRejectedError,
    ProviderTooLargeError,
    ProviderUnavailableError,
)
from rini.inference.embedding_batches import cut
from rini.providers.embedding_failures import is_too_long, is_too_much, place


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 9), st.none() | st.integers(1, 100))
def test_batches_hold_everything_once_in_order_and_within_the_limits(sizes, most_inputs, most_tokens):
    batches = cut(sizes, most_inputs, most_tokens)
    assert [index for batch in batches for index in batch] == list(range(len(sizes)))
    for batch in batches:
        assert 1 <= len(batch) <= most_inputs
        if most_tokens is not None and len(batch) > 1:
            assert sum(sizes[index] for index in batch) <= most_tokens


def test_batches_are_no_more_than_are_needed():
    assert cut([1] * 10, 4, None) == [range(4), range(4, 8), range(8, 10)]
    assert cut([5, 5, 5, 20, 5], 4, 10) == [range(2), range(2, 3), range(3, 4), range(4, 5)]
    assert cut([1] * 8, 4, 1000) == [range(4), range(4, 8)]


@pytest.mark.parametrize(
    ("kind", "message", "meaning"),
    [
        (ProviderRejectedError, "Invalid 'input[22]': maximum input length is 8192 tokens.", "long"),
        (ContextTooLongError, "This model's maximum context length is 8192 tokens, however you requested 9", "long"),
        (ProviderTooLargeError, "Input validation error: `inputs` must have less than 512 tokens. Given: 534", "long"),
        (
            ProviderUnavailableError,
            "input (979 tokens) is too large to process. increase the physical batch size (current batch size: 512)",
            "long",
        ),
        (ProviderRejectedError, "the input token count is 20000 but the model supports up to 2048", "long"),
        (ProviderRejectedError, "Requested 330816 tokens, max 300000 tokens per request", "much"),
        (ContextTooLongError, "The max allowed tokens per submitted batch is 120000.", "much"),
        (ProviderRejectedError, "batch size 33 > maximum allowed batch size 32", "much"),
        (ProviderRejectedError, "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch", "much"),
        (ProviderTooLargeError, "", "much"),
        (ProviderRejectedError, "encoding_format is not supported", None),
        (ProviderUnavailableError, "The server is overloaded", None),
        (ProviderRateLimitedError, "Limit: 10 tokens per request, try again", None),
    ],
)  # fmt: skip
def test_what_providers_say_of_size(kind: type[ProviderError], message: str, meaning: str | None):
    error = kind("…", provider_message=message)
    assert (is_too_long(error), is_too_much(error)) == (meaning == "long", meaning == "much")


def test_the_place_that_a_provider_names():
    assert place(ProviderRejectedError("…", provider_message="Invalid 'input[22]': too long")) == 22
    assert place(ProviderRejectedError("…", provider_message="too long")) is None
    assert place(ProviderRejectedError("…")) is None
