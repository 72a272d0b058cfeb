"""Canon's Request as a body: what Rini does as a client.

What the format has no place for is left out and named where it does not change what the request means, and refused
otherwise. The arrangement of messages is that of the pages "Messages", "Handle tool calls" and "Mid-conversation system
messages" of platform.claude.com/docs (November 2026):

- leading system messages are the field ``system``; a later one must stand between the user's turn and the assistant's, so it
  moves behind the user's, and several become one;
- the first message is not the assistant's;
- tool results come first in the user's turn, in one message where several tool messages follow each other;
- no text is empty, and the assistant's last does not end in whitespace;
- ids of tool calls consist of letters, digits, ``_`` and ``-``, and no two are the same.
"""

from rini.canon import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Request,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    extras_of,
)
from rini.wire.anthropic.blocks import block_of, document_block, image_block, thinking_block, tool_use_block
from rini.wire.anthropic.call_ids import CallIds, is_name
from rini.wire.anthropic.fields import WIRE, Json, dump, object_or_none
from rini.wire.anthropic.options import (
    SAMPLING,
    encode_format,
    encode_sampling,
    encode_tool_choice,
    max_tokens_of,
)
from rini.wire.anthropic.thinking import encode_reasoning, is_forced
from rini.wire.codec import EncodedRequest, UnsupportedError
from rini.wire.foreign import name_foreign, refuse_foreign
from rini.wire.json_schema import ANTHROPIC_STRICT, fitted, object_root


def encode_request(request: Request) -> EncodedRequest:
    """Return the body that asks for ``request``. Raises UnsupportedError."""
    dropped: list[str] = []
    refuse_foreign(request.extras, WIRE)
    _name_foreign(request, dropped)
    _refuse(request, dropped)
    own = extras_of(request.extras, WIRE)
    system, messages = _Conversation(dropped).encode(request.messages)
    thinking, effort = encode_reasoning(
        request.reasoning, request.model, request.max_tokens, dropped, forced=is_forced(request)
    )
    body: Json = {"model": request.model, "max_tokens": max_tokens_of(request, thinking), "messages": messages}
    if system:
        body["system"] = _shortest(system)
    tools = _encode_tools(request, dropped)
    if tools:
        body["tools"] = tools
    choice = encode_tool_choice(request, tools, dropped)
    if choice is not None:
        body["tool_choice"] = choice
    if thinking is not None:
        body["thinking"] = thinking
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    thinks = thinking is not None and thinking["type"] != "disabled"
    body.update(encode_sampling(request, dropped, thinks=thinks))
    output: Json = {} if effort is None else {"effort": effort}
    form = encode_format(request.response_format, dropped)
    if form is not None:
        (body if form[0] == "output_format" else output)[form[0]] = form[1]
    output.update(own.get("output_config") or {})
    if output:
        body["output_config"] = output
    metadata: Json = {} if request.user is None else {"user_id": request.user}
    metadata.update(own.get("metadata") or {})
    if metadata:
        body["metadata"] = metadata
    if request.stream:
        body["stream"] = True
    for name, value in own.items():
        if name not in SAMPLING:
            body.setdefault(name, value)
    return EncodedRequest(dump(body), tuple(dropped))


def _name_foreign(request: Request, dropped: list[str]) -> None:
    name_foreign(request.extras, WIRE, "", dropped)
    for path in ("reasoning", "response_format", "tool_choice"):
        value: Reasoning | ResponseFormat | ToolChoice | None = getattr(request, path)
        if value is not None:
            name_foreign(value.extras, WIRE, path, dropped)


def _refuse(request: Request, dropped: list[str]) -> None:
    if request.n is not None and request.n > 1:
        raise UnsupportedError(WIRE, "n", "there is one answer only")
    if request.logprobs or request.top_logprobs:
        raise UnsupportedError(WIRE, "logprobs", "probabilities are not told")
    for position, stop in enumerate(request.stop or ()):
        if not stop.strip():
            raise UnsupportedError(WIRE, f"stop[{position}]", "a stop sequence must hold more than whitespace")
    dropped.extend(
        name for name in ("seed", "presence_penalty", "frequency_penalty") if getattr(request, name) is not None
    )


def _encode_tools(request: Request, dropped: list[str]) -> list[Json]:
    choice = request.tool_choice
    # One of several tools must be called: that is said by offering no others.
    wanted = choice.names if choice is not None and choice.mode == "required" and len(choice.names) > 1 else ()
    tools: list[Json] = []
    strict = 0
    for position, tool in enumerate(request.tools):
        where = f"tools[{position}]"
        if wanted and tool.name not in wanted:
            dropped.append(where)
            continue
        encoded = _encode_tool(tool, where, dropped)
        if encoded.get("strict") and "input_schema" not in extras_of(tool.extras, WIRE):
            strict += 1
            if strict > _MAX_STRICT_TOOLS:
                dropped.append(f"{where}.strict")
                encoded["strict"] = False
        tools.append(encoded)
    return tools


