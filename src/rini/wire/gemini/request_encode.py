"""Canon's request, written as a generateContent body.

What has no place in Gemini and how it is met:

- a system message in mid-conversation joins ``systemInstruction``, behind what is there: it keeps its authority and its order
  among the instructions, and its position is named as dropped;
- ``parallel_tool_calls`` False is refused where tools are offered, since the model cannot be held to one call; where it must call a
  certain one, as clients ask for structured output, it is dropped and named;
- thinking and signatures of another origin are dropped and named. A call that another model made gets the signature that
  Google documents for such a case (Gemini API, Thought signatures, 2026), since Gemini 3 refuses a call without one;
- media in a tool's result, which Gemini 2 refuses within a functionResponse, stand beside it.
"""

import re
from typing import Any

import msgspec

from rini.canon import (
    Audio,
    Document,
    Extras,
    Image,
    Message,
    Part,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
    extras_of,
)
from rini.wire.codec import EncodedRequest, UnsupportedError
from rini.wire.foreign import name_foreign, refuse_foreign
from rini.wire.gemini.config import encode_config
from rini.wire.gemini.fields import WIRE, dumps
from rini.wire.gemini.part import attachments, encode_part
from rini.wire.gemini.tool import encode_choice, encode_tools, is_validated

_UNSIGNED_MODELS = re.compile(r"gemini-[12]\b|gemini-[12]\.|gemma")
_UNCHECKED = "skip_thought_signature_validator"


def encode_request(request: Request) -> EncodedRequest:
    """Return the body that asks for ``request``. Raises UnsupportedError."""
    try:
        return _Encoder(request).encode()
    except RecursionError:
        raise UnsupportedError(WIRE, "messages", "it is nested too deeply") from None


class _Content(msgspec.Struct):
    """One content as it grows: ``own`` when Gemini wrote it, ``merges`` when neighbours of its role may join it."""

    role: str
    parts: list[dict[str, Any]]
    extras: dict[str, Any]
    own: bool
    merges: bool


