"""Turns with tools whose models, clients and servers do what they should not: the conversation goes on, with every provider."""

import asyncio
import json
import re
import socket
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from rini.canon import Part, Refusal, Text, Thinking, Tool, ToolCall, ToolChoice, ToolResult
from rini.providers.catalog import PROVIDERS
from rini.sessions.shown import shown
from rini.tools.toolbox import Offer, ToolOutcome
from rini.turns.journal import abandoned
from tests.attack.test_core_turns import House
from tests.support.ledger import rows, wait_for_rows
from tests.support.mcp import running_tools
from tests.support.model import MODELS, events_of, reply, scripted, until, user_of
from tests.support.upstream import Conversation

ADD = ToolCall("call_1", "add", '{"a": 2, "b": 3}')
AUTO = {"llm_params": {"tool_choice": "auto"}}
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")


@pytest.fixture(scope="module")
def tools():
    with running_tools() as running:
        yield running


@pytest.fixture(scope="module")
def server(shared_server):
    return shared_server(RINI_ALLOWED_PRIVATE_HOSTS="127.0.0.1")


@pytest.fixture(scope="module")
def on_postgres(shared_server):
    return shared_server("postgres", RINI_ALLOWED_PRIVATE_HOSTS="127.0.0.1")


class Talker:
    """A user whose models answer with what ``says`` holds, in turn, and then with ``fine``. All providers' bodies are checked."""

    def __init__(self, server, upstream, tools) -> None:
        self.upstream = upstream
        self.says = []
        self.bodies = []
        self.faults = []
        self.user = user_of(server, upstream, "openai", self._answer)
        self.keys = {"openai": self.user.provider_key}
        for provider in MODELS.keys() - {"openai"}:
            key = f"{self.user.provider_key}-{provider}"
            body = {"model_provider": provider, "api_key_value": key}
            if provider == "openai_compatible":
                body["base_url"] = f"{upstream.url}/v1"
            assert self.user.post("/api-keys/", body).status == 201
            self.keys[provider] = key
        for provider, key in self.keys.items():
            upstream.scripts[key] = self._checked(provider)
        assert self.user.post("/mcp-connections/", {"name": "calculator", "url": tools.url}).status == 201
        self.session = self.user.session(system_prompt="Be exact.", context_policy="truncate")

    def ask(self, provider="openai", *, text="?", stream=False, tools=True, **fields):
        """Take a turn of the session; return the answer's document, or the error's."""
        body = {"session_id": self.session, "provider": provider, "model": MODELS[provider]}
        body |= (AUTO if tools else {}) | fields
        if not stream:
            return self.user.ask(text, **body).json
        with self.user.open_stream(text, **body) as reader:
            return list(reader)[-1].data if reader.status == 200 else json.loads(reader.rest())

    def _answer(self, _request):
        said = self.says.pop(0) if self.says else reply(Text("fine"))
        return said() if callable(said) else said

    def _checked(self, provider):
        script = scripted(provider, self._answer)

        async def check(conversation: Conversation) -> None:
            self.bodies.append((provider, conversation.seen.json))
            self.faults += _faults(provider, conversation.seen.json)
            said = self.says[0] if self.says else None
            if isinstance(said, bytes):
                self.says.pop(0)
                await conversation.whole(said)
            elif isinstance(said, int):
                self.says.pop(0)
                await conversation.whole({"error": {"message": "no", "type": "x", "code": said, "status": "X"}}, said)
            else:
                await script(conversation)

        return check


def _faults(provider, body):
    """Return what the provider would refuse, by its documents."""
    match provider:
        case "anthropic":
            return list(_anthropic_faults(body))
        case "google":
            return list(_gemini_faults(body))
        case _:
            return list(_openai_faults(body))


