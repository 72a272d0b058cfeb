"""OpenAI's responses and conversations as the API's pages tell of them, with all of their fields (rini.api.openai_shapes)."""

from collections.abc import Collection
from typing import Any

from rini.api.dialect_pages import OPENAI, DialectCall, add_dialects
from rini.api.openai_shapes import components, reference

_LOCAL = "local/smollm2-135m-instruct"
_CHAT = "openai/gpt-4o-mini"
_HELLO = "안녕하세요!"
_ASKED = "Say hello in Korean."
_CONVERSATION_ID = "conv_3f2b8c1e5d474c0a9b1e7a6d2f0c8e15"
_METADATA = {"topic": "greetings"}

_RESPONSE_ID = {
    "name": "response_id",
    "in": "path",
    "required": True,
    "description": "The id from an answer: `resp_` and the id of its message.",
    "schema": {"type": "string"},
    "examples": {"response": {"value": "resp_2"}},
}
_CONVERSATION = {
    "name": "conversation_id",
    "in": "path",
    "required": True,
    "description": "The id from an answer: `conv_` and the id of its session, without hyphens.",
    "schema": {"type": "string"},
    "examples": {"conversation": {"value": _CONVERSATION_ID}},
}
_ITEM = {
    "name": "item_id",
    "in": "path",
    "required": True,
    "description": "The id from a list or an answer.",
    "schema": {"type": "string"},
    "examples": {"item": {"value": "msg_rini_1_0"}},
}
_INCLUDE = {
    "name": "include",
    "in": "query",
    "description": "What to show beside the rest: `reasoning.encrypted_content`; other values change nothing.",
    "schema": {"type": "array", "items": reference("IncludeEnum")},
    "examples": {"thoughts": {"value": ["reasoning.encrypted_content"]}},
}
_PAGE = (
    {
        "name": "limit",
        "in": "query",
        "description": "How many items to return at most.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    },
    {
        "name": "order",
        "in": "query",
        "description": "The newest first (`desc`, as without it), or the oldest (`asc`).",
        "schema": {"type": "string", "enum": ["asc", "desc"]},
        "examples": {"oldest": {"value": "asc"}},
    },
    {
        "name": "after",
        "in": "query",
        "description": "The item after which to go on.",
        "schema": {"type": "string"},
        "examples": {"item": {"value": "msg_rini_1_0"}},
    },
    _INCLUDE,
)

_FOLLOWED = (
    {
        "name": "stream",
        "in": "query",
        "description": "Send the answer as server-sent events.",
        "schema": {"type": "boolean"},
        "examples": {"whole": {"value": "false"}},
    },
    {
        "name": "starting_after",
        "in": "query",
        "description": "The number of the event after which to go on; with `stream`.",
        "schema": {"type": "integer", "minimum": 0},
        "examples": {"third": {"value": 2}},
    },
    {
        "name": "include_obfuscation",
        "in": "query",
        "description": "Changes nothing: no event has any.",
        "schema": {"type": "boolean"},
        "examples": {"none": {"value": "false"}},
    },
)

_USAGE = {
    "input_tokens": 31,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 35,
}
_SAID = {
    "id": "msg_rini_1_0",
    "type": "message",
    "status": "completed",
    "role": "user",
    "content": [{"type": "input_text", "text": _ASKED}],
}
_ANSWERED: dict[str, Any] = {
    "id": "msg_rini_2_0",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": _HELLO, "annotations": [], "logprobs": []}],
}
_RESPONSE: dict[str, Any] = {
    "id": "resp_2",
    "object": "response",
    "created_at": 1795305600,
    "completed_at": 1795305601,
    "status": "completed",
    "model": "gpt-4o-mini",
    "output": [_ANSWERED],
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "usage": _USAGE,
}
_ITEMS = {"object": "list", "data": [_SAID], "first_id": _SAID["id"], "last_id": _SAID["id"], "has_more": False}
_TALK = {
    "id": _CONVERSATION_ID,
    "object": "conversation",
    "created_at": 1795305600,
    "metadata": _METADATA,
}
_EVENTS = {
    "text/event-stream": {
        "itemSchema": {
            "type": "object",
            "required": ["event", "data"],
            "properties": {
                "event": {"type": "string"},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": reference("ResponseStreamEvent"),
                },
            },
        }
    }
}
_NEW_ITEMS = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": reference("InputItem"), "maxItems": 20}},
    "required": ["items"],
}
_DELETED = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "enum": ["response"]},
        "deleted": {"type": "boolean"},
    },
    "required": ["id", "object", "deleted"],
}

