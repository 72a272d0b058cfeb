"""What an operator reads when a command cannot do its work: one line, and no traceback."""

import sys

from rini.db.migrate import MigrationError
from rini.errors import RiniError
from rini.settings import SettingsError
from rini.usage.price_file import PriceFileError

REFUSALS = (SettingsError, MigrationError, PriceFileError, RiniError)
"""The errors whose text is for the operator."""

REFUSED = 1


def refuse(error: Exception | str) -> int:
    """Print the line on standard error and return the exit status."""
    print(f"rini: {error}", file=sys.stderr, flush=True)
    return REFUSED
