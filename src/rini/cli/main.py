"""The command line's commands and options. Each command's work is in a module of its own."""

import argparse
from collections.abc import Sequence

from rini import __version__
from rini.cli.refusal import REFUSALS, refuse
from rini.settings import Settings, load_settings

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit status. What goes wrong is one line on standard error."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except REFUSALS as error:
        return refuse(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rini", description="One server in front of every LLM that keeps the conversation."
    )
    parser.add_argument("--version", action="version", version=f"rini {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="start the server")
    # Each option goes by the name of the setting that it stands before; the settings check its value.
    serve.add_argument("--host", dest="RINI_HOST", help="address to listen on (RINI_HOST)")
    serve.add_argument("--port", dest="RINI_PORT", help="port to listen on, 0 for a free one (RINI_PORT)")
    serve.add_argument("--workers", dest="RINI_WORKERS", help="number of server processes (RINI_WORKERS)")
    serve.add_argument("--data-dir", dest="RINI_DATA_DIR", help="folder for the database and what runs (RINI_DATA_DIR)")

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


def _run(options: argparse.Namespace) -> int:
    # Each command imports what it needs, so that a short one starts quickly.
    if options.command == "keygen":
        from rini.cli import keygen  # noqa: PLC0415

        return keygen.run()
    settings = _settings(options)
    settings.prepare_data_dir()
    match options.command:
        case "serve":
            from rini.cli import serve  # noqa: PLC0415

            return serve.run(settings)
        case "user":
            from rini.cli import user  # noqa: PLC0415

            return user.run(settings, options.action, getattr(options, "user_id", None))
        case "keys":
            from rini.cli import keys  # noqa: PLC0415

            return keys.rotate(settings)
        case _:
            from rini.cli import database  # noqa: PLC0415

            return database.upgrade(settings)


def _settings(options: argparse.Namespace) -> Settings:
    return load_settings(
        **{name: value for name, value in vars(options).items() if name.startswith("RINI_") and value is not None}
    )
