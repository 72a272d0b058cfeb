"""Structured logs: one event a line, as JSON or for a person's terminal, on standard error.

Every event has a name (``request``) and fields. Whatever a field holds, it cannot begin a new line and secrets in it are
masked: by the field's name, by the look of the text (provider keys, tokens, passwords in addresses), in the messages of
exceptions too. That is a last defence: prompts, answers and keys are not to be logged in the first place.
"""

import logging
import re
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import PurePath
from types import TracebackType
from typing import Any, BinaryIO, Literal, cast
from uuid import UUID

import msgspec
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import FilteringBoundLogger, Processor

Level = Literal["debug", "info", "warning", "error"]
Event = MutableMapping[str, Any]

MASK = "***"
MAX_TEXT = 4096
"""Longer texts are cut: a line is for finding out what happened, not for moving data."""

MAX_EXCEPTION_TEXT = 500

request_id: ContextVar[str | None] = ContextVar("structlog_request_id", default=None)
"""The id of the request that is being answered; every event logged meanwhile has it.

Named as structlog names its own, so that structlog's merge_contextvars would find it too.
"""


def configure_logs(
    format: Literal["auto", "json", "console"] = "auto",  # noqa: A002  # the setting's name
    level: Level = "info",
    *,
    stream: BinaryIO | None = None,
) -> None:
    """Send all logs, those of libraries too, to ``stream`` (default: standard error) in ``format``.

    ``auto`` is console on a terminal, else JSON. Libraries are heard from warnings on, uvicorn and Alembic from ``info`` on, and
    never below: on their debug level some log what they send. May be called again; uvicorn needs ``log_config=None``.
    """
    terminal = (stream or sys.stderr).isatty()
    if format == "auto":
        format = "console" if terminal else "json"  # noqa: A001
    _output.stream = stream
    render = _render_json if format == "json" else _console(colours=terminal)
    least = logging.getLevelNamesMapping()[level.upper()]
    processors: list[Processor] = [_head, _exception, _clean, render]
    global _threshold, _chain  # as structlog's own configuration, of the process
    _threshold, _chain = least, processors
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=_make_output,
        # A logger made when its module was imported follows a later call; hot code keeps a bound one.
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(capture=True)
    logging.root.handlers = [_FromLibraries(processors)]
    logging.root.setLevel(max(least, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "alembic"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(max(least, logging.INFO))
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # it lists Alembic's own parts
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns with a byte of the body


_threshold = logging.INFO
_chain: list[Processor] = []


class DirectLogger:
    """A logger for what every request writes: the same lines, without the layers that make them elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **fields: Any) -> None:
        """Write an event of the level ``debug``."""
        if _threshold <= logging.DEBUG:
            self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Write an event of the level ``info``."""
        if _threshold <= logging.INFO:
            self._write("info", event, fields)

    def _write(self, level: Level, name: str, fields: dict[str, Any]) -> None:
        event: Any = {"event": name, "module": self._name, **fields}
        for process in _chain:
            event = process(None, level, event)
        _output.write(event)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a logger whose events have ``module=name``."""
    return cast("FilteringBoundLogger", structlog.get_logger(module=name))


class _Output:
    """Where lines go. A log that cannot be written must not fail a request: the line is lost."""

    def __init__(self) -> None:
        self.stream: BinaryIO | None = None
        self._lock = threading.Lock()

    def write(self, line: bytes) -> None:
        stream = self.stream or sys.stderr.buffer
        try:
            with self._lock:
                stream.write(line)
                stream.flush()
        except (OSError, ValueError):  # full, a broken pipe, or closed
            pass

    debug = info = warning = error = critical = write


_output = _Output()


def _make_output(*_: Any) -> _Output:
    return _output


class _FromLibraries(logging.Handler):
    """Turns the standard library's records into events named ``library``, with the text in ``message``."""

    def __init__(self, processors: list[Processor]) -> None:
        super().__init__()
        self._processors = processors

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # the arguments do not fit the text
            message = str(record.msg)
        event: Any = {
            "event": "library",
            "module": record.name,
            "message": _mask_assigned(_end_of_traceback(message.strip())),
            "exc_info": record.exc_info,
        }
        for process in self._processors:
            event = process(None, record.levelname.lower(), event)
        _output.write(event)


# The processors, in their order.


def _head(_: Any, level: str, event: Event) -> Event:
    """Put the time, the level, the name and the request first."""
    if level == "exception":
        level = "error"
    head: dict[str, Any] = {"timestamp": _timestamp(), "level": level, "event": event.pop("event", "")}
    current = request_id.get()
    if current is not None:
        head["request_id"] = current
    head.update(event)
    return head


_second: tuple[int, str] = (0, "")


def _timestamp() -> str:
    global _second  # noqa: PLW0603  # formatting the seconds once in each is a microsecond less for every line
    milliseconds = time.time_ns() // 1_000_000
    seconds, rest = divmod(milliseconds, 1000)
    known, text = _second
    if known != seconds:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        _second = (seconds, text)
    return f"{text}.{rest:03d}Z"


def _exception(_: Any, __: str, event: Event) -> Event:
    """Replace ``exc_info`` by ``exception``: a list of types, messages and frames, outermost first, without local variables."""
    if "exc_info" not in event:
        return event
    given = event.pop("exc_info")
    if isinstance(given, BaseException):
        given = (type(given), given, given.__traceback__)
    elif given is True:
        given = sys.exc_info()
    if isinstance(given, tuple) and given[0] is not None:
        found = cast("tuple[type[BaseException], BaseException, TracebackType | None]", given)
        event["exception"] = [_stack(stack) for stack in _to_dicts(found)]
    return event


_to_dicts = ExceptionDictTransformer(show_locals=False, use_rich=False, max_frames=40)


def _stack(stack: Mapping[str, Any]) -> dict[str, Any]:
    frames = (f"{frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in stack["frames"])
    shown: dict[str, Any] = {
        "type": stack["exc_type"],
        "message": _mask_assigned(_cut(stack["exc_value"], MAX_EXCEPTION_TEXT)),
        "frames": list(frames),
    }
    if stack["is_group"]:
        shown["exceptions"] = [[_stack(inner) for inner in stacks] for stacks in stack["exceptions"]]
    return shown


def _clean(_: Any, __: str, event: Event) -> Event:
    """Mask secrets, and leave nothing but JSON values."""
    for name, value in event.items():
        if _is_secret(name):
            event[name] = value if value is None else MASK
        elif type(value) is str:
            if len(value) > _SHORT:
                event[name] = _text(value)
        elif type(value) not in _ATOMS:
            event[name] = _plain(value, 12)
    return event


def _render_json(_: Any, __: str, event: Event) -> bytes:
    line = _encode(event)
    if not line.isascii():
        line = _escape(line.decode()).encode()
    return line + b"\n"


def _console(*, colours: bool) -> Processor:
    def render(_: Any, __: str, event: Event) -> bytes:
        level: str = event.pop("level")
        moment: str = event.pop("timestamp")[11:-1]
        name = _quoted(event.pop("event"))
        stacks: list[dict[str, Any]] = event.pop("exception", [])
        shown = f"{level:<8}"
        if colours:
            shown = f"\x1b[{_COLOURS.get(level, 0)}m{shown}\x1b[0m"
            name = f"\x1b[1m{name}\x1b[0m"
        fields = "".join(f" {_quoted(field)}={_quoted(value)}" for field, value in event.items())
        lines = [f"{moment} {shown} {name}{fields}", *_traceback(stacks, "    | ")]
        return ("\n".join(lines) + "\n").encode()

    return render


_COLOURS: Mapping[str, int] = {"debug": 36, "info": 32, "warning": 33, "error": 31, "critical": 31}


def _traceback(stacks: list[dict[str, Any]], margin: str) -> list[str]:
    lines: list[str] = []
    for stack in stacks:
        lines.append(f"{margin}{_quoted(stack['type'])}: {_quoted(stack['message'])}")
        lines += [f"{margin}  {_quoted(frame)}" for frame in stack["frames"]]
        for inner in stack.get("exceptions", []):
            lines += _traceback(inner, f"{margin}  | ")
    return lines


# What a value may show.

_ATOMS = frozenset({str, int, float, bool, type(None)})
_SHORT = 15  # no secret that can be told by its look is shorter

_SECRET_TEXT = re.compile(
    r"""
    (?<![A-Za-z0-9])(?:sk-|xai-|pplx-|gsk_|hf_)[A-Za-z0-9_-]{16,}   # OpenAI, Anthropic, OpenRouter, xAI, Perplexity, Groq …
    | rini_[A-Za-z0-9_-]{40,}                                       # this server's access tokens
    | AIza[A-Za-z0-9_-]{20,}                                        # Google
    | eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*          # a JSON Web Token
    | (?<=[Bb]earer\ )[^\s"',;]{8,}
    | (?<=[Bb]asic\ )[A-Za-z0-9+/=_-]{12,}
    | (?<=://)[^\s/:@]*:[^\s/@]+(?=@)                               # user:password in an address
    """,
    re.VERBOSE,
)
_SECRET_BEGINNINGS = ("sk-", "xai-", "pplx-", "gsk_", "hf_", "rini_", "AIza", "eyJ", "earer ", "asic ", "://")
_SECRET_NAME = re.compile(
    r"authorization|api_?keys?$|(^|_)token$|secret|passw(or)?d|passphrase|cookies?$|credentials?$|private_key|master_key"
)
_ASSIGNED = re.compile(
    r"""((?:authorization|api[_-]?key|token|secret|password|passwd|cookie)["']?\s*[=:]\s*)"""
    r"""((?:bearer\s+|basic\s+)?(?:"[^"]*"|'[^']*'|[^\s"',;&)}\]]+))""",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(1024)
def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(_CAMEL.sub("_", name).lower().replace("-", "_")))


def _text(value: str) -> str:
    value = _cut(value, MAX_TEXT)
    # Looking for the literal beginnings first is four times as fast as the expression, which rarely has anything to find.
    for beginning in _SECRET_BEGINNINGS:
        if beginning in value:
            return _SECRET_TEXT.sub(MASK, value)
    return value


def _mask_assigned(value: str) -> str:
    """Mask ``password=…`` and the like, in a text that somebody else wrote."""
    return _ASSIGNED.sub(rf"\1{MASK}", _cut(value, MAX_TEXT))


def _end_of_traceback(text: str) -> str:
    """Return the end of a traceback that is too long to be told whole: there stands what happened."""
    return f"…{text[1 - MAX_TEXT :]}" if text.startswith("Traceback ") and len(text) > MAX_TEXT else text


def _cut(value: str, length: int) -> str:
    return value if len(value) <= length else f"{value[:length]}… ({len(value)} characters)"


def _plain(value: Any, depth: int) -> Any:
    """Return ``value`` as a JSON value without secrets; what is no data by its type is shown as ``repr`` shows it."""
    if depth == 0:
        return "…"
    match value:
        case None | bool():
            return value
        case str():
            return _text(str(value))
        case int():
            return int(value)
        case float():
            return float(value)
        case bytes():
            return _text(value.decode(errors="backslashreplace"))
        case Mapping():
            items = cast("Mapping[Any, Any]", value).items()
            return {_name(name): MASK if _is_secret(_name(name)) else _plain(item, depth - 1) for name, item in items}
        case (str() | bytes() as name, _) if _is_secret(_name(name)):
            return [_name(name), MASK]
        case list() | tuple() | set() | frozenset():
            return [_plain(item, depth - 1) for item in cast("list[Any]", value)]
        case date() | datetime():
            return value.isoformat()
        case Decimal() | UUID() | PurePath():
            return _text(str(value))
        case BaseException():
            return _text(_mask_assigned(f"{type(value).__name__}: {value}"))
        case _:
            return _text(_mask_assigned(repr(value)))


def _name(value: Any) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


# How a value is written.

_encoder = msgspec.json.Encoder(enc_hook=repr)
_HARMLESS = re.compile(r"[A-Za-z0-9_./:@%+{}*-]+")
# What a terminal or a log viewer may take for the end of a line, a command, or another direction of writing.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _encode(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except (UnicodeEncodeError, OverflowError):  # half of a surrogate pair, an integer beyond 64 bits
        return _encoder.encode(_encodable(value))


def _encodable(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {_encodable(name): _encodable(item) for name, item in cast("dict[str, Any]", value).items()}
        case list():
            return [_encodable(item) for item in cast("list[Any]", value)]
        case int() if not isinstance(value, bool):
            return value if abs(value) < 2**63 else str(value)
        case _:
            return value


def _escape(text: str) -> str:
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _quoted(value: Any) -> str:
    if isinstance(value, str) and _HARMLESS.fullmatch(value):
        return value
    return _escape(_encode(value).decode())
