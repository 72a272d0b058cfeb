"""How much of an answer is taken."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rini.tools import answer_size
from rini.tools.answer_size import TOO_LARGE, TOO_MANY, AnswerSize

_values = st.recursive(
    st.none() | st.text(st.sampled_from('a"\\,[{\n\u00e9'), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from('",['), max_size=2), inner),
)


def counted(*pieces: bytes) -> int:
    size = AnswerSize()
    for piece in pieces:
        assert size.add(piece) is None
    return size._values


@given(_values, st.lists(st.integers(0, 200), max_size=6))
def test_values_are_counted_outside_of_texts_wherever_the_cuts_are(value: object, cuts: list[int]):
    text = json.dumps(value).encode()
    marks = json.dumps(_without_texts(value)).encode()
    expected = sum(marks.count(mark) for mark in (b",", b"[", b"{"))
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    assert counted(*(text[start:end] for start, end in itertools.pairwise(places))) == expected


def _without_texts(value: object) -> object:
    match value:
        case list():
            return [_without_texts(each) for each in value]
        case dict():
            return {str(number): _without_texts(each) for number, each in enumerate(value.values())}
        case _:
            return None


def test_a_stray_quote_hides_nothing():
    assert counted(b': a "comment\n', b'data: [1,2]\n: "\r[') == 3


def test_too_much_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answer_size, "MAX_VALUES", 10)
    monkeypatch.setattr(answer_size, "MAX_BYTES", 100)
    assert AnswerSize().add(b"[" * 11) == TOO_MANY
    size = AnswerSize()
    assert [size.add(b'"' + b"," * 50) for _ in range(2)] == [None, TOO_LARGE]
