"""How much a call's model reads at once."""

from functools import lru_cache

from rini.inference.target import Target
from rini.providers.windows import Window, known_window
from rini.usage.prices import LISTED, MAX_MODEL_LENGTH

REMEMBERED_MODELS = 4096


def window_of(target: Target, model: str) -> Window | None:
    """Return the context of the target's model; None: not known, as of every server of the user's own."""
    if target.context_tokens is not None:
        return Window(target.context_tokens)
    return _window(target.provider.name, model)


@lru_cache(REMEMBERED_MODELS)
def _window(provider: str, model: str) -> Window | None:
    found = known_window(provider, model)
    if found is not None or provider not in LISTED or len(model) > MAX_MODEL_LENGTH:
        return found
    # Late: the lists take 70 ms and 7 MB, which only those need who ask (see Prices.load).
    from rini.usage.list_prices import find_model  # noqa: PLC0415

    listed = find_model(provider, model)
    return None if listed is None or listed.context_tokens is None else Window(listed.context_tokens)
