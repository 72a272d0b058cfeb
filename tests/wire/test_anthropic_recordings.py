"""The codec against every recorded exchange with Anthropic's Messages API."""

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from rini.canon import StreamFailure, collect
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import MalformedError
from tests.wire import recordings
from tests.wire.anthropic_oracle import reply_says, said, streamed
from tests.wire.recordings import Exchange, cuts

pytestmark = pytest.mark.skipif(not recordings.present(), reason=recordings.ABSENT)

# Path prefix -> why a check cannot hold. One that holds after all fails the test.
NOT_REQUESTS = {
    "anthropic/messages/dd-trace-py--anthropic_completion_error-17e51c": "a message is a string; the API answered 400",
}


@cache
def every() -> tuple[Exchange, ...]:
    return tuple(recordings.exchanges("anthropic", "messages"))


def whole() -> list[Exchange]:
    return [each for each in every() if each.status < 400 and not streams(each)]


def streams(each: Exchange) -> bool:
    return each.status < 400 and isinstance(each.response["body"], str)


def check(found: list[Exchange], failures: dict[str, str], expected: dict[str, str] | None = None) -> None:
    expected = expected or {}
    listed = {path: prefix for path in failures for prefix in expected if path.startswith(prefix)}
    wrong = {path: why for path, why in failures.items() if path not in listed}
    assert not wrong, f"{len(wrong)} of {len(found)} fail:\n" + "\n".join(f"{p}: {w}" for p, w in wrong.items())
    assert set(listed.values()) == set(expected), "a listed recording passes"
    print(f"{len(found) - len(failures)} of {len(found)} recordings pass")


def decode_stream(pieces: Any) -> list[Any]:
    decoder = ANTHROPIC.stream_decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


def encode_stream(events: list[Any]) -> bytes:
    encoder = ANTHROPIC.stream_encoder()
    return b"".join(encoder.feed(event) for event in events) + encoder.close()


