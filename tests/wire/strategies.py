"""What the tests of OpenAI's two formats draw alike: plain values, requests and answers from anywhere, and bytes that are broken."""

import json
from copy import deepcopy
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from rini.canon import (
    Audio,
    Choice,
    Document,
    Finish,
    Image,
    Media,
    Message,
    Opaque,
    PartDelta,
    PartStart,
    PartStop,
    Reasoning,
    Refusal,
    Reply,
    Request,
    ResponseFormat,
    Start,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    UsageUpdate,
    Video,
)

fuzz = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# -- plain values ----------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
names = st.sampled_from(["a", "weather", "get_time"])
ids = st.sampled_from(["call_1", "call_2", "toolu_3"])
numbers = st.integers(0, 10**6)
maybe = st.none() | numbers
fractions = st.none() | st.floats(0, 1) | st.integers(0, 1)
schemas = st.none() | st.just({"type": "object", "properties": {}, "additionalProperties": False})
forms = (
    st.none()
    | st.sampled_from([ResponseFormat("text"), ResponseFormat("json")])
    | st.builds(ResponseFormat, st.just("json_schema"), schemas, names, st.none() | words, st.none() | st.booleans())
)
sounds = st.builds(
    Media, data=st.sampled_from(["", "AAAA"]), mime_type=st.sampled_from(["audio/wav", "audio/mpeg"])
)  # fmt: skip
CHOICES = [ToolChoice(mode) for mode in ("auto", "required", "none")] + [ToolChoice("tool", ("a",))]


def json_values(fewest: int = 0) -> st.SearchStrategy[Any]:
    """Any JSON; a list in it has at least ``fewest`` items."""
    return st.recursive(
        st.booleans() | st.integers(-(2**53), 2**53) | words | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, min_size=fewest, max_size=2) | st.dictionaries(words, inner, max_size=2),
        max_leaves=4,
    )


def events_of(reply: Reply, split: int) -> list[Any]:
    """Tell a reply as events, texts in two pieces cut at ``split``."""
    events: list[Any] = [Start(reply.id, reply.model, reply.created, reply.extras)]
    for number, choice in enumerate(reply.choices):
        for index, part in enumerate(choice.parts):
            match part:
                case Text() | Thinking() | Refusal():
                    events.append(PartStart(index, msgspec.structs.replace(part, text=part.text[:split]), number))
                    events.append(PartDelta(index, part.text[split:], choice=number))
                case ToolCall():
                    events.append(
                        PartStart(index, msgspec.structs.replace(part, arguments=part.arguments[:split]), number)
                    )
                    events.append(PartDelta(index, part.arguments[split:], choice=number))
                case Audio():
                    events.append(PartStart(index, Audio(Media(), part.id, extras=part.extras), number))
                    events.append(PartDelta(index, part.transcript or "", part.media.data or "", choice=number))
                case _:
                    events.append(PartStart(index, part, number))
            events.append(PartStop(index, number))
    if reply.usage is not None:
        events.append(UsageUpdate(reply.usage))
    events += [
        Finish(choice.finish_reason or "other", choice.raw_finish_reason, choice=number, extras=choice.extras)
        for number, choice in enumerate(reply.choices)
    ]
    return events


# -- from anywhere ---------------------------------------------------------------------------------

_elsewhere = st.none() | st.just({"anthropic": {"cache_control": {}}})
_media = st.sampled_from(
    [
        Media(data="AAAA", mime_type="image/png"),
        Media(data="AAAA"),
        Media(url="https://a.example/x"),
        Media(url="gs://a/b"),
        Media(file_id="f"),
        Media(),
    ]
)
_signatures = st.sampled_from([None, "sig"])
_call_ids = st.sampled_from(["", "call_0", "x", "é" * 70])