class _Encoder:
    def __init__(self, request: Request) -> None:
        self._request = request
        self._dropped: list[str] = []
        self._system: list[dict[str, Any]] = []
        self._system_extras: dict[str, Any] = {}
        self._contents: list[_Content] = []
        self._tool_names: dict[str, str] = {}

    def encode(self) -> EncodedRequest:
        request = self._request
        extras = dict(extras_of(request.extras, WIRE))
        refuse_foreign(request.extras, WIRE)
        self._name_foreign(request.extras, "")
        body: dict[str, Any] = {}
        for index, message in enumerate(request.messages):
            self._message(message, f"messages[{index}]")
        if not self._contents and request.messages and "contents" not in extras:
            raise UnsupportedError(WIRE, "messages", "it needs a message beside the instructions")
        body["contents"] = [self._content(content) for content in self._contents]
        if self._system or self._system_extras:
            body["systemInstruction"] = {"parts": self._system, **self._system_extras}
        if request.tools:
            for index, tool in enumerate(request.tools):
                self._name_foreign(tool.extras, f"tools[{index}]")
            validated = is_validated(request.tool_choice)
            body["tools"] = encode_tools(request.tools, request.model, self._dropped, validated=validated)
        tool_config = dict(extras.pop("toolConfig", {}))
        if request.tool_choice is not None:
            self._name_foreign(request.tool_choice.extras, "tool_choice")
            tool_config["functionCallingConfig"] = encode_choice(request.tool_choice)
        if tool_config:
            body["toolConfig"] = tool_config
        if request.parallel_tool_calls is False:
            if request.tools and not _forces_one(request):
                raise UnsupportedError(WIRE, "parallel_tool_calls", "the model may always call several tools at once")
            self._dropped.append("parallel_tool_calls")
        config = encode_config(request, self._dropped)
        if config:
            body["generationConfig"] = config
        if request.user is not None:
            self._dropped.append("user")
        for name in ("contents", "generationConfig"):
            extras.pop(name, None)
        if _bare(extras.get("model", request.model)) != _bare(request.model):
            # The request was sent on to another model than its body names.
            del extras["model"]
        body.update(extras)
        return EncodedRequest(dumps(body), tuple(self._dropped))

    def _message(self, message: Message, path: str) -> None:
        if message.name is not None:
            self._dropped.append(f"{path}.name")
        self._name_foreign(message.extras, path)
        if message.role in ("system", "developer"):
            self._system_message(message, path)
            return
        own = message.origin in (None, WIRE)
        extras = dict(extras_of(message.extras, WIRE))
        parts: list[dict[str, Any]] = []
        for index, part in enumerate(message.parts):
            parts += self._parts(part, f"{path}.parts[{index}]", message, own=own)
        if not parts and "parts" not in extras:
            if not message.parts:
                self._dropped.append(path)
            return
        role = "model" if message.role == "assistant" else "user"
        last = self._contents[-1] if self._contents else None
        # The results of one turn's calls, and those calls, must each be one content; Gemini's own are so already.
        merges = not extras and (message.role == "tool" or (role == "model" and message.origin != WIRE))
        if last is not None and last.merges and merges and last.role == role:
            last.parts += parts
        else:
            self._contents.append(_Content(role, parts, extras, message.origin == WIRE, merges))

    def _system_message(self, message: Message, path: str) -> None:
        if self._contents:
            self._dropped.append(f"{path}.position")
        for index, part in enumerate(message.parts):
            where = f"{path}.parts[{index}]"
            if isinstance(part, Text | Refusal):
                self._name_foreign(part.extras, where)
                self._system.append(encode_part(part, where))
            else:
                raise UnsupportedError(WIRE, where, "instructions are text")
        self._system_extras.update(extras_of(message.extras, WIRE))

    def _parts(self, part: Part, path: str, message: Message, *, own: bool) -> list[dict[str, Any]]:
        """Return what ``part`` becomes: mostly one part, none when it is dropped, several for a result with media."""
        match part:
            case Thinking():
                if not own:
                    self._dropped.append(path)
                    return []
                if part.redacted is not None:
                    self._dropped.append(f"{path}.redacted")
                    if not part.text and part.signature is None:
                        return []
            case Text() if not own and not part.text:
                # Other formats write an empty text beside a tool call; Gemini refuses one.
                self._dropped.append(path)
                return []
            case ToolCall():
                self._tool_names[part.id] = part.name
            case ToolResult():
                return self._result(part, path)
            case Audio() if part.transcript is not None and message.role == "assistant":
                self._dropped.append(f"{path}.media")
                return [{"text": part.transcript}]
            case Image() if part.detail not in (None, "auto"):
                self._dropped.append(f"{path}.detail")
            case Audio() if part.transcript is not None:
                self._dropped.append(f"{path}.transcript")
            case Document() if part.name is not None and not _shows_name(part):
                self._dropped.append(f"{path}.name")
            case _:
                pass
        if isinstance(part, Text | Thinking | Image | ToolCall) and part.signature is not None and not own:
            self._dropped.append(f"{path}.signature")
            part = msgspec.structs.replace(part, signature=None)
        if isinstance(part, Text | Thinking | Refusal | Image | Audio | Video | Document | ToolCall):
            self._name_foreign(part.extras, path)
        return [encode_part(part, path)]

    def _result(self, part: ToolResult, path: str) -> list[dict[str, Any]]:
        self._name_foreign(part.extras, path)
        if part.name is None and part.call_id in self._tool_names:
            part = msgspec.structs.replace(part, name=self._tool_names[part.call_id])
        if part.name is None:
            raise UnsupportedError(WIRE, f"{path}.name", "a result names its tool, and no call before it has its id")
        beside: list[dict[str, Any]] = []
        for index, item in enumerate(attachments(part)):
            where = f"{path}.content[{index}]"
            if not isinstance(item, Image | Audio | Video | Document):
                raise UnsupportedError(WIRE, where, "a result holds text and media")
            beside.append(encode_part(item, where))
        return [encode_part(part, path), *beside]

    def _content(self, content: _Content) -> dict[str, Any]:
        if content.role == "model" and not content.own and not _UNSIGNED_MODELS.search(self._request.model):
            calls = [part for part in content.parts if "functionCall" in part]
            if calls and not any("thoughtSignature" in call for call in calls):
                calls[0]["thoughtSignature"] = _UNCHECKED
        fields: dict[str, Any] = {"parts": content.parts, "role": content.role, **content.extras}
        if fields["role"] is None:
            del fields["role"]
        return fields

    def _name_foreign(self, extras: Extras | None, path: str) -> None:
        """Name the extras of other wire formats as dropped."""
        if extras is not None:
            name_foreign(extras, WIRE, path, self._dropped)


def _forces_one(request: Request) -> bool:
    choice = request.tool_choice
    if choice is None or choice.mode not in ("tool", "required"):
        return False
    return len(choice.names) == 1 or len(request.tools) == 1


def _bare(model: str) -> str:
    return model.rsplit("/", 1)[-1]


def _shows_name(part: Document) -> bool:
    """Whether the name goes out as displayName. Only Vertex takes one, so it does where it came so."""
    extras = extras_of(part.extras, WIRE)
    return any("displayName" in extras.get(kind, {}) for kind in ("inlineData", "fileData"))
