"""What an answer in Anthropic's format says, read from its JSON with plain Python and nothing of the codec's."""

import json
from typing import Any

from rini.canon import Reply, Text, Thinking, ToolCall

FINISH = {
    "end_turn": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "compaction": "pause",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_full",
}


def said(message: dict[str, Any]) -> dict[str, Any]:
    """Summarise a message object: text, tool calls, thinking, opaque blocks, usage and finish."""
    blocks = message["content"]
    usage = message.get("usage") or {}
    counts = [usage.get(f"{name}input_tokens") for name in ("", "cache_read_", "cache_creation_")]
    return {
        "text": "".join(block["text"] for block in blocks if block["type"] == "text"),
        "citations": [block.get("citations") for block in blocks if block["type"] == "text" and block.get("citations")],
        "calls": [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        "thinking": [(b["thinking"], b["signature"]) for b in blocks if b["type"] == "thinking"],
        "redacted": [block["data"] for block in blocks if block["type"] == "redacted_thinking"],
        "opaque": [
            b for b in blocks if b["type"] not in {"text", "tool_use", "thinking", "redacted_thinking", "image"}
        ],
        "read": sum(count or 0 for count in counts) if counts[0] is not None else None,
        "cache_read": counts[1],
        "cache_write": counts[2],
        "written": usage.get("output_tokens"),
        "reasoning": (usage.get("output_tokens_details") or {}).get("thinking_tokens"),
        "finish": FINISH.get(message["stop_reason"], "other") if message["stop_reason"] else None,
        "stop_sequence": message.get("stop_sequence"),
        "id": message.get("id"),
        "model": message.get("model"),
    }


def reply_says(reply: Reply) -> dict[str, Any]:
    """Summarise canon's reply in the same words."""
    (choice,) = reply.choices
    usage = reply.usage
    parts = choice.parts
    return {
        "text": "".join(part.text for part in parts if isinstance(part, Text)),
        "citations": [
            part.extras["anthropic"]["citations"]
            for part in parts
            if isinstance(part, Text) and part.extras and part.extras["anthropic"].get("citations")
        ],
        "calls": [(part.id, part.name, json.loads(part.arguments)) for part in parts if isinstance(part, ToolCall)],
        "thinking": [(p.text, p.signature) for p in parts if isinstance(p, Thinking) and p.redacted is None],
        "redacted": [p.redacted for p in parts if isinstance(p, Thinking) and p.redacted is not None],
        "opaque": [part.value for part in parts if type(part).__name__ == "Opaque"],
        "read": usage.input_tokens if usage else None,
        "cache_read": usage.cache_read_tokens if usage else None,
        "cache_write": usage.cache_write_tokens if usage else None,
        "written": usage.output_tokens if usage else None,
        "reasoning": usage.reasoning_tokens if usage else None,
        "finish": choice.finish_reason,
        "stop_sequence": choice.stop_sequence,
        "id": reply.id,
        "model": reply.model,
    }


def streamed(body: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Add up a stream's events: the message as far as it came, and the error that ended it."""
    message: dict[str, Any] | None = None
    blocks: dict[int, dict[str, Any]] = {}
    fragments: dict[int, str] = {}
    error = None
    for line in body.splitlines():
        if not line.startswith("data:"):
            continue
        event = json.loads(line[5:])
        kind = event["type"]
        if kind == "message_start":
            message = {**event["message"], "content": []}
        elif kind == "content_block_start":
            assert message is not None
            blocks[event["index"]] = dict(event["content_block"])
            message["content"].append(blocks[event["index"]])
        elif kind == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            for name in ("text", "thinking", "signature"):
                if name in delta:
                    block[name] = block.get(name, "") + delta[name]
            if delta["type"] == "input_json_delta":
                fragments[event["index"]] = fragments.get(event["index"], "") + delta["partial_json"]
            elif delta["type"] == "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            elif delta["type"] == "compaction_delta":
                block.update({name: value for name, value in delta.items() if name != "type"})
        elif kind == "content_block_stop":
            if fragments.get(event["index"]):
                blocks[event["index"]]["input"] = json.loads(fragments[event["index"]])
        elif kind == "message_delta":
            assert message is not None
            message.update(event["delta"])
            message["usage"].update({k: v for k, v in event["usage"].items() if v is not None})
        elif kind == "error":
            error = event["error"]
    return message, error
