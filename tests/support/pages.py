"""Pages in docs/ of which a part is made from the source."""

from dataclasses import dataclass

from tests.support.server import ROOT

END = "<!-- end of what `make docs` makes -->"


@dataclass(frozen=True)
class Page:
    """A page with one part that is made from ``source``, between two marks."""

    name: str
    source: str

    @property
    def begin(self) -> str:
        """The mark before that part."""
        return f"<!-- made by `make docs` from {self.source} -->"

    @property
    def text(self) -> str:
        """The page as it is."""
        return (ROOT / "docs" / self.name).read_text(encoding="utf-8")

    def with_part(self, part: str) -> str:
        """Return the page with ``part`` in the place of the old one."""
        before, mark, rest = self.text.partition(self.begin)
        _, end, after = rest.partition(END)
        assert mark, f"docs/{self.name} has lost its mark {self.begin}"
        assert end, f"docs/{self.name} has lost its mark {END}"
        return f"{before}{mark}\n\n{part}\n\n{end}{after}"

    def write(self, part: str) -> None:
        """Put ``part`` into the page."""
        (ROOT / "docs" / self.name).write_text(self.with_part(part), encoding="utf-8")
