"""kill -9 at the worst moments, and a full disk: nothing that a client saw is missing afterwards."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rini.canon import PartDelta, Text, ToolCall, Usage
from rini.providers.catalog import PROVIDERS
from tests.support.ledger import rows, wait_for_rows
from tests.support.mcp import running_tools
from tests.support.model import events_of, reply, until
from tests.support.server import Client, Server, StreamReader
from tests.support.upstream import Conversation, Upstream, openai_chunks


async def _never(conversation: Conversation) -> None:
    await conversation.until_left()


async def _endless(conversation: Conversation) -> None:
    await conversation.head()
    for number in range(100_000):
        await conversation.chunk(openai_chunks(f"w{number} ", finish=None)[-1])
        if number > 200:
            await conversation.until_left()
            return


def _again(server: Server, user: Client) -> None:
    server.kill()
    server.start()
    user.url = server.url


def _journals(server: Server) -> list[int]:
    """Return how much is written in each journal; zeros follow."""
    return [len(path.read_bytes().rstrip(b"\0")) for path in (server.data_dir / "run").glob("*.journal")]


def test_killed_before_a_stateless_answer_is_in_the_database(new_server):
    server = new_server()
    user = server.user()
    with closing(sqlite3.connect(server.data_dir / "rini.db", isolation_level=None)) as held, held:
        held.execute("BEGIN IMMEDIATE")
        assert user.ask("one").json["response_text"] == "echo: one"
        assert user.stream("two")[-1].event == "done"
        assert not rows(server)
        server.kill()
        held.execute("ROLLBACK")
    for _ in range(2):
        _again(server, user)
        booked = [(row["outcome"], row["usage_estimated"], row["input_tokens"], row["stream"]) for row in rows(server)]
        assert booked == [("complete", 0, 7, 0), ("complete", 0, 7, 1)]


def _swallow(user: Client, session: str) -> None:
    with contextlib.suppress(OSError):
        Client(user.url, user.token).ask("question", session_id=session)


class _Died:
    """A server that was killed while all of this was under way, and runs again. Each user asked for one thing."""

    def __init__(self, server: Server, upstream) -> None:
        self.server = server
        self.asking, self.answered, self.stateless = (server.user() for _ in range(3))
        self.streaming = {moment: server.user() for moment in (3, 40, 150)}
        self.users = [self.asking, self.answered, self.stateless, *self.streaming.values()]
        self.ids = {user.provider_key: user.get("/users/me").json["id"] for user in self.users}
        self.sessions = {user.provider_key: user.session() for user in self.users}
        self.seen = dict.fromkeys(self.streaming, "")
        for _ in range(20):
            self.last = self.answered.ask("q", session_id=self.sessions[self.answered.provider_key])
            assert self.last.status == 200
        upstream.scripts |= {user.provider_key: _endless for user in (self.stateless, *self.streaming.values())}
        upstream.scripts[self.asking.provider_key] = _never
        arguments = (self.asking, self.sessions[self.asking.provider_key])
        threading.Thread(target=_swallow, args=arguments, daemon=True).start()
        with contextlib.ExitStack() as open_ones:
            next(iter(open_ones.enter_context(self.stateless.open_stream("tell"))))
            readers = {moment: open_ones.enter_context(self._tell(user)) for moment, user in self.streaming.items()}
            for moment, reader in readers.items():
                for event in reader:
                    if event.event == "text":
                        self.seen[moment] += event.data["text"]
                        if len(self.seen[moment].split()) >= moment:
                            break
            assert until(lambda: upstream.calls(self.asking.provider_key))
            server.kill()
            # What the kernel had for the client already is what it saw, too.
            for moment, reader in readers.items():
                with contextlib.suppress(OSError, ValueError, KeyError):
                    for event in reader:
                        self.seen[moment] += event.data["text"]
        server.start()
        self.journals = _journals(server)
        for user in self.users:
            user.url = server.url

    def _tell(self, user: Client) -> StreamReader:
        return user.open_stream("tell", session_id=self.sessions[user.provider_key])

    def kept(self, user: Client) -> list[dict[str, Any]]:
        return user.get(f"/sessions/{self.sessions[user.provider_key]}/messages/").json

    def rows(self, user: Client) -> list[dict[str, Any]]:
        return rows(self.server, user_id=self.ids[user.provider_key])


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[_Died]:
    server = Server(tmp_path_factory.mktemp("died"), {}, upstream.url).start()
    try:
        yield _Died(server, upstream)
    finally:
        server.kill()


def test_killed_between_question_and_answer(died: _Died, upstream: Upstream):
    user = died.asking
    kept = died.kept(user)
    assert [(each["role"], each["content"]) for each in kept] == [("user", "question")]
    [row] = died.rows(user)
    session = died.sessions[user.provider_key]
    assert (row["outcome"], row["session_id"], row["message_id"]) == ("interrupted", session, kept[0]["id"])
    upstream.scripts.pop(user.provider_key)
    assert user.ask("again", session_id=session).json["response_text"] == "echo: again"


@pytest.mark.parametrize("moment", [3, 40, 150])
def test_killed_in_the_middle_of_a_stream(died: _Died, moment: int):
    kept = died.kept(died.streaming[moment])
    assert len(kept) == 2
    assert (kept[1]["status"], kept[1]["status_reason"]) == ("partial", "interrupted")
    assert len(died.seen[moment].split()) >= moment
    assert kept[1]["content"].startswith(died.seen[moment])
    assert kept[1]["parent_message_id"] == kept[0]["id"]
    [row] = died.rows(died.streaming[moment])
    assert (row["outcome"], row["usage_estimated"], row["message_id"]) == ("interrupted", 1, kept[1]["id"])
    assert all(size < 1000 for size in died.journals)


def test_what_was_answered_whole_is_there_after_a_kill(died: _Died):
    kept = died.kept(died.answered)
    assert len(kept) == 40
    assert kept[-1] == died.last.json["assistant_message"]
    assert len(died.rows(died.answered)) == 20


def test_a_stateless_call_that_died_is_in_the_ledger(died: _Died):
    assert [row["outcome"] for row in died.rows(died.stateless)] == ["interrupted"]


def test_recovery_leaves_the_journals_of_the_living_alone(new_server, upstream, tmp_path: Path):
    first = new_server()
    user = first.user()
    session = user.session()
    upstream.scripts[user.provider_key] = _endless
    with user.open_stream("tell", session_id=session) as reader:
        next(iter(reader))
        second = new_server(data_dir=first.data_dir)
        other = Client(second.url, user.token)
        during = other.get(f"/sessions/{session}/messages/").json
        assert [(each["role"], each["status"]) for each in during] == [("user", "complete"), ("assistant", "running")]
    wait_for_rows(first, 1)
    kept = other.get(f"/sessions/{session}/messages/").json
    assert [(each["role"], each["status_reason"]) for each in kept] == [("user", None), ("assistant", "client_left")]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 6 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if (
        not mounted
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=False).returncode
    ):
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(new_server, upstream, small_disk: Path):
    server = new_server(data_dir=small_disk / "data")
    user = server.user()
    session = user.session()
    assert user.ask("before", session_id=session).status == 200
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    big = "x" * 200_000
    stored = user.post(f"/sessions/{session}/messages/", {"role": "user", "content": big})
    assert (stored.status, stored.json["code"]) == (507, "storage_full")
    before = len(upstream.calls(user.provider_key))
    refused = user.ask(big, session_id=session)
    assert (refused.status, refused.json["code"]) == (507, "storage_full")
    assert len(upstream.calls(user.provider_key)) == before, "nothing is spent on what cannot be kept"
    assert user.get(f"/sessions/{session}/messages/").status == 200
    # A stateless answer is paid and delivered; its row waits for room.
    assert user.post(
        "/llm/chat-completions/",
        {"messages": [{"role": "user", "content": "x"}], "provider": "openai", "model": "m"},
    ).status == 200  # fmt: skip
    ballast.unlink()
    until = time.monotonic() + 10
    while user.get("/readyz").status != 200 and time.monotonic() < until:
        time.sleep(0.1)
    assert user.get("/readyz").status == 200
    assert user.ask("after", session_id=session).status == 200
    wait_for_rows(server, 3)
    server.stop()
    server.start()
    user.url = server.url
    contents = [each["content"] for each in user.get(f"/sessions/{session}/messages/").json]
    assert contents == ["before", "echo: before", "after", "echo: after"]


class _Staged:
    """A turn with a tool of one user, run until it is at its moment. ``events`` is what the client saw."""

    def __init__(self, server: Server, upstream, tools, moment: str, *, stream: bool, stored: bool) -> None:
        self.moment, self.stream, self.stored = moment, stream, stored
        self.user = server.user()
        self.user_id = self.user.get("/users/me").json["id"]
        connection = {"name": "calculator", "url": tools.url, "timeout_seconds": 30}
        assert self.user.post("/mcp-connections/", connection).status == 201
        self.session = self.user.session() if stored else None
        if self.session:
            body = {"memory_type": "Fact", "content": "It is late."}
            assert self.user.post(f"/sessions/{self.session}/memory", body).status == 201
        self.events = []
        self.go_on = asyncio.Event()
        self.waits = 0
        self.upstream = upstream
        upstream.scripts[self.user.provider_key] = self._script
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def is_there(self) -> bool:
        if self.moment == "tool":
            return not self.stream or any(event.event == "tool_call" for event in self.events)
        seen = "".join(event.data["text"] for event in self.events if event.event == "text")
        return self.waits > 0 and (
            not self.stream or seen == {"first": "Let me see. "}.get(self.moment, "Let me see. It ")
        )

    def _ask(self) -> None:
        body = {"llm_params": {"tool_choice": "auto"}} | ({"session_id": self.session} if self.session else {})
        with contextlib.suppress(OSError, ValueError, KeyError, AssertionError):
            if self.stream:
                with self.user.open_stream("question", **body) as reader:
                    self.events.extend(reader)
            else:
                self.user.ask("question", **body)

    async def _script(self, conversation: Conversation) -> None:
        second = "tool" in [message["role"] for message in conversation.seen.json["messages"]]
        if second:
            parts = (Text("It says: 5"),)
            answered = reply(*parts, usage=Usage(input_tokens=20, output_tokens=70, cache_read_tokens=10))
        else:
            name, arguments = ("slow", '{"seconds": 20}') if self.moment == "tool" else ("add", '{"a": 2, "b": 3}')
            call = ToolCall("call_1", name, arguments)
            answered = reply(Text("Let me see. "), call, usage=Usage(input_tokens=10, output_tokens=50))
        waits = self.moment == "first" or (second and self.moment in ("second", "settling"))
        if not self.stream:
            await self._wait(conversation, waits)
            await conversation.whole(PROVIDERS["openai"].codec.encode_reply(answered))
            return
        encoder = PROVIDERS["openai"].codec.stream_encoder()
        await conversation.head()
        for event in events_of(answered):
            if isinstance(event, PartDelta):
                half = event.text if event.text.startswith("Let") else event.text[:3]
                await conversation.chunk(encoder.feed(PartDelta(event.index, half)))
                if rest := event.text[len(half) :]:
                    await self._wait(conversation, waits)
                    await conversation.chunk(encoder.feed(PartDelta(event.index, rest)))
            elif data := encoder.feed(event):
                await conversation.chunk(data)
        await conversation.chunk(encoder.close())
        await conversation.end()

    async def _wait(self, conversation: Conversation, waits: bool) -> None:
        if waits:
            self.waits += 1
            if self.moment != "settling":
                await conversation.until_left(60)
            await asyncio.wait_for(self.go_on.wait(), 60)


def test_killed_at_each_moment_of_a_turn_with_a_tool(new_server, upstream):
    with running_tools() as tools:
        server = new_server(RINI_ALLOWED_PRIVATE_HOSTS=f"127.0.0.1:{tools.port}")
        moments = ("first", "tool", "second", "settling")
        turns = [
            _Staged(server, upstream, tools, moment, stream=stream, stored=stored)
            for moment in moments
            for stream, stored in ((True, True), (False, True), (True, False))
        ]
        assert until(lambda: all(turn.is_there() for turn in turns), 20), [
            (turn.moment, turn.stream, turn.events) for turn in turns if not turn.is_there()
        ]
        time.sleep(0.3)  # the whole answers' tools are called by now
        with closing(sqlite3.connect(server.data_dir / "rini.db", isolation_level=None)) as held, held:
            held.execute("BEGIN IMMEDIATE")
            for turn in turns:
                upstream._loop.call_soon_threadsafe(turn.go_on.set)
            streamed = [turn for turn in turns if turn.moment == "settling" and turn.stream]
            assert until(lambda: all("says" in str(turn.events[-1].data) for turn in streamed))
            time.sleep(0.3)
            server.kill()
            held.execute("ROLLBACK")
        for turn in turns:
            turn.thread.join(10)
        for start in range(2):
            if start:
                server.kill()
            server.start()
            for turn in turns:
                turn.user.url = server.url
                _recovered(server, turn)
            (size,) = _journals(server)
            assert size < 1000
        for turn in turns:
            if turn.stored:
                upstream.scripts.pop(turn.user.provider_key)
                assert turn.user.ask("again", session_id=turn.session).json["response_text"] == "echo: again"


def _recovered(server: Server, turn: _Staged) -> None:
    what = (turn.moment, turn.stream, turn.stored)
    first, *others = rows(server, user_id=turn.user_id)
    booked = (first["outcome"], first["usage_estimated"], first["input_tokens"], first["output_tokens"])
    assert len(others) == (turn.moment in ("second", "settling")), what
    if turn.moment == "first":
        assert booked[:2] == ("interrupted", 1), what
    else:
        assert booked == ("complete", 0, 10, 50), what
    for second in others:
        whole = turn.moment == "settling" and not turn.stored  # its client had all of it, and the journal its row
        assert second["outcome"] == ("complete" if whole else "interrupted"), what
        if turn.moment == "settling" and turn.stream:
            counted = (second["usage_estimated"], second["input_tokens"], second["output_tokens"])
            assert (*counted, second["cache_read_tokens"]) == (0, 20, 70, 10), what
        else:
            assert second["usage_estimated"] == 1
    if not turn.stored:
        return
    question, *answers = turn.user.get(f"/sessions/{turn.session}/messages/").json
    assert question["content"] == "question"
    assert len(answers) == (turn.moment != "first" or turn.stream), what
    seen = {event.event: event.data for event in turn.events if event.event.startswith("tool")}
    for answer in answers:
        assert (answer["status"], answer["status_reason"]) == ("partial", "interrupted")
        assert len(answer["memory_ids"]) == 1
        (use,) = answer["tool_calls"]
        assert use["result"] == {"first": None, "tool": None}.get(turn.moment, "5"), what
        assert "tool_call" not in seen or seen["tool_call"]["id"] == use["id"]
        text = {"first": "Let me see. ", "tool": "Let me see. ", "settling": "It says: 5"}.get(turn.moment, "It ")
        assert answer["content"] == (text if turn.stream or turn.moment == "tool" else ""), what
        assert {row["message_id"] for row in (first, *others)} == {answer["id"]}
