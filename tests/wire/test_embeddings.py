"""The embedding codecs: round trips, and what they refuse."""

import base64
import json
import math
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rini.canon import EmbeddingReply, EmbeddingRequest, Usage
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.gemini_embeddings import GEMINI_EMBEDDING, GEMINI_EMBEDDINGS
from rini.wire.openai_embeddings import OPENAI_EMBEDDINGS

texts = st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5).map(tuple)
tokens = st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=4).map(tuple), min_size=1, max_size=3).map(tuple)
dimensions = st.none() | st.integers(1, 4096)
extras = st.none() | st.just({"user": "u-1", "priority": [1, None, {"a": 1.5}]})
finite = st.floats(allow_nan=False, allow_infinity=False)
usages = st.none() | st.integers(0, 10**6).map(lambda count: Usage(input_tokens=count, output_tokens=0))


@st.composite
def replies(draw: st.DrawFn, numbers: st.SearchStrategy[float] = finite, typecode: str = "d") -> EmbeddingReply:
    size = draw(st.integers(1, 4))
    vector = st.lists(numbers, min_size=size, max_size=size).map(lambda found: array(typecode, found))
    vectors = draw(st.lists(vector, min_size=1, max_size=4).map(tuple))
    return EmbeddingReply(vectors=vectors, model="m", usage=draw(usages))


@given(texts | tokens, dimensions, st.sampled_from(["float", "base64"]), extras)
def test_an_openai_request_survives(inputs, dimensions, encoding, extras):
    request = EmbeddingRequest("m", inputs, dimensions, encoding, extras and {OPENAI_EMBEDDINGS.name: extras})
    assert OPENAI_EMBEDDINGS.decode_request(OPENAI_EMBEDDINGS.encode_request(request)) == request


@given(texts, dimensions, st.none() | st.just({"taskType": "RETRIEVAL_QUERY", "title": "t"}))
def test_a_gemini_request_survives(inputs, dimensions, settings):
    request = EmbeddingRequest("m", inputs, dimensions, extras=settings and {GEMINI_EMBEDDINGS.name: settings})
    assert GEMINI_EMBEDDINGS.decode_request(GEMINI_EMBEDDINGS.encode_request(request), model="m") == request
    assert GEMINI_EMBEDDINGS.decode_request(GEMINI_EMBEDDINGS.encode_request(request)) == request


@given(replies())
def test_an_answer_survives_exactly(reply: EmbeddingReply):
    assert OPENAI_EMBEDDINGS.decode_reply(b"".join(OPENAI_EMBEDDINGS.encode_reply(reply))) == reply
    nameless = EmbeddingReply(reply.vectors, usage=reply.usage)
    decoded = GEMINI_EMBEDDINGS.decode_reply(b"".join(GEMINI_EMBEDDINGS.encode_reply(reply)))
    assert decoded.vectors == nameless.vectors
    if reply.usage is not None:
        assert decoded.usage is not None
        assert decoded.usage.input_tokens == reply.usage.input_tokens


@given(replies(st.floats(width=32, allow_nan=False, allow_infinity=False), "f"))
def test_base64_and_numbers_say_the_same(reply: EmbeddingReply):
    compact = OPENAI_EMBEDDINGS.decode_reply(b"".join(OPENAI_EMBEDDINGS.encode_reply(reply, "base64")))
    plain = OPENAI_EMBEDDINGS.decode_reply(b"".join(OPENAI_EMBEDDINGS.encode_reply(reply)))
    assert compact == reply
    assert plain.vectors == compact.vectors


def test_a_large_answer_comes_in_pieces():
    reply = EmbeddingReply(tuple(array("d", [0.123456789] * 1000) for _ in range(100)))
    pieces = list(OPENAI_EMBEDDINGS.encode_reply(reply))
    assert len(pieces) > 10
    assert max(map(len, pieces)) < 100_000
    assert len(json.loads(b"".join(pieces))["data"]) == 100


def test_one_text_and_one_list_of_tokens_are_lists_of_one():
    decode = OPENAI_EMBEDDINGS.decode_request
    assert decode(b'{"input": "a", "model": "m"}').inputs == ("a",)
    assert decode(b'{"input": [1, 2], "model": "m"}').inputs == ((1, 2),)
    assert decode(b'{"input": [[1], [2]], "model": "m", "encoding_format": null}').inputs == ((1,), (2,))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"nonsense", b"\xff", b'{"input": "a"}', b'{"model": "m"}', b'{"input": 5, "model": "m"}',
        b'{"input": ["a", 1], "model": "m"}', b'{"input": [-1], "model": "m"}', b'{"input": [1.5], "model": "m"}',
        b'{"input": "a", "model": 5}', b'{"input": "a", "model": "m", "dimensions": 0}',
        b'{"input": "a", "model": "m", "dimensions": "5"}', b'{"input": "a", "model": "m", "encoding_format": "hex"}',
        b'{"input": ' + b"[" * 5000 + b"]" * 5000 + b', "model": "m"}',
    ],
)  # fmt: skip
def test_requests_that_are_malformed(body):
    with pytest.raises(MalformedError):
        OPENAI_EMBEDDINGS.decode_request(body)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", MalformedError),
        (b'{"requests": 5}', MalformedError),
        (b'{"requests": [{}]}', MalformedError),
        (b'{"requests": [{"content": {"parts": []}}]}', UnsupportedError),
        (b'{"requests": [{"content": {"parts": [{"text": "a"}, {"text": "b"}]}}]}', UnsupportedError),
        (b'{"requests": [{"content": {"parts": [{"inlineData": {}}]}}]}', UnsupportedError),
        (b'{"requests": [{"content": {"parts": [{"text": 5}]}}]}', MalformedError),
    ],
)
def test_gemini_requests_that_are_refused(body, error):
    with pytest.raises(error):
        GEMINI_EMBEDDINGS.decode_request(body, model="m")


