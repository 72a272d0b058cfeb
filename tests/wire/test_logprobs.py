"""Probabilities across formats, through the codecs: what one provider tells is what a client of another format reads."""

import json
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest

from rini.canon import Meta, PartDelta, PartStart, PartStop, Request, Text
from rini.wire.codec import Codec
from rini.wire.gemini import GEMINI
from rini.wire.logprobs import LogprobsTranslation, are_wanted, translated
from rini.wire.openai_chat import OPENAI_CHAT
from rini.wire.openai_responses import OPENAI_RESPONSES

Token = tuple[str, float, list[tuple[str, float]]]

TOKENS: list[Token] = [
    ("Hi", -0.25, [("Hi", -0.25), ("Yo", -2.5)]),
    (" there", -0.5, [(" there", -0.5)]),
    ("…", -1, [("…", -1), ("!", -1.5)]),
]
ALONE: list[Token] = [(token, logprob, []) for token, logprob, _ in TOKENS]
CODECS: dict[str, Codec] = {codec.name: codec for codec in (OPENAI_CHAT, OPENAI_RESPONSES, GEMINI)}
PAIRS = list(permutations(CODECS, 2))


def openai(tokens: list[Token]) -> list[dict[str, Any]]:
    return [
        {
            "token": token,
            "logprob": logprob,
            "bytes": list(token.encode()),
            "top_logprobs": [{"token": other, "logprob": p, "bytes": list(other.encode())} for other, p in top],
        }
        for token, logprob, top in tokens
    ]


def google(tokens: list[Token]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "chosenCandidates": [{"token": token, "tokenId": 7, "logProbability": p} for token, p, _ in tokens]
    }
    if any(top for _, _, top in tokens):
        result["topCandidates"] = [
            {"candidates": [{"token": other, "tokenId": 7, "logProbability": p} for other, p in top]}
            for _, _, top in tokens
        ]
    return result


def text_of(tokens: list[Token]) -> str:
    return "".join(token for token, _, _ in tokens)


# -- what a provider sends -------------------------------------------------------------------------


def output_text(tokens: list[Token]) -> dict[str, Any]:
    return {"type": "output_text", "text": text_of(tokens), "annotations": [], "logprobs": openai(tokens)}


def message(tokens: list[Token]) -> dict[str, Any]:
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [output_text(tokens)],
    }


def response(*output: Any, status: str = "completed") -> dict[str, Any]:
    return {"id": "resp_1", "model": "m", "created_at": 5, "status": status, "output": list(output)}


def candidate(tokens: list[Token], **fields: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text_of(tokens)}]}
    return {"candidates": [{"content": content, "logprobsResult": google(tokens), **fields}]}


def whole(wire: str, tokens: list[Token]) -> bytes:
    match wire:
        case "openai_chat":
            said = {"role": "assistant", "content": text_of(tokens)}
            choice = {"index": 0, "message": said, "finish_reason": "stop", "logprobs": {"content": openai(tokens)}}
            body: Any = {"id": "c", "model": "m", "created": 5, "choices": [choice]}
        case "openai_responses":
            body = response(message(tokens))
        case _:
            body = candidate(tokens, finishReason="STOP", avgLogprobs=-6.5)
    return json.dumps(body).encode()


def chunk(delta: Any, tokens: list[Token] | None, word: str | None = None) -> dict[str, Any]:
    logprobs = None if tokens is None else {"content": openai(tokens), "refusal": None}
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": word}
    return {"id": "c", "model": "m", "created": 5, "choices": [choice]}


