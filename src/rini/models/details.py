"""What is known of a model from elsewhere than its provider's list: prices, context, capabilities, and the models in the box."""

from decimal import Decimal

import msgspec

from rini.canon import Capabilities, ModelInfo, ModelPrices
from rini.inference.window import Windows
from rini.providers.capabilities import known_of
from rini.providers.local import EMBEDDING_MODEL_ID, LocalEmbedder, LocalModel
from rini.providers.local.embedder import MOST_TOKENS
from rini.usage.prices import LISTED, Prices
from rini.usage.rates import Rates

_FREE = ModelPrices(Decimal(0), Decimal(0), Decimal(0))
_MILLION = 6

# Whether it calls tools its chat template decides, which is read when it starts.
_BOXED = Capabilities(vision=False, pdf=False, thinking=False, structured_output=True, embeddings=False, audio=False)


def described(model: ModelInfo, prices: Prices, windows: Windows) -> ModelInfo:
    """Return a provider's model under its name here, ``provider/model``, with all that is known of it.

    What the provider says counts first; but prices are the operator's or the price lists' before they are its own, and the context the
    operator's.
    """
    name, provider = model.id, model.provider
    known = known_of(provider, name)
    rates = prices.rates(provider, name)
    label, context = _listed(provider, name)
    return msgspec.structs.replace(
        model,
        id=f"{provider}/{name}",
        display_name=model.display_name or label,
        context_tokens=windows.given(provider, name) or model.context_tokens or context,
        max_output_tokens=model.max_output_tokens or known.max_output_tokens,
        capabilities=_both(model.capabilities, known.capabilities),
        prices=model.prices if rates is None else _a_million(rates),
    )


def boxed_models(model: LocalModel, embedder: LocalEmbedder) -> tuple[ModelInfo, ...]:
    """Return the models in the box, as far as they are installed."""
    found: list[ModelInfo] = []
    if model.installed:
        found.append(
            ModelInfo(
                id=f"local/{model.model_id}",
                provider="local",
                context_tokens=model.context_tokens,
                max_output_tokens=model.context_tokens,
                capabilities=_BOXED,
                prices=_FREE,
            )
        )
    if embedder.installed:
        nothing_else = dict.fromkeys(Capabilities.__struct_fields__, False)
        found.append(
            ModelInfo(
                id=f"local/{EMBEDDING_MODEL_ID}",
                provider="local",
                context_tokens=MOST_TOKENS,
                capabilities=Capabilities(**(nothing_else | {"embeddings": True})),
                prices=_FREE,
            )
        )
    return tuple(found)


def _both(said: Capabilities, known: Capabilities) -> Capabilities:
    """Return what is said, and what is known where nothing is said."""
    names = Capabilities.__struct_fields__
    return Capabilities(**{name: _first(getattr(said, name), getattr(known, name)) for name in names})


def _first(said: bool | None, known: bool | None) -> bool | None:  # noqa: FBT001  # two answers to one question
    return known if said is None else said


def _listed(provider: str, model: str) -> tuple[str | None, int | None]:
    """Return the name for people and the context that the price list has of a model."""
    if provider not in LISTED:
        return None, None
    # Late: the lists take 70 ms and 7 MB, which only those need who ask (see Prices.load).
    from rini.usage.list_prices import find_model  # noqa: PLC0415

    found = find_model(provider, model)
    return (found.label, found.context_tokens) if found is not None else (None, None)


def _a_million(rates: Rates) -> ModelPrices:
    _, usual = rates.steps[-1]
    return ModelPrices(
        input=_scaled(usual.get("input")),
        output=_scaled(usual.get("output")),
        cache_read=_scaled(usual.get("cache_read")),
    )


def _scaled(price: Decimal | None) -> Decimal | None:
    return None if price is None else price.scaleb(_MILLION)
