"""From the bodies of /llm to the turns that they ask for."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rini.api.form import parse_form
from rini.api.lean import decode_body
from rini.api.native_schemas import ChatCompletionRequest, ImageCompletionRequest, TextCompletionRequest
from rini.canon import Message, Text
from rini.errors import InvalidRequestError
from rini.kit.depth import is_deeper
from rini.kit.text import storable
from rini.providers.catalog import PROVIDERS
from rini.providers.vision import default_vision_model, image_limits
from rini.turns.values import Ask, IfBusy, Upload

LARGEST_PARAMS_BYTES = 64 * 1024
DEEPEST_PARAMS = 64
"""Levels of objects and lists: a JSON schema needs some, a provider's codec and its JSON writer can only follow some."""

IMAGE_FILE = "image_file"
_FORM_FIELDS = frozenset(ImageCompletionRequest.__struct_fields__)

_text_completion = msgspec.json.Decoder(TextCompletionRequest)
_params_object = msgspec.json.Decoder(dict[str, Any])
_chat_completion = msgspec.json.Decoder(ChatCompletionRequest)


class Posted(msgspec.Struct, frozen=True):
    """A request as it came, and whose it is."""

    user_id: int
    request_id: str | None
    content_type: str
    body: bytes
    path_params: Mapping[str, str] = {}


def text_completion(posted: Posted) -> tuple[Ask, bool]:
    """Return the turn that a /llm/text-completion/ asks for, and whether to stream it. Raises InvalidRequestError."""
    asked = decode_body(_text_completion, posted.body)
    question = Message("user", (Text(checked("text", asked.text)),))
    ask = _ask(
        posted,
        asked,
        "/llm/text-completion/",
        asked.model,
        (question,),
        session_id=asked.session_id,
        parent_message_id=asked.parent_message_id,
        if_busy=asked.if_busy,
        background=asked.background,
    )
    return ask, asked.stream


def chat_completion(posted: Posted) -> tuple[Ask, bool]:
    """Return the turn that a /llm/chat-completions/ asks for, and whether to stream it. Raises InvalidRequestError."""
    asked = decode_body(_chat_completion, posted.body)
    messages = tuple(Message(message.role, (Text(checked("messages", message.content)),)) for message in asked.messages)
    return _ask(posted, asked, "/llm/chat-completions/", asked.model, messages), asked.stream


def image_completion(posted: Posted) -> tuple[Ask, bool]:
    """Return the turn that a /llm/image-completion/ asks for, and whether to stream it. Raises InvalidRequestError, NoVisionError."""
    form = parse_form(posted.content_type, posted.body, frozenset({IMAGE_FILE}))
    image = form.files.get(IMAGE_FILE)
    if image is None:
        raise InvalidRequestError(f"{IMAGE_FILE}: is missing; it is the image's file.")
    asked = _fields(form.texts)
    model = asked.model or default_vision_model(asked.provider) or ""
    if asked.provider in PROVIDERS:  # what is not is told as such, with those that there are
        image_limits(asked.provider, model)
        if not model:
            raise InvalidRequestError(f"model: is missing; there is no usual one for the provider '{asked.provider}'.")
    question = Message("user", (Text(checked("prompt", asked.prompt)),))
    ask = _ask(
        posted,
        asked,
        "/llm/image-completion/",
        model,
        (question,),
        session_id=asked.session_id,
        parent_message_id=asked.parent_message_id,
        if_busy=asked.if_busy,
        image=Upload(image.data, image.filename),
    )
    return ask, asked.stream


def _ask(
    posted: Posted,
    asked: TextCompletionRequest | ChatCompletionRequest | ImageCompletionRequest,
    endpoint: str,
    model: str,
    messages: tuple[Message, ...],
    *,
    session_id: str | None = None,
    parent_message_id: int | None = None,
    if_busy: IfBusy = "queue",
    background: bool = False,
    image: Upload | None = None,
) -> Ask:
    """Return the turn, with what all endpoints have in common. Raises InvalidRequestError."""
    if parent_message_id is not None and session_id is None:
        raise InvalidRequestError("parent_message_id: goes with session_id.")
    if background and session_id is None:
        raise InvalidRequestError("background: goes with session_id; what is not stored cannot be waited for.")
    params, tool_choice = call_parameters(asked.llm_params)
    return Ask(
        user_id=posted.user_id,
        provider=asked.provider,
        model=checked("model", model),
        messages=messages,
        endpoint=endpoint,
        session_id=session_id,
        params=params,
        tool_choice=tool_choice,
        key_id=asked.api_key_id,
        parent_message_id=parent_message_id,
        request_id=posted.request_id,
        if_busy=if_busy,
        background=background,
        image=image,
    )


def _fields(texts: dict[str, str]) -> ImageCompletionRequest:
    """Return a form's fields. Those left empty count as left out, as browsers send them."""
    unknown = sorted(texts.keys() - _FORM_FIELDS)
    if unknown:
        raise InvalidRequestError(f"{unknown[0]}: is no field of this form; it has {', '.join(sorted(_FORM_FIELDS))}.")
    given: dict[str, Any] = {name: text for name, text in texts.items() if text}
    if "llm_params" in given:
        given["llm_params"] = msgspec.Raw(given["llm_params"].encode())
    if "stream" in given:
        given["stream"] = _flag(given["stream"])
    try:
        return msgspec.convert(given, ImageCompletionRequest, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).rpartition(" - at `$.")
        field = where.rstrip("`")
        raise InvalidRequestError(f"{field}: {what[:1].lower()}{what[1:]}." if what else f"{error}.") from None


def _flag(text: str) -> bool:
    match text.lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise InvalidRequestError("stream: must be true or false.")


def checked(field: str, text: str) -> str:
    """Return a text that can be stored. Raises InvalidRequestError."""
    try:
        return storable(text)
    except ValueError as error:
        raise InvalidRequestError(f"{field}: {error}.") from None


def call_parameters(raw: msgspec.Raw) -> tuple[dict[str, Any], str | None]:
    """Return the call parameters, and apart from them ``tool_choice``: it offers the user's tools and is no provider's parameter."""
    text = bytes(raw)
    if not text or text == b"null":
        return {}, None
    if len(text) > LARGEST_PARAMS_BYTES:
        raise InvalidRequestError(f"llm_params: must not have more than {LARGEST_PARAMS_BYTES} bytes.")
    try:
        params = _params_object.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidRequestError("llm_params: must be a JSON object.") from None
    if is_deeper(params, DEEPEST_PARAMS):
        raise InvalidRequestError(f"llm_params: must not be nested more than {DEEPEST_PARAMS} levels deep.")
    return params, _tool_choice(params.pop("tool_choice", None))


def _tool_choice(value: object) -> str | None:
    """Return ``auto``, ``required`` or a tool's name; None where no tool is to be offered."""
    if value is None or value == "none":
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 512:
        raise InvalidRequestError("llm_params.tool_choice: must be auto, required, none or a tool's name.")
    return value