def streamed(wire: str, tokens: list[Token]) -> list[bytes]:
    """The answer in pieces, a token at a time."""
    match wire:
        case "openai_chat":
            frames: list[Any] = [chunk({"role": "assistant", "content": ""}, [])]
            frames += [chunk({"content": token[0]}, [token]) for token in tokens]
            frames.append(chunk({}, None, "stop"))
        case "openai_responses":
            at = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
            frames = [
                {"type": "response.created", "response": response(status="in_progress")},
                {"type": "response.output_item.added", "output_index": 0, "item": {**message([]), "content": []}},
                {"type": "response.content_part.added", **at, "part": output_text([])},
            ]
            frames += [
                {"type": "response.output_text.delta", **at, "delta": token[0], "logprobs": openai([token])}
                for token in tokens
            ]
            frames += [
                {"type": "response.content_part.done", **at, "part": output_text(tokens)},
                {"type": "response.output_item.done", "output_index": 0, "item": message(tokens)},
                {"type": "response.completed", "response": response(message(tokens))},
            ]
        case _:
            frames = [candidate([token]) for token in tokens[:-1]]
            frames.append(candidate(tokens[-1:], finishReason="STOP", avgLogprobs=-6.5))
    return [b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames]


# -- what a client reads ---------------------------------------------------------------------------


def from_openai(entries: list[dict[str, Any]]) -> list[Token]:
    for each in entries:
        for token in (each, *each["top_logprobs"]):
            assert token["bytes"] == list(token["token"].encode())
    return [
        (each["token"], each["logprob"], [(other["token"], other["logprob"]) for other in each["top_logprobs"]])
        for each in entries
    ]


def from_google(result: dict[str, Any]) -> list[Token]:
    chosen = result["chosenCandidates"]
    top = result.get("topCandidates") or [{"candidates": []}] * len(chosen)
    return [
        (each["token"], each["logProbability"], [(o["token"], o["logProbability"]) for o in step["candidates"]])
        for each, step in zip(chosen, top, strict=True)
    ]


def read(wire: str, body: bytes) -> tuple[str, list[Token]]:
    answer = json.loads(body)
    match wire:
        case "openai_chat":
            choice = answer["choices"][0]
            return choice["message"]["content"], from_openai(choice["logprobs"]["content"])
        case "openai_responses":
            part = answer["output"][0]["content"][0]
            return part["text"], from_openai(part["logprobs"])
        case _:
            found = answer["candidates"][0]
            tokens = from_google(found["logprobsResult"])
            assert found["avgLogprobs"] == mean(tokens)
            return found["content"]["parts"][0]["text"], tokens


def mean(tokens: list[Token]) -> float:
    return sum(p for _, p, _ in tokens) / len(tokens)


def payloads(data: bytes) -> Iterator[Any]:
    for line in data.splitlines():
        if line.startswith(b"data: {"):
            yield json.loads(line.removeprefix(b"data: "))


def read_pieces(wire: str, data: bytes) -> list[tuple[str, list[Token]]]:
    """Each piece of text that a stream told, with the probabilities that came with it."""
    pieces: list[tuple[str, list[Token]]] = []
    means: list[float] = []
    for each in payloads(data):
        match wire:
            case "openai_chat":
                for choice in each["choices"]:
                    tokens = from_openai((choice["logprobs"] or {"content": []})["content"])
                    pieces.append((choice["delta"].get("content") or "", tokens))
            case "openai_responses":
                if each["type"] == "response.output_text.delta":
                    pieces.append((each["delta"], from_openai(each["logprobs"])))
                elif each["type"] == "response.output_text.done":
                    assert from_openai(each["logprobs"]) == [token for _, tokens in pieces for token in tokens]
                elif each["type"] == "response.completed":
                    last = each["response"]["output"][0]["content"][0]["logprobs"]
                    assert from_openai(last) == [token for _, tokens in pieces for token in tokens]
            case _:
                for found in each["candidates"]:
                    tokens = from_google(found["logprobsResult"]) if "logprobsResult" in found else []
                    pieces.append((found["content"]["parts"][0]["text"], tokens))
                    means += [found["avgLogprobs"]] if "avgLogprobs" in found else []
    if wire == "gemini":
        assert means == [mean([token for _, tokens in pieces for token in tokens])]
    return [piece for piece in pieces if piece != ("", [])]