def any_parts(*wires: str) -> st.SearchStrategy[Any]:
    """Any part but a tool's result; opaque ones are of ``wires``."""
    return st.one_of(
        st.builds(Text, st.text(max_size=4), _signatures, _elsewhere),
        st.builds(Thinking, st.text(max_size=4), _signatures, _signatures, _elsewhere),
        st.builds(Image, _media, st.none(), _signatures, _elsewhere),
        st.builds(Document, _media, st.none() | words, st.none() | words),
        st.builds(Audio, _media, st.none() | words, st.none() | words),
        st.builds(Video, _media),
        st.builds(ToolCall, _call_ids, names, st.text(max_size=4), _signatures),
        st.builds(Refusal, st.text(max_size=4)),
        st.builds(Opaque, st.sampled_from(wires), json_values()),
    )


def any_requests(
    parts: st.SearchStrategy[Any], tools: st.SearchStrategy[Tool], top_k: st.SearchStrategy[int | None]
) -> st.SearchStrategy[Request]:
    """Any request whose messages hold ``parts`` and results of them, valid or not."""
    results = st.builds(
        ToolResult, _call_ids, st.lists(parts, max_size=2).map(tuple), st.none() | names, st.booleans()
    )  # fmt: skip
    messages = st.builds(
        Message,
        st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
        st.lists(parts | results, max_size=3).map(tuple),
        st.none() | names,
        st.sampled_from([None, "openai_chat", "openai_responses", "anthropic", "gemini"]),
        _elsewhere,
    )
    choices = st.builds(
        ToolChoice,
        st.sampled_from(["auto", "required", "none", "tool"]),
        st.lists(names, max_size=2).map(tuple),
        _elsewhere,
    )
    reasoning = st.builds(
        Reasoning,
        st.none() | st.booleans(),
        st.none() | words,
        st.none() | st.integers(-1, 9),
        st.none() | st.booleans(),
    )
    return st.builds(
        Request,
        model=names,
        messages=st.lists(messages, max_size=3).map(tuple),
        tools=st.lists(tools, max_size=2).map(tuple),
        tool_choice=st.none() | choices,
        top_k=top_k,
        reasoning=st.none() | reasoning,
        response_format=st.none()
        | st.builds(ResponseFormat, st.sampled_from(["text", "json", "json_schema"]), schemas),
        stream=st.booleans(),
        extras=_elsewhere,
    )


def any_replies(parts: st.SearchStrategy[Any], usages: st.SearchStrategy[Usage]) -> st.SearchStrategy[Reply]:
    """Any answer of one or two choices of ``parts``."""
    choices = st.builds(
        Choice,
        st.lists(parts, max_size=4).map(tuple),
        st.sampled_from(["stop", "length", "tool_calls", "refusal", "safety", "pause", "other", "malformed"]),
        st.sampled_from([None, "end_turn", "STOP", "stop"]),
        extras=_elsewhere,
    )
    return st.builds(
        Reply,
        st.lists(choices, min_size=1, max_size=2).map(tuple),
        st.none() | usages,
        st.none() | words,
        st.none() | words,
        st.none() | st.just(5),
        _elsewhere,
    )


# -- what is not the format ------------------------------------------------------------------------

anything = st.binary(max_size=30)
_junk = st.sampled_from(
    [None, True, 0, -1, 1.5, 10**400, "", "x", [], {}, [None], ["x"], {"x": None}, [[]], [{}], 10**20, "message"]
)


def _paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [here]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += _paths(inner, (*here, key))
    return found


@st.composite
def mutated(draw: Any, value: Any) -> bytes:
    """Up to two places of ``value`` gone or replaced; sometimes the bytes themselves are cut or broken."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(_paths(value)))
        if not path:
            continue
        target = value
        for key in path[:-1]:
            target = target[key]
        if draw(st.booleans()) and isinstance(target, dict):
            del target[path[-1]]
        else:
            target[path[-1]] = deepcopy(draw(_junk))
    data = json.dumps(value).encode()
    match draw(st.integers(0, 9)):
        case 0:
            return data[: draw(st.integers(0, len(data)))]
        case 1:
            at = draw(st.integers(0, len(data)))
            broken = draw(st.sampled_from([b"\xff", b"\\ud800", b"\xef\xbb\xbf", b"\0", b"[" * 3000, b"\n\n"]))
            return data[:at] + broken + data[at:]
        case _:
            return data
