"""The names under which tools are offered."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from rini.tools.names import OwnName, offered_names

TAKEN = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")


def named(*tools: tuple[str, str, str]) -> list[str]:
    return offered_names([OwnName(*each) for each in tools])


def test_a_name_that_nobody_else_has_stays():
    assert named(("1", "a", "search"), ("2", "b", "get_page-2")) == ["search", "get_page-2"]


def test_equal_names_are_told_apart_by_their_servers():
    assert named(("1", "git hub", "search"), ("2", "lab", "search"), ("2", "lab", "own")) == [
        "git_hub__search",
        "lab__search",
        "own",
    ]


def test_equal_servers_are_told_apart_too():
    first, second = named(("1", "x", "search"), ("2", "x", "search"))
    assert first != second
    assert all(re.fullmatch(r"x__search_[0-9a-f]{8}", each) for each in (first, second))


def test_names_that_providers_do_not_take_are_rewritten():
    assert named(("1", "a", "my.tool")) == ["a__my_tool"]
    assert named(("connection_7", "날씨", "지금")) == ["connection_7___"]
    assert named(("1", "2nd", "1st")) == ["_2nd__1st"]
    (long,) = named(("1", "a", "n" * 300))
    assert re.fullmatch(r"a__n{52}_[0-9a-f]{8}", long)
    assert len(long) == 64


def test_a_name_that_is_made_takes_none_away():
    names = named(("1", "a", "search"), ("2", "b", "search"), ("3", "c", "a__search"))
    assert names[2] == "a__search"
    assert re.fullmatch(r"a__search_[0-9a-f]{8}", names[0])


_texts = st.text(st.sampled_from("ab_-.1 é"), min_size=1, max_size=4) | st.just("n" * 300)
_tools = st.lists(st.builds(OwnName, st.sampled_from("123"), _texts, _texts), unique_by=lambda each: (each[0], each[2]))


@given(_tools, st.randoms())
def test_names_are_taken_unique_and_the_same_in_any_order(tools: list[OwnName], chance: random.Random):
    names = dict(zip(tools, offered_names(tools), strict=True))
    assert len(set(names.values())) == len(tools)
    assert all(TAKEN.fullmatch(name) for name in names.values())
    mixed = chance.sample(tools, len(tools))
    assert dict(zip(mixed, offered_names(mixed), strict=True)) == names
