"""Statements that are compiled once and run past SQLAlchemy's own execution, which takes several times as long as SQLite does.

For the few that are on the way of every stored turn. What they are, and what they return and raise, is as it would be otherwise.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData

from rini.db.base import AnyRow

_Process = Callable[[Any], Any]
Statement = sa.Select[*tuple[Any, ...]] | sa.UpdateBase | sa.TextClause


class Prepared:
    """A statement. Its parameters are its ``bindparam``s, and of an INSERT or UPDATE the columns that it sets.

    No list may be among them (``IN``), and no value that SQLAlchemy makes by itself (a column's default).
    """

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._forms: dict[tuple[str, tuple[str, ...]], _Form] = {}

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> int:
        """Run it and return how many rows it changed."""
        cursor = self._executed(connection, self._form(connection, parameters), parameters)
        try:
            return cursor.rowcount
        finally:
            cursor.close()

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> list[AnyRow]:
        """Run it and return its rows."""
        form = self._form(connection, parameters)
        cursor = self._executed(connection, form, parameters)
        try:
            found: list[tuple[Any, ...]] = list(cursor.fetchall())
        finally:
            cursor.close()
        if form.results:
            found = [form.read(row) for row in found]
        return list(IteratorResult[*tuple[Any, ...]](form.names, iter(found)).all()) if found else []

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

    def _executed(self, connection: Connection, form: "_Form", parameters: Mapping[str, Any]) -> DBAPICursor:
        if not connection.in_transaction():
            connection.begin()
        dialect, pooled = connection.dialect, connection.connection
        cursor = pooled.cursor()
        try:
            cursor.execute(form.text, form.values(parameters))
        except dialect.loaded_dbapi.Error as error:
            broken = dialect.is_disconnect(error, pooled.dbapi_connection, cursor)
            cursor.close()
            raise exc.DBAPIError.instance(
                form.text,
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
        self._constants = dict(compiled.construct_params(dict.fromkeys(given)) or {})
        self._order = compiled.positiontup
        self._binds = {
            name: process
            for name, bind in compiled.binds.items()
            if (process := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
        }
        for name, process in self._binds.items():
            if name not in given:
                self._constants[name] = process(self._constants[name])
        columns = list(getattr(statement, "exported_columns", ()))
        self.names = SimpleResultMetaData([column.key for column in columns])
        processes = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self.results: list[tuple[int, _Process]] = [
            (place, process) for place, process in enumerate(processes) if process is not None
        ]

    def values(self, parameters: Mapping[str, Any]) -> Any:
        """Return what the driver takes."""
        values = {**self._constants, **parameters}
        for name, process in self._binds.items():
            if name in parameters:
                values[name] = process(values[name])
        return values if self._order is None else [values[name] for name in self._order]

    def read(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a row's values as Python has them."""
        values = list(row)
        for place, process in self.results:
            values[place] = process(values[place])
        return tuple(values)
