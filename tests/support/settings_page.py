"""Makes the table in docs/settings.md and the file .env.example from the Settings class: `make docs`."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from rini.settings import Settings
from tests.support.server import ROOT

PAGE = ROOT / "docs" / "settings.md"
EXAMPLE = ROOT / ".env.example"
BEGIN = "<!-- made by `make docs` from src/rini/settings.py -->"
END = "<!-- end of what `make docs` makes -->"

GROUPS = {
    "The server": [
        "RINI_ENV",
        "RINI_HOST",
        "RINI_PORT",
        "RINI_WORKERS",
        "RINI_SHUTDOWN_GRACE_SECONDS",
        "RINI_QUEUE_SECONDS",
        "RINI_STREAMS_KEPT_HOURS",
    ],
    "Data": ["RINI_DATA_DIR", "RINI_DATABASE_URL", "RINI_FILES_URL"],
    "Secrets": ["RINI_API_MASTER_KEY", "RINI_API_MASTER_KEYS_OLD", "JWT_SECRET_KEY"],
    "Tokens and users": ["JWT_ALGORITHM", "JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "RINI_SIGNUP", "RINI_SIGNUP_LIMIT"],
    "Limits": ["RINI_MAX_BODY_BYTES", "RINI_MAX_IMPORT_BYTES", "RINI_ALLOWED_PRIVATE_HOSTS"],
    "Providers": [
        "RINI_OPENAI_BASE_URL",
        "RINI_ANTHROPIC_BASE_URL",
        "RINI_GOOGLE_BASE_URL",
        "RINI_CONNECT_TIMEOUT",
        "RINI_FIRST_BYTE_TIMEOUT",
        "RINI_BETWEEN_BYTES_TIMEOUT",
        "RINI_PROVIDER_RETRIES",
        "RINI_CONTEXT_WINDOWS",
        "RINI_PRICES_FILE",
    ],
    "Memory and tools": ["RINI_MEMORY_TOKENS", "RINI_MCP_SERVERS_FILE"],
    "The model in the box": ["RINI_LOCAL_MODEL", "RINI_LOCAL_MODEL_PATH"],
    "Logs and traces": ["RINI_LOG_FORMAT", "RINI_LOG_LEVEL", "RINI_SLOW_CALL_SECONDS", "RINI_OTLP_ENDPOINT"],
}


def fields() -> dict[str, FieldInfo]:
    """Return the settings by their names in the environment."""
    return {str(field.alias): field for field in Settings.model_fields.values()}


def table() -> str:
    """Return the table of all settings."""
    lines = []
    for title, names in GROUPS.items():
        lines += [f"### {title}", "", "| setting | default | what it does |", "| --- | --- | --- |"]
        for name in names:
            field = fields()[name]
            shown = default(field)
            cells = [f"`{name}`", f"`{shown}`" if shown else "", f"{field.description}{values(field)}"]
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


def example() -> str:
    """Return the example of a file .env."""
    lines = [
        "# Settings, read from .env in the working directory; the environment goes before it. See docs/settings.md."
    ]
    for title, names in GROUPS.items():
        lines += ["", f"## {title}"]
        for name in names:
            field = fields()[name]
            lines += ["", f"# {field.description}{values(field)}", f"# {name}={default(field)}"]
    return "\n".join(lines) + "\n"


def default(field: FieldInfo) -> str:
    """Return a setting's default as it would be written."""
    value: Any = field.default
    if value is None or value in ((), frozenset()):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def values(field: FieldInfo) -> str:
    """Return a sentence on what a setting takes, where its description leaves that open."""
    if get_origin(field.annotation) is not Literal:
        return ""
    missing = [value for value in get_args(field.annotation) if value not in str(field.description)]
    return f" One of {', '.join(f'`{value}`' for value in get_args(field.annotation))}." if len(missing) > 1 else ""


def with_table(page: str) -> str:
    """Return the page with a new table in the place of its old one."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def write(path: Path, text: str) -> None:
    """Write a file as it goes into the repository."""
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(PAGE, with_table(PAGE.read_text(encoding="utf-8")))
    write(EXAMPLE, example())
