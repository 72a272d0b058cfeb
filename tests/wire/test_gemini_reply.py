"""Answers of the Gemini format, whole, both ways, by example; and errors."""

import json
import time
from email.utils import formatdate

import pytest

from rini.canon import (
    Audio,
    Choice,
    Failure,
    Image,
    Media,
    Opaque,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from rini.wire.codec import MalformedError
from rini.wire.gemini import GEMINI
from tests.wire.gemini_oracle import read_by_sdk


def decode(**answer):
    return GEMINI.decode_reply(json.dumps(answer).encode())


def encode(reply):
    return json.loads(GEMINI.encode_reply(reply))


def same(**answer):
    """Decode and encode; the JSON is the same, and so is what it decodes to."""
    reply = decode(**answer)
    assert encode(reply) == answer
    assert decode(**answer) == reply
    return reply


def candidate(*parts, finish="STOP", **more):
    content = {"role": "model", "parts": list(parts)} if parts else {"role": "model"}
    return {"content": content, "finishReason": finish, "index": 0, **more}


def test_an_answer_with_everything():
    reply = same(
        candidates=[
            candidate(
                {"text": "hm", "thought": True},
                {"text": "Hi"},
                {"text": "", "thoughtSignature": "c2ln"},
                safetyRatings=[{"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "NEGLIGIBLE"}],
                citationMetadata={"citationSources": [{"uri": "https://x"}]},
                groundingMetadata={"webSearchQueries": ["q"]},
                avgLogprobs=-0.5,
                logprobsResult={"chosenCandidates": [{"token": "Hi", "logProbability": -0.1}]},
                finishMessage="done",
                tokenCount=3,
            )
        ],
        usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 4, "totalTokenCount": 9},
        modelVersion="gemini-2.5-flash",
        responseId="r1",
        createTime="2025-10-24T07:45:10.591163Z",
        promptFeedback={"safetyRatings": []},
        turnToken="t",
    )
    assert reply.choices[0].parts == (Thinking("hm"), Text("Hi"), Text("", signature="c2ln"))
    assert (reply.choices[0].finish_reason, reply.choices[0].raw_finish_reason) == ("stop", "STOP")
    assert (reply.id, reply.model) == ("r1", "gemini-2.5-flash")
    assert reply.usage == Usage(input_tokens=3, output_tokens=6, reasoning_tokens=4)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "safety"),
        ("RECITATION", "safety"),
        ("BLOCKLIST", "safety"),
        ("PROHIBITED_CONTENT", "safety"),
        ("SPII", "safety"),
        ("IMAGE_SAFETY", "safety"),
        ("LANGUAGE", "safety"),
        ("MODEL_ARMOR", "safety"),
        ("MALFORMED_FUNCTION_CALL", "malformed"),
        ("UNEXPECTED_TOOL_CALL", "malformed"),
        ("OTHER", "other"),
        ("REASON_OF_TOMORROW", "other"),
        (1, "stop"),
        (2, "length"),
        (3, "safety"),
        (5, "other"),
        (10, "malformed"),
        (99, "other"),
    ],
)
def test_finish_reasons(raw, reason):
    choice = same(candidates=[candidate({"text": "x"}, finish=raw)]).choices[0]
    assert (choice.finish_reason, choice.raw_finish_reason) == (reason, str(raw))


