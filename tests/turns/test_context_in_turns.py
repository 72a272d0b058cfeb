"""A conversation that grows beyond its model: what is sent, what is summarised, what it costs, and what can be seen of it."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from rini.canon import Failure, Reply, Request, Text, Usage
from rini.inference.estimate import request_tokens
from tests.support.ledger import wait_for_rows
from tests.support.model import Broken, reply, scripted, user_of
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Upstream

SMALL = "gpt-4"
"""It reads 8,192 tokens, and OpenAI's format leaves an eighth of them for the answer."""

LONG = "word " * 960
"""About a thousand tokens."""


def cut_short(text: str) -> Reply:
    return reply(Text(text), finish="length", usage=Usage(input_tokens=10, output_tokens=5))


@dataclass
class Model:
    """A model that answers at length, counts as the estimate does, and refuses more than ``window`` tokens if it has one."""

    said: str = LONG
    summary: str | Reply | Broken | Callable[[], Any] = "They spoke of words."
    window: int | None = None
    seen: list[Request] = field(default_factory=list)
    summarised: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Reply | Broken:
        tokens = request_tokens(request)
        if self.window is not None and tokens > self.window:
            told = f"This model's maximum context length is {self.window} tokens. However, you asked with {tokens}."
            return Broken(Failure(kind="context_too_long", message=told, status=400, code="context_length_exceeded"))
        usage = Usage(input_tokens=tokens, output_tokens=len(self.said) // 4)
        first = request.messages[0]
        if first.role == "system" and "takes the place of" in text_of(first):
            self.summarised.append(request)
            said = self.summary() if callable(self.summary) else self.summary
            return said if isinstance(said, Broken | Reply) else reply(Text(said), usage=usage)
        self.seen.append(request)
        return reply(Text(f"{len(self.seen)} {self.said}"), usage=usage)


def text_of(message: Any) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))


def read(request: Request) -> str:
    return "\n".join(text_of(message) for message in request.messages)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def user(server: Server, upstream: Upstream, model: Model) -> Client:
    return user_of(server, upstream, "openai", model)


def ask(user: Client, session: str, text: str = "and then?", **fields: Any) -> Any:
    answer = user.ask(text, **({"session_id": session, "model": SMALL} | fields))
    assert answer.status == 200, answer
    return answer.json


def fill(user: Client, session: str, turns: int = 6) -> list[Any]:
    """Take so many turns of a thousand tokens each."""
    return [ask(user, session, f"question {number}") for number in range(1, turns + 1)]


def test_a_long_conversation_is_summarised(user: Client, model: Model) -> None:
    session = user.session(system_prompt="Be brief.")
    answers = fill(user, session, 9)
    (request,) = model.summarised
    assert "question 1" in read(request)
    made = [answer for answer in answers if answer.get("context", {}).get("made_now")]
    assert len(made) == 1
    context = made[0]["context"]
    assert (context["summary"], context["reason"]) == (True, None)
    sent = next(each for each in model.seen if "They spoke of words." in read(each))
    assert [message.role for message in sent.messages][:3] == ["system", "user", "assistant"]
    assert text_of(sent.messages[0]) == "Be brief."
    assert "question 1\n" not in read(sent)
    # The originals stay.
    assert len(user.get(f"/sessions/{session}/messages/").json) == 18
    last = user.get(f"/messages/{answers[-1]['assistant_message']['id']}/history").json
    assert last[0]["content"] == "question 1"


def test_a_summary_has_a_row_of_its_own_in_the_ledger(user: Client, model: Model) -> None:
    session = user.session()
    answers = fill(user, session, 9)
    rows = user.get(f"/usage/records/?session_id={session}&limit=100").json
    summaries = [row for row in rows if row["endpoint"] == "compaction"]
    assert len(summaries) == len(model.summarised) == 1
    assert summaries[0]["session_id"] == session
    assert summaries[0]["prompt_tokens"] == request_tokens(model.summarised[0])
    assert len(rows) == 10
    # The answer's own counts are those of its own call.
    counts = [answer["assistant_message"]["prompt_tokens"] for answer in answers]
    assert counts == [request_tokens(request) for request in model.seen]


