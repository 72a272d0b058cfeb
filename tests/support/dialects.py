"""The four dialects as their official SDKs speak them, in front of a scripted provider of every wire format.

A test says what the SDK is asked (its own arguments) and what the model answers (in canon); it gets what reached the provider
(in canon) and what the SDK made of the answer, in the same words for all SDKs.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
from google import genai
from google.genai import errors as google_errors
from google.genai import types
from openai.lib.streaming.chat import ChatCompletionStreamState

from rini.canon import Reply, Request
from tests.support.model import Answering, scripted
from tests.support.server import Client, Server
from tests.support.upstream import Seen, Upstream

DIALECTS = ("chat", "responses", "anthropic", "gemini")

LABELS = {
    "chat": "OpenAI chat completions",
    "responses": "OpenAI responses",
    "anthropic": "Anthropic messages",
    "gemini": "Gemini generateContent",
}


@dataclass(frozen=True)
class Behind:
    """A provider behind Rini. ``thinker`` is a model of its that thinks."""

    name: str
    provider: str
    model: str
    thinker: str
    label: str


PROVIDERS = (
    Behind("openai", "openai", "gpt-4o-mini", "gpt-5.1", "OpenAI"),
    Behind("responses", "openai", "gpt-5-pro", "gpt-5-pro", "OpenAI, models of responses alone"),
    Behind("anthropic", "anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5", "Anthropic"),
    Behind("google", "google", "gemini-2.5-flash", "gemini-2.5-flash", "Google"),
    Behind("compatible", "openai_compatible", "some-model", "some-model", "OpenAI-compatible"),
)


@dataclass(frozen=True)
class Tokens:
    """The usage in the dialect's own terms: what its fields say, and what of it was cached or thought."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Got:
    """What an SDK made of an answer. ``texts`` are those of all choices; ``calls`` are (name, arguments); ``finish`` is the dialect's word."""

    texts: tuple[str, ...] = ()
    thinking: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    call_ids: tuple[str, ...] = ()
    finish: str | None = None
    stopped_by: str | None = None
    tokens: Tokens = field(default_factory=Tokens)
    logprobs: tuple[tuple[str, float], ...] = ()
    pieces: int = 0
    dropped: tuple[str, ...] = ()
    raw: Any = None

    @property
    def text(self) -> str:
        return self.texts[0] if self.texts else ""


@dataclass(frozen=True)
class Raised:
    """What an SDK raised."""

    kind: str
    status: int | None
    code: str | None
    message: str
    headers: Mapping[str, str]
    error: Exception


class Clients:
    """The SDKs' clients of one user, and the headers that the last answer had."""

    def __init__(self, url: str, token: str) -> None:
        self.headers: Mapping[str, str] = {}
        self.url = url
        self.token = token

        def heard(response: httpx2.Response) -> None:
            self.headers = {name.lower(): value for name, value in response.headers.items()}

        # Nothing here speaks TLS, and the certificates of the whole world take 30 ms to read.
        self._http = httpx2.Client(verify=False, event_hooks={"response": [heard]}, timeout=30, trust_env=False)
        self.openai = openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0, http_client=self._http)
        self.anthropic = anthropic.Anthropic(base_url=url, api_key=token, max_retries=0, http_client=self._http)

    @cached_property
    def google(self) -> genai.Client:
        """Google's, made where it is asked for: it takes longer than all others."""
        options = types.HttpOptions(base_url=self.url, httpx_client=self._http)
        return genai.Client(api_key=self.token, http_options=options)

    def close(self) -> None:
        self._http.close()

    def ask(self, dialect: str, model: str, asked: Mapping[str, Any], *, stream: bool = False) -> Got:
        """Ask in a dialect with the SDK's own arguments. Raises the SDK's errors."""
        return _ASKING[dialect](self, model, dict(asked), stream=stream)

    @property
    def dropped(self) -> tuple[str, ...]:
        said = self.headers.get("x-rini-dropped", "")
        return tuple(said.split(", ")) if said else ()


def _chat(clients: Clients, model: str, asked: dict[str, Any], *, stream: bool) -> Got:
    create = clients.openai.chat.completions.create
    pieces = 0
    if stream:
        state = ChatCompletionStreamState()
        with create(model=model, stream=True, stream_options={"include_usage": True}, **asked) as chunks:
            for chunk in chunks:
                pieces += sum(bool(choice.delta.content) for choice in chunk.choices)
                state.handle_chunk(chunk)
        # The final completion is only for those that a client would parse: it raises for an answer that was cut.
        answer = state.current_completion_snapshot
    else:
        answer = create(model=model, **asked)
    first = answer.choices[0]
    message = first.message
    usage = answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    read, made = usage.prompt_tokens_details, usage.completion_tokens_details
    calls = message.tool_calls or []
    return Got(
        texts=tuple(choice.message.content or "" for choice in answer.choices),
        thinking=getattr(message, "reasoning_content", None) or "",
        refusal=message.refusal or "",
        calls=tuple((call.function.name, json.loads(call.function.arguments)) for call in calls),
        call_ids=tuple(call.id for call in calls),
        finish=first.finish_reason,
        tokens=Tokens(
            usage.prompt_tokens,
            usage.completion_tokens,
            cache_read=(read.cached_tokens or 0) if read else 0,
            cache_write=(getattr(read, "cache_write_tokens", None) or 0) if read else 0,
            reasoning=(made.reasoning_tokens or 0) if made else 0,
        ),
        logprobs=tuple((each.token, each.logprob) for each in (first.logprobs.content or ())) if first.logprobs else (),
        pieces=pieces,
        dropped=clients.dropped,
        raw=answer,
    )


