"""A request's body to canon's Request, and back."""

from typing import Any

from rini.canon import Reasoning, Request, ResponseFormat, extras_of, with_extras
from rini.wire.codec import EncodedRequest, MalformedError, UnsupportedError
from rini.wire.foreign import refuse_foreign
from rini.wire.json_schema import fits_openai_strict, is_plain_object
from rini.wire.openai_chat.effort import SAMPLING_DEFAULTS, nearest_effort, takes_sampling, thinks_only_when_asked
from rini.wire.openai_chat.json_mode import ANSWER_IN_JSON, lacks_the_word, leading_instructions
from rini.wire.openai_chat.json_value import (
    NAME,
    NOTE,
    Json,
    as_list,
    as_object,
    as_string,
    decode,
    encode,
    left_as_extras,
    nested_extras,
    note,
    own_extras,
    pop_flag,
    pop_integer,
    pop_list,
    pop_number,
    pop_object,
    pop_string,
    put_back,
)
from rini.wire.openai_chat.message import MessageEncoder, decode_message
from rini.wire.openai_chat.tool import (
    decode_tool_choice,
    decode_tools,
    encode_tool_choice,
    encode_tools,
    name_foreign_extras,
)

# The parameters that have the same name and meaning on both sides.
_SAME = (
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "n",
    "logprobs",
    "top_logprobs",
    "user",
)


def decode_request(body: bytes, limit_field: str, *, model: str | None, stream: bool | None) -> Request:
    """Return the request in ``body``. Raises MalformedError."""
    request = as_object(decode(body), "The request")
    named = pop_string(request, "model")
    messages = pop_list(request, "messages")
    streamed = pop_flag(request, "stream")
    if (stream_options := pop_object(request, "stream_options")) is not None:
        request["stream_options"] = stream_options
    model = named if model is None else model
    if model is None:
        raise MalformedError("The request names no model.")
    if messages is None:
        raise MalformedError("The request has no messages.")
    conversation = tuple(decode_message(message) for message in messages)
    wanted = _decode_response_format(request)
    if lacks_the_word(wanted, conversation):
        request[NOTE + "own_json"] = True  # it is this format's own rule, and OpenAI tells its client
    reasoning = _decode_reasoning(request)
    effort = None if reasoning is None else reasoning.effort
    if request.keys() & SAMPLING_DEFAULTS.keys() and not takes_sampling(model, effort):
        request[NOTE + "own_sampling"] = True  # this too
    return Request(
        model=model,
        messages=conversation,
        tools=decode_tools(request),
        tool_choice=decode_tool_choice(request),
        parallel_tool_calls=pop_flag(request, "parallel_tool_calls"),
        max_tokens=_decode_token_limit(request, limit_field),
        temperature=pop_number(request, "temperature"),
        top_p=pop_number(request, "top_p"),
        top_k=pop_number(request, "top_k"),
        stop=_decode_stop(request),
        seed=pop_integer(request, "seed"),
        presence_penalty=pop_number(request, "presence_penalty"),
        frequency_penalty=pop_number(request, "frequency_penalty"),
        n=pop_integer(request, "n"),
        logprobs=pop_flag(request, "logprobs"),
        top_logprobs=pop_integer(request, "top_logprobs"),
        response_format=wanted,
        reasoning=reasoning,
        user=pop_string(request, "user"),
        stream=bool(streamed) if stream is None else stream,
        extras=left_as_extras(request),
    )


