"""Asking servers: real ones over each transport, dead, slow, lying and huge ones, and such that lead inward."""

import asyncio
import json
import logging
import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from structlog.testing import capture_logs

from rini.tools import answer_size, child, resident
from rini.tools.client import ToolClient
from rini.tools.guarded_http import GuardedHttp
from rini.tools.server import NoAnswerError, ToolServer
from tests.support.upstream import Conversation, Script, Upstream
from tests.tools.conftest import SMALL, asking, is_alive, server, until
from tests.tools.lying import INITIALIZED, methods, speaking, text, tool

REAL_TOOLS = ["add", "boom", "die", "environment", "long", "mixed", "slow"]
# Where the real server is, and how it is spoken to: as it says, or as servers were from before 2026-07-28.
WAYS = {
    "streamable_http": ("/mcp", None),
    "streamable_http-initialize": ("/mcp", "initialize"),
    "sse": ("/sse", None),
    "sse-initialize": ("/sse", "initialize"),
    "stdio": ("", None),
}
every_way = pytest.mark.parametrize(("path", "era"), WAYS.values(), ids=WAYS)


def at(real: str, path: str, **changes: Any) -> ToolServer:
    return server(real + path if path else "", **changes)


class Lies:
    """A lying server of a test's own."""

    def __init__(self, upstream: Upstream) -> None:
        self.key = f"liar-{uuid.uuid4().hex}"
        self.upstream = upstream

    def __call__(self, script: Script, path: str = "/mcp", **changes: Any) -> Any:
        self.upstream.scripts[self.key] = script
        return server(self.upstream.url + path, self.key, **changes)

    @property
    def seen(self) -> list[Any]:
        return self.upstream.calls(self.key)


@pytest.fixture
def lies(upstream: Upstream) -> Lies:
    return Lies(upstream)


def refusal(target: Any, *, call: bool = False, **asked: Any) -> NoAnswerError:
    """Ask, and return what was said instead of an answer."""

    async def work(client: ToolClient) -> NoAnswerError:
        with pytest.raises(NoAnswerError) as found:
            await (client.call_tool(target, None, "x", {}) if call else client.list_tools(target))
        return found.value

    return asking(work, **asked)


# Real servers.


@every_way
def test_tools_are_listed_and_called(real: str, path: str, era: str | None):
    target = at(real, path)

    async def work(client: ToolClient) -> None:
        listing = await client.list_tools(target, era)
        assert [each.name for each in listing.tools] == REAL_TOOLS
        assert (listing.server_name, {each.reason for each in listing.tools}) == ("real", {None})
        add = listing.tools[0]
        assert (add.description, set(add.parameters["properties"])) == ("Add two numbers.", {"a", "b"})
        result = await client.call_tool(target, listing.era, "add", {"a": 1, "b": 2})
        assert (result["content"][0]["text"], result["isError"]) == ("3", False)
        failed = await client.call_tool(target, listing.era, "boom", {})
        assert failed["isError"] is True

    asking(work)


@every_way
def test_a_caller_that_leaves_ends_the_call(real: str, path: str, era: str | None, tmp_path: Path):
    note = tmp_path / "note"

    async def work(client: ToolClient) -> None:
        call = asyncio.create_task(client.call_tool(at(real, path), era, "slow", {"seconds": 60, "note": str(note)}))
        await until(note.exists, 20)
        call.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert time.monotonic() - began < 5
        await until(lambda: note.read_text() == "cancelled")

    asking(work)


@every_way
def test_a_slow_tool_costs_its_limit(real: str, path: str, era: str | None, tmp_path: Path):
    note = tmp_path / "note"

    async def work(client: ToolClient) -> None:
        await client.list_tools(at(real, path))
        limited = at(real, path, timeout=1.0)
        with pytest.raises(NoAnswerError, match="did not answer within 1 seconds") as found:
            await client.call_tool(limited, era, "slow", {"seconds": 60, "note": str(note)})
        assert found.value.kind == "timeout"
        await until(lambda: note.read_text() == "cancelled")

    asking(work)