def test_a_gemini_batch_has_one_setting():
    one = {"content": {"parts": [{"text": "a"}]}, "output_dimensionality": 5}
    same = {"content": {"parts": [{"text": "b"}]}, "embedContentConfig": {"outputDimensionality": 5}}
    decoded = GEMINI_EMBEDDINGS.decode_request(json.dumps({"requests": [one, same]}).encode(), model="m")
    assert (decoded.inputs, decoded.dimensions) == (("a", "b"), 5)
    other = json.dumps({"requests": [one, same | {"taskType": "CLUSTERING"}]}).encode()
    with pytest.raises(UnsupportedError, match=r"requests\[1\].taskType"):
        GEMINI_EMBEDDINGS.decode_request(other, model="m")


def test_gemini_takes_no_tokens_and_embed_content_one_text():
    with pytest.raises(UnsupportedError, match="not tokens"):
        GEMINI_EMBEDDINGS.encode_request(EmbeddingRequest("m", ((1, 2),)))
    with pytest.raises(UnsupportedError, match="takes one"):
        GEMINI_EMBEDDING.encode_request(EmbeddingRequest("m", ("a", "b")))
    assert GEMINI_EMBEDDING.path("models/m/1") == "/v1beta/models/m%2F1:embedContent"
    single = EmbeddingRequest("m", ("a",), 5)
    assert GEMINI_EMBEDDING.decode_request(GEMINI_EMBEDDING.encode_request(single)) == single


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.mark.parametrize(
    "embedding",
    [None, 5, {}, [], "", [None], ["1"], [[1]], "!!!!", "AAA", packed(1, math.nan), packed(math.inf), "AAAAAAA="],
)
def test_vectors_that_are_none(embedding):
    body = json.dumps({"data": [{"index": 0, "embedding": embedding}]}).encode()
    with pytest.raises(MalformedError, match=r"data\[0\].embedding"):
        OPENAI_EMBEDDINGS.decode_reply(body)
    with pytest.raises(MalformedError):
        GEMINI_EMBEDDINGS.decode_reply(json.dumps({"embeddings": [{"values": embedding}]}).encode())


def test_numbers_whose_sum_overflows_are_finite():
    vector = OPENAI_EMBEDDINGS.decode_reply(b'{"data": [{"embedding": [1e308, 1e308]}]}').vectors[0]
    assert vector.tolist() == [1e308, 1e308]


@pytest.mark.parametrize("indexes", [[0, 0], [1, 2], [-1, 0], [0, None]])
def test_indexes_that_are_wrong(indexes):
    data = [{"index": index, "embedding": [1]} for index in indexes]
    with pytest.raises(MalformedError, match="indexes"):
        OPENAI_EMBEDDINGS.decode_reply(json.dumps({"data": data}).encode())


def test_indexes_put_the_vectors_in_order_and_without_any_the_list_does():
    data = [{"index": index, "embedding": [index]} for index in (2, 0, 1)]
    vectors = OPENAI_EMBEDDINGS.decode_reply(json.dumps({"data": data}).encode()).vectors
    assert [vector[0] for vector in vectors] == [0, 1, 2]
    data = [{"embedding": [number]} for number in (2, 0, 1)]
    vectors = OPENAI_EMBEDDINGS.decode_reply(json.dumps({"data": data}).encode()).vectors
    assert [vector[0] for vector in vectors] == [2, 0, 1]


@pytest.mark.parametrize("usage", [5, {"prompt_tokens": "5"}, {"prompt_tokens": -5}, {"total_tokens": 1.5}])
def test_usage_that_makes_no_sense(usage):
    with pytest.raises(MalformedError, match="usage"):
        OPENAI_EMBEDDINGS.decode_reply(json.dumps({"data": [{"embedding": [1]}], "usage": usage}).encode())


def test_a_server_that_tells_the_total_alone_means_what_was_read():
    usage = OPENAI_EMBEDDINGS.decode_reply(b'{"data": [{"embedding": [1]}], "usage": {"total_tokens": 7}}').usage
    assert usage == Usage(input_tokens=7, output_tokens=0)
