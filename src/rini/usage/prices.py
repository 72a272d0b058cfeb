"""What a call costs in USD, exactly: the operator's own prices first, then the providers' lists."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec

from rini import canon
from rini.usage.price_file import NO_OVERRIDES, Overrides
from rini.usage.rates import Rates, TokenClass, UnpriceableError

if TYPE_CHECKING:
    from rini.usage.list_prices import ListModel

REMEMBERED_MODELS = 4096
"""How many models' rates a process keeps: clients can name anything."""

MAX_MODEL_LENGTH = 256

LISTED = frozenset({"openai", "anthropic", "google"})
"""The providers whose list prices are known."""


class Price(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one call costs.

    ``total`` is USD; ``None`` means that it is not known, and ``unpriced`` says in a sentence why: never take that for zero.
    ``classes`` splits the total, each token in one class (so they add up to it); classes without tokens are left out.
    ``source`` says whose price it is and ``model`` under which name it was found.
    """

    total: Decimal | None
    classes: Mapping[TokenClass, Decimal] = {}
    source: Literal["list", "override", "local"] | None = None
    model: str | None = None
    unpriced: str | None = None


class Prices:
    """All prices that this process knows. Safe to share between threads; nothing is ever fetched."""

    def __init__(self, overrides: Overrides = NO_OVERRIDES) -> None:
        self._overrides = overrides
        self._find = lru_cache(REMEMBERED_MODELS)(_find)

    def load(self) -> None:
        """Load the lists now (70 ms, 7 MB, blocking), so that the first call need not: for a thread at start."""
        self._find("openai", "gpt-4o", None, date(2026, 1, 1))

    def price(
        self, provider: str, model: str, usage: canon.Usage, *, at: datetime | None = None, tier: str | None = None
    ) -> Price:
        """Return what ``usage`` of ``model`` costs; never raises.

        ``model`` is the provider's own name, dated or not. ``at`` (aware, default now) decides where prices changed.
        ``tier`` is the provider's word for how it served the call (default, flex, priority, batch, fast), if it said so.
        """
        model = model.removeprefix("models/")
        source: Literal["list", "override"] = "override"
        rates = self._overrides.find(provider, model)
        if rates is None:
            if provider == "local":
                return _LOCAL
            if provider not in LISTED:
                return _unpriced(f"{provider} has no list of prices, and there is no price of the operator's.")
            if len(model) > MAX_MODEL_LENGTH:
                return _unpriced("No model has so long a name.")
            source = "list"
            rates = self._listed(provider, model, at, tier)
            if rates is None:
                return _unpriced(f"There is no price for {model!r} of {provider}.")
        if usage.input_tokens is None and usage.output_tokens is None:
            return _unpriced("The provider did not report its tokens.")
        try:
            classes = rates.cost(usage)
        except UnpriceableError as error:
            return _unpriced(str(error))
        return Price(sum(classes.values(), _ZERO), classes, source, rates.model)

    def rates(self, provider: str, model: str) -> Rates | None:
        """Return today's rates of ``model`` at the usual tier: the operator's, else the list's; ``None`` where there are none."""
        model = model.removeprefix("models/")
        found = self._overrides.find(provider, model)
        if found is None and provider in LISTED and len(model) <= MAX_MODEL_LENGTH:
            found = self._listed(provider, model, None, None)
        return found

    def _listed(self, provider: str, model: str, at: datetime | None, tier: str | None) -> Rates | None:
        moment = at.astimezone(UTC) if at else datetime.now(UTC)
        found = self._find(provider, model, tier, moment.date())
        return found if found is None or isinstance(found, Rates) else found.rates(moment, tier)


def _find(provider: str, model: str, tier: str | None, day: date) -> "Rates | ListModel | None":
    """Return the rates of that day; the model itself where they change within the day."""
    # Late: the lists take 70 ms and 7 MB that only a process which prices calls should pay (see Prices.load).
    from rini.usage.list_prices import find_model  # noqa: PLC0415

    found = find_model(provider, model)
    return found if found is None or found.hourly else found.rates(day, tier)


def _unpriced(why: str) -> Price:
    return Price(None, unpriced=why)


_ZERO = Decimal(0)
_LOCAL = Price(_ZERO, source="local")