def test_a_wrong_token_is_told(real: str):
    for path in ("/mcp", "/sse"):
        told = refusal(server(real + path, "wrong-token-12345"))
        assert str(told) == "The server answered 401 Unauthorized: it does not take the connection's headers."


# Child processes.


async def told_environment(client: ToolClient, **changes: Any) -> dict[str, str]:
    """Return the environment of the operator's small server, with its process's id."""
    found = await client.call_tool(server("", **({"command": SMALL} | changes)), None, "environment", {})
    return json.loads(found["content"][0]["text"])


def test_a_child_gets_no_secret_of_the_server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RINI_API_MASTER_KEY", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    found = asking(lambda client: told_environment(client, environment={"TOKEN": "mine"}))
    assert set(found) - {"LC_CTYPE"} <= {"PATH", "HOME", "LANG", "TOKEN", "pid"}
    assert found["TOKEN"] == "mine"


def test_a_child_lives_on_and_is_gone_at_the_end():
    async def work(client: ToolClient) -> tuple[int, int, int]:
        first, again = [int((await told_environment(client))["pid"]) for _ in range(2)]
        with pytest.raises(NoAnswerError, match="closed the connection"):
            await client.call_tool(server("", command=SMALL), None, "die", {})
        await until(lambda: not is_alive(first))
        return first, again, int((await told_environment(client))["pid"])

    with capture_logs() as events:
        first, again, other = asking(work)
    assert first == again != other
    assert not is_alive(other)
    assert [(event["event"], event["server"], event["status"]) for event in events] == [
        ("tool_server_ended", "test", 3)
    ]


def test_a_child_that_idles_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resident, "IDLE_SECONDS", 0.2)

    async def work(client: ToolClient) -> None:
        pid = int((await told_environment(client))["pid"])
        await until(lambda: not is_alive(pid))
        assert int((await told_environment(client))["pid"]) != pid

    asking(work)


def test_a_child_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child, "_LEAVE_SECONDS", 0.2)

    async def work(client: ToolClient) -> None:
        pid = int((await told_environment(client))["pid"])
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(NoAnswerError, match="did not answer within"):
            await told_environment(client, timeout=0.3)
        assert int((await told_environment(client))["pid"]) != pid
        await until(lambda: not is_alive(pid))

    asking(work)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("/nonexistent/program",), "The server's command cannot be started: No such file or directory."),
        (("false",), "The server closed the connection without an answer."),
        (("sh", "-c", "head -c 9000000 /dev/zero | tr '\\0' x; sleep 60"), "The server answered with more than 8 MiB."),
    ],
)
def test_a_command_that_is_no_server_is_told(command: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child, "_LEAVE_SECONDS", 0.2)
    assert str(refusal(server("", command=command))) == sentence


def test_what_a_child_left_behind_does_not_hold_up_its_end(tmp_path: Path):
    """A descendant in a session of its own keeps the pipes open."""
    file = tmp_path / "pid"
    small = " ".join(SMALL)
    command = ("sh", "-c", f"setsid sh -c 'echo $$ > {file}; exec sleep 60' & exec {small}")

    async def work(client: ToolClient) -> int:
        pid = int((await told_environment(client, command=command))["pid"])
        await until(lambda: file.exists() and file.read_text())
        return pid

    began = time.monotonic()
    try:
        pid = asking(work)
    finally:
        os.kill(int(file.read_text()), signal.SIGKILL)
    assert not is_alive(pid)
    assert time.monotonic() - began < 6


# Dead, slow, lying and huge ones.


async def says_nothing(conversation: Conversation) -> None:
    await conversation.until_left(30)


async def drips(conversation: Conversation) -> None:
    await conversation.head(content_type="application/json")
    for _ in range(1000):
        await conversation.chunk(" ")
        await asyncio.sleep(0.05)


async def drips_events(conversation: Conversation) -> None:
    await conversation.head()
    for _ in range(1000):
        await conversation.chunk(": still there\n\n")
        await asyncio.sleep(0.05)


async def answers_another(conversation: Conversation) -> None:
    await conversation.whole({"jsonrpc": "2.0", "id": 999, "result": {}})


