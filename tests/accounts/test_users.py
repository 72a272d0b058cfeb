"""Deleting a user while its answers are being stored."""

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import migrate
from rini.sessions import messages, repository


def test_deleting_a_user_waits_for_an_answer_that_is_being_stored(new_postgres_url: Callable[[], str]):
    """Both lock the session first, so neither holds what the other one waits for."""
    url = new_postgres_url().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    database = Database(url)
    user_id = database.write_sync(users.create)
    session = database.write_sync(repository.create, user_id, None, None, "auto").id
    engine = sa.create_engine(url)
    waiting = sa.text(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    with engine.connect() as storing:
        repository.get_locked(storing, user_id, session)
        deleting = threading.Thread(target=database.write_sync, args=(users.delete, user_id))
        deleting.start()
        until = time.monotonic() + 10
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as looking:
            while not looking.execute(waiting).scalar_one() and time.monotonic() < until:
                time.sleep(0.01)
        # Shorter than the time after which Postgres looks for deadlocks, and no time at all where there is none.
        storing.execute(sa.text("set local lock_timeout = '500ms'"))
        messages.add(storing, session_id=session, user_id=user_id, role="user", content="x", parent_message_id=None)
        storing.commit()
    deleting.join(10)
    assert not database.read_sync(users.exists, user_id)
    database.close()
    engine.dispose()
