"""Every recorded exchange with OpenAI's chat completions, judged by a plain reading of its JSON.

Each check takes all recordings, collects what is wrong, and says how many passed. What is known not to pass
stands in EXCEPTIONS with its reason; one of those that passes fails the check, so that the table stays true.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from rini.canon import Audio, Refusal, Reply, StreamFailure, Text, Thinking, ToolCall, collect
from rini.wire.codec import MalformedError
from rini.wire.openai_chat import OPENAI_CHAT, OPENAI_COMPATIBLE_CHAT
from tests.wire.recordings import ABSENT, Exchange, cuts, exchanges, present

pytestmark = pytest.mark.skipif(not present(), reason=ABSENT)

CODEC = OPENAI_CHAT

# path prefix -> reason
STORED = "a list of stored completions (GET /chat/completions), which is no answer and no request"
EXCEPTIONS = {
    "openai/chat_completions/openai-dotnet--chatstoretests-getchatcompletionshandleslargelimits-01d903-02": STORED,
    "openai/chat_completions/openai-dotnet--chatstoretests-getchatcompletionswithemptyoptionsasync-1d29c2-02": STORED,
    "openai/chat_completions/openai-dotnet--chatstoretests-getchatcompletionswithminimallimitsasync-6953e4-02": STORED,
    "openai/chat_completions/openai-dotnet--chatstoretests-getchatcompletionswithminimallimitsasync-6953e4-03": STORED,
    "openai/chat_completions/openai-dotnet--chatstoretests-getchatcompletionswithminimallimitsasync-6953e4-04": STORED,
}
NO_REQUEST = {
    **EXCEPTIONS,
    "openai/chat_completions/ai--azure-model-router.1-bfcdef": "only its answer was recorded",
}

FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "safety",
}


@pytest.fixture(scope="module")
def recorded() -> list[Exchange]:
    return list(exchanges("openai", "chat_completions"))


def check(
    taken: list[Exchange], judge: Callable[[Exchange], str | None], exceptions: dict[str, str], capsys: Any, what: str
) -> None:
    wrong: list[str] = []
    excepted = 0
    for exchange in taken:
        known = next((reason for prefix, reason in exceptions.items() if exchange.path.startswith(prefix)), None)
        try:
            verdict = judge(exchange)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            verdict = f"{type(error).__name__}: {error}"
        if known is not None:
            excepted += 1
            if verdict is None:
                wrong.append(f"{exchange.path}: passes, so take it off the list ({known})")
        elif verdict is not None:
            wrong.append(f"{exchange.path}: {verdict[:600]}")
    with capsys.disabled():
        print(f"\n  openai_chat {what}: {len(taken) - excepted - len(wrong)} of {len(taken)} pass, {excepted} excepted")
    assert not wrong, "\n".join(wrong)


# -- the oracle: what is in an answer, read from its JSON by hand -----------------------------------


def told_usage(usage: dict[str, Any] | None) -> dict[str, int | None] | None:
    if usage is None:
        return None
    read = usage.get("prompt_tokens_details") or {}
    written = usage.get("completion_tokens_details") or {}
    return {
        "input": usage["prompt_tokens"],
        "output": usage["completion_tokens"],
        "total": usage["total_tokens"],
        "cached": read.get("cached_tokens"),
        "cache_write": read.get("cache_write_tokens"),
        "audio_in": read.get("audio_tokens"),
        "audio_out": written.get("audio_tokens"),
        "reasoning": written.get("reasoning_tokens"),
    }


def told(body: dict[str, Any]) -> dict[str, Any]:
    choices: list[dict[str, Any]] = []
    for choice in sorted(body["choices"], key=lambda choice: choice.get("index", 0)):
        message = choice["message"]
        calls = [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            if call["type"] == "function"
            else (call["id"], call["custom"]["name"], call["custom"]["input"])
            for call in message.get("tool_calls") or []
        ]
        if message.get("function_call"):
            calls.append(("", message["function_call"]["name"], message["function_call"]["arguments"]))
        reason = choice.get("finish_reason")
        audio = message.get("audio") or {}
        choices.append(
            {
                "text": message.get("content") or "",
                "refusal": message.get("refusal") or "",
                "thinking": message.get("reasoning_content") or message.get("reasoning") or "",
                "calls": calls,
                "audio": (audio.get("id"), audio.get("data") or "", audio.get("transcript") or ""),
                "raw": reason,
                "reason": FINISH[reason]
                if reason
                else {"max_tokens": "length"}.get((choice.get("finish_details") or {}).get("type")),
            }
        )
    return {
        "id": body.get("id"),
        "model": body.get("model"),
        "created": body.get("created") or None,
        "usage": told_usage(body.get("usage")),
        "choices": choices,
    }


def told_by_stream(body: str) -> dict[str, Any]:
    """Add a stream up to the whole answer's JSON, then read that."""
    messages: dict[int, dict[str, Any]] = {}
    reasons: dict[int, str] = {}
    whole: dict[str, Any] = {"usage": None}
    done = False
    for line in body.splitlines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            done = True
            break
        chunk = json.loads(data)
        if "error" in chunk:
            break
        if not whole.get("id"):
            whole |= {name: chunk.get(name) for name in ("id", "model", "created")}
        whole["usage"] = chunk.get("usage") or whole["usage"]
        for choice in chunk.get("choices", ()):
            message = messages.setdefault(choice["index"], {})
            if choice.get("finish_reason"):
                reasons[choice["index"]] = choice["finish_reason"]
            delta = choice["delta"]
            for name in ("content", "refusal", "reasoning_content", "reasoning"):
                if delta.get(name):
                    message[name] = message.get(name, "") + delta[name]
            if delta.get("audio"):
                audio = message.setdefault("audio", {})
                audio.setdefault("id", delta["audio"].get("id"))
                for name in ("data", "transcript"):
                    audio[name] = audio.get(name, "") + (delta["audio"].get(name) or "")
            for piece in delta.get("tool_calls") or ():
                calls = message.setdefault("tool_calls", [])
                if piece["index"] == len(calls):
                    calls.append({"id": piece["id"], "type": "function", "function": {"name": "", "arguments": ""}})
                function = calls[piece["index"]]["function"]
                function["name"] += piece["function"].get("name") or ""
                function["arguments"] += piece["function"].get("arguments") or ""
    whole["choices"] = [
        {"index": index, "message": message, "finish_reason": reasons.get(index)} for index, message in messages.items()
    ]
    read = told(whole)
    if done:
        # OpenAI's audio models give no reason at all; [DONE] says that the answer is whole.
        for choice in read["choices"]:
            if choice["reason"] is None:
                choice["reason"] = "tool_calls" if choice["calls"] else "stop"
    return read


