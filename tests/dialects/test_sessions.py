"""Every dialect in a session: only what is new is sent, the server knows the rest, whoever asked or answered before."""

import base64
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from google.genai import types

from rini.canon import (
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reply,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    plain_text,
)
from tests.support.dialects import DIALECTS, PROVIDERS, SDK_ERRORS, Behind, Got, World, raised_by
from tests.support.dialects_features import ANTHROPIC_TOOLS, CHAT_TOOLS, GEMINI_TOOLS, RESPONSES_TOOLS
from tests.support.model import reply
from tests.support.server import Client
from tests.support.things import picture
from tests.support.upstream import Conversation, openai_chunks

OPENAI, OPENAI_RESPONSES, ANTHROPIC, GOOGLE, _ = PROVIDERS
PDF = b"%PDF-1.4\n" + b"%" * 3000
RESULT = "rainy"


def said(dialect: str, text: str) -> dict[str, Any]:
    """One message of the user, as the dialect's SDK takes it."""
    match dialect:
        case "gemini":
            return {"contents": text}
        case "responses":
            return {"input": text}
        case _:
            return {"messages": [{"role": "user", "content": text}]}


def instructed(dialect: str, asked: dict[str, Any], text: str) -> dict[str, Any]:
    match dialect:
        case "gemini":
            return asked | {"config": {"system_instruction": text}}
        case "responses":
            return asked | {"instructions": text}
        case "anthropic":
            return asked | {"system": text}
        case _:
            return asked | {"messages": [{"role": "system", "content": text}, *asked["messages"]]}


def with_tools(dialect: str, asked: dict[str, Any]) -> dict[str, Any]:
    match dialect:
        case "gemini":
            own = {"tools": GEMINI_TOOLS, "automatic_function_calling": {"disable": True}}
            return asked | {"config": own | {"thinking_config": {"include_thoughts": True}}}
        case "responses":
            return asked | {"tools": RESPONSES_TOOLS}
        case "anthropic":
            return asked | {"tools": ANTHROPIC_TOOLS, "thinking": {"type": "enabled", "budget_tokens": 2048}}
        case _:
            return asked | {"tools": CHAT_TOOLS}


def results(dialect: str, got: Got) -> dict[str, Any]:
    """The result of each call, and nothing before."""
    match dialect:
        case "gemini":
            calls = [part.function_call for each in got.raw for part in each.parts or () if part.function_call]
            parts = [
                types.Part(
                    function_response=types.FunctionResponse(id=call.id, name=call.name, response={"result": RESULT})
                )
                for call in calls
            ]
            return {"contents": [types.Content(role="user", parts=parts)]}
        case "responses":
            return {
                "input": [{"type": "function_call_output", "call_id": each, "output": RESULT} for each in got.call_ids]
            }
        case "anthropic":
            content = [{"type": "tool_result", "tool_use_id": each, "content": RESULT} for each in got.call_ids]
            return {"messages": [{"role": "user", "content": content}]}
        case _:
            return {
                "messages": [{"role": "tool", "tool_call_id": each, "content": RESULT} for each in got.call_ids]
            }  # fmt: skip


def looked_at(dialect: str, image: bytes, pdf: bytes) -> dict[str, Any]:
    """A question about a picture and a document that come with it."""
    picture, paper = base64.b64encode(image).decode(), base64.b64encode(pdf).decode()
    match dialect:
        case "gemini":
            parts = [types.Part.from_bytes(data=image, mime_type="image/png")]
            parts += [types.Part.from_bytes(data=pdf, mime_type="application/pdf"), types.Part(text="What is it?")]
            return {"contents": [types.Content(role="user", parts=parts)]}
        case "responses":
            content = [
                {"type": "input_image", "image_url": f"data:image/png;base64,{picture}", "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{paper}"},
                {"type": "input_text", "text": "What is it?"},
            ]
            return {"input": [{"role": "user", "content": content}]}
        case "anthropic":
            content = [
                {"type": kind, "source": {"type": "base64", "media_type": mime, "data": data}}
                for kind, mime, data in (("image", "image/png", picture), ("document", "application/pdf", paper))
            ]
            return {"messages": [{"role": "user", "content": [*content, {"type": "text", "text": "What is it?"}]}]}
        case _:
            content = [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{paper}"}},
                {"type": "text", "text": "What is it?"},
            ]
            return {"messages": [{"role": "user", "content": content}]}


