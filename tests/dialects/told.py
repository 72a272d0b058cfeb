"""What an answer tells a client, read from each format's plain JSON with nothing of the codecs', in the same words for all.

Finish reasons are canon's; what a format has one word for is told apart only by ``held_by``.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.wire.anthropic_oracle import said as anthropic_said
from tests.wire.anthropic_oracle import streamed as anthropic_streamed
from tests.wire.gemini_oracle import as_whole, chunks_of, said_by_json


@dataclass(frozen=True)
class Said:
    """One choice. ``calls`` are (id, name, arguments), ``pictures`` base64 or addresses; ``spoken`` is the transcript of sound."""

    text: str = ""
    thinking: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, str, Any], ...] = ()
    pictures: tuple[str, ...] = ()
    spoken: str = ""
    finish: str | None = None


@dataclass(frozen=True)
class Counts:
    """Tokens in canon's way of counting; 0 where nobody said."""

    input: int = 0
    output: int = 0
    cached: int = 0
    written_to_cache: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Told:
    """An answer. ``error`` is the message of what ended a stream, ``whole`` whether the stream said that it is over."""

    choices: tuple[Said, ...] = ()
    usage: Counts | None = None
    error: str | None = None
    whole: bool = True


def _arguments(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def server_sent(body: str) -> list[str]:
    """The data of a stream's events."""
    events = body.replace("\r\n", "\n").split("\n\n")
    found = [
        "\n".join(line[5:].lstrip(" ") for line in each.split("\n") if line.startswith("data:")) for each in events
    ]
    return [each for each in found if each]


# -- OpenAI's chat completions ------------------------------------------------------------------------

_CHAT_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "safety",
}


def _chat(body: dict[str, Any]) -> Told:
    choices = []
    for choice in sorted(body["choices"], key=lambda each: each.get("index", 0)):
        message = choice["message"]
        calls = [
            (
                each["id"],
                each[each["type"]]["name"],
                _arguments(each[each["type"]].get("arguments", each[each["type"]].get("input"))),
            )
            for each in message.get("tool_calls") or ()
        ]
        if call := message.get("function_call"):
            calls.append(("", call["name"], _arguments(call["arguments"])))
        audio = message.get("audio") or {}
        word = choice.get("finish_reason") or (choice.get("finish_details") or {}).get("type")
        choices.append(
            Said(
                text=message.get("content") or "",
                thinking=message.get("reasoning_content") or message.get("reasoning") or "",
                refusal=message.get("refusal") or "",
                calls=tuple(calls),
                pictures=tuple(each["image_url"]["url"].partition(",")[2] for each in message.get("images") or ()),
                spoken=audio.get("transcript") or "",
                finish=_CHAT_FINISH.get(word, {"max_tokens": "length"}.get(word, "other")) if word else None,
            )
        )
    return Told(choices=tuple(choices), usage=_chat_usage(body.get("usage")))


def _chat_usage(usage: dict[str, Any] | None) -> Counts | None:
    if usage is None:
        return None
    read, written = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return Counts(
        input=usage["prompt_tokens"],
        output=usage.get("completion_tokens") or 0,
        cached=read.get("cached_tokens") or 0,
        written_to_cache=read.get("cache_write_tokens") or 0,
        reasoning=written.get("reasoning_tokens") or 0,
    )


def _chat_stream(body: str) -> Told:
    messages: dict[int, dict[str, Any]] = {}
    reasons: dict[int, str] = {}
    usage = error = None
    done = False
    for data in server_sent(body):
        if data.strip() == "[DONE]":
            done = True
            break
        chunk = json.loads(data)
        if "error" in chunk:
            error = chunk["error"]["message"]
            break
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or ():
            message = messages.setdefault(choice["index"], {})
            if choice.get("finish_reason"):
                reasons[choice["index"]] = choice["finish_reason"]
            delta = choice["delta"]
            for name in ("content", "refusal", "reasoning_content", "reasoning"):
                if delta.get(name):
                    message[name] = message.get(name, "") + delta[name]
            if delta.get("images"):
                message.setdefault("images", []).extend(delta["images"])
            if transcript := (delta.get("audio") or {}).get("transcript"):
                audio = message.setdefault("audio", {"transcript": ""})
                audio["transcript"] += transcript
            for piece in delta.get("tool_calls") or ():
                calls = message.setdefault("tool_calls", [])
                if piece["index"] == len(calls):
                    calls.append({"id": piece["id"], "type": "function", "function": {"name": "", "arguments": ""}})
                for name, more in piece["function"].items():
                    calls[piece["index"]]["function"][name] += more or ""
            if call := delta.get("function_call"):
                into = message.setdefault("function_call", {"name": "", "arguments": ""})
                for name, more in call.items():
                    into[name] += more or ""
    choices = [
        {"index": index, "message": message, "finish_reason": reasons.get(index)} for index, message in messages.items()
    ]
    told = _chat({"choices": choices, "usage": usage})
    if done:  # OpenAI's audio models give no reason at all
        ended = [replace(each, finish=each.finish or ("tool_calls" if each.calls else "stop")) for each in told.choices]
        told = replace(told, choices=tuple(ended))
    return replace(told, error=error, whole=done)


