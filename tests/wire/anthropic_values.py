"""Generated values: what this wire format can express, and what other formats might hand to it."""

import msgspec
from hypothesis import strategies as st

from rini.canon import (
    Audio,
    Choice,
    Document,
    Image,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Reply,
    Request,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    Video,
)

WIRE = "anthropic"
words = st.text(st.characters(codec="utf-8"), max_size=8)
said = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
names = st.text("abcXYZ019_-", min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=5,
)
counts = st.integers(0, 10**6)


def extras(*fields: str) -> st.SearchStrategy:
    some = st.dictionaries(st.sampled_from(fields), json_values, min_size=1, max_size=2)
    return st.none() | some.map(lambda found: {WIRE: found})


# As the codec itself writes JSON, for a whole answer holds a value and not its text.
arguments = st.dictionaries(words, json_values, max_size=2).map(lambda value: msgspec.json.encode(value).decode())
media = st.builds(Media, data=st.just("aGk="), mime_type=st.sampled_from(["image/png", "image/webp"])) | st.builds(
    Media, url=st.just("https://x/y")
)
texts = st.builds(Text, said, extras=extras("cache_control", "citations"))
images = st.builds(Image, media, extras=extras("cache_control"))
documents = st.builds(
    Document,
    st.builds(Media, data=said, mime_type=st.just("application/pdf")) | st.builds(Media, file_id=names),
    name=st.none() | words,
    extras=extras("context", "citations"),
) | st.builds(Document, st.just(Media(mime_type="text/plain")), text=words)
opaque = st.builds(
    Opaque,
    st.just(WIRE),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["server_tool_use", "compaction", "x_tool_result"])}, optional={"a": json_values}
    ),
)
thinking = st.builds(Thinking, words, signature=words.filter(bool), extras=extras("more")) | st.builds(
    Thinking, redacted=words, extras=extras("more")
)
calls = st.builds(ToolCall, names, names, arguments, extras=extras("caller"))


@st.composite
def own_requests(draw: st.DrawFn) -> Request:
    """Requests that this format expresses without loss."""
    messages = [Message("system", tuple(draw(st.lists(texts, min_size=1, max_size=2))))] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 3))):
        results = [
            ToolResult(
                f"t{i}", tuple(draw(st.lists(texts | images | documents, max_size=2))), is_error=draw(st.booleans())
            )
            for i in range(max(number - 1, 0), number)
        ]
        spoken = draw(st.lists(texts | images | documents | opaque, min_size=not results, max_size=2))
        messages.append(Message("user", (*results, *spoken), extras=draw(extras("id"))))
        if draw(st.booleans()):
            messages.append(Message("system", tuple(draw(st.lists(texts, min_size=1, max_size=2)))))
        answer = draw(st.lists(thinking | opaque, max_size=2))
        answer.append(ToolCall(f"t{number}", draw(names), draw(arguments)))
        messages.append(Message("assistant", tuple(answer), origin=WIRE, extras=draw(extras("id"))))
    choice = draw(st.none() | st.sampled_from(["auto", "required", "tool", "none"]))
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    thinks = st.builds(Reasoning, st.just(True), st.sampled_from([None, "low", "max"]), st.just(-1))
    reasoning = draw(st.none() | st.just(Reasoning(enabled=False)) | thinks)
    if reasoning is not None and reasoning.enabled and choice in ("required", "tool"):
        choice = "auto"  # thinking cannot go with a call that is forced
    return Request(
        model=draw(names),
        messages=tuple(messages),
        tools=tuple(
            draw(
                st.lists(
                    st.builds(
                        Tool,
                        names,
                        st.none() | words,
                        st.just(schema),
                        st.none() | st.booleans(),
                        extras=extras("cache_control"),
                    )
                    | st.just(Tool("web_search", wire=WIRE, opaque={"type": "web_search_1", "name": "web_search"})),
                    max_size=2,
                )
            )
        ),
        tool_choice=None if choice is None else ToolChoice(choice, ("f",) if choice == "tool" else ()),
        parallel_tool_calls=None if choice in (None, "none") else draw(st.none() | st.booleans()),
        max_tokens=draw(st.integers(5000, 9000)),
        temperature=draw(st.none() | st.floats(0, 1)) if reasoning is None else None,
        stop=draw(st.none() | st.just(("END", "x"))),
        response_format=draw(st.none() | st.just(ResponseFormat("json_schema", schema=schema))),
        reasoning=reasoning,
        user=draw(st.none() | words),
        stream=draw(st.booleans()),
        extras=draw(extras("container", "service_tier", "mcp_servers", "unheard_of").map(_not_null)),
    )