def _encode_tool(tool: Tool, where: str, dropped: list[str]) -> Json:
    if tool.opaque is not None:
        if tool.wire != WIRE:
            raise UnsupportedError(WIRE, where, "it is a tool of another provider's own")
        return tool.opaque
    if not is_name(tool.name):
        raise UnsupportedError(WIRE, f"{where}.name", "a name has 1 to 128 letters, digits, _ and -")
    fields: Json = {"name": tool.name}
    if tool.description is not None:
        fields["description"] = tool.description
    own = extras_of(tool.extras, WIRE)
    if tool.strict is not None:
        fields["strict"] = tool.strict
    if "input_schema" not in own:
        _encode_schema(tool, fields, where, dropped)
    name_foreign(tool.extras, WIRE, where, dropped)
    return {**fields, **own}


def _encode_schema(tool: Tool, fields: Json, where: str, dropped: list[str]) -> None:
    """Add the schema of the arguments, which is only enforced (``strict``) where it can be."""
    path = f"{where}.parameters"
    schema = object_root(tool.parameters or {"properties": {}}, WIRE, field=path, dropped=dropped)
    if tool.strict:
        try:
            schema = fitted(schema, ANTHROPIC_STRICT, field=path, dropped=dropped)
        except UnsupportedError:
            dropped.append(f"{where}.strict")
            fields["strict"] = False
    fields["input_schema"] = schema


