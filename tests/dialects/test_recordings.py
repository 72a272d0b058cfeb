"""Every recorded exchange through the whole server: what a client sends reaches the provider, and what that answers reaches the client.

The upstream answers with the recorded bytes. What cannot hold stands in a table with its reason; one of those that holds fails its test.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from tests.dialects.asked import asked
from tests.dialects.known import CHANGED, LABELS, LEFT_OUT, LOST, NO_EQUIVALENT, SO_ANYWAY, UNREADABLE
from tests.dialects.recordings import (
    ANTHROPIC,
    FORMATS,
    GEMINI,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    Call,
    Format,
    Played,
    Player,
    Tally,
    answering,
    answering_ok,
    as_json,
    named,
    recorded,
    told_headers,
)
from tests.dialects.told import Counts, Told, held_by, told
from tests.dialects.values import lost as lost_values
from tests.support.server import Server
from tests.support.upstream import Upstream
from tests.wire.recordings import ABSENT, Exchange, exchanges, present

pytestmark = pytest.mark.skipif(not present(), reason=ABSENT)

KEPT_HEADERS = ("x-ratelimit-", "anthropic-ratelimit-", "openai-", "retry-after", "x-should-retry")


@pytest.fixture(scope="module")
def player(shared_server: Callable[..., Server], upstream: Upstream) -> Player:
    return Player(shared_server(RINI_LOG_LEVEL="error"), upstream)


def ids(forms: Any) -> str:
    return forms.name if isinstance(forms, Format) else str(forms)


# -- the same format on both sides ------------------------------------------------------------------

HIDDEN_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
"""What OpenAI adds to a stream when it is asked to, where the recorded client did not ask."""

STATE = ("previous_response_id", "conversation", "background")
"""Fields of responses that need answers which Rini has stored: it has none of those that were recorded."""


class Same:
    """One recording played by the client of its own dialect: what is sent and served, and what must come out."""

    def __init__(self, each: Exchange, form: Format, seed: int) -> None:
        self.each = each
        self.form = form
        self.model = each.model or form.model
        name = named(self.model, form)
        body = each.request["body"] or hello(form, name, stream=each.stream)
        self.upstream_body = body
        self.served = self.shown = each.response_bytes
        self.array = form is GEMINI and each.stream and self.shown.lstrip()[:1] == b"["
        self.hides_usage = False
        if form is not GEMINI:
            self.upstream_body = {**body, "model": self.model}
            body = {**body, "model": name}
            asks = (body.get("stream_options") or {}).get("include_usage")
            if form is OPENAI_CHAT and each.stream and not asks:
                self.hides_usage = each.status < 400
                self.upstream_body["stream_options"] = {"include_usage": True}
                chunk = {"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": HIDDEN_USAGE}
                if self.hides_usage:
                    self.served = self.shown.replace(b"data: [DONE]", b"data: " + as_json(chunk) + b"\n\ndata: [DONE]")
        elif self.array:
            self.served = b"".join(b"data: " + as_json(chunk) + b"\r\n\r\n" for chunk in json.loads(self.shown))
        self.stateful = [name for name in STATE if form is OPENAI_RESPONSES and body.get(name)]
        if form is OPENAI_RESPONSES and not self.stateful:
            # What is stored does not pass as it is.
            body = {**body, "store": False}
            self.upstream_body = {**self.upstream_body, "store": False}
        self.unchanged = body == self.upstream_body
        headers = {
            name.lower(): value
            for name, value in each.request["headers"].items()
            if name.lower() in ("anthropic-beta", "anthropic-version")
        }
        query = "" if self.array else "?alt=sse" if each.stream else ""
        self.call = Call(
            form.path(name, stream=each.stream, query=query),
            as_json(body),
            answering(each, self.served, seed=seed, pause=0.002),
            headers,
            about=self,
        )

    def wrong(self, played: Played) -> str | None:
        """What differs from the recording on either side, if anything."""
        if self.stateful:
            refused = played.status in (400, 404, 422) and not played.seen
            return None if refused else f"{self.stateful} is not refused: {played.status} {played.body!r}"
        if len(played.seen) != 1:
            return f"{len(played.seen)} calls upstream; {played.status} {played.body!r}"
        seen = played.seen[0]
        if self.unchanged and not self.array and seen.body != played.call.body:
            return f"upstream got {seen.body!r}"
        sent_body = json.loads(seen.body)
        if not self.array and sent_body != self.upstream_body:
            return f"upstream got {seen.body!r}"
        if self.form is GEMINI and f"/models/{self.model}:" not in seen.path:
            return f"upstream was asked at {seen.path}"
        beta = "anthropic-beta"
        if seen.headers.get(beta) != played.call.headers.get(beta):
            return "anthropic-beta was not passed on"
        if played.status != self.each.status:
            return f"{played.status} {played.body!r}"
        if self.array:
            expected, found = (told("gemini", body, stream=True) for body in (self.shown, played.body))
            return None if expected == found else f"expected {expected} but the client got {found}"
        if played.body != self.shown:
            return f"the client got {played.body!r}"
        sent = told_headers(self.each)
        lost = [
            name
            for name, value in sent.items()
            if name.startswith(KEPT_HEADERS) and played.headers.get(name) != value.strip()
        ]
        if lost:
            return f"headers {lost} are lost"
        kind = played.headers["content-type"]
        told_kind = (
            sent.get("content-type", kind) if self.each.status >= 400 or not self.each.stream else "text/event-stream"
        )
        if kind.partition(";")[0] != told_kind.partition(";")[0]:
            return f"the answer is of type {kind}"
        return None

    def misbooked(self, row: dict[str, Any]) -> str | None:
        """What the ledger's row says else than the recording, if anything."""
        each = self.each
        usage, outcome = None, "refused"
        if each.status < 400:
            read = told(self.form.name, self.served, stream=each.stream)
            usage, outcome = read.usage, "provider_failed" if read.error or not read.whole else "complete"
        expected = (outcome, each.stream, self.form.provider, unquote(self.model).removeprefix("models/"))
        found = (row["outcome"], bool(row["stream"]), row["provider"], row["model"])
        if expected != found:
            return f"expected {expected} in the ledger but found {found}"
        if outcome == "provider_failed":  # estimated
            return None if row["output_tokens"] >= (usage or Counts()).output else "the ledger has less than was told"
        counts = Counts(
            input=row["input_tokens"] or 0,
            output=row["output_tokens"] or 0,
            cached=row["cache_read_tokens"] or 0,
            written_to_cache=row["cache_write_tokens"] or 0,
            reasoning=row["reasoning_tokens"] or 0,
        )
        return None if counts == (usage or Counts()) else f"expected {usage} in the ledger but found {counts}"