def test_a_call_waits_for_a_tool_unless_its_result_is_there():
    call = {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
    result = {"functionResponse": {"name": "f", "response": {"result": "x"}}}
    waits = same(candidates=[candidate(call)]).choices[0]
    assert (waits.finish_reason, waits.raw_finish_reason) == ("tool_calls", "STOP")
    assert waits.parts == (ToolCall("", "f", '{"a":1}', signature="c2ln"),)
    served = same(candidates=[candidate(call, result, {"text": "x"})]).choices[0]
    assert served.finish_reason == "stop"
    assert served.parts[1] == ToolResult("", (Text("x"),), name="f")


@pytest.mark.parametrize("content", [{}, {"role": "model"}, {"parts": []}, None])
def test_candidates_without_content(content):
    reply = decode(candidates=[{"content": content, "finishReason": "MAX_TOKENS"}])
    assert reply.choices == (Choice(finish_reason="length", raw_finish_reason="MAX_TOKENS"),)
    assert GEMINI.decode_reply(GEMINI.encode_reply(reply)) == reply


def test_several_candidates():
    reply = same(candidates=[candidate({"text": "a"}), {**candidate({"text": "b"}), "index": 1}])
    assert [choice.parts for choice in reply.choices] == [(Text("a"),), (Text("b"),)]


def test_a_blocked_prompt():
    reply = same(promptFeedback={"blockReason": "PROHIBITED_CONTENT"}, modelVersion="m")
    assert reply.choices == (Choice(finish_reason="safety"),)
    both = same(promptFeedback={"blockReason": "SAFETY"}, candidates=[candidate(finish="SAFETY")])
    assert both.choices[0].raw_finish_reason == "SAFETY"


def test_pictures_and_server_tools_in_an_answer():
    image = {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thoughtSignature": "c2ln"}
    code = {"executableCode": {"code": "1", "language": "PYTHON"}}
    parts = same(candidates=[candidate(image, code)]).choices[0].parts
    assert parts == (Image(Media(data="AA==", mime_type="image/png"), signature="c2ln"), Opaque("gemini", code))


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (
            {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 17},
            Usage(input_tokens=15, output_tokens=2, extras={"gemini": {"toolUsePromptTokenCount": 5}}),
        ),
        (
            {"promptTokenCount": 10, "cachedContentTokenCount": 8, "thoughtsTokenCount": 3, "totalTokenCount": 13},
            Usage(input_tokens=10, output_tokens=3, cache_read_tokens=8, reasoning_tokens=3),
        ),
        ({"promptTokenCount": 10, "totalTokenCount": 10}, Usage(input_tokens=10, output_tokens=0)),
        (
            {"promptTokenCount": 10, "totalTokenCount": 12},
            Usage(input_tokens=10, output_tokens=0, extras={"gemini": {"totalTokenCount": 12}}),
        ),
        (
            {"promptTokenCount": 10},
            Usage(input_tokens=10, output_tokens=0, extras={"gemini": {"totalTokenCount": None}}),
        ),
        ({"trafficType": "ON_DEMAND"}, Usage(extras={"gemini": {"trafficType": "ON_DEMAND"}})),
        (
            {"toolUsePromptTokenCount": 4, "totalTokenCount": 4},
            Usage(
                input_tokens=4,
                output_tokens=0,
                extras={"gemini": {"toolUsePromptTokenCount": 4, "promptTokenCount": None}},
            ),
        ),
    ],
)
def test_usage(raw, usage):
    assert same(candidates=[candidate({"text": "x"})], usageMetadata=raw).usage == usage


def test_usage_by_modality():
    raw = {
        "promptTokenCount": 30,
        "candidatesTokenCount": 9,
        "cachedContentTokenCount": 6,
        "totalTokenCount": 39,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}, {"modality": "TEXT", "tokenCount": 10}],
        "candidatesTokensDetails": [{"modality": 4, "tokenCount": 9}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}],
    }
    usage = same(candidates=[candidate({"text": "x"})], usageMetadata=raw).usage
    assert usage is not None
    assert (usage.input_audio_tokens, usage.output_audio_tokens, usage.cache_audio_read_tokens) == (20, 9, 6)
    foreign = Usage(input_tokens=30, output_tokens=9, input_audio_tokens=20)
    assert encode(Reply(usage=foreign))["usageMetadata"]["promptTokensDetails"] == raw["promptTokensDetails"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"error":{"code":500}}',
        b"\xef\xbb\xbf{}",
        b'{"candidates":"x"}',
        b'{"candidates":[null]}',
        b'{"candidates":[{"content":[]}]}',
        b'{"candidates":[{"content":{"parts":{"text":1}}}]}',
        b'{"candidates":[{"finishReason":[]}]}',
        b'{"candidates":[{"index":"x"}]}',
        b'{"candidates":[],"modelVersion":1}',
        b'{"candidates":[],"usageMetadata":{"promptTokenCount":"3"}}',
        b'{"candidates":[],"usageMetadata":[]}',
        b'{"candidates":[{"content":{"parts":[{"text":"\\udc00"}]}}]}',
        b'{"candidates":' + b'[{"content":' * 50_000,
    ],
)
def test_what_is_no_answer(body):
    with pytest.raises(MalformedError):
        GEMINI.decode_reply(body)


