"""Lists of models: what servers say of theirs, and what SDKs are told."""

import json
from decimal import Decimal
from typing import Any

import pytest

from rini.canon import Capabilities, ModelInfo, ModelPrices
from rini.wire.codec import MalformedError
from rini.wire.model_lists import ANTHROPIC_MODELS, GEMINI_MODELS, OPENAI_MODELS
from rini.wire.model_lists.page import excerpt
from rini.wire.model_lists.reading import MOST_MODELS
from tests.wire import recordings

FULL = ModelInfo(
    id="openai/gpt-4o",
    provider="openai",
    display_name="GPT-4o",
    created=1_715_367_049,
    owned_by="system",
    context_tokens=128_000,
    max_output_tokens=16_384,
    capabilities=Capabilities(
        vision=True, pdf=True, tools=True, thinking=False, structured_output=True, embeddings=False, audio=False
    ),
    prices=ModelPrices(Decimal("2.5"), Decimal(10), Decimal("1.25")),
)
BARE = ModelInfo(id="openai_compatible/meta-llama/Llama-3", provider="openai_compatible")


def one(fields: dict[str, Any]) -> ModelInfo:
    page = OPENAI_MODELS.decode_list(json.dumps({"data": [{"id": "m", **fields}]}).encode(), "openai_compatible")
    return page.models[0]


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({"max_model_len": 32_768, "root": "m", "permission": []}, 32_768),
        ({"meta": {"n_ctx_train": 131_072, "n_params": 7}}, 131_072),
        ({"meta": {"n_ctx": 8192, "n_ctx_train": 131_072}}, 8192),
        ({"context_window": 131_072, "max_completion_tokens": 8192, "active": True}, 131_072),
        ({"max_context_length": 32_768, "capabilities": {"function_calling": True, "vision": False}}, 32_768),
        ({"context_length": 4096.0}, 4096),
        ({"object": "model", "created": 1, "owned_by": "library"}, None),
        ({"context_length": 0, "max_model_len": None, "meta": None}, None),
        ({"context_length": True}, None),
    ],
)
def test_how_much_a_model_reads_as_servers_say_it(fields: dict[str, Any], context: int | None):
    assert one(fields).context_tokens == context


