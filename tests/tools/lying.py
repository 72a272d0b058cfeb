"""MCP servers that say whatever a test wants, over the scripted upstream."""

import json
from collections.abc import Callable
from typing import Any

from tests.support.upstream import Conversation, Script

Answers = dict[str, Any]
INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "liar", "version": "1"},
}


def tool(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "description": f"{name}.", "inputSchema": {"type": "object", "properties": {}}} | changes


def text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


def speaking(
    tools: list[Any] | Callable[[Any], Any] = (), call: Any = None, *, extra: dict[str, Any] | None = None
) -> Script:
    """Return a script of a server from before 2026-07-28 that lists ``tools`` and answers calls with ``call``.

    A function is given the request's params; what it returns, or what stands there, is the result. ``extra`` replaces results by
    method; an exception's value stands for a JSON-RPC error.
    """
    results: dict[str, Any] = {
        "initialize": INITIALIZED,
        "tools/list": tools if callable(tools) else {"tools": list(tools)},
        "tools/call": call if call is not None else text("called"),
    } | (extra or {})

    async def script(conversation: Conversation) -> None:
        if conversation.seen.method != "POST":
            await conversation.whole({}, 405)
            return
        message = conversation.seen.json
        if "id" not in message:
            await conversation.whole(b"", 202)
            return
        answer = {"jsonrpc": "2.0", "id": message["id"]}
        result = results.get(message["method"])
        if callable(result):
            result = result(message.get("params"))
        if result is None:
            answer["error"] = {"code": -32601, "message": "Method not found"}
        elif isinstance(result, Exception):
            answer["error"] = {"code": -32000, "message": str(result)}
        else:
            answer["result"] = result
        await conversation.whole(json.dumps(answer).encode())

    return script


def methods(seen: list[Any]) -> list[str]:
    """Return what was asked, in its order."""
    return [each.json["method"] for each in seen if each.method == "POST"]
