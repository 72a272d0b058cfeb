"""The secrets, as commands load them."""

import sys

from rini.accounts.secrets import Secrets, load_secrets
from rini.settings import Settings


def announced(settings: Settings) -> Secrets:
    """Return the server's secrets, and say so on standard error when some were made just now. Raises SettingsError."""
    secrets = load_secrets(settings)
    if secrets.generated is not None:
        print(f"Secrets were made and kept in {secrets.generated} (mode 0600).", file=sys.stderr, flush=True)
    return secrets