# -- Anthropic's messages -------------------------------------------------------------------------------


def _messages(message: dict[str, Any]) -> Told:
    said = anthropic_said(message)
    usage = Counts(
        input=said["read"] or 0,
        output=said["written"] or 0,
        cached=said["cache_read"] or 0,
        written_to_cache=said["cache_write"] or 0,
        reasoning=said["reasoning"] or 0,
    )
    choice = Said(
        text=said["text"],
        thinking="".join(text for text, _ in said["thinking"]),
        calls=tuple(said["calls"]),
        pictures=tuple(
            each["source"].get("data") or each["source"]["url"]
            for each in message["content"]
            if each["type"] == "image"
        ),
        finish=said["finish"],
    )
    return Told(choices=(choice,), usage=usage if message.get("usage") else None)


def _messages_stream(body: str) -> Told:
    message, error = anthropic_streamed(body)
    told = _messages(message) if message is not None else Told()
    stopped = any(json.loads(each)["type"] == "message_stop" for each in server_sent(body))
    return replace(told, error=error["message"] if error else None, whole=stopped)


# -- Gemini's generateContent ---------------------------------------------------------------------------


def _generated(body: dict[str, Any]) -> Told:
    said = said_by_json(body)
    counts = said["usage"]
    usage = Counts(
        input=counts["input"], output=counts["output"], cached=counts["cached"], reasoning=counts["reasoning"]
    )
    choices = [
        Said(
            text=each["text"],
            thinking=each["thinking"],
            calls=tuple(each["calls"]),
            pictures=tuple(data for kind, data in each["media"] if kind.startswith("image/")),
            finish=each["finish"],
        )
        for each in said["choices"]
    ]
    return Told(choices=tuple(choices), usage=usage if body.get("usageMetadata") else None)


def _generated_stream(body: str) -> Told:
    chunks: list[dict[str, Any]] = []
    error = None
    if body.lstrip()[:1] in ("[", "{"):
        chunks = chunks_of(body)
    else:
        for data in server_sent(body):
            chunks.append(json.loads(data))
    for at, chunk in enumerate(chunks):
        if "error" in chunk:
            error = chunk["error"]["message"]
            chunks = chunks[:at]
            break
    told = _generated(as_whole(chunks))
    return replace(told, error=error, whole=bool(told.choices) and all(each.finish for each in told.choices))


# -- OpenAI's responses ---------------------------------------------------------------------------------


def _response(body: dict[str, Any]) -> Told:
    text = thinking = refusal = ""
    calls: list[tuple[str, str, Any]] = []
    pictures: list[str] = []
    for item in body.get("output") or ():
        match item["type"]:
            case "message":
                text += "".join(each["text"] for each in item["content"] if each["type"] == "output_text")
                refusal += "".join(each["refusal"] for each in item["content"] if each["type"] == "refusal")
            case "reasoning":
                shown = [*(item.get("summary") or ()), *(item.get("content") or ())]
                thinking += "".join(each["text"] for each in shown)
            case "function_call":
                calls.append((item["call_id"], item["name"], _arguments(item["arguments"])))
            case "custom_tool_call":
                calls.append((item["call_id"], item["name"], item["input"]))
            case "image_generation_call":
                pictures.append(item["result"])
    usage = body.get("usage")
    read, written = ((usage or {}).get(f"{side}_tokens_details") or {} for side in ("input", "output"))
    ended = {
        "completed": "tool_calls" if calls else "stop",
        "complete": "tool_calls" if calls else "stop",
        "incomplete": {"content_filter": "safety"}.get((body.get("incomplete_details") or {}).get("reason"), "length"),
    }
    said = Said(
        text=text,
        thinking=thinking,
        refusal=refusal,
        calls=tuple(calls),
        pictures=tuple(pictures),
        finish=ended.get(body["status"]),
    )
    counts = usage and Counts(
        input=usage["input_tokens"],
        output=usage["output_tokens"],
        cached=read.get("cached_tokens") or 0,
        written_to_cache=read.get("cache_write_tokens") or 0,
        reasoning=written.get("reasoning_tokens") or 0,
    )
    return Told(choices=(said,), usage=counts, error=(body.get("error") or {}).get("message"))


