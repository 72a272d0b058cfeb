"""Words of texts in any script, phrases of queries, and the places where they stand."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rini.kit import words
from rini.kit.words import Phrase, fold, index_words, places, query_phrases, single_words

MOST = 10**6


def indexed(text: str) -> list[str]:
    return index_words(text, MOST, MOST)


def found(text: str, query: str) -> bool:
    """Whether the words of a query stand in a text's words as an index would see it."""
    here = [*indexed(text), ""]

    def at(phrase: Phrase, start: int) -> bool:
        there = here[start : start + len(phrase.words)]
        return there[:-1] == list(phrase.words[:-1]) and (
            there[-1:] == list(phrase.words[-1:]) or (phrase.is_open and there[-1].startswith(phrase.words[-1]))
        )

    phrases = query_phrases(query, MOST)
    return bool(phrases) and all(any(at(phrase, start) for start in range(len(here))) for phrase in phrases)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("한국어 문서를 검색합니다", "검색"),
        ("한국어 문서를 검색합니다", "문서"),
        ("아침밥을 먹었다", "밥"),
        ("아침밥", "밥"),
        ("아침밥 먹자", "침밥"),
        (unicodedata.normalize("NFD", "데이터베이스"), "베이스"),
        ("데이터베이스", unicodedata.normalize("NFD", "베이스")),
        ("FastAPI로 만든 것", "FastAPI로"),
        ("FastAPI로는", "fastapi로"),
        ("가나API다라", "나API다"),
        ("ㅋㅋㅋㅋ 재밌다", "ㅋㅋ"),
        ("大韓民國", "民國"),
        ("日本語のテスト", "テスト"),
        ("ﾃﾞｰﾀﾍﾞｰｽ", "データ"),
        ("ภาษาไทยง่าย", "ไทย"),
        ("ＦＵＬＬ　ｗｉｄｔｈ", "full width"),
        ("Crème brûlée", "creme BRULEE"),
        ("cafe\u0301", "café"),
        ("STRASSE", "straße"),
        ("İstanbul", "istanbul"),
        ("שָׁלוֹם עולם", "שלום"),
        ("مُحَمَّد", "محمد"),
        ("می\u200cخواهم", "میخواهم"),
        ("हिन्दी में लिखो", "हिन्दी"),
        ("well done 👍🏽!", "👍"),
        ("❤️", "❤"),
        ("see foo_bar.baz(1)", "foo_bar"),
        ("it is 3.14", "3.14"),
        ("𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "unicode"),
        ("a\x00b", "b"),
        ("a\ud800b", "a b"),
        ("𠮷野家", "野家"),
    ],
)
def test_what_is_found(text: str, query: str):
    assert found(text, query)
    place = places(text, query_phrases(query, MOST), MOST)
    assert place
    assert all(0 <= each.start < each.end <= len(text) for each in place)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("running", "run"),
        ("고양이", "강아지"),
        ("데이 베이스", "데이베이스"),
        ("one two", "one-three"),
        ("bar foo", "foo-bar"),
        ("हिन्दी", "हिन्द"),
        ("น้ำ", "นำ"),
    ],
)
def test_what_is_not_found(text: str, query: str):
    assert not found(text, query)
    assert not places(text, query_phrases(query, MOST), MOST)


@pytest.mark.parametrize(
    "query", ["", "   ", "\n\t", '"', "***", '"" AND', "-()[]{}:^~'\\", "\x00", "\ud800", "\u200b", "…。、"]
)
def test_a_query_without_words_has_no_phrases(query: str):
    assert [each for each in query_phrases(query, MOST) if each.words != ("and",)] == []


def test_operators_are_words():
    assert [each.words for each in query_phrases('"a b" AND NEAR(c, 2) OR -d* col:e', MOST)] == [
        ("a",), ("b",), ("and",), ("near", "c"), ("2",), ("or",), ("d",), ("col", "e"),
    ]  # fmt: skip


def test_a_query_is_cut_at_so_many_words():
    assert [each.words for each in query_phrases("a b c d", 2)] == [("a",), ("b",)]
    assert query_phrases("가나다라마바사", 3) == [Phrase(("가나", "나다", "다라"), ("가나다라",))]
    assert query_phrases("x 가나다", 1) == [Phrase(("x",), ("x",))]
    assert query_phrases("가-나다-x", 2) == [Phrase(("가", "나다"), ("가", "나다"))]
    assert query_phrases("a_b_c", 2) == [Phrase(("a", "b"), ("a", "b"))]


def test_single_words_of_phrases():
    asked = query_phrases("예산을 foo-bar 밥 FastAPI로 예산을", MOST)
    assert [each.words[0] for each in single_words(asked)] == ["예산", "산을", "foo", "bar", "밥", "fastapi"]


def test_a_long_text_is_kept_in_part():
    assert index_words("a b c", 2, MOST) == ["a", "b"]
    assert index_words("aaa bbb ccc", MOST, 7) == ["aaa", "bbb"]
    assert index_words("가나다라", MOST, 4) == ["가나", "나다"]
    assert index_words("x" * 1000, MOST, MOST) == ["x" * words.LONGEST_WORD]
    assert found("x" * 1000, "x" * 500)
    assert places("x" * 1000, query_phrases("x" * 500, MOST), MOST) == [(0, 1000, 0)]


def test_places_are_those_of_the_text_as_it_is():
    text = "㎏ ﬁn: " + unicodedata.normalize("NFD", "한국어") + " ＦａｓｔＡＰＩ, fastapi"
    asked = query_phrases("국어 fastapi fin", MOST)
    assert [(unicodedata.normalize("NFKC", text[each.start : each.end]), each.phrase) for each in places(text, asked, MOST)] == [
        ("fin", 2), ("국어", 0), ("FastAPI", 1), ("fastapi", 1),
    ]  # fmt: skip
    assert places(text, asked, 6)[-1].phrase == 2


SOME = st.text(
    st.one_of(st.characters(), st.sampled_from("가각ㄱㅏ\u1100\u1161\u11a8カﾞｶ゛\u3099aÀ\u0301 .👍\u200dก้ी漢々_")),
    max_size=40,
)


@given(SOME)
def test_words_are_plain_names_and_the_text_is_found_by_itself(text: str):
    kept = indexed(text)
    for word in kept:
        assert 0 < len(word) <= words.LONGEST_WORD
        assert not any(
            character.isspace() or character in "'\"\\/:*()+-^_\x00" or "A" <= character <= "Z" for character in word
        )
        word.encode()
    assert fold(fold(text)) == fold(text)
    for place in places(text, query_phrases(text, MOST), MOST):
        assert 0 <= place.start < place.end <= len(text)
    if kept:
        assert found(text, text)


@given(SOME, SOME)
def test_a_normal_form_makes_no_difference(text: str, other: str):
    for form in ("NFC", "NFD"):
        assert indexed(unicodedata.normalize(form, text)) == indexed(text)
    assert indexed(text + " " + other) == indexed(text) + indexed(other)