def test_what_was_sent_can_be_seen(user: Client, model: Model) -> None:
    session = user.session(system_prompt="Be brief.")
    answers = fill(user, session, 11)
    for answer, request in zip(answers, model.seen, strict=True):
        stored = answer["assistant_message"]
        shown = user.get(f"/messages/{stored['id']}/context").json
        assert shown["sent"] is True
        assert shown["system"] == "Be brief."
        assert (shown["provider"], shown["model"], shown["context_tokens"]) == ("openai", SMALL, 8192)
        assert shown["tokens"] == stored["prompt_tokens"]
        assert shown["counted_by"] == "provider"
        assert [(each["role"], each["parts"]) for each in shown["messages"]] == [
            (message.role, [*msgspec.to_builtins(message.parts)]) for message in request.messages[1:]
        ]
        assert (shown["cut"] is None) == ("They spoke" not in read(request))
    cut = shown["cut"]
    assert (cut["summary"], cut["provider"], cut["model"]) == ("They spoke of words.", "openai", SMALL)
    assert cut["context_tokens"] == 8192
    assert shown["messages"][0]["message_id"] > cut["after_message_id"]


def test_what_would_be_sent_can_be_seen(user: Client, model: Model) -> None:
    session = user.session()
    answers = fill(user, session, 9)
    last = answers[-1]
    asked = user.get(f"/messages/{last['user_message']['id']}/context").json
    assert asked["sent"] is False
    assert asked["cut"]["summary"] == "They spoke of words."
    assert asked["messages"][-1]["parts"] == [{"type": "text", "text": "question 9"}]
    # A model with a larger context passes over the cut.
    query = "provider=anthropic&model=claude-haiku-4-5"
    larger = user.get(f"/messages/{last['user_message']['id']}/context?{query}").json
    assert larger["cut"] is None
    assert len(larger["messages"]) == 17
    assert larger["context_tokens"] == 200_000


@pytest.mark.parametrize("policy", ["compact", "truncate", "refuse"])
def test_what_would_be_sent_is_cut_as_the_turn_would_cut_it(user: Client, model: Model, policy: str) -> None:
    session = user.session(context_policy=policy)
    asked = [ask(user, session, f"question {number}", model="gpt-4o") for number in range(1, 10)][-1]
    question = asked["user_message"]["id"]
    shown = user.get(f"/messages/{question}/context?provider=openai&model={SMALL}").json
    if policy == "refuse":
        assert shown["cut"] is None
        assert shown["tokens"] > shown["room_tokens"]
        return
    assert shown["cut"]["id"] is None
    assert shown["cut"]["summary"] is None
    assert shown["tokens"] < shown["room_tokens"]
    answer = user.post(f"/messages/{question}/regenerate", {"provider": "openai", "model": SMALL})
    assert answer.json["context"]["after_message_id"] == shown["cut"]["after_message_id"]
    assert len(model.seen[-1].messages) == len(shown["messages"])


@pytest.mark.parametrize(
    ("query", "provider", "named", "tokens"),
    [
        ("", "openai", SMALL, 8192),
        ("provider=openai", "openai", SMALL, 8192),
        ("provider=anthropic", "anthropic", None, None),
        ("model=gpt-4o", "openai", "gpt-4o", 128_000),
    ],
)
def test_who_would_be_asked_is_who_answered_where_it_is_not_said(
    user: Client, query: str, provider: str, named: str | None, tokens: int | None
) -> None:
    question = ask(user, user.session())["user_message"]["id"]
    shown = user.get(f"/messages/{question}/context?{query}").json
    assert (shown["provider"], shown["model"], shown["context_tokens"]) == (provider, named, tokens)


def test_what_would_be_sent_to_nobody_is_not_told(user: Client) -> None:
    question = ask(user, user.session())["user_message"]["id"]
    answer = user.get(f"/messages/{question}/context?provider=nobody&model=x")
    assert (answer.status, answer.json["detail"].partition(":")[0]) == (422, "provider")


def test_others_see_nothing_of_it(user: Client, server: Server) -> None:
    answer = ask(user, user.session())
    stranger = server.user()
    for name in ("user_message", "assistant_message"):
        assert stranger.get(f"/messages/{answer[name]['id']}/context").status == 404


def test_a_session_that_truncates_asks_for_no_summary(user: Client, model: Model) -> None:
    session = user.session(context_policy="truncate")
    answers = fill(user, session, 9)
    assert not model.summarised
    context = answers[-1]["context"]
    assert (context["summary"], context["reason"]) == (False, None)
    assert "question 1" not in read(model.seen[-1])
    assert model.seen[-1].messages[0].role == "user"


