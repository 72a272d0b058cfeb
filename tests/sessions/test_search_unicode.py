"""The search in every script: what a reader takes for the same is found, and both databases find the same."""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import migrate
from rini.sessions import messages, repository, search
from tests.conftest import DATABASES


@dataclass
class Shelf:
    """A database of a kind with a user's session in it."""

    database: Database
    user_id: int
    session_id: str

    def store(self, content: str) -> int:
        stored = self.database.write_sync(messages.append, self.user_id, self.session_id, "user", content, None)
        self.database.write_sync(search.catch_up)  # as the endpoint does before it searches
        return stored.id

    def find(self, query: str) -> set[int]:
        assert self.database.write_sync(search.catch_up)
        found = self.database.read_sync(search.search, self.user_id, query, limit=100)
        assert all(hit.message.content[hit.start :].startswith(hit.snippet) for hit in found.hits)
        return {hit.message.id for hit in found.hits} if found.has_all else set()

    def marked(self, query: str) -> list[str]:
        """What is marked in the first message that is found."""
        hit = self.database.read_sync(search.search, self.user_id, query).hits[0]
        return [hit.snippet[start:end] for start, end in hit.matches]


@pytest.fixture(scope="module")
def new_shelf(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Shelf]]:
    opened: list[Database] = []

    def make(kind: str) -> Shelf:
        url = f"sqlite:///{tmp_path_factory.mktemp('shelf') / 'rini.db'}"
        if kind == "postgres":
            url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
        migrate(url)
        opened.append(database := Database(url))
        user_id, session_id = database.write_sync(_begun)
        return Shelf(database, user_id, session_id)

    yield make
    for database in opened:
        database.close()


def _begun(connection: Connection) -> tuple[int, str]:
    user_id = users.create(connection)
    return user_id, repository.create(connection, user_id, "a", None, "auto").id


@pytest.fixture(scope="module", params=DATABASES)
def shelf(request: pytest.FixtureRequest, new_shelf: Callable[[str], Shelf]) -> Shelf:
    return new_shelf(request.param)


@pytest.fixture(scope="module")
def both(new_shelf: Callable[[str], Shelf]) -> tuple[Shelf, Shelf]:
    return new_shelf("sqlite"), new_shelf("postgres")


NFD, NFC = (lambda text, form=form: unicodedata.normalize(form, text) for form in ("NFD", "NFC"))

SAME = {
    "letters of Hangul": (NFD("대한민국 만세"), "대한민국"),
    "syllables of Hangul": ("대한민국 만세", NFD("대한민국")),
    "half-width letters of Hangul": ("\uffa1", "\u1100"),
    "a part of a Korean word": ("데이터베이스를", "베이스"),
    "a Korean word with another ending": ("예산을 검토했다", "예산"),
    "accents apart": ("cafe\u0301 cre\u0300me", "café"),
    "no accents": ("Crème Brûlée", "creme brulee"),
    "accents that are not there": ("zurich", "Zürich"),
    "full width": ("ＡＢＣ１２３", "abc123"),
    "plain width": ("xyz987", "ＸＹＺ９８７"),
    "half-width kana": ("ｶﾞﾗｽ", "ガラス"),
    "ligatures": ("ﬁnal oﬃce", "office"),
    "sharp s": ("STRASSE", "straße"),
    "final sigma": ("ΟΔΟΣ", "οδος"),
    "dotted capital i": ("İzmir", "izmir"),
    "Roman numerals": ("Ⅷ", "viii"),
    "one family": ("eine 👨‍👩‍👧 hier", "👨‍👩‍👧"),
    "another skin": ("👍🏽 ok", "👍"),
    "a flag": ("von 🇰🇷 nach", "🇰🇷"),
    "a picture as text": ("❤︎ love", "❤️"),
    "Arabic with vowels": ("مُحَمَّدٌ", "محمد"),
    "Arabic without vowels": ("محمد", "مُحَمَّد"),
    "Arabic stretched": ("محـــمد", "محمد"),
    "Arabic forms": ("ﻣﺤﻤﺪ", "محمد"),
    "Hebrew with points": ("שָׁלוֹם", "שלום"),
    "Thai without spaces": ("ฉันรักภาษาไทยมาก", "ภาษาไทย"),
    "Lao": ("ຂ້ອຍຮັກພາສາລາວ", "ພາສາ"),
    "Burmese": ("မြန်မာဘာသာစကား", "ဘာသာ"),
    "Khmer": ("ខ្ញុំស្រឡាញ់ភាសាខ្មែរ", "ភាសា"),
    "Devanagari": ("मुझे हिन्दी पसंद है", "हिन्दी"),
    "Tamil": ("எனக்கு தமிழ் பிடிக்கும்", "தமிழ்"),
    "Chinese": ("我喜欢人工智能技术", "人工智能"),
    "one Chinese character": ("我喜欢茶", "茶"),
    "compatibility ideographs": ("\uf900\uf901", "豈更"),
    "beyond the first plane": ("𠮷野家で食べた", "𠮷野家"),
    "Deseret": ("𐐀𐐁", "𐐨𐐩"),
    "a right-to-left mark in the text": ("abc\u202edef\u202c\u200fghi", "abcdefghi"),
    "a right-to-left mark in the query": ("abcdefghi", "\u200fabc\u202edef\u2069ghi"),
    "a soft hyphen": ("Donau\u00addampf\u200bschiff", "Donaudampfschiff"),
    "other spaces": ("one\u00a0two\u3000three\u2009four", "two four"),
    "a byte order mark": ("\ufeffbegin", "begin"),
    "a very long word": ("w" * 100_000, "w" * 999),
    "a long word of a script": ("भ" * 30_000, "भ" * 900),
    "a text without a space": ("한국어는" * 10_000, "국어는한"),
    "quotes": ("she said “it’s fine”", "it’s"),
    "straight quotes": ("""it's 'so' "so" """, "\"it's\" 'so'"),
    "operators": ('cats AND NOT dogs NEAR/2 ("a") -b c* d:e ^f', '"NOT" -b c* d:e ^f NEAR/2 ("a")'),
    "SQL": ("'; DROP TABLE messages; --", "'; DROP TABLE messages; --"),
    "a tsquery": ("a & !b | (c <-> d):*", "a & !b | (c <-> d):*"),
    "braces of a pattern": ("%foo_bar%", "foo_bar"),
    "a path": (r"C:\temp\new", r"C:\temp"),
    "numbers": ("3.14 and 1,000", "3.14"),
}


