"""The command line's commands and options. Each command's work is in a module of its own."""

import argparse
import sys
from collections.abc import Sequence

from rini import __version__
from rini.db.migrate import MigrationError
from rini.errors import RiniError
from rini.settings import Settings, SettingsError, load_settings
from rini.usage.price_file import PriceFileError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit status. What goes wrong is one line on standard error."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        if options.command == "serve":
            settings = _with_options(settings, options)
        return _run(options, settings)
    except (SettingsError, MigrationError, PriceFileError, RiniError) as error:
        print(f"rini: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rini", description="One server in front of every LLM that keeps the conversation."
    )
    parser.add_argument("--version", action="version", version=f"rini {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="start the server")
    serve.add_argument("--host", help="address to listen on (RINI_HOST)")
    serve.add_argument("--port", type=int, help="port to listen on, 0 for a free one (RINI_PORT)")
    serve.add_argument("--workers", type=int, help="number of server processes (RINI_WORKERS)")
    serve.add_argument("--data-dir", help="folder for the database and what runs (RINI_DATA_DIR)")

    commands.add_parser("keygen", help="print new secrets, in the form of settings")

    user = commands.add_parser("user", help="make users and tokens").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    user.add_parser("create", help="make a user and print its id and token")
    token = user.add_parser("token", help="print a new token for a user")
    token.add_argument("user_id", type=int)
    delete = user.add_parser("delete", help="delete a user and all that is theirs")
    delete.add_argument("user_id", type=int)

    keys = commands.add_parser("keys", help="the stored provider keys").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    keys.add_parser("rotate", help="encrypt all stored keys under a new master key, while the server runs")

    database = commands.add_parser("db", help="the database").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    database.add_parser("upgrade", help="bring the database to this version")
    return parser


def _with_options(settings: Settings, options: argparse.Namespace) -> Settings:
    given = {name: getattr(options, name) for name in ("host", "port", "workers", "data_dir")}
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings.model_validate(settings.model_dump() | changes)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _run(options: argparse.Namespace, settings: Settings) -> int:
    # Each command imports what it needs, so that a short one starts quickly.
    match options.command:
        case "serve":
            from rini.cli import serve  # noqa: PLC0415

            return serve.run(settings)
        case "keygen":
            from rini.cli import keygen  # noqa: PLC0415

            return keygen.run()
        case "user":
            from rini.cli import user  # noqa: PLC0415

            return user.run(settings, options.action, getattr(options, "user_id", None))
        case "keys":
            from rini.cli import keys  # noqa: PLC0415

            return keys.rotate(settings)
        case _:
            from rini.cli import database  # noqa: PLC0415

            return database.upgrade(settings)