def test_a_session_that_refuses_stores_nothing_of_what_it_refuses(user: Client, model: Model) -> None:
    session = user.session(context_policy="refuse")
    asked = fill(user, session, 6)
    count = 2 * len(asked)
    while (answer := user.ask("more", session_id=session, model=SMALL)).status == 200 and count < 40:
        count += 2
    assert answer.status == 422
    assert answer.json["code"] == "context_too_long"
    assert "context_policy refuse" in answer.json["detail"]
    assert len(user.get(f"/sessions/{session}/messages/").json) == count
    assert not model.summarised
    # It is the session's own word, and can be changed.
    assert user.put(f"/sessions/{session}", {"context_policy": "truncate"}).json["context_policy"] == "truncate"
    assert ask(user, session)["context"]["made_now"]


def test_a_first_question_that_is_too_long_is_refused(user: Client, model: Model) -> None:
    session = user.session()
    answer = user.ask(LONG * 12, session_id=session, model=SMALL)
    assert answer.status == 422
    assert answer.json["code"] == "context_too_long"
    assert "reads 7168 at most" in answer.json["detail"]
    assert user.get(f"/sessions/{session}/messages/").json == []
    assert not model.seen


FAILURES: dict[str, tuple[Any, str]] = {
    "the provider fails": (Broken(Failure(kind="server_error", message="no", status=500)), "provider_unavailable"),
    "it is empty": (" ", "summary_empty"),
    "it is longer than what it replaces": (LONG * 8, "summary_too_long"),
    "it leaves no place for what stays": (LONG * 3, "summary_too_long"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_summary_that_fails_leaves_the_oldest_turns_out(user: Client, model: Model, name: str) -> None:
    model.summary, reason = FAILURES[name]
    session = user.session()
    fill(user, session, 6)
    made: list[Any] = []
    while len(made) < 1:
        context = ask(user, session).get("context")
        made += [context] if context else []
    assert (made[0]["summary"], made[0]["reason"], made[0]["made_now"]) == (False, reason, True)
    assert "question 1" not in read(model.seen[-1])
    # It is not tried again until there is something new to summarise.
    tried = len(model.summarised)
    assert not ask(user, session)["context"]["made_now"]
    assert len(model.summarised) == tried


def test_a_summary_that_finds_no_end_ends_with_a_sentence(user: Client, model: Model) -> None:
    model.summary = cut_short("They met. They spoke of owls. And th")
    session = user.session()
    last = fill(user, session, 9)[-1]
    assert last["context"]["summary"]
    shown = user.get(f"/messages/{last['assistant_message']['id']}/context").json
    assert shown["cut"]["summary"] == "They met. They spoke of owls."


def test_a_stream_says_what_was_left_out(user: Client) -> None:
    session = user.session()
    fill(user, session, 9)
    events = user.stream("go on", session_id=session, model=SMALL)
    assert events[0].data["context"]["summary"] is True
    assert events[-1].data["context"] == events[0].data["context"]


def test_other_branches_do_not_see_a_summary(user: Client, model: Model) -> None:
    session = user.session()
    answers = fill(user, session, 5)
    fork = answers[2]["assistant_message"]["id"]
    summaries = iter(["Here they spoke of foxes.", "There they spoke of owls."])
    model.summary = lambda: next(summaries)
    left = answers[-1]["assistant_message"]["id"]
    right = ask(user, session, "other way", parent_message_id=fork)["assistant_message"]["id"]
    while not (found := ask(user, session, "left", parent_message_id=left)).get("context"):
        left = found["assistant_message"]["id"]
    assert "foxes" in read(model.seen[-1])
    while not (found := ask(user, session, "right", parent_message_id=right)).get("context"):
        assert "foxes" not in read(model.seen[-1])
        right = found["assistant_message"]["id"]
    # The right branch may begin at the left one's cut where that is above both.
    shared = found["context"]["after_message_id"] <= fork and not found["context"]["made_now"]
    assert ("foxes" in read(model.seen[-1])) == shared
    ask(user, session, "root", parent_message_id=answers[0]["assistant_message"]["id"])
    assert "foxes" not in read(model.seen[-1])
    assert "owls" not in read(model.seen[-1])


def test_a_larger_model_reads_all_of_it_again(user: Client, model: Model) -> None:
    session = user.session()
    fill(user, session, 9)
    larger = ask(user, session, "what was first?", model="gpt-4o")
    assert "context" not in larger
    assert "question 1" in read(model.seen[-1])
    assert ask(user, session, "and now?")["context"]["cut"]
    assert "question 1\n" not in read(model.seen[-1])


def test_a_second_summary_goes_on_from_the_first(user: Client, model: Model) -> None:
    numbers = iter(range(1, 10))
    model.summary = lambda: f"Summary {next(numbers)}."
    session = user.session()
    fill(user, session, 16)
    assert len(model.summarised) >= 2
    assert "Summary 1." in read(model.summarised[1])
    assert "question 1\n" not in read(model.summarised[1])
    assert "Summary 1." not in read(model.seen[-1])


def test_a_refusal_by_the_provider_leads_to_another_call(user: Client, model: Model) -> None:
    model.window = 3000
    session = user.session()
    answers = fill(user, session, 5)
    made = [answer for answer in answers if answer.get("context", {}).get("made_now")]
    assert made
    assert all(answer["assistant_message"]["status"] == "complete" for answer in answers)
    assert made[0]["context"]["summary"]
    assert made[0]["usage"]["cost_usd"]
    shown = user.get(f"/messages/{made[0]['assistant_message']['id']}/context").json
    assert shown["cut"]["context_tokens"] == 3000
    rows = user.get(f"/usage/records/?session_id={session}&limit=100").json
    # What it told is remembered.
    assert sum(row["outcome"] == "refused" for row in rows) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_of_unknown_context_is_found_out(user: Client, model: Model, *, stream: bool) -> None:
    model.window = 3000
    session = user.session(context_policy="truncate")
    for number in range(5):
        if stream:
            events = user.stream(f"question {number}", session_id=session, model="some-model")
            assert [event.event for event in events].count("start") == 1
            assert events[-1].event == "done"
        else:
            ask(user, session, f"question {number}", model="some-model")
    assert len(model.seen) == 5
    assert all(request_tokens(request) <= 3000 for request in model.seen)


def test_what_is_to_be_sent_whole_begins_at_no_cut(user: Client, model: Model) -> None:
    session = user.session()
    answers = fill(user, session, 9)
    assert answers[-1]["context"] is not None
    assert user.put(f"/sessions/{session}", {"context_policy": "refuse"}).status == 200
    refused = user.ask("and now?", session_id=session, model=SMALL)
    assert (refused.status, refused.json["code"]) == (422, "context_too_long")
    question = answers[-1]["user_message"]["id"]
    assert user.get(f"/messages/{question}/context").json["cut"] is None


def test_a_session_that_refuses_gives_the_provider_s_refusal(user: Client, model: Model) -> None:
    model.window = 2000
    session = user.session(context_policy="refuse")
    ask(user, session)
    answer = user.ask(LONG, session_id=session, model=SMALL)
    assert answer.status == 422
    assert "maximum context length is 2000" in answer.json["detail"]


def test_a_response_s_truncation_is_the_policy_of_its_turn(user: Client, model: Model) -> None:
    session = user.session()
    fill(user, session, 8)
    body = {"model": f"openai/{SMALL}", "input": LONG * 4, "truncation": "disabled"}
    refused = user.request("POST", "/v1/responses", body, x_rini_session=session)
    assert refused.status == 400, refused
    assert refused.json["error"]["code"] == "context_length_exceeded"
    answer = user.request("POST", "/v1/responses", body | {"truncation": "auto"}, x_rini_session=session)
    assert answer.headers["x-rini-context"].endswith("; summary=false")
    assert not model.summarised


def test_two_questions_at_once_are_both_summarised_for(user: Client, model: Model) -> None:
    session = user.session()
    tip = fill(user, session, 8)[-1]["assistant_message"]["id"]
    both = threading.Barrier(2, timeout=10)

    def summary() -> str:
        return f"Summary {len(model.summarised)}."

    model.summary = summary
    found: list[Any] = []

    def question(text: str) -> None:
        both.wait()
        found.append(ask(user, session, text, parent_message_id=tip))

    threads = [threading.Thread(target=question, args=(text,)) for text in ("this", "that")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["context"]["summary"] for answer in found] == [True, True]
    # What comes below goes on with one of them, and makes none anew.
    tried = len(model.summarised)
    for answer in found:
        later = ask(user, session, parent_message_id=answer["assistant_message"]["id"])
        assert not later["context"]["made_now"]
    assert len(model.summarised) == tried


def test_a_cut_goes_with_its_message(user: Client, model: Model) -> None:
    session = user.session()
    answers = fill(user, session, 9)
    after = answers[-1]["context"]["after_message_id"]
    count = sum(row["id"] >= after for row in user.get(f"/sessions/{session}/messages/?limit=100").json)
    assert user.delete(f"/messages/{after}?count={count}").status == 204
    assert "context" not in ask(user, session)
    assert "They spoke" not in read(model.seen[-1])


def test_a_dialect_in_a_session_says_what_was_left_out(user: Client, model: Model) -> None:
    session = user.session()
    fill(user, session, 8)
    body = {"model": f"openai/{SMALL}", "messages": [{"role": "user", "content": "and then?"}]}
    answer = user.request("POST", "/v1/chat/completions", body, x_rini_session=session)
    assert answer.status == 200, answer
    assert answer.headers["x-rini-context"].endswith("; summary=true")
    body["messages"] = [{"role": "user", "content": LONG * 12}]
    refused = user.request("POST", "/v1/chat/completions", body, x_rini_session=session)
    assert refused.json["error"]["code"] == "context_length_exceeded"
    assert "at most beside its answer" in refused.json["error"]["message"]


def test_a_turn_that_is_ended_during_a_summary_is_told_so(user: Client, upstream: Upstream, model: Model) -> None:
    session = user.session()
    fill(user, session, 7)
    waiting = threading.Event()
    answering = scripted("openai", model)

    async def script(conversation: Conversation) -> None:
        if b"takes the place of" not in conversation.seen.body or waiting.is_set():
            await answering(conversation)
            return
        waiting.set()
        await conversation.until_left()

    upstream.scripts[user.provider_key] = script
    ended: list[Any] = []
    asking = threading.Thread(target=lambda: ended.append(user.ask(LONG, session_id=session, model=SMALL)))
    asking.start()
    assert waiting.wait(10)
    assert ask(user, session, LONG, if_busy="interrupt")["context"]["made_now"]
    asking.join()
    assert (ended[0].status, ended[0].json["code"]) == (409, "turn_cancelled")


def test_a_client_that_leaves_during_a_summary_leaves_nothing_running(
    user: Client, upstream: Upstream, model: Model
) -> None:
    session = user.session()
    fill(user, session, 7)
    waiting, left = threading.Event(), threading.Event()
    answering = scripted("openai", model)

    async def script(conversation: Conversation) -> None:
        if b"takes the place of" not in conversation.seen.body:
            await answering(conversation)
            return
        waiting.set()
        await conversation.until_left()
        left.set()

    upstream.scripts[user.provider_key] = script
    with begun(user, {"text": LONG, "session_id": session, "provider": "openai", "model": SMALL}):
        assert waiting.wait(10)
    assert left.wait(10)
    upstream.scripts[user.provider_key] = answering
    assert ask(user, session, LONG)["context"]["made_now"]
    rows = user.get(f"/usage/records/?session_id={session}&limit=100").json
    assert [row["outcome"] for row in rows if row["endpoint"] == "compaction"].count("client_left") == 1
    statuses = {row["status"] for row in user.get(f"/sessions/{session}/messages/?limit=1000").json}
    assert statuses == {"complete"}


@contextmanager
def begun(user: Client, body: Any) -> Iterator[None]:
    """Send a question, and leave at the end of the block without having read anything."""
    host, port = user.url.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    head = (
        f"POST /llm/text-completion/ HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {user.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + data)
        yield


def test_a_process_that_dies_during_a_summary_loses_nothing(
    new_server: Callable[..., Server], upstream: Upstream, model: Model
) -> None:
    server = new_server()
    user = user_of(server, upstream, "openai", model)
    session = user.session()
    tip = fill(user, session, 8)[-1]["assistant_message"]["id"]
    waiting = threading.Event()
    answering = upstream.scripts[user.provider_key]

    async def script(conversation: Conversation) -> None:
        waiting.set()
        await conversation.until_left()

    upstream.scripts[user.provider_key] = script
    asked = {"text": "and then?", "session_id": session, "provider": "openai", "model": SMALL}
    with begun(user, asked | {"parent_message_id": tip}):
        assert waiting.wait(10)
        server.kill()
    upstream.scripts[user.provider_key] = answering
    again = new_server()
    user.url = again.url
    rows = wait_for_rows(again, 1, endpoint="compaction")
    assert rows[0]["outcome"] == "interrupted"
    assert len(user.get(f"/messages/{tip}/history").json) == 16
    answer = ask(user, session, parent_message_id=tip)
    assert answer["context"]["made_now"]
    assert answer["context"]["summary"]
