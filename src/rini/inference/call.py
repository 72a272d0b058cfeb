"""One call of a provider, whole or streamed: canon in, canon out, errors of this project's own tree.

Nothing here knows of users, sessions or the ledger.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar

from rini.canon import Event, Reply
from rini.errors import ProviderError, RiniError
from rini.inference.outgoing import Outgoing
from rini.inference.retry import repeated
from rini.inference.target import Target
from rini.kit.http import Response, StreamedResponse, Transport, TransportError
from rini.providers.failures import failure_error, malformed_error, redirect_error, transport_error, without_key
from rini.wire.codec import MalformedError, StreamDecoder

T = TypeVar("T")

LARGEST_ERROR_BYTES = 1024 * 1024

_NOTHING: Mapping[str, str] = {}
_SHOULD_RETRY = {"true": True, "false": False}


async def complete(transport: Transport, target: Target, outgoing: Outgoing) -> tuple[Reply, Response]:
    """Return the whole answer, read and as it came. Raises RiniError; when the caller is cancelled, so is the provider's call.

    Of an answer that is passed on the Reply has what the ledger needs, or nothing where it cannot be read: it is not refused for that.
    """
    response = await post(transport, target, outgoing.path, outgoing.body, outgoing.model, outgoing.headers)
    try:
        if outgoing.passes:
            return target.codec.decode_outline(response.body), response
        return target.codec.decode_reply(response.body), response
    except MalformedError as error:
        if outgoing.passes:
            return Reply(), response
        raise malformed_error(str(error), target.provider) from error


async def post(
    transport: Transport, target: Target, path: str, body: bytes, model: str, headers: Mapping[str, str] = _NOTHING
) -> Response:
    """Return the provider's good answer to ``body``, repeated where it did not begin to answer (see ``retry``). Raises RiniError."""

    async def attempt(target: Target) -> Response:
        sent = {**target.headers, **headers} if headers else target.headers
        try:
            response = await transport.post(target.base_url + path, sent, body, trusted=target.trusted)
        except TransportError as error:
            raise transport_error(error, target.provider) from error
        if not 200 <= response.status < 300:
            raise _refusal(target, model, response.status, response.headers, response.body)
        return response

    return await _persistently(attempt, target, model)


class Stream:
    """A streamed answer. Leaving the context, or being cancelled, ends the provider's call at once.

    ``headers`` are the answer's. What is passed on is read beside: where it cannot be read any more, it is passed on unread.
    """

    def __init__(self, transport: Transport, target: Target, outgoing: Outgoing) -> None:
        self.headers: Mapping[str, str] = _NOTHING
        self._transport = transport
        self._target = target
        self._outgoing = outgoing
        self._response: StreamedResponse | None = None
        self._decoder: StreamDecoder | None = target.codec.stream_decoder()

    async def __aenter__(self) -> Self:
        """Begin the call. Raises RiniError when the provider does not begin to answer."""
        self._response = await _post_stream(self._transport, self._target, self._outgoing)
        self.headers = self._response.headers
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the call."""
        if self._response is not None:
            await self._response.close()

    async def read(self) -> tuple[bytes, list[Event]] | None:
        """Return the next bytes and the events (maybe none) that they complete, or ``None`` at the end. Raises RiniError."""
        assert self._response is not None
        try:
            data = await self._response.read()
        except TransportError as error:
            raise transport_error(error, self._target.provider) from error
        if data is None:
            return None
        if self._decoder is None:
            return data, []
        try:
            return data, self._decoder.feed(data)
        except MalformedError as error:
            if self._outgoing.passes:
                self._decoder = None
                return data, []
            raise malformed_error(str(error), self._target.provider) from error

    def close_decoder(self) -> list[Event]:
        """Return what the end of the stream completes. Raises RiniError when the answer was not finished."""
        if self._decoder is None:
            return []
        try:
            return self._decoder.close()
        except MalformedError as error:
            raise malformed_error(str(error), self._target.provider) from error


async def _post_stream(transport: Transport, target: Target, outgoing: Outgoing) -> StreamedResponse:
    async def attempt(target: Target) -> StreamedResponse:
        headers = {**target.headers, **outgoing.headers} if outgoing.headers else target.headers
        try:
            response = await transport.post_stream(
                target.base_url + outgoing.path, headers, outgoing.body, trusted=target.trusted
            )
            if 200 <= response.status < 300:
                return response
            async with response:
                content = await _read_some(response)
        except TransportError as error:
            raise transport_error(error, target.provider) from error
        raise _refusal(target, outgoing.model, response.status, response.headers, content)

    return await _persistently(attempt, target, outgoing.model)


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


def _refusal(target: Target, model: str, status: int, headers: Mapping[str, str], body: bytes) -> RiniError:
    if 300 <= status < 400:
        return redirect_error(status, target.provider)
    failure = target.codec.decode_failure(status, headers, body)
    error = failure_error(failure, target.provider, model, target.key)
    error.retry_after = failure.retry_after
    error.should_retry = _SHOULD_RETRY.get(headers.get("x-should-retry", ""))
    error.answer = (status, headers, without_key(target.key, body))
    return error


async def _read_some(response: StreamedResponse) -> bytes:
    found = bytearray()
    while len(found) < LARGEST_ERROR_BYTES and (data := await response.read()) is not None:
        found += data
    return bytes(found)
