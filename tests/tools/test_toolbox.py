"""What is offered to a model, and what becomes of its calls."""

import asyncio
import json
import uuid
from typing import Any

import pytest
from structlog.testing import capture_logs

from rini.canon import Text, ToolCall, ToolChoice
from rini.errors import NotFoundError, NoToolsError, ToolServerError
from rini.telemetry import metrics
from rini.tools import connections, listings
from rini.tools.results import MAX_CHARACTERS
from rini.tools.toolbox import Offer, Toolbox, ToolOutcome
from tests.support.upstream import Conversation, Upstream
from tests.tools.conftest import Box, server, until
from tests.tools.lying import methods, speaking, text, tool


class Liars:
    """Lying servers, each with a key of its own."""

    def __init__(self, upstream: Upstream, box: Box) -> None:
        self.upstream = upstream
        self.box = box

    def connect(self, tools: Any, call: Any = None, **changes: Any) -> tuple[int, str]:
        """Connect a server for the box's user; return the connection's id and the server's key."""
        key = f"liar-{uuid.uuid4().hex}"
        self.upstream.scripts[key] = tools if callable(tools) else speaking(tools, call)
        return self.box.connect(f"{self.upstream.url}/mcp", key, **changes), key

    def lists(self, key: str) -> int:
        return methods(self.upstream.calls(key)).count("tools/list")


@pytest.fixture
def liars(upstream: Upstream, box: Box) -> Liars:
    return Liars(upstream, box)


def names(offer: Offer | None) -> list[str]:
    return [each.name for each in offer.tools] if offer else []


def call(name: str, arguments: Any = "{}") -> ToolCall:
    return ToolCall("c1", name, arguments if isinstance(arguments, str) else json.dumps(arguments))


def calling(box: Box, *calls: ToolCall) -> list[ToolOutcome]:
    """Offer the box's tools and make some calls."""

    async def work(tools: Toolbox) -> list[ToolOutcome]:
        offer = await tools.offer(box.user, "auto")
        assert offer is not None
        return [await tools.call(offer, each) for each in calls]

    return box.run(work)


def said(outcome: ToolOutcome) -> str:
    assert all(isinstance(part, Text) for part in outcome.result.content)
    return "".join(part.text for part in outcome.result.content)


# Offers.


def test_without_connections_there_is_nothing_to_offer(box: Box):
    async def work(tools: Toolbox) -> None:
        assert await tools.offer(box.user, "auto") is None
        for choice in ("required", "search"):
            with pytest.raises(NoToolsError, match="there are no tools to offer"):
                await tools.offer(box.user, choice)

    box.run(work)


def test_all_tools_are_offered_in_an_order_that_stays(box: Box, liars: Liars):
    turned = iter([[tool("b"), tool("a")], [tool("a"), tool("b")]])
    liars.connect(speaking(lambda _params: {"tools": next(turned)}))
    liars.connect([tool("search")])

    async def work(tools: Toolbox) -> None:
        first = await tools.offer(box.user, "auto")
        tools._listings._kept.clear()
        assert names(await tools.offer(box.user, "auto")) == names(first) == ["a", "b", "search"]
        assert first.tools[0].description == "a."
        assert first.tools[0].parameters == {"type": "object", "properties": {}}
        assert first.choice == ToolChoice("auto")
        assert (await tools.offer(box.user, "required")).choice == ToolChoice("required")
        assert (await tools.offer(box.user, "search")).choice == ToolChoice("tool", ("search",))
        with pytest.raises(NoToolsError, match="one of a, b, search"):
            await tools.offer(box.user, "serach")
        assert await tools.offer(box.other, "auto") is None

    box.run(work)


def test_tools_of_one_name_are_told_apart(box: Box, liars: Liars):
    liars.connect([tool("search"), tool("mine")], text("from one"), name="One & only")
    liars.connect([tool("search")], text("from two"), name="two")

    async def work(tools: Toolbox) -> None:
        offer = await tools.offer(box.user, "mine")
        assert names(offer) == ["mine", "One_only__search", "two__search"]
        outcomes = [await tools.call(offer, call(name)) for name in ("One_only__search", "two__search")]
        assert [said(outcome) for outcome in outcomes] == ["from one", "from two"]
        assert [(each.connection, each.tool) for each in outcomes] == [("One & only", "search"), ("two", "search")]
        with pytest.raises(NoToolsError, match="One_only__search, two__search"):
            await tools.offer(box.user, "search")

    box.run(work)


