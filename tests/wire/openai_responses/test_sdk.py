"""What the codec writes, read by the official SDK and held against the specification; and what the SDK sends. No socket is opened."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel

from rini.canon import (
    Choice,
    Failure,
    Finish,
    Image,
    Media,
    Meta,
    Opaque,
    PartDelta,
    PartStart,
    PartStop,
    Refusal,
    Reply,
    Request,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageUpdate,
)
from rini.wire.openai_responses import OPENAI_RESPONSES
from tests.wire.openai_responses.spec import event_faults, events_in, faults

ASK: dict[str, Any] = {"model": "m", "input": "Hi"}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": "f",
        "description": "d",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    }
]


def client(answer: Callable[[httpx2.Request], httpx2.Response]) -> openai.OpenAI:
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="none", base_url="http://test/v1", http_client=http, max_retries=0)


def answering(body: bytes, status: int = 200, kind: str = "application/json") -> openai.OpenAI:
    return client(lambda _: httpx2.Response(status, content=body, headers={"content-type": kind}))


def streaming(*events: Any, request: Request | None = None) -> bytes:
    encoder = OPENAI_RESPONSES.stream_encoder(request=request)
    return b"".join(encoder.feed(event) for event in events) + encoder.close()


def asked(**fields: Any) -> Request:
    return OPENAI_RESPONSES.decode_request(json.dumps({**ASK, **fields}).encode())


WHOLE = (
    Thinking("hm", signature="sig"),
    Thinking("and"),
    Text("Hi"),
    Text(" there"),
    ToolCall("", "f", '{"a":1}'),
    ToolCall("toolu_1", "f", '{"a":2}'),
    Image(Media(data="aGk=", mime_type="image/png")),
    Opaque("anthropic", {"type": "server_tool_use"}),
)


def test_a_whole_answer_of_another_provider():
    reply = Reply((Choice(WHOLE, "tool_calls", "tool_use"),), Usage(10, 5, 4, reasoning_tokens=2), "msg_1", "claude", 5)
    body = OPENAI_RESPONSES.encode_reply(reply)
    assert faults("Response", json.loads(body)) == []
    response = answering(body).responses.create(**ASK)
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "image_generation_call",
    ]
    assert response.output_text == "Hi there"
    ids = [item.id for item in response.output]
    assert len(set(ids)) == len(ids)
    assert all(id_ and len(id_) <= 64 for id_ in ids)
    assert [item.call_id for item in response.output if item.type == "function_call"][1] == "toolu_1"
    assert all(item.call_id for item in response.output if item.type == "function_call")
    assert "sig" not in body.decode()  # a signature of another's is no encrypted content of OpenAI's
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.total_tokens) == (10, 15)
    assert response.usage.input_tokens_details.cached_tokens == 4
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    assert (response.status, response.created_at, response.model) == ("completed", 5, "claude")


def test_ids_are_the_same_for_the_same_answer_and_others_for_another():
    def ids(reply_id: str | None) -> set[str]:
        body = json.loads(OPENAI_RESPONSES.encode_reply(Reply((Choice(WHOLE, "stop"),), id=reply_id)))
        return {body["id"], *(item["id"] for item in body["output"])}

    assert ids("a") == ids("a")
    assert not ids("a") & ids("b")
    assert not ids(None) & ids(None)


def told(parts: Any) -> list[Any]:
    """Tell parts as a provider streams them: text in two pieces, and each part ended before the next begins."""
    events: list[Any] = []
    for index, part in enumerate(parts):
        match part:
            case Text() | Thinking() | Refusal():
                events += [PartStart(index, type(part)("")), PartDelta(index, part.text[:1])]
                events.append(PartDelta(index, part.text[1:], signature=getattr(part, "signature", None)))
            case ToolCall():
                events += [PartStart(index, ToolCall(part.id, part.name)), PartDelta(index, part.arguments)]
            case _:
                events.append(PartStart(index, part))
        events.append(PartStop(index))
    return events


def test_a_streamed_answer_of_another_provider():
    data = streaming(
        Start("msg_1", "claude", 5),
        *told(WHOLE),
        Meta(),
        Finish("tool_calls"),
        UsageUpdate(Usage(10, 5, 4)),
        request=asked(tools=TOOLS),
    )
    events = events_in(data)
    assert [fault for event in events for fault in event_faults(event)] == []
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    with answering(data, kind="text/event-stream").responses.stream(**ASK, tools=TOOLS) as stream:
        seen = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "Hi there"
    assert [item.type for item in final.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "image_generation_call",
    ]
    assert [item.parsed_arguments for item in final.output if item.type == "function_call"] == [{"a": 1}, {"a": 2}]
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == "Hi there"
    assert final.usage is not None
    assert final.usage.input_tokens == 10
    for place in ("response.output_item", "response.content_part", "response.reasoning_summary_part"):
        kinds = [event["type"] for event in events]
        assert kinds.count(f"{place}.added") == kinds.count(f"{place}.done") > 0
    # The same answer, whole, has the same output.
    whole = json.loads(OPENAI_RESPONSES.encode_reply(Reply((Choice(WHOLE, "tool_calls"),), id="msg_1")))
    assert events[-1]["response"]["output"] == whole["output"]
    ended = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert ended == whole["output"]


def test_parts_that_interleave():
    data = streaming(
        Start("a"),
        PartStart(0, Text("")),
        PartDelta(0, "A"),
        PartStart(1, ToolCall("c", "f")),
        PartStart(2, ToolCall("d", "f")),
        PartDelta(2, '{"a":2}'),
        PartDelta(0, "B"),
        PartDelta(1, '{"a":1}'),
        PartStop(2),
        PartStop(1),
        PartStop(0),
        Finish("tool_calls"),
    )
    events = events_in(data)
    assert [fault for event in events for fault in event_faults(event)] == []
    with answering(data, kind="text/event-stream").responses.stream(**ASK, tools=TOOLS) as stream:
        final = stream.get_final_response()
    assert final.output_text == "AB"
    assert [(item.call_id, item.arguments) for item in final.output if item.type == "function_call"] == [
        ("c", '{"a":1}'),
        ("d", '{"a":2}'),
    ]


class Person(BaseModel):
    name: str


def test_a_structured_answer_is_parsed():
    data = streaming(Start("a"), *told([Text('{"name":"Ada"}')]), Finish("stop"))
    with answering(data, kind="text/event-stream").responses.stream(**ASK, text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == Person(name="Ada")
    body = OPENAI_RESPONSES.encode_reply(Reply((Choice((Text('{"name":"Ada"}'),), "stop"),)))
    assert answering(body).responses.parse(**ASK, text_format=Person).output_parsed == Person(name="Ada")


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("stop_sequence", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("context_full", "incomplete", "max_output_tokens"),
        ("safety", "incomplete", "content_filter"),
        ("refusal", "incomplete", "content_filter"),
        ("other", "completed", None),
    ],
)
def test_why_an_answer_ended(reason, status, details):
    body = OPENAI_RESPONSES.encode_reply(Reply((Choice((Text("a"),), reason),)))
    response = answering(body).responses.create(**ASK)
    assert response.status == status
    assert (response.incomplete_details and response.incomplete_details.reason) == details
    assert response.output[0].status == ("incomplete" if details else "completed")
    events = events_in(streaming(Start("a"), *told([Text("a")]), Finish(reason)))
    assert events[-1]["type"] == f"response.{status}"
    assert [fault for event in events for fault in event_faults(event)] == []
    assert events[-1]["response"]["output"][0]["status"] == response.output[0].status


def test_a_refusal_is_one():
    reply = Reply((Choice((Refusal("No."),), "refusal"),))
    response = answering(OPENAI_RESPONSES.encode_reply(reply)).responses.create(**ASK)
    assert response.status == "completed"
    assert response.output[0].content[0].refusal == "No."
    events = events_in(streaming(Start("a"), *told([Refusal("No.")]), Finish("refusal")))
    assert [fault for event in events for fault in event_faults(event)] == []
    assert events[-1]["type"] == "response.completed"


def test_an_answer_repeats_its_request():
    request = asked(
        instructions="Be brief.",
        tools=[*TOOLS, {"type": "web_search"}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=20,
        max_tool_calls=3,
        metadata={"a": "b"},
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_object"}, "verbosity": "low"},
        truncation="auto",
        user="u",
        prompt_cache_key="k",
        safety_identifier="s",
        previous_response_id="resp_0",
        include=["reasoning.encrypted_content"],
    )
    reply = Reply((Choice((Text("a"),), "stop"),), id="a", model="claude", created=5)
    body = json.loads(OPENAI_RESPONSES.encode_reply(reply, request=request))
    assert faults("Response", body) == []
    assert {name: body[name] for name in asked_back} == asked_back
    assert "include" not in body
    assert "input" not in body
    events = events_in(streaming(Start("a", "claude", 5), *told([Text("a")]), Finish("stop"), request=request))
    assert [fault for event in events for fault in event_faults(event)] == []
    assert events[-1]["response"] == body
    assert {name: events[0]["response"][name] for name in asked_back} == asked_back
    without = json.loads(OPENAI_RESPONSES.encode_reply(reply, request=asked()))
    assert (without["tools"], without["tool_choice"], without["instructions"]) == ([], "auto", None)


asked_back: dict[str, Any] = {
    "model": "claude",
    "instructions": "Be brief.",
    "tools": [*TOOLS, {"type": "web_search"}],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "top_p": 0.9,
    "max_output_tokens": 20,
    "max_tool_calls": 3,
    "metadata": {"a": "b"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_object"}, "verbosity": "low"},
    "truncation": "auto",
    "user": "u",
    "prompt_cache_key": "k",
    "safety_identifier": "s",
    "previous_response_id": "resp_0",
}


FAILURES = [
    ("authentication", 401, openai.AuthenticationError),
    ("permission", 403, openai.PermissionDeniedError),
    ("not_found", 404, openai.NotFoundError),
    ("rate_limited", 429, openai.RateLimitError),
    ("billing", 429, openai.RateLimitError),
    ("invalid_request", 400, openai.BadRequestError),
    ("context_too_long", 400, openai.BadRequestError),
    ("overloaded", 503, openai.InternalServerError),
]


@pytest.mark.parametrize(("kind", "status", "error"), FAILURES)
def test_an_error_raises_the_sdks_own_class(kind, status, error):
    code, body = OPENAI_RESPONSES.encode_failure(Failure(kind, "Sorry.", wire="anthropic"))
    assert code == status
    with pytest.raises(error, match="Sorry"):
        answering(body, code).responses.create(**ASK)


@pytest.mark.parametrize(("kind", "status", "error"), FAILURES)
def test_an_error_in_the_middle_of_a_stream(kind, status, error):
    failure = Failure(kind, "Sorry.", code="overloaded_error", wire="anthropic")
    data = streaming(Start("a"), PartStart(0, Text("")), PartDelta(0, "Hi"), StreamFailure(failure), Finish("stop"))
    events = events_in(data)
    assert [fault for event in events for fault in event_faults(event)] == []
    assert [event["type"] for event in events][-2:] == ["error", "response.failed"]
    last = events[-1]["response"]
    assert (last["status"], last["error"]["message"]) == ("failed", "Sorry.")
    assert last["output"][0]["content"][0]["text"] == "Hi"
    with pytest.raises(openai.APIError, match="Sorry"):
        list(answering(data, kind="text/event-stream").responses.create(**ASK, stream=True))
    decoder = OPENAI_RESPONSES.stream_decoder()
    again = [*decoder.feed(data), *decoder.close()]
    assert isinstance(again[-1], StreamFailure)
    assert again[-1].failure.message == "Sorry."


def test_an_answer_that_breaks_off_is_an_error():
    with pytest.raises(openai.APIError, match="broke off"):
        list(
            answering(streaming(Start("a"), PartStart(0, Text("Hi"))), kind="text/event-stream").responses.create(
                **ASK, stream=True
            )
        )
    with pytest.raises(openai.APIError, match="broke off"):
        list(answering(streaming(), kind="text/event-stream").responses.create(**ASK, stream=True))


def test_what_the_sdk_sends_is_read():
    sent: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.read())
        assert str(request.url) == "http://test/v1" + OPENAI_RESPONSES.path("m", stream=False)
        return httpx2.Response(200, content=OPENAI_RESPONSES.encode_reply(Reply((Choice((Text("a"),), "stop"),))))

    sdk = client(answer)
    first = sdk.responses.create(model="m", input="Hi", instructions="Be brief.")
    sdk.responses.create(model="m", input=[*first.output, {"role": "user", "content": "More"}], stream=False)
    one, two = (OPENAI_RESPONSES.decode_request(body) for body in sent)
    assert [message.role for message in one.messages] == ["system", "user"]
    assert [message.role for message in two.messages] == ["assistant", "user"]
    assert two.messages[0].origin == "openai_responses"
