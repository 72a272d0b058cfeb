"""Users' files, as FastAPI hands them to endpoints."""

from typing import Annotated

from fastapi import Depends, Request

from rini.files.store import Files


def _files(request: Request) -> Files:
    return request.app.state.files


FilesDependency = Annotated[Files, Depends(_files)]
