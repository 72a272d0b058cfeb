"""Recorded exchanges played through a running server: real sockets on both sides, and the recorded bytes behind it."""

import asyncio
import http.client
import json
import re
import sqlite3
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any

from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Script, Seen, Upstream, openai_chunks, openai_reply
from tests.wire.recordings import Exchange, cuts, exchanges

WORKERS = 6
_BARE = re.compile(r"(ft:)?(gpt-\d|chatgpt-|o\d|codex-|claude-|gemini-|text-embedding-0)")
_HOP = {"transfer-encoding", "content-length", "content-encoding", "connection", "date", "server", "content-type"}


@dataclass(frozen=True)
class Format:
    """A wire format: who speaks it, where its recordings are, and which model of its provider is asked by other dialects."""

    name: str
    provider: str
    endpoints: tuple[str, ...]
    model: str

    def path(self, model: str, *, stream: bool, query: str = "") -> str:
        """The path of a call in this dialect."""
        if self.name == "gemini":
            return f"/v1beta/models/{model}:" + ("streamGenerateContent" if stream else "generateContent") + query
        return _PATHS[self.name]


OPENAI_CHAT = Format("openai_chat", "openai", ("chat_completions",), "gpt-5")
ANTHROPIC = Format("anthropic", "anthropic", ("messages",), "claude-sonnet-4-5")
GEMINI = Format("gemini", "google", ("generateContent", "streamGenerateContent"), "gemini-2.5-flash")
OPENAI_RESPONSES = Format("openai_responses", "openai", ("responses",), "gpt-5-pro")
FORMATS = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC, GEMINI)
_PATHS = {"openai_chat": "/v1/chat/completions", "openai_responses": "/v1/responses", "anthropic": "/v1/messages"}


@cache
def recorded(form: Format) -> tuple[Exchange, ...]:
    """The recorded calls of a format: what only lists or reads stored answers is none."""
    return tuple(each for each in exchanges(form.provider, *form.endpoints) if each.request["method"] == "POST")


_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt",
    "status": "completed",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "ok", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "ok"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
