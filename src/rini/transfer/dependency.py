"""Imports, as FastAPI hands them to endpoints."""

from typing import Annotated

from fastapi import Depends, Request

from rini.transfer.imports import Imports


def _imports(request: Request) -> Imports:
    return request.app.state.imports


ImportsDependency = Annotated[Imports, Depends(_imports)]
