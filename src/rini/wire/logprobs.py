"""The probabilities of an answer's tokens, told in the words of another wire format.

Canon keeps them in the extras of the format that they came in: chat completions have them beside a choice (``logprobs.content``), responses
in a text (``logprobs``), Gemini beside a choice (``logprobsResult``, and ``avgLogprobs``, their mean). Anthropic tells none.

In a stream OpenAI tells them with the text that they belong to, and so does Gemini: each chunk has those of its own tokens. What a format
does not tell stays unknown: Gemini's ids of tokens, and the bytes of a token that is a piece of a character.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from rini.canon import (
    Choice,
    Event,
    Extras,
    Finish,
    Meta,
    PartDelta,
    PartStart,
    PartStop,
    Reply,
    Request,
    Text,
    extras_of,
)

CHAT: Final = "openai_chat"
RESPONSES: Final = "openai_responses"
GEMINI: Final = "gemini"

_FIELD: Final[Mapping[str, str]] = {CHAT: "logprobs.content", RESPONSES: "logprobs", GEMINI: "logprobsResult"}
_CUT: Final = "\N{REPLACEMENT CHARACTER}"

Token = dict[str, Any]
"""A token as chat completions have it: ``token``, ``logprob``, ``bytes`` (None: unknown) and ``top_logprobs``, a list of the like."""


def are_wanted(request: Request, source: str, target: str) -> bool:
    """Whether ``request`` asked for probabilities, which come in the format ``source`` and can be told in ``target``'s words."""
    return bool(request.logprobs or request.top_logprobs) and source != target and {source, target} <= _FIELD.keys()


def translated(reply: Reply, source: str, target: str) -> Reply:
    """Return the whole answer of the format ``source`` with its probabilities in ``target``'s words as well."""
    return msgspec.structs.replace(
        reply, choices=tuple([_translated_choice(choice, source, target) for choice in reply.choices])
    )


class LogprobsTranslation:
    """Adds the probabilities in one stream of ``source``'s events in the words of ``target``, with the text that they belong to."""

    def __init__(self, source: str, target: str) -> None:
        self._source = source
        self._target = target
        self._texts: set[tuple[int, int]] = set()
        self._waiting: dict[int, list[Token]] = {}
        self._told: dict[int, list[Token]] = {}

    def events(self, events: list[Event]) -> list[Event]:
        """Return what the events that came together become."""
        found = self._find(events)
        told: list[Event] = []
        for position, event in enumerate(events):
            if position in found:
                choice = getattr(event, "choice", None) or 0
                self._waiting.setdefault(choice, []).extend(found[position])
            match event:
                case PartDelta() if event.text and (event.choice, event.index) in self._texts:
                    told += self._with(event)
                case PartStop() if self._target == RESPONSES and (event.choice, event.index) in self._texts:
                    told += self._rest(PartDelta(event.index, choice=event.choice))
                    told.append(event)
                case Finish() if self._target != RESPONSES:
                    told += self._rest(event)
                case _:
                    told.append(event)
        return told

    def _find(self, events: list[Event]) -> dict[int, list[Token]]:
        """Return the tokens among the events, by the position of what they belong to: Gemini tells them after their text."""
        found: dict[int, list[Token]] = {}
        before: dict[int, int] = {}
        for position, event in enumerate(events):
            match event:
                case PartStart(part=Text() as text):
                    self._texts.add((event.choice, event.index))
                    extras = text.extras
                case PartDelta():
                    if event.text and self._source == GEMINI and (event.choice, event.index) in self._texts:
                        before[event.choice] = position
                    extras = event.extras
                case Meta() | Finish():
                    extras = event.extras
                case _:
                    continue
            if extras is not None and (tokens := _read(extras, self._source)):
                place = before.pop(getattr(event, "choice", None) or 0, position)
                found.setdefault(place, []).extend(tokens)
        return found

    def _with(self, event: PartDelta) -> list[Event]:
        """Return more of a text with what is known of its tokens."""
        tokens = self._waiting.pop(event.choice, None)
        if not tokens:
            return [event]
        fields = self._fields(tokens, event.choice)
        if self._target == RESPONSES:
            return [msgspec.structs.replace(event, extras=_with_fields(event.extras, RESPONSES, fields))]
        return [Meta({self._target: fields}, event.choice), event]

    def _rest(self, event: PartDelta | Finish) -> list[Event]:
        """Return what no text came for any more: an empty piece of a text that ends, or what goes before the end of the answer."""
        tokens = self._waiting.pop(event.choice, [])
        if type(event) is PartDelta:
            if not tokens:
                return []
            return [msgspec.structs.replace(event, extras={RESPONSES: self._fields(tokens, event.choice)})]
        fields = self._fields(tokens, event.choice) if tokens else {}
        if self._target == GEMINI and (told := self._told.get(event.choice)):
            fields["avgLogprobs"] = _mean(told)
        return [Meta({self._target: fields}, event.choice), event] if fields else [event]

    def _fields(self, tokens: list[Token], choice: int) -> dict[str, Any]:
        if self._target == GEMINI:
            self._told.setdefault(choice, []).extend(tokens)
        return {_FIELD[self._target]: _written(tokens, self._target)}


