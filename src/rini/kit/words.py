"""Words of any language, as a full-text index keeps them and a query asks for them.

Scripts that put no spaces between words, or hang endings on them (Chinese, Japanese, Korean, Thai and their neighbours), are kept as
overlapping pairs of characters, and the last one alone: 데이터 as 데이 이터 터. So any part of it is found, with no dictionary. A word holds
no space, no punctuation and no ASCII capital, whatever the text: to a database it is a plain name.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate, islice
from typing import NamedTuple

LONGEST_WORD = 64
"""A longer word is known by its beginning."""


def _ranges(characters: Iterable[int]) -> str:
    """Return characters, in their order, as re writes a set of them."""
    found: list[list[int]] = []
    for character in characters:
        if found and found[-1][1] == character - 1:
            found[-1][1] = character
        else:
            found.append([character, character])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in found)


# Vowel signs and tones of Indic and other scripts, which re does not count as parts of words. What merely decorates a letter is gone
# before they matter.
_SIGNS = _ranges(
    number
    for block in (range(0x0300, 0x1E00), range(0x302A, 0x3100), range(0xA600, 0xAC00), range(0x10A00, 0x12000))
    for number in block
    if unicodedata.category(chr(number))[0] == "M"
)
_DECORATION = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # accents, Hebrew points
    "\u0610-\u061a\u0640\u064b-\u065f\u0670"  # Arabic vowels, and the bar that lengthens words
    "\u00ad\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff"  # layout
    "\U0001f3fb-\U0001f3ff"  # tones of skin
)
_PAIRED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0ece\u1000-\u1049\u1050-\u109f\u1780-\u17d3"  # Thai, Lao, Burmese, Khmer
    "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul, and its letters
    "\u3041-\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3105-\u312f\u31a0-\u31bf"  # what stands beside Chinese characters
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # and these
)
_PICTURES = "\u2600-\u27bf\U0001f000-\U0001faff"
_LETTER = f"(?:[^\\W_{_PAIRED}{_PICTURES}]|[{_SIGNS}])"
_decoration = re.compile(f"[{_DECORATION}]+")
_words = re.compile(f"([{_PAIRED}]+)|([{_PICTURES}])|({_LETTER}+)")
_ascii_words = re.compile("[a-z0-9]+")
_letters = re.compile(_LETTER)
_one_paired = re.compile(f"[{_PAIRED}]")
_runs = re.compile(r"\S+")
# A character and what belongs to it: what folds by itself as it folds among others.
_cluster = re.compile(
    f".[{_DECORATION}{_SIGNS}\u1160-\u11ff\u3131-\u318e\ud7b0-\ud7ff\uff9e-\uffdc]*",
    re.DOTALL,
)


class Phrase(NamedTuple):
    """Words that stand side by side, as they are in the index; ``pieces`` are the same before they were made pairs.

    ``is_open``: the last word is only the beginning of one in the index.
    """

    words: tuple[str, ...]
    pieces: tuple[str, ...]
    is_open: bool = False


class Place(NamedTuple):
    """Where a phrase stands in a text, in characters from its beginning; ``phrase`` is its number."""

    start: int
    end: int
    phrase: int


def fold(text: str) -> str:
    """Return ``text`` without the differences that a search ignores: case, accents, width, and how characters are composed."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return unicodedata.normalize("NFKC", _decoration.sub("", decomposed)).casefold()


def index_words(text: str, most: int, most_characters: int) -> list[str]:
    """Return the first words of a text, in its order: at most so many, of at most so many characters together."""
    folded = fold(text)
    if folded.isascii():
        words = [found[0][:LONGEST_WORD] for found in islice(_ascii_words.finditer(folded), most)]
    else:
        words = _in_order(folded)[:most]
    if 2 * len(folded) > most_characters:  # as pairs they are up to twice as long as the text
        for at, end in enumerate(accumulate(map(len, words))):
            if end > most_characters:
                return words[:at]
    return words


