"""Figures, and how they are shown."""

import statistics
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

Verdict = Literal["PASS", "MISS", "REFUSED", ""]
_UNITS = {"µs": 1e6, "ms": 1e3, "MiB": 2.0**-20}
"""What rounds, which are in seconds or bytes, are multiplied with to be shown."""


class Figure(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One measured value, the median of its rounds.

    ``beside`` is the baseline's in the same unit and ``ratio`` the median of the ratios round by round; ``low`` and ``high`` are
    the least and the largest of what is judged. ``target`` is the most that ``ratio`` (where there is one, else ``value``) may be.
    """

    section: str
    name: str
    unit: str
    value: float | None = None
    beside: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    target: float | None = None
    judged: Literal["ratio", "value"] = "value"
    verdict: Verdict = ""
    note: str = ""


def ratio(
    section: str,
    name: str,
    rounds: Sequence[tuple[float, float]],
    target: float | None = None,
    note: str = "",
    *,
    unit: str = "µs",
) -> Figure:
    """Return the figure of rounds of (measured, beside) in seconds or bytes; the target is for the ratio."""
    ratios = [measured / beside for measured, beside in rounds]
    return _judged(
        Figure(
            section=section,
            name=name,
            unit=unit,
            value=statistics.median(measured for measured, _ in rounds) * _UNITS[unit],
            beside=statistics.median(beside for _, beside in rounds) * _UNITS[unit],
            ratio=statistics.median(ratios),
            low=min(ratios),
            high=max(ratios),
            target=target,
            judged="ratio",
            note=note,
        )
    )


def value(
    section: str, name: str, unit: str, rounds: Sequence[float], target: float | None = None, note: str = ""
) -> Figure:
    """Return the figure of rounds of one value; the target is for the value."""
    return _judged(
        Figure(
            section=section,
            name=name,
            unit=unit,
            value=statistics.median(rounds),
            low=min(rounds),
            high=max(rounds),
            target=target,
            note=note,
        )
    )


def refused(section: str, name: str, why: str) -> Figure:
    """Return the place of a figure that there is none of."""
    return Figure(section=section, name=name, unit="", verdict="REFUSED", note=why)


def _judged(figure: Figure) -> Figure:
    if figure.target is not None:
        judged = figure.ratio if figure.judged == "ratio" else figure.value
        figure.verdict = "PASS" if judged is not None and judged <= figure.target else "MISS"
    return figure


def show(figure: Figure) -> str:
    """Return the figure as a line."""
    if figure.verdict == "REFUSED":
        return f"  {figure.name:<48} REFUSED: {figure.note}"
    spread = "" if figure.low is None or figure.high is None else f"({_number(figure.low)} to {_number(figure.high)})"
    measured = f"{_number(figure.value)} {figure.unit}"
    if figure.judged == "ratio":
        beside, judged = f"{_number(figure.beside)} {figure.unit}", f"{_number(figure.ratio)}x"
    else:
        beside, judged = "", ""
    target = "" if figure.target is None else f"<= {_number(figure.target)}{'x' if figure.judged == 'ratio' else ''}"
    line = f"  {figure.name:<48} {measured:>12} {beside:>12} {judged:>7} {spread:<18} {target:>9}  {figure.verdict:<5}"
    return f"{line} {figure.note}".rstrip()


HEADING = f"  {'':<48} {'measured':>12} {'beside':>12} {'ratio':>7} {'(rounds)':<18} {'target':>9}"


MARKDOWN_HEADING = "| what | measured | beside | ratio (rounds) | target | |\n| --- | ---: | ---: | ---: | ---: | --- |"


def markdown(figure: Figure) -> str:
    """Return the figure as a row of a table."""
    if figure.verdict == "REFUSED":
        return f"| {figure.name} | | | | | **refused**; {' '.join(figure.note.split())} |"
    spread = "" if figure.low == figure.high else f" ({_number(figure.low)} to {_number(figure.high)})"
    measured = f"{_number(figure.value)} {figure.unit}"
    beside = ratio = ""
    if figure.judged == "ratio":
        beside, ratio = f"{_number(figure.beside)} {figure.unit}", f"{_number(figure.ratio)}x{spread}"
    else:
        measured += spread
    target = "" if figure.target is None else f"≤ {_number(figure.target)}{'x' if ratio else f' {figure.unit}'}"
    verdict = {"PASS": "met", "MISS": "**missed**"}.get(figure.verdict, "")
    told = "; ".join(part for part in (verdict, figure.note) if part)
    return f"| {figure.name} | {measured} | {beside} | {ratio} | {target} | {told} |"


def _number(number: float | None) -> str:
    if number is None:
        return "-"
    if abs(number) >= 100:
        return f"{number:.0f}"
    if abs(number) >= 10:
        return f"{number:.1f}"
    return f"{number:.2f}" if abs(number) >= 0.1 or not number else f"{number:.4f}"


def document(machine: dict[str, Any], options: dict[str, Any], seconds: float, figures: list[Figure]) -> bytes:
    """Return all figures as JSON."""
    content = {"machine": machine, "options": options, "seconds": round(seconds, 1), "figures": figures}
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"