def encode_request(request: Request, limit_field: str) -> EncodedRequest:
    """Return the body that asks for ``request``. Raises UnsupportedError."""
    strict = limit_field == "max_completion_tokens"
    dropped: list[str] = []
    refuse_foreign(request.extras, NAME)
    name_foreign_extras(request.extras, "", dropped)
    if strict and request.top_k is not None:
        raise UnsupportedError(NAME, "top_k", "OpenAI samples by temperature and top_p only")
    if strict and request.stop is not None and len(request.stop) > 4:
        raise UnsupportedError(NAME, "stop", "OpenAI takes four stop strings at most")
    own = own_extras(request.extras)
    stream_options = own.pop("stream_options", None)
    messages = MessageEncoder(request.messages, strict=strict, dropped=dropped)
    body: Json = {"model": request.model, "messages": []}
    for index, message in enumerate(request.messages):
        body["messages"] += messages.encode(message, f"messages[{index}]")
    body["messages"] += messages.shown()
    if strict and lacks_the_word(request.response_format, request.messages) and not note(request.extras, "own_json"):
        body["messages"].insert(leading_instructions(request.messages), {"role": "system", "content": ANSWER_IN_JSON})
    body |= own
    body |= encode_tools(request.tools, dropped)
    body |= _encode_tool_choice(request, dropped)
    reasoning = {} if request.reasoning is None else _encode_reasoning(request.reasoning, request.model, dropped)
    same = {name: value for name in _SAME if (value := getattr(request, name)) is not None}
    if strict and not note(request.extras, "own_sampling"):
        leave_sampling_out(same, request.model, reasoning.get("reasoning_effort"), dropped)
    body |= same
    body |= _encode_token_limit(request, limit_field)
    if request.stop:
        body["stop"] = request.stop
    if request.response_format is not None:
        name_foreign_extras(request.response_format.extras, "response_format", dropped)
        body["response_format"] = _encode_response_format(request.response_format)
    body |= reasoning
    if request.stream:
        # The ledger needs the usage; a client that did not ask for it is not shown the chunk (see stream_encoder).
        body["stream"] = True
        body["stream_options"] = {"include_usage": True, **(stream_options or {})}
    return EncodedRequest(encode(body), tuple(dropped))


def leave_sampling_out(fields: Json, model: str, effort: str | None, dropped: list[str]) -> None:
    """Take out of ``fields`` how to sample, where ``model`` answers 400 to it, and name what is not so anyway."""
    if takes_sampling(model, effort):
        return
    for name, default in SAMPLING_DEFAULTS.items():
        if fields.pop(name, default) != default:
            dropped.append(name)


def _decode_token_limit(request: Json, limit_field: str) -> int | None:
    # Both may be there; then the newer name holds, and the older stays in the extras.
    for name in ("max_completion_tokens", "max_tokens"):
        limit = pop_integer(request, name)
        if limit is not None:
            if name != limit_field:
                request[NOTE + "token_limit"] = name
            return limit
    return None


def _encode_token_limit(request: Request, limit_field: str) -> Json:
    if request.max_tokens is None:
        return {}
    # OpenAI knows both names, so the client's is kept; a compatible server may know only the old one.
    if limit_field != "max_tokens" and note(request.extras, "token_limit") == "max_tokens":
        return {"max_tokens": request.max_tokens}
    return {limit_field: request.max_tokens}


def _decode_stop(request: Json) -> tuple[str, ...] | None:
    stop = request.pop("stop", None)
    if stop is None:
        return None
    if type(stop) is str:
        return (stop,)
    return tuple(as_string(item, "A stop string") for item in as_list(stop, "stop")) or None


def _decode_response_format(request: Json) -> ResponseFormat | None:
    wanted = request.get("response_format")
    if wanted is None:
        return None
    wanted = as_object(wanted, "response_format")
    kind = wanted.get("type")
    if type(kind) is not str or kind not in {"text", "json_object", "json_schema"}:
        return None  # a server's own form, such as a grammar: it stays in the extras
    del request["response_format"]
    del wanted["type"]
    if kind != "json_schema":
        return ResponseFormat("text" if kind == "text" else "json", extras=left_as_extras(wanted))
    inner = pop_object(wanted, "json_schema")
    if inner is None:
        raise MalformedError("response_format has no json_schema.")
    schema = pop_object(inner, "schema")
    name = pop_string(inner, "name")
    description = pop_string(inner, "description")
    strict = pop_flag(inner, "strict")
    put_back(wanted, "json_schema", inner)
    return ResponseFormat("json_schema", schema, name, description, strict, left_as_extras(wanted))


