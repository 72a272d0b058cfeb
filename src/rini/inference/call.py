"""One call of a provider, whole or streamed: canon in, canon out, errors of this project's own tree.

Nothing here knows of users, sessions or the ledger.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rini.canon import Event, Reply, Request
from rini.errors import InvalidRequestError, ProviderError, RiniError, UnsupportedParameterError
from rini.inference.target import Target
from rini.kit.http import Response, StreamedResponse, Transport, TransportError
from rini.providers.failures import failure_error, malformed_error, redirect_error, transport_error
from rini.wire.codec import MalformedError, StreamDecoder, UnsupportedError

LARGEST_ERROR_BYTES = 1024 * 1024


async def complete(transport: Transport, target: Target, request: Request) -> Reply:
    """Return the whole answer to ``request``. Raises RiniError; when the caller is cancelled, so is the provider's call."""
    try:
        response = await _post(transport, target, request)
    except ProviderError as error:
        response = await _post(transport, await _revived(target, error), request)
    if not 200 <= response.status < 300:
        raise _refusal(target, request.model, response.status, response.headers, response.body)
    try:
        return target.provider.codec.decode_reply(response.body)
    except MalformedError as error:
        raise malformed_error(str(error), target.provider) from error


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
        try:
            response = await _post_stream(self._transport, target, request)
        except ProviderError as error:
            response = await _post_stream(self._transport, await _revived(target, error), request)
        if not 200 <= response.status < 300:
            try:
                content = await _read_some(response)
            except TransportError as error:
                raise transport_error(error, target.provider) from error
            finally:
                await response.close()
            raise _refusal(target, request.model, response.status, response.headers, content)
        self._response = response
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


async def _revived(target: Target, error: ProviderError) -> Target:
    """Return the target brought back to life. Raises ``error`` where that cannot be done, or where it is not what is wrong."""
    way = error.__cause__
    dead = isinstance(way, TransportError) and not way.timeout and way.phase in ("connect", "send", "first_byte")
    if target.revive is None or not dead:
        raise error
    return await target.revive()


async def _post(transport: Transport, target: Target, request: Request) -> Response:
    url = target.base_url + target.provider.codec.path(request.model, stream=False)
    body = encode(target, request)
    try:
        return await transport.post(url, target.headers, body, trusted=target.trusted)
    except TransportError as error:
        raise transport_error(error, target.provider) from error


async def _post_stream(transport: Transport, target: Target, request: Request) -> StreamedResponse:
    url = target.base_url + target.provider.codec.path(request.model, stream=True)
    body = encode(target, request)
    try:
        return await transport.post_stream(url, target.headers, body, trusted=target.trusted)
    except TransportError as error:
        raise transport_error(error, target.provider) from error


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
    return failure_error(failure, target.provider, model, target.key)


async def _read_some(response: StreamedResponse) -> bytes:
    found = bytearray()
    while len(found) < LARGEST_ERROR_BYTES and (data := await response.read()) is not None:
        found += data
    return bytes(found)
