"""Responses in the background, and streams that are followed once more."""

import asyncio
import threading
from typing import Any

import openai
import pytest

from rini.canon import Failure, Finish, PartStart, PartStop, Start, Text, Usage, UsageUpdate
from rini.wire.openai_responses import OPENAI_RESPONSES
from tests.responses.gate import Gate
from tests.support.dialects import PROVIDERS, World
from tests.support.model import Broken, reply, until
from tests.support.server import Client
from tests.support.upstream import Conversation
from tests.wire.openai_responses import spec

OPENAI, _, CLAUDE, GEMINI, _ = PROVIDERS


def named(behind: Any) -> str:
    return f"{behind.provider}/{behind.model}"


def done(world: World, response: str) -> Any:
    """The response once it is over."""

    def over() -> Any:
        found = world.clients.openai.responses.retrieve(response)
        return found if found.status not in ("queued", "in_progress") else None

    return until(over)


@pytest.mark.parametrize("behind", [OPENAI, CLAUDE, GEMINI], ids=lambda behind: behind.name)
def test_an_answer_goes_on_in_the_background(world: World, behind: Any):
    with Gate(world, behind) as gate:
        begun = world.clients.openai.responses.create(model=named(behind), input="one", background=True)
        assert (begun.status, begun.background, begun.output) == ("queued", True, [])
        assert spec.faults("Response", begun.to_dict(mode="json")) == []
        assert gate.begun.wait(10)
        gate.open()
        found = done(world, begun.id)
    assert (found.status, found.output_text, found.usage.output_tokens) == ("completed", "done", 5)
    assert spec.faults("Response", found.to_dict(mode="json")) == []
    world.script(behind, lambda request: reply(Text(f"{len(request.messages)} messages")))
    following = world.clients.openai.responses.create(
        model=named(behind), input="two", previous_response_id=begun.id, background=True, stream=True
    )
    events = list(following)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == "3 messages"


def test_one_is_cancelled(world: World):
    with Gate(world, CLAUDE) as gate:
        begun = world.clients.openai.responses.create(model=named(CLAUDE), input="one", background=True)
        assert gate.begun.wait(10)
        ended = world.clients.openai.responses.cancel(begun.id)
        assert ended.status == "cancelled"
        assert spec.faults("Response", ended.to_dict(mode="json")) == []
        assert world.clients.openai.responses.cancel(begun.id).status == "cancelled"
        assert world.clients.openai.responses.retrieve(begun.id).status == "cancelled"


@pytest.mark.parametrize("begun_first", [False, True], ids=["queued", "begun"])
def test_the_stream_of_one_that_is_cancelled_ends_without_an_error(world: World, begun_first: bool):
    """It ends with the event for what is not complete, as there is none for this; its response says what it is."""
    script = Halting(begun_first)
    world.upstream.scripts[world.keys["openai"]] = script
    responses = world.clients.openai.responses
    begun = responses.create(model=named(OPENAI), input="one", background=True)
    with responses.retrieve(begun.id, stream=True) as stream:
        assert script.halted.wait(10)
        assert responses.cancel(begun.id).status == "cancelled"
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.queued"]
    assert ("response.in_progress" in kinds) == begun_first
    assert (kinds[-1], events[-1].response.status, events[-1].response.error) == (
        "response.incomplete",
        "cancelled",
        None,
    )
    if begun_first:
        assert events[-1].response.output[0].status == "incomplete"
        assert events[-1].response.output_text == "half"
    for event in events:
        assert spec.event_faults(event.to_dict(mode="json")) == []
    again = [event.to_dict() for event in responses.retrieve(begun.id, stream=True)]
    assert plain(again) == plain([event.to_dict() for event in events])
    assert responses.retrieve(begun.id).status == "cancelled"


def test_the_stream_of_one_that_somebody_waits_for_ends_so_too(world: World):
    script = Halting(begins=True)
    world.upstream.scripts[world.keys["openai"]] = script
    stream = world.clients.openai.responses.create(model=named(OPENAI), input="one", stream=True)
    first = next(iter(stream))
    assert first.response.status == "in_progress"
    assert script.halted.wait(10)
    assert world.user.post(f"/messages/{first.response.id.removeprefix('resp_')}/cancel").status == 200
    *_, last = list(stream)
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")


def test_one_is_queued_until_its_model_begins(world: World, shared_neighbour: Any):
    script = Halting(begins=False)
    world.upstream.scripts[world.keys["openai"]] = script
    begun = world.user.post("/v1/responses", {"model": named(OPENAI), "input": "one", "background": True}).json
    path = f"/v1/responses/{begun['id']}"
    beside = Client(shared_neighbour(world.server).url, world.user.token)
    assert script.halted.wait(10)
    assert {client.get(path).json["status"] for client in (world.user, beside)} == {"queued"}
    assert spec.faults("Response", begun) == []
    script.begin.set()
    # Here at once; beside as soon as what came is in the database.
    for client in (world.user, beside):
        assert until(lambda client=client: client.get(path).json["status"] == "in_progress")
    script.end.set()
    assert done(world, begun["id"]).status == "completed"
    events = spec.events_in(world.user.get(f"{path}?stream=true").body)
    assert [(each["type"], each["response"]["status"]) for each in events[:3]] == [
        ("response.created", "queued"),
        ("response.queued", "queued"),
        ("response.in_progress", "in_progress"),
    ]
    # From the event on that the client has, be it that one.
    for after in (0, 1, 2):
        rest = world.user.get(f"{path}?stream=true&starting_after={after}").body
        assert plain(spec.events_in(rest)) == plain(events[after + 1 :])


