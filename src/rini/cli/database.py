"""``rini db``."""

from rini.db.migrate import HEAD, migrate
from rini.settings import Settings


def upgrade(settings: Settings) -> int:
    """Bring the database to this version."""
    done = migrate(settings.database)
    print(f"The database is {'now' if done else 'already'} at revision {HEAD}.")
    return 0
