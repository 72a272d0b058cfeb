"""``rini keys rotate``: encrypt all stored provider keys under a new master key, while the server runs.

With the secrets in the data folder a new master key is made there first; running servers read it when they meet it. With
RINI_API_MASTER_KEY in the environment that is the new key, and RINI_API_MASTER_KEYS_OLD names the former ones: restart the servers
with both settings, rotate, then drop the old ones.
"""

import sys
from typing import Any

from rini.accounts import provider_keys
from rini.accounts.keyring import make_master_key
from rini.accounts.secrets import SECRETS_FILE, load_secrets
from rini.db import Database
from rini.db.migrate import migrate
from rini.kit.secrets_file import update_secrets
from rini.settings import Settings


def rotate(settings: Settings) -> int:
    """Rotate, in small transactions; it may be broken off and run again."""
    load_secrets(settings)
    if settings.api_master_key is None:
        update_secrets(settings.data_dir / SECRETS_FILE, _add_master_key)
    elif not settings.api_master_keys_old:
        print(
            "rini: RINI_API_MASTER_KEY is the new master key here: put the former one into RINI_API_MASTER_KEYS_OLD.",
            file=sys.stderr,
        )
        return 1
    keyring = load_secrets(settings).keyring
    migrate(settings.database)
    database = Database(settings.database)
    changed = last = 0
    try:
        while (step := database.write_sync(provider_keys.reseal_some, keyring, last)) is not None:
            last, more = step
            changed += more
    finally:
        database.close()
    print(f"{changed} keys are now encrypted under master key {keyring.current_id}.")
    return 0


def _add_master_key(content: dict[str, Any]) -> None:
    content["master_keys"] = [make_master_key(), *content["master_keys"]]
