"""``rini keys rotate``: encrypt all that is stored encrypted under a new master key, while the server runs.

That is provider keys and the headers of MCP connections.
With the secrets in the data folder a new master key is made there first; running servers seal under it from then on. With
RINI_API_MASTER_KEY in the environment that is the new key, and RINI_API_MASTER_KEYS_OLD names the former ones: restart the servers
with both settings, rotate, then drop the old ones.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from rini.accounts import provider_keys
from rini.accounts.keyring import Keyring, make_master_key
from rini.accounts.provider_keys import Resealed
from rini.accounts.secrets import SECRETS_FILE, load_secrets
from rini.cli.refusal import refuse
from rini.cli.secrets import announced
from rini.db import Database
from rini.db.migrate import migrate
from rini.kit.secrets_file import update_secrets
from rini.settings import Settings
from rini.tools import connections


def rotate(settings: Settings) -> int:
    """Rotate, in small transactions; it may be broken off and run again."""
    announced(settings)
    migrate(settings.database)
    if settings.api_master_key is None:
        update_secrets(settings.data_dir / SECRETS_FILE, _add_master_key)
    keyring = load_secrets(settings).keyring
    database = Database(settings.database)
    try:
        keys = _reseal(database, keyring, provider_keys.begin_resealing, provider_keys.reseal_some)
        headers = _reseal(database, keyring, connections.begin_resealing, connections.reseal_some)
    finally:
        database.close()
    print(f"{keys.changed} keys were encrypted anew, under master key {keyring.current_id}.")
    if headers.changed:
        print(f"So were the headers of {headers.changed} MCP connections.")
    stay = [
        f"These {what} do not open, and stay as they are: {', '.join(map(str, found.unreadable))}."
        for what, found in (("keys", keys), ("MCP connections' headers", headers))
        if found.unreadable
    ]
    if stay:
        return refuse(
            f"{' '.join(stay)} Put the master key that they were encrypted under "
            f"into RINI_API_MASTER_KEYS_OLD and rotate again, or have their users store them anew."
        )
    return 0


def _reseal(
    database: Database,
    keyring: Keyring,
    begin: Callable[[Connection], None],
    reseal_some: Callable[[Connection, Keyring, int], Resealed | None],
) -> Resealed:
    """Seal all of one kind, and return what became of them all."""
    done = Resealed(0, 0, ())
    database.write_sync(begin)
    while (step := database.write_sync(reseal_some, keyring, done.last_id)) is not None:
        done = Resealed(step.last_id, done.changed + step.changed, (*done.unreadable, *step.unreadable))
    return done


def _add_master_key(content: dict[str, Any]) -> None:
    content["master_keys"] = [make_master_key(), *content["master_keys"]]
