"""What the SDKs bring beside plain calls: streams, parsers, tool runners, chats, and their asynchronous clients."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import httpx2
import openai
import pydantic
import pytest
from google import genai
from google.genai import types
from openai import pydantic_function_tool
from openai.lib.responses_tool_runner import RegisteredFunction, ResponsesToolRunner

from rini.canon import Reply, Request, Text, Thinking, ToolCall, ToolResult, plain_text
from tests.support.dialects import PROVIDERS, Behind, Clients, World
from tests.support.dialects_features import HELLO, JSON_ANSWER, said
from tests.support.model import reply

EACH = pytest.mark.parametrize("behind", PROVIDERS, ids=lambda behind: behind.name)


class Person(pydantic.BaseModel):
    name: str
    age: int


class City(pydantic.BaseModel):
    """Tells the weather."""

    city: str


ANN = Person(name="Ann", age=7)
HI: list[Any] = [{"role": "user", "content": "hi"}]
WEATHER: list[Any] = [{"role": "user", "content": "How is the weather in Seoul?"}]


def name_of(behind: Behind) -> str:
    return f"{behind.provider}/{behind.model}"


@pytest.fixture
def clients(world: World) -> Clients:
    return world.clients


def writes_json(world: World, behind: Behind) -> list[Request]:
    """A model that answers with a person as JSON."""
    requests: list[Request] = []

    def answer(request: Request) -> Reply:
        requests.append(request)
        return reply(Text(JSON_ANSWER))

    world.script(behind, answer)
    return requests


def calls_weather(world: World, behind: Behind) -> list[Request]:
    """A model that calls the tool ``weather`` and answers with its result."""
    requests: list[Request] = []

    def answer(request: Request) -> Reply:
        requests.append(request)
        results = [part for each in request.messages for part in each.parts if isinstance(part, ToolResult)]
        if results:
            return reply(Text(f"It is {'rainy' if 'rainy' in plain_text(results[-1].content) else 'unknown'}."))
        assert [tool.name for tool in request.tools] == ["weather"]
        number = "" if behind.name == "google" else f"call_{len(requests)}"
        return reply(ToolCall(number, "weather", '{"city": "Seoul"}'))

    world.script(behind, answer)
    return requests


def asks_for_a_person(request: Request) -> bool:
    """Whether a schema with just the two fields was asked for."""
    wanted = request.response_format
    return (
        wanted is not None
        and wanted.kind == "json_schema"
        and set((wanted.schema or {})["properties"]) == {"name", "age"}
    )


# -- OpenAI, chat completions ------------------------------------------------------------------------


@EACH
def test_openai_chat_streams(world: World, clients: Clients, behind: Behind):
    world.script(behind, lambda _: HELLO)
    with clients.openai.chat.completions.stream(model=name_of(behind), messages=HI) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "hello there, you"
    assert kinds.count("content.delta") >= 3
    assert kinds.count("content.done") == 1


@EACH
def test_openai_chat_streams_calls_as_their_arguments_come(world: World, clients: Clients, behind: Behind):
    calls_weather(world, behind)
    tools = [pydantic_function_tool(City, name="weather")]
    completions = clients.openai.chat.completions
    with completions.stream(model=name_of(behind), messages=WEATHER, tools=tools) as stream:
        pieces = [event.arguments_delta for event in stream if event.type == "tool_calls.function.arguments.delta"]
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.parsed_arguments == City(city="Seoul")
    assert json.loads("".join(pieces)) == {"city": "Seoul"}
    assert len(pieces) > 1 or behind.name == "google", "Google sends arguments whole"


@EACH
def test_openai_chat_parses(world: World, clients: Clients, behind: Behind):
    requests = writes_json(world, behind)
    answer = clients.openai.chat.completions.parse(model=name_of(behind), messages=HI, response_format=Person)
    assert answer.choices[0].message.parsed == ANN
    assert asks_for_a_person(requests[0])


@EACH
def test_openai_chat_parses_a_stream(world: World, clients: Clients, behind: Behind):
    writes_json(world, behind)
    completions = clients.openai.chat.completions
    with completions.stream(model=name_of(behind), messages=HI, response_format=Person) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == ANN


def test_openai_chat_has_raw_answers(world: World, clients: Clients):
    world.script(PROVIDERS[2], lambda _: HELLO)
    raw = clients.openai.chat.completions.with_raw_response.create(
        model=name_of(PROVIDERS[2]), messages=HI, service_tier="flex"
    )
    assert raw.headers["x-rini-dropped"] == "service_tier"
    assert raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content == "hello there, you"


# -- OpenAI, responses -------------------------------------------------------------------------------


@EACH
def test_openai_responses_parse(world: World, clients: Clients, behind: Behind):
    requests = writes_json(world, behind)
    answer = clients.openai.responses.parse(model=name_of(behind), input="hi", text_format=Person)
    assert answer.output_parsed == ANN
    assert asks_for_a_person(requests[0])
    with clients.openai.responses.stream(model=name_of(behind), input="hi", text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == ANN


@EACH
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_openai_responses_run_tools(world: World, clients: Clients, behind: Behind, stream: bool):
    requests = calls_weather(world, behind)
    asked: list[str] = []

    def weather(arguments: City) -> str:
        asked.append(arguments.city)
        return "rainy"

    tool = openai.pydantic_function_tool(City, name="weather")
    function = RegisteredFunction.from_tool(_as_responses_tool(tool), execute=weather)
    runner = ResponsesToolRunner(functions=[function])
    answer = runner.run(
        clients.openai, {"model": name_of(behind), "input": "How is the weather in Seoul?", "store": False}, max_steps=3, stream=stream
    )  # fmt: skip
    assert answer.output_text == "It is rainy."
    assert asked == ["Seoul"]
    assert len(requests) == 2


def _as_responses_tool(tool: Any) -> Any:
    from openai.lib._tools import ResponsesPydanticFunctionTool  # the runner takes no other

    function = tool["function"]
    return ResponsesPydanticFunctionTool({"type": "function", **function}, City)


# -- Anthropic ---------------------------------------------------------------------------------------


@EACH
def test_anthropic_streams(world: World, clients: Clients, behind: Behind):
    world.script(behind, lambda _: HELLO)
    with clients.anthropic.messages.stream(model=name_of(behind), max_tokens=50, messages=HI) as stream:
        texts = list(stream.text_stream)
        assert stream.get_final_text() == "hello there, you"
    assert len(texts) == 3


@EACH
def test_anthropic_parses(world: World, clients: Clients, behind: Behind):
    requests = writes_json(world, behind)
    answer = clients.anthropic.messages.parse(
        model=name_of(behind), max_tokens=50, messages=HI, output_format=Person
    )  # fmt: skip
    assert answer.parsed_output == ANN
    assert asks_for_a_person(requests[0])
    with clients.anthropic.messages.stream(
        model=name_of(behind), max_tokens=50, messages=HI, output_format=Person
    ) as stream:
        assert stream.get_final_message().parsed_output == ANN


@EACH
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_anthropic_runs_tools(world: World, clients: Clients, behind: Behind, stream: bool):
    requests = calls_weather(world, behind)
    asked: list[str] = []

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: Its name.
        """
        asked.append(city)
        return "rainy"

    runner = clients.anthropic.beta.messages.tool_runner(
        model=name_of(behind), max_tokens=100, messages=WEATHER, tools=[weather], stream=stream
    )
    last: Any = None
    for each in runner:
        last = each.get_final_message() if stream else each
    assert last.content[0].text == "It is rainy."
    assert asked == ["Seoul"]
    assert len(requests) == 2
    if behind.name != "anthropic":  # which holds the conversation itself
        assert [len(request.messages) for request in requests] == [1, 3]


