"""What the official SDKs make of a failure: their own class for each kind, whole, as a stream's first event and in mid-stream."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, get_args

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from rini.canon import Failure, FailureKind, PartDelta, PartStart, Start, StreamFailure, Text
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import Codec
from rini.wire.gemini import GEMINI
from rini.wire.openai_chat import OPENAI_CHAT

KINDS: tuple[FailureKind, ...] = get_args(FailureKind)
CODECS: dict[str, Codec] = {"openai": OPENAI_CHAT, "anthropic": ANTHROPIC, "gemini": GEMINI}
SDKS = pytest.mark.parametrize("sdk", CODECS)

OPENAI_CLASSES = {
    "authentication": openai.AuthenticationError,
    "permission": openai.PermissionDeniedError,
    "billing": openai.RateLimitError,
    "rate_limited": openai.RateLimitError,
    "not_found": openai.NotFoundError,
    "context_too_long": openai.BadRequestError,
    "too_large": openai.APIStatusError,
    "invalid_request": openai.BadRequestError,
    "safety": openai.BadRequestError,
    "overloaded": openai.InternalServerError,
    "server_error": openai.InternalServerError,
    "timeout": openai.InternalServerError,
    "malformed": openai.InternalServerError,
}
ANTHROPIC_CLASSES = {
    "authentication": anthropic.AuthenticationError,
    "permission": anthropic.PermissionDeniedError,
    "billing": anthropic.APIStatusError,
    "rate_limited": anthropic.RateLimitError,
    "not_found": anthropic.NotFoundError,
    "context_too_long": anthropic.BadRequestError,
    "too_large": anthropic.APIStatusError,
    "invalid_request": anthropic.BadRequestError,
    "safety": anthropic.BadRequestError,
    "overloaded": anthropic.APIStatusError,
    "server_error": anthropic.InternalServerError,
    "timeout": anthropic.APIStatusError,
    "malformed": anthropic.InternalServerError,
}
GEMINI_WORDS = {
    "authentication": "UNAUTHENTICATED",
    "permission": "PERMISSION_DENIED",
    "billing": "PERMISSION_DENIED",
    "rate_limited": "RESOURCE_EXHAUSTED",
    "not_found": "NOT_FOUND",
    "context_too_long": "INVALID_ARGUMENT",
    "too_large": "INVALID_ARGUMENT",
    "invalid_request": "INVALID_ARGUMENT",
    "safety": "INVALID_ARGUMENT",
    "overloaded": "UNAVAILABLE",
    "server_error": "INTERNAL",
    "timeout": "DEADLINE_EXCEEDED",
    "malformed": "INTERNAL",
}


class Server:
    """Answers every request with ``answer``: status, type and body."""

    def __init__(self) -> None:
        server = self
        self.answer: tuple[int, str, bytes] = (200, "application/json", b"{}")

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                status, kind, body = server.answer
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def asked(sdk: str, url: str, *, stream: bool) -> list[str]:
    """Ask through the SDK and return the texts that came before the failure."""
    texts: list[str] = []
    hi: Any = [{"role": "user", "content": "Hi"}]
    match sdk:
        case "openai":
            with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
                if not stream:
                    client.chat.completions.create(model="m", messages=hi)
                else:
                    for chunk in client.chat.completions.create(model="m", messages=hi, stream=True):
                        texts += [choice.delta.content or "" for choice in chunk.choices]
        case "anthropic":
            with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
                if not stream:
                    client.messages.create(model="m", max_tokens=9, messages=hi)
                else:
                    with client.messages.stream(model="m", max_tokens=9, messages=hi) as events:
                        texts += events.text_stream
        case _:
            options = types.HttpOptions(base_url=url, retry_options=types.HttpRetryOptions(attempts=1))
            with genai.Client(api_key="k", http_options=options) as client:
                if not stream:
                    client.models.generate_content(model="m", contents="Hi")
                else:
                    texts += [
                        chunk.text or "" for chunk in client.models.generate_content_stream(model="m", contents="Hi")
                    ]
    return texts


def failing(sdk: str, url: str, *, stream: bool) -> Exception:
    with pytest.raises((openai.APIError, anthropic.APIError, errors.APIError)) as caught:
        asked(sdk, url, stream=stream)
    return caught.value


@SDKS
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_raises_the_sdks_own_class(server: Server, sdk: str, kind: FailureKind):
    status, body = CODECS[sdk].encode_failure(Failure(kind, "Sorry.", wire="elsewhere", status=418, retry_after=7.0))
    server.answer = (status, "application/json", body)
    raised = failing(sdk, server.url, stream=False)
    assert "Sorry." in str(raised)
    if sdk == "gemini":
        assert isinstance(raised, errors.ClientError if status < 500 else errors.ServerError)
        assert (raised.code, raised.status) == (status, GEMINI_WORDS[kind])
        assert '"retryDelay":"7s"' in body.decode()
    else:
        classes: dict[str, type[Exception]] = OPENAI_CLASSES if sdk == "openai" else ANTHROPIC_CLASSES
        assert isinstance(raised, classes[kind])
        assert raised.status_code == status


@SDKS
@pytest.mark.parametrize("kind", ["overloaded", "rate_limited", "invalid_request"])
@pytest.mark.parametrize("before", [False, True], ids=["first", "in mid-stream"])
def test_a_stream_that_fails_raises_in_the_sdk(server: Server, sdk: str, kind: FailureKind, before: bool):
    encoder = CODECS[sdk].stream_encoder()
    begun = [Start("id", "m"), PartStart(0, Text("")), PartDelta(0, "Half an"), PartDelta(0, " answer")]
    events = [*(begun if before else ()), StreamFailure(Failure(kind, "Sorry.", wire="elsewhere"))]
    data = b"".join(map(encoder.feed, events)) + encoder.close()
    server.answer = (200, "text/event-stream", data)
    raised = failing(sdk, server.url, stream=True)
    assert "Sorry." in str(raised)
    again = CODECS[sdk].stream_decoder()
    (*_, last) = [*again.feed(data), *again.close()]
    assert isinstance(last, StreamFailure)
    assert last.failure.kind == kind


def test_gemini_answers_without_sse_fail_as_an_array():
    encoder = GEMINI.stream_encoder(json_array=True)
    data = encoder.feed(StreamFailure(Failure("overloaded", "Sorry.", wire="elsewhere"))) + encoder.close()
    decoder: Callable[[bytes], Any] = GEMINI.stream_decoder().feed
    assert data.startswith(b"[")
    assert [type(event) for event in decoder(data)] == [StreamFailure]