def hello(form: Format, model: str, *, stream: bool, tools: tuple[str, ...] = (), choices: int = 1) -> dict[str, Any]:
    """A plain request that offers ``tools`` and asks for so many ``choices``."""
    schema = {"type": "object", "properties": {}}
    if form is GEMINI:
        body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
        if tools:
            body["tools"] = [{"functionDeclarations": [{"name": name, "parameters": schema} for name in tools]}]
        if choices > 1:
            body["generationConfig"] = {"candidateCount": choices}
        return body
    if form is OPENAI_RESPONSES:
        body = {"model": model, "input": "hi", "store": False}
        if stream:
            body["stream"] = True
        if tools:
            body["tools"] = [
                {"type": "function", "name": name, "parameters": schema, "strict": False} for name in tools
            ]
        return body
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    if stream:
        body["stream"] = True
    if form is ANTHROPIC:
        body["max_tokens"] = 1000
        if tools:
            body["tools"] = [{"name": name, "input_schema": schema} for name in tools]
        return body
    if stream:
        body["stream_options"] = {"include_usage": True}
    if tools:
        body["tools"] = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in tools]
    if choices > 1:
        body["n"] = choices
    return body


def known_of(form: Format) -> dict[str, str]:
    folders = tuple(f"{form.provider}/{endpoint}/" for endpoint in form.endpoints)
    return {path: why for path, why in CHANGED.items() if path.startswith(folders)}