def test_an_own_name_that_one_tool_alone_has_may_be_asked_for(box: Box, liars: Liars):
    liars.connect([tool("my.tool")], name="x")

    async def work(tools: Toolbox) -> None:
        assert (await tools.offer(box.user, "my.tool")).choice == ToolChoice("tool", ("x__my_tool",))

    box.run(work)


def test_the_operators_servers_are_everybodys(box: Box, liars: Liars, upstream: Upstream):
    liars.connect([tool("mine")])
    key = f"liar-{uuid.uuid4().hex}"
    upstream.scripts[key] = speaking([tool("shared"), tool("hidden")], text("shared"))
    shared = server(f"{upstream.url}/mcp", key, key="server_x", connection_id=None, allowed_tools=frozenset({"shared"}))

    async def work(tools: Toolbox) -> None:
        assert names(await tools.offer(box.user, "auto")) == ["shared", "mine"]
        other = await tools.offer(box.other, "auto")
        assert names(other) == ["shared"]
        assert said(await tools.call(other, call("shared"))) == "shared"

    box.run(work, shared)


def test_only_what_is_allowed_and_enabled_is_offered(box: Box, liars: Liars):
    liars.connect([tool("a"), tool("b")], allowed_tools=["b", "c"])
    liars.connect([tool("off")], enabled=False)
    assert names(box.run(lambda tools: tools.offer(box.user, "auto"))) == ["b"]


def test_at_most_128_tools_are_offered(box: Box, liars: Liars):
    liars.connect([tool(f"t{number:03}") for number in range(200)])
    assert names(box.run(lambda tools: tools.offer(box.user, "auto"))) == [f"t{number:03}" for number in range(128)]


def test_a_server_that_does_not_answer_is_left_out(box: Box, liars: Liars):
    async def stuck(conversation: Conversation) -> None:
        await conversation.until_left(30)

    _, key = liars.connect(stuck, timeout_seconds=0.3, name="stuck one")
    liars.connect([tool("a")])

    async def work(tools: Toolbox) -> None:
        assert names(await tools.offer(box.user, "auto")) == ["a"]
        with pytest.raises(NoToolsError, match="These connections do not answer: stuck one"):
            await tools.offer(box.user, "nothing")
        # It is not waited for again for a while.
        assert len(liars.upstream.calls(key)) == 1

    box.run(work)


def test_a_server_that_was_dead_is_asked_again_later_and_later(box: Box, liars: Liars):
    def fails(_params: Any) -> Any:
        return ValueError("not yet")

    connection, key = liars.connect(speaking(fails))

    async def work(tools: Toolbox) -> None:
        pauses = []
        for _ in range(7):
            began = asyncio.get_running_loop().time()
            assert await tools.offer(box.user, "auto") is None
            kept = tools._listings._kept[f"connection_{connection}"]
            pauses.append(round(kept.until - began, -1))
            kept.until = 0
        assert pauses == [10, 20, 40, 80, 160, 300, 300]
        liars.upstream.scripts[key] = speaking([tool("a")])
        assert names(await tools.offer(box.user, "auto")) == ["a"]

    box.run(work)


def test_lists_are_kept_and_forgotten_when_the_connection_changes(box: Box, liars: Liars):
    connection, key = liars.connect([tool("a"), tool("b")])

    async def work(tools: Toolbox) -> None:
        for _ in range(3):
            assert names(await tools.offer(box.user, "auto")) == ["a", "b"]
        assert liars.lists(key) == 1
        allowed = {"allowed_tools": ["b"]}
        await box.database.write(connections.change, box.keyring, box.user, connection, allowed, None)
        assert names(await tools.offer(box.user, "auto")) == ["b"]
        assert liars.lists(key) == 2
        tools._listings._kept[f"connection_{connection}"].until = 0
        await tools.offer(box.user, "auto")
        assert liars.lists(key) == 3

    box.run(work)


def test_what_is_kept_is_bounded(box: Box, liars: Liars, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listings, "MAX_KEPT_BYTES", 1000)
    for number in range(5):
        liars.connect([tool(f"t{number}", description="x" * 400)])

    async def work(tools: Toolbox) -> None:
        assert len(names(await tools.offer(box.user, "auto"))) == 5
        assert len(tools._listings._kept) == 2
        assert tools._listings._kept_bytes == sum(kept.size for kept in tools._listings._kept.values()) <= 1000

    box.run(work)


def test_who_asks_at_once_shares_one_list(box: Box, liars: Liars):
    _, key = liars.connect([tool("a")])

    async def work(tools: Toolbox) -> None:
        offers = await asyncio.gather(*(tools.offer(box.user, "auto") for _ in range(10)))
        assert {tuple(names(offer)) for offer in offers} == {("a",)}
        assert liars.lists(key) == 1

    box.run(work)


