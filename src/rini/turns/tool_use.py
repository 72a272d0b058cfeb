"""A tool within a turn: the model asks for it, it is called once, and the model goes on over what it answered."""

from typing import Any

import msgspec

from rini.canon import Message, Part, Reply, Request, Text, Tool, ToolCall, ToolChoice, ToolResult
from rini.kit.ids import new_tool_call_id
from rini.providers.tool_calls import holds_to_one_call, needs_declared_tools
from rini.tools.toolbox import Offer
from rini.turns.history import takable

NOT_CALLED = "Not called: one tool is called in a turn, and another one was asked for first."
LONGEST_ID = 1000
"""Characters of a tool call's id. Some gateways carry a provider's signature in it."""

_CUT_OFF = frozenset({"length", "context_full", "safety", "refusal", "malformed"})
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
    return () if not reply.choices or reply.choices[0].finish_reason in _CUT_OFF else calls_of(reply)


def with_ids(reply: Reply, before: tuple[Part, ...] = ()) -> Reply:
    """Return the reply with an id for every tool call that no other one has in its turn, of which ``before`` came earlier.

    Some providers give none, some the same again, and others cannot do without.
    """
    calls = calls_of(reply)
    if not calls:
        return reply
    taken = {part.id for part in before if isinstance(part, ToolCall)}
    parts: list[Part] = []
    for part in reply.choices[0].parts:
        own = part
        if isinstance(part, ToolCall):
            if not part.id or part.id in taken or len(part.id) > LONGEST_ID:
                own = msgspec.structs.replace(part, id=new_tool_call_id())
            taken.add(part.id)
        parts.append(own)
    first = msgspec.structs.replace(reply.choices[0], parts=tuple(parts))
    return msgspec.structs.replace(reply, choices=(first, *reply.choices[1:]))


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
