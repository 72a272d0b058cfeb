"""``generationConfig``, in both directions."""

from typing import Any, cast

from rini.canon import Reasoning, Request, ResponseFormat, extras_of, with_extras
from rini.wire.codec import UnsupportedError
from rini.wire.foreign import name_foreign
from rini.wire.gemini.fields import (
    WIRE,
    a_boolean,
    a_number,
    a_string,
    an_integer,
    an_object,
    camel,
    is_object,
    strings,
)
from rini.wire.gemini.schema import from_json_schema, reads_openapi_only, to_json_schema
from rini.wire.gemini.thinking import decode_reasoning, encode_reasoning
from rini.wire.json_schema import GEMINI, fits, fitted

_NUMBERS = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}
_INTEGERS = {"maxOutputTokens": "max_tokens", "seed": "seed", "candidateCount": "n", "logprobs": "top_logprobs"}
_JSON_TYPES = ("application/json", "APPLICATION_JSON")
_TEXT_TYPES = ("text/plain", "TEXT_PLAIN")

_MAX_STOPS = 5
_MAX_ANSWERS = 8


def decode_config(value: object, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a ``generationConfig`` as arguments of a Request, and what has none. Raises MalformedError."""
    found: dict[str, Any] = {}
    if value is None:
        return found, {}
    rest = camel(an_object(value, "generationConfig"))
    for name, canon in _NUMBERS.items():
        if name in rest:
            found[canon] = a_number(rest.pop(name), name)
    for name, canon in _INTEGERS.items():
        if name in rest:
            found[canon] = an_integer(rest.pop(name), name)
    if "responseLogprobs" in rest:
        found["logprobs"] = a_boolean(rest.pop("responseLogprobs"), "responseLogprobs")
    if "stopSequences" in rest:
        found["stop"] = strings(rest.pop("stopSequences"), "stopSequences")
    if "thinkingConfig" in rest:
        found["reasoning"] = decode_reasoning(an_object(rest.pop("thinkingConfig"), "thinkingConfig"), model)
    response_format = _decode_format(rest, model)
    if response_format is not None:
        found["response_format"] = response_format
    return found, rest


def encode_config(request: Request, dropped: list[str]) -> dict[str, Any]:
    """Return the ``generationConfig`` of ``request``; adds what was left out to ``dropped``. Raises UnsupportedError."""
    fields: dict[str, Any] = {}
    for name, canon in (_NUMBERS | _INTEGERS).items():
        value = getattr(request, canon)
        if value is not None:
            fields[name] = value
    if request.seed is not None and not -(2**31) <= request.seed < 2**31:
        raise UnsupportedError(WIRE, "seed", "it has 32 bits there")
    if request.n is not None and request.n > _MAX_ANSWERS:
        raise UnsupportedError(WIRE, "n", f"it writes at most {_MAX_ANSWERS} answers")
    if request.logprobs is not None:
        fields["responseLogprobs"] = request.logprobs
    if request.stop is not None:
        if len(request.stop) > _MAX_STOPS:
            raise UnsupportedError(WIRE, "stop", f"it takes at most {_MAX_STOPS} strings")
        fields["stopSequences"] = list(request.stop)
    if request.response_format is not None:
        name_foreign(request.response_format.extras, WIRE, "response_format", dropped)
        fields.update(_encode_format(request.response_format, request.model, dropped))
    if request.reasoning is not None:
        name_foreign(request.reasoning.extras, WIRE, "reasoning", dropped)
        thinking = encode_reasoning(request.reasoning, request.model, dropped)
        if thinking or request.reasoning == Reasoning():
            fields["thinkingConfig"] = thinking
    fields.update(extras_of(request.extras, WIRE).get("generationConfig", {}))
    return fields


def _decode_format(rest: dict[str, Any], model: str) -> ResponseFormat | None:
    """Take the response's format out of ``rest``; what canon cannot name stays there."""
    given = {
        name: rest[name]
        for name in ("responseMimeType", "responseSchema", "responseJsonSchema", "responseFormat")
        if name in rest
    }
    found = _format_of(given, model)
    if found is not None:
        for name in given:
            del rest[name]
    return found


def _format_of(given: dict[str, Any], model: str) -> ResponseFormat | None:
    if "responseFormat" in given:
        return _format_of_list(given["responseFormat"]) if len(given) == 1 else None
    mime = given.get("responseMimeType")
    if mime is not None:
        a_string(mime, "responseMimeType")
    if mime in _TEXT_TYPES and len(given) == 1:
        return ResponseFormat("text")
    if mime not in (None, "application/json") or ("responseSchema" in given and "responseJsonSchema" in given):
        return None
    kept: dict[str, Any] = {}
    if "responseSchema" in given:
        kept["responseSchema"] = an_object(given["responseSchema"], "responseSchema")
        schema = to_json_schema(kept["responseSchema"])
    elif "responseJsonSchema" in given:
        schema = an_object(given["responseJsonSchema"], "responseJsonSchema")
        if reads_openapi_only(model) or not fits(schema, GEMINI):
            kept["responseJsonSchema"] = schema  # it goes back as it came
    else:
        return None if mime is None else ResponseFormat("json")
    if mime is None:
        kept["responseMimeType"] = None
    return ResponseFormat("json_schema", schema=schema, extras=with_extras(WIRE, kept))


def _format_of_list(value: object) -> ResponseFormat | None:
    """Read the newer ``responseFormat``: a list with one entry for each modality."""
    entries: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    if (
        len(entries) != 1
        or not is_object(entries[0])
        or list(entries[0]) != ["text"]
        or not is_object(entries[0]["text"])
    ):
        return None
    text = camel(entries[0]["text"])
    mime, schema = text.get("mimeType"), text.get("schema")
    extras = with_extras(WIRE, {"responseFormat": value})
    if mime in _TEXT_TYPES and schema is None:
        return ResponseFormat("text", extras=extras)
    if mime in _JSON_TYPES and schema is None:
        return ResponseFormat("json", extras=extras)
    if mime in (None, *_JSON_TYPES) and is_object(schema):
        return ResponseFormat("json_schema", schema=schema, extras=extras)
    return None


def _encode_format(form: ResponseFormat, model: str, dropped: list[str]) -> dict[str, Any]:
    extras = dict(extras_of(form.extras, WIRE))
    listed = _format_of_list(extras.get("responseFormat"))
    if listed is not None and (listed.kind, listed.schema) == (form.kind, form.schema):
        return extras
    extras.pop("responseFormat", None)
    # A name is a label that nothing depends on, and the answer always holds the schema.
    if form.description:
        dropped.append("response_format.description")
    if form.strict is False:
        dropped.append("response_format.strict")
    if form.kind == "text":
        return {"responseMimeType": "text/plain", **extras}
    fields: dict[str, Any] = {"responseMimeType": "application/json"}
    original, verbatim = extras.pop("responseSchema", None), extras.pop("responseJsonSchema", None)
    if original is not None and form.schema is not None and to_json_schema(original) == form.schema:
        fields["responseSchema"] = original
    elif form.schema is not None and verbatim == form.schema:
        fields["responseJsonSchema"] = verbatim
    elif form.schema is not None and reads_openapi_only(model):
        fields["responseSchema"] = from_json_schema(form.schema, "response_format.schema", dropped)
    elif form.schema is not None:
        fields["responseJsonSchema"] = fitted(form.schema, GEMINI, field="response_format.schema", dropped=dropped)
    fields.update(extras)
    return {name: value for name, value in fields.items() if value is not None}
