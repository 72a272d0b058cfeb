"""Makes the tables in docs/translation.md from the outcomes that the tests hold: `make docs`.

With ``--ask`` every cell is asked anew first, of a server of its own, and tests/dialects/outcomes.json is written.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.dialects import DIALECTS, LABELS, PROVIDERS, world
from tests.support.dialects_cells import NOT_YET, REFUSED, WITHOUT, WORKS, ask_all, expected
from tests.support.dialects_errors import ERRORS, IN_MID_STREAM
from tests.support.pages import Page
from tests.support.upstream import Upstream

PAGE = Page("translation.md", "tests/dialects")


def part() -> str:
    """Return the tables."""
    return "\n".join([*(line for dialect in DIALECTS for line in _dialect(dialect)), *_errors()])


def _dialect(dialect: str) -> Iterator[str]:
    yield f"## {LABELS[dialect]}"
    yield ""
    yield f"| asked for | {' | '.join(each.label for each in PROVIDERS)} |"
    yield f"| --- |{' --- |' * len(PROVIDERS)}"
    notes: dict[str, int] = {}
    for name, row in expected().items():
        if dialect in row:
            cells = [_cell(row[dialect][each.name], notes) for each in PROVIDERS]
            yield f"| {name} | {' | '.join(cells)} |"
    absent = [name for name, row in expected().items() if dialect not in row]
    yield ""
    for note, number in notes.items():
        yield f"{number}. {note}"
    if absent:
        yield ""
        yield f"The format itself, or its SDK, has no way to ask for: {', '.join(absent)}."
    yield ""


def _cell(outcome: str, notes: dict[str, int]) -> str:
    if outcome == WORKS:
        return "works"
    for beginning, word, sentence in (
        (WITHOUT, "works, less", "left out and named: {}"),
        (REFUSED, "refused", "{}"),
        (NOT_YET, "not yet", "{}"),
    ):
        if outcome.startswith(beginning):
            rest = outcome.removeprefix(beginning)
            if beginning == WITHOUT:
                rest = ", ".join(f"`{name}`" for name in rest.split(", "))
            number = notes.setdefault(sentence.format(rest).replace("|", "&#124;"), len(notes) + 1)
            return f"{word} ({number})"
    raise AssertionError(outcome)


def _errors() -> Iterator[str]:
    yield "## Errors"
    yield ""
    yield "What each SDK raises, whichever provider it was; the message holds the provider's own, `x-rini-code` Rini's code."
    yield ""
    yield f"| what happens | {' | '.join(LABELS[dialect] for dialect in DIALECTS)} |"
    yield f"| --- |{' --- |' * len(DIALECTS)}"
    for row in ERRORS:
        told = " | ".join("`{}` {}".format(*getattr(row, dialect)) for dialect in DIALECTS)
        yield f"| {row.name}{', with Retry-After' if row.waits else ''} | {told} |"
    yield f"| it breaks off in mid-stream | {' | '.join(f'`{IN_MID_STREAM[dialect]}`' for dialect in DIALECTS)} |"


def _ask() -> None:
    with Upstream() as upstream, tempfile.TemporaryDirectory() as folder, world(Path(folder), upstream) as made:
        for line in ask_all(made):
            print(line)


if __name__ == "__main__":
    if "--ask" in sys.argv:
        _ask()
    PAGE.write(part())
