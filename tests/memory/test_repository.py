"""How much a user may keep."""

from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import InvalidRequestError
from rini.memory import repository
from rini.memory.schemas import MemoryCreate
from rini.sessions import repository as sessions


def test_a_user_may_keep_only_so_many_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(repository, "MOST_ENTRIES", 3)
    url = f"sqlite:///{tmp_path / 'rini.db'}"
    migrate(url)
    database = Database(url)

    def new_session(connection: Connection) -> tuple[int, str]:
        user_id = users.create(connection, "", 0)
        return user_id, sessions.create(connection, user_id, None, None, "auto").id

    mine, other = database.write_sync(new_session), database.write_sync(new_session)
    kept = [
        database.write_sync(repository.create, *mine, MemoryCreate(memory_type="Fact", scope=scope, content="x"))
        for scope in ("Session", "Shared", "Session")
    ]
    one_more = MemoryCreate(memory_type="Fact", content="x")
    with pytest.raises(InvalidRequestError, match="You have 3 memory entries, and there may be no more"):
        database.write_sync(repository.create, *mine, one_more)
    assert database.write_sync(repository.create, *other, one_more)
    database.write_sync(repository.delete, mine[0], kept[1].id)
    assert database.write_sync(repository.create, *mine, one_more)
    database.close()