def _encode_response_format(wanted: ResponseFormat) -> Json:
    own = own_extras(wanted.extras)
    if wanted.kind != "json_schema":
        return {**own, "type": "json_object" if wanted.kind == "json" else "text"}
    inner: Json = {**nested_extras(own, "json_schema"), "name": wanted.name or "response"}
    for name in ("description", "schema", "strict"):
        if (value := getattr(wanted, name)) is not None:
            inner[name] = value
    inner |= fitted_format(wanted, NAME)
    return {**own, "type": "json_schema", "json_schema": inner}


def fitted_format(wanted: ResponseFormat, wire: str) -> Json:
    """Return whether OpenAI is to enforce a schema that came in another wire format than ``wire``. Raises UnsupportedError."""
    if wanted.name is not None or wanted.schema is None:
        return {}
    # Only formats that cannot say otherwise leave the name out: theirs is always enforced, as far as this one can.
    if not is_plain_object(wanted.schema):
        raise UnsupportedError(wire, "response_format.schema", "the answer must be an object, and no union of them")
    return {} if wanted.strict is not None else {"strict": fits_openai_strict(wanted.schema)}


def _decode_reasoning(request: Json) -> Reasoning | None:
    effort = pop_string(request, "reasoning_effort")
    if effort is not None:
        return Reasoning(enabled=False if effort == "none" else None, effort=effort)
    verbatim = request.get("reasoning")
    if type(verbatim) is not dict:
        return None
    del request["reasoning"]
    return _decode_reasoning_object(as_object(verbatim, "reasoning"))


def _decode_reasoning_object(verbatim: Json) -> Reasoning:
    """Read OpenRouter's ``reasoning``: effort, max_tokens, enabled, exclude."""
    fields = dict(verbatim)
    exclude = pop_flag(fields, "exclude")
    return Reasoning(
        enabled=pop_flag(fields, "enabled"),
        effort=pop_string(fields, "effort"),
        budget_tokens=pop_integer(fields, "max_tokens"),
        include=None if exclude is None else not exclude,
        extras=with_extras(NAME, {"reasoning": verbatim}),
    )


def _encode_reasoning(reasoning: Reasoning, model: str, dropped: list[str]) -> Json:
    verbatim = extras_of(reasoning.extras, NAME).get("reasoning")
    if type(verbatim) is dict and _decode_reasoning_object(as_object(verbatim, "reasoning")) == reasoning:
        return {"reasoning": verbatim}
    name_foreign_extras(reasoning.extras, "reasoning", dropped)
    if reasoning.include is not None:
        dropped.append("reasoning.include")
    effort, budget = reasoning.effort, reasoning.budget_tokens
    if budget and not (budget < 0 and effort is not None):
        dropped.append("reasoning.budget_tokens")
    said = "effort"
    if effort is None:
        said = "budget_tokens" if budget else "enabled"
        if reasoning.enabled is False or budget == 0:
            effort = "none"
        elif budget is not None and budget > 0:
            effort = "low" if budget <= 4096 else "medium" if budget <= 16384 else "high"
        elif thinks_only_when_asked(model):
            effort = "medium"
        else:
            if reasoning.enabled and not budget:
                dropped.append("reasoning.enabled")  # a model that can think does so unasked
            return {}
    nearest = nearest_effort(effort, model)
    if (nearest or "none") != effort.lower() and f"reasoning.{said}" not in dropped:
        dropped.append(f"reasoning.{said}")
    return {} if nearest is None else {"reasoning_effort": nearest}


def _encode_tool_choice(request: Request, dropped: list[str]) -> dict[str, Any]:
    encoded: Json = {}
    if request.parallel_tool_calls is not None:
        encoded["parallel_tool_calls"] = request.parallel_tool_calls
    choice = request.tool_choice
    if choice is not None:
        name_foreign_extras(choice.extras, "tool_choice", dropped)
        encoded |= encode_tool_choice(choice, request.tools)
    if request.tools or not encoded:
        return encoded
    # OpenAI refuses both parameters where no tools are offered.
    if choice is not None and choice.mode in {"required", "tool"}:
        raise UnsupportedError(NAME, "tool_choice", "no tools are offered")
    dropped.extend(name for name in ("parallel_tool_calls", "tool_choice") if getattr(request, name) is not None)
    return {}
