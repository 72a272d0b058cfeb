"""A request's body to canon's Request, and back; and what an answer repeats of it."""

from typing import Any

from rini.canon import Reasoning, Request, ResponseFormat, Tool, with_extras
from rini.wire.codec import EncodedRequest, MalformedError, UnsupportedError
from rini.wire.foreign import name_foreign, refuse_foreign
from rini.wire.openai_chat.json_mode import ANSWER_IN_JSON, lacks_the_word, leading_instructions
from rini.wire.openai_chat.json_value import (
    NOTE,
    Json,
    as_list,
    as_object,
    decode,
    left,
    pop_flag,
    pop_integer,
    pop_number,
    pop_object,
    pop_string,
    put_back,
)
from rini.wire.openai_chat.json_value import note as told_by_chat
from rini.wire.openai_chat.request import fitted_format, leave_sampling_out
from rini.wire.openai_responses.fields import NAME, encode, left_as_extras, note, own_extras
from rini.wire.openai_responses.message import MessageEncoder, decode_input, split_instructions
from rini.wire.openai_responses.shared import split_shared
from rini.wire.openai_responses.tool import (
    decode_tool_choice,
    decode_tools,
    encode_function,
    encode_tool_choice,
    encode_tools,
)

ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_FEWEST_TOKENS = 16
_SAME = ("temperature", "top_p", "top_logprobs", "user")

# What an answer repeats of a request, besides what canon names.
_REPEATED = (
    "background",
    "max_tool_calls",
    "metadata",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "top_logprobs",
    "truncation",
)


def decode_request(body: bytes, *, model: str | None, stream: bool | None) -> Request:
    """Return the request in ``body``. Raises MalformedError."""
    request = as_object(decode(body), "The request")
    named = pop_string(request, "model")
    model = named if model is None else model
    if model is None:
        if type(request.get("prompt")) is not dict:
            raise MalformedError("The request names no model.")
        model = ""  # a stored prompt names one
    given = request.pop("input", None)
    instructions = pop_string(request, "instructions")
    if instructions == "":
        request["instructions"] = instructions
    streamed = pop_flag(request, "stream")
    # Tells a request of this format from others, and whether its input was a text.
    request[NOTE + "input"] = "text" if type(given) is str else "items" if given is not None else "none"
    if streamed is False:
        request[NOTE + "whole"] = True
    return Request(
        model=model,
        messages=decode_input(given, instructions),
        tools=decode_tools(request),
        tool_choice=decode_tool_choice(request.pop("tool_choice", None)),
        parallel_tool_calls=pop_flag(request, "parallel_tool_calls"),
        max_tokens=pop_integer(request, "max_output_tokens"),
        temperature=pop_number(request, "temperature"),
        top_p=pop_number(request, "top_p"),
        logprobs=(logprobs := _decode_logprobs(request)),
        top_logprobs=_decode_top_logprobs(request, asked=logprobs is True),
        response_format=_decode_response_format(request),
        reasoning=_decode_reasoning(request),
        user=pop_string(request, "user"),
        stream=bool(streamed) if stream is None else stream,
        extras=left_as_extras(request),
    )


def encode_request(request: Request) -> EncodedRequest:
    """Return the body that asks for ``request``. Raises UnsupportedError.

    A request of another format is asked without being stored at OpenAI, and its thoughts are asked for in a form that can be sent back.
    """
    dropped: list[str] = []
    refuse_foreign(request.extras, NAME)
    shared, foreign = split_shared(request.extras)
    name_foreign(foreign, NAME, "", dropped)
    form = note(request.extras, "input")
    _refuse(request, dropped, verbatim=form is not None)
    own = shared | own_extras(request.extras)
    body: Json = {} if request.model == "" else {"model": request.model}
    instructions, taken = split_instructions(request.messages)
    if instructions is not None:
        body["instructions"] = instructions
    items = MessageEncoder(request.messages, verbatim=form is not None, dropped=dropped)
    found: list[Any] = []
    for index, message in enumerate(request.messages[taken:], taken):
        found += items.encode(message, f"messages[{index}]")
    # The word is looked for among these items, not in the instructions.
    asked_here = form is not None or told_by_chat(request.extras, "own_json")
    if not asked_here and lacks_the_word(request.response_format, request.messages[taken:]):
        found.insert(leading_instructions(request.messages[taken:]), {"role": "system", "content": ANSWER_IN_JSON})
    if form == "text" and len(found) == 1 and found[0].get("role") == "user" and type(found[0]["content"]) is str:
        body["input"] = found[0]["content"]
    elif found or form != "none":
        body["input"] = found
    body = own | body
    include = _encode_include(request, own)
    if include is not None:
        body["include"] = include
    if form is None:
        body.setdefault("store", False)
    body |= _encode_options(request, own, dropped)
    tools = encode_tools(request.tools, dropped, verbatim=form is not None)
    if tools:
        body["tools"] = tools
    body |= _encode_tool_use(request, dropped, verbatim=form is not None)
    if request.stream:
        body["stream"] = True
    else:
        body.pop("stream_options", None)
        if note(request.extras, "whole"):
            body["stream"] = False
    return EncodedRequest(encode(body), tuple(dropped))


