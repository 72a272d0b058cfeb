"""``rini keys rotate``: encrypt all stored provider keys under a new master key, while the server runs.

With the secrets in the data folder a new master key is made there first; running servers seal under it from then on. With
RINI_API_MASTER_KEY in the environment that is the new key, and RINI_API_MASTER_KEYS_OLD names the former ones: restart the servers
with both settings, rotate, then drop the old ones.
"""

from typing import Any

from rini.accounts import provider_keys
from rini.accounts.keyring import make_master_key
from rini.accounts.secrets import SECRETS_FILE, load_secrets
from rini.cli.refusal import refuse
from rini.cli.secrets import announced
from rini.db import Database
from rini.db.migrate import migrate
from rini.kit.secrets_file import update_secrets
from rini.settings import Settings


def rotate(settings: Settings) -> int:
    """Rotate, in small transactions; it may be broken off and run again."""
    announced(settings)
    migrate(settings.database)
    if settings.api_master_key is None:
        update_secrets(settings.data_dir / SECRETS_FILE, _add_master_key)
    keyring = load_secrets(settings).keyring
    database = Database(settings.database)
    changed = last = 0
    unreadable: list[int] = []
    try:
        database.write_sync(provider_keys.begin_resealing)
        while (step := database.write_sync(provider_keys.reseal_some, keyring, last)) is not None:
            last = step.last_id
            changed += step.changed
            unreadable += step.unreadable
    finally:
        database.close()
    print(f"{changed} keys were encrypted anew, under master key {keyring.current_id}.")
    if unreadable:
        ids = ", ".join(map(str, unreadable))
        return refuse(
            f"These keys do not open, and stay as they are: {ids}. Put the master key that they were encrypted under "
            f"into RINI_API_MASTER_KEYS_OLD and rotate again, or have their users store them anew."
        )
    return 0


def _add_master_key(content: dict[str, Any]) -> None:
    content["master_keys"] = [make_master_key(), *content["master_keys"]]