def test_what_openrouter_says_of_a_model():
    model = one(
        {
            "name": "Meta: Llama 3",
            "created": 1_713_398_400,
            "context_length": 8192,
            "architecture": {"input_modalities": ["text", "image", "file"], "output_modalities": ["text"]},
            "pricing": {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000125", "image": "0"},
            "top_provider": {"context_length": 8192, "max_completion_tokens": 4096, "is_moderated": False},
            "supported_parameters": ["tools", "reasoning", "max_tokens"],
        }
    )
    assert (model.display_name, model.context_tokens, model.max_output_tokens) == ("Meta: Llama 3", 8192, 4096)
    assert model.prices == ModelPrices(Decimal("2.5"), Decimal(10), Decimal("1.25"))
    assert model.capabilities == Capabilities(
        vision=True, pdf=True, tools=True, thinking=True, structured_output=False, embeddings=False, audio=False
    )


PRICES = [
    '"-1"',
    '"nan"',
    '"Infinity"',
    '"1e-9999999"',
    '""',
    '"x"',
    "-1",
    "true",
    "null",
    "[]",
    '"9999"',
]


@pytest.mark.parametrize("price", PRICES, ids=range(len(PRICES)))
def test_a_price_that_is_none_is_not_known(price: str):
    body = b'{"id":"m","pricing":{"prompt":%s}}' % price.encode()
    assert OPENAI_MODELS.decode_model(body, "openai_compatible").prices.input is None


def test_a_bare_array_is_a_list_too():
    page = OPENAI_MODELS.decode_list(b' [{"id":"a"},{"id":"b"}]', "openai_compatible")
    assert [model.id for model in page.models] == ["a", "b"]


def test_openais_form_is_read_as_it_was_written():
    """A Rini behind a Rini says all that it knows."""
    for model in (FULL, BARE):
        again = OPENAI_MODELS.decode_model(OPENAI_MODELS.encode_model(model), model.provider)
        assert again == (
            model if model is FULL else ModelInfo(id=BARE.id, provider=BARE.provider, owned_by=BARE.provider)
        )


def test_openais_form():
    assert json.loads(OPENAI_MODELS.encode_list([FULL, BARE])) == {
        "object": "list",
        "data": [
            {
                "id": "openai/gpt-4o",
                "object": "model",
                "created": 1_715_367_049,
                "owned_by": "system",
                "name": "GPT-4o",
                "context_length": 128_000,
                "max_output_tokens": 16_384,
                "pricing": {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000125"},
                "capabilities": {
                    "vision": True,
                    "pdf": True,
                    "tools": True,
                    "thinking": False,
                    "structured_output": True,
                    "embeddings": False,
                    "audio": False,
                },
            },
            {"id": BARE.id, "object": "model", "created": 0, "owned_by": "openai_compatible"},
        ],
    }


def test_anthropics_form():
    shown = json.loads(ANTHROPIC_MODELS.encode_model(FULL))
    assert (shown["type"], shown["id"], shown["display_name"]) == ("model", "openai/gpt-4o", "GPT-4o")
    assert shown["created_at"] == "2024-05-10T18:50:49Z"
    assert (shown["max_input_tokens"], shown["max_tokens"], shown["lifecycle"]) == (128_000, 16_384, "active")
    assert shown["capabilities"]["image_input"] == {"supported": True}
    assert shown["capabilities"]["thinking"]["supported"] is False
    bare = json.loads(ANTHROPIC_MODELS.encode_model(BARE))
    assert (bare["created_at"], bare["capabilities"], bare["display_name"]) == ("1970-01-01T00:00:00Z", None, BARE.id)


def test_geminis_form():
    shown = json.loads(GEMINI_MODELS.encode_model(FULL))
    assert (shown["name"], shown["displayName"]) == ("models/openai/gpt-4o", "GPT-4o")
    assert (shown["inputTokenLimit"], shown["outputTokenLimit"]) == (128_000, 16_384)
    assert shown["supportedGenerationMethods"] == ["generateContent", "countTokens"]
    embedder = ModelInfo(id="local/e", provider="local", capabilities=Capabilities(embeddings=True))
    assert json.loads(GEMINI_MODELS.encode_model(embedder))["supportedGenerationMethods"] == ["embedContent"]
    image = json.dumps({"name": "models/imagen-4", "supportedGenerationMethods": ["predict"]}).encode()
    shown = json.loads(GEMINI_MODELS.encode_model(GEMINI_MODELS.decode_model(image, "google")))
    assert shown["supportedGenerationMethods"] == []


def test_pages_of_a_list():
    models = [ModelInfo(id=name, provider="openai") for name in "abcde"]

    def ids(*arguments: Any, **named: Any) -> tuple[str, bool, bool]:
        page = excerpt(models, *arguments, **named)
        assert page is not None
        return "".join(model.id for model in page.models), page.more_before, page.more_behind

    assert ids(2) == ("ab", False, True)
    assert ids(2, after="b") == ("cd", True, True)
    assert ids(2, after="d") == ("e", True, False)
    assert ids(2, after="e") == ("", True, False)
    assert ids(2, before="d") == ("bc", True, True)
    assert ids(9, before="c") == ("ab", False, True)
    assert ids(9) == ("abcde", False, False)
    assert excerpt(models, 2, after="x") is None
    assert excerpt(models, 2, before="x") is None


def test_pages_of_anthropics_and_geminis_lists():
    models = [ModelInfo(id=name, provider="openai") for name in "abc"]
    page = excerpt(models, 2)
    assert page is not None
    anthropic = json.loads(ANTHROPIC_MODELS.encode_list(page))
    assert (anthropic["has_more"], anthropic["first_id"], anthropic["last_id"]) == (True, "a", "b")
    assert ANTHROPIC_MODELS.decode_list(ANTHROPIC_MODELS.encode_list(page), "anthropic").following == "b"
    assert json.loads(ANTHROPIC_MODELS.encode_list(page, backwards=True))["has_more"] is False
    gemini = GEMINI_MODELS.decode_list(GEMINI_MODELS.encode_list(page), "google")
    assert ([model.id for model in gemini.models], gemini.following) == (["a", "b"], "b")
    last = excerpt(models, 2, after="b")
    assert last is not None
    assert GEMINI_MODELS.decode_list(GEMINI_MODELS.encode_list(last), "google").following is None
    assert ANTHROPIC_MODELS.decode_list(ANTHROPIC_MODELS.encode_list(last), "anthropic").following is None
    empty = excerpt([], 2)
    assert empty is not None
    assert json.loads(ANTHROPIC_MODELS.encode_list(empty)) == {
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


@pytest.mark.parametrize("codec", [OPENAI_MODELS, ANTHROPIC_MODELS, GEMINI_MODELS])
@pytest.mark.parametrize(
    "body", [b"", b"null", b"7", b'"x"', b"\xff", b"[" * 9999, b'{"data":7,"models":7}', b'{"data":null,"models":null}']
)
def test_what_is_no_list_is_malformed(codec: Any, body: bytes):
    with pytest.raises(MalformedError):
        codec.decode_list(body, "openai")
    with pytest.raises(MalformedError):
        codec.decode_model(body, "openai")


def test_geminis_empty_answer_is_an_empty_list():
    assert GEMINI_MODELS.decode_list(b"{}", "google").models == ()


def test_no_more_than_so_many_are_read():
    body = b'{"data":[' + b",".join([b'{"id":"m"}'] * (MOST_MODELS + 5)) + b"]}"
    assert len(OPENAI_MODELS.decode_list(body, "openai").models) == MOST_MODELS


def test_paths_hold_names_as_they_are():
    assert OPENAI_MODELS.model_path("meta-llama/Llama 3:free?x") == "/models/meta-llama%2FLlama%203:free%3Fx"
    assert ANTHROPIC_MODELS.list_path("a&b") == "/v1/models?limit=1000&after_id=a%26b"
    assert GEMINI_MODELS.list_path("a&b") == "/v1beta/models?pageSize=1000&pageToken=a%26b"


@pytest.mark.parametrize(
    ("provider", "codec", "key", "name"),
    [
        ("openai", OPENAI_MODELS, "data", "id"),
        ("anthropic", ANTHROPIC_MODELS, "data", "id"),
        ("google", GEMINI_MODELS, "models", "name"),
    ],
)
@pytest.mark.skipif(not recordings.present(), reason=recordings.ABSENT)
def test_recorded_lists_are_read_whole(provider: str, codec: Any, key: str, name: str):
    found = [
        exchange
        for exchange in recordings.exchanges(provider, "models")
        if exchange.status == 200 and exchange.request["method"] == "GET"
    ]
    assert found
    for exchange in found:
        given = json.loads(exchange.response_bytes)
        page = codec.decode_list(exchange.response_bytes, provider)
        assert [model.id for model in page.models] == [each[name].removeprefix("models/") for each in given[key]]
        for model, each in zip(page.models, given[key], strict=True):
            shown = json.loads(codec.encode_model(model))
            if provider == "anthropic":
                assert {field: shown[field] for field in each} == each
            elif provider == "openai":
                assert (shown["created"], shown["owned_by"]) == (each["created"], each["owned_by"])
            else:
                same = ("inputTokenLimit", "outputTokenLimit", "displayName", "version", "thinking", "temperature")
                assert {field: shown.get(field) for field in same} == {field: each.get(field) for field in same}