def tokens_of(entries: Any) -> list[Token]:
    """Return the tokens of OpenAI's list, with what servers leave out: their bytes, and that there are no alternatives."""
    return [_whole(entry, of=_alternatives(entry)) for entry in _objects(entries)]


def tokens_for_responses(tokens: list[Token]) -> list[Token]:
    """Return tokens as responses have them, where the bytes are always an array."""
    return [
        {**_with_bytes(token), "top_logprobs": [_with_bytes(other) for other in token["top_logprobs"]]}
        for token in tokens
    ]


def _translated_choice(choice: Choice, source: str, target: str) -> Choice:
    tokens: list[Token] = []
    for extras in (choice.extras, *(part.extras for part in choice.parts if isinstance(part, Text))):
        if extras is not None:
            tokens += _read(extras, source)
    if not tokens:
        return choice
    fields: dict[str, Any] = {_FIELD[target]: _written(tokens, target)}
    if target == GEMINI:
        fields["avgLogprobs"] = _mean(tokens)
    if target != RESPONSES:
        return msgspec.structs.replace(choice, extras=_with_fields(choice.extras, target, fields))
    parts = list(choice.parts)
    for index, part in enumerate(parts):
        if isinstance(part, Text):
            parts[index] = msgspec.structs.replace(part, extras=_with_fields(part.extras, target, fields))
            break
    return msgspec.structs.replace(choice, parts=tuple(parts))


def _with_fields(extras: Extras | None, wire: str, fields: Mapping[str, Any]) -> Extras:
    return {**(extras or {}), wire: {**extras_of(extras, wire), **fields}}


def _read(extras: Extras, source: str) -> list[Token]:
    value = extras_of(extras, source).get(_FIELD[source])
    if value is None:
        return []
    return _tokens_of_gemini(value) if source == GEMINI else tokens_of(value)


def _written(tokens: list[Token], target: str) -> Any:
    if target == GEMINI:
        return _result_of_gemini(tokens)
    return tokens_for_responses(tokens) if target == RESPONSES else tokens


def _mean(tokens: list[Token]) -> float:
    return sum(token["logprob"] for token in tokens) / len(tokens)


# -- OpenAI's --------------------------------------------------------------------------------------


def _alternatives(entry: Mapping[str, Any]) -> list[Token]:
    return [_whole(other) for other in _objects(entry.get("top_logprobs"))]


def _whole(entry: Mapping[str, Any], of: list[Token] | None = None) -> Token:
    token = _text(entry.get("token"))
    whole: Token = {**entry, "token": token, "logprob": _number(entry.get("logprob"))}
    whole.setdefault("bytes", _bytes_of(token))
    if of is not None:
        whole["top_logprobs"] = of
    return whole


def _with_bytes(token: Token) -> Token:
    return token if token["bytes"] is not None else {**token, "bytes": []}


def _bytes_of(token: str) -> list[int] | None:
    return None if _CUT in token else list(token.encode("utf-8", "surrogatepass"))


# -- Gemini's --------------------------------------------------------------------------------------


def _tokens_of_gemini(result: Any) -> list[Token]:
    if not isinstance(result, Mapping):
        return []
    fields = cast("Mapping[str, Any]", result)
    chosen = _objects(fields.get("chosenCandidates"))
    others = [_objects(step.get("candidates")) for step in _objects(fields.get("topCandidates"))]
    others += [[]] * (len(chosen) - len(others))
    return [
        {**_token_of_gemini(candidate), "top_logprobs": [_token_of_gemini(other) for other in step]}
        for candidate, step in zip(chosen, others, strict=False)
    ]


def _token_of_gemini(candidate: Mapping[str, Any]) -> Token:
    token = _text(candidate.get("token"))
    return {"token": token, "logprob": _number(candidate.get("logProbability")), "bytes": _bytes_of(token)}


def _result_of_gemini(tokens: list[Token]) -> dict[str, Any]:
    result: dict[str, Any] = {"chosenCandidates": [_candidate(token) for token in tokens]}
    if any(token["top_logprobs"] for token in tokens):
        result["topCandidates"] = [
            {"candidates": [_candidate(other) for other in token["top_logprobs"]]} for token in tokens
        ]
    return result


def _candidate(token: Token) -> dict[str, Any]:
    return {"token": token["token"], "logProbability": token["logprob"]}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0.0


def _objects(value: Any) -> list[Mapping[str, Any]]:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("Mapping[str, Any]", item) for item in items if isinstance(item, Mapping)]