# -- Google ------------------------------------------------------------------------------------------


@EACH
def test_google_chats(world: World, clients: Clients, behind: Behind):
    requests: list[Request] = []

    def answer(request: Request) -> Reply:
        requests.append(request)
        return HELLO

    world.script(behind, answer)
    chat = clients.google.chats.create(model=name_of(behind))
    assert chat.send_message("one").text == "hello there, you"
    pieces = [each.text for each in chat.send_message_stream("two") if each.text]
    assert "".join(pieces) == "hello there, you"
    assert len(pieces) == 3
    assert chat.send_message("three").text == "hello there, you"
    turns = [
        (role, "".join(text for _, text in pieces))
        for role, pieces in itertools.groupby(said(requests[-1]), key=lambda each: each[0])
    ]
    assert turns == [
        ("user", "one"),
        ("assistant", "hello there, you"),
        ("user", "two"),
        ("assistant", "hello there, you"),
        ("user", "three"),
    ]


@EACH
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_google_calls_functions(world: World, clients: Clients, behind: Behind, stream: bool):
    requests = calls_weather(world, behind)
    asked: list[str] = []

    def weather(city: str) -> str:
        """Tells the weather."""
        asked.append(city)
        return "rainy"

    models = clients.google.models
    arguments: Any = {
        "model": name_of(behind),
        "contents": "How is the weather in Seoul?",
        "config": types.GenerateContentConfig(tools=[weather]),
    }
    if stream:
        text = "".join(each.text or "" for each in models.generate_content_stream(**arguments))
    else:
        text = models.generate_content(**arguments).text or ""
    assert text == "It is rainy."
    assert asked == ["Seoul"]
    assert len(requests) == 2