_GENERATED = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
}
_OK = {
    "openai_chat": openai_reply("ok"),
    "openai_responses": _RESPONSE,
    "anthropic": _MESSAGE,
    "gemini": _GENERATED,
}
_OK_STREAMS: dict[str, list[dict[str, Any]]] = {
    "openai_chat": [json.loads(event.removeprefix("data: ")) for event in openai_chunks("ok")[:-1]],
    "openai_responses": [{"type": "response.completed", "sequence_number": 0, "response": _RESPONSE}],
    "anthropic": [
        {"type": "message_start", "message": {**_MESSAGE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ],
    "gemini": [_GENERATED],
}


@dataclass
class Call:
    """One call of the server, and what the provider behind it does. ``about`` comes back with the answer."""

    path: str
    body: bytes
    script: Script
    headers: dict[str, str] = field(default_factory=dict)
    about: Any = None


@dataclass
class Played:
    """What came of a call: the client's answer, and the requests that the provider saw."""

    call: Call
    status: int
    headers: dict[str, str]
    body: bytes
    seen: list[Seen]
    request_id: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answering(each: Exchange, body: bytes | None = None, *, seed: int = 0, pause: float = 0) -> Script:
    """Answer with the recorded status, headers and bytes; a stream is cut at random, and ``pause`` seconds keep its pieces apart.

    ``body`` stands in the place of the recorded one.
    """
    data = each.response_bytes if body is None else body
    headers = {name: value for name, value in told_headers(each).items() if name not in _HOP}
    kind = told_headers(each).get("content-type") or ("text/event-stream" if each.stream else "application/json")

    async def answer(conversation: Conversation) -> None:
        if not each.stream:
            await conversation.whole(data, each.status, kind, **headers)
            return
        await conversation.head(each.status, kind, **headers)
        for piece in cuts(data, seed, most=20):
            if piece:  # an empty chunk would be the end
                await conversation.chunk(piece)
                await asyncio.sleep(pause)
        await conversation.end()

    return answer


async def answering_ok(conversation: Conversation) -> None:
    """Answer "ok" in the format that is asked in, whole or streamed."""
    path, body = conversation.seen.path, conversation.seen.json
    streams = "streamGenerateContent" in path or body.get("stream") is True
    form = next((name for name, end in _PATHS.items() if path.endswith(end)), "gemini")
    if streams:
        await conversation.head()
        for event in _OK_STREAMS[form]:
            name = f"event: {event['type']}\n" if "type" in event else ""
            await conversation.chunk(f"{name}data: {json.dumps(event)}\n\n")
        if form == "openai_chat":
            await conversation.chunk("data: [DONE]\n\n")
        await conversation.end()
    else:
        await conversation.whole(_OK[form])


def told_headers(each: Exchange) -> dict[str, str]:
    """The headers of a recorded answer, as far as a socket can carry what the recorders made of them."""
    return {
        name.lower().replace("_", "-"): value
        for name, value in each.response["headers"].items()
        if value.isascii() and "\n" not in value
    }


class Player:
    """Plays calls through a server, several at a time, each worker with a user and a key of its own."""

    def __init__(self, server: Server, upstream: Upstream) -> None:
        self.server = server
        self._upstream = upstream
        self._ids = count(1)
        self.users = [self._user() for _ in range(WORKERS)]

    def play(self, calls: Iterable[Call]) -> list[Played]:
        """Make the calls and return what came of each, in their order."""
        waiting = list(calls)
        found: list[Played | None] = [None] * len(waiting)
        places = iter(range(len(waiting)))
        lock = threading.Lock()

        def work(user: Client) -> None:
            host, port = user.url.removeprefix("http://").split(":")
            with closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
                while True:
                    with lock:
                        place = next(places, None)
                    if place is None:
                        return
                    found[place] = self._play(connection, user, waiting[place])

        with ThreadPoolExecutor(WORKERS) as pool:
            for done in [pool.submit(work, user) for user in self.users]:
                done.result()
        return [each for each in found if each is not None]

    def ledger(self, played: list[Played], seconds: float = 10) -> dict[str, dict[str, Any]]:
        """Return the ledger's rows of the calls by their request's id, once the server has written what it owes."""
        wanted = {each.request_id for each in played if each.seen}
        with closing(sqlite3.connect(f"file:{self.server.data_dir / 'rini.db'}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            for _ in range(int(seconds / 0.05)):
                rows = [dict(row) for row in database.execute("select * from usage_records")]
                found = {row["request_id"]: row for row in rows if row["request_id"] in wanted}
                if len(found) == len(wanted):
                    break
                threading.Event().wait(0.05)
        return found

    def _user(self) -> Client:
        user = self.server.user()
        for provider in ("anthropic", "google", "openai_compatible"):
            key = {"model_provider": provider, "api_key_value": user.provider_key}
            if provider == "openai_compatible":
                key["base_url"] = f"{self._upstream.url}/v1"
            stored = user.post("/api-keys/", key)
            assert stored.status == 201, stored
        return user

    def _play(self, connection: http.client.HTTPConnection, user: Client, call: Call) -> Played:
        key = user.provider_key
        self._upstream.scripts[key] = call.script
        self._upstream.seen.pop(key, None)
        request_id = f"recording-{next(self._ids)}"
        headers = {
            "authorization": f"Bearer {user.token}",
            "content-type": "application/json",
            "x-request-id": request_id,
            **call.headers,
        }
        connection.request("POST", call.path, call.body, headers)
        answer = connection.getresponse()
        body = answer.read()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Played(call, answer.status, told, body, self._upstream.calls(key), request_id)


@dataclass
class Tally:
    """How many of a kind hold, and which do not. ``known`` maps the begin of a path to why it cannot."""

    what: str
    known: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    held: int = 0
    excepted: set[str] = field(default_factory=set)

    def judge(self, path: str, verdict: str | None) -> None:
        """Note one recording; ``verdict`` says what is wrong with it."""
        prefix = next((each for each in self.known if path.startswith(each)), None)
        if verdict is None:
            self.held += 1
        elif prefix is not None:
            self.excepted.add(prefix)
        else:
            self.wrong[path] = verdict

    def close(self, capsys: Any) -> None:
        """Say the counts; fail on what is wrong, and on a listed recording that holds after all."""
        total = self.held + len(self.wrong) + len(self.excepted)
        with capsys.disabled():
            print(f"\n  {self.what}: {self.held} of {total} hold, {len(self.excepted)} excepted")
        assert not self.wrong, "\n".join(f"{path}: {why[:700]}" for path, why in self.wrong.items())
        assert self.excepted == set(self.known), "a listed recording holds: take it off the list"


def named(model: str, form: Format) -> str:
    """The model's name as a client writes it: bare where that says whose it is, else with the provider before it."""
    return model if _BARE.match(model) else f"{form.provider}/{model}"


def as_json(body: Any) -> bytes:
    """The bytes of a recorded body; the recordings keep it parsed."""
    return body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()