CALLS = (
    DialectCall(
        path="/v1/responses",
        name="openai_response",
        form=OPENAI,
        summary="Response, in OpenAI's form",
        description="""The form is that of OpenAI's `POST /responses`, whoever the model's provider is. The answer is stored here unless
`store` is false; `previous_response_id` and `conversation` go on from what is stored. See docs/responses.md.""",
        asked=reference("CreateResponse"),
        answered=reference("Response"),
        streamed=_EVENTS,
        examples={
            "local": {"model": _LOCAL, "input": _ASKED, "max_output_tokens": 40},
            "provider": {"model": _CHAT, "input": _ASKED},
        },
        answer=_RESPONSE,
    ),
    DialectCall(
        path="/v1/responses/{response_id}",
        name="openai_read_response",
        form=OPENAI,
        summary="Read a response",
        description="""Any answer of yours is one, whichever API asked for it. With `stream` its events come once more, from any one
on, while it is written and after.""",
        answered=reference("Response"),
        streamed=_EVENTS,
        answer=_RESPONSE,
        parameters=(_RESPONSE_ID, _INCLUDE, *_FOLLOWED),
    ),
    DialectCall(
        path="/v1/responses/{response_id}/cancel",
        name="openai_cancel_response",
        form=OPENAI,
        method="post",
        summary="End a response in the background",
        description="One that was asked for with `background`; what had come of it is kept. One that is over stays as it is.",
        answered=reference("Response"),
        answer=_RESPONSE | {"background": True},
        parameters=(_RESPONSE_ID,),
    ),
    DialectCall(
        path="/v1/responses/{response_id}",
        name="openai_delete_response",
        form=OPENAI,
        method="delete",
        summary="Delete a response",
        description="It is found here no more; its messages stay in their session.",
        answered=_DELETED,
        answer={"id": "resp_2", "object": "response", "deleted": True},
        parameters=(_RESPONSE_ID,),
    ),
    DialectCall(
        path="/v1/responses/{response_id}/input_items",
        name="openai_list_input_items",
        form=OPENAI,
        summary="List what a response was asked with",
        description="The items of its own input, without those before it.",
        answered=reference("ResponseItemList"),
        answer=_ITEMS,
        parameters=(_RESPONSE_ID, *_PAGE),
    ),
    DialectCall(
        path="/v1/responses/input_tokens",
        name="openai_count_tokens",
        form=OPENAI,
        summary="Count a response's input tokens, in OpenAI's form",
        description="""The model's provider is asked, which costs nothing. Where it cannot count, the number is an estimate, and the
header `x-rini-estimated` says so.""",
        asked=reference("TokenCountsBody"),
        answered=reference("TokenCountsResource"),
        examples={"local": {"model": _LOCAL, "input": _ASKED}, "provider": {"model": _CHAT, "input": _ASKED}},
        answer={"object": "response.input_tokens", "input_tokens": 31},
    ),
    DialectCall(
        path="/v1/responses/compact",
        name="openai_compact",
        form=OPENAI,
        summary="Make one item of a conversation",
        description="""The model writes a summary; the item holds it in a form that only this server reads, for you alone. Put it in the
place of the conversation in a later `input`, with any provider.""",
        asked=reference("CompactResponseMethodPublicBody"),
        answered=reference("CompactResource"),
        examples={"local": {"model": _LOCAL, "input": _ASKED}, "provider": {"model": _CHAT, "input": _ASKED}},
        answer={
            "id": "resp_0e2c1d",
            "object": "response.compaction",
            "created_at": 1795305600,
            "output": [{"id": "cmp_0e2c1d", "type": "compaction", "encrypted_content": "rini.AAAA"}],
            "usage": _USAGE,
        },
    ),
    DialectCall(
        path="/v1/conversations",
        name="openai_create_conversation",
        form=OPENAI,
        summary="Make a conversation, in OpenAI's form",
        description="It is a session without memory; its items are the messages of the session's current branch.",
        asked=reference("CreateConversationBody"),
        answered=reference("ConversationResource"),
        examples={"new": {"metadata": _METADATA, "items": [{"role": "user", "content": _ASKED}]}},
        answer=_TALK,
    ),
    DialectCall(
        path="/v1/conversations/{conversation_id}",
        name="openai_read_conversation",
        form=OPENAI,
        summary="Read a conversation",
        description="Any session of yours is one.",
        answered=reference("ConversationResource"),
        answer=_TALK,
        parameters=(_CONVERSATION,),
    ),
    DialectCall(
        path="/v1/conversations/{conversation_id}",
        name="openai_update_conversation",
        form=OPENAI,
        summary="Change a conversation's metadata",
        description="What is sent takes the place of what was there.",
        asked=reference("UpdateConversationBody"),
        answered=reference("ConversationResource"),
        examples={"changed": {"metadata": _METADATA}},
        answer=_TALK,
        parameters=(_CONVERSATION,),
    ),
    DialectCall(
        path="/v1/conversations/{conversation_id}",
        name="openai_delete_conversation",
        form=OPENAI,
        method="delete",
        summary="Delete a conversation",
        description="The session goes with its messages, and with them the responses that they are.",
        answered=reference("DeletedConversationResource"),
        answer={"id": _CONVERSATION_ID, "object": "conversation.deleted", "deleted": True},
        parameters=(_CONVERSATION,),
    ),
    DialectCall(
        path="/v1/conversations/{conversation_id}/items",
        name="openai_list_items",
        form=OPENAI,
        summary="List a conversation's items",
        description="Those of the current branch.",
        answered=reference("ConversationItemList"),
        answer=_ITEMS,
        parameters=(_CONVERSATION, *_PAGE),
    ),
    DialectCall(
        path="/v1/conversations/{conversation_id}/items",
        name="openai_add_items",
        form=OPENAI,
        summary="Add items to a conversation",
        description="At its end, without asking a model; at most 20 at once. Not while it is being answered.",
        asked=_NEW_ITEMS,
        answered=reference("ConversationItemList"),
        examples={"message": {"items": [{"role": "user", "content": _ASKED}]}},
        answer=_ITEMS,
        parameters=(_CONVERSATION, _INCLUDE),
    ),
    DialectCall(
        path="/v1/conversations/{conversation_id}/items/{item_id}",
        name="openai_read_item",
        form=OPENAI,
        summary="Read an item of a conversation",
        description="One of the current branch.",
        answered=reference("ConversationItem"),
        answer=_SAID,
        parameters=(_CONVERSATION, _ITEM, _INCLUDE),
    ),
    DialectCall(
        path="/v1/conversations/{conversation_id}/items/{item_id}",
        name="openai_delete_item",
        form=OPENAI,
        method="delete",
        summary="Delete an item of a conversation",
        description="No model reads it again. Its message keeps its place in the tree, and what follows stays.",
        answered=reference("ConversationResource"),
        answer=_TALK,
        parameters=(_CONVERSATION, _ITEM),
    ),
)

_SHAPES = (
    "CreateResponse",
    "Response",
    "ResponseStreamEvent",
    "ResponseItemList",
    "TokenCountsBody",
    "TokenCountsResource",
    "CompactResponseMethodPublicBody",
    "CompactResource",
    "CreateConversationBody",
    "UpdateConversationBody",
    "ConversationResource",
    "DeletedConversationResource",
    "ConversationItemList",
    "ConversationItem",
    "InputItem",
    "IncludeEnum",
)


def add_responses(document: dict[str, Any], routed: Collection[str]) -> None:
    """Add the endpoints of responses and conversations to an OpenAPI document: those whose paths are ``routed``."""
    add_dialects(document, routed, CALLS)
    document["components"].setdefault("schemas", {}).update(components(_SHAPES))
