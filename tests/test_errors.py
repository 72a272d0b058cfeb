"""The tree of errors: its drawing, its codes, and the page that tells clients of them."""

import pytest

from rini.errors import RiniError
from tests.support import errors_page

KINDS = list(errors_page.kinds())


def test_the_drawing_is_the_tree():
    drawn = errors_page.drawn()
    assert drawn[0] == ("RiniError", "", None, None)
    above = {kind.__name__: next(each for each in kind.__mro__[1:] if issubclass(each, RiniError)) for kind in KINDS}
    classes = [(kind.__name__, above[kind.__name__].__name__, kind.status, kind.code) for kind in KINDS]
    assert sorted(drawn[1:]) == sorted(classes)


def test_every_code_is_one_error():
    codes = [kind.code for kind in KINDS]
    assert sorted(set(codes)) == sorted(codes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_says_when_it_is_met_and_what_to_do(kind):
    told = errors_page.told(kind)
    assert told.when, f"{kind.__name__} has no docstring"
    assert told.todo, f"{kind.__name__}: its docstring has no line `What to do: …`"


def test_the_members_that_are_given_are_told():
    kinds = {kind.__name__: kind for kind in (RiniError, *KINDS)}
    untold = [
        f"{place}: {name}({member}=…), which its docstring has not under `Fields:`"
        for name, member, place in errors_page.given()
        if member not in errors_page.fields(kinds[name])
    ]
    assert untold == []


def test_the_page_is_up_to_date():
    page = errors_page.PAGE
    assert page.text == page.with_part(errors_page.table()), "docs/errors.md is out of date: run `make docs`"
