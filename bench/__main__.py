"""``python -m bench``: measure, and print a table of targets and figures."""

import argparse
import asyncio
import os
import resource
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import uvloop

from bench import costs, crowd, machine, processes, report, stateful, stateless, streaming, tree
from bench.bench import Bench

SECTIONS = {section.SECTION: section for section in (stateless, stateful, tree, streaming, crowd, costs)}
WANTED_FILES = 8192


def main() -> int:
    """Run the sections that were asked for. The exit status tells of errors, not of missed targets."""
    options = _options()
    try:
        server_core, load_core = machine.cores()
    except machine.UnsuitableMachineError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, WANTED_FILES), most))
    found = machine.describe()
    print(f"{found['cpu']}, {found['cores']} cores, Python {found['python']}, load {found['load'][0]}")
    if server_core == load_core:
        print("There is one core only: upstream and load share it with the server, so lateness says little.")
    os.sched_setaffinity(0, {load_core})
    began = time.monotonic()
    with ExitStack() as stack:
        upstream = stack.enter_context(processes.upstream(load_core))
        baseline = stack.enter_context(processes.baseline(upstream, server_core))
        bench = Bench(server_core, load_core, upstream, baseline, options.quick)
        figures = uvloop.run(_run(bench, options.section or list(SECTIONS)))
    seconds = time.monotonic() - began
    missed = [figure.name for figure in figures if figure.verdict == "MISS"]
    refused = [figure.name for figure in figures if figure.verdict == "REFUSED"]
    judged = sum(1 for figure in figures if figure.verdict in ("PASS", "MISS"))
    print(f"\n{judged - len(missed)} of {judged} targets met, {len(refused)} figures refused, {seconds:.0f} s")
    if options.json:
        how = {"quick": options.quick, "sections": options.section or list(SECTIONS)}
        options.json.write_bytes(report.document(found, how, seconds, figures))
    return 1 if refused else 0


async def _run(bench: Bench, sections: list[str]) -> list[report.Figure]:
    figures: list[report.Figure] = []
    for name in sections:
        section = SECTIONS[name]
        print(f"\n{section.TITLE}\n{report.HEADING}", flush=True)
        async for figure in section.measure(bench):
            figures.append(figure)
            print(report.show(figure), flush=True)
    await asyncio.sleep(0)
    return figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what docs/performance.md tells.")
    parser.add_argument("--section", action="append", choices=list(SECTIONS), help="only this one (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, in less than a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