def difference(left: Any, right: Any, path: str = "") -> str:
    """Name the first place where two JSON values differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for name in {**left, **right}:
            if name not in left or name not in right:
                return f"{path}.{name} only {'after' if name in right else 'before'}"
            if (found := difference(left[name], right[name], f"{path}.{name}")) != "":
                return found
        return ""
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return next(
            (d for i, (a, b) in enumerate(zip(left, right, strict=True)) if (d := difference(a, b, f"{path}[{i}]"))), ""
        )
    return "" if left == right else f"{path}: {str(left)[:120]!r} != {str(right)[:120]!r}"


def test_there_are_recordings_of_every_kind():
    kinds = Counter("error" if e.status >= 400 else "stream" if streams(e) else "whole" for e in every())
    assert kinds["whole"] > 200
    assert kinds["stream"] > 100
    assert kinds["error"] > 30


def test_whole_answers_say_what_their_json_says():
    failures = {}
    for each in whole():
        found = difference(said(each.response["body"]), reply_says(ANTHROPIC.decode_reply(each.response_bytes)))
        if found:
            failures[each.path] = found
    check(whole(), failures)


def test_whole_answers_survive_being_encoded():
    failures = {}
    for each in whole():
        reply = ANTHROPIC.decode_reply(each.response_bytes)
        body = ANTHROPIC.encode_reply(reply)
        if ANTHROPIC.decode_reply(body) != reply:
            failures[each.path] = "the reply changed"
        elif found := difference(each.response["body"], json.loads(body)):
            failures[each.path] = found
    check(whole(), failures)


def test_streams_say_what_their_events_say():
    failures = {}
    found = [each for each in every() if streams(each)]
    for each in found:
        message, error = streamed(each.response["body"])
        events = decode_stream([each.response_bytes])
        reply = collect(events)
        if error is not None:
            broken = events[-1]
            if not isinstance(broken, StreamFailure) or broken.failure.message != error["message"]:
                failures[each.path] = "the error is lost"
            if message is not None and reply.text != said(message)["text"]:
                failures[each.path] = "what came before the error is lost"
        elif why := difference(said(message or {}), reply_says(reply)):
            failures[each.path] = why
    check(found, failures)


def test_streams_are_the_same_however_they_are_cut():
    failures = {}
    found = [each for each in every() if streams(each)]
    for each in found:
        body = each.response_bytes
        expected = decode_stream([body])
        if any(decode_stream(cuts(body, seed)) != expected for seed in range(3)):
            failures[each.path] = "another cut, other events"
        if len(body) < 6000 and decode_stream(body[i : i + 1] for i in range(len(body))) != expected:
            failures[each.path] = "byte by byte, other events"
    check(found, failures)


def test_streams_survive_being_encoded():
    failures = {}
    found = [each for each in every() if streams(each)]
    for each in found:
        events = decode_stream([each.response_bytes])
        again = decode_stream([encode_stream(events)])
        if collect(again) != collect(events):
            failures[each.path] = "the reply changed"
        if [e for e in again if isinstance(e, StreamFailure)] != [e for e in events if isinstance(e, StreamFailure)]:
            failures[each.path] = "the failure changed"
    check(found, failures)


def test_a_stream_and_its_reply_as_a_whole_agree():
    failures = {}
    found = [each for each in every() if streams(each) and streamed(each.response["body"])[1] is None]
    for each in found:
        reply = collect(decode_stream([each.response_bytes]))
        if why := difference(reply_says(reply), reply_says(ANTHROPIC.decode_reply(ANTHROPIC.encode_reply(reply)))):
            failures[each.path] = why
    check(found, failures)


def test_errors_are_told_apart():
    kinds = {
        "authentication_error": "authentication",
        "not_found_error": "not_found",
        "rate_limit_error": "rate_limited",
        "overloaded_error": "overloaded",
        "api_error": "server_error",
        "invalid_request_error": "invalid_request",
    }
    failures = {}
    found = [each for each in every() if each.status >= 400]
    for each in found:
        headers = {name.lower(): value for name, value in each.response["headers"].items()}
        failure = ANTHROPIC.decode_failure(each.status, headers, each.response_bytes)
        body = each.response["body"]
        body = json.loads(body) if isinstance(body, str) and body.startswith("{") else body
        error = body["error"] if isinstance(body, dict) else {"type": None, "message": body}
        expected = kinds.get(error["type"] or "", "overloaded")
        if "prompt is too long" in error["message"]:
            expected = "context_too_long"
        wait = headers.get("retry-after")
        if (failure.kind, failure.message, failure.retry_after) != (
            expected,
            error["message"],
            float(wait) if wait else None,
        ):
            failures[each.path] = f"{failure}"
        status, again = ANTHROPIC.encode_failure(failure)
        if error["type"] and (status, json.loads(again)["error"]) != (each.status, error):
            failures[each.path] = f"{status} {again!r}"
    check(found, failures)


def normal(value: Any) -> Any:
    """Bring a request to the one form of those that mean the same.

    A string content is one text block; null and absent are the same, and so are ``stream: false`` and ``is_error: false`` and
    absent; a tool without ``type`` is a custom one; an absent ``tools`` is an empty one.
    """
    request = {name: each for name, each in value.items() if each is not None}
    if request.get("stream") is False:
        del request["stream"]
    if request.get("tools") == []:
        del request["tools"]
    request["system"] = blocks(request.get("system"))
    request["messages"] = [{**message, "content": blocks(message.get("content"))} for message in request["messages"]]
    request["tools"] = [tool(each) for each in request.get("tools", [])]
    return request


def blocks(content: Any) -> list[Any]:
    if not content:
        return []
    found = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [block(each) for each in found]


def block(each: dict[str, Any]) -> dict[str, Any]:
    if each["type"] == "tool_result":
        each = {**each, "content": blocks(each.get("content"))}
        if each.get("is_error") is False:
            del each["is_error"]
    return each


def tool(each: dict[str, Any]) -> dict[str, Any]:
    if each.get("type") not in (None, "custom"):
        return each
    return {name: value for name, value in each.items() if name != "type"}


def test_requests_mean_the_same_again():
    failures = {}
    found = [each for each in every() if isinstance(each.request["body"], dict)]
    for each in found:
        body = each.request["body"]
        try:
            request = ANTHROPIC.decode_request(json.dumps(body).encode())
        except MalformedError as error:
            failures[each.path] = f"cannot be read: {error}"
            continue
        encoded = ANTHROPIC.encode_request(request)
        if encoded.dropped:
            failures[each.path] = f"dropped {encoded.dropped}"
        elif why := difference(normal(body), normal(json.loads(encoded.body))):
            failures[each.path] = why
        elif ANTHROPIC.decode_request(encoded.body) != request:
            failures[each.path] = "decoded again, another request"
    check(found, failures, NOT_REQUESTS)
