"""Gemini's embedContent and batchEmbedContents (Gemini API v1beta; EmbedContentRequest, August 2026).

Canon has one setting for all inputs, so a batch whose requests differ in more than their text has no equivalent, nor have inputs of
several parts (gemini-embedding-2 makes one vector of them) or of pictures.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from rini.canon import EmbeddingReply, EmbeddingRequest, Failure, Usage, VectorEncoding, extras_of, with_extras
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.gemini.failure import decode_failure, encode_failure
from rini.wire.gemini.fields import a_string, an_integer, an_object, camel, dumps, loads, objects
from rini.wire.gemini.usage import decode_usage, encode_usage
from rini.wire.vectors import gathered, read_vector, vector_as_json

NAME = "gemini_embeddings"

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Values(msgspec.Struct):
    values: msgspec.Raw


_NOTHING = msgspec.Raw(b"null")


class _Beside(msgspec.Struct, rename="camel"):
    usage_metadata: msgspec.Raw = _NOTHING


_one = msgspec.json.Decoder(_Values)
_many = msgspec.json.Decoder(list[_Values])
_beside = msgspec.json.Decoder(_Beside)


class GeminiEmbeddingsCodec:
    """The codec. See rini.wire.embedding_codec.EmbeddingCodec.

    ``batch`` tells the two calls apart: embedContent takes one input, batchEmbedContents up to 100.
    """

    name = NAME

    def __init__(self, *, batch: bool) -> None:
        self.batch = batch

    def path(self, model: str) -> str:
        """Return the path of the call. ``models/x`` is taken as it is."""
        method = "batchEmbedContents" if self.batch else "embedContent"
        return f"/v1beta/models/{quote(model.removeprefix('models/'), safe='')}:{method}"

    def encode_request(self, request: EmbeddingRequest) -> bytes:
        """Return the body that asks a provider for ``request``. Raises UnsupportedError for tokens, and for several texts in embedContent."""
        settings: dict[str, Any] = {"model": _resource(request.model)}
        if request.dimensions is not None:
            settings["outputDimensionality"] = request.dimensions
        own = dict(extras_of(request.extras, NAME))
        config = {name: own.pop(name) for name in _OF_CONFIG if name in own}
        settings |= own
        if config:
            settings["embedContentConfig"] = config
        requests: list[dict[str, Any]] = []
        for at, text in enumerate(request.inputs):
            if not isinstance(text, str):
                raise UnsupportedError(NAME, f"inputs[{at}]", "it takes texts, not tokens")
            requests.append({**settings, "content": {"parts": [{"text": text}]}})
        if self.batch:
            return dumps({"requests": requests})
        if len(requests) != 1:
            raise UnsupportedError(NAME, "inputs", "embedContent takes one")
        return dumps(requests[0])

    def decode_request(self, body: bytes, *, model: str | None = None) -> EmbeddingRequest:
        """Return the request in ``body``; ``model`` is that of its URL. Raises MalformedError and UnsupportedError."""
        fields = camel(an_object(loads(body), "The request"))
        requests = objects(fields.get("requests"), "requests") if self.batch else [fields]
        texts: list[str] = []
        first: dict[str, Any] | None = None
        for at, each in enumerate(requests):
            text, settings = _decode_one(each, f"requests[{at}]." if self.batch else "")
            texts.append(text)
            first = settings if first is None else first
            for name in settings.keys() | first.keys():
                if settings.get(name) != first.get(name):
                    raise UnsupportedError(NAME, f"requests[{at}].{name}", "it is the same for all requests of a batch")
        settings = first or {}
        named = settings.pop("model", None)
        dimensions = settings.pop("outputDimensionality", None)
        return EmbeddingRequest(
            model=model or a_string(named, "model").removeprefix("models/"),
            inputs=tuple(texts),
            dimensions=None if dimensions is None else an_integer(dimensions, "outputDimensionality"),
            extras=with_extras(NAME, settings),
        )

    def decode_reply(self, body: bytes) -> EmbeddingReply:
        """Return the answer in ``body``. It names no model. Raises MalformedError."""
        try:
            fields = _fields.decode(body)
            if self.batch:
                found = _many.decode(fields.get("embeddings", b"[]"))
            else:
                found = [_one.decode(fields.get("embedding", _NOTHING))]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise MalformedError("it holds no list of embeddings.") from None
        usage = fields.get("usageMetadata", _NOTHING)
        return EmbeddingReply(
            vectors=tuple(read_vector(item.values, f"embeddings[{at}].values") for at, item in enumerate(found)),
            usage=None if usage == _NOTHING else _decode_usage(loads(bytes(usage))),
        )

    def decode_beside(self, body: bytes) -> EmbeddingReply:
        """Return the usage that the answer in ``body`` tells. Never raises."""
        usage: Usage | None = None
        with contextlib.suppress(MalformedError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            told = _beside.decode(body).usage_metadata
            if told != _NOTHING:
                usage = _decode_usage(loads(bytes(told)))
        return EmbeddingReply((), usage=usage)

    def encode_reply(self, reply: EmbeddingReply, encoding: VectorEncoding = "float") -> Iterator[bytes]:
        """Return ``reply`` as an answer's body, in pieces. It always holds JSON numbers."""
        del encoding
        return gathered(self._pieces(reply))

    def decode_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Return what an answer with an error ``status`` says. Never raises."""
        return decode_failure(status, headers, body)

    def encode_failure(self, failure: Failure) -> tuple[int, bytes]:
        """Return the HTTP status and the error body for ``failure``."""
        return encode_failure(failure)

    def _pieces(self, reply: EmbeddingReply) -> Iterator[bytes]:
        yield b'{"embeddings":[' if self.batch else b'{"embedding":'
        for index, vector in enumerate(reply.vectors):
            yield b',{"values":' if index else b'{"values":'
            yield vector_as_json(vector)
            yield b"}"
        if self.batch:
            yield b"]"
        if reply.usage is not None:
            yield b',"usageMetadata":' + dumps(_encode_usage(reply.usage))
        yield b"}"


# These have no place beside the content, as the older settings have.
_OF_CONFIG = ("autoTruncate", "documentOcr", "audioTrackExtraction")

GEMINI_EMBEDDINGS = GeminiEmbeddingsCodec(batch=True)
GEMINI_EMBEDDING = GeminiEmbeddingsCodec(batch=False)


def _resource(model: str) -> str:
    return model if model.startswith("models/") else f"models/{model}"


def _decode_one(fields: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Return the text of one request and its settings, which may stand in an ``embedContentConfig`` of their own."""
    settings = camel(fields)
    content = camel(an_object(settings.pop("content", None), f"{where}content"))
    config = settings.pop("embedContentConfig", None)
    if config is not None:
        settings |= camel(an_object(config, f"{where}embedContentConfig"))
    parts = objects(content.get("parts"), f"{where}content.parts")
    if len(parts) != 1:
        raise UnsupportedError(NAME, f"{where}content.parts", "one text makes one vector")
    if "text" not in parts[0]:
        raise UnsupportedError(NAME, f"{where}content.parts[0]", "only texts are embedded")
    return a_string(parts[0]["text"], f"{where}content.parts[0].text"), settings


def _decode_usage(value: Any) -> Usage:
    """Return the counts; this call spells their split by modality ``promptTokenDetails``, the others ``promptTokensDetails``."""
    fields = dict(an_object(value, "usageMetadata"))
    if "promptTokenDetails" in fields:
        fields["promptTokensDetails"] = fields.pop("promptTokenDetails")
    return decode_usage(fields)


def _encode_usage(usage: Usage) -> dict[str, Any]:
    fields = encode_usage(usage)
    if "promptTokensDetails" in fields:
        fields["promptTokenDetails"] = fields.pop("promptTokensDetails")
    return fields