def repeated_fields(request: Request) -> Json:
    """Return what an answer repeats of its request."""
    own = own_extras(request.extras)
    fields: Json = {name: own[name] for name in _REPEATED if name in own}
    fields |= _encode_options(request, own, [])
    fields["instructions"] = split_instructions(request.messages)[0]
    fields["tools"] = [tool for each in request.tools if (tool := _repeated_tool(each)) is not None]
    if request.tool_choice is not None:
        fields["tool_choice"] = encode_tool_choice(request.tool_choice, request.tools)
    else:
        fields["tool_choice"] = "auto"
    if request.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    fields["text"] = {"format": {"type": "text"}, **fields.get("text", {})}
    fields["reasoning"] = {"effort": None, "summary": None, **fields.get("reasoning", {})}
    return fields


def _repeated_tool(tool: Tool) -> Any:
    if tool.opaque is None and tool.wire is None:
        return {"strict": True, **encode_function(tool)}
    return tool.opaque if tool.wire == NAME else None


def _refuse(request: Request, dropped: list[str], *, verbatim: bool) -> None:
    if request.top_k is not None:
        raise UnsupportedError(NAME, "top_k", "OpenAI samples by temperature and top_p only")
    if request.stop:
        raise UnsupportedError(NAME, "stop", "OpenAI's responses take no stop strings")
    if request.n is not None and request.n > 1:
        raise UnsupportedError(NAME, "n", "there is one answer only")
    if request.max_tokens is not None and request.max_tokens < _FEWEST_TOKENS and not verbatim:
        raise UnsupportedError(NAME, "max_tokens", f"the least that OpenAI takes here is {_FEWEST_TOKENS}")
    dropped.extend(
        name for name in ("seed", "presence_penalty", "frequency_penalty") if getattr(request, name) is not None
    )


def _decode_logprobs(request: Json) -> bool | None:
    include = request.get("include")
    if include is None:
        return None
    include = as_list(include, "include")
    if all(name in (LOGPROBS, ENCRYPTED) for name in include):
        # Both are said elsewhere: thoughts are kept for another provider's model whether they are asked for or not.
        request[NOTE + "include"] = request.pop("include")
    return True if LOGPROBS in include else None


def _decode_top_logprobs(request: Json, *, asked: bool) -> int | None:
    """Take ``top_logprobs``, which asks for nothing by itself here, and is an error in other formats."""
    number = pop_integer(request, "top_logprobs")
    if number is None or asked:
        return number
    request["top_logprobs" if number else NOTE + "top_logprobs"] = number
    return None


def _encode_include(request: Request, own: Json) -> list[Any] | None:
    """Return ``include``; None where it says nothing."""
    told = note(request.extras, "include")
    given: list[Any] | None = own.get("include") if told is None else told
    include: list[Any] = list(given or ())
    if request.logprobs and LOGPROBS not in include:
        include.append(LOGPROBS)
    elif not request.logprobs:
        include = [name for name in include if name != LOGPROBS]
    if note(request.extras, "input") is None and ENCRYPTED not in include and _thinks(request.reasoning):
        include.append(ENCRYPTED)
    return include if include or given is not None else None


def _thinks(reasoning: Reasoning | None) -> bool:
    if reasoning is None:
        return False
    effort = _encode_reasoning(reasoning, []).get("reasoning", {}).get("effort")
    return effort != "none" and bool(effort is not None or reasoning.enabled or reasoning.include)