@pytest.mark.parametrize("what", SAME)
def test_the_same_is_found(shelf: Shelf, what: str):
    text, query = SAME[what]
    message = shelf.store(text)
    assert message in shelf.find(query)
    assert message in shelf.find(text[:300])
    assert all(shelf.marked(query))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("running", "run"),
        ("abc", "abcd"),
        ("foo bar", "foo_baz"),
        ("우리 나라", "우리나라라"),
        ("👍", "👎"),
        ("กขค", "กค"),
        ("茶", "茶茶"),
        ("x", "x" * 500),
    ],
)
def test_another_is_not(shelf: Shelf, text: str, query: str):
    assert shelf.store(text) not in shelf.find(query)


@pytest.mark.parametrize(
    "query", ["", " \t\n\u3000", "!?…—*&|()\"'", "\x00", "\x00\x00a\x00"[:1], "\ud800", "\udfff\ud800", "\u202e\u200f\ufeff", "\u0301", "\ufe0f", "\U000e0001"]
)  # fmt: skip
def test_a_query_without_a_word_finds_nothing(shelf: Shelf, query: str):
    shelf.store("a !?…—*&|()\"' \u0301 word")
    assert shelf.find(query) == set()


@pytest.mark.parametrize("query", ["quokka\x00quokka", "\ud800quokka", "quokka\udfff", "\x00quokka\x00"])
def test_what_no_text_holds_parts_words(shelf: Shelf, query: str):
    shelf.store("quokka quokka")
    shelf.find(query)  # whatever it finds, it is answered


PIECES = st.sampled_from(
    [*(text[:40] for text, _ in SAME.values()), " ", "\u200d", "\u0301", "\u1161", "\u11a8", "\U0001f1f0", "ـ", "\ufeff", "'", '"', "*", "\\"]
)  # fmt: skip
WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=12)
TEXTS = st.lists(PIECES | WORDS, min_size=1, max_size=5).map("".join)


@given(TEXTS, st.integers(0, 60), st.integers(1, 30))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_both_databases_find_the_same(both: tuple[Shelf, Shelf], text: str, start: int, length: int):
    stored = [shelf.store(text) for shelf in both]
    query = text[start : start + length]
    for asked in (query, " ".join(text.split()[:20]), text.upper()[:200]):
        found = [message in shelf.find(asked) for shelf, message in zip(both, stored, strict=True)]
        assert found[0] == found[1]
    # Whole runs between spaces are always found, where there is a word in them.
    whole = " ".join(text.split()[:8])[:200]
    if search.query_phrases(whole, search.MOST_ASKED):
        assert (
            all(message in shelf.find(whole) for shelf, message in zip(both, stored, strict=True)) or len(whole) == 200
        )
    for shelf in both:
        shelf.database.read_sync(search.search, shelf.user_id, whole)
