"""The codec against real exchanges: each check runs over all of them and names those that fail."""

import json
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from rini.canon import Reply, collect
from rini.wire.codec import MalformedError
from rini.wire.gemini import GEMINI
from tests.wire import recordings
from tests.wire.gemini_oracle import as_whole, chunks_of, normal, read_by_sdk, said_by_json, said_by_reply
from tests.wire.recordings import Exchange

pytestmark = pytest.mark.skipif(not recordings.present(), reason=recordings.ABSENT)

WRAPPED = "the recorder wrote the body as {type, content}"
KNOWN_ANSWERS = {
    "google/generateContent/pydantic-ai--test_google-test_google_image_or_text_output.yaml-d0345833": WRAPPED,
    "google/generateContent/pydantic-ai--test_google-test_google_model_safety_settings.yaml-dd9e68fe": WRAPPED,
    "google/streamGenerateContent/vertexai-sdk-test-data--vertexai-streaming-failure-empty-content-27e58d": (
        "the stream ends without a finish reason: MalformedError is right"
    ),
}
KNOWN_REQUESTS = {path: reason for path, reason in KNOWN_ANSWERS.items() if reason == WRAPPED}
KINDS = {
    "404": "not_found",
    "500": "server_error",
    "503": "overloaded",
}


@cache
def all_exchanges() -> list[Exchange]:
    return list(recordings.exchanges("google", "generateContent", "streamGenerateContent"))


def answers(*, stream: bool | None = None) -> Iterator[Exchange]:
    return (one for one in all_exchanges() if one.status < 400 and stream in (None, one.stream))


def requests() -> Iterator[Exchange]:
    return (one for one in all_exchanges() if isinstance(one.request["body"], dict))


def hold(found: Iterator[Exchange], known: dict[str, str], check: Callable[[Exchange], None]) -> int:
    """Run ``check`` on each; fail with the list of those that break, and of the known ones that do not."""
    passed = 0
    broken: dict[str, str] = {}
    for one in found:
        try:
            check(one)
        except (AssertionError, MalformedError, KeyError) as error:
            broken[one.path] = f"{type(error).__name__}: {str(error)[:300]}"
        else:
            passed += 1
    unexpected = {path: why for path, why in broken.items() if not path.startswith(tuple(known))}
    mended = [path for path in known if not any(name.startswith(path) for name in broken)]
    assert not unexpected
    assert not mended, "these pass now"
    print(f"{passed} pass, {len(broken)} known")
    return passed


def known(table: dict[str, str], *, stream: bool | None) -> dict[str, str]:
    part = {None: "", True: "google/streamG", False: "google/generateC"}[stream]
    return {path: why for path, why in table.items() if path.startswith(part)}


def decode(one: Exchange, pieces: list[bytes] | None = None) -> Reply:
    if not one.stream:
        return GEMINI.decode_reply(one.response_bytes)
    decoder = GEMINI.stream_decoder()
    events = [event for piece in pieces or [one.response_bytes] for event in decoder.feed(piece)]
    return collect([*events, *decoder.close()])


def readable_by_sdk(one: Exchange) -> bool:
    """Google's Python SDK cannot read enums as numbers."""
    return "finish:1" not in one.features


def test_answers_say_what_their_json_says():
    def check(one: Exchange) -> None:
        plain = as_whole(chunks_of(one.response_bytes.decode())) if one.stream else json.loads(one.response_bytes)
        assert said_by_reply(decode(one)) == said_by_json(plain)

    assert hold(answers(), KNOWN_ANSWERS, check) > 300


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cuts_do_not_matter(seed: int):
    def check(one: Exchange) -> None:
        assert decode(one, list(recordings.cuts(one.response_bytes, seed))) == decode(one)

    hold(answers(stream=True), known(KNOWN_ANSWERS, stream=True), check)


def test_single_bytes_do_not_matter():
    def check(one: Exchange) -> None:
        data = one.response_bytes
        if len(data) < 6000:
            assert decode(one, [data[at : at + 1] for at in range(len(data))]) == decode(one)
        else:
            decode(one)

    hold(answers(stream=True), known(KNOWN_ANSWERS, stream=True), check)


def test_whole_answers_survive_a_round_trip():
    def check(one: Exchange) -> None:
        reply = decode(one)
        again = GEMINI.encode_reply(reply)
        assert GEMINI.decode_reply(again) == reply
        if readable_by_sdk(one):
            theirs, ours = read_by_sdk(json.loads(one.response_bytes)), read_by_sdk(json.loads(again))
            assert (ours.text, ours.function_calls) == (theirs.text, theirs.function_calls)
            assert ours.usage_metadata == theirs.usage_metadata

    hold(answers(stream=False), known(KNOWN_ANSWERS, stream=False), check)


@pytest.mark.parametrize("json_array", [False, True])
def test_streams_survive_a_round_trip(json_array: bool):
    def check(one: Exchange) -> None:
        decoder = GEMINI.stream_decoder()
        events = [*decoder.feed(one.response_bytes), *decoder.close()]
        encoder = GEMINI.stream_encoder(json_array=json_array)
        again = b"".join(map(encoder.feed, events)) + encoder.close()
        decoder = GEMINI.stream_decoder()
        assert collect([*decoder.feed(again), *decoder.close()]) == collect(events)
        for chunk in chunks_of(again.decode()):
            if readable_by_sdk(one):
                read_by_sdk(chunk)

    hold(answers(stream=True), known(KNOWN_ANSWERS, stream=True), check)


def test_streamed_and_whole_agree():
    def check(one: Exchange) -> None:
        plain = as_whole(chunks_of(one.response_bytes.decode()))
        if "partialArgs" in str(plain):  # a whole answer has no calls in pieces
            decode(one)
            return
        assert said_by_reply(GEMINI.decode_reply(json.dumps(plain).encode())) == said_by_reply(decode(one))

    hold(answers(stream=True), known(KNOWN_ANSWERS, stream=True), check)


def test_requests_mean_the_same_after_a_round_trip():
    def check(one: Exchange) -> None:
        body = one.request["body"]
        request = GEMINI.decode_request(json.dumps(body).encode(), model=one.model, stream=one.stream)
        again = GEMINI.encode_request(request)
        assert normal(json.loads(again.body)) == normal(body)
        assert not again.dropped
        assert GEMINI.decode_request(again.body, model=one.model, stream=one.stream) == request

    assert hold(requests(), KNOWN_REQUESTS, check) > 300


def test_failures_are_told_apart():
    def check(one: Exchange) -> None:
        body = one.response_bytes.decode()
        kind = KINDS.get(str(one.status), "")
        if one.status == 400:
            kind = "authentication" if "API_KEY_INVALID" in body else "invalid_request"
            kind = "context_too_long" if "token count" in body else kind
        elif one.status == 403:
            kind = "permission"
        elif one.status == 429:
            kind = "billing" if "limit: 0" in body or '"quota_limit_value": "0"' in body else "rate_limited"
        failure = GEMINI.decode_failure(one.status, {}, one.response_bytes)
        assert failure.kind == kind
        assert failure.message.strip() == json.loads(body)["error"]["message"].strip()
        assert (failure.retry_after is not None) == ("retryDelay" in body)
        status, again = GEMINI.encode_failure(failure)
        assert GEMINI.decode_failure(status, {}, again) == failure

    assert hold((one for one in all_exchanges() if one.status >= 400), {}, check) > 20
