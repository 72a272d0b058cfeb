"""The layer in front of all endpoints that does a POST with the same ``Idempotency-Key`` once."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from sqlalchemy import exc
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.credentials import current_caller
from rini.api.idempotency import keys
from rini.api.idempotency.keys import Found, Headers, Kept, Key
from rini.api.idempotency.request import ReadRequest, are_same
from rini.api.lean import ClientLeftError, while_connected
from rini.api.routes import Answering
from rini.db import Database
from rini.errors import (
    BodyTooLargeError,
    IdempotencyAnswerNotKeptError,
    IdempotencyInterruptedError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    NotAuthenticatedError,
    RiniError,
    ShuttingDownError,
    StorageUnavailableError,
    TooManyRequestsError,
)
from rini.kit import lasting
from rini.kit.draining import process as draining
from rini.telemetry.logs import get_logger

LONGEST_KEY = 255
LARGEST_KEPT_BYTES = 16 * 1024 * 1024
"""A longer answer is not kept; its request is done once all the same."""

PACKED_IN_THREAD_BYTES = 64 * 1024
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
"""How often it is looked whether another process has answered."""

SECRET = frozenset({"/users", "/users/me/tokens"})
"""Whose answers hold what is stored nowhere in the clear."""

REPLAYED = (b"idempotent-replayed", b"true")
_NAME = b"idempotency-key"
# Of the connection, not of the answer.
_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"date"})
_log = get_logger(__name__)


class _Replay(NamedTuple):
    """What logs and metrics call an answer that is given again."""

    path_format: str = "replayed"


class _Claim(NamedTuple):
    """A request with a key that this process is at."""

    request: ReadRequest
    over: asyncio.Event


class Idempotency:
    """Passes on what has no key. One for each process; ``worker_id`` is its name in the table of workers."""

    def __init__(self, app: Answering, database: Database, access: Access, worker_id: str) -> None:
        self._app = app
        self._database = database
        self._access = access
        self._worker_id = worker_id
        self._claims: dict[Key, _Claim] = {}

    def render(self, scope: Scope, error: RiniError) -> ASGIApp:
        """Return the answer that tells of an error, in the form of the endpoint that is asked."""
        return self._app.render(scope, error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for name, value in scope["headers"]:
                if name == _NAME:
                    await self._with_key(value, scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _with_key(self, value: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            caller = await current_caller(scope, self._access)
        except RiniError:
            await self._app(scope, receive, send)  # it says so in its own way
            return
        try:
            if not 0 < len(value) <= LONGEST_KEY or not all(0x20 <= byte < 0x7F for byte in value):
                raise InvalidRequestError(f"Idempotency-Key: 1 to {LONGEST_KEY} printable ASCII characters are needed.")
            request = await ReadRequest.read(scope, receive)
            answer = await self._once(Key.of(caller.user_id, value), request, scope, receive, send)
        except ClientLeftError:
            return
        except RiniError as error:
            await self.render(scope, error)(scope, receive, send)
        except HTTPException as error:  # the gate's, for a body that turns out too large on the way
            if error.status_code != BodyTooLargeError.status:
                raise
            await self.render(scope, BodyTooLargeError(str(error.detail)))(scope, receive, send)
        else:
            if answer is not None:
                await _replay(answer, scope, send)

    async def _once(self, key: Key, request: ReadRequest, scope: Scope, receive: Receive, send: Send) -> Kept | None:
        """Have the request answered, or return the answer that it had before.

        Raises ClientLeftError while it waits for that, and RiniError.
        """
        while True:
            if (running := self._claims.get(key)) is not None:
                await _check(running.request.fingerprint, request)
                if not running.request.is_read:
                    # Its client may be gone without a word, and this one be the same: then its body is the one that counts.
                    await _any_of(running.request.has_come, running.over)
                    continue
                # A client is not kept waiting in the middle of its body: it would be taken for one that is silent.
                await request.read_rest()
                await self._while_connected(receive, running.over.wait)
                continue
            claim = self._claims[key] = _Claim(request, asyncio.Event())
            try:
                if (found := await self._begun(key, request, scope)) is None:
                    await self._first(key, request, scope, send)
                    return None
            finally:
                del self._claims[key]
                claim.over.set()
            await request.read_rest()
            await _check(found.fingerprint, request)
            found = await self._while_connected(receive, lambda found=found: self._over(key, found))
            if found is not None:
                await _check(found.fingerprint, request)
                return _answer_in(found)

    async def _begun(self, key: Key, request: ReadRequest, scope: Scope) -> Found | None:
        """Take the key; where it is taken, return by what. Raises TooManyRequestsError where it became free too late, NotAuthenticatedError."""
        if request.is_gone:
            found = await self._database.read(keys.find, key)
            if found is None:
                raise TooManyRequestsError(
                    "The first request with this Idempotency-Key failed; send this one again.", retry_after=1
                )
            return found
        request_id: str | None = scope.get("rini.request_id")
        try:
            return await self._database.write(keys.begin, key, request.fingerprint, self._worker_id, request_id)
        except exc.IntegrityError:
            raise NotAuthenticatedError("The access token's user does not exist any more.") from None

    async def _over(self, key: Key, found: Found | None) -> Found | None:
        """Return how a request that has the key ended, once it has; None when the key became free."""
        pause = FIRST_PAUSE_SECONDS
        # A request of this process that is not among its claims is one whose end could not be stored.
        while found is not None and found.is_running and found.worker_id != self._worker_id:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            found = await self._database.read(keys.find, key)
        return found

    async def _first(self, key: Key, request: ReadRequest, scope: Scope, send: Send) -> None:
        recorder = _Recorder(send, 0 if scope["path"].rstrip("/") in SECRET else LARGEST_KEPT_BYTES)
        with lasting.watched() as watch:
            try:
                await self._app(scope, request.receive, recorder.send)
            except BaseException:
                # A client that left within its body sends it again: nothing was done with half of one.
                await self._stored(keys.leave if request.is_read or watch.done else keys.free, key)
                await recorder.send_held()
                raise
            if recorder.is_whole and (recorder.status < 400 or (watch.done and not draining.over)):
                await self._stored(keys.finish, key, request.fingerprint, await recorder.answer())
            elif watch.done or draining.over:
                await self._stored(keys.leave, key)
            else:
                # An error before anything was done, which may be another one, or none, next time.
                await self._stored(keys.free, key)
        await recorder.send_held()

    async def _stored(self, unit: Callable[..., None], key: Key, *answer: str | Kept) -> None:
        """Store the end of a request; what cannot be stored is told as interrupted to whoever repeats it."""
        try:
            await self._database.write(unit, key, self._worker_id, *answer)
        except StorageUnavailableError as error:
            _log.warning("idempotent_answer_not_kept", user_id=key.user_id, reason=error.detail)

    async def _while_connected(self, receive: Receive, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await while_connected(receive, work)
        except asyncio.CancelledError:
            if draining.over:
                raise ShuttingDownError from None
            raise


class _Recorder:
    """Passes an answer on and keeps it, but for its last piece, which is held until it is known what becomes of the key.

    A client that is gone is no reason to end.
    """

    def __init__(self, send: Send, most: int) -> None:
        self.status = 0
        self._send = send
        self._most = most
        self._is_gone = False
        self._headers: Headers = []
        self._body: bytearray | None = bytearray()
        self._held: MutableMapping[str, Any] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the answer came to its end."""
        return self._held is not None

    async def answer(self) -> Kept:
        """Return the answer as it is kept."""
        if self._body is not None and len(self._body) > PACKED_IN_THREAD_BYTES:
            return await asyncio.to_thread(Kept.of, self.status, self._headers, self._body)
        return Kept.of(self.status, self._headers, self._body)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a piece of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message.get("headers", ())
                if name not in _HOP
            ]
        elif message["type"] == "http.response.body":
            self._keep(message.get("body", b""))
            if not message.get("more_body", False):
                self._held = message
                return
        await self._pass_on(message)

    async def send_held(self) -> None:
        """Send the last piece."""
        if self._held is not None:
            await self._pass_on(self._held)

    async def _pass_on(self, message: MutableMapping[str, Any]) -> None:
        if not self._is_gone:
            try:
                await self._send(message)
            except OSError:
                self._is_gone = True

    def _keep(self, data: bytes) -> None:
        if self._body is not None:
            self._body += data
            if len(self._body) > self._most:
                self._body = None


async def _any_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


async def _check(fingerprint: str, request: ReadRequest) -> None:
    """Look whether the key belongs to this request, as far as that is known. Raises IdempotencyKeyReusedError."""
    if not are_same(fingerprint, request.fingerprint):
        # Answered in the middle of its body, a client may be cut off before it reads why.
        await request.read_rest()
        raise IdempotencyKeyReusedError


def _answer_in(found: Found) -> Kept:
    """Return the answer. Raises IdempotencyInterruptedError, IdempotencyAnswerNotKeptError."""
    if found.answer is None:
        raise IdempotencyInterruptedError(found.request_id)
    if found.answer.packed is None:
        raise IdempotencyAnswerNotKeptError(found.request_id, found.answer.status)
    return found.answer


async def _replay(answer: Kept, scope: Scope, send: Send) -> None:
    scope["route"] = _Replay()
    is_large = len(answer.packed or b"") > PACKED_IN_THREAD_BYTES
    body = await asyncio.to_thread(answer.body) if is_large else answer.body()
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    headers += [(b"content-length", str(len(body)).encode()), REPLAYED]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
