"""``python -m bench.peers``: install what is missing, measure, and print Markdown tables of targets and figures."""

import argparse
import os
import resource
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import uvloop

from bench import machine, processes, report
from bench.__main__ import WANTED_FILES
from bench.peers import crowd, field, gateways, install, memory, sessions, streams, whole
from bench.peers.field import Field

SECTIONS = {section.SECTION: section for section in (whole, streams, memory, crowd, sessions)}
ROUNDS = 7
QUICK_ROUNDS = 3


def main() -> int:
    """Run. The exit status tells of errors, not of missed targets."""
    options = _options()
    try:
        server_core, load_core = machine.cores()
    except machine.UnsuitableMachineError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, WANTED_FILES), most))
    missing = _install(options.only)
    found = machine.describe()
    os.sched_setaffinity(0, {load_core})
    began = time.monotonic()
    with ExitStack() as stack:
        upstream = stack.enter_context(processes.upstream(load_core))
        direct = stack.enter_context(gateways.direct(upstream, server_core))
        rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
        run = Field(upstream, direct, server_core, rounds, options.quick, left_out=missing)
        field.start(stack, run, [name for name in options.only if name not in missing])
        print(_introduction(run, found))
        figures = uvloop.run(_measure(run, options.section))
    seconds = time.monotonic() - began
    judged = [figure for figure in figures if figure.verdict in ("PASS", "MISS")]
    met = sum(figure.verdict == "PASS" for figure in judged)
    refused = sum(figure.verdict == "REFUSED" for figure in figures)
    print(f"\n{met} of {len(judged)} targets met, {refused} figures refused, {seconds:.0f} s")
    if options.json:
        how = {"quick": options.quick, "rounds": rounds, "sections": options.section, "left_out": run.left_out}
        options.json.write_bytes(report.document(found, how, seconds, figures))
    return 1 if refused else 0


async def _measure(run: Field, sections: list[str]) -> list[report.Figure]:
    figures: list[report.Figure] = []
    for name in sections:
        section = SECTIONS[name]
        print(f"\n### {section.TITLE}\n\n{report.MARKDOWN_HEADING}", flush=True)
        async for figure in section.measure(run):
            figures.append(figure)
            print(report.markdown(figure), flush=True)
    return figures


def _install(names: list[str]) -> dict[str, str]:
    missing = {}
    for name in names:
        try:
            install.install(name)
        except install.NotInstalledError as error:
            missing[name] = str(error)
    return missing


def _introduction(run: Field, found: dict[str, object]) -> str:
    lines = [f"{found['cpu']}, {found['cores']} cores, Python {found['python']}, {run.rounds} rounds in turn.", ""]
    lines += [f"- **{gateway.name}**: {gateway.label}" for gateway in run.gateways.values()]
    lines += [f"- **{name}** is left out: {why.strip().splitlines()[-1]}" for name, why in run.left_out.items()]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Measure Rini beside other gateways.")
    parser.add_argument("--only", action="append", choices=list(install.PINS), help="only this peer (may be repeated)")
    parser.add_argument("--section", action="append", choices=list(SECTIONS), help="only this one (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds of fewer requests")
    parser.add_argument("--rounds", type=int, help=f"rounds in turn ({ROUNDS}, with --quick {QUICK_ROUNDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    options.only = options.only or list(install.PINS)
    options.section = options.section or list(SECTIONS)
    return options


if __name__ == "__main__":
    sys.exit(main())