class Halting:
    """A model that says a word when it is told to begin, and no more until it is told to end."""

    def __init__(self, begins: bool) -> None:
        self.halted, self.begin, self.end = threading.Event(), threading.Event(), threading.Event()
        if begins:
            self.begin.set()

    async def __call__(self, conversation: Conversation) -> None:
        encoder = OPENAI_RESPONSES.stream_encoder()
        for event in (Start(id="r1", model="gpt-4o-mini-2025"), PartStart(0, Text("half"))):
            if isinstance(event, Start):
                if not self.begin.is_set():
                    self.halted.set()
                await self.told(conversation, self.begin)
                await conversation.head()
            await conversation.chunk(encoder.feed(event))
        self.halted.set()
        await self.told(conversation, self.end)
        for event in (PartStop(0), UsageUpdate(Usage(1, 1)), Finish("stop")):
            await conversation.chunk(encoder.feed(event) or b": x\n\n")
        await conversation.chunk(encoder.close())
        await conversation.end()

    async def told(self, conversation: Conversation, event: threading.Event) -> None:
        for _ in range(1000):
            if event.is_set() or conversation.reader.at_eof():
                return
            await asyncio.sleep(0.01)


def test_one_that_is_not_in_the_background_is_not_cancelled(world: World):
    world.script(CLAUDE, lambda _: reply(Text("one")))
    whole = world.clients.openai.responses.create(model=named(CLAUDE), input="one")
    with pytest.raises(openai.BadRequestError, match="background"):
        world.clients.openai.responses.cancel(whole.id)
    with pytest.raises(openai.NotFoundError):
        world.clients.openai.responses.cancel("resp_x")
    assert world.server.user().post(f"/v1/responses/{whole.id}/cancel").status == 404


def test_one_that_fails_is_read_as_failed(world: World):
    world.script(OPENAI, lambda _: Broken(Failure("overloaded", "Too many.", status=503)))
    begun = world.clients.openai.responses.create(model=named(OPENAI), input="one", background=True)
    found = done(world, begun.id)
    assert (found.status, found.error.code, found.output) == ("failed", "server_error", [])
    assert "Too many." in found.error.message, "what its stream says"
    assert spec.faults("Response", found.to_dict(mode="json")) == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_stream_is_followed_from_any_event_on(world: World, stream: bool):
    world.script(CLAUDE, lambda _: reply(Text("A text in pieces.")))
    asked = {"model": named(CLAUDE), "input": "one", "stream": stream}
    first = world.user.post("/v1/responses", asked)
    if stream:
        events = spec.events_in(first.body)
        response = events[-1]["response"]["id"]
        after = 3
        rest = world.user.get(f"/v1/responses/{response}?stream=true&starting_after={after}")
        assert plain(spec.events_in(rest.body)) == plain(events[after + 1 :])
        again = world.user.get(f"/v1/responses/{response}?stream=true")
        assert plain(spec.events_in(again.body)) == plain(events)
        end = world.user.get(f"/v1/responses/{response}?stream=true&starting_after={len(events)}")
        assert (end.status, end.body) == (200, b"")
    else:
        response = first.json["id"]
        again = world.user.get(f"/v1/responses/{response}?stream=true")
        events = spec.events_in(again.body)
        assert plain([events[-1]["response"]]) == plain([first.json])
        assert world.user.get(f"/v1/responses/{response}?stream=true&starting_after=2").status == 410
    for event in events:
        assert spec.event_faults(event) == []


def test_a_stream_is_followed_while_it_runs(world: World):
    with Gate(world, GEMINI) as gate:
        responses = world.clients.openai.responses
        begun = responses.create(model=named(GEMINI), input="one", background=True)
        with responses.retrieve(begun.id, stream=True) as stream:
            assert gate.begun.wait(10)
            gate.open()
            events = list(stream)
    assert events[-1].type == "response.completed"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "done"
    later = list(responses.retrieve(begun.id, stream=True, starting_after=events[4].sequence_number))
    assert [event.sequence_number for event in later] == [event.sequence_number for event in events[5:]]


def test_another_users_stream_is_not_found(world: World):
    world.script(CLAUDE, lambda _: reply(Text("one")))
    whole = world.clients.openai.responses.create(model=named(CLAUDE), input="one")
    refused = world.server.user().get(f"/v1/responses/{whole.id}?stream=true")
    assert (refused.status, spec.faults("ErrorResponse", refused.json)) == (404, [])


def plain(events: list[Any]) -> list[Any]:
    """Without when it was done, which may be the next second."""
    for event in events:
        event.pop("completed_at", None)
        event.get("response", {}).pop("completed_at", None)
    return events
