"""Which system texts are stored already, as far as this process knows: so that a turn need not ask for them."""

from collections import OrderedDict
from collections.abc import Container

REMEMBERED_USERS = 2000
REMEMBERED_OF_A_USER = 32

_NONE: frozenset[str] = frozenset()


class KnownTexts:
    """The digests of texts that were stored lately. One for each process."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, frozenset[str]] = OrderedDict()

    def of(self, user_id: int) -> Container[str]:
        """Return the digests of the user's texts."""
        return self._known.get(user_id, _NONE)

    def add(self, user_id: int, digest: str | None) -> None:
        """Note that a text is stored, and committed."""
        known = self._known.pop(user_id, _NONE)
        if digest is not None and digest not in known:
            known = frozenset((digest,)) if len(known) == REMEMBERED_OF_A_USER else known | {digest}
        if known:
            self._known[user_id] = known
            if len(self._known) > REMEMBERED_USERS:
                self._known.popitem(last=False)