def _not_null(found: dict | None) -> dict | None:
    fields = {name: value for name, value in (found or {WIRE: {}})[WIRE].items() if value is not None}
    return {WIRE: fields} if fields else None


@st.composite
def own_replies(draw: st.DrawFn) -> Reply:
    """Replies that this format expresses without loss."""
    parts = draw(st.lists(texts | thinking | calls | opaque, max_size=4))
    raw, reason = draw(
        st.sampled_from(
            [("end_turn", "stop"), ("tool_use", "tool_calls"), ("compaction", "pause"), ("new_word", "other")]
        )
    )
    read, written = draw(st.none() | counts), draw(st.none() | counts)
    usage = Usage(
        draw(counts) + (read or 0) + (written or 0),
        draw(counts),
        read,
        written,
        reasoning_tokens=draw(st.none() | counts),
        extras=draw(extras("service_tier", "iterations", "server_tool_use")),
    )
    return Reply(
        (Choice(tuple(parts), reason, raw, draw(st.none() | words)),),
        usage=usage,
        id=draw(said),
        model=draw(said),
        extras=draw(extras("container", "stop_details", "context_management", "unheard_of")),
    )


# What other formats hand over: any part anywhere.

origins = st.none() | st.sampled_from(["openai-chat", "openai-responses", "gemini", WIRE])
foreign_extras = st.none() | st.just({"gemini": {"secret": "do not send"}})
call_ids = st.sampled_from(["", "call_1", "call:1", "ü/1", "call_1_", "x" * 80])
foreign_parts = st.one_of(
    st.builds(Text, words, signature=st.none() | words, extras=foreign_extras),
    st.builds(Thinking, words, signature=st.none() | words, redacted=st.none() | words),
    st.builds(ToolCall, call_ids, names, arguments | words, signature=st.none() | words),
    st.builds(ToolResult, call_ids, st.lists(st.builds(Text, words), max_size=2).map(tuple), name=st.none() | names),
    st.builds(Refusal, words),
    st.builds(Image, media, detail=st.none() | st.just("low")),
    st.builds(Document, st.builds(Media, data=st.just("aGk="), mime_type=st.just("text/plain"))),
    st.builds(Audio, st.just(Media(data="aGk=")), transcript=st.none() | words),
    st.builds(Video, st.just(Media(url="https://x"))),
    st.builds(Opaque, st.sampled_from([WIRE, "gemini"]), st.just({"type": "container_upload"})),
)
likely_parts = st.builds(Text, words) | st.builds(Thinking, words, signature=st.none() | words)
foreign_messages = st.one_of(
    st.builds(
        Message, st.sampled_from(["system", "developer"]), st.lists(st.builds(Text, words), max_size=2).map(tuple)
    ),
    st.builds(
        Message,
        st.sampled_from(["user", "assistant", "tool"]),
        st.lists(likely_parts, max_size=3).map(tuple),
        name=st.none() | words,
        origin=origins,
        extras=foreign_extras,
    ),
    st.builds(
        Message,
        st.just("assistant"),
        st.lists(st.builds(ToolCall, call_ids, names, arguments | words), max_size=3).map(tuple),
    ),
    st.builds(
        Message,
        st.sampled_from(["user", "tool"]),
        st.lists(
            st.builds(ToolResult, call_ids, st.just((Text("r"),)), st.none() | names) | likely_parts, max_size=3
        ).map(tuple),
    ),
    st.builds(Message, st.sampled_from(["user", "assistant", "tool"]), st.lists(foreign_parts, max_size=3).map(tuple)),
)
foreign_requests = st.builds(
    Request,
    model=names,
    messages=st.lists(foreign_messages, max_size=6).map(lambda found: (Message("user", (Text("hello"),)), *found)),
    tools=st.lists(st.builds(Tool, names, parameters=st.none() | st.just({"properties": {}})), max_size=2).map(tuple),
    tool_choice=st.none()
    | st.builds(ToolChoice, st.sampled_from(["auto", "required", "none", "tool"]), st.just(("f",))),
    parallel_tool_calls=st.none() | st.booleans(),
    max_tokens=st.none() | counts,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.just(40.0),
    n=st.none() | st.integers(1, 2),
    seed=st.none() | counts,
    reasoning=st.none()
    | st.builds(
        Reasoning,
        st.none() | st.booleans(),
        st.none() | st.sampled_from(["none", "minimal", "low", "HIGH"]),
        st.none() | st.integers(-1, 9000),
        st.none() | st.booleans(),
    ),
    response_format=st.none()
    | st.just(ResponseFormat("json_schema", schema={"type": "object", "properties": {}}, name="n")),
    stream=st.booleans(),
    extras=foreign_extras,
)