class Talk:
    """A conversation of which the client holds nothing but the session's id."""

    def __init__(self, world: World, answer: Callable[[Request], Reply] | None = None) -> None:
        self.world = world
        self.requests: list[Request] = []
        self.session = "new"
        self._answer = answer

    def ask(
        self, dialect: str, behind: Behind, asked: Mapping[str, Any], *, stream: bool = False, **headers: str
    ) -> Got:
        self.world.script(behind, self._answered)
        sent = {"x-rini-session": self.session} | {name.replace("_", "-"): text for name, text in headers.items()}
        got = self.world.clients.ask(dialect, f"{behind.provider}/{behind.thinker}", told(dialect, asked, sent), stream=stream)  # fmt: skip
        self.session = self.world.clients.headers["x-rini-session"]
        return got

    def _answered(self, request: Request) -> Reply:
        self.requests.append(request)
        return self._answer(request) if self._answer else reply(Text(f"answer {len(self.requests)}"))

    @property
    def question(self) -> int:
        return int(self.world.clients.headers["x-rini-question"])

    @property
    def answer(self) -> int:
        return int(self.world.clients.headers["x-rini-answer"])

    def read(self, number: int = -1) -> list[tuple[str, str]]:
        """What a provider was given to read."""
        return [(each.role, plain_text(each.parts)) for each in self.requests[number].messages]

    def kept(self) -> list[Any]:
        return self.world.user.get(f"/sessions/{self.session}/messages/").json