def retold(source: str, target: str, pieces: list[bytes]) -> bytes:
    decoder = CODECS[source].stream_decoder()
    encoder = CODECS[target].stream_encoder()
    translation = LogprobsTranslation(source, target)
    batches = [decoder.feed(piece) for piece in pieces]
    batches.append(decoder.close())
    events = [event for batch in batches for event in translation.events(batch)]
    return b"".join(encoder.feed(event) for event in events) + encoder.close()


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("tokens", [TOKENS, ALONE], ids=["alternatives", "alone"])
def test_whole_answers(source, target, tokens):
    reply = translated(CODECS[source].decode_reply(whole(source, tokens)), source, target)
    assert read(target, CODECS[target].encode_reply(reply)) == (text_of(tokens), tokens)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("tokens", [TOKENS, ALONE], ids=["alternatives", "alone"])
@pytest.mark.parametrize("at_once", [False, True], ids=["piece by piece", "at once"])
def test_streams(source, target, tokens, at_once):
    pieces = streamed(source, tokens)
    data = retold(source, target, [b"".join(pieces)] if at_once else pieces)
    assert read_pieces(target, data) == [(token[0], [token]) for token in tokens]


@pytest.mark.parametrize("target", ["openai_chat", "gemini"])
def test_what_a_server_tells_at_the_end_of_a_stream_only(target):
    pieces = [
        json.dumps({**next(payloads(piece)), "logprobs": []}).encode() for piece in streamed("openai_responses", TOKENS)
    ]
    data = retold("openai_responses", target, [b"data: " + piece + b"\n\n" for piece in pieces])
    told = read_pieces(target, data)
    assert [text for text, _ in told] == [*(token[0] for token in TOKENS), ""]
    assert [token for _, tokens in told for token in tokens] == TOKENS


def test_several_answers_are_told_apart():
    body = json.loads(whole("openai_chat", TOKENS))
    body["choices"].append({**json.loads(whole("openai_chat", ALONE[:1]))["choices"][0], "index": 1})
    reply = translated(OPENAI_CHAT.decode_reply(json.dumps(body).encode()), "openai_chat", "gemini")
    found = json.loads(GEMINI.encode_reply(reply))["candidates"]
    assert [from_google(each["logprobsResult"]) for each in found] == [TOKENS, ALONE[:1]]


def test_answers_of_one_stream_are_told_apart():
    tokens = [TOKENS[0]], [TOKENS[1]]
    first, second = (candidate(each)["candidates"][0] for each in tokens)
    frame = {"candidates": [{**first, "index": 0}, {**second, "index": 1}]}
    events = GEMINI.stream_decoder().feed(b"data: " + json.dumps(frame).encode() + b"\n\n")
    told = LogprobsTranslation("gemini", "openai_chat").events(events)
    for choice, each in enumerate(tokens):
        (meta,) = [event for event in told if isinstance(event, Meta) and "openai_chat" in (event.extras or {})
                   and event.choice == choice]  # fmt: skip
        assert meta.extras is not None
        assert from_openai(meta.extras["openai_chat"]["logprobs.content"]) == each
        after = told[told.index(meta) + 1]
        assert isinstance(after, PartDelta)
        assert (after.choice, after.text) == (choice, each[0][0])


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0] != "gemini"])
def test_tokens_without_a_text_of_their_own_wait_for_the_next(source, target):
    """As with the first half of a character, whose piece is empty."""
    pieces = streamed(source, TOKENS)
    pieces = [piece.replace(b'" there", "logprobs"', b'"", "logprobs"') for piece in pieces]
    pieces = [piece.replace(b'{"content": " there"}', b'{"content": ""}') for piece in pieces]
    told = read_pieces(target, retold(source, target, pieces))
    assert told == [("Hi", TOKENS[:1]), ("…", TOKENS[1:])]