@pytest.mark.parametrize("form", FORMATS, ids=ids)
def test_the_same_format_passes_byte_for_byte(player: Player, form: Format, capsys):
    sames = [Same(each, form, seed) for seed, each in enumerate(recorded(form))]
    # Answers in the background are Rini's own, and their providers are asked for streams (tests/responses).
    played = player.play(same.call for same in sames if same.stateful != ["background"])
    rows = player.ledger(played)
    tally = Tally(f"{form.name} to itself", known_of(form))
    kinds = Counter()
    for each in played:
        same: Same = each.call.about
        kinds["error" if same.each.status >= 400 else "stream" if same.each.stream else "whole"] += 1
        kinds["bytes unchanged both ways"] += same.unchanged and not same.array and not same.stateful
        row = rows.get(each.request_id)
        kinds["need answers of another server"] += bool(same.stateful)
        verdict = same.wrong(each)
        if verdict is None and each.seen:
            verdict = "no row in the ledger" if row is None else same.misbooked(row)
        tally.judge(same.each.path, verdict)
    with capsys.disabled():
        print(f"\n  {form.name}: {dict(kinds)}", end="")
    tally.close(capsys)


SIDE_ENDPOINTS = {
    "openai": ("embeddings", "responses_other"),
    "anthropic": ("count_tokens",),
    "google": ("embedContent", "batchEmbedContents", "countTokens"),
}


@pytest.mark.parametrize("provider", SIDE_ENDPOINTS)
def test_embeddings_and_token_counts_pass_byte_for_byte(player: Player, provider: str, capsys):
    calls = [call for each in exchanges(provider, *SIDE_ENDPOINTS[provider]) if (call := side_call(each)) is not None]
    played = player.play(calls)
    rows = player.ledger([each for each in played if "mbed" in each.call.about.endpoint])
    tally = Tally(f"embeddings and token counts of {provider}")
    for each in played:
        tally.judge(each.call.about.path, changed_aside(each, rows.get(each.request_id)))
    tally.close(capsys)


def side_call(each: Exchange) -> Call | None:
    """The recorded call; None where the request was not recorded, or is about stored answers."""
    path = each.request["path"].partition("?")[0]
    body = each.request["body"]
    if not body or (each.endpoint == "responses_other" and not path.endswith("/input_tokens")):
        return None
    if each.provider != "google":
        return Call(path, as_json({**body, "model": f"{each.provider}/{each.model}"}), answering(each), about=each)
    model, _, verb = path.rpartition("/models/")[2].partition(":")
    name = named(model, GEMINI)
    sent = as_json(body).replace(f"models/{model}".encode(), f"models/{name}".encode())
    return Call(f"/v1beta/models/{name}:{verb}", sent, answering(each), about=each)


def changed_aside(played: Played, row: dict[str, Any] | None) -> str | None:
    each: Exchange = played.call.about
    if (played.status, played.body) != (each.status, each.response_bytes):
        return f"{played.status} {played.body!r}"
    sent = json.loads(played.seen[0].body) if len(played.seen) == 1 else None
    if sent != each.request["body"]:
        return f"upstream got {[seen.body for seen in played.seen]}"
    if "mbed" not in each.endpoint or each.status >= 400:
        return None
    usage = each.response["body"].get("usage") or {}
    if row is None or row["outcome"] != "complete":
        return f"the ledger has {row}"
    tokens = usage.get("prompt_tokens")
    return (
        None if tokens in (None, row["input_tokens"]) else f"{row['input_tokens']} tokens in the ledger, not {tokens}"
    )


# -- a server of OpenAI's format, which may not know what is OpenAI's own ----------------------------------


