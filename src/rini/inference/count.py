"""How many tokens a request has for a model: asked of the provider, or of the model in the box; estimated where nobody can be asked.

Providers count for nothing, so this writes no row in the ledger.
"""

from collections.abc import Mapping

import msgspec

from rini.inference.call import post
from rini.inference.estimate import request_tokens
from rini.inference.target import Router
from rini.inference.translation import read, written
from rini.kit.http import Response, Transport
from rini.providers.failures import malformed_error
from rini.wire.codec import MalformedError
from rini.wire.token_counts import TokenCountCodec


class CountAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What a user wants counted, for which model. ``body`` is the client's own, in the form of ``counts``.

    ``passes`` is that body as a provider of the same form gets it, and ``headers`` what goes with it.
    """

    user_id: int
    provider: str
    model: str
    counts: TokenCountCodec
    body: bytes
    passes: bytes
    headers: Mapping[str, str]


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens; or the provider's own ``answer``, where the client speaks its form.

    ``dropped`` names what was left out of the request because it does not change its meaning.
    """

    tokens: int = 0
    estimated: bool = False
    dropped: tuple[str, ...] = ()
    answer: Response | None = None


class Counting:
    """Counts. One for each process."""

    def __init__(self, router: Router, transport: Transport) -> None:
        self._router = router
        self._transport = transport

    async def count(self, ask: CountAsk) -> Counted:
        """Return how many tokens the request has. Raises RiniError."""
        target = await self._router.target(ask.user_id, ask.provider, ask.model, wire=ask.counts.name)
        counts = target.provider.counts
        if counts is not None and counts.name == ask.counts.name:
            path = counts.path(ask.model)
            response = await post(self._transport, target, path, ask.passes, ask.model, ask.headers)
            return Counted(answer=response)
        request = msgspec.structs.replace(
            read(target, ask.model, lambda: ask.counts.decode_request(ask.body, model=ask.model)), model=ask.model
        )
        if counts is None:
            return Counted(tokens=request_tokens(request), estimated=True)
        encoded = written(target, counts.encode_request, request)
        response = await post(self._transport, target, counts.path(ask.model), encoded.body, ask.model)
        try:
            tokens = counts.decode_reply(response.body)
        except MalformedError as error:
            raise malformed_error(str(error), target.provider) from error
        return Counted(tokens=tokens, dropped=encoded.dropped)