def test_an_answer_of_another_format_reads_as_one_of_gemini():
    reply = Reply(
        choices=(
            Choice(
                (
                    Thinking("hm", signature="c2ln"),
                    Thinking(redacted="x"),
                    Text("Hi"),
                    Refusal("no"),
                    ToolCall("1", "f", '{"a":1}'),
                    Audio(Media(data="AA==", mime_type="audio/wav"), id="a", transcript="aloud"),
                    Opaque("anthropic", {"type": "server_tool_use"}),
                ),
                finish_reason="tool_calls",
                raw_finish_reason="tool_use",
            ),
        ),
        usage=Usage(input_tokens=5, output_tokens=7, reasoning_tokens=3),
        id="r",
        model="claude",
        created=1,
    )
    body = encode(reply)
    assert body["candidates"][0]["finishReason"] == "STOP"
    read = read_by_sdk(body)
    assert read.candidates is not None
    assert read.candidates[0].content is not None
    parts = read.candidates[0].content.parts or []
    assert [part.text for part in parts if part.text is not None] == ["hm", "Hi", "no", "aloud"]
    assert [part.thought for part in parts[:2]] == [True, None]
    assert read.function_calls is not None
    assert read.function_calls[0].args == {"a": 1}
    assert read.usage_metadata is not None
    assert (read.usage_metadata.candidates_token_count, read.usage_metadata.thoughts_token_count) == (4, 3)


@pytest.mark.parametrize(
    ("reason", "raw", "word"),
    [
        ("stop", "stop", "STOP"),
        ("length", "max_tokens", "MAX_TOKENS"),
        ("stop_sequence", "stop_sequence", "STOP"),
        ("refusal", "refusal", "SAFETY"),
        ("safety", "content_filter", "SAFETY"),
        ("pause", "pause_turn", "OTHER"),
        ("context_full", None, "MAX_TOKENS"),
        ("malformed", None, "MALFORMED_FUNCTION_CALL"),
        ("length", "STOP", "MAX_TOKENS"),
    ],
)
def test_finish_reasons_of_other_formats(reason, raw, word):
    reply = Reply(choices=(Choice((Text("x"),), finish_reason=reason, raw_finish_reason=raw),))
    assert encode(reply)["candidates"][0]["finishReason"] == word


def test_a_call_that_cannot_be_read_is_told_as_gemini_tells_it():
    broken = ToolCall("1", "f", '{"a":')
    reply = Reply(choices=(Choice((broken,), finish_reason="tool_calls"),))
    sent = encode(reply)["candidates"][0]
    assert sent["finishReason"] == "MALFORMED_FUNCTION_CALL"
    assert sent["finishMessage"] == 'Malformed function call: f({"a":)'
    cut = Reply(choices=(Choice((broken,), finish_reason="length"),))
    assert encode(cut)["candidates"][0]["finishReason"] == "MAX_TOKENS"


# Errors.


def status(code, word, message="m", *details):
    error = {"code": code, "message": message, "status": word}
    return json.dumps({"error": {**error, "details": list(details)} if details else error}).encode()


