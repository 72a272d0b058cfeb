"""Call parameters: their order means nothing, and what a client sent is not changed."""

import copy
import itertools

import msgspec
import pytest

from rini.canon import Message, Request, Text
from rini.errors import InvalidRequestError
from rini.providers.catalog import PROVIDERS
from rini.providers.parameters import request_with

TOGETHER = [
    ("google", {"generationConfig": {"topK": 3}, "temperature": 0.5}),
    ("google", {"max_tokens": 5, "generationConfig": {"topK": 3}, "top_p": 0.5}),
    ("anthropic", {"user": "u", "metadata": {"x": 1}}),
    ("anthropic", {"reasoning_effort": "low", "output_config": {"format": {"type": "json_schema", "schema": {}}}}),
]
TWICE = [
    ("google", {"generationConfig": {"topK": 3}, "top_k": 4}),
    ("anthropic", {"user": "u", "metadata": {"user_id": "v"}}),
    ("openai", {"stop": ["a"], "stop_sequences": ["b"]}),
    ("google", {"generationConfig": 5, "top_k": 4}),
]


def _bodies(provider, params):
    asked = Request(model="m", messages=(Message("user", (Text("q"),)),))
    for order in itertools.permutations(params.items()):
        given = copy.deepcopy(dict(order))
        before = copy.deepcopy(given)
        try:
            request = request_with(PROVIDERS[provider], "m", given, asked)
            yield msgspec.json.decode(PROVIDERS[provider].codec.encode_request(request).body)
        finally:
            assert given == before


@pytest.mark.parametrize(("provider", "params"), TOGETHER)
def test_parameters_of_one_object_join(provider, params):
    first, *others = _bodies(provider, params)
    assert all(other == first for other in others)


@pytest.mark.parametrize(("provider", "params"), TWICE)
def test_the_same_parameter_twice_is_refused(provider, params):
    for order in itertools.permutations(params.items()):
        with pytest.raises(InvalidRequestError):
            list(_bodies(provider, dict(order)))