def _responses(clients: Clients, model: str, asked: dict[str, Any], *, stream: bool) -> Got:
    asked.setdefault("store", False)  # as with the other dialects; tests/responses store
    pieces = 0
    if stream:
        with clients.openai.responses.stream(model=model, **asked) as events:
            numbers: list[int] = []
            answer = None
            for event in events:
                pieces += event.type == "response.output_text.delta"
                numbers.append(event.sequence_number)
                if event.type in {"response.completed", "response.incomplete", "response.failed"}:
                    assert answer is None, "a stream ends once"
                    answer = event.response
        assert answer is not None, "a stream has an end"
        assert numbers == list(range(len(numbers))), "the events are numbered in order"
    else:
        answer = clients.openai.responses.create(model=model, **asked)
    texts: list[str] = []
    refusal = thinking = ""
    calls: list[Any] = []
    logprobs: list[tuple[str, float]] = []
    for item in answer.output:
        if item.type == "message":
            for part in item.content:
                if part.type == "refusal":
                    refusal += part.refusal
                else:
                    texts.append(part.text)
                    logprobs += ((each.token, each.logprob) for each in part.logprobs or ())
        elif item.type == "function_call":
            calls.append(item)
        elif item.type == "reasoning":
            thinking += "".join(each.text for each in (*item.summary, *(item.content or ())))
    usage = answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    reason = answer.incomplete_details.reason if answer.incomplete_details else None
    return Got(
        texts=("".join(texts),),
        thinking=thinking,
        refusal=refusal,
        calls=tuple((call.name, json.loads(call.arguments)) for call in calls),
        call_ids=tuple(call.call_id for call in calls),
        finish=reason or answer.status,
        tokens=Tokens(
            usage.input_tokens,
            usage.output_tokens,
            cache_read=usage.input_tokens_details.cached_tokens,
            cache_write=getattr(usage.input_tokens_details, "cache_write_tokens", None) or 0,
            reasoning=usage.output_tokens_details.reasoning_tokens,
        ),
        logprobs=tuple(logprobs),
        pieces=pieces,
        dropped=clients.dropped,
        raw=answer,
    )


def _anthropic(clients: Clients, model: str, asked: dict[str, Any], *, stream: bool) -> Got:
    asked.setdefault("max_tokens", 4096)
    messages = clients.anthropic.messages
    pieces = 0
    if stream:
        with messages.stream(model=model, **asked) as events:
            for event in events:
                pieces += event.type == "text"
            answer = events.get_final_message()
    else:
        answer = messages.create(model=model, **asked)
    blocks = {kind: [each for each in answer.content if each.type == kind] for kind in ("text", "thinking", "tool_use")}
    usage = answer.usage
    made = usage.output_tokens_details
    return Got(
        texts=("".join(each.text for each in blocks["text"]),),
        thinking="".join(each.thinking for each in blocks["thinking"]),
        calls=tuple((each.name, each.input) for each in blocks["tool_use"]),
        call_ids=tuple(each.id for each in blocks["tool_use"]),
        finish=answer.stop_reason,
        stopped_by=answer.stop_sequence,
        tokens=Tokens(
            usage.input_tokens,
            usage.output_tokens,
            cache_read=usage.cache_read_input_tokens or 0,
            cache_write=usage.cache_creation_input_tokens or 0,
            reasoning=(made.thinking_tokens or 0) if made else 0,
        ),
        pieces=pieces,
        dropped=clients.dropped,
        raw=answer,
    )


