"""The bytes that ask a provider: written from a request, or a client's own that need no change."""

from collections.abc import Mapping
from typing import Self

from rini.canon import Request
from rini.inference.target import Target
from rini.inference.translation import written
from rini.wire.codec import MalformedError

_NOTHING: Mapping[str, str] = {}


class Outgoing:
    """What a call sends. ``passes`` says that the client speaks the provider's format, so that the answer's bytes are the client's too.

    ``headers`` go beside the target's own; ``dropped`` names what was left out of the request because it does not change its meaning.
    """

    __slots__ = ("_body", "_request", "_target", "dropped", "headers", "model", "passes", "stream")

    def __init__(self, target: Target, model: str, *, stream: bool, headers: Mapping[str, str] = _NOTHING) -> None:
        self._target = target
        self._body: bytes | None = None
        self._request: Request | None = None
        self.model = model
        self.stream = stream
        self.passes = False
        self.dropped: tuple[str, ...] = ()
        self.headers = headers

    @classmethod
    def of(cls, target: Target, request: Request) -> Self:
        """Return ``request``, to be written in the target's format."""
        outgoing = cls(target, request.model, stream=request.stream)
        outgoing._request = request
        return outgoing

    @classmethod
    def passed(cls, target: Target, model: str, body: bytes, *, stream: bool, headers: Mapping[str, str]) -> Self:
        """Return a client's own bytes."""
        outgoing = cls(target, model, stream=stream, headers=headers)
        outgoing._body = body
        outgoing.passes = True
        return outgoing

    @property
    def wire(self) -> str:
        """The name of the bytes' format."""
        return self._target.codec.name

    @property
    def path(self) -> str:
        """The path and query below the provider's base address."""
        return self._target.codec.path(self.model, stream=self.stream)

    @property
    def body(self) -> bytes:
        """The bytes, written when they are first wanted. Raises what ``write`` does."""
        return self.write()

    def write(self) -> bytes:
        """Write the bytes, if they are not written yet, and return them.

        Raises UnsupportedParameterError for what the format has no equivalent of, InvalidRequestError for what cannot be written as JSON.
        """
        if self._body is None:
            encoded = written(self._target, self._target.codec.encode_request, self.request)
            self._body = encoded.body
            self.dropped += encoded.dropped
        return self._body

    @property
    def request(self) -> Request:
        """What is asked, in canon. A client's own bytes are read when this is first wanted; those that make no sense ask nothing."""
        if self._request is None:
            try:
                self._request = self._target.codec.decode_request(self.body, model=self.model, stream=self.stream)
            except MalformedError:
                self._request = Request(model=self.model, messages=(), stream=self.stream)
        return self._request
