"""The database: engine, units of work, tables' base, migrations.

Work on the database is a plain function ``unit(connection, …)`` that never waits for anything else. ``Database`` runs it in
a thread, in one transaction: ``await database.write(settle, turn)``. Only units of work commit.
"""

from rini.db.base import AnyRow, PicoUsd, UtcDateTime, among, big_id, big_int, metadata, seconds_ago
from rini.db.engine import Database
from rini.db.prepared import Prepared, run_by_driver

__all__ = [
    "AnyRow",
    "Database",
    "PicoUsd",
    "Prepared",
    "UtcDateTime",
    "among",
    "big_id",
    "big_int",
    "metadata",
    "run_by_driver",
    "seconds_ago",
]
