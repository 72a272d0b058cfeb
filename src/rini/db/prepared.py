"""Statements that are compiled once and run past SQLAlchemy's own execution, which takes several times as long as SQLite does.

For the few that are on the way of every stored turn. What they are, and what they return and raise, is as it would be otherwise.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Dialect, result_tuple
from sqlalchemy.engine.interfaces import DBAPICursor

from rini.db.base import AnyRow

_Process = Callable[[Any], Any]
Statement = sa.SelectBase | sa.UpdateBase | sa.TextClause


class Prepared:
    """A statement. Its parameters are its ``bindparam``s, and of an INSERT or UPDATE the columns that it sets.

    No list may be among them but for ``among``, and no value that SQLAlchemy makes by itself (a column's default).
    """

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._forms: dict[tuple[str, tuple[str, ...]], _Form] = {}

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> int:
        """Run it and return how many rows it changed."""
        form = self._form(connection, parameters)
        cursor = run_by_driver(connection, form.text, form.values(parameters))
        try:
            return cursor.rowcount
        finally:
            cursor.close()

    def run_many(self, connection: Connection, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Run it once for each of the parameters, of which there must be some, all of the same names."""
        form = self._form(connection, parameters[0])
        run_by_driver(connection, form.text, [*map(form.values, parameters)], many=True).close()

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> list[AnyRow]:
        """Run it and return its rows."""
        form = self._form(connection, parameters)
        cursor = run_by_driver(connection, form.text, form.values(parameters))
        try:
            read = form.reader(cursor)
            return [form.row(read(values)) for values in cursor.fetchall()]
        finally:
            cursor.close()

    def tuples(self, connection: Connection, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Run it and yield its rows as plain tuples: of many, no more than are asked for need be read."""
        form = self._form(connection, parameters)
        cursor = run_by_driver(connection, form.text, form.values(parameters))
        try:
            yield from map(form.reader(cursor), iter(cursor.fetchone, None))
        finally:
            cursor.close()

    def first(self, connection: Connection, parameters: Mapping[str, Any]) -> AnyRow | None:
        """Run it and return its first row, if there is one."""
        rows = self.rows(connection, parameters)
        return rows[0] if rows else None

    def one(self, connection: Connection, parameters: Mapping[str, Any]) -> AnyRow:
        """Run it and return its only row."""
        (row,) = self.rows(connection, parameters)
        return row

    def _form(self, connection: Connection, parameters: Mapping[str, Any]) -> "_Form":
        key = (connection.dialect.name, tuple(parameters))
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = _Form(self._statement, connection.dialect, key[1])
        return form


def run_by_driver(connection: Connection, text: str, values: Any, *, many: bool = False) -> DBAPICursor:
    """Run a statement in the driver's own form, in the connection's transaction; the caller closes the cursor.

    Raises what SQLAlchemy does (DBAPIError).
    """
    if not connection.in_transaction():
        connection.begin()
    return _run(connection, text, values, many=many)


def begin_by_driver(connection: Connection, text: str) -> None:
    """Begin the transaction that SQLAlchemy takes for begun."""
    _run(connection, text, ()).close()


def _run(connection: Connection, text: str, values: Any, *, many: bool = False) -> DBAPICursor:
    driver: Any = connection.connection.dbapi_connection
    cursor: DBAPICursor = driver.cursor()
    try:
        if many:
            cursor.executemany(text, values)
        else:
            cursor.execute(text, values)
    except connection.dialect.loaded_dbapi.Error as error:
        dialect = connection.dialect
        broken = dialect.is_disconnect(error, driver, cursor)
        cursor.close()
        raise exc.DBAPIError.instance(
            text,
            None,
            error,
            dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=broken,
            dialect=dialect,
        ) from error
    return cursor


class _Form:
    """The statement as one dialect has it, for parameters of these names in this order."""

    def __init__(self, statement: Statement, dialect: Dialect, given: tuple[str, ...]) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(given))
        self.text = compiled.string
        constants = dict(compiled.construct_params(dict.fromkeys(given)) or {})
        self._constants = {name: value for name, value in constants.items() if name not in given}
        processes = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
        }
        self._by_name = compiled.positiontup is None
        self._plan = [(name, processes.get(name)) for name in compiled.positiontup or constants]
        columns = list(getattr(statement, "exported_columns", ()))
        self.row = result_tuple([column.key for column in columns])
        self._dialect = dialect
        self._types = [column.type.dialect_impl(dialect) for column in columns]
        self._reader: Callable[[Iterable[Any]], tuple[Any, ...]] | None = None

    def values(self, parameters: Mapping[str, Any]) -> Any:
        """Return what the driver takes."""
        given = {**self._constants, **parameters} if self._constants else parameters
        if self._by_name:
            return {name: given[name] if process is None else process(given[name]) for name, process in self._plan}
        return [given[name] if process is None else process(given[name]) for name, process in self._plan]

    def reader(self, cursor: DBAPICursor) -> Callable[[Iterable[Any]], tuple[Any, ...]]:
        """Return what makes a row's values those that Python has."""
        if self._reader is None:
            told = [column[1] for column in cursor.description or ()]
            found = [each.result_processor(self._dialect, code) for each, code in zip(self._types, told, strict=True)]
            processes: list[tuple[int, _Process]] = [
                (place, process) for place, process in enumerate(found) if process is not None
            ]
            self._reader = partial(_read, processes) if processes else tuple
        return self._reader


def _read(processes: list[tuple[int, _Process]], row: Iterable[Any]) -> tuple[Any, ...]:
    values = list(row)
    for place, process in processes:
        values[place] = process(values[place])
    return tuple(values)
