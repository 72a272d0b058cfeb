"""How much a model reads at once."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from rini.providers.local import CONTEXT_TOKENS
from rini.providers.windows import Window, known_window
from rini.settings import ContextWindow
from rini.usage.prices import LISTED, MAX_MODEL_LENGTH

REMEMBERED_MODELS = 4096

REMEMBERED_LISTS = 1000

REFUSAL_COUNTS_SECONDS = 3600.0
"""How long the context that a refusal told is believed: a server may be started again with a larger one."""


class _Listed(msgspec.Struct, frozen=True):
    """What the server behind a key listed last: the context of each model in tokens."""

    key_id: int | None
    tokens: Mapping[str, int]


class Windows:
    """The contexts of models, as far as this process knows them; they are learnt as it goes. Safe to share between threads.

    The operator's word (``given``) goes before all others. Then the model's name tells, and of servers of the user's own, whose names tell
    nothing, what they listed last. What a refusal told counts for an hour where it is less.
    """

    def __init__(self, given: Iterable[ContextWindow] = ()) -> None:
        given = tuple(given)
        self._exact = {(each.provider, each.model): each.tokens for each in given if not each.model.endswith("*")}
        prefixes = [(each.provider, each.model[:-1], each.tokens) for each in given if each.model.endswith("*")]
        self._prefixes = sorted(prefixes, key=lambda each: len(each[1]), reverse=True)
        self._listed: OrderedDict[tuple[int, str], _Listed] = OrderedDict()
        self._refused: OrderedDict[tuple[int | None, str, str], tuple[int, float]] = OrderedDict()

    def given(self, provider: str, model: str) -> int | None:
        """Return the tokens that the operator says of a provider's model."""
        if (exact := self._exact.get((provider, model))) is not None:
            return exact
        return next((most for of, begins, most in self._prefixes if of == provider and model.startswith(begins)), None)

    def of(self, user_id: int, provider: str, model: str, key_id: int | None = None) -> Window | None:
        """Return the context of a model as ``user_id`` calls it; None: not known. Without ``key_id`` by the key that was listed with last."""
        if (tokens := self.given(provider, model)) is not None:
            return Window(tokens)
        window = window_of(provider, model)
        listed = None if window is not None else self._listed.get((user_id, provider))
        if listed is not None:
            key_id = listed.key_id if key_id is None else key_id
            tokens = listed.tokens.get(model) if listed.key_id == key_id else None
            window = None if tokens is None else Window(tokens)
        told, until = self._refused.get((key_id, provider, model), (0, 0.0))
        if time.monotonic() < until and (window is None or told < window.tokens):
            return Window(told) if window is None else msgspec.structs.replace(window, tokens=told)
        return window

    def listed(self, user_id: int, provider: str, key_id: int | None, tokens: Mapping[str, int]) -> None:
        """Note what the server behind a user's key lists: the context of each model in tokens."""
        self._listed[user_id, provider] = _Listed(key_id, tokens)
        self._listed.move_to_end((user_id, provider))
        while len(self._listed) > REMEMBERED_LISTS:
            self._listed.popitem(last=False)

    def refused(self, provider: str, model: str, key_id: int | None, tokens: int) -> None:
        """Note the context that a refusal of too long a request told."""
        self._refused[key_id, provider, model] = (tokens, time.monotonic() + REFUSAL_COUNTS_SECONDS)
        self._refused.move_to_end((key_id, provider, model))
        while len(self._refused) > REMEMBERED_MODELS:
            self._refused.popitem(last=False)


@lru_cache(REMEMBERED_MODELS)
def window_of(provider: str, model: str) -> Window | None:
    """Return what a model's name tells of its context; None: nothing, as of every server of the user's own."""
    if provider == "local":
        return Window(CONTEXT_TOKENS)
    found = known_window(provider, model)
    if found is not None or provider not in LISTED or len(model) > MAX_MODEL_LENGTH:
        return found
    # Late: the lists take 70 ms and 7 MB, which only those need who ask (see Prices.load).
    from rini.usage.list_prices import find_model  # noqa: PLC0415

    listed = find_model(provider, model)
    return None if listed is None or listed.context_tokens is None else Window(listed.context_tokens)
