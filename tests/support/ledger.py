"""Reading the ledger as it stands in a test's SQLite database."""

import sqlite3
import time
from contextlib import closing
from typing import Any

from tests.support.server import Server


def rows(server: Server, **where: Any) -> list[dict[str, Any]]:
    """Return the ledger's rows, oldest first."""
    with closing(sqlite3.connect(f"file:{server.data_dir / 'rini.db'}?mode=ro", uri=True)) as database, database:
        database.row_factory = sqlite3.Row
        found = [dict(row) for row in database.execute("select * from usage_records order by id")]
    return [row for row in found if all(row[name] == value for name, value in where.items())]


def wait_for_rows(server: Server, count: int, seconds: float = 5, **where: Any) -> list[dict[str, Any]]:
    """Return the ledger's rows once there are ``count`` of them."""
    until = time.monotonic() + seconds
    while len(found := rows(server, **where)) < count and time.monotonic() < until:
        time.sleep(0.02)
    assert len(found) == count, found
    return found