def query_phrases(query: str, most: int) -> list[Phrase]:
    """Return what a text must hold to be found: of whatever stands between spaces in ``query``, the words side by side.

    No character of a query is an operator. What goes beyond ``most`` words is left out.
    """
    phrases: list[Phrase] = []
    for run in _runs.findall(fold(query)):
        if most <= 0:
            break
        phrase = _phrase(run)
        if len(phrase.words) > most:
            phrase = _shortened(phrase, most)
        most -= len(phrase.words)
        if phrase.words and phrase not in phrases:
            phrases.append(phrase)
    return phrases


def single_words(phrases: list[Phrase]) -> list[Phrase]:
    """Return the phrases' words one by one, each once."""
    words: dict[Phrase, None] = {}
    for phrase in phrases:
        if len(phrase.words) == 1:
            words[phrase] = None
            continue
        for word in phrase.words:
            # The single character that ends a run of pairs says little by itself.
            if not _one_paired.fullmatch(word):
                words[Phrase((word,), (word,))] = None
    return list(words)


def places(text: str, phrases: list[Phrase], most: int) -> list[Place]:
    """Return where the phrases stand in the first ``most`` characters of a text, in its order. They may overlap."""
    text = text[:most]
    folded = _Folded(text)
    return sorted(
        Place(folded.origin(match.start())[0], folded.origin(match.end() - 1)[1], number)
        for number, phrase in enumerate(phrases)
        for match in _pattern(phrase).finditer(folded.text)
    )


class _Folded:
    """A folded text that knows where each of its characters comes from."""

    def __init__(self, text: str) -> None:
        self._is_same = text.isascii()
        self._runs = [] if self._is_same else list(_runs.finditer(text))
        folded = [fold(run[0]) for run in self._runs]
        self.text = fold(text) if self._is_same else " ".join(folded)
        self._starts: list[int] = []
        start = 0
        for run in folded:
            self._starts.append(start)
            start += len(run) + 1
        self._clusters: dict[int, list[tuple[int, int]]] = {}

    def origin(self, at: int) -> tuple[int, int]:
        """Return from where to where in the original text the character at ``at`` was."""
        if self._is_same:
            return at, at + 1
        number = bisect_right(self._starts, at) - 1
        run = self._runs[number]
        clusters = self._clusters.get(number)
        if clusters is None:
            clusters = self._clusters[number] = [
                (run.start() + cluster.start(), run.start() + cluster.end())
                for cluster in _cluster.finditer(run[0])
                for _ in fold(cluster[0])
            ]
        at -= self._starts[number]
        # Should clusters ever fold to something else than their run, the run is told.
        return clusters[at] if at < len(clusters) else run.span()


def _in_order(folded: str) -> list[str]:
    words: list[str] = []
    for paired, picture, plain in _words.findall(folded):
        if plain:
            words.append(plain[:LONGEST_WORD])
        elif paired:
            words += [paired[at : at + 2] for at in range(len(paired))]
        else:
            words.append(picture)
    return words


def _phrase(run: str) -> Phrase:
    pieces = tuple(found[0] for found in _words.finditer(run))
    words = _in_order(run)
    ends_paired = bool(pieces) and _one_paired.match(pieces[-1]) is not None
    if ends_paired and len(pieces[-1]) > 1:
        words.pop()  # in a text there may be more behind its last character
    return Phrase(tuple(words), pieces, is_open=ends_paired and len(pieces[-1]) == 1)


def _shortened(phrase: Phrase, most: int) -> Phrase:
    """Return the first words of a phrase that has more than ``most``."""
    pieces: list[str] = []
    left = most
    for piece in phrase.pieces:
        is_paired = _one_paired.match(piece) is not None
        count = len(piece) if is_paired else 1
        # So many pairs of characters have one character more.
        pieces.append(piece[: left + 1] if is_paired else piece)
        left -= count
        if left <= 0:
            break
    return Phrase(phrase.words[:most], tuple(pieces))


def _pattern(phrase: Phrase) -> re.Pattern[str]:
    """Return what finds the phrase in a folded text."""
    parts: list[str] = []
    for piece in phrase.pieces:
        found = re.escape(piece[:LONGEST_WORD])
        if _letters.match(piece):
            more = f"{_LETTER}*" if len(piece) >= LONGEST_WORD else ""
            found = f"(?<!{_LETTER}){found}{more}(?!{_LETTER})"
        parts.append(found)
    return re.compile("[\\W_]*".join(parts))
