"""Makes the table of log events in docs/logs.md from the calls in the source: `make docs`.

A new event needs a sentence in ``MEANINGS``, and, where it is logged with ``**fields``, their names in ``SPREAD``.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.support.pages import Page
from tests.support.server import ROOT

PAGE = Page("logs.md", "the source")
LEVELS = ("debug", "info", "warning", "error", "critical")

MEANINGS = {
    "answer_taken_over": "the process that wrote an answer in the background is gone; this one asks the model again",
    "answers_given_up": "so many answers of processes that are long gone are told as interrupted",
    "answer_not_kept": "the database did not come back in time for an answer that it had not stored; its row is booked",
    "client_left": "the client left before it had sent its request",
    "context_cut_and_asked_again": "a provider refused a conversation as too long before it began to answer; its oldest turns were left out and it was asked once more",
    "context_not_summarised": "there is no summary of the turns that a model could not read any more, for the `reason`; they were left out without one",
    "files_left_to_sweep": "a file whose message is gone could not be deleted now; the sweep will",
    "idempotent_answer_not_kept": "The database did not take how a request with an Idempotency-Key ended; whoever repeats it is told that it was interrupted.",
    "idempotency_keys_not_swept": "Old Idempotency-Keys could not be deleted; the next sweep is due in ten minutes.",
    "files_not_swept": "the sweep of files that nothing names any more failed; the next one is due in ten minutes",
    "files_swept": "so many files that nothing named any more were deleted",
    "files_unavailable": "the storage of files refused or failed, in its own words",
    "local_model_failed": "the model in the box ended or did not start; `said` is the end of its own log",
    "local_model_not_preloaded": "the model in the box could not be loaded when the server started; the first call tries again",
    "journal_not_followed": "a full disk: the next journal could not be begun, and the old one grows",
    "journal_not_written": "a full disk: answers go on without protection against kill -9",
    "import_dropped": "at start: a session that a dead process had not imported to its end was deleted",
    "library": "what a library says, in `message`; uvicorn and Alembic from info on, others from warning on",
    "models_not_listed": "a provider did not list its models for a user's key; what it listed last goes on",
    "provider_retried": "a provider did not begin to answer with `code`, and after `wait_ms` the call is made again, for the `attempt`th time",
    "request": "one for each request, at the end of its answer. `route` is the template, never the path; `status` 499: the client left before"
    " anything was sent; `complete: false`: the answer broke off; `trace_id` where traces are on. Healthy `/healthz`, `/readyz` and `/metrics` on `debug`",
    "request_failed": "a fault of this server: types, messages and frames, the outermost first, no local variables",
    "secrets_file_not_read": "the data folder's secrets file cannot be read; the keys known so far go on",
    "slow_call": "a call of a model took longer than `RINI_SLOW_CALL_SECONDS`; `call_id` is its row in the ledger",
    "thoughts_not_kept": "the database did not take the thoughts before a tool call; the answer left, and the model goes on without them",
    "tool_called": "a tool was called in a turn: `outcome` and duration. The operator's servers have a name here, users' connections an id",
    "tool_server_ended": "an MCP server of the operator's ended by itself; the next call starts it again",
    "tool_server_failed": "an MCP server did not list its tools; turns go on without them",
    "tool_server_not_started": "an MCP server of the operator's did not start; `said` is the end of what it wrote",
    "tools_left_out": "a user has more tools than are offered to a model",
    "traces_not_sent": "the collector of traces does not take them; at most one line a minute, `unsaid` counts the others",
    "turn_failed": "a fault of this server ended a turn that nobody waits for",
    "turn_not_settled": "an answer whose client had left could not be stored; its row is booked",
    "turns_recovered": "at start: so many calls that dead processes left behind were settled",
    "usage_row_not_written": "the database did not take a ledger row; it is kept, tried again each second, and told in `row`",
    "usage_row_refused": "a ledger row that cannot be written, told in `row`",
    "usage_row_without_user": "a ledger row whose user is gone, or that was there already",
    "usage_rows_written_late": "the database took the rows that it had not taken before",
    "worker_died": "a worker ended by itself and is replaced",
}

SPREAD = {
    "request": ("method", "route", "status", "ms", "user_id", "complete", "trace_id"),
    "tool_called": ("connection_id", "server", "tool"),
    "tool_server_failed": ("connection_id", "server"),
}
"""Fields of events that are logged with ``**``."""

_RENAMED = {"exc_info": "exception"}


@dataclass
class Event:
    """An event as the source has it, over all of its calls."""

    levels: set[str] = field(default_factory=set)
    fields: dict[str, None] = field(default_factory=dict)
    modules: dict[str, None] = field(default_factory=dict)
    spreads: bool = False


@cache
def events() -> dict[str, Event]:
    """Return all events by their names."""
    found: dict[str, Event] = {}
    for path, call in calls():
        name = call.args[0] if call.args else None
        place = f"{path.relative_to(ROOT)}:{call.lineno}"
        assert isinstance(name, ast.Constant), f"{place}: an event's name must be written out"
        assert isinstance(name.value, str), f"{place}: an event's name must be a text"
        assert len(call.args) == 1, f"{place}: an event has fields, and no text to fill in"
        event = found.setdefault(name.value, Event())
        event.levels.add(_level(call))
        event.modules[".".join(path.relative_to(ROOT / "src").with_suffix("").parts)] = None
        for keyword in call.keywords:
            if keyword.arg is None:
                event.spreads = True
                event.fields |= dict.fromkeys(SPREAD.get(name.value, ()))
            else:
                event.fields[_RENAMED.get(keyword.arg, keyword.arg)] = None
    return found


def calls() -> Iterator[tuple[Path, ast.Call]]:
    """Return the calls that log, of all loggers that get_logger made."""
    for path in sorted((ROOT / "src" / "rini").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        loggers = {_name(target) for node in ast.walk(tree) for target in _targets(node) if _is_logger(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _level(node) in LEVELS:
                made_here = _is_get_logger(node.func.value)
                if made_here or _name(node.func.value) in loggers:
                    yield path, node


def loggers_of_the_standard_library() -> list[str]:
    """Return the modules that log past get_logger, where an event has no name."""
    return [
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        for path in sorted((ROOT / "src" / "rini").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "logging.getLogger(__name__)"
    ]


def without_meaning() -> list[str]:
    """Return the events that nobody has explained yet."""
    return sorted(events().keys() - MEANINGS.keys())


def table() -> str:
    """Return the table of all events."""
    lines = ["| event | level | fields | says | from |", "| --- | --- | --- | --- | --- |"]
    known = events() | {
        "library": Event({"info", "warning", "error"}, {"message": None, "exception": None}, {"": None})
    }
    for name, event in sorted(known.items()):
        levels = ", ".join(level for level in LEVELS if level in event.levels)
        shown = ", ".join(f"`{each}`" for each in event.fields)
        modules = ", ".join(f"`{module}`" for module in event.modules if module)
        lines.append(f"| `{name}` | {levels} | {shown} | {MEANINGS.get(name, '')} | {modules} |")
    return "\n".join(lines)


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def _is_logger(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and _is_get_logger(node.value)


def _is_get_logger(value: ast.expr) -> bool:
    """Whether it is ``get_logger(…)``, ``logs.get_logger(…)``, ``DirectLogger(…)``, or one of these with ``.bind(…)`` behind."""
    if not isinstance(value, ast.Call):
        return False
    if isinstance(value.func, ast.Attribute) and value.func.attr == "bind":
        return _is_get_logger(value.func.value)
    return _name(value.func) in ("get_logger", "DirectLogger")


def _name(node: ast.expr) -> str:
    """Return the last name of ``a``, ``self.a`` or ``module.a``."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _level(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return "error" if call.func.attr == "exception" else call.func.attr


if __name__ == "__main__":
    PAGE.write(table())
    for event in without_meaning():
        print(f"{event}: has no meaning yet in tests/support/logs_page.py")