def _gemini(clients: Clients, model: str, asked: dict[str, Any], *, stream: bool) -> Got:
    models = clients.google.models
    pieces = 0
    answers: list[types.GenerateContentResponse] = []
    if stream:
        for chunk in models.generate_content_stream(model=model, **asked):
            answers.append(chunk)
            pieces += any(part.text for part in _parts_of(chunk))
    else:
        answers.append(models.generate_content(model=model, **asked))
    texts: dict[int, str] = {}
    finish = None
    logprobs: list[tuple[str, float]] = []
    for answer in answers:
        for place, candidate in enumerate(answer.candidates or ()):
            index = candidate.index if candidate.index is not None else place
            texts.setdefault(index, "")
            for part in (candidate.content.parts if candidate.content else None) or ():
                texts[index] += (part.text or "") if not part.thought else ""
            if candidate.finish_reason is not None and index == 0:
                finish = candidate.finish_reason.value
            if candidate.logprobs_result is not None:
                chosen = candidate.logprobs_result.chosen_candidates or ()
                logprobs += ((each.token or "", each.log_probability or 0.0) for each in chosen)
    parts = [part for answer in answers for part in _parts_of(answer)]
    calls = [part.function_call for part in parts if part.function_call is not None]
    usage = next((each.usage_metadata for each in reversed(answers) if each.usage_metadata), None)
    assert usage is not None
    return Got(
        texts=tuple(texts[index] for index in sorted(texts)),
        thinking="".join(part.text or "" for part in parts if part.thought),
        calls=tuple((call.name or "", call.args or {}) for call in calls),
        call_ids=tuple(call.id or "" for call in calls),
        finish=finish,
        tokens=Tokens(
            usage.prompt_token_count or 0,
            usage.candidates_token_count or 0,
            cache_read=usage.cached_content_token_count or 0,
            reasoning=usage.thoughts_token_count or 0,
        ),
        logprobs=tuple(logprobs),
        pieces=pieces,
        dropped=clients.dropped,
        raw=answers,
    )


def _parts_of(answer: types.GenerateContentResponse) -> list[types.Part]:
    candidates = [each for each in answer.candidates or () if not each.index]
    return [
        part for each in candidates[:1] for part in (each.content.parts if each.content else None) or ()
    ]  # fmt: skip


_ASKING: Mapping[str, Callable[..., Got]] = {
    "chat": _chat,
    "responses": _responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
}

SDK_ERRORS = (openai.OpenAIError, anthropic.AnthropicError, google_errors.APIError)


def raised_by(error: Exception, headers: Mapping[str, str]) -> Raised:
    """Return an SDK's error in the same words for all."""
    if isinstance(error, google_errors.APIError):
        return Raised(type(error).__name__, error.code, error.status, error.message or "", headers, error)
    status = getattr(error, "status_code", None)
    body = getattr(error, "body", None)
    code = getattr(error, "code", None)
    message = str(error)
    if isinstance(body, dict):
        inner = body.get("error")
        inner = inner if isinstance(inner, dict) else body
        message = str(inner.get("message", message))
        code = code or inner.get("type")
    return Raised(type(error).__name__, status, code, message, headers, error)


@dataclass
class World:
    """A running server with a user who has a key of every provider."""

    server: Server
    upstream: Upstream
    user: Client
    clients: Clients
    keys: Mapping[str, str]

    def script(self, behind: Behind, answer: Answering) -> None:
        """Decide what a provider answers from now on."""
        self.upstream.scripts[self.keys[behind.provider]] = scripted(behind.provider, answer, pieces=3)

    def seen(self, behind: Behind) -> list[Seen]:
        """What reached a provider so far, as it came."""
        return self.upstream.calls(self.keys[behind.provider])

    def ask(
        self, dialect: str, behind: Behind, asked: Mapping[str, Any], answer: Reply, *, stream: bool, model: str | None = None
    ) -> tuple[Request, Got]:  # fmt: skip
        """Ask in a dialect; return what reached the provider, and what the SDK got. Raises the SDK's errors."""
        requests: list[Request] = []

        def answering(request: Request) -> Reply:
            requests.append(request)
            return answer

        self.script(behind, answering)
        got = self.clients.ask(dialect, f"{behind.provider}/{model or behind.model}", asked, stream=stream)
        assert len(requests) == 1, "the provider is asked once"
        assert requests[0].stream == stream
        return requests[0], got


@contextmanager
def world(folder: Path, upstream: Upstream) -> Iterator[World]:
    """A server that runs while the context is entered."""
    settings = {"RINI_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{upstream.port}", "RINI_LOG_LEVEL": "error"}
    server = Server(folder, settings, upstream.url).start()
    try:
        with user_of_all(server, upstream) as made:
            yield made
    finally:
        server.stop()


@contextmanager
def user_of_all(server: Server, upstream: Upstream) -> Iterator[World]:
    """A new user of a server, with a key of every provider."""
    user = server.user()
    keys = {"openai": user.provider_key}
    for provider in ("anthropic", "google", "openai_compatible"):
        keys[provider] = f"sk-{provider}-{os.urandom(6).hex()}"
        body = {"model_provider": provider, "api_key_value": keys[provider]}
        if provider == "openai_compatible":
            body["base_url"] = f"{upstream.url}/v1"
        assert user.post("/api-keys/", body).status == 201
    assert user.token is not None
    clients = Clients(server.url, user.token)
    try:
        yield World(server, upstream, user, clients, keys)
    finally:
        clients.close()
