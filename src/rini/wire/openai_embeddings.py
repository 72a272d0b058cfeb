"""OpenAI's embeddings, of OpenAI itself and of the many servers that speak it too.

The reference is "Create embeddings" in OpenAI's OpenAPI document of August 2026.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, cast

import msgspec

from rini.canon import (
    EmbeddingInput,
    EmbeddingReply,
    EmbeddingRequest,
    Failure,
    Usage,
    VectorEncoding,
    extras_of,
    with_extras,
)
from rini.wire.codec import MalformedError
from rini.wire.openai_chat.failure import decode_failure, encode_failure
from rini.wire.vectors import gathered, read_vector, vector_as_base64, vector_as_json

NAME = "openai_embeddings"

T = TypeVar("T")

_Token = Annotated[int, msgspec.Meta(ge=0)]

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()
_string = msgspec.json.Decoder(str)
_count = msgspec.json.Decoder(int)
_texts = msgspec.json.Decoder(list[str])
_tokens = msgspec.json.Decoder(list[_Token])
_token_lists = msgspec.json.Decoder(list[list[_Token]])
_encodings: msgspec.json.Decoder[VectorEncoding] = msgspec.json.Decoder(VectorEncoding)
_NULL = msgspec.Raw(b"null")
_REQUEST = ("input", "model", "dimensions", "encoding_format")
_REPLY = ("object", "data", "model", "usage")


class _Item(msgspec.Struct):
    embedding: msgspec.Raw
    index: int | None = None


class _Beside(msgspec.Struct):
    model: msgspec.Raw = _NULL
    usage: msgspec.Raw = _NULL


_beside = msgspec.json.Decoder(_Beside)
_data = msgspec.json.Decoder(list[_Item])
_usage = msgspec.json.Decoder(dict[str, Any])


class OpenAIEmbeddingsCodec:
    """The codec. See rini.wire.embedding_codec.EmbeddingCodec."""

    name = NAME

    def path(self, model: str) -> str:  # noqa: ARG002 - the body holds it
        """Return the path below the base address, which ends in /v1."""
        return "/embeddings"

    def encode_request(self, request: EmbeddingRequest) -> bytes:
        """Return the body that asks a provider for ``request``."""
        body: dict[str, Any] = {"model": request.model, "input": request.inputs}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.encoding != "float":
            body["encoding_format"] = request.encoding
        return _encode({**body, **extras_of(request.extras, NAME)})

    def decode_request(self, body: bytes, *, model: str | None = None) -> EmbeddingRequest:
        """Return the request in ``body``. A text alone becomes a list of one. Raises MalformedError."""
        fields = _read(_fields, body, "The request", "an object")
        name = model or _read(_string, fields.get("model", _NULL), "model", "a string")
        dimensions, encoding = (_given(fields, name) for name in ("dimensions", "encoding_format"))
        return EmbeddingRequest(
            model=name,
            inputs=_inputs_of(fields.get("input", _NULL)),
            dimensions=None if dimensions is None else _positive(dimensions),
            encoding="float" if encoding is None else _read(_encodings, encoding, "encoding_format", "float or base64"),
            extras=with_extras(NAME, _left(fields, _REQUEST)),
        )

    def decode_reply(self, body: bytes) -> EmbeddingReply:
        """Return the answer in ``body``; its vectors are put in the order of their indexes. Raises MalformedError."""
        fields = _read(_fields, body, "The answer", "an object")
        items = _in_order(_read(_data, fields.get("data", _NULL), "data", "a list of embeddings"))
        model, usage = (_given(fields, name) for name in ("model", "usage"))
        return EmbeddingReply(
            vectors=tuple(read_vector(item.embedding, f"data[{at}].embedding") for at, item in enumerate(items)),
            model=None if model is None else _read(_string, model, "model", "a string"),
            usage=None if usage is None else _decode_usage(_read(_usage, usage, "usage", "an object")),
            extras=with_extras(NAME, _left(fields, _REPLY)),
        )

    def decode_beside(self, body: bytes) -> EmbeddingReply:
        """Return the model and the usage that the answer in ``body`` tells. Never raises."""
        model: str | None = None
        usage: Usage | None = None
        with contextlib.suppress(MalformedError):
            fields = _read(_beside, body, "The answer", "an object")
            if fields.model != _NULL:
                model = _read(_string, fields.model, "model", "a string")
            if fields.usage != _NULL:
                usage = _decode_usage(_read(_usage, fields.usage, "usage", "an object"))
        return EmbeddingReply((), model, usage)

    def encode_reply(self, reply: EmbeddingReply, encoding: VectorEncoding = "float") -> Iterator[bytes]:
        """Return ``reply`` as an answer's body, in pieces."""
        return gathered(_pieces(reply, encoding))

    def decode_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Return what an answer with an error ``status`` says. Never raises."""
        return decode_failure(status, headers, body)

    def encode_failure(self, failure: Failure) -> tuple[int, bytes]:
        """Return the HTTP status and the error body that OpenAI's SDK expects for ``failure``."""
        return encode_failure(failure)


