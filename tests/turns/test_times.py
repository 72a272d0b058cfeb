"""When an answer was made: as its provider told it, or now where it told nothing."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from rini.canon import Text
from tests.support.dialects import PROVIDERS, World, world
from tests.support.dialects_features import asking
from tests.support.model import reply
from tests.support.upstream import Upstream

HI = asking({}, {})
SILENT = ("anthropic", "google")
"""The providers that tell no time."""


@pytest.fixture(scope="module", name="world")
def world_of_this_file(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("times"), upstream) as made:
        yield made


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("dialect", "field"), [("chat", "created"), ("responses", "created_at")])
def test_the_time_of_an_answer(world: World, dialect: str, field: str, *, stream: bool):
    told = int(datetime(2026, 1, 2, tzinfo=UTC).timestamp())
    answer = msgspec.structs.replace(reply(Text("hello there, you")), created=told)
    for behind in PROVIDERS:
        before = int(time.time())
        _, got = world.ask(dialect, behind, HI[dialect], answer, stream=stream)
        made = getattr(got.raw, field)
        if behind.name in SILENT:
            assert before <= made <= time.time(), behind.name
        else:
            assert made == told, behind.name