def _response_stream(body: str) -> Told:
    items: dict[int, dict[str, Any]] = {}
    deltas = ""
    last: dict[str, Any] = {"status": "in_progress"}
    error = None
    for data in server_sent(body):
        event = json.loads(data)
        kind = event.get("type")
        if kind == "response.output_item.done":
            items[event["output_index"]] = event["item"]
        elif kind == "response.output_text.delta":
            deltas += event["delta"]
        elif kind == "error":
            error = (event.get("error") or event)["message"]
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            last = event["response"]
            break
    answer = _response({**last, "output": [items[place] for place in sorted(items)]})
    error = answer.error or error
    if error is not None:  # the last item was not done
        answer = replace(answer, choices=(replace(answer.choices[0], text=deltas),))
    elif answer.choices[0].text != deltas:
        raise ValueError(f"the deltas add up to {deltas!r}, the items to {answer.choices[0].text!r}")
    whole = last["status"] in ("completed", "incomplete")
    return replace(answer, error=error, whole=whole)


# -- all of them ----------------------------------------------------------------------------------------

_WHOLE: dict[str, Callable[[dict[str, Any]], Told]] = {
    "openai_chat": _chat,
    "openai_responses": _response,
    "anthropic": _messages,
    "gemini": _generated,
}
_STREAMS: dict[str, Callable[[str], Told]] = {
    "openai_chat": _chat_stream,
    "openai_responses": _response_stream,
    "anthropic": _messages_stream,
    "gemini": _generated_stream,
}


def told(form: str, body: bytes, *, stream: bool) -> Told:
    """Return what a good answer in ``form`` tells."""
    text = body.decode()
    return _STREAMS[form](text) if stream else _WHOLE[form](json.loads(text))


_FINISH_WORDS: dict[str, dict[str, str]] = {
    "openai_chat": {
        "stop_sequence": "stop",
        "refusal": "safety",
        "pause": "length",  # it is not done, and no other word says so
        "context_full": "length",
        "malformed": "stop",
        "other": "stop",
    },
    "openai_responses": {
        "stop_sequence": "stop",
        "refusal": "safety",
        "pause": "length",
        "context_full": "length",
        "malformed": "stop",
        "other": "stop",
    },
    "anthropic": {"safety": "refusal", "malformed": "stop", "other": "stop"},
    "gemini": {"stop_sequence": "stop", "refusal": "safety", "pause": "other", "context_full": "length"},
}
"""What a finish reason is called in a format that has no word of its own for it."""


def held_by(form: str, answer: Told) -> Told:
    """Return what of an answer a client of ``form`` is told.

    Not judged: what servers did (searches, executed code) and sound as bytes. Gemini does not count tokens written to a cache, and
    Anthropic and responses have one choice, Anthropic always a usage. Refusals and what was spoken are text where they have no field of their own.
    """
    choices = [
        _held(form, each)
        for each in (answer.choices[:1] if form in ("anthropic", "openai_responses") else answer.choices)
    ]
    usage = answer.usage
    if form == "anthropic":
        usage = usage or Counts()
    elif usage is not None and form == "gemini":
        usage = replace(usage, written_to_cache=0)
    return replace(answer, choices=tuple(choices), usage=usage)


def _held(form: str, said: Said) -> Said:
    finish = said.finish and _FINISH_WORDS[form].get(said.finish, said.finish)
    if form == "openai_chat":
        return replace(said, finish=finish)
    if said.finish == "stop" and said.calls:  # OpenAI's word where a call was forced
        finish = "tool_calls"
    if form == "openai_responses":
        if finish == "stop" and said.calls:
            finish = "tool_calls"
        return replace(said, text=said.text + said.spoken, spoken="", finish=finish)
    return replace(said, text=said.text + said.refusal + said.spoken, refusal="", spoken="", finish=finish)