OPENAI_EMBEDDINGS = OpenAIEmbeddingsCodec()


def _read(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw, what: str, kind: str) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedError(f"{what} is not {kind}.") from None


def _given(fields: Mapping[str, msgspec.Raw], name: str) -> msgspec.Raw | None:
    value = fields.get(name)
    return None if value is None or value == _NULL else value


def _left(fields: Mapping[str, msgspec.Raw], known: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that canon has no name for."""
    rest = {name: raw for name, raw in fields.items() if name not in known and raw != _NULL}
    return {name: _read(_any, raw, name, "JSON") for name, raw in rest.items()}


def _positive(raw: msgspec.Raw) -> int:
    number = _read(_count, raw, "dimensions", "an integer")
    if number < 1:
        raise MalformedError("dimensions is less than 1.")
    return number


def _inputs_of(raw: msgspec.Raw) -> tuple[EmbeddingInput, ...]:
    if bytes(memoryview(raw)[:1]) == b'"':
        return (_read(_string, raw, "input", "a text"),)
    with contextlib.suppress(msgspec.MsgspecError):
        return tuple(_texts.decode(raw))
    with contextlib.suppress(msgspec.MsgspecError):
        return tuple(map(tuple, _token_lists.decode(raw)))
    kinds = "a text, a list of texts, a list of tokens or a list of such lists"
    return (tuple(_read(_tokens, raw, "input", kinds)),)


def _in_order(items: list[_Item]) -> list[_Item]:
    """Return ``items`` by their indexes; some servers give none, and mean the order of the list."""
    if all(item.index is None for item in items):
        return items
    found: list[_Item | None] = [None] * len(items)
    for item in items:
        if item.index is None or not 0 <= item.index < len(items) or found[item.index] is not None:
            raise MalformedError(
                f"the indexes of its {len(items)} embeddings are not 0 to {len(items) - 1}, each once."
            )
        found[item.index] = item
    return cast("list[_Item]", found)


def _decode_usage(fields: dict[str, Any]) -> Usage:
    prompt, total = fields.pop("prompt_tokens", None), fields.pop("total_tokens", None)
    if not {type(prompt), type(total)} <= {int, type(None)}:
        raise MalformedError("usage holds a count that is not an integer.")
    read = total if prompt is None else prompt
    if (read or 0) < 0 or (total or 0) < 0:
        raise MalformedError("usage holds a negative count.")
    written = None if read is None else max(0, (total or read) - read)
    extras = {name: value for name, value in fields.items() if value is not None}
    return Usage(input_tokens=read, output_tokens=written, extras=with_extras(NAME, extras))


def _encode_usage(usage: Usage) -> dict[str, Any]:
    counts = {"prompt_tokens": usage.input_tokens or 0, "total_tokens": usage.total_tokens}
    return {**counts, **extras_of(usage.extras, NAME)}


def _pieces(reply: EmbeddingReply, encoding: VectorEncoding) -> Iterator[bytes]:
    written = vector_as_base64 if encoding == "base64" else vector_as_json
    yield b'{"object":"list","data":['
    for index, vector in enumerate(reply.vectors):
        yield b'%s{"object":"embedding","index":%d,"embedding":' % (b"," if index else b"", index)
        yield written(vector)
        yield b"}"
    rest: dict[str, Any] = {"model": reply.model or ""}
    if reply.usage is not None:
        rest["usage"] = _encode_usage(reply.usage)
    rest.update(extras_of(reply.extras, NAME))
    yield b"]," + _encode(rest)[1:]
