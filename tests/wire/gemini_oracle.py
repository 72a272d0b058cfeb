"""What a Gemini answer says, read from its plain JSON without the codec; and when two request bodies mean the same."""

import json
import re
from itertools import pairwise
from typing import Any

from google.genai import models, types

from rini.canon import Audio, Choice, Document, Image, Reply, Text, Thinking, ToolCall, Usage, Video

FINISH = {
    "STOP": "stop",
    "1": "stop",
    "MAX_TOKENS": "length",
    "2": "length",
    "SAFETY": "safety",
    "RECITATION": "safety",
    "MODEL_ARMOR": "safety",
    "PROHIBITED_CONTENT": "safety",
    "MALFORMED_FUNCTION_CALL": "malformed",
    "UNEXPECTED_TOOL_CALL": "malformed",
    "OTHER": "other",
}


def chunks_of(body: str) -> list[dict[str, Any]]:
    """The JSON objects of a streamed answer."""
    if body.lstrip()[:1] in ("[", "{"):
        value = json.loads(body)
        return value if isinstance(value, list) else [value]
    lines = body.replace("\r\n", "\n").split("\n")
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def read_by_sdk(answer: dict[str, Any]) -> types.GenerateContentResponse:
    """One answer or chunk as Google's SDK reads it."""
    known = models._GenerateContentResponse_from_mldev(answer)
    return types.GenerateContentResponse._from_response(response=known, kwargs={})


def as_whole(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The same content as one whole answer: parts in a row, the last of every other field."""
    whole: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        whole.update({name: value for name, value in chunk.items() if name != "candidates"})
        for position, candidate in enumerate(chunk.get("candidates") or []):
            into = candidates.setdefault(candidate.get("index", position), {"content": {"role": "model", "parts": []}})
            into["content"]["parts"] += (candidate.get("content") or {}).get("parts") or []
            into.update({name: value for name, value in candidate.items() if name != "content"})
    if candidates:
        whole["candidates"] = [candidates[index] for index in sorted(candidates)]
    return whole


def said_by_json(answer: dict[str, Any]) -> dict[str, Any]:
    """Text, thinking, calls, media, finish reason and usage of a whole answer's JSON."""
    said: dict[str, Any] = {"usage": _usage_of_json(answer.get("usageMetadata")), "model": answer.get("modelVersion")}
    said["choices"] = [_candidate(candidate) for candidate in answer.get("candidates") or []]
    if not said["choices"] and (answer.get("promptFeedback") or {}).get("blockReason"):
        said["choices"] = [{"text": "", "thinking": "", "calls": [], "media": [], "finish": "safety"}]
    return said


def said_by_reply(reply: Reply) -> dict[str, Any]:
    """The same of a decoded answer."""
    usage = reply.usage or Usage()
    return {
        "usage": {
            "input": usage.input_tokens or 0,
            "output": usage.output_tokens or 0,
            "cached": usage.cache_read_tokens or 0,
            "reasoning": usage.reasoning_tokens or 0,
        },
        "model": reply.model,
        "choices": [_choice(choice) for choice in reply.choices],
    }


def _choice(choice: Choice) -> dict[str, Any]:
    media = [part.media for part in choice.parts if isinstance(part, Image | Audio | Video | Document)]
    return {
        "text": "".join(part.text for part in choice.parts if isinstance(part, Text)),
        "thinking": "".join(part.text for part in choice.parts if isinstance(part, Thinking)),
        "calls": [
            (part.id, part.name, json.loads(part.arguments)) for part in choice.parts if isinstance(part, ToolCall)
        ],
        "media": [(item.mime_type, item.data) for item in media],
        "finish": choice.finish_reason,
    }


def _candidate(candidate: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"text": "", "thinking": "", "calls": [], "media": []}
    served = 0
    for part in (candidate.get("content") or {}).get("parts") or []:
        if "text" in part:
            said["thinking" if part.get("thought") else "text"] += part["text"]
        elif "inlineData" in part:
            said["media"].append((part["inlineData"]["mimeType"], part["inlineData"]["data"]))
        elif "functionResponse" in part:
            served += 1
        elif "functionCall" in part:
            call = part["functionCall"]
            if "name" in call:
                said["calls"].append((call.get("id", ""), call["name"], call.get("args", {})))
            for piece in call.get("partialArgs", []):
                _put(said["calls"][-1][2], piece)
    raw = candidate.get("finishReason")
    finish = FINISH[str(raw)] if raw is not None else None
    said["finish"] = "tool_calls" if finish == "stop" and len(said["calls"]) > served else finish
    return said


def _put(arguments: dict[str, Any], piece: dict[str, Any]) -> None:
    steps = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]$]+", piece["jsonPath"])]
    for step, following in pairwise(steps):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(step, int):
            if step == len(arguments):
                arguments.append(empty)
            arguments = arguments[step]
        else:
            arguments = arguments.setdefault(step, empty)
    last, text = steps[-1], piece["stringValue"]
    if isinstance(last, int):
        if last == len(arguments):
            arguments.append("")
        arguments[last] += text
    else:
        arguments[last] = arguments.get(last, "") + text


def _usage_of_json(usage: dict[str, Any] | None) -> dict[str, int]:
    count = (usage or {}).get
    return {
        "input": count("promptTokenCount", 0) + count("toolUsePromptTokenCount", 0),
        "output": count("candidatesTokenCount", 0) + count("thoughtsTokenCount", 0),
        "cached": count("cachedContentTokenCount", 0),
        "reasoning": count("thoughtsTokenCount", 0),
    }


# Values that belong to the user, compared as they are.
_VERBATIM = {"args", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels"}
_MESSAGES = {"parts", "tools", "functionDeclarations", "contents"}


def normal(value: Any, name: str = "") -> Any:
    """A request's JSON in one of the ways to write what it means.

    Field names in camelCase; null, false, empty strings, lists and objects are absent (protobuf's defaults); a single message stands for a
    list of one; base64 in the standard alphabet.
    """
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for raw, item in value.items():
            key = re.sub(r"_([a-z])", lambda match: match[1].upper(), raw)
            listed = [item] if key in _MESSAGES and isinstance(item, dict) else item
            verbatim = key in _VERBATIM or (key == "response" and "name" in value)
            meant = listed if verbatim else normal(listed, key)
            if meant is not None and meant is not False and meant not in ("", [], {}):
                found[key] = meant
        return found
    if isinstance(value, list):
        return [normal(item) for item in value]
    if name == "data" and isinstance(value, str):
        return value.replace("-", "+").replace("_", "/").rstrip("=")
    return value