def test_compatible_servers_get_chat_completions_in_the_words_they_know(player: Player, capsys):
    tally = Tally("openai_chat to a compatible server")
    kinds = Counter()
    calls = []
    for each in recorded(OPENAI_CHAT):
        if body := each.request["body"]:
            sent = as_json({**body, "model": "openai_compatible/llama3"})
            calls.append(Call("/v1/chat/completions", sent, answering_ok, about=(each, body)))
    for played in player.play(calls):
        each, body = played.call.about
        tally.judge(each.path, unlike_for_compatible(played, {**body, "model": "llama3"}, kinds))
    with capsys.disabled():
        print(f"\n  {dict(kinds)}", end="")
    tally.close(capsys)


def unlike_for_compatible(played: Played, body: Any, kinds: Counter) -> str | None:
    if played.status != 200:
        return f"{played.status} {played.body!r}"
    found = played.seen[0].json
    asks = (body.get("stream_options") or {}).get("include_usage")
    if body.get("stream") and not asks:
        body = {**body, "stream_options": {"include_usage": True}}
    if found == body:
        kinds["passed"] += 1
        return None
    kinds["translated"] += 1
    if "max_completion_tokens" in found or any(each["role"] == "developer" for each in found["messages"]):
        return f"the server got {found}"
    if "max_completion_tokens" in body and found["max_tokens"] != body["max_completion_tokens"]:
        return f"the limit is {found}"
    roles = [each["role"].replace("developer", "system") for each in body["messages"]]
    if [each["role"] for each in found["messages"]] != roles:
        return f"the messages are {found['messages']}"
    missing, more = lost_values(body, found), lost_values(found, body)
    return f"lost {missing}, gained {more}" if missing or more else None


# -- another format behind the client's ---------------------------------------------------------------


def asked_model(dialect: Format, form: Format) -> str:
    """A model that is asked in ``form`` when the client speaks ``dialect``. OpenAI itself is asked in its client's own format."""
    compatible = form is OPENAI_CHAT and dialect is OPENAI_RESPONSES
    return "openai_compatible/llama3" if compatible else f"{form.provider}/{form.model}"


def across(dialect: Format, form: Format, each: Exchange, seed: int) -> Call:
    """A plain request in ``dialect`` of a model that answers as recorded in ``form``."""
    answer = told(form.name, each.response_bytes, stream=each.stream) if each.status < 400 else Told()
    tools = tuple(dict.fromkeys(name for choice in answer.choices for _, name, _ in choice.calls))
    model = asked_model(dialect, form)
    body = hello(dialect, model, stream=each.stream, tools=tools, choices=len(answer.choices))
    query = "?alt=sse" if each.stream else ""
    path = dialect.path(model, stream=each.stream, query=query)
    return Call(path, as_json(body), answering(each, seed=seed), about=(each, answer))


def lost(dialect: Format, played: Played) -> str | None:
    """What the client was told else than the recording says, if anything."""
    each, answer = played.call.about
    if played.status != 200:
        return f"{played.status} {played.body!r}"
    expected = held_by(dialect.name, answer)
    try:
        found = told(dialect.name, played.body, stream=each.stream)
    except (ValueError, KeyError) as error:
        return f"{error!r} in {played.body!r}"
    if expected.error is not None:
        if expected.error not in (found.error or ""):
            return f"error is {found.error}, not {expected.error}"
        said, heard = (each.choices[0].text if each.choices else "" for each in (expected, found))
        return None if said == heard else f"before the error came {heard!r}, not {said!r}"
    for ours, theirs in zip(expected.choices, found.choices, strict=False):
        ids = [call[0] for call in theirs.calls]
        if not all(ids) or len(set(ids)) < len(ids):
            return f"calls with ids {ids}"
        for name in ("text", "refusal", "spoken", "pictures", "finish"):
            if getattr(ours, name) != getattr(theirs, name):
                return f"{name} is {getattr(theirs, name)!r}, not {getattr(ours, name)!r}"
        if "".join(ours.thinking.split()) != "".join(theirs.thinking.split()):  # formats part it differently
            return f"thinking is {theirs.thinking!r}, not {ours.thinking!r}"
        if [call[1:] for call in ours.calls] != [call[1:] for call in theirs.calls]:
            return f"calls are {theirs.calls}, not {ours.calls}"
        if any(told_id and told_id != given for (told_id, *_), given in zip(ours.calls, ids, strict=True)):
            return f"ids of calls are {ids}, not those of {ours.calls}"
    for name in ("usage", "whole"):
        if getattr(expected, name) != getattr(found, name):
            return f"{name} is {getattr(found, name)}, not {getattr(expected, name)}"
    return None if len(expected.choices) == len(found.choices) else f"{len(found.choices)} choices"


