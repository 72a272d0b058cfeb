import gzip
import zlib

import pytest

from rini.kit.inflate import InflateError, Inflater


def test_byte_by_byte():
    inflater = Inflater()
    data = gzip.compress(b"hello") + gzip.compress(b"world")
    assert b"".join(inflater.feed(bytes([byte]), 100) for byte in data) == b"helloworld"
    assert inflater.complete


def test_nothing_at_all_is_complete():
    assert Inflater().complete


@pytest.mark.parametrize("data", [gzip.compress(bytes(10**7)), gzip.compress(b"x") * 10_000])
def test_no_more_than_the_limit(data):
    assert len(Inflater().feed(data, 1000)) == 1000


def test_broken_data():
    with pytest.raises(InflateError):
        Inflater().feed(b"hello", 100)
    inflater = Inflater()
    inflater.feed(zlib.compress(b"hello")[:-2], 100)
    assert not inflater.complete
