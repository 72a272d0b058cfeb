"""``rini user``: the operator's way to users and tokens."""

from collections.abc import Generator
from contextlib import contextmanager

from rini.accounts import users
from rini.accounts.tokens import TokenIssuer
from rini.cli.refusal import refuse
from rini.cli.secrets import announced
from rini.db import Database
from rini.db.migrate import migrate
from rini.settings import Settings

LARGEST_ID = 2**63 - 1


def run(settings: Settings, action: str, user_id: int | None) -> int:
    """Make a user, print a token, or delete a user."""
    secrets = announced(settings)
    issuer = TokenIssuer(secrets.jwt_key, settings.jwt_algorithm, settings.jwt_access_token_expire_minutes)
    with _open(settings) as database:
        if user_id is None:
            user_id = database.write_sync(users.create)
            print(f"user {user_id}")
            print(issuer.issue(user_id))
        elif not 0 < user_id <= LARGEST_ID or not database.read_sync(users.exists, user_id):
            return refuse(f"There is no user {user_id}.")
        elif action == "token":
            print(issuer.issue(user_id))
        else:
            database.write_sync(users.delete, user_id)
            print(f"User {user_id} is deleted, with all that was theirs.")
    return 0


@contextmanager
def _open(settings: Settings) -> Generator[Database]:
    migrate(settings.database)
    database = Database(settings.database)
    try:
        yield database
    finally:
        database.close()