@pytest.mark.parametrize(
    ("script", "path"),
    [
        (says_nothing, "/mcp"),
        (says_nothing, "/sse"),
        (drips, "/mcp"),
        (drips_events, "/mcp"),
        (drips_events, "/sse"),
        (answers_another, "/mcp"),
    ],
)
def test_what_never_answers_costs_its_limit(lies: Lies, script: Script, path: str):
    began = time.monotonic()
    told = refusal(lies(script, path, timeout=0.5))
    assert time.monotonic() - began < 8
    assert (str(told), told.kind) == ("The server did not answer within 0.5 seconds.", "timeout")


async def is_huge(conversation: Conversation) -> None:
    await conversation.head(content_type="application/json")
    for _ in range(100):
        await conversation.chunk(b"x" * 1024 * 1024)


async def is_hugely_told(conversation: Conversation) -> None:
    await conversation.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000000\r\n\r\n")
    await conversation.until_left()


async def floods(conversation: Conversation) -> None:
    if conversation.seen.method == "POST":
        await speaking()(conversation)
        return
    await conversation.head()
    await conversation.chunk("event: endpoint\ndata: /messages\n\n")
    while True:
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 65536}}
        await conversation.chunk(f"event: message\ndata: {json.dumps(note)}\n\n")


@pytest.mark.parametrize(("script", "path"), [(is_huge, "/mcp"), (is_hugely_told, "/mcp"), (floods, "/sse")])
def test_a_huge_answer_is_not_taken(lies: Lies, script: Script, path: str):
    assert str(refusal(lies(script, path))) == "The server answered with more than 8 MiB."


def test_all_answers_together_are_bounded(lies: Lies, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answer_size, "MAX_BYTES", 100_000)
    page = {"tools": [tool("a", description="x" * 30_000)], "nextCursor": "more"}
    told = refusal(lies(speaking(lambda _params: page)))
    assert "The server answered with more than" in str(told)
    assert len(lies.seen) < 10


def test_an_answer_of_too_many_values_is_not_read(lies: Lies):
    result = {"content": [], "structuredContent": {"a": [[]] * 200_000}}
    told = refusal(lies(speaking(call=result)), call=True)
    assert str(told) == "The server answered with more than 100000 values."


async def is_garbage(conversation: Conversation) -> None:
    await conversation.whole(b"\xff\xfe<garbage>", content_type="application/json")


async def is_a_page(conversation: Conversation) -> None:
    await conversation.whole(b"<html>hello", content_type="text/html")


async def is_broken(conversation: Conversation) -> None:
    await conversation.whole({"oops": True}, 500, content_type="text/plain")


async def hangs_up(conversation: Conversation) -> None:
    raise ConnectionError


async def is_no_http(conversation: Conversation) -> None:
    await conversation.raw(b"SSH-2.0-OpenSSH_9.9\r\n")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (is_garbage, "not a message of MCP"),
        (is_a_page, "The server answered with text/html, which is not a message of MCP."),
        (is_broken, "The server answered 500 Internal Server Error."),
        (hangs_up, "closed the connection before it answered"),
        (is_no_http, "not HTTP/1.1"),
        (speaking(extra={"initialize": {"protocolVersion": "1999-01-01"}}), "does not have the form"),
        (speaking(extra={"initialize": []}), "not a message of MCP"),
        (speaking(lambda _params: {"tools": "many"}), "does not have the form"),
        (speaking(lambda _params: {}), "does not have the form"),
        (speaking(extra={"tools/list": ValueError("not today\n\nreally")}), "The server refused: not today really"),
    ],
)
def test_a_lie_is_told_in_one_sentence(lies: Lies, script: Script, words: str, caplog: pytest.LogCaptureFixture):
    told = str(refusal(lies(script)))
    # Nor does the library log what the server said.
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert words in told
    assert "\n" not in told


@pytest.mark.parametrize(
    "result",
    [
        {"content": "text"},
        {"content": [{"type": "text"}]},
        {"content": [{"type": "image", "data": 7, "mimeType": None}]},
        {"content": [], "isError": "perhaps"},
        {"nothing": True},
    ],
)
def test_a_result_that_is_none_is_told(lies: Lies, result: Any):
    assert "does not have the form" in str(refusal(lies(speaking(call=result)), call=True))