def test_servers_are_asked_side_by_side(box: Box, liars: Liars):
    waiting: list[Conversation] = []

    async def together(conversation: Conversation) -> None:
        waiting.append(conversation)
        await until(lambda: len(waiting) >= 3)
        await speaking([tool("x")])(conversation)

    for _ in range(3):
        liars.connect(together)
    assert len(names(box.run(lambda tools: tools.offer(box.user, "auto")))) == 3


def test_headers_that_do_not_open_leave_the_connection_out(box: Box, liars: Liars):
    connection, _ = liars.connect([tool("a")])
    moved, _ = liars.connect([tool("b")])

    def unit(database: Any) -> None:
        table = connections.mcp_connections
        sealed = connections.get(database, box.user, connection).sealed_headers
        database.execute(table.update().where(table.c.id == moved).values(sealed_headers=sealed))

    box.database.write_sync(unit)

    async def work(tools: Toolbox) -> None:
        assert names(await tools.offer(box.user, "auto")) == ["a"]
        assert "do not open under any master key" in (await tools.try_out(box.user, moved)).detail

    box.run(work)


# Calls.


def test_a_call_is_answered(box: Box, liars: Liars):
    given: list[Any] = []

    def answer(params: Any) -> Any:
        given.append(params)
        return text("sunny")

    liars.connect([tool("weather")], answer, name="sky")
    (outcome,) = calling(box, call("weather", {"city": "서울"}))
    assert given[0]["name"] == "weather"
    assert given[0]["arguments"] == {"city": "서울"}
    assert outcome.result.call_id == "c1"
    assert (outcome.result.name, outcome.result.is_error, said(outcome)) == ("weather", False, "sunny")
    assert (outcome.connection, outcome.tool, outcome.outcome) == ("sky", "weather", "ok")
    assert outcome.ms >= 0


@pytest.mark.parametrize("arguments", ["[1]", "null", "7", '{"a": 1', '"text"', "{" * 100_000, '{"a": NaN}', "\ud800"])
def test_arguments_that_are_no_object_are_told_to_the_model(box: Box, liars: Liars, arguments: str):
    _, key = liars.connect([tool("a")])
    (outcome,) = calling(box, call("a", arguments))
    assert (outcome.outcome, outcome.result.is_error) == ("bad_arguments", True)
    assert "not a JSON object" in said(outcome)
    assert "tools/call" not in methods(liars.upstream.calls(key))


def test_no_arguments_are_none(box: Box, liars: Liars):
    liars.connect([tool("a")], lambda params: text(json.dumps(params["arguments"])))
    assert [said(outcome) for outcome in calling(box, call("a", ""), call("a", " "))] == ["{}", "{}"]


def test_a_tool_that_is_not_there_is_told_to_the_model(box: Box, liars: Liars):
    liars.connect([tool("a")])
    (outcome,) = calling(box, call("b"))
    assert (outcome.outcome, outcome.result.is_error, outcome.connection) == ("unknown_tool", True, "")
    assert "no tool of that name" in said(outcome)


@pytest.mark.parametrize(
    ("result", "outcome", "words"),
    [
        ({**text("it broke"), "isError": True}, "tool_error", "it broke"),
        (ValueError("quota used up"), "tool_error", "The server refused: quota used up"),
        ({"content": 7}, "failed", "does not have the form"),
        ({"content": []}, "ok", "[The tool answered with nothing.]"),
        ({"content": [], "structuredContent": {"a": "é"}}, "ok", '{"a": "é"}'),
        ({**text("words"), "structuredContent": {"a": 1}}, "ok", "words"),
        ({"content": [{"type": "text", "text": "a\0b"}]}, "ok", "a�b"),
        (
            {"content": [{"type": "image", "data": "A" * 16000, "mimeType": "image/png"}]},
            "ok",
            "[image/png, 12 kB: not shown]",
        ),
        (
            {"content": [{"type": "resource", "resource": {"uri": "a://b", "text": "inside"}}]},
            "ok",
            "inside",
        ),
        (
            {"content": [{"type": "resource", "resource": {"uri": "a://b", "blob": "AAAA"}}]},
            "ok",
            "[a file, 3 bytes: not shown]",
        ),
        (
            {"content": [{"type": "resource_link", "uri": "a://b", "name": "b"}]},
            "ok",
            "[a link to a://b: not followed]",
        ),
    ],
)
def test_whatever_a_tool_answers_becomes_text(box: Box, liars: Liars, result: Any, outcome: str, words: str):
    liars.connect([tool("a")], lambda _params: result)
    (found,) = calling(box, call("a"))
    assert (found.outcome, found.result.is_error) == (outcome, outcome != "ok")
    assert words in said(found)


