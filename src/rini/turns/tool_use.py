"""A tool within a turn: the model asks for it, it is called once, and the model goes on over what it answered."""

from typing import Any

import msgspec

from rini.canon import Event, Message, Part, PartStart, Reply, Request, Text, Tool, ToolCall, ToolChoice, ToolResult
from rini.kit.ids import new_tool_call_id
from rini.providers.tool_calls import holds_to_one_call, needs_declared_tools
from rini.tools.toolbox import Offer
from rini.turns.history import takable

NOT_CALLED = "Not called: one tool is called in a turn, and another one was asked for first."
LONGEST_ID = 1000
"""Characters of a tool call's id. Some gateways carry a provider's signature in it."""

CUT_OFF = frozenset({"length", "context_full", "safety", "refusal", "malformed"})
_FORBIDDEN = ToolChoice("none")


def offering(request: Request, offer: Offer | None, provider: str) -> Request:
    """Return the request with the tools that the model may call.

    Without any it still declares those that were called before, for a provider that insists on it.
    """
    if offer is not None:
        single = False if request.parallel_tool_calls is None and holds_to_one_call(provider, request.model) else None
        return msgspec.structs.replace(
            request,
            tools=offer.tools,
            tool_choice=offer.choice,
            parallel_tool_calls=request.parallel_tool_calls if single is None else single,
        )
    called = _called(request.messages) if needs_declared_tools(provider) else ()
    return msgspec.structs.replace(request, tools=called, tool_choice=_FORBIDDEN) if called else request


def calls_of(reply: Reply) -> tuple[ToolCall, ...]:
    """Return the tool calls of the first choice."""
    return tuple(part for part in reply.choices[0].parts if isinstance(part, ToolCall)) if reply.choices else ()


def calls_to_make(reply: Reply) -> tuple[ToolCall, ...]:
    """Return the tool calls that the model waits for: none where its answer was cut off, and maybe a call's arguments with it."""
    return () if not reply.choices or reply.choices[0].finish_reason in CUT_OFF else calls_of(reply)


class CallIds:
    """Gives every tool call of a turn an id that no other one in it has; ``before`` is what was said in it already.

    Some providers give none, some the same again, and others cannot do without.
    """

    def __init__(self, before: tuple[Part, ...] = ()) -> None:
        self._taken = {part.id for part in before if isinstance(part, ToolCall)}

    def give(self, events: list[Event]) -> None:
        """Exchange, in place, what begins a call without an id of its own."""
        for place, event in enumerate(events):
            if type(event) is PartStart and type(event.part) is ToolCall:
                events[place] = msgspec.structs.replace(event, part=self._of(event.part))

    def complete(self, reply: Reply) -> Reply:
        """Return the reply with an id for every call."""
        if not any(type(part) is ToolCall for choice in reply.choices for part in choice.parts):
            return reply
        choices = [
            msgspec.structs.replace(
                choice, parts=tuple([self._of(part) if type(part) is ToolCall else part for part in choice.parts])
            )
            for choice in reply.choices
        ]
        return msgspec.structs.replace(reply, choices=tuple(choices))

    def _of(self, call: ToolCall) -> ToolCall:
        if not call.id or call.id in self._taken or len(call.id) > LONGEST_ID:
            call = msgspec.structs.replace(call, id=new_tool_call_id())
        self._taken.add(call.id)
        return call


def results_of(calls: tuple[ToolCall, ...], first: ToolResult) -> tuple[ToolResult, ...]:
    """Return a result for each of ``calls``, as providers demand: for all but the first one, that it was not made."""
    return (
        first,
        *[ToolResult(call.id, (Text(NOT_CALLED),), name=call.name, is_error=True) for call in calls[1:]],
    )


def continued(request: Request, reply: Reply, results: tuple[ToolResult, ...], wire: str) -> Request:
    """Return the request that goes on over the results, without another tool call."""
    said = Message("assistant", reply.choices[0].parts, origin=wire)
    return msgspec.structs.replace(
        request,
        messages=(*request.messages, *takable((said, Message("tool", results)))),
        tool_choice=_FORBIDDEN,
    )


def _called(messages: tuple[Message, ...]) -> tuple[Tool, ...]:
    names: dict[str, None] = {}
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                names[part.name] = None
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    return tuple(Tool(name, parameters=schema) for name in names)