def heard(reply: Reply) -> dict[str, Any]:
    """Say of a canon reply what the oracle says of JSON."""
    usage = reply.usage
    return {
        "id": reply.id,
        "model": reply.model,
        "created": reply.created,
        "usage": None
        if usage is None
        else {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "total": usage.total_tokens,
            "cached": usage.cache_read_tokens,
            "cache_write": usage.cache_write_tokens,
            "audio_in": usage.input_audio_tokens,
            "audio_out": usage.output_audio_tokens,
            "reasoning": usage.reasoning_tokens,
        },
        "choices": [
            {
                "text": "".join(part.text for part in choice.parts if isinstance(part, Text)),
                "refusal": "".join(part.text for part in choice.parts if isinstance(part, Refusal)),
                "thinking": "".join(part.text for part in choice.parts if isinstance(part, Thinking)),
                "calls": [(part.id, part.name, part.arguments) for part in choice.parts if isinstance(part, ToolCall)],
                "audio": next(
                    (
                        (part.id, part.media.data or "", part.transcript or "")
                        for part in choice.parts
                        if isinstance(part, Audio)
                    ),
                    (None, "", ""),
                ),
                "raw": choice.raw_finish_reason,
                "reason": choice.finish_reason,
            }
            for choice in reply.choices
        ],
    }


def differ(expected: Any, found: Any) -> str | None:
    return None if expected == found else f"expected {expected!r} but found {found!r}"


def stream_events(data: list[bytes]) -> list[Any]:
    decoder = CODEC.stream_decoder()
    events = [event for piece in data for event in decoder.feed(piece)]
    return events + decoder.close()


# -- the checks ------------------------------------------------------------------------------------