def test_a_long_answer_is_cut(box: Box, liars: Liars):
    many = {"content": [{"type": "text", "text": "x" * 60_000}] * 3}
    liars.connect([tool("a")], many)
    (outcome,) = calling(box, call("a"))
    assert said(outcome) == "x" * MAX_CHARACTERS + "[cut here: 80000 more characters]"
    assert outcome.outcome == "ok"


def test_a_call_that_is_not_answered_is_told_to_the_model(box: Box, liars: Liars):
    async def stuck(conversation: Conversation) -> None:
        if conversation.seen.method == "POST" and conversation.seen.json["method"] == "tools/call":
            await conversation.until_left(30)
        await speaking([tool("a")])(conversation)

    liars.connect(stuck, timeout_seconds=0.4)
    (outcome,) = calling(box, call("a"))
    assert (outcome.outcome, said(outcome)) == ("timeout", "The server did not answer within 0.4 seconds.")
    assert outcome.result.is_error


def test_calls_are_logged_and_counted_without_what_was_said(box: Box, liars: Liars):
    connection, key = liars.connect([tool("a")], text("an answer"), name="a user's words")
    refused, _ = liars.connect(speaking(extra={"initialize": ValueError("a server's words")}))
    before = count("ok"), count("unknown_tool")
    with capture_logs() as events:
        calling(box, call("a", {"city": "a question"}), call("a model's words"))
    assert count("ok") == before[0] + 1
    assert count("unknown_tool") == before[1] + 1
    failed, first, second = (event for event in events if event["event"].startswith("tool"))
    assert failed.pop("ms") >= 0 <= first.pop("ms")
    assert failed | {"module": ""} == {
        "event": "tool_server_failed", "log_level": "warning", "module": "", "connection_id": refused,
        "reason": "refused",
    }  # fmt: skip
    assert first | {"module": ""} == {
        "event": "tool_called", "log_level": "info", "module": "", "connection_id": connection, "tool": "a",
        "outcome": "ok",
    }  # fmt: skip
    assert second["outcome"] == "unknown_tool"
    assert not any(secret in repr(events) for secret in ("words", "answer", "question", key))


def count(outcome: str) -> float:
    return metrics._tool_calls.labels(outcome)._value.get()


# Trying out and inspecting.


def test_a_connection_is_tried(box: Box, liars: Liars):
    connection, _ = liars.connect([tool("a"), tool("b", inputSchema={"type": "string"})])
    refused, _ = liars.connect(speaking(extra={"initialize": ValueError("closed today")}))

    async def work(tools: Toolbox) -> None:
        tried = await tools.try_out(box.user, connection)
        assert (tried.ok, tried.tools, tried.server_name, tried.protocol_version) == (True, 2, "liar", "2025-06-18")
        failed = await tools.try_out(box.user, refused)
        assert (failed.ok, failed.detail, failed.tools) == (False, "The server refused: closed today", None)
        for method in (tools.try_out, tools.inspect):
            with pytest.raises(NotFoundError):
                await method(box.other, connection)
        with pytest.raises(ToolServerError, match="closed today"):
            await tools.inspect(box.user, refused)

    box.run(work)


def test_tools_say_under_which_name_they_are_offered_or_why_not(box: Box, liars: Liars):
    connection, key = liars.connect(
        [tool("search"), tool("n" * 300), tool("bad", inputSchema={"type": "string"}), tool("hidden")],
        name="one",
        allowed_tools=["search", "n" * 300, "bad"],
    )
    liars.connect([tool("search")], name="two")
    off, _ = liars.connect([tool("x")], enabled=False)

    async def work(tools: Toolbox) -> None:
        found = {each.name: each for each in await tools.inspect(box.user, connection)}
        assert found["search"].offered_as == "one__search"
        assert len(found["n" * 300].offered_as) == 64
        assert {name for name, each in found.items() if each.offered} == {"search", "n" * 300}
        assert "`type` must be `object`" in found["bad"].reason
        assert "allowed_tools" in found["hidden"].reason
        (unused,) = await tools.inspect(box.user, off)
        assert (unused.offered, unused.offered_as, unused.reason) == (False, None, "The connection is not enabled.")
        # It is asked each time, and what it says is known from then on.
        liars.upstream.scripts[key] = speaking([tool("search"), tool("new")])
        assert [each.name for each in await tools.inspect(box.user, connection)] == ["new", "search"]

    box.run(work)
