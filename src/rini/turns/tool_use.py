"""A tool within a turn: the model asks for it, it is called once, and the model goes on over what it answered."""

from typing import Any

import msgspec

from rini.canon import Message, Reply, Request, Text, Tool, ToolCall, ToolChoice, ToolResult
from rini.kit.ids import new_tool_call_id
from rini.providers.tool_calls import holds_to_one_call, needs_declared_tools
from rini.tools.toolbox import Offer, Toolbox
from rini.turns.values import Listener

NOT_CALLED = "Not called: one tool is called in a turn, and another one was asked for first."
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


def with_ids(reply: Reply) -> Reply:
    """Return the reply with an id for every tool call: some providers give none, and others cannot do without."""
    if all(call.id for call in calls_of(reply)):
        return reply
    first = reply.choices[0]
    parts = tuple(
        msgspec.structs.replace(part, id=new_tool_call_id()) if isinstance(part, ToolCall) and not part.id else part
        for part in first.parts
    )
    return msgspec.structs.replace(reply, choices=(msgspec.structs.replace(first, parts=parts), *reply.choices[1:]))


async def use(
    toolbox: Toolbox, offer: Offer, calls: tuple[ToolCall, ...], listener: Listener | None
) -> tuple[ToolResult, ...]:
    """Make the first of ``calls`` and return a result for each, as providers demand; the others are told that they were not made."""
    first, *others = calls
    if listener is not None:
        await listener.tool_called(first)
    outcome = await toolbox.call(offer, first)
    if listener is not None:
        await listener.tool_answered(outcome.result, outcome.ms)
    return (
        outcome.result,
        *(ToolResult(call.id, (Text(NOT_CALLED),), name=call.name, is_error=True) for call in others),
    )


def continued(request: Request, reply: Reply, results: tuple[ToolResult, ...], wire: str) -> Request:
    """Return the request that goes on over the results, without another tool call."""
    said = Message("assistant", reply.choices[0].parts, origin=wire)
    return msgspec.structs.replace(
        request, messages=(*request.messages, said, Message("tool", results)), tool_choice=_FORBIDDEN
    )


def _called(messages: tuple[Message, ...]) -> tuple[Tool, ...]:
    names: dict[str, None] = {}
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                names[part.name] = None
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    return tuple(Tool(name, parameters=schema) for name in names)
