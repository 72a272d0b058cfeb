"""Every recorded exchange with OpenAI's responses, judged by a plain reading of its JSON.

Each check takes all recordings, collects what is wrong, and says how many passed. What is known not to pass
stands in the exceptions with its reason; one of those that passes fails the check, so that the table stays true.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from rini.canon import Meta, Opaque, Refusal, Reply, StreamFailure, Text, Thinking, ToolCall, collect
from rini.wire.codec import MalformedError
from rini.wire.openai_responses import OPENAI_RESPONSES
from tests.wire.recordings import ABSENT, Exchange, cuts, exchanges, present

pytestmark = pytest.mark.skipif(not present(), reason=ABSENT)

CODEC = OPENAI_RESPONSES
HERE = "openai/responses/"

# path prefix -> reason
MADE_UP = {
    f"{HERE}pydantic-ai--test_openai_responses-test_openai_previous_response_id_auto_mode": "made by hand: its status is "
    "complete, which the API has not"
}
OTHER_STREAM = {f"{HERE}lingua--multimodalrequest-responses-ae4f07-04": "made by hand: its events are of another kind"}
BEGAN_ANEW = {
    f"{HERE}genai--testclient-scoreboard-gpt-5.6-sol_thinking-genstream-maxtokens": "the API wrote its summary twice, and "
    "the deltas hold both"
}


@pytest.fixture(scope="module")
def recorded() -> list[Exchange]:
    return list(exchanges("openai", "responses"))


def whole_answers(recorded: list[Exchange]) -> list[Exchange]:
    return [exchange for exchange in recorded if exchange.status < 400 and not exchange.stream]


def streams(recorded: list[Exchange]) -> list[Exchange]:
    return [exchange for exchange in recorded if exchange.status < 400 and exchange.stream]


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
        print(
            f"\n  openai_responses {what}: {len(taken) - excepted - len(wrong)} of {len(taken)} pass, {excepted} excepted"
        )
    assert not wrong, "\n".join(wrong)


def differ(expected: Any, found: Any) -> str | None:
    return None if expected == found else f"expected {expected!r} but found {found!r}"


# -- the oracle: what is in an answer, read from its JSON by hand -----------------------------------


def told(body: dict[str, Any]) -> dict[str, Any]:
    items: list[Any] = []
    for item in body["output"]:
        match item["type"]:
            case "message":
                for part in item["content"]:
                    kind = "refusal" if part["type"] == "refusal" else "text"
                    cited = len(part.get("annotations") or ())
                    tokens = len(part.get("logprobs") or ())
                    items.append((kind, part[kind], item["id"], item.get("phase"), cited, tokens))
            case "reasoning":
                shown = [part["text"] for part in [*item["summary"], *(item.get("content") or ())]]
                items.append(("thinking", shown, item["id"], bool(item.get("encrypted_content"))))
            case "function_call":
                items.append(("call", item["call_id"], item["name"], item["arguments"], item["id"]))
            case "custom_tool_call":
                items.append(("call", item["call_id"], item["name"], item["input"], item["id"]))
            case _:
                items.append(("opaque", item))
    usage = body.get("usage")
    called = any(item[0] == "call" for item in items)
    status = body["status"]
    reason = (body.get("incomplete_details") or {}).get("reason")
    return {
        "id": body["id"],
        "model": body["model"],
        "created": body["created_at"] or None,
        "usage": usage
        and {
            "input": usage["input_tokens"],
            "output": usage["output_tokens"],
            "total": usage["total_tokens"],
            "cached": (usage.get("input_tokens_details") or {}).get("cached_tokens", 0),
            "written": (usage.get("input_tokens_details") or {}).get("cache_write_tokens", 0),
            "reasoning": (usage.get("output_tokens_details") or {}).get("reasoning_tokens", 0),
        },
        "items": items,
        "reason": {"completed": "tool_calls" if called else "stop", "incomplete": "length", "queued": None}[status],
        "raw": reason or status,
    }


def responses_in(body: str) -> list[dict[str, Any]]:
    """Read the events of a stream up to the one that ends it."""
    events: list[dict[str, Any]] = []
    for line in body.splitlines():
        if line.startswith("data:"):
            events.append(json.loads(line.removeprefix("data:")))
            if events[-1]["type"] in {"response.completed", "response.incomplete", "response.failed"}:
                break
    return events


def told_by_stream(body: str) -> dict[str, Any]:
    """Put the items of a stream in the place of those in its last event: OpenAI encrypts them anew for that."""
    events = responses_in(body)
    items = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    return told({**events[-1]["response"], "output": [items[index] for index in sorted(items)]})


def heard(reply: Reply) -> dict[str, Any]:
    """Say of a canon reply what the oracle says of JSON."""
    (choice,) = reply.choices
    items: list[Any] = []
    before = None
    for part in choice.parts:
        own = {} if isinstance(part, Opaque) else (part.extras or {}).get("openai_responses", {})
        match part:
            case Text() | Refusal():
                kind = "text" if isinstance(part, Text) else "refusal"
                before = own.get("item.id", before)
                cited = len(own.get("annotations", ()))
                tokens = len(own.get("logprobs", ()))
                items.append((kind, part.text, before, own.get("item.phase"), cited, tokens))
            case Thinking() if "item.id" in own:
                shown = [part.text] if part.text else []
                items.append(("thinking", shown, own["item.id"], part.signature is not None))
            case Thinking():
                _, shown, item_id, proven = items.pop()
                items.append(("thinking", [*shown, part.text], item_id, proven or part.signature is not None))
            case ToolCall():
                items.append(("call", part.id, part.name, part.arguments, own["id"]))
            case _:
                items.append(("opaque", part.value))
    usage = reply.usage
    return {
        "id": reply.id,
        "model": reply.model,
        "created": reply.created,
        "usage": usage
        and {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "total": usage.total_tokens,
            "cached": usage.cache_read_tokens or 0,
            "written": usage.cache_write_tokens or 0,
            "reasoning": usage.reasoning_tokens or 0,
        },
        "items": items,
        "reason": choice.finish_reason,
        "raw": choice.raw_finish_reason,
    }


def stream_events(data: list[bytes]) -> list[Any]:
    decoder = CODEC.stream_decoder()
    events = [event for piece in data for event in decoder.feed(piece)]
    return events + decoder.close()


def without_noise(value: Any) -> Any:
    """Leave out what is null, empty, false or 0: what a response of an older API had not, and what a recorder replaced."""
    if isinstance(value, dict):
        return {
            name: kept for name, inner in value.items() if (kept := without_noise(inner)) not in (None, [], {}, "", 0)
        }
    return [without_noise(inner) for inner in value] if isinstance(value, list) else value


def told_again(reply: Reply) -> Any:
    """What must be equal after the way to the wire and back: all but the time, where the provider told none."""
    return heard(reply) | {"created": None}, without_noise(dict((reply.extras or {}).get("openai_responses", {})))


# -- the checks ------------------------------------------------------------------------------------


def test_whole_answers_say_what_their_json_says(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        return differ(told(exchange.response["body"]), heard(CODEC.decode_reply(exchange.response_bytes)))

    check(whole_answers(recorded), judge, MADE_UP, capsys, "whole answers")


def test_whole_answers_survive_the_way_back(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        reply = CODEC.decode_reply(exchange.response_bytes)
        body = CODEC.encode_reply(reply)
        again = CODEC.decode_reply(body)
        expected = without_noise(exchange.response["body"])
        found = without_noise(json.loads(body))
        if "created_at" not in expected:
            del found["created_at"]
        return (
            differ(expected, found)
            or differ(reply.choices, again.choices)
            or differ(told_again(reply), told_again(again))
        )

    check(whole_answers(recorded), judge, MADE_UP, capsys, "whole answers back")


def test_streams_say_what_their_json_says(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        events = stream_events([exchange.response_bytes])
        failed = "response.failed" in exchange.response["body"]
        if failed != isinstance(events[-1], StreamFailure):
            return "the failure was missed or made up"
        if failed:
            error = responses_in(exchange.response["body"])[-1]["response"]["error"]
            return differ((error["code"], error["message"]), (events[-1].failure.code, events[-1].failure.message))
        return differ(told_by_stream(exchange.response["body"]), heard(collect(events)))

    check(streams(recorded), judge, OTHER_STREAM | BEGAN_ANEW, capsys, "streams")


def test_a_stream_adds_up_to_the_whole_answer_in_its_last_event(recorded, capsys):
    def proofless(reply: Reply) -> Any:
        seen = heard(reply)
        return (
            [item for item in seen.pop("items") if item[0] != "opaque"],
            seen,
            without_noise(dict(reply.extras or {})),
        )

    def judge(exchange: Exchange) -> str | None:
        last = responses_in(exchange.response["body"])[-1]
        whole = CODEC.decode_reply(json.dumps(last["response"]).encode())
        return differ(proofless(whole), proofless(collect(stream_events([exchange.response_bytes]))))

    taken = [each for each in streams(recorded) if "response.failed" not in each.response["body"]]
    check(taken, judge, OTHER_STREAM | BEGAN_ANEW, capsys, "streams as whole answers")


def test_streams_do_not_depend_on_where_their_bytes_are_cut(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        data = exchange.response_bytes
        whole = stream_events([data])
        for seed in range(3):
            if stream_events(list(cuts(data, seed))) != whole:
                return f"cut with seed {seed}"
        if len(data) < 40_000 and stream_events([data[at : at + 1] for at in range(len(data))]) != whole:
            return "cut into bytes"
        return None

    check(streams(recorded), judge, OTHER_STREAM, capsys, "cut streams")


def test_streams_survive_the_way_back(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        events = stream_events([exchange.response_bytes])
        encoder = CODEC.stream_encoder()
        data = [encoder.feed(event) for event in events]
        again = stream_events([*data, encoder.close()])
        if isinstance(events[-1], StreamFailure):
            return differ(events[-1], again[-1])
        before, after = collect(events), collect(again)
        return differ(before.choices, after.choices) or differ(told_again(before), told_again(after))

    check(streams(recorded), judge, OTHER_STREAM, capsys, "streams back")


def test_streams_tell_the_same_events_on_the_way_back(recorded, capsys):
    # Beside the deltas: of those there are as many, but not the empty ones, and OpenAI's own tools have others of their own.
    own = ("shell_call", "apply_patch", "mcp_call_arguments", "keepalive", "response.queued")

    def kinds(events: list[dict[str, Any]]) -> list[str]:
        return [
            event["type"]
            for event in events
            if not any(name in event["type"] for name in own) and event.get("delta", "more") != ""
        ]

    def judge(exchange: Exchange) -> str | None:
        encoder = CODEC.stream_encoder()
        events = stream_events([exchange.response_bytes])
        data = b"".join(encoder.feed(event) for event in events) + encoder.close()
        again = responses_in(data.decode())
        numbers = [event["sequence_number"] for event in again]
        if numbers != list(range(len(numbers))):
            return f"the numbers are {numbers}"
        return differ(sorted(kinds(responses_in(exchange.response["body"]))), sorted(kinds(again)))

    check(streams(recorded), judge, OTHER_STREAM, capsys, "events back")


def test_streams_that_break_off_are_told_from_whole_ones(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        body = exchange.response["body"]
        before = min(at for name in ("completed", "incomplete") if (at := body.find(f'"type":"response.{name}"')) >= 0)
        decoder = CODEC.stream_decoder()
        decoder.feed(body[:before].rpartition("\n")[0].encode() + b"\n")
        try:
            decoder.close()
        except MalformedError:
            return None
        return "it passed for whole"

    taken = [
        exchange
        for exchange in streams(recorded)
        if any(f'"type":"response.{name}"' in exchange.response["body"] for name in ("completed", "incomplete"))
    ]
    check(taken, judge, {}, capsys, "streams that break off")


def test_keepalives_are_signs_of_life(recorded):
    found = [
        exchange for exchange in recorded if exchange.stream and "event: keepalive" in str(exchange.response["body"])
    ]
    assert found
    for exchange in found:
        assert Meta() in stream_events([exchange.response_bytes])


# -- requests --------------------------------------------------------------------------------------


def plain_request(body: dict[str, Any]) -> dict[str, Any]:
    """Bring a request to one spelling of what OpenAI takes in several.

    Absent, null and empty are the same; so are a message with its type and without, and a string and an array with one plain text.
    """
    body = {name: kept for name, inner in body.items() if (kept := drop_empty(inner, name)) is not None}
    if isinstance(body.get("input"), list):
        body["input"] = [plain_item(item) for item in body["input"]]
    return body


def plain_item(item: dict[str, Any]) -> dict[str, Any]:
    item = {name: value for name, value in item.items() if (name, value) != ("type", "message")}
    for name in ("content", "output"):
        content = item.get(name)
        if isinstance(content, list) and len(content) == 1 and content[0].keys() == {"type", "text"}:
            item[name] = content[0]["text"]
    return item


def drop_empty(value: Any, inside: str = "") -> Any:
    if inside in {"parameters", "schema"}:
        return value  # a schema is somebody's own
    if isinstance(value, dict):
        return {name: kept for name, inner in value.items() if (kept := drop_empty(inner, name)) is not None} or None
    if isinstance(value, list):
        return [drop_empty(inner) for inner in value] or None
    return value


def test_requests_mean_the_same_on_the_way_back(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        body = exchange.request["body"]
        encoded = CODEC.encode_request(CODEC.decode_request(json.dumps(body).encode()))
        if encoded.dropped:
            return f"dropped {encoded.dropped}"
        again = CODEC.encode_request(CODEC.decode_request(encoded.body))
        return differ(plain_request(body), plain_request(json.loads(encoded.body))) or differ(encoded.body, again.body)

    taken = [exchange for exchange in recorded if exchange.request["body"] is not None]
    check(taken, judge, {}, capsys, "requests")


# -- errors ----------------------------------------------------------------------------------------

KINDS = {
    "model_not_found": "not_found",
    "invalid_api_key": "authentication",
    "insufficient_quota": "billing",
    "server_error": "server_error",
}
BY_STATUS = {400: "invalid_request", 401: "authentication", 500: "server_error"}


def test_failures_say_what_their_json_says(recorded, capsys):
    def judge(exchange: Exchange) -> str | None:
        error = exchange.response["body"]["error"]
        headers = {name.lower(): value for name, value in exchange.response["headers"].items()}
        failure = CODEC.decode_failure(exchange.status, headers, exchange.response_bytes)
        kind = KINDS.get(error["code"], BY_STATUS[exchange.status])
        found = (failure.kind, failure.message, failure.code, failure.type, failure.param, failure.status)
        status, body = CODEC.encode_failure(failure)
        return differ(
            (kind, error["message"], error["code"], error["type"], error["param"], exchange.status), found
        ) or differ((exchange.status, exchange.response["body"]), (status, json.loads(body)))

    check([exchange for exchange in recorded if exchange.status >= 400], judge, {}, capsys, "failures")
