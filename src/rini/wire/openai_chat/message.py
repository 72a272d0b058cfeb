"""Messages of a request: OpenAI's roles and fields to canon's messages, and back.

One canon message can take several here: tool results stand in messages of their own, and come first, because they must follow
the calls they answer. They hold text only: pictures and files of the results of a turn follow in one message of the user's. Thinking goes back to where it came from only: ``reasoning_content`` (DeepSeek, vLLM) or ``reasoning``
with ``reasoning_details`` (OpenRouter), when an OpenAI-compatible provider wrote the message.
"""

from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from rini.canon import (
    Audio,
    Document,
    Image,
    Media,
    Message,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.openai_chat.json_value import (
    NAME,
    NOTE,
    Json,
    as_object,
    left_as_extras,
    note,
    own_extras,
    pop_list,
    pop_object,
    pop_string,
)
from rini.wire.openai_chat.part import (
    decode_content,
    encode_image,
    encode_part,
    encode_text,
    own_value,
    refusal_as_part,
)
from rini.wire.openai_chat.tool import (
    decode_tool_calls,
    encode_legacy_call,
    encode_tool_call,
    is_legacy,
    name_foreign_extras,
)

_LONGEST_ID = 40
_DEFAULT_THINKING = "reasoning_content"


def decode_message(value: Any) -> Message:
    """Return one message of a request. Raises MalformedError."""
    message = as_object(value, "A message")
    role = message.pop("role", None)
    content = message.pop("content", None)
    name = pop_string(message, "name")
    match role:
        case "system" | "developer" | "user":
            return Message(role, tuple(decode_content(content)), name, extras=left_as_extras(message))
        case "assistant":
            parts = _decode_assistant(message, content)
            return Message("assistant", parts, name, origin=NAME, extras=left_as_extras(message))
        case "tool":
            call_id = pop_string(message, "tool_call_id") or ""
        case "function":
            call_id = ""
            message[NOTE + "legacy"] = True
        case _:
            raise MalformedError("A message has an unknown role.")
    result = ToolResult(call_id, tuple(decode_content(content)), name, extras=left_as_extras(message))
    return Message("tool", (result,))


def decode_thinking(message: Json) -> Thinking | None:
    """Take the thoughts out of an assistant's message."""
    text = pop_string(message, _DEFAULT_THINKING)
    if text == "":
        message[_DEFAULT_THINKING] = text  # some servers insist on getting the empty field back
    plain = message.get("reasoning")
    extras: Json = {}
    if type(plain) is str and plain and (not text or plain == text):
        # vLLM fills both fields with the same; then the first is enough.
        del message["reasoning"]
        if not text:
            text = plain
            extras[NOTE + "field"] = "reasoning"
    details = pop_list(message, "reasoning_details")
    if details:
        extras["reasoning_details"] = details
    if not text and not details:
        return None
    return Thinking(text or "", extras=left_as_extras(extras))


def thinking_field(part: Thinking) -> str:
    """Return the field that these thoughts came in."""
    return "reasoning" if note(part.extras, "field") == "reasoning" else _DEFAULT_THINKING


def encode_thinking(parts: Sequence[Thinking], message: Json) -> None:
    """Put thoughts into an assistant's message."""
    for part in parts:
        field = thinking_field(part)
        if part.text:
            message[field] = message.get(field, "") + part.text
        for name, value in own_extras(part.extras).items():
            message[name] = [*message.get(name, ()), *value] if isinstance(value, list) else value


class MessageEncoder:
    """Encodes the messages of one request, in order.

    ``strict`` keeps to what OpenAI itself takes; otherwise to what compatible servers share: no developer role, and films.
    Calls without an id (Gemini's) get one, and the results that answer them, by name or in order, the same. Ids of other
    providers that are longer than OpenAI takes (40 characters, by its error messages of 2025) are shortened, always alike.
    """

    def __init__(self, messages: Sequence[Message], *, strict: bool, dropped: list[str]) -> None:
        self._strict = strict
        self._dropped = dropped
        self._unanswered: deque[tuple[str, str]] = deque()
        self._taken = {part.id for message in messages for part in message.parts if isinstance(part, ToolCall)} - {""}
        self._made = 0
        self._shortened: dict[str, str] = {}
        self._attached: list[Any] = []  # content of tool results that is no text, to be shown after the last of them

    def encode(self, message: Message, path: str) -> list[Json]:
        """Return the messages that ``message`` becomes. Raises UnsupportedError."""
        if (text := message.only_text) and message.role != "tool":
            role = "system" if message.role == "developer" and not self._strict else message.role
            return [*self.shown(), {"role": role, "content": text}]
        name_foreign_extras(message.extras, path, self._dropped)
        for index, part in enumerate(message.parts):
            self._name_foreign(part, f"{path}.parts[{index}]")
        match message.role:
            case "assistant":
                return [*self.shown(), self._assistant(message, path)]
            case "user" | "tool":
                return self._results_and_rest(message, path)
            case "system" | "developer":
                return [*self.shown(), self._system(message, path)]

    def shown(self) -> list[Json]:
        """Return the message that shows what the tool results so far could not hold; none where they held all."""
        content, self._attached = self._attached, []
        return [{"role": "user", "content": content}] if content else []

    def _name_foreign(self, part: Part, path: str) -> None:
        if isinstance(part, Opaque):
            return
        if not isinstance(part, Thinking):
            name_foreign_extras(part.extras, path, self._dropped)
            if isinstance(part, Text | Image | ToolCall) and part.signature is not None:
                self._dropped.append(f"{path}.signature")

    def _system(self, message: Message, path: str) -> Json:
        role = message.role if self._strict else "system"
        return self._message(message, role, self._texts(message.parts, f"{path}.parts"))

    def _message(self, message: Message, role: str, content: list[Any]) -> Json:
        encoded: Json = {**own_extras(message.extras), "role": role, "content": _plain(content, "")}
        if message.name is not None:
            encoded["name"] = message.name
        return encoded

    def _texts(self, parts: Sequence[Part], path: str) -> list[Any]:
        return [self._text(part, f"{path}[{index}]") for index, part in enumerate(parts)]

    def _text(self, part: Part, path: str) -> Any:
        match part:
            case Text():
                return encode_text(part)
            case Document(text=str(text)):
                if part.name is not None:
                    self._dropped.append(f"{path}.name")
                return {"type": "text", "text": text}
            case Opaque():
                return own_value(part, path)
            case _:
                raise UnsupportedError(NAME, path, "only text can stand here")

    def _results_and_rest(self, message: Message, path: str) -> list[Json]:
        results: list[Json] = []
        content: list[Any] = []
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            match part:
                case ToolResult():
                    results.append(self._result(part, here))
                case _ if message.role == "tool":
                    if isinstance(part, Opaque):
                        own_value(part, here)  # says whose it is
                    raise UnsupportedError(NAME, here, "a tool's message holds results only")
                case Thinking():
                    self._dropped.append(here)
                case _:
                    content.append(encode_part(part, here, strict=self._strict, dropped=self._dropped))
        if message.role == "tool" or (results and not content):
            return results
        return [*results, *self.shown(), self._message(message, "user", content)]

    def _result(self, part: ToolResult, path: str) -> Json:
        if part.is_error:
            self._dropped.append(f"{path}.is_error")
        for index, inner in enumerate(part.content):
            self._name_foreign(inner, f"{path}.content[{index}]")
        own = own_extras(part.extras)
        if note(part.extras, "legacy"):
            content = self._result_content(part, part.name or "function", path)
            return {**own, "role": "function", "name": part.name or "", "content": content}
        call_id = self._answered(part, path)
        content = self._result_content(part, call_id, path)
        encoded: Json = {**own, "role": "tool", "tool_call_id": call_id, "content": content}
        if part.name is not None:
            encoded["name"] = part.name
        return encoded

    def _result_content(self, part: ToolResult, call: str, path: str) -> Any:
        """Return the text of a result. What else is in it follows in a user's message, which says whose it is."""
        inside: list[Any] = []
        beside: list[Any] = []
        for index, each in enumerate(part.content):
            here = f"{path}.content[{index}]"
            if isinstance(each, Image | Audio | Video) or (isinstance(each, Document) and each.text is None):
                beside.append(encode_part(each, here, strict=self._strict, dropped=self._dropped))
            else:
                inside.append(self._text(each, here))
        if beside:
            if not inside:
                inside.append({"type": "text", "text": "The result follows in the user's next message."})
            self._attached += [{"type": "text", "text": f"From the result of the tool call {call}:"}, *beside]
        return _plain(inside, "")

    def _answered(self, part: ToolResult, path: str) -> str:
        if part.call_id in self._taken or (part.call_id and not self._unanswered):
            return self._shortened.get(part.call_id, part.call_id)
        for name, call_id in self._unanswered:
            if part.name is None or part.name == name:
                self._unanswered.remove((name, call_id))
                return call_id
        raise UnsupportedError(NAME, f"{path}.call_id", "no call is left that it could answer")

    def _call_id(self, call: ToolCall) -> str:
        if call.id:
            # Other servers of this format give longer ones than OpenAI takes.
            if self._strict and len(call.id) > _LONGEST_ID:
                self._shortened[call.id] = f"call_{sha256(call.id.encode()).hexdigest()[:32]}"
            return self._shortened.get(call.id, call.id)
        while (call_id := f"call_{self._made}") in self._taken:
            self._made += 1
        self._made += 1
        self._unanswered.append((call.name, call_id))
        return call_id

    def _assistant(self, message: Message, path: str) -> Json:
        content: list[Any] = []
        calls: list[Json] = []
        refusals: list[str] = []
        thinking: list[Thinking] = []
        images: list[Json] = []
        encoded = own_extras(message.extras)
        for index, part in enumerate(message.parts):
            here = f"{path}.parts[{index}]"
            match part:
                case Text():
                    content.append(encode_text(part))
                case Thinking():
                    if message.origin == NAME:
                        thinking.append(part)
                        if part.signature is not None or part.redacted is not None:
                            self._dropped.append(f"{here}.signature")
                    else:
                        self._dropped.append(here)
                case ToolCall() if is_legacy(part):
                    encoded["function_call"] = encode_legacy_call(part)
                case ToolCall():
                    calls.append(encode_tool_call(part, self._call_id(part)))
                case Refusal():
                    if (as_part := refusal_as_part(part)) is not None:
                        content.append(as_part)
                    else:
                        refusals.append(part.text)
                case Audio(id=str(audio_id)) if "audio" not in encoded:
                    encoded["audio"] = {"id": audio_id}
                case Audio(transcript=str(transcript)):
                    self._dropped.append(f"{here}.media")
                    content.append({"type": "text", "text": transcript})
                case Image() if not self._strict:
                    images.append(encode_image(part, here, strict=False))
                case Opaque():
                    content.append(own_value(part, here))
                case _:
                    raise UnsupportedError(NAME, here, f"a {type(part).__name__} cannot stand in an answer")
        encode_thinking(thinking, encoded)
        if images:
            encoded["images"] = images
        if calls:
            encoded["tool_calls"] = calls
        if refusals:
            encoded["refusal"] = "".join(refusals)
        if message.name is not None:
            encoded["name"] = message.name
        # Content may be null only where something else stands for it.
        other = calls or refusals or "function_call" in encoded or "audio" in encoded
        return {"role": "assistant", "content": _plain(content, None if other else ""), **encoded}


def _plain(content: list[Any], empty: str | None) -> Any:
    """Return a content array in its shortest form: nothing, a string, or the array."""
    if not content:
        return empty
    if len(content) == 1 and type(content[0]) is dict:
        first = as_object(content[0], "A content part")
        if first.keys() == {"type", "text"} and first["type"] == "text":
            return first["text"]
    return content


def _decode_assistant(message: Json, content: Any) -> tuple[Part, ...]:
    parts: list[Part] = []
    if (thinking := decode_thinking(message)) is not None:
        parts.append(thinking)
    parts.extend(decode_content(content))
    if refusal := pop_string(message, "refusal"):
        parts.append(Refusal(refusal))
    if (audio := pop_object(message, "audio")) is not None:
        parts.append(decode_audio(audio))
    parts.extend(decode_tool_calls(message, positions=True))
    return tuple(parts)


def decode_audio(audio: Json) -> Audio:
    """Return the sound that a model made, or the reference to it in a later request."""
    audio_id = pop_string(audio, "id")
    data = pop_string(audio, "data")
    transcript = pop_string(audio, "transcript")
    if audio.get("expires_at") == 0:
        del audio["expires_at"]  # the SDK must have the field, so this is how an encoder says nothing
    return Audio(Media(data=data or None), audio_id or None, transcript or None, extras=left_as_extras(audio))