def _shortest(blocks: list[Json]) -> str | list[Json]:
    """Return a plain string for one plain text, which the API takes for the same."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and blocks[0]["type"] == "text":
        return blocks[0]["text"]
    return blocks


class _Entry:
    """One user message to be: tool results come first in it."""

    __slots__ = ("fields", "from_tool", "others", "results")

    def __init__(self, fields: Json, *, from_tool: bool) -> None:
        self.results: list[Json] = []
        self.others: list[Json] = []
        self.fields = fields
        self.from_tool = from_tool


class _Conversation:
    """Arranges the messages. A turn of the user's is everything between two of the assistant's."""

    def __init__(self, dropped: list[str]) -> None:
        self._dropped = dropped
        self._ids = CallIds()
        self._messages: list[Json] = []
        self._leading: list[Json] = []
        self._turn: list[_Entry] = []
        self._system: list[Json] = []
        self._system_fields: Json | None = None
        self._system_where = ""

    def encode(self, messages: tuple[Message, ...]) -> tuple[list[Json], list[Json]]:
        """Return the blocks of ``system`` and the ``messages``."""
        lead = True
        for position, message in enumerate(messages):
            where = f"messages[{position}]"
            if message.name is not None:
                self._dropped.append(f"{where}.name")
            if message.extras is not None:
                name_foreign(message.extras, WIRE, where, self._dropped)
            match message.role:
                case "system" | "developer":
                    blocks = self._blocks(message, where)
                    if lead:
                        self._leading += blocks
                        if extras_of(message.extras, WIRE):
                            self._dropped.append(f"{where}.extras")
                    else:
                        self._later_system(message, blocks, where)
                    continue
                case "assistant":
                    self._assistant(message, where)
                case "user" | "tool":
                    self._user(message, where)
            lead = False
        self._end_turn()
        if self._messages:
            self._trim_last(f"messages[{len(messages) - 1}]")
        if not self._messages:
            raise UnsupportedError(WIRE, "messages", "at least one message must hold something")
        return self._leading, self._messages

    def _assistant(self, message: Message, where: str) -> None:
        blocks = self._blocks(message, where)
        own = extras_of(message.extras, WIRE)
        if not blocks:
            self._dropped.append(where)
            return
        self._end_turn()
        if not self._messages and message.origin != WIRE:
            raise UnsupportedError(WIRE, where, "the first message must be the user's")
        self._messages.append({"role": "assistant", "content": _shortest(blocks), **own})

    def _user(self, message: Message, where: str) -> None:
        own = extras_of(message.extras, WIRE)
        begun = any(entry.others for entry in self._turn)
        from_tool = message.role == "tool"
        if from_tool and self._turn and self._turn[-1].from_tool:
            entry = self._turn[-1]
            entry.fields.update(own)
        else:
            entry = _Entry({**own}, from_tool=from_tool)
        for position, part in enumerate(message.parts):
            spot = f"{where}.parts[{position}]"
            if isinstance(part, ToolResult):
                # The API wants the results of a turn's calls before anything else in it.
                late = begun and self._ids.waits(part.call_id)
                (self._turn[0] if late else entry).results.append(self._result(part, spot))
            else:
                block = self._block(part, message, spot)
                if block is not None:
                    entry.others.append(block)
        if entry.results or entry.others:
            if not self._turn or entry is not self._turn[-1]:
                self._turn.append(entry)
        elif not any(isinstance(part, ToolResult) for part in message.parts):
            self._dropped.append(where)

    def _later_system(self, message: Message, blocks: list[Json], where: str) -> None:
        own = extras_of(message.extras, WIRE)
        if not blocks and not own:
            self._dropped.append(where)
            return
        if self._system_fields is not None and self._system_fields != own:
            raise UnsupportedError(WIRE, f"{where}.extras", "two system messages in one turn say different things")
        self._system_fields = {**own}
        self._system_where = where
        self._system += blocks

    def _end_turn(self) -> None:
        for entry in self._turn:
            blocks = entry.results + entry.others
            self._messages.append({"role": "user", "content": _shortest(blocks), **entry.fields})
        if self._system_fields is not None and not self._messages:
            self._leading += self._system
        elif self._system_fields is not None:
            if not self._turn and not _ends_with_server_tool(self._messages[-1]):
                raise UnsupportedError(
                    WIRE, self._system_where, "a system message in the conversation must follow the user's"
                )
            content: Json = {"content": _shortest(self._system)} if self._system else {}
            self._messages.append({"role": "system", **content, **self._system_fields})
        self._turn = []
        self._system = []
        self._system_fields = None

    def _trim_last(self, where: str) -> None:
        last = self._messages[-1]
        if last["role"] != "assistant":
            return
        content = last["content"]
        blocks: list[Json] = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        written = str(blocks[-1].get("text") or "") if blocks[-1].get("type") == "text" else ""
        text = written.rstrip()
        if text == written:
            return
        self._dropped.append(f"{where}.parts[-1].text")
        blocks[-1:] = [{**blocks[-1], "text": text}] if text else []
        if blocks:
            last["content"] = _shortest(blocks)
        else:
            self._messages.pop()

    def _blocks(self, message: Message, where: str) -> list[Json]:
        found = (
            self._block(part, message, f"{where}.parts[{position}]") for position, part in enumerate(message.parts)
        )
        return [block for block in found if block is not None]

    def _block(self, part: Part, message: Message, where: str) -> Json | None:
        """Return the block of a part; None for one that was left out. Raises UnsupportedError."""
        if getattr(part, "signature", None) is not None and not isinstance(part, Thinking):
            self._dropped.append(f"{where}.signature")
        if not isinstance(part, Opaque | Thinking) and part.extras is not None:
            name_foreign(part.extras, WIRE, where, self._dropped)
        assistant, user = message.role == "assistant", message.role in {"user", "tool"}
        match part:
            case Text() | Refusal():
                if part.text:
                    return block_of("text", {"text": part.text}, part.extras)
                self._dropped.append(where)
                return None
            case Thinking():
                return self._thinking(part, message, where)
            case ToolCall() if assistant:
                if not is_name(part.name):
                    raise UnsupportedError(WIRE, f"{where}.name", "a name has 1 to 128 letters, digits, _ and -")
                return tool_use_block(self._ids.call(part.id, part.name, where), part)
            case Image() if user:
                if part.detail not in (None, "auto"):
                    self._dropped.append(f"{where}.detail")
                return image_block(part, where)
            case Document() if user:
                return document_block(part, where)
            case Audio() if assistant and part.transcript:
                self._dropped.append(f"{where}.media")
                return block_of("text", {"text": part.transcript}, None)
            case Opaque():
                block = object_or_none(part.value) if part.wire == WIRE else None
                if block is None:
                    raise UnsupportedError(WIRE, where, f"it is a part that only {part.wire} knows")
                return block
            case _:
                kind = type(part).__name__
                raise UnsupportedError(WIRE, where, f"a message of the role {message.role} cannot hold a part {kind}")

    def _thinking(self, part: Thinking, message: Message, where: str) -> Json | None:
        # Only what this provider signed or encrypted may come back to it.
        proven = part.redacted is not None or bool(part.signature)
        if message.role == "assistant" and message.origin == WIRE and proven:
            return thinking_block(part)
        self._dropped.append(where)
        return None

    def _result(self, part: ToolResult, where: str) -> Json:
        call_id = self._ids.result(part.call_id, part.name, where)
        name_foreign(part.extras, WIRE, where, self._dropped)
        if part.name is not None and part.name != self._ids.name_of(call_id):
            self._dropped.append(f"{where}.name")
        blocks: list[Json] = []
        holder = Message("user")
        for position, each in enumerate(part.content):
            spot = f"{where}.content[{position}]"
            if isinstance(each, Thinking):
                raise UnsupportedError(WIRE, spot, "a tool's result cannot hold a part Thinking")
            block = self._block(each, holder, spot)
            if block is not None:
                blocks.append(block)
        fields: Json = {"tool_use_id": call_id}
        if blocks:
            fields["content"] = _shortest(blocks)
        if part.is_error:
            fields["is_error"] = True
        return block_of("tool_result", fields, part.extras)


_MAX_STRICT_TOOLS = 20  # by "Structured outputs, Schema complexity limits"


def _ends_with_server_tool(message: Json) -> bool:
    content: str | list[Json] = message["content"]
    if message["role"] != "assistant" or isinstance(content, str):
        return False
    type_ = str(content[-1].get("type"))
    return type_ in {"server_tool_use", "mcp_tool_use"} or type_.endswith("_tool_result")
