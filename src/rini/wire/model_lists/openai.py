"""OpenAI's list of models, of OpenAI itself and of the servers that take after it.

OpenAI says ``id``, ``created`` and ``owned_by`` ("List models", OpenAPI document of August 2026). What others add is read where it is
known: vLLM's ``max_model_len``, llama.cpp's ``meta.n_ctx`` and ``meta.n_ctx_train``, Groq's ``context_window``, Mistral's
``max_context_length`` and ``capabilities``, and OpenRouter's ``context_length``, ``top_provider``, ``architecture``,
``supported_parameters`` and ``pricing`` ("Models API Standard", USD for one token, as texts). Together sends the bare array.

Written are OpenAI's fields and, beside them, in OpenRouter's terms as far as it has them: ``name``, ``context_length``,
``max_output_tokens``, ``pricing`` (``prompt``, ``completion``, ``input_cache_read``) and ``capabilities`` (true or false by name). What is
not known is left out. Official SDKs ignore them.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from rini.canon import Capabilities, ModelInfo, ModelPrices, extras_of, with_extras
from rini.wire.codec import MalformedError
from rini.wire.model_lists.page import ModelPage
from rini.wire.model_lists.reading import (
    flag,
    inside,
    model_id,
    read_list,
    read_model,
    seconds,
    text,
    texts,
    tokens,
)

NAME = "openai_models"

_encode = msgspec.json.Encoder().encode
_MILLION = 6
_MOST_USD = 1
"""For one token. Servers write -1 where the price varies."""

_NUMBER = re.compile(r"\d{1,3}(\.\d{0,20})?([eE]-\d{1,2})?", re.ASCII)

_PRICES = {"prompt": "input", "completion": "output", "input_cache_read": "cache_read"}


class OpenAIModels:
    """The codec. See ``rini.wire.model_lists.page.ModelListCodec``."""

    def list_path(self, following: str | None = None) -> str:  # noqa: ARG002  # there is one page
        """Return the path below the base address, which ends in /v1."""
        return "/models"

    def decode_list(self, body: bytes, provider: str) -> ModelPage:
        """Return the models in ``body``. Raises MalformedError."""
        found = (_decode(fields, provider) for fields in read_list(body, "data").models)
        return ModelPage(tuple(model for model in found if model is not None))

    def model_path(self, model: str) -> str:
        """Return the path of one model."""
        return f"/models/{quote(model, safe=':')}"

    def decode_model(self, body: bytes, provider: str) -> ModelInfo:
        """Return the model in ``body``. Raises MalformedError."""
        found = _decode(read_model(body), provider)
        if found is None:
            raise MalformedError("it is a model without an id.")
        return found

    def encode_list(self, models: Iterable[ModelInfo]) -> bytes:
        """Return the body of a list."""
        return _encode({"object": "list", "data": [_shown(model) for model in models]})

    def encode_model(self, model: ModelInfo) -> bytes:
        """Return the body of one model."""
        return _encode(_shown(model))


OPENAI_MODELS = OpenAIModels()


def _decode(fields: Mapping[str, Any], provider: str) -> ModelInfo | None:
    name = model_id(fields.get("id"))
    if name is None:
        return None
    meta, top = inside(fields.get("meta")), inside(fields.get("top_provider"))
    shutdown = text(fields.get("shutdown_date"))
    return ModelInfo(
        id=name,
        provider=provider,
        display_name=text(fields.get("name")) or text(fields.get("display_name")),
        created=seconds(fields.get("created")),
        owned_by=text(fields.get("owned_by")),
        context_tokens=tokens(
            fields.get("context_length"),
            fields.get("max_model_len"),
            fields.get("context_window"),
            fields.get("max_context_length"),
            meta.get("n_ctx"),
            meta.get("n_ctx_train"),
        ),
        max_output_tokens=tokens(
            fields.get("max_output_tokens"), fields.get("max_completion_tokens"), top.get("max_completion_tokens")
        ),
        capabilities=_capabilities(fields),
        prices=_prices(inside(fields.get("pricing"))),
        extras=with_extras(NAME, {"shutdown_date": shutdown} if shutdown else {}),
    )


def _capabilities(fields: Mapping[str, Any]) -> Capabilities:
    named = inside(fields.get("capabilities"))
    architecture = inside(fields.get("architecture"))
    read = texts(architecture.get("input_modalities"))
    written = texts(architecture.get("output_modalities"))
    taken = texts(fields.get("supported_parameters"))

    def first(said: object, known: frozenset[str] | None, word: str) -> bool | None:
        found = flag(said)
        return found if found is not None or known is None else word in known

    tools = named.get("tools", named.get("function_calling"))
    return Capabilities(
        vision=first(named.get("vision"), read, "image"),
        pdf=first(named.get("pdf"), read, "file"),
        tools=first(tools, taken, "tools"),
        thinking=first(named.get("thinking"), taken, "reasoning"),
        structured_output=first(named.get("structured_output"), taken, "structured_outputs"),
        embeddings=first(named.get("embeddings"), written, "embeddings"),
        audio=first(named.get("audio"), None if read is None else read | (written or frozenset()), "audio"),
    )


def _prices(pricing: Mapping[str, Any]) -> ModelPrices:
    found = {ours: _price(pricing.get(theirs)) for theirs, ours in _PRICES.items()}
    return ModelPrices(**found)


def _price(value: object) -> Decimal | None:
    """Return USD for a million tokens from USD for one."""
    if isinstance(value, float) or type(value) is int:
        value = str(value) if 0 <= value <= _MOST_USD else None
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return None
    price = Decimal(value)
    return price.scaleb(_MILLION) if price <= _MOST_USD else None


def _shown(model: ModelInfo) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": model.id,
        "object": "model",
        "created": model.created or 0,
        "owned_by": model.owned_by or model.provider,
    }
    beside = {
        "name": model.display_name,
        "context_length": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "pricing": _pricing(model.prices),
        "capabilities": msgspec.to_builtins(model.capabilities),
    }
    shown.update((name, value) for name, value in beside.items() if value)
    shown.update(extras_of(model.extras, NAME))
    return shown


def _pricing(prices: ModelPrices) -> dict[str, str]:
    found: dict[str, Decimal | None] = {theirs: getattr(prices, ours) for theirs, ours in _PRICES.items()}
    return {name: f"{value.scaleb(-_MILLION).normalize():f}" for name, value in found.items() if value is not None}