PAIRS = [(form, dialect) for form in FORMATS for dialect in FORMATS if form is not dialect]


def known_losses(form: Format, dialect: Format) -> dict[str, str]:
    tables = [table for (source, *others), table in LOST.items() if source == form.name and dialect.name in others]
    return {path: why for table in tables for path, why in table.items()}


@pytest.mark.parametrize(("form", "dialect"), PAIRS, ids=ids)
def test_answers_say_the_same_in_another_dialect(player: Player, form: Format, dialect: Format, capsys):
    answers = [each for each in recorded(form) if each.status < 400]
    played = player.play(across(dialect, form, each, seed) for seed, each in enumerate(answers))
    tally = Tally(f"answers of {form.name} to {dialect.name}", known_losses(form, dialect))
    for each in played:
        tally.judge(each.call.about[0].path, lost(dialect, each))
    tally.close(capsys)


# What an error is, by what its text says where the status does not tell. Both of OpenAI's formats have the same errors, which pass.
KINDS = {
    "tokens must be reduced": "too long",
    "token count exceeds": "too long",
    "API key not valid": "authentication",
    "insufficient permissions": "permission",
    "The requested model": "not found",
    "insufficient_quota": "billing",
    "limit: 0": "billing",
    '"quota_limit_value": "0"': "billing",
}
BY_STATUS = {
    401: "authentication",
    403: "permission",
    404: "not found",
    429: "rate",
    503: "overloaded",
    529: "overloaded",
}
STATUSES = {
    "openai": {"billing": 429, "too long": 400, "overloaded": 503},
    "anthropic": {"billing": 402, "too long": 400, "overloaded": 529},
    "google": {"billing": 403, "too long": 400, "overloaded": 503},
}
SAME_EVERYWHERE = {"authentication": 401, "permission": 403, "not found": 404, "rate": 429}


def status_in(dialect: Format, each: Exchange) -> int:
    """The status by which the dialect's SDK picks the class of its error."""
    body = each.response_bytes.decode()
    kind = next((kind for text, kind in KINDS.items() if text in body), BY_STATUS.get(each.status, ""))
    return {**SAME_EVERYWHERE, **STATUSES[dialect.provider]}.get(kind, each.status)


@pytest.mark.parametrize(("form", "dialect"), PAIRS, ids=ids)
def test_errors_are_told_in_another_dialect(player: Player, form: Format, dialect: Format, capsys):
    failures = [each for each in recorded(form) if each.status >= 400]
    played = player.play(across(dialect, form, each, 0) for each in failures)
    tally = Tally(f"errors of {form.name} to {dialect.name}")
    for each in played:
        exchange: Exchange = each.call.about[0]
        tally.judge(exchange.path, mistold(dialect, form, exchange, each))
    tally.close(capsys)


def mistold(dialect: Format, form: Format, each: Exchange, played: Played) -> str | None:
    expected = each.status if dialect.provider == form.provider else status_in(dialect, each)
    if played.status != expected:
        return f"{played.status} and not {expected}: {played.body!r}"
    recorded_body = each.response["body"]
    try:
        body = json.loads(each.response_bytes)
        message = body["error"]["message"]
    except (ValueError, TypeError):
        message = recorded_body
    found = played.json["error"]["message"]
    if message.strip() not in found:
        return f"{found!r} does not say {message!r}"
    wait = told_headers(each).get("retry-after")
    return None if wait in (None, played.headers.get("retry-after")) else "Retry-After is lost"