@EACH
@pytest.mark.parametrize("field", ["response_schema", "response_json_schema"])
def test_google_parses(world: World, clients: Clients, behind: Behind, field: str):
    requests = writes_json(world, behind)
    schema = Person if field == "response_schema" else Person.model_json_schema()
    answer = clients.google.models.generate_content(
        model=name_of(behind), contents="hi", config={"response_mime_type": "application/json", field: schema}
    )
    assert answer.parsed == (ANN if field == "response_schema" else ANN.model_dump())
    assert asks_for_a_person(requests[0])


# -- asynchronous clients ----------------------------------------------------------------------------


def asynchronously(clients: Clients, use: Callable[[httpx2.AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
            await use(http)

    asyncio.run(main())


def test_the_asynchronous_clients(world: World, clients: Clients):
    for behind in PROVIDERS:
        world.script(behind, lambda _: HELLO)
    found: dict[str, list[str]] = {"openai": [], "responses": [], "anthropic": [], "google": []}

    async def ask(http: httpx2.AsyncClient) -> None:
        chat = openai.AsyncOpenAI(base_url=f"{clients.url}/v1", api_key=clients.token, max_retries=0, http_client=http)
        claude = anthropic.AsyncAnthropic(base_url=clients.url, api_key=clients.token, max_retries=0, http_client=http)
        google = genai.Client(
            api_key=clients.token, http_options=types.HttpOptions(base_url=clients.url, httpx_async_client=http)
        )

        async def one(behind: Behind) -> None:
            model = name_of(behind)
            whole = await chat.chat.completions.create(model=model, messages=HI)
            async with chat.chat.completions.stream(model=model, messages=HI) as stream:
                final = await stream.get_final_completion()
            found["openai"] += [whole.choices[0].message.content or "", final.choices[0].message.content or ""]
            response = await chat.responses.create(model=model, input="hi")
            async with chat.responses.stream(model=model, input="hi") as events:
                found["responses"] += [response.output_text, (await events.get_final_response()).output_text]
            message = await claude.messages.create(model=model, max_tokens=50, messages=HI)
            block = message.content[0]
            assert block.type == "text"
            async with claude.messages.stream(model=model, max_tokens=50, messages=HI) as messages:
                found["anthropic"] += [block.text, await messages.get_final_text()]
            answer = await google.aio.models.generate_content(model=model, contents="hi")
            pieces = await google.aio.models.generate_content_stream(model=model, contents="hi")
            found["google"] += [answer.text or "", "".join([each.text or "" async for each in pieces])]

        await asyncio.gather(*(one(behind) for behind in PROVIDERS))

    asynchronously(clients, ask)
    assert found == dict.fromkeys(found, ["hello there, you"] * 2 * len(PROVIDERS))


# -- thoughts ----------------------------------------------------------------------------------------


def test_thoughts_stream_as_thoughts(world: World, clients: Clients):
    behind = PROVIDERS[2]
    world.script(behind, lambda _: reply(Thinking("I count the letters.", signature="U0lH"), Text("hello")))
    model = name_of(behind)
    chunks = list(clients.openai.chat.completions.create(model=model, messages=HI, stream=True))
    deltas = [each.choices[0].delta for each in chunks if each.choices]
    assert "".join(each.content or "" for each in deltas) == "hello"
    assert "".join(getattr(each, "reasoning_content", None) or "" for each in deltas) == "I count the letters."
    with clients.openai.responses.stream(model=model, input="hi") as events:
        thoughts = [
            event.delta for event in events if event.type.startswith("response.reasoning") and hasattr(event, "delta")
        ]
        assert events.get_final_response().output_text == "hello"
    assert "".join(str(each) for each in thoughts) == "I count the letters."
    chunks = list(clients.google.models.generate_content_stream(model=model, contents="hi"))
    assert "".join(each.text or "" for each in chunks) == "hello"
    with clients.anthropic.messages.stream(model=model, max_tokens=50, messages=HI) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].signature == "U0lH"