def test_pages_without_an_end_are_cut(lies: Lies):
    async def work(client: ToolClient) -> int:
        number = iter(range(10**6))
        script = speaking(lambda _params: {"tools": [tool(f"t{next(number)}")], "nextCursor": "more"})
        return len((await client.list_tools(lies(script))).tools)

    assert asking(work) == 50
    assert methods(lies.seen).count("tools/list") == 50


def test_one_bad_tool_does_not_spoil_the_others(lies: Lies):
    bad = [7, {}, {"name": ""}, {"name": ["x"]}, tool("no_type", inputSchema={}), tool("list", inputSchema=[])]
    bad += [tool("nul\0name"), tool("n" * 600), tool("good"), tool("good", description="another")]

    async def work(client: ToolClient) -> dict[str, Any]:
        return {each.name: each for each in (await client.list_tools(lies(speaking(bad)))).tools}

    tools = asking(work)
    assert {name for name, each in tools.items() if each.reason is None} == {"good", "no_type"}
    assert tools["good"].description == "good."
    assert tools["list"].reason == "Its input schema is not a JSON object."
    assert "512 characters" in tools["n" * 512].reason


def test_a_servers_own_wishes_are_declined(lies: Lies):
    answers: list[Any] = []

    async def script(conversation: Conversation) -> None:
        message = conversation.seen.json
        if message.get("method") != "tools/call":
            if "method" not in message:
                answers.append(message)
                await conversation.whole(b"", 202)
                return
            await speaking([tool("x")])(conversation)
            return
        await conversation.head()
        for number, method in enumerate(("sampling/createMessage", "elicitation/create", "roots/list")):
            params = (
                {"messages": [], "maxTokens": 5}
                if number == 0
                else {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
                if number == 1
                else {}
            )
            wish = {"jsonrpc": "2.0", "id": f"w{number}", "method": method, "params": params}
            await conversation.chunk(f"event: message\ndata: {json.dumps(wish)}\n\n")
        for _ in range(200):
            if len(answers) == 3:
                break
            await asyncio.sleep(0.02)
        done = {"jsonrpc": "2.0", "id": message["id"], "result": text("done")}
        await conversation.chunk(f"event: message\ndata: {json.dumps(done)}\n\n")
        await conversation.end()

    async def work(client: ToolClient) -> str:
        result = await client.call_tool(lies(script), "initialize", "x", {})
        return result["content"][0]["text"]

    assert asking(work) == "done"
    assert sorted(answer["id"] for answer in answers) == ["w0", "w1", "w2"]
    assert all("error" in answer for answer in answers)


def test_a_server_is_asked_in_its_own_era(lies: Lies):
    async def work(client: ToolClient) -> None:
        target = lies(speaking([tool("x")]))
        listing = await client.list_tools(target)
        assert (listing.protocol_version, listing.era) == ("2025-06-18", "initialize")
        await client.call_tool(target, listing.era, "x", {})

    asking(work)
    asked = [method for method in methods(lies.seen) if not method.startswith("notifications/")]
    assert asked == ["server/discover", "initialize", "tools/list", "initialize", "tools/call"]


# What leads inward.


def redirecting(location: str, status: int = 307) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.whole(b"", status, location=location)

    return script


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
@pytest.mark.parametrize("status", [301, 303, 307, 308])
def test_a_redirect_elsewhere_is_not_followed(lies: Lies, upstream: Upstream, path: str, status: int):
    with Upstream() as inside:
        told = refusal(lies(redirecting(f"{inside.url}/mcp", status), path))
        assert str(told) == (
            f"The server redirects to 127.0.0.1:{inside.port}, which is not followed: store that address instead."
        )
        assert inside.seen == {}
    assert all(each.path == path for each in lies.seen)


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest", "file:///etc/passwd", "http://[::1]/", "//x\\y"])
def test_a_redirect_to_nowhere_is_not_followed(lies: Lies, location: str):
    assert "which is not followed" in str(refusal(lies(redirecting(location))))


def test_a_redirect_to_the_same_server_is_followed(real: str):
    async def work(client: ToolClient) -> None:
        assert (await client.list_tools(server(f"{real}/mcp/"))).server_name == "real"

    asking(work)


def test_messages_go_to_the_same_server_only(lies: Lies):
    with Upstream() as inside:

        async def script(conversation: Conversation) -> None:
            await conversation.head()
            await conversation.chunk(f"event: endpoint\ndata: {inside.url}/messages\n\n")
            await conversation.until_left()

        told = refusal(lies(script, "/sse"))
        assert str(told) == (f"The server wants its messages sent to 127.0.0.1:{inside.port}, which is not followed.")
        assert inside.seen == {}


def test_a_name_that_turns_inward_is_refused(lies: Lies, upstream: Upstream):
    """The first answer of the resolver is allowed; the connection is lost, and then the name leads elsewhere."""
    found = iter(["127.0.0.1"])

    async def resolver(_host: str, _port: int) -> list[str]:
        return [next(found, "127.0.0.2")]

    async def once(conversation: Conversation) -> None:
        await speaking([tool("x")])(conversation)
        raise ConnectionError

    target = server(f"http://tools.example:{upstream.port}/mcp", lies.key)
    upstream.scripts[lies.key] = once
    told = refusal(target, allowed=frozenset({f"127.0.0.1:{upstream.port}"}), resolver=resolver)
    assert "tools.example is inside a private network" in str(told)
    assert methods(lies.seen) == ["server/discover"]


def test_a_private_address_is_refused_without_a_word_to_it(lies: Lies):
    target = lies(speaking())
    assert "inside a private network" in str(refusal(target, allowed=frozenset()))
    assert lies.seen == []


def test_the_operators_servers_may_be_private(lies: Lies):
    async def work(client: ToolClient) -> None:
        listing = await client.list_tools(lies(speaking([tool("x")]), connection_id=None))
        assert [each.name for each in listing.tools] == ["x"]

    asking(work, allowed=frozenset())


def test_a_server_that_tells_the_secret_back_is_not_quoted(lies: Lies):
    told = refusal(lies(speaking(extra={"tools/list": ValueError(f"bad token Bearer {lies.key} or {lies.key}")})))
    assert lies.key not in str(told)
    assert "The server refused: bad token ***" in str(told)


def test_a_goodbye_that_hangs_does_not_hold_up_the_answer(lies: Lies):
    async def script(conversation: Conversation) -> None:
        if conversation.seen.method == "DELETE":
            await conversation.until_left(30)
        elif conversation.seen.method == "POST" and conversation.seen.json["method"] == "initialize":
            answer = {"jsonrpc": "2.0", "id": conversation.seen.json["id"], "result": INITIALIZED}
            await conversation.whole(answer, mcp_session_id="s1")
        else:
            await speaking([tool("a")])(conversation)

    async def work(client: ToolClient) -> None:
        target = lies(script, timeout=3.0)
        assert (await client.call_tool(target, "initialize", "a", {}))["content"][0]["text"] == "called"
        await until(lambda: any(each.method == "DELETE" for each in lies.seen))
        assert lies.seen[-1].headers["mcp-session-id"] == "s1"

    asking(work)


def test_a_connections_own_user_agent_is_sent(lies: Lies):
    async def work(client: ToolClient) -> None:
        target = lies(speaking([tool("a")]))
        await client.list_tools(target)
        await client.list_tools(msgspec.structs.replace(target, headers=dict(target.headers) | {"User-Agent": "mine"}))

    asking(work)
    assert {each.headers["user-agent"] for each in lies.seen} == {"rini", "mine"}
    assert {each.headers["accept-encoding"] for each in lies.seen} == {"identity"}


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:1/mcp", "https://127.0.0.1/mcp", "http://other.example/mcp"])
def test_nothing_is_sent_elsewhere_whatever_the_library_wants(lies: Lies, elsewhere: str):
    told: list[str] = []

    async def work(client: ToolClient) -> None:
        guarded = GuardedHttp(client._transport, lies(speaking()), told.append)
        async with httpx2.AsyncClient(transport=guarded, trust_env=False) as http:
            with pytest.raises(httpx2.TransportError):
                await http.post(elsewhere, json={}, headers=lies(speaking()).headers)

    asking(work)
    assert told == ["The server names an address on another host, which is not followed."]