def _encode_options(request: Request, own: Json, dropped: list[str]) -> Json:
    options: Json = {name: value for name in _SAME if (value := getattr(request, name)) is not None}
    reasoning = {} if request.reasoning is None else _encode_reasoning(request.reasoning, dropped)
    if note(request.extras, "input") is None:
        leave_sampling_out(options, request.model, reasoning.get("reasoning", {}).get("effort"), dropped)
    if "top_logprobs" not in options and (none := note(request.extras, "top_logprobs")) is not None:
        options["top_logprobs"] = none
    if request.max_tokens is not None:
        options["max_output_tokens"] = request.max_tokens
    text: Json = dict(own.get("text") or {})
    if request.response_format is not None:
        name_foreign(request.response_format.extras, NAME, "response_format", dropped)
        text["format"] = _encode_response_format(request.response_format)
        if note(request.extras, "input") is None:
            text["format"] |= fitted_format(request.response_format, NAME)
    if text:
        options["text"] = text
    return options | reasoning


def _encode_tool_use(request: Request, dropped: list[str], *, verbatim: bool) -> Json:
    encoded: Json = {}
    if request.parallel_tool_calls is not None:
        encoded["parallel_tool_calls"] = request.parallel_tool_calls
    choice = request.tool_choice
    if choice is not None:
        name_foreign(choice.extras, NAME, "tool_choice", dropped)
        encoded["tool_choice"] = encode_tool_choice(choice, request.tools)
    if request.tools or verbatim:
        return encoded  # tools may come from a stored prompt or from the input
    if choice is not None and choice.mode in {"required", "tool"}:
        raise UnsupportedError(NAME, "tool_choice", "no tools are offered")
    dropped.extend(name for name in ("parallel_tool_calls", "tool_choice") if getattr(request, name) is not None)
    return {}


def _decode_response_format(request: Json) -> ResponseFormat | None:
    text = pop_object(request, "text")
    if text is None:
        return None
    wanted = text.get("format")
    found = None
    if wanted is not None:
        wanted = as_object(wanted, "text.format")
        found = _decode_format(wanted)
        if found is not None:
            del text["format"]
    put_back(request, "text", text)
    return found


def _decode_format(wanted: Json) -> ResponseFormat | None:
    match wanted.get("type"):
        case "text":
            del wanted["type"]
            return ResponseFormat("text", extras=left_as_extras(wanted))
        case "json_object":
            del wanted["type"]
            return ResponseFormat("json", extras=left_as_extras(wanted))
        case "json_schema":
            del wanted["type"]
            schema = pop_object(wanted, "schema")
            name = pop_string(wanted, "name")
            description = pop_string(wanted, "description")
            strict = pop_flag(wanted, "strict")
            return ResponseFormat("json_schema", schema, name, description, strict, left_as_extras(wanted))
        case _:
            return None  # a form that canon does not know stays in the extras


def _encode_response_format(wanted: ResponseFormat) -> Json:
    own = own_extras(wanted.extras)
    if wanted.kind != "json_schema":
        return {**own, "type": "json_object" if wanted.kind == "json" else "text"}
    encoded: Json = {**own, "type": "json_schema", "name": wanted.name or "response"}
    for name in ("description", "schema", "strict"):
        if (value := getattr(wanted, name)) is not None:
            encoded[name] = value
    return encoded


def _decode_reasoning(request: Json) -> Reasoning | None:
    wanted = pop_object(request, "reasoning")
    if wanted is None:
        return None
    effort = pop_string(wanted, "effort")
    fields = left(wanted)
    shown = "summary" in fields
    if effort is None and not fields:
        return None
    if fields.get("summary") == "auto":
        del fields["summary"]  # that they are shown says it all
    return Reasoning(
        enabled=False if effort == "none" else None,
        effort=effort,
        include=True if shown else None,
        extras=with_extras(NAME, fields),
    )


def _encode_reasoning(reasoning: Reasoning, dropped: list[str]) -> Json:
    name_foreign(reasoning.extras, NAME, "reasoning", dropped)
    fields = own_extras(reasoning.extras)
    if reasoning.include:
        fields.setdefault("summary", "auto")
    else:
        fields.pop("summary", None)
    budget = reasoning.budget_tokens
    effort = reasoning.effort
    if effort is not None:
        effort = effort.lower() if effort.lower() in _EFFORTS else effort
    elif reasoning.enabled is False or budget == 0:
        effort = "none"
    elif budget is not None and budget > 0:
        effort = "low" if budget <= 4096 else "medium" if budget <= 16384 else "high"
    elif reasoning.enabled and budget is None:
        dropped.append("reasoning.enabled")  # a model that can think does so unasked
    if budget and not (budget < 0 and reasoning.effort is not None):
        dropped.append("reasoning.budget_tokens")
    if effort is not None:
        fields = {"effort": effort, **fields}
    return {"reasoning": fields} if fields else {}
