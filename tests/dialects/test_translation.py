"""Every dialect in front of every provider: what can be asked, whole and streamed, and what comes of it (docs/translation.md)."""

import itertools
from typing import Any

import pytest

from tests.support.dialects import World
from tests.support.dialects_cells import NOT_YET, cells, expected, outcome
from tests.support.dialects_page import PAGE, part

ROWS = {
    (feature.name, dialect): [each for _, _, each in group]
    for (feature, dialect), group in itertools.groupby(cells(), key=lambda cell: cell[:2])
}
FEATURES = {feature.name: feature for feature, _, _ in cells()}


@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_each_cell_is_as_the_page_tells(world: World, row: tuple[str, str]):
    name, dialect = row
    wanted = expected()[name][dialect]
    assert list(wanted) == [behind.name for behind in ROWS[row]]
    wrong: list[Any] = []
    for behind in ROWS[row]:
        for stream in (False, True):
            cell = wanted[behind.name]
            try:
                found = outcome(world, FEATURES[name], dialect, behind, stream=stream)
            except AssertionError as error:
                found = str(error) if not cell.startswith(NOT_YET) else cell
            if found != cell:
                wrong.append((behind.name, "streamed" if stream else "whole", found, cell))
    assert not wrong


def test_there_is_an_outcome_for_each_cell_and_no_other():
    assert [(name, dialect) for name, row in expected().items() for dialect in row] == list(ROWS)


def test_the_page_is_made_from_the_outcomes():
    assert PAGE.with_part(part()) == PAGE.text, "run `make docs`"