# -- requests to a provider of another format -----------------------------------------------------------


def asked_across(dialect: Format, form: Format) -> Iterator[Call]:
    """Every recorded request of ``dialect`` that asks for no stored answer, for a model that is asked in ``form``."""
    model = asked_model(dialect, form)
    for each in recorded(dialect):
        body = each.request["body"]
        if not body or (dialect is OPENAI_RESPONSES and any(body.get(name) for name in STATE)):
            continue
        body = {name: value for name, value in body.items() if name != "model"}
        if dialect is OPENAI_RESPONSES:
            body["store"] = False
        sent = body if dialect is GEMINI else {**body, "model": model}
        path = dialect.path(model, stream=each.stream, query="?alt=sse" if each.stream else "")
        yield Call(path, as_json(sent), answering_ok, about=(each, body))


@pytest.mark.parametrize(("dialect", "form"), PAIRS, ids=ids)
def test_requests_reach_another_format_whole_or_are_refused_for_a_reason(
    player: Player, dialect: Format, form: Format, capsys
):
    tally = Tally(f"requests of {dialect.name} to {form.name}")
    refused = Counter()
    for played in player.play(asked_across(dialect, form)):
        each, body = played.call.about
        tally.judge(each.path, unlike(dialect, form, played, body, refused))
    with capsys.disabled():
        print(f"\n  {dict(refused.most_common())}", end="")
    tally.close(capsys)


def unlike(dialect: Format, form: Format, played: Played, body: Any, refused: Counter) -> str | None:
    """What is wrong with the answer to a request, or with what the provider got of it."""
    if played.status == 400:
        refused["400"] += 1
        return None if played.call.about[0].path.startswith(tuple(UNREADABLE)) else f"400 {played.body!r}"
    if played.status == 422:
        found = re.search(r"no equivalent for ([^:]+):", played.json["error"]["message"])
        name = re.sub(r"\d+", "N", found[1]) if found else "?"
        reason = next((each for each in NO_EQUIVALENT if re.fullmatch(each, name)), None)
        refused[name] += 1
        return None if reason else f"refused: {played.body!r}"
    if played.status != 200:
        return f"{played.status} {played.body!r}"
    refused["answered"] += 1
    if told(dialect.name, played.body, stream=played.call.about[0].stream).choices[0].text != "ok":
        return f"the answer is {played.body!r}"
    if played.call.about[0].status == 400:
        return None  # what it asked for makes no sense
    before, after = asked(dialect.name, body), asked(form.name, played.seen[0].json)
    dropped = played.headers.get("x-rini-dropped", "")
    for name, wanted in before.items():
        if wanted not in (None, [], "auto") and after[name] != wanted and not is_named((name,), dropped):
            return f"{name} is {after[name]!r}, not {wanted!r}; dropped are {dropped}"
    missing = lost_values(body, played.seen[0].json)
    silent = [path for path in missing if not says_nothing(path, missing[path]) and not is_named(path, dropped)]
    return f"{[(path, missing[path]) for path in silent]} did not arrive; dropped are {dropped}" if silent else None


def says_nothing(path: tuple[str, ...], value: Any) -> bool:
    """Whether a lost value asks for nothing."""
    return path[-2:] in LABELS or (path[-1] in SO_ANYWAY and SO_ANYWAY[path[-1]] == value)


def is_named(path: tuple[str, ...], dropped: str) -> bool:
    """Whether a lost value may be lost, and is named where it must be."""
    names = [LEFT_OUT[field] for field in path if field in LEFT_OUT]
    told_as = [each for name in names for each in ((name,) if isinstance(name, str) else name)]
    return any(each in dropped for each in told_as) or dropped.endswith("...")
