"""``rini keygen``."""

import secrets

from rini.accounts.keyring import make_master_key


def run() -> int:
    """Print new secrets as lines for ``.env``."""
    print(f"RINI_API_MASTER_KEY={make_master_key()}")
    print(f"JWT_SECRET_KEY={secrets.token_urlsafe(48)}")
    return 0