def told(dialect: str, asked: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what is asked with headers of its own."""
    if dialect == "gemini":
        config = {**asked.get("config", {}), "http_options": types.HttpOptions(headers=dict(headers))}
        return {**asked, "config": config}
    return {**asked, "extra_headers": dict(headers)}


@pytest.mark.parametrize("behind", PROVIDERS, ids=lambda behind: behind.name)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_second_turn_knows_the_first(world: World, dialect: str, behind: Behind):
    talk = Talk(world)
    assert talk.ask(dialect, behind, said(dialect, "one")).text == "answer 1"
    first = (talk.question, talk.answer)
    assert talk.ask(dialect, behind, said(dialect, "two"), stream=True).text == "answer 2"
    assert talk.ask(dialect, behind, said(dialect, "three")).text == "answer 3"
    conversation = [("user", "one"), ("assistant", "answer 1"), ("user", "two"), ("assistant", "answer 2")]
    assert talk.read(0) == conversation[:1]
    assert talk.read(1) == conversation[:3]
    assert talk.read(2) == [*conversation, ("user", "three")]
    rows = talk.kept()
    assert [(row["role"], row["content"]) for row in rows[:4]] == conversation
    assert [row["parent_message_id"] for row in rows] == [None, *(row["id"] for row in rows[:-1])]
    assert (rows[0]["id"], rows[1]["id"]) == first
    assert (rows[4]["id"], rows[5]["id"]) == (talk.question, talk.answer)
    assert {row["status"] for row in rows} == {"complete"}


def test_one_conversation_in_all_dialects_and_natively(world: World):
    talk = Talk(world)
    talk.session = world.user.session(system_prompt="Be brief.")
    expected: list[tuple[str, str]] = [("system", "Be brief.")]
    for number, (dialect, behind) in enumerate(zip(DIALECTS, PROVIDERS[:4], strict=True)):
        body = {"text": f"native {number}", "provider": "openai", "model": "m", "session_id": talk.session}
        world.script(OPENAI, talk._answered)
        assert world.user.post("/llm/text-completion/", body).status == 200
        expected += [("user", f"native {number}"), ("assistant", f"answer {len(talk.requests)}")]
        talk.ask(dialect, behind, said(dialect, f"in {dialect}"), stream=bool(number % 2))
        expected += [("user", f"in {dialect}"), ("assistant", f"answer {len(talk.requests)}")]
        assert talk.read() == expected[:-1]
    assert [(row["role"], row["content"]) for row in talk.kept()] == expected[1:]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_named_parent_makes_a_branch(world: World, dialect: str):
    talk = Talk(world)
    talk.ask(dialect, OPENAI, said(dialect, "root"))
    root = talk.answer
    talk.ask(dialect, OPENAI, said(dialect, "left"))
    talk.ask(dialect, ANTHROPIC, said(dialect, "right"), stream=True, x_rini_parent=str(root))
    assert talk.read() == [("user", "root"), ("assistant", "answer 1"), ("user", "right")]
    talk.ask(dialect, GOOGLE, said(dialect, "on"))
    assert [text for _, text in talk.read()] == ["root", "answer 1", "right", "answer 3", "on"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_instructions_and_parameters_are_of_their_turn_alone(world: World, dialect: str):
    talk = Talk(world)
    asked = instructed(dialect, said(dialect, "one"), "Rhyme.")
    match dialect:
        case "gemini":
            asked["config"] |= {"max_output_tokens": 99, "stop_sequences": ["END"]}
        case "anthropic":
            asked |= {"max_tokens": 99, "stop_sequences": ["END"]}
        case "chat":
            asked |= {"max_tokens": 99, "stop": ["END"]}
        case _:
            asked |= {"max_output_tokens": 99}
    talk.ask(dialect, ANTHROPIC, asked)
    talk.ask(dialect, ANTHROPIC, said(dialect, "two"))
    first, second = talk.requests
    assert talk.read(0) == [("system", "Rhyme."), ("user", "one")]
    assert (first.max_tokens, first.stop) == (99, None if dialect == "responses" else ("END",))
    assert talk.read(1) == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
    assert second.max_tokens != 99
    assert second.stop is None
    assert [row["role"] for row in talk.kept()] == ["user", "assistant"] * 2


def thought(behind: Behind, call: ToolCall) -> tuple[Part, ...]:
    match behind.name:
        case "anthropic":
            return (Thinking("Hm.", signature="UFJPT0Y0"), Text("I look."), call)
        case "google":
            return (
                Thinking("Hm."),
                Text("I look."),
                ToolCall(call.id, call.name, call.arguments, signature="UFJPT0Y0"),
            )
        case "responses":
            own = {"openai_responses": {"item.id": "rs_0"}}
            return (Thinking("Hm.", signature="UFJPT0Y0", extras=own), call)
        case _:
            return (Text("I look."), call)


def proofs(request: Request) -> list[str]:
    return [
        proof
        for message in request.messages
        for part in message.parts
        if isinstance(part, Thinking | ToolCall | Text) and (proof := part.signature)
    ]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("behind", PROVIDERS[:4], ids=lambda behind: behind.name)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_tool_loop_of_which_only_results_are_sent(world: World, dialect: str, behind: Behind, stream: bool):
    def answer(request: Request) -> Reply:
        if any(isinstance(part, ToolResult) for each in request.messages for part in each.parts):
            return reply(Text("It rains."))
        call = ToolCall("call_1" if behind.name != "google" else "", "weather", '{"city": "Seoul"}')
        return reply(*thought(behind, call))

    talk = Talk(world, answer)
    got = talk.ask(dialect, behind, with_tools(dialect, said(dialect, "How is the weather?")), stream=stream)
    assert got.calls == (("weather", {"city": "Seoul"}),)
    got = talk.ask(dialect, behind, with_tools(dialect, results(dialect, got)), stream=stream)
    assert got.text == "It rains."
    last = talk.requests[-1]
    assert [part.name for each in last.messages for part in each.parts if isinstance(part, ToolCall)] == ["weather"]
    given = [part for each in last.messages for part in each.parts if isinstance(part, ToolResult)]
    assert [plain_text(each.content) for each in given] == [RESULT]
    assert proofs(last) == ([] if behind.name == "openai" else ["UFJPT0Y0"])
    kept = [(row["role"], row["content"]) for row in talk.kept()]
    text = "" if behind.name == "responses" else "I look."
    result = '{"result": "rainy"}' if dialect == "gemini" else RESULT
    assert [role for role, _ in kept] == ["user", "assistant", "tool", "assistant"]
    assert [shown for _, shown in kept] in (
        ["How is the weather?", text, result, "It rains."],
        ["How is the weather?", text, RESULT, "It rains."],
    )
    other = ANTHROPIC if behind is GOOGLE else GOOGLE
    talk.ask(dialect, other, said(dialect, "And tomorrow?"), stream=stream)
    request = talk.requests[-1]
    assert not {"UFJPT0Y0"} & set(proofs(request)), "no other provider's proofs"
    assert [plain_text(part.content) for each in request.messages for part in each.parts if isinstance(part, ToolResult)] == [RESULT]  # fmt: skip
    assert plain_text(request.messages[-1].parts) == "And tomorrow?"


@pytest.mark.parametrize("behind", PROVIDERS[:4], ids=lambda behind: behind.name)
def test_a_result_of_gemini_names_its_call_without_an_id(world: World, behind: Behind):
    calls = (ToolCall("one", "weather", "{}"), ToolCall("two", "time", "{}"), ToolCall("three", "weather", "{}"))

    def answer(request: Request) -> Reply:
        answered = any(isinstance(part, ToolResult) for each in request.messages for part in each.parts)
        return reply(Text("It rains.")) if answered else reply(*calls)

    talk = Talk(world, answer)
    talk.ask("gemini", behind, with_tools("gemini", said("gemini", "How is the weather?")))
    parts = [
        types.Part.from_function_response(name=name, response={"result": result})
        for name, result in (("weather", "rainy"), ("weather", "dry"), ("time", "noon"))
    ]
    asked = {"contents": [types.Content(role="user", parts=parts)]}
    assert talk.ask("gemini", behind, with_tools("gemini", asked)).text == "It rains."
    given = [part for each in talk.requests[-1].messages for part in each.parts if isinstance(part, ToolResult)]
    assert [part.call_id for part in given] == ["one", "three", "two"]
    assert [part.id for each in talk.requests[-1].messages for part in each.parts if isinstance(part, ToolCall)] == [
        "one",
        "two",
        "three",
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_result_of_no_call_is_refused_and_not_stored(world: World, dialect: str):
    talk = Talk(world)
    talk.ask(dialect, ANTHROPIC, said(dialect, "one"))
    lost = ToolCall("call_of_nobody", "weather", "{}")
    if dialect == "gemini":
        parts = [types.Part.from_function_response(name=lost.name, response={"result": RESULT})]
        asked: dict[str, Any] = {"contents": [types.Content(role="user", parts=parts)]}
    else:
        asked = results(dialect, Got(call_ids=(lost.id,)))
    with pytest.raises(SDK_ERRORS) as failed:
        talk.ask(dialect, ANTHROPIC, asked)
    assert raised_by(failed.value, world.clients.headers).status == 400
    assert "answers no call" in str(failed.value)
    assert [row["role"] for row in talk.kept()] == ["user", "assistant"]


def test_what_only_one_provider_can_read_keeps_nobody_else_from_answering(world: World):
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "x"},
    }
    talk = Talk(world, lambda _: reply(Opaque("openai_responses", search), Text("Found.")))
    talk.ask("responses", OPENAI_RESPONSES, said("responses", "search"))
    for dialect, behind in (("responses", ANTHROPIC), ("chat", GOOGLE), ("anthropic", OPENAI)):
        got = talk.ask(dialect, behind, said(dialect, "Again?"))
        assert talk.read()[1] == ("assistant", "Found."), behind.name
        assert got.dropped == ("web_search_call",)
    talk.ask("responses", OPENAI_RESPONSES, said("responses", "And now?"))
    assert isinstance(talk.requests[-1].messages[1].parts[0], Opaque)
    for provider, model in (("anthropic", "claude-haiku-4-5"), ("openai", "gpt-4o-mini")):
        body = {"text": "natively", "provider": provider, "model": model, "session_id": talk.session}
        assert world.user.post("/llm/text-completion/", body).status == 200


@pytest.mark.parametrize("dialect", DIALECTS)
def test_pictures_and_papers_are_seen_again(world: World, dialect: str):
    talk = Talk(world)
    image = picture()
    talk.ask(dialect, ANTHROPIC, looked_at(dialect, image, PDF))
    for behind in (ANTHROPIC, GOOGLE, OPENAI):
        talk.ask(dialect, behind, said(dialect, "Again?"), stream=behind is GOOGLE)
        first = talk.requests[-1].messages[0]
        assert media_of(first, Image) == base64.b64encode(image).decode(), behind.name
        assert media_of(first, Document) == base64.b64encode(PDF).decode(), behind.name


def media_of(message: Message, kind: type[Image | Document]) -> str | None:
    return next(part.media.data for part in message.parts if isinstance(part, kind))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_question_in_other_words_keeps_what_came_with_it(world: World, dialect: str):
    talk = Talk(world)
    talk.ask(dialect, ANTHROPIC, looked_at(dialect, picture(), PDF))
    question = world.clients.headers["x-rini-question"]
    body = {"text": "And now?", "provider": GOOGLE.provider, "model": GOOGLE.model}
    world.script(GOOGLE, talk._answered)
    assert world.user.post(f"/messages/{question}/edit", body).status == 200
    (message,) = talk.requests[-1].messages
    assert [type(part) for part in message.parts] == [Image, Document, Text]
    assert plain_text(message.parts) == "And now?"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_provider_does_not_get_is_named(world: World, dialect: str):
    talk = Talk(world)
    asked = said(dialect, "one")
    more: dict[str, str] = {}
    match dialect:
        case "gemini":
            asked["config"] = {"seed": 1}
        case "anthropic":
            more["anthropic_beta"] = "context-1m"
        case "chat":
            asked["seed"] = 1
        case _:
            asked["truncation"] = "auto"
    behind = OPENAI if dialect == "anthropic" else ANTHROPIC
    for stream in (False, True):
        got = talk.ask(dialect, behind, asked, stream=stream, **more)
        assert got.dropped
    assert talk.ask(dialect, behind, said(dialect, "two")).dropped == ()


def refused(
    world: World, dialect: str, asked: Mapping[str, Any], stream: bool, **headers: str
) -> tuple[int | None, str]:
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    with pytest.raises(SDK_ERRORS) as caught:
        world.clients.ask(dialect, "openai/m", told(dialect, asked, sent), stream=stream)
    raised = raised_by(caught.value, world.clients.headers)
    return raised.status, raised.message


@pytest.mark.parametrize("dialect", DIALECTS)
def test_sessions_that_are_not_the_users(world: World, dialect: str):
    stranger = world.server.user()
    foreign = stranger.session()
    message = stranger.ask("x", session_id=foreign).json["user_message"]["id"]
    own = world.user.session()
    for stream, session in itertools.product((False, True), (foreign, "00000000-0000-4000-8000-000000000000")):
        status, text = refused(world, dialect, said(dialect, "x"), stream, x_rini_session=session)
        assert (status, "session" in text) == (404, True)
    status, text = refused(world, dialect, said(dialect, "x"), False, x_rini_session=own, x_rini_parent=str(message))
    assert (status, str(message) in text) == (400, True)
    assert world.user.get(f"/sessions/{own}/messages/").json == []
    assert len(stranger.get(f"/sessions/{foreign}/messages/").json) == 2


GARBAGE = [
    {"x_rini_session": "x"},
    {"x_rini_session": ""},
    {"x_rini_session": "é" * 50},
    {"x_rini_session": "new", "x_rini_parent": "1"},
    {"x_rini_session": "new", "x_rini_if_busy": "wait"},
    {"x_rini_parent": "1"},
    {"x_rini_if_busy": "reject"},
]


@pytest.mark.parametrize("parent", ["0", "-1", "x", "1e3", "٣", str(2**63), "9" * 30, ""])
def test_a_parent_that_is_no_id(world: World, parent: str):
    headers = {"x-rini-session": world.user.session(), "x-rini-parent": parent}
    answer = chat(world.user, headers)
    assert (answer.status, answer.json["error"]["message"].partition(":")[0]) == (400, "x-rini-parent")


@pytest.mark.parametrize("headers", GARBAGE, ids=repr)
def test_headers_that_say_nothing_sensible(world: World, headers: dict[str, str]):
    answer = chat(world.user, {name.replace("_", "-"): text for name, text in headers.items()})
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith("x-rini-")


def chat(user: Client, headers: Mapping[str, str]) -> Any:
    body = {"model": "openai/m", "messages": [{"role": "user", "content": "x"}]}
    sent = {name: text.encode("utf-8").decode("latin-1") for name, text in headers.items()}
    return user.request("POST", "/v1/chat/completions", body, **sent)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_session_that_is_busy(world: World, dialect: str):
    session = world.user.session()
    talk = Talk(world)
    talk.session = session
    world.upstream.scripts[world.keys["openai"]] = hanging
    with world.user.open_stream("slow", session_id=session) as reader:
        events = iter(reader)
        running = next(events).data["assistant_message_id"]
        assert next(events).event == "text"
        status, text = refused(world, dialect, said(dialect, "x"), False, x_rini_session=session, x_rini_if_busy="reject")  # fmt: skip
        assert (status, "being answered" in text) == (409, True)
        status, text = refused(world, dialect, said(dialect, "x"), True, x_rini_session=session, x_rini_parent=str(running))  # fmt: skip
        assert (status, str(running) in text) == (409, True)
        talk.ask(dialect, ANTHROPIC, said(dialect, "now"), x_rini_if_busy="interrupt")
    assert talk.read() == [("user", "slow"), ("assistant", "well"), ("user", "now")]
    assert [row["status"] for row in talk.kept()] == ["complete", "partial", "complete", "complete"]


async def hanging(conversation: Conversation) -> None:
    await conversation.head()
    await conversation.chunk(openai_chunks("slow", finish=None)[0])
    await conversation.chunk(openai_chunks("well", finish=None)[1])
    await conversation.until_left(30)
