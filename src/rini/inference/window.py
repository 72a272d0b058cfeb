"""How much a model reads at once."""

from functools import lru_cache

from rini.providers.local import CONTEXT_TOKENS
from rini.providers.windows import Window, known_window
from rini.usage.prices import LISTED, MAX_MODEL_LENGTH

REMEMBERED_MODELS = 4096


@lru_cache(REMEMBERED_MODELS)
def window_of(provider: str, model: str) -> Window | None:
    """Return the context of a provider's model; None: not known, as of every server of the user's own."""
    if provider == "local":
        return Window(CONTEXT_TOKENS)
    found = known_window(provider, model)
    if found is not None or provider not in LISTED or len(model) > MAX_MODEL_LENGTH:
        return found
    # Late: the lists take 70 ms and 7 MB, which only those need who ask (see Prices.load).
    from rini.usage.list_prices import find_model  # noqa: PLC0415

    listed = find_model(provider, model)
    return None if listed is None or listed.context_tokens is None else Window(listed.context_tokens)