def test_whole_answers_say_what_their_json_says(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        return differ(told(exchange.response["body"]), heard(CODEC.decode_reply(exchange.response_bytes)))

    taken = [exchange for exchange in recorded if exchange.status < 400 and not exchange.stream]
    check(taken, judge, EXCEPTIONS, capsys, "whole answers")


def test_streams_say_what_their_json_says(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        events = stream_events([exchange.response_bytes])
        failed = '"error":' in exchange.response["body"]
        if failed != isinstance(events[-1], StreamFailure):
            return "the failure was missed or made up"
        return differ(told_by_stream(exchange.response["body"]), heard(collect(events))) if not failed else None

    check(
        [exchange for exchange in recorded if exchange.status < 400 and exchange.stream], judge, {}, capsys, "streams"
    )


def test_streams_do_not_depend_on_where_their_bytes_are_cut(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        data = exchange.response_bytes
        whole = stream_events([data])
        for seed in range(3):
            if stream_events(list(cuts(data, seed))) != whole:
                return f"cut with seed {seed}"
        if len(data) < 20_000 and stream_events([data[at : at + 1] for at in range(len(data))]) != whole:
            return "cut into bytes"
        return None

    check(
        [exchange for exchange in recorded if exchange.status < 400 and exchange.stream],
        judge,
        {},
        capsys,
        "cut streams",
    )


def test_whole_answers_survive_the_way_back(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        reply = CODEC.decode_reply(exchange.response_bytes)
        body = CODEC.encode_reply(reply)
        lost = without_noise(exchange.response["body"]), without_noise(json.loads(body))
        return differ(reply, CODEC.decode_reply(body)) or differ(*lost)

    taken = [exchange for exchange in recorded if exchange.status < 400 and not exchange.stream]
    check(taken, judge, EXCEPTIONS, capsys, "whole answers back")


def without_noise(value: Any) -> Any:
    """Leave out of an answer what is null, empty or 0: created, id or fingerprints that a recorder replaced among it."""
    if isinstance(value, dict):
        return {
            name: kept for name, inner in value.items() if (kept := without_noise(inner)) not in (None, [], {}, "", 0)
        }
    return [without_noise(inner) for inner in value] if isinstance(value, list) else value


def test_streams_survive_the_way_back(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        events = stream_events([exchange.response_bytes])
        encoder = CODEC.stream_encoder()
        data = [encoder.feed(event) for event in events]
        again = stream_events([*data, encoder.close()])
        if isinstance(events[-1], StreamFailure) and again[-1] != events[-1]:
            return "the failure changed"
        return differ(collect(events), collect(again))

    check(
        [exchange for exchange in recorded if exchange.status < 400 and exchange.stream],
        judge,
        {},
        capsys,
        "streams back",
    )


def test_a_streamed_answer_is_the_whole_answer_with_the_same_content(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        streamed = collect(stream_events([exchange.response_bytes]))
        return differ(
            heard(CODEC.decode_reply(CODEC.encode_reply(streamed)))["choices"], heard_whole(streamed)["choices"]
        )

    def heard_whole(reply: Reply) -> dict[str, Any]:
        said = heard(reply)
        for choice in said["choices"]:
            choice["raw"] = choice["raw"] or (
                choice["reason"] and {"safety": "content_filter"}.get(choice["reason"], choice["reason"])
            )
        return said

    taken = [
        exchange
        for exchange in recorded
        if exchange.status < 400 and exchange.stream and '"finish_reason":"' in exchange.response["body"]
    ]
    check(taken, judge, {}, capsys, "streams as whole answers")


def plain_request(body: dict[str, Any]) -> dict[str, Any]:
    """Bring a request to one spelling of what OpenAI takes in several.

    Absent and null are the same; so are a string and an array with one text part, an image's address and an object that holds
    it, one stop string and an array of it, absent arguments of a call and empty ones. Streaming asks for usage (see the codec).
    """
    body = {name: value for name, value in body.items() if value is not None}
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True, **body.get("stream_options", {})}
    else:
        body.pop("stream", None)
        body.pop("stream_options", None)
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    body["messages"] = [plain_message(message) for message in body["messages"]]
    if not body.get("tools") and not body.get("functions"):
        for name in ("tools", "functions", "tool_choice", "parallel_tool_calls"):
            body.pop(name, None)
    return drop_nulls(body)


def plain_message(message: dict[str, Any]) -> dict[str, Any]:
    message = dict(message)
    content = message.get("content")
    if isinstance(content, list):
        parts = [dict(part) for part in content]
        for part in parts:
            if isinstance(part.get("image_url"), str):
                part["image_url"] = {"url": part["image_url"]}
        message["content"] = parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts
    return message


def drop_nulls(value: Any, inside: str = "") -> Any:
    if inside in {"parameters", "schema"}:
        return value  # a schema is somebody's own
    if isinstance(value, dict):
        return {name: drop_nulls(inner, name) for name, inner in value.items() if inner is not None}
    return [drop_nulls(inner) for inner in value] if isinstance(value, list) else value


def test_requests_mean_the_same_on_the_way_back(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        body = exchange.request["body"]
        request = CODEC.decode_request(json.dumps(body).encode())
        encoded = CODEC.encode_request(request)
        if encoded.dropped and body.get("tools"):
            return f"dropped {encoded.dropped}"
        again = CODEC.decode_request(encoded.body)
        return differ(plain_request(body), plain_request(json.loads(encoded.body))) or differ(
            CODEC.encode_request(again).body, encoded.body
        )

    check(recorded, judge, NO_REQUEST, capsys, "requests")


def test_requests_reach_compatible_servers_with_the_same_messages(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        body = exchange.request["body"]
        encoded = json.loads(
            OPENAI_COMPATIBLE_CHAT.encode_request(CODEC.decode_request(json.dumps(body).encode())).body
        )
        if "max_completion_tokens" in encoded or any(message["role"] == "developer" for message in encoded["messages"]):
            return "it holds what such servers do not know"
        expected = plain_request(body)["messages"]
        for message in expected:
            message["role"] = message["role"].replace("developer", "system")
        return differ(expected, plain_request(encoded)["messages"])

    check(recorded, judge, NO_REQUEST, capsys, "requests to compatible servers")


KINDS = {
    "model_not_found": "not_found",
    "invalid_api_key": "authentication",
    "rate_limit_exceeded": "rate_limited",
    "insufficient_quota": "billing",
    "context_length_exceeded": "context_too_long",
    "content_policy_violation": "safety",
    "content_filter": "safety",
}
BY_STATUS = {400: "invalid_request", 401: "authentication", 403: "permission", 404: "not_found", 429: "rate_limited"}


def test_failures_say_what_their_json_says(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        error = exchange.response["body"]["error"]
        headers = {name.lower(): value for name, value in exchange.response["headers"].items()}
        failure = CODEC.decode_failure(exchange.status, headers, exchange.response_bytes)
        kind = KINDS.get(error["code"], BY_STATUS[exchange.status])
        if "tokens must be reduced" in error["message"]:
            kind = "context_too_long"  # it says so as a 429
        if "insufficient permissions" in error["message"]:
            kind = "permission"  # it says so as a 401
        after = 20.0 if "try again in 20s" in error["message"] else None
        expected = (kind, error["message"], error["code"], error["type"], error["param"], after, exchange.status)
        found = (
            failure.kind,
            failure.message,
            failure.code,
            failure.type,
            failure.param,
            failure.retry_after,
            failure.status,
        )
        status, body = CODEC.encode_failure(failure)
        return differ(expected, found) or differ(
            (exchange.status, exchange.response["body"]), (status, json.loads(body))
        )

    check([exchange for exchange in recorded if exchange.status >= 400], judge, {}, capsys, "failures")


def test_streams_that_break_off_are_told_from_whole_ones(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        body = exchange.response["body"]
        before = body.rfind('"finish_reason":"')
        cut = body[:before].rpartition("\n")[0] + "\n"
        decoder = CODEC.stream_decoder()
        kept = [choice["text"] for choice in heard(collect(decoder.feed(cut.encode())))["choices"]]
        try:
            decoder.close()
        except MalformedError:
            said = [choice["text"] for choice in told_by_stream(cut)["choices"]]
            return differ("".join(said), "".join(kept))
        return "it passed for whole"

    taken = [
        exchange
        for exchange in recorded
        if exchange.status < 400 and exchange.stream and exchange.response["body"].count('"finish_reason":"') == 1
    ]
    check(taken, judge, {}, capsys, "streams that break off")
