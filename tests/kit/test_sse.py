"""Server-sent events, as the standard has them and as providers send them."""

import random

import pytest

from rini.kit.sse import EventParser, EventTooLargeError

STREAM = (
    "\ufeff: a comment\r\n"
    "event: first\r\ndata: one\r\n\r\n"
    "data:two\ndata:  lines\n\n"
    "id: 7\nretry: 10\ndata: three\r\r"
    "event: nothing\n\n"
    "event: last\ndata: 한국어\n\n"
).encode()
EVENTS = [(b"first", b"one"), (b"", b"two\n lines"), (b"", b"three"), (b"last", "한국어".encode())]


@pytest.mark.parametrize("seed", range(30))
def test_any_cut_gives_the_same_events(seed: int):
    rng = random.Random(seed)
    parser, found, rest = EventParser(), [], STREAM
    while rest:
        size = 1 if seed == 0 else rng.randint(1, 12)
        found += parser.feed(rest[:size])
        rest = rest[size:]
    assert found + parser.close() == EVENTS


def test_an_event_without_its_blank_line_counts_at_the_end():
    parser = EventParser()
    assert parser.feed(b"data: cut off") == []
    assert parser.close() == [(b"", b"cut off")]


def test_what_is_no_event_is_kept_apart():
    parser = EventParser()
    assert parser.feed(b'{"error": 1}\n\n') == []
    assert parser.foreign == b'{"error": 1}'


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 300, b"data: " + b"x" * 300 + b"\n"])
def test_an_event_has_a_largest_size(piece: bytes):
    parser = EventParser(max_bytes=1000)
    for _ in range(3):
        assert parser.feed(piece) == []
    with pytest.raises(EventTooLargeError):
        parser.feed(piece)
