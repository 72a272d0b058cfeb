"""The database, as FastAPI hands it to endpoints."""

from typing import Annotated

from fastapi import Depends, Request

from rini.db.engine import Database


def _database(request: Request) -> Database:
    return request.app.state.database


DatabaseDependency = Annotated[Database, Depends(_database)]
