"""One call of a provider, whole or streamed: canon in, canon out, errors of this project's own tree.

Nothing here knows of users, sessions or the ledger.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar

from rini.canon import Event, Reply, Request
from rini.errors import InvalidRequestError, ProviderError, RiniError, UnsupportedParameterError
from rini.inference.retry import repeated
from rini.inference.target import Target
from rini.kit.http import Response, StreamedResponse, Transport, TransportError
from rini.providers.failures import failure_error, malformed_error, redirect_error, transport_error
from rini.wire.codec import MalformedError, StreamDecoder, UnsupportedError

T = TypeVar("T")

LARGEST_ERROR_BYTES = 1024 * 1024

_SHOULD_RETRY = {"true": True, "false": False}


async def complete(transport: Transport, target: Target, request: Request) -> Reply:
    """Return the whole answer to ``request``. Raises RiniError; when the caller is cancelled, so is the provider's call."""
    path = target.provider.codec.path(request.model, stream=False)
    response = await post(transport, target, path, encode(target, request), request.model)
    try:
        return target.provider.codec.decode_reply(response.body)
    except MalformedError as error:
        raise malformed_error(str(error), target.provider) from error


async def post(transport: Transport, target: Target, path: str, body: bytes, model: str) -> Response:
    """Return the provider's good answer to ``body``, repeated where it did not begin to answer (see ``retry``). Raises RiniError."""

    async def attempt(target: Target) -> Response:
        try:
            response = await transport.post(target.base_url + path, target.headers, body, trusted=target.trusted)
        except TransportError as error:
            raise transport_error(error, target.provider) from error
        if not 200 <= response.status < 300:
            raise _refusal(target, model, response.status, response.headers, response.body)
        return response

    return await _persistently(attempt, target, model)


class Stream:
    """A streamed answer. Leaving the context, or being cancelled, ends the provider's call at once."""

    def __init__(self, transport: Transport, target: Target, request: Request) -> None:
        self._transport = transport
        self._target = target
        self._request = request
        self._response: StreamedResponse | None = None
        self._decoder: StreamDecoder = target.provider.codec.stream_decoder()

    async def __aenter__(self) -> Self:
        """Begin the call. Raises RiniError when the provider does not begin to answer."""
        target, request = self._target, self._request
        path = target.provider.codec.path(request.model, stream=True)
        self._response = await _post_stream(self._transport, target, path, encode(target, request), request.model)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the call."""
        if self._response is not None:
            await self._response.close()

    async def read(self) -> list[Event] | None:
        """Return the next events (maybe none), or ``None`` at the end. Raises RiniError."""
        assert self._response is not None
        try:
            data = await self._response.read()
            return self._decoder.feed(data) if data is not None else None
        except TransportError as error:
            raise transport_error(error, self._target.provider) from error
        except MalformedError as error:
            raise malformed_error(str(error), self._target.provider) from error

    def close_decoder(self) -> list[Event]:
        """Return what the end of the stream completes. Raises RiniError when the answer was not finished."""
        try:
            return self._decoder.close()
        except MalformedError as error:
            raise malformed_error(str(error), self._target.provider) from error


async def _post_stream(transport: Transport, target: Target, path: str, body: bytes, model: str) -> StreamedResponse:
    async def attempt(target: Target) -> StreamedResponse:
        try:
            response = await transport.post_stream(target.base_url + path, target.headers, body, trusted=target.trusted)
            if 200 <= response.status < 300:
                return response
            async with response:
                content = await _read_some(response)
        except TransportError as error:
            raise transport_error(error, target.provider) from error
        raise _refusal(target, model, response.status, response.headers, content)

    return await _persistently(attempt, target, model)


async def _persistently(attempt: Callable[[Target], Awaitable[T]], target: Target, model: str) -> T:
    """Make a call of ``target``, again where that may help, and bring it back to life where that is what it needs."""

    async def revived() -> T:
        try:
            return await attempt(target)
        except ProviderError as error:
            if target.revive is None or not _is_dead(error):
                raise
            return await attempt(await target.revive())

    return await repeated(revived, retries=target.retries, provider=target.provider.name, model=model)


def _is_dead(error: ProviderError) -> bool:
    way = error.__cause__
    return isinstance(way, TransportError) and not way.timeout and way.phase in ("connect", "send", "first_byte")


def encode(target: Target, request: Request) -> bytes:
    """Return the provider's body.

    Raises UnsupportedParameterError for what it has no equivalent of, InvalidRequestError for what cannot be written as JSON.
    """
    try:
        return target.provider.codec.encode_request(request).body
    except UnsupportedError as error:
        raise UnsupportedParameterError(str(error), parameter=error.field, provider=target.provider.name) from error
    except (MalformedError, RecursionError) as error:
        # Read a moment ago, it is now a few levels deeper.
        raise InvalidRequestError("The request is nested too deeply to be written as JSON.") from error


def _refusal(target: Target, model: str, status: int, headers: Mapping[str, str], body: bytes) -> RiniError:
    if 300 <= status < 400:
        return redirect_error(status, target.provider)
    failure = target.provider.codec.decode_failure(status, headers, body)
    error = failure_error(failure, target.provider, model, target.key)
    error.retry_after = failure.retry_after
    error.should_retry = _SHOULD_RETRY.get(headers.get("x-should-retry", ""))
    return error


async def _read_some(response: StreamedResponse) -> bytes:
    found = bytearray()
    while len(found) < LARGEST_ERROR_BYTES and (data := await response.read()) is not None:
        found += data
    return bytes(found)