@pytest.mark.parametrize("target", ["openai_responses", "gemini"])
def test_tokens_that_no_text_follows_on_come_at_the_end(target):
    frames = [chunk({"content": "Hi"}, TOKENS[:1]), chunk({}, TOKENS[1:]), chunk({}, None, "stop")]
    data = retold("openai_chat", target, [b"data: " + json.dumps(each).encode() + b"\n\n" for each in frames])
    if target == "gemini":
        assert read_pieces(target, data) == [("Hi", TOKENS[:1]), ("", TOKENS[1:])]
    else:
        (done,) = [each for each in payloads(data) if each["type"] == "response.output_text.done"]
        assert from_openai(done["logprobs"]) == TOKENS


def test_tokens_of_a_call_are_told_where_a_format_has_a_place_for_them():
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    pieces = [
        b"data: " + json.dumps(each).encode() + b"\n\n"
        for each in (chunk({"tool_calls": [call]}, TOKENS[:1]), chunk({}, None, "tool_calls"))
    ]
    last = list(payloads(retold("openai_chat", "gemini", pieces)))[-1]["candidates"][0]
    assert from_google(last["logprobsResult"]) == TOKENS[:1]
    assert b"-0.25" not in retold("openai_chat", "openai_responses", pieces)


def test_what_servers_leave_out_or_get_wrong():
    entries = [{"token": "é"}, {"token": "\N{REPLACEMENT CHARACTER}", "logprob": "x", "top_logprobs": [None]}, 5]
    body = json.loads(whole("openai_chat", TOKENS))
    body["choices"][0]["logprobs"]["content"] = entries
    reply = OPENAI_CHAT.decode_reply(json.dumps(body).encode())
    part = translated(reply, "openai_chat", "openai_responses").choices[0].parts[0]
    assert isinstance(part, Text)
    assert part.extras is not None
    assert part.extras["openai_responses"]["logprobs"] == [
        {"token": "é", "logprob": 0.0, "bytes": [195, 169], "top_logprobs": []},
        {"token": "\N{REPLACEMENT CHARACTER}", "logprob": 0.0, "bytes": [], "top_logprobs": []},
    ]
    cut = candidate([("\N{REPLACEMENT CHARACTER}", -1, [])], finishReason="STOP")
    told = translated(GEMINI.decode_reply(json.dumps(cut).encode()), "gemini", "openai_chat").choices[0].extras
    assert told is not None
    assert told["openai_chat"]["logprobs.content"][0]["bytes"] is None
    for wrong in ({}, [], 5, {"chosenCandidates": 5}):
        cut["candidates"][0]["logprobsResult"] = wrong
        nothing = GEMINI.decode_reply(json.dumps(cut).encode())
        assert translated(nothing, "gemini", "openai_chat") == nothing


def test_events_without_probabilities_are_as_they_were():
    events = [PartStart(0, Text("")), PartDelta(0, "a"), PartDelta(0, "b"), PartStop(0), Meta()]
    for target in CODECS:
        assert LogprobsTranslation("openai_chat", target).events(list(events)) == events


def test_only_what_was_asked_for_is_told():
    asked = Request(model="m", messages=(), logprobs=True)
    assert are_wanted(asked, "gemini", "openai_chat")
    assert not are_wanted(asked, "openai_chat", "openai_chat")
    assert not are_wanted(asked, "anthropic", "openai_chat")
    assert not are_wanted(asked, "openai_chat", "anthropic")
    assert not are_wanted(Request(model="m", messages=(), top_logprobs=0), "gemini", "openai_chat")


ASKED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "openai_chat": (
        {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "top_logprobs": 2},
        {"logprobs": True, "top_logprobs": 2},
    ),
    "openai_responses": (
        {"input": "Hi", "include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
    ),
    "gemini": (
        {"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": {"responseLogprobs": True, "logprobs": 2}},
        {"generationConfig": {"responseLogprobs": True, "logprobs": 2}},
    ),
}


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_provider_is_asked_for_them_in_its_own_words(source, target):
    request = CODECS[source].decode_request(json.dumps({"model": "m", **ASKED[source][0]}).encode(), model="m")
    result = CODECS[target].encode_request(request)
    body = json.loads(result.body)
    assert {name: body[name] for name in ASKED[target][1]} == ASKED[target][1]
    assert result.dropped == ()
