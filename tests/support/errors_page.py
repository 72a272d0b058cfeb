"""Makes the table in docs/errors.md from rini/errors.py: `make docs`."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rini import errors
from rini.errors import RiniError
from tests.support.pages import Page
from tests.support.server import ROOT

PAGE = Page("errors.md", "src/rini/errors.py")

_DRAWN = re.compile(r"^(?P<before>[│├└─ ]*)(?P<name>\w+Error)(?: +(?P<status>\d{3}) (?P<code>\w+))?", re.MULTILINE)


@dataclass(frozen=True)
class Told:
    """What an error's docstring says."""

    when: str
    todo: str
    fields: tuple[str, ...]


def told(kind: type[RiniError]) -> Told:
    """Return what a class's docstring says: a first sentence, ``What to do:`` and ``Fields:``."""
    text = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    todo = re.search(r"^What to do: (.+?)(?=^Fields:|\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    fields = re.search(r"^Fields: (.+)\.$", text, re.MULTILINE)
    return Told(
        when=" ".join(text.partition("\n\n")[0].split()),
        todo=" ".join(todo[1].split()) if todo else "",
        fields=tuple(fields[1].split(", ")) if fields else (),
    )


def fields(kind: type[RiniError]) -> tuple[str, ...]:
    """Return the further members of an error's document, without the two of every error of a session."""
    above = [each for each in kind.__mro__ if issubclass(each, RiniError) and each is not RiniError]
    return tuple(dict.fromkeys(name for each in reversed(above) for name in told(each).fields))


def kinds(above: type[RiniError] = RiniError) -> Iterator[type[RiniError]]:
    """Return the classes of errors.py below one, each before those below it."""
    for kind in above.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from kinds(kind)


def drawn() -> list[tuple[str, str, int | None, str | None]]:
    """Return the tree as the module's docstring draws it: name, the name above it, status, code."""
    found: list[tuple[str, str, int | None, str | None]] = []
    path: list[str] = []
    for line in _DRAWN.finditer(errors.__doc__ or ""):
        depth = len(line["before"]) // 4
        status = int(line["status"]) if line["status"] else None
        found.append((line["name"], path[depth - 1] if depth else "", status, line["code"]))
        path[depth:] = [line["name"]]
    return found


def given() -> Iterator[tuple[str, str, str]]:
    """Return what the source gives to errors as further members: the class, the member, the place."""
    names = {kind.__name__: kind for kind in (RiniError, *kinds())}
    for path in sorted((ROOT / "src" / "rini").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                own = inspect.signature(names[node.func.id].__init__).parameters
                for keyword in node.keywords:
                    if keyword.arg is not None and keyword.arg not in own:
                        yield node.func.id, keyword.arg, f"{path.relative_to(ROOT)}:{node.lineno}"


def table() -> str:
    """Return the table of all errors, by their status."""
    lines = ["| code | status | when | what to do | further members |", "| --- | --- | --- | --- | --- |"]
    for kind in sorted(kinds(), key=lambda kind: kind.status):
        found = told(kind)
        cells = [f"`{kind.code}`", str(kind.status), found.when, found.todo, ", ".join(f"`{n}`" for n in fields(kind))]
        lines.append(f"| {' | '.join(cell.replace('``', '`').replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write(table())