def _openai_faults(body):
    waiting, seen = set(), False
    for message in body["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                yield f"a result of no call: {message}"
            waiting.discard(message["tool_call_id"])
            continue
        if waiting:
            yield f"calls without results: {waiting}"
        waiting = set()
        calls = message.get("tool_calls", [])
        seen = seen or bool(calls)
        for call in calls:
            if call["id"] in waiting or not call["id"]:
                yield f"an id twice, or none: {call}"
            waiting.add(call["id"])
            if not _NAME.fullmatch(call["function"]["name"]):
                yield f"a name: {call['function']['name'][:100]!r}"
            if not isinstance(_json(call["function"]["arguments"] or "{}"), dict):
                yield "arguments that are no object"
        if message["role"] == "assistant" and not (message.get("content") or calls or message.get("refusal")):
            yield f"an empty answer: {message}"
    if waiting:
        yield f"calls without results: {waiting}"


def _anthropic_faults(body):
    waiting, taken = set(), set()
    for message in body["messages"]:
        blocks = message["content"]
        blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
        if not blocks:
            yield "no content"
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if answered != waiting:
            yield f"results {answered} for calls {waiting}"
        kinds = [block["type"] == "tool_result" for block in blocks]
        if kinds != sorted(kinds, reverse=True):
            yield "results behind other content"
        waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
        for block in blocks:
            if block["type"] == "tool_use":
                if block["id"] in taken or not re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]):
                    yield f"an id: {block['id']}"
                taken.add(block["id"])
                if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", block["name"]):
                    yield f"a name: {block['name'][:100]!r}"
            if block["type"] == "text" and not block["text"].strip():
                yield "an empty text"
        if message["role"] == "assistant" and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
            yield "an answer that ends in a thought"
    if waiting:
        yield f"calls without results: {waiting}"
    if taken and not body.get("tools"):
        yield "calls, and no tools"
    if body["messages"][0]["role"] != "user":
        yield "begins with an answer"


def _gemini_faults(body):
    calls = []
    for content in body["contents"]:
        parts = content["parts"]
        answered = [part["functionResponse"]["name"] for part in parts if "functionResponse" in part]
        if answered != calls:
            yield f"results {answered} for calls {calls}"
        calls = [part["functionCall"]["name"] for part in parts if "functionCall" in part]
        if not parts:
            yield "no parts"
        for name in calls:
            if not _NAME.fullmatch(name):
                yield f"a name: {name[:100]!r}"
    if calls:
        yield f"calls without results: {calls}"


