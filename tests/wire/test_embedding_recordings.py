"""The embedding codecs against real exchanges: all of them, requests and answers."""

import json
from collections.abc import Iterator
from itertools import chain

import msgspec
import pytest

from rini.canon import EmbeddingReply, EmbeddingRequest
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.embedding_codec import EmbeddingCodec
from rini.wire.gemini_embeddings import GEMINI_EMBEDDING, GEMINI_EMBEDDINGS
from rini.wire.openai_embeddings import OPENAI_EMBEDDINGS
from tests.wire import recordings
from tests.wire.recordings import Exchange

pytestmark = pytest.mark.skipif(not recordings.present(), reason=recordings.ABSENT)

CODECS: dict[tuple[str, str], EmbeddingCodec] = {
    ("openai", "embeddings"): OPENAI_EMBEDDINGS,
    ("google", "embedContent"): GEMINI_EMBEDDING,
    ("google", "batchEmbedContents"): GEMINI_EMBEDDINGS,
}
WITH_A_PICTURE = "gemini_gemini-embedding-2_embeds_an_image"
REFUSED_BY_OPENAI_TOO = "ai-gateway--embeddings-bad-request"
KINDS = {400: {"invalid_request", "authentication"}, 403: {"permission", "invalid_request"}, 404: {"not_found"}}


def all_exchanges() -> Iterator[tuple[EmbeddingCodec, Exchange]]:
    for (provider, endpoint), codec in CODECS.items():
        yield from ((codec, one) for one in recordings.exchanges(provider, endpoint))


def decoded(codec: EmbeddingCodec, one: Exchange) -> EmbeddingRequest:
    model = one.model if codec is not OPENAI_EMBEDDINGS else None
    return codec.decode_request(msgspec.json.encode(one.request["body"]), model=model)


def test_every_request_is_read_and_written_again():
    read = 0
    for codec, one in all_exchanges():
        if one.request["body"] is None:
            continue
        if WITH_A_PICTURE in one.path or REFUSED_BY_OPENAI_TOO in one.path:
            with pytest.raises((UnsupportedError, MalformedError)):
                decoded(codec, one)
            continue
        request = decoded(codec, one)
        sent = one.request["body"]
        inputs = sent.get("input") or sent.get("requests") or sent["content"]
        assert len(request.inputs) == (len(inputs) if isinstance(inputs, list) and type(inputs[0]) is not int else 1)
        assert request.model == one.model, one.path
        again = codec.encode_request(request)
        assert codec.decode_request(again, model=request.model) == request, one.path
        assert json.loads(again).keys() >= {name for name in sent if sent[name] not in (None, "float")}, one.path
        read += 1
    assert read >= 35


def test_every_answer_is_read_and_written_again():
    read = 0
    for codec, one in all_exchanges():
        if one.status != 200:
            continue
        reply = codec.decode_reply(one.response_bytes)
        body = one.response["body"]
        items = body.get("data") or body.get("embeddings") or [body["embedding"]]
        assert len(reply.vectors) == len(items)
        for vector, item in zip(reply.vectors, items, strict=True):
            numbers = item.get("embedding") or item["values"]
            if isinstance(numbers, list):
                assert vector.tolist() == numbers, one.path
            else:
                assert len(vector) * 4 == len(numbers.rstrip("=")) * 3 // 4, one.path
        told = body.get("usage", {}).get("prompt_tokens") or body.get("usageMetadata", {}).get("promptTokenCount")
        assert (reply.usage.input_tokens if reply.usage else None) == told, one.path
        written = b"".join(codec.encode_reply(reply))
        assert codec.decode_reply(written) == reply, one.path
        assert json.loads(written).keys() == body.keys(), one.path
        in_base64 = codec.decode_reply(b"".join(codec.encode_reply(reply, "base64")))
        assert [len(each) for each in in_base64.vectors] == [len(each) for each in reply.vectors]
        if codec is OPENAI_EMBEDDINGS:
            flat, floats = chain(*reply.vectors), chain(*in_base64.vectors)
            assert all(abs(a - b) <= abs(a) * 1e-6 for a, b in zip(flat, floats, strict=True)), one.path
        read += 1
    assert read >= 30


def test_every_failure_is_told_apart():
    failed = 0
    for codec, one in all_exchanges():
        if one.status == 200:
            continue
        failure = codec.decode_failure(one.status, {}, one.response_bytes)
        assert failure.kind in KINDS[one.status], one.path
        assert failure.message == one.response["body"]["error"]["message"]
        failed += 1
    assert failed >= 7


def test_usage_survives_with_its_split_by_modality():
    reply = GEMINI_EMBEDDINGS.decode_reply(
        b'{"embeddings":[{"values":[1]}],"usageMetadata":'
        b'{"promptTokenCount":4,"promptTokenDetails":[{"modality":"TEXT","tokenCount":4}]}}'
    )
    assert isinstance(reply, EmbeddingReply)
    assert reply.usage is not None
    assert reply.usage.input_tokens == 4
    assert reply.usage.extras is not None
    assert reply.usage.extras["gemini"]["promptTokensDetails"] == [{"modality": "TEXT", "tokenCount": 4}]