INFO = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48.5s"}
QUOTA = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerMinute"}]}
PLAN = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("code", "word", "message", "details", "kind"),
    [
        (400, "INVALID_ARGUMENT", "API key not valid.", [INFO], "authentication"),
        (400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", [], "authentication"),
        (401, "UNAUTHENTICATED", "Request had invalid credentials.", [], "authentication"),
        (403, "PERMISSION_DENIED", "Your API key was reported as leaked.", [], "authentication"),
        (403, "PERMISSION_DENIED", "Denied.", [], "permission"),
        (403, "PERMISSION_DENIED", "x", [{"reason": "BILLING_DISABLED"}], "billing"),
        (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", [], "permission"),
        (400, "FAILED_PRECONDITION", "Please enable billing on project 1.", [], "billing"),
        (404, "NOT_FOUND", "models/x is not found", [], "not_found"),
        (400, "INVALID_ARGUMENT", "The input token count (12) exceeds the maximum number of tokens allowed (10).", [], "context_too_long"),
        (400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes.", [], "too_large"),
        (413, "INVALID_ARGUMENT", "x", [], "too_large"),
        (400, "INVALID_ARGUMENT", "Please use a valid role.", [], "invalid_request"),
        (429, "RESOURCE_EXHAUSTED", PLAN, [QUOTA, RETRY], "rate_limited"),
        (429, "RESOURCE_EXHAUSTED", PLAN, [QUOTA], "rate_limited"),
        (429, "RESOURCE_EXHAUSTED", PLAN, [RETRY], "rate_limited"),
        (429, "RESOURCE_EXHAUSTED", PLAN, [], "billing"),
        (429, "RESOURCE_EXHAUSTED", f"{PLAN}\n* Quota exceeded for metric: x, limit: 0, model: y", [QUOTA, RETRY], "billing"),
        (429, "RESOURCE_EXHAUSTED", "* Quota exceeded for metric: x, limit: 100", [QUOTA], "rate_limited"),
        (429, "RESOURCE_EXHAUSTED", "x", [{"metadata": {"quota_limit_value": "0"}}], "billing"),
        (429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", [], "billing"),
        (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).", [], "rate_limited"),
        (500, "INTERNAL", "x", [], "server_error"),
        (503, "UNAVAILABLE", "The model is overloaded.", [], "overloaded"),
        (504, "DEADLINE_EXCEEDED", "x", [], "timeout"),
        (418, "WORD_OF_TOMORROW", "x", [], "invalid_request"),
        (599, "WORD_OF_TOMORROW", "x", [], "server_error"),
    ],
)  # fmt: skip
def test_kinds_of_failure(code, word, message, details, kind):
    failure = GEMINI.decode_failure(code, {}, status(code, word, message, *details))
    assert (failure.kind, failure.status, failure.type, failure.message) == (kind, code, word, message)
    number, body = GEMINI.encode_failure(failure)
    assert (number, GEMINI.decode_failure(number, {}, body)) == (code, failure)


def test_how_long_to_wait():
    body = status(429, "RESOURCE_EXHAUSTED", "x", RETRY)
    assert GEMINI.decode_failure(429, {}, body).retry_after == 48.5
    assert GEMINI.decode_failure(429, {"retry-after": "7"}, body).retry_after == 7
    assert GEMINI.decode_failure(429, {"retry-after": "7", "retry-after-ms": "1500"}, body).retry_after == 1.5
    waits = GEMINI.decode_failure(429, {"retry-after": formatdate(time.time() + 30, usegmt=True)}, b"").retry_after
    assert waits is not None
    assert 25 < waits <= 30
    for odd in ("soon", "nan", "-1", "Mon, 99 Foo 2026"):
        assert GEMINI.decode_failure(429, {"retry-after": odd}, b"").retry_after is None
    told = status(429, "RESOURCE_EXHAUSTED", "Please retry in 49.5s.")
    assert GEMINI.decode_failure(429, {}, told).retry_after == 49.5


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The provider answered with HTTP status 502."),
        (b"<html>Bad gateway</html>", "<html>Bad gateway</html>"),
        (b"x" * 600, "x" * 499 + "…"),
        (b"\xff\xfe", "��"),
        (b'{"error":"plain"}', "plain"),
        (b'{"error":{}}', "The provider gave no reason."),
        (b'{"error":{"message":5,"code":"x","details":[1]}}', "The provider gave no reason."),
        (b"[" * 100_000, "[" * 499 + "…"),
        (b'[{"error":{"message":"in a list"}}]', "in a list"),
    ],
)
def test_failures_in_other_shapes(body, message):
    failure = GEMINI.decode_failure(502, {}, body)
    assert (failure.kind, failure.message) == ("server_error", message)


def test_a_key_is_never_repeated():
    debug = {"@type": "type.googleapis.com/google.rpc.DebugInfo", "detail": "Invalid API key: AIzaSyA1234567890"}
    failure = GEMINI.decode_failure(400, {}, status(400, "INVALID_ARGUMENT", "key AIzaSyA1234567890", INFO, debug))
    assert "AIzaSy" not in repr(failure)
    assert failure.code == "API_KEY_INVALID"


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("authentication", 401),
        ("permission", 403),
        ("billing", 403),
        ("rate_limited", 429),
        ("not_found", 404),
        ("context_too_long", 400),
        ("too_large", 413),
        ("invalid_request", 400),
        ("safety", 400),
        ("overloaded", 503),
        ("server_error", 500),
        ("timeout", 504),
        ("malformed", 500),
    ],
)
def test_failures_of_other_formats(kind, number):
    sent, body = GEMINI.encode_failure(Failure(kind, "why", status=418, wire="openai", raw={"x": 1}, retry_after=2.5))
    read = GEMINI.decode_failure(sent, {}, body)
    assert (sent, read.kind, read.message, read.retry_after) == (number, kind, "why", 2.5)