def _json(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


ODD_CALLS = {
    "a name of 1 MB": ToolCall("c", "n" * 1_000_000, "{}"),
    "an empty name": ToolCall("c", "", "{}"),
    "a name that nobody takes": ToolCall("c", "fünc.tion\x00 with\nlines", "{}"),
    "arguments of 1 MB": ToolCall("c", "add", json.dumps({"a": 1, "b": 2, "x": "y" * 1_000_000})),
    "no arguments": ToolCall("c", "add", ""),
    "cut off arguments": ToolCall("c", "add", '{"a": 1, "b'),
    "arguments that are a list": ToolCall("c", "add", "[1, 2]"),
    "deep arguments": ToolCall("c", "add", '{"a":' * 900 + "1" + "}" * 900),
    "half a surrogate in the arguments": ToolCall("c", "add", '{"a": "\\ud800", "b": 1}'),
    "NUL in the arguments": ToolCall("c", "add", '{"a": "\\u0000", "b": 1}'),
    "NUL in the id": ToolCall("c\x00\x01", "add", '{"a": 2, "b": 3}'),
    "an id of 1 MB": ToolCall("c" * 1_000_000, "add", '{"a": 2, "b": 3}'),
    "an id with everything": ToolCall('"<\u202e\n\r\u2028é/\\', "add", '{"a": 2, "b": 3}'),
    "no id": ToolCall("", "add", '{"a": 2, "b": 3}'),
}


@pytest.mark.parametrize("kind", ["server", "on_postgres"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_whatever_call_a_model_writes_the_session_goes_on(request, kind, upstream, tools, stream):
    talker = Talker(request.getfixturevalue(kind), upstream, tools)
    for what, call in ODD_CALLS.items():
        if stream and not call.name:
            continue  # a stream's call begins with its name
        talker.says[:] = [reply(call), reply(Text("done"))]
        answer = talker.ask(stream=stream)
        assert answer.get("response_text") == "done", (what, str(answer)[:500])
        (use,) = answer["tool_calls"]
        assert use["result"] is not None, what
        assert use["name"] == call.name, what
        listed = talker.user.get(f"/messages/{answer['assistant_message']['id']}").json
        assert listed["tool_calls"] == [use], what
    for provider in MODELS:
        assert talker.ask(provider).get("response_text") == "fine", provider
        assert talker.ask(provider, tools=False).get("response_text") == "fine", provider
    assert talker.faults == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_ids_that_come_again(server, upstream, tools, stream):
    talker = Talker(server, upstream, tools)

    def calls(first, *more):
        return [ToolCall("call_1", "add", json.dumps({"a": first, "b": 0})), *more]

    for number in range(3):
        twin = ToolCall("call_1", "add", '{"a": 100, "b": 0}')
        # The same id twice in an answer, once more after the tool, and again in the next turns.
        talker.says[:] = [reply(*calls(number, twin)), reply(Text("done"), ToolCall("call_1", "add", "{}"))]
        answer = talker.ask(stream=stream)
        uses = answer["tool_calls"]
        assert len({use["id"] for use in uses}) == 3
        assert uses[0]["result"] == str(number)
        assert "Not called" in uses[1]["result"]
        assert uses[2]["result"] is None
        assert answer["assistant_message"]["tool_calls"] == uses
    for provider in MODELS:
        assert talker.ask(provider, tools=False)["response_text"] == "fine"
        _, body = talker.bodies[-1]
        told = _pairs(provider, body)
        # Each result stands with the call that it answers.
        assert [(a, result) for a, result in told if "Not called" not in result] == [(n, str(n)) for n in range(3)]
        assert [a for a, result in told if "Not called" in result] == [100] * 3
    assert talker.faults == []


def _pairs(provider, body):
    """Return the argument ``a`` and the result of each call, as the provider reads them."""
    if provider == "google":
        parts = [part for content in body["contents"] for part in content["parts"]]
        calls = [part["functionCall"]["args"]["a"] for part in parts if "functionCall" in part]
        results = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
        return [(call, next(iter(result.values()))) for call, result in zip(calls, results, strict=True)]
    if provider == "anthropic":
        blocks = [b for m in body["messages"] if not isinstance(m["content"], str) for b in m["content"]]
        results = {block["tool_use_id"]: block["content"] for block in blocks if block["type"] == "tool_result"}
        return [(block["input"]["a"], results[block["id"]]) for block in blocks if block["type"] == "tool_use"]
    waiting, told = {}, []
    for message in body["messages"]:
        for call in message.get("tool_calls", []):
            waiting[call["id"]] = json.loads(call["function"]["arguments"])["a"]
        if message["role"] == "tool":
            told.append((waiting.pop(message["tool_call_id"]), message["content"]))
    return told


@pytest.mark.parametrize("provider", sorted(MODELS))
def test_a_hundred_calls_at_once(server, upstream, tools, provider):
    talker = Talker(server, upstream, tools)
    calls = [ToolCall(f"c{n}", "add", json.dumps({"a": n, "b": 0})) for n in range(100)]
    talker.says[:] = [reply(*calls), reply(Text("done"))]
    uses = talker.ask(provider, stream=True)["tool_calls"]
    assert [use["is_error"] for use in uses] == [False] + [True] * 99
    for other in MODELS:
        assert talker.ask(other)["response_text"] == "fine"
    assert talker.faults == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_call_that_was_cut_off_is_not_made(server, upstream, tools, stream):
    talker = Talker(server, upstream, tools)
    for arguments in ("", '{"a": 1', '{"a": 2, "b": 3}'):
        talker.says[:] = [reply(Text("Let me"), ToolCall("c", "add", arguments), finish="length")]
        before = len(talker.bodies)
        answer = talker.ask(stream=stream)
        assert (answer["finish_reason"], answer["response_text"]) == ("length", "Let me")
        assert answer["tool_calls"][0]["result"] is None
        assert len(talker.bodies) == before + 1
    for provider in MODELS:
        assert talker.ask(provider)["response_text"] == "fine"
    assert talker.faults == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_call_that_nobody_offered(server, upstream, tools, stream):
    talker = Talker(server, upstream, tools)
    for parts in ((ADD,), (Text("Hm."), ADD), (Thinking("hm", signature="c2ln"), ADD)):
        for provider in MODELS:
            talker.says[:] = [reply(*parts)]
            answer = talker.ask(provider, stream=stream, tools=False)
            assert answer["tool_calls"][0]["result"] is None, answer
    assert talker.ask("anthropic")["response_text"] == "fine"
    assert talker.faults == []


# What the second call answers, the status it leads to, and the providers that have no such thing.
SECOND = {
    "an error": (500, 503, ()),
    "a rate limit": (429, 429, ()),
    "no JSON": (b"<html>", 502, ()),
    "no answer": (b"{}", 502, ()),
    "an empty answer": (reply(), 200, ()),
    "thoughts alone": (reply(Thinking("hm", signature="c2ln")), 200, ("openai",)),
    "a safety block": (reply(finish="safety"), 422, ("anthropic",)),
    "a refusal": (reply(Refusal("No."), finish="refusal"), 200, ("google",)),
    "another call": (reply(ToolCall("call_1", "add", "{}")), 200, ()),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
def test_the_second_call_goes_wrong(server, upstream, tools, provider, stream):
    talker = Talker(server, upstream, tools)
    for what, (said, status, without) in SECOND.items():
        if provider in without:
            continue
        talker.says[:] = [reply(Text("Let me see."), ADD), said]
        answer = talker.ask(provider, stream=stream)
        assert answer.get("status", 200) == status, (what, answer)
        kept = answer.get("assistant_message") or talker.user.get(f"/messages/{answer['assistant_message_id']}").json
        assert kept["status"] == ("complete" if status == 200 else "partial"), (what, answer)
        assert kept["tool_calls"][0]["result"] == "5", what
        for other in MODELS:
            assert talker.ask(other, tools=False).get("response_text") == "fine", (what, other)
    assert talker.faults == []


def _told(provider, body):
    """Return what a provider reads before the messages, and each message as it is written."""
    messages = [json.dumps(message) for message in body["contents" if provider == "google" else "messages"]]
    if provider.startswith("openai"):
        return messages[0], messages[1:]
    return json.dumps(body["systemInstruction" if provider == "google" else "system"]), messages


@pytest.mark.parametrize("provider", sorted(MODELS))
def test_what_a_provider_has_read_stays_as_it_was(server, upstream, tools, provider):
    talker = Talker(server, upstream, tools)
    entry = talker.user.post(f"/sessions/{talker.session}/memory", {"memory_type": "Fact", "content": "It is late."})
    odd = (
        ToolCall("", "no such", '{"b": 3, "a": 2.0, "c": 1e3}')
        if provider == "google"
        else ToolCall("b", "no such", "{")
    )
    thought = Thinking("hm", signature="c2ln") if provider in ("anthropic", "google") else Text("Hm. ")
    turns = [
        ([reply(Text("one "))], False),
        ([reply(thought, ADD), reply(Text("two"))], True),
        ([reply(thought, Text("three"))], False),
        ([reply(odd, ADD), reply(Text("\n"), ToolCall("b", "add", "{}"))], True),
        ([reply(Text("four"))], True),
        ([500], True),
        ([reply(ADD), 500], True),
        ([reply(Text("five"))], False),
    ]
    asked = []
    for number, (says, offered) in enumerate(turns):
        talker.bodies.clear()
        talker.says[:] = says
        answer = talker.ask(provider, text=f"question {number}", tools=offered, stream=bool(number % 2))
        assert ("response_text" in answer) == (500 not in says), answer
        asked += [] if 500 in says else [body for _, body in talker.bodies]
    assert talker.faults == []
    assert len(asked) == 8
    told = [_told(provider, body) for body in asked]
    for (system, before), (later_system, after) in pairwise(told):
        assert later_system == system
        assert after[: len(before)] == before
        assert len(after) > len(before)
    assert len({json.dumps(body["tools"]) for body in asked if "boom" in str(body.get("tools"))}) == 1
    # Memory that is gone is gone; the messages stay as they were.
    assert talker.user.delete(f"/memory/{entry.json['id']}").status == 204
    talker.ask(provider, tools=False)
    system, messages = _told(provider, talker.bodies[-1][1])
    assert "It is late." not in system
    assert "It is late." in told[-1][0]
    assert messages[: len(told[-1][1])] == told[-1][1]


def test_on_through_all_providers_and_from_the_middle(server, upstream, tools):
    talker = Talker(server, upstream, tools)
    ids = []
    for round_ in range(2):
        for provider in sorted(MODELS):
            thought = (Thinking("hm", signature="c2ln"),) if provider in ("anthropic", "google") else ()
            talker.says[:] = [reply(*thought, Text("Let me see."), ADD), reply(*thought, Text(f"{provider} {round_}"))]
            answer = talker.ask(provider, text=f"to {provider}", stream=bool(round_))
            assert answer["response_text"] == f"{provider} {round_}"
            ids += [answer["user_message"]["id"], answer["assistant_message"]["id"]]
    for provider in sorted(MODELS):
        for parent in (ids[1], ids[6], ids[-1]):
            assert talker.ask(provider, parent_message_id=parent)["response_text"] == "fine"
            _, messages = _told(provider, talker.bodies[-1][1])
            assert ("google 1" in str(messages)) == (parent == ids[-1])
    assert talker.faults == []


def test_many_questions_to_one_session_at_once(server, upstream, tools):
    talker = Talker(server, upstream, tools)
    answers, parallel = [], 8

    def answer(request):
        results = [part for message in request.messages for part in message.parts if isinstance(part, ToolResult)]
        if results and request.messages[-1].parts[-1] is results[-1]:
            return reply(Text(f"It says {results[-1].content[0].text}"))
        asked = request.messages[-1].parts[0].text
        return reply(ToolCall("call_1", "add", json.dumps({"a": int(asked), "b": 0})))

    for provider in ("openai", "anthropic"):
        upstream.scripts[talker.keys[provider]] = scripted(provider, answer)

    def ask(number):
        provider = "anthropic" if number % 2 else "openai"
        answers.append((number, talker.ask(provider, text=str(number), stream=number % 4 > 1)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(parallel)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(number for number, _ in answers) == list(range(parallel))
    for number, answer in answers:
        assert answer["response_text"] == f"It says {number}"
        assert answer["assistant_message"]["parent_message_id"] == answer["user_message"]["id"]
        assert answer["user_message"]["content"] == str(number)
    assert len(talker.user.get(f"/sessions/{talker.session}/messages/").json) == 2 * parallel


class _Held:
    """A turn that waits at one of its moments, and its client."""

    def __init__(self, server, upstream, tools, moment, *, stream):
        self.moment, self.stream = moment, stream
        self.talker = Talker(server, upstream, tools)
        self.user, self.session = self.talker.user, self.talker.session
        self.there = threading.Event()
        self.left = threading.Event()
        upstream.scripts[self.talker.keys["openai"]] = self._script
        self.got = b""
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self):
        body = {"text": "?", "provider": "openai", "model": MODELS["openai"], "session_id": self.session} | AUTO
        data = json.dumps(body | {"stream": self.stream}).encode()
        host, port = self.user.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), 30)
        head = f"POST /llm/text-completion/ HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self.user.token}\r\n"
        with self.socket, suppress(OSError):
            self.socket.sendall(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
            while data := self.socket.recv(65536):
                self.got += data
                if self.moment == "tool" and b"event: tool_call" in self.got:
                    self.there.set()

    def hang_up(self):
        self.socket.shutdown(socket.SHUT_RDWR)

    async def _script(self, conversation):
        second = "tool" in [message["role"] for message in conversation.seen.json["messages"]]
        name, arguments = ("slow", '{"seconds": 60}') if self.moment == "tool" else ("add", '{"a": 2, "b": 3}')
        answered = reply(Text("It says 5")) if second else reply(Text("Hm. "), ToolCall("c", name, arguments))
        waits = self.moment == ("second" if second else "first")
        if not self.stream:
            if waits:
                self.there.set()
                await conversation.until_left(30)
                self.left.set()
            await conversation.whole(PROVIDERS["openai"].codec.encode_reply(answered))
            if self.moment == "tool":
                self.there.set()
            return
        encoder = PROVIDERS["openai"].codec.stream_encoder()
        await conversation.head()
        for event in events_of(answered):
            if data := encoder.feed(event):
                await conversation.chunk(data)
            if waits and type(event).__name__ == "PartDelta":
                self.there.set()
                await conversation.until_left(30)
                self.left.set()
                return
        await conversation.chunk(encoder.close())
        await conversation.end()

    def check(self, reason):
        """Look at what is kept of the turn."""

        def answers():
            return [m for m in self.user.get(f"/sessions/{self.session}/messages/").json if m["role"] == "assistant"]

        what = (self.moment, self.stream)
        if self.moment == "first" and not self.stream:
            assert until(lambda: not answers())
            return
        kept = until(lambda: [message for message in answers() if message["status"] != "running"])
        assert len(kept) == 1, what
        (kept,) = kept
        assert (kept["status"], kept["status_reason"]) == ("partial", reason), what
        if self.moment == "first":
            assert kept["content"] == "Hm. "
            return
        (use,) = kept["tool_calls"]
        assert use["result"] == ("5" if self.moment == "second" else None), what


def _held(server, upstream, tools):
    turns = [
        _Held(server, upstream, tools, moment, stream=stream)
        for moment in ("first", "tool", "second")
        for stream in (True, False)
    ]
    for turn in turns:
        assert turn.there.wait(10), (turn.moment, turn.stream)
    time.sleep(0.3)  # what was sent has come, and the tools are called
    return turns


def _connections(server, port):
    """Return how many connections the server's process has to a port."""
    found = 0
    inodes = {str(fd.readlink())[8:-1] for fd in Path(f"/proc/{server.process.pid}/fd").iterdir() if fd.is_socket()}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        found += fields[2].endswith(f":{port:04X}") and fields[3] == "01" and fields[9] in inodes
    return found


def test_clients_that_leave_at_each_moment(new_server, upstream, tools):
    server = new_server(RINI_ALLOWED_PRIVATE_HOSTS=f"127.0.0.1:{upstream.port},127.0.0.1:{tools.port}")
    turns = _held(server, upstream, tools)
    busy = _connections(server, tools.port)
    for turn in turns:
        turn.hang_up()
    for turn in turns:
        turn.thread.join(5)
        if turn.moment != "tool":
            assert turn.left.wait(5), (turn.moment, turn.stream)
        turn.check("client_left")
    booked = rows(server)
    assert sorted(row["outcome"] for row in booked) == ["client_left"] * 4 + ["complete"] * 4
    # Nobody waits for the slow tools any more.
    assert until(lambda: _connections(server, tools.port) <= busy - 2), busy
    assert server.stop(5) == 0
    assert not list((server.data_dir / "run").glob("*.journal"))


def test_a_server_that_ends_at_each_moment(new_server, upstream, tools):
    hosts = f"127.0.0.1:{upstream.port},127.0.0.1:{tools.port}"
    server = new_server(RINI_ALLOWED_PRIVATE_HOSTS=hosts, RINI_SHUTDOWN_GRACE_SECONDS="0.5")
    turns = _held(server, upstream, tools)
    assert server.stop(10) == 0
    assert not list((server.data_dir / "run").glob("*.journal"))
    for turn in turns:
        turn.thread.join(5)
        assert b"shutting_down" in turn.got, (turn.moment, turn.stream, turn.got)
        assert (b" 200 " if turn.stream else b" 503 ") in turn.got.partition(b"\r\n")[0]
        assert (b"event: error" in turn.got) == turn.stream
    server.start()
    for turn in turns:
        turn.user.url = server.url
        turn.check("interrupted")
    assert sorted(row["outcome"] for row in rows(server)) == ["complete"] * 4 + ["interrupted"] * 4


def test_the_tools_time_is_the_answers_and_no_calls(server, upstream, tools):
    talker = Talker(server, upstream, tools)
    user_id = talker.user.get("/users/me").json["id"]
    talker.says[:] = [reply(ToolCall("c", "slow", '{"seconds": 0.4}')), reply(Text("done"))]
    message = talker.ask()["assistant_message"]
    booked = wait_for_rows(server, 2, user_id=user_id)
    assert message["response_time_ms"] >= sum(row["latency_ms"] for row in booked) + 400


class _Toolbox:
    async def offer(self, _user_id, choice):
        return Offer((Tool("add", parameters={"type": "object"}),), ToolChoice(choice), {})

    async def call(self, _offer, call):
        return ToolOutcome(ToolResult(call.id, (Text("5"),), name=call.name), "c", "add", 7, "ok")


class _Leaver:
    """A client that leaves while it is told what the tool answered."""

    def __init__(self, journals) -> None:
        self.journals = journals
        self.written = b""

    async def begin(self, begun): ...

    async def piece(self, data, events): ...

    async def tool_called(self, call): ...

    async def tool_answered(self, _result, _ms):
        self.written = b"".join(path.read_bytes() for path in self.journals.glob("*.journal"))
        raise asyncio.CancelledError


def test_a_result_that_was_on_its_way_is_kept(tmp_path, upstream):
    house = House(f"sqlite:///{tmp_path / 'turns.db'}", tmp_path, upstream)
    upstream.scripts[house.key] = scripted("openai", lambda _request: reply(Text("Hm. "), ADD))

    async def leave():
        async with house.turns(_Toolbox()) as turns:
            listener = _Leaver(tmp_path / "run")
            with suppress(asyncio.CancelledError):
                await turns.take(house.ask(tool_choice="auto"), listener)
            return listener.written

    written = asyncio.run(leave())
    _, kept = house.kept()
    (use,) = shown(kept)["tool_calls"]
    assert (kept.status_reason, use.result) == ("client_left", "5")
    assert [row.outcome for row in house.booked()] == ["complete"]
    # Had the process died instead, its journal would have had as much.
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "a.journal").write_bytes(written)
    ((_, (left,)),) = abandoned(tmp_path / "left")
    record, parts = left.paused
    assert (record.outcome, record.output_tokens) == ("complete", 5)
    assert parts == msgspec.json.decode(kept.parts, type=tuple[Part, ...])
    house.database.close()
