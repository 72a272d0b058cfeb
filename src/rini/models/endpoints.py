"""/models/aliases."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import AfterValidator, BeforeValidator

from rini.accounts.dependencies import CurrentUser
from rini.db.dependency import DatabaseDependency
from rini.kit.parameters import TOTAL_HEADER, Limit, Skip
from rini.kit.text import storable
from rini.models import aliases
from rini.models.naming import ModelNames
from rini.models.schemas import ALIAS_CHARACTERS, Alias, AliasCreate, AliasName, AliasTarget
from rini.providers.model_names import ModelName

router = APIRouter(tags=["models"])


def _names(request: Request) -> ModelNames:
    return request.app.state.model_names


NamesDependency = Annotated[ModelNames, Depends(_names)]


def _without_slash(alias: str) -> str:
    return alias.removesuffix("/")


AnyAlias = Annotated[
    str,
    Path(max_length=ALIAS_CHARACTERS, description="The alias.", examples=["fast"]),
    BeforeValidator(_without_slash),
    AfterValidator(storable),
]
NewAlias = Annotated[AliasName, Path(examples=["fast"]), BeforeValidator(_without_slash)]


@router.post("/models/aliases/", status_code=201, include_in_schema=False)
@router.post("/models/aliases", status_code=201, summary="Make an alias of a model")
def create_alias(
    body: AliasCreate, user_id: CurrentUser, database: DatabaseDependency, names: NamesDependency
) -> Alias:
    """Make a name of my own for a model. It can be used wherever a model is named, and counts before the providers' bare names."""
    row = database.write_sync(aliases.create, user_id, body.alias, _target(body.model))
    names.forget(user_id)
    return _shown(row)


# With their trailing slash too: the paths below would take that for an alias without any characters.
@router.get("/models/aliases/", include_in_schema=False)
@router.get("/models/aliases", summary="List my aliases")
def list_aliases(
    user_id: CurrentUser, database: DatabaseDependency, response: Response, skip: Skip = 0, limit: Limit = 100
) -> list[Alias]:
    """Return my aliases, in the order of their names."""
    rows, total = database.read_sync(aliases.page, user_id, skip, limit)
    response.headers[TOTAL_HEADER] = str(total)
    return [_shown(row) for row in rows]


@router.get("/models/aliases/{alias:path}", summary="Read an alias")
def read_alias(alias: AnyAlias, user_id: CurrentUser, database: DatabaseDependency) -> Alias:
    """Return an alias."""
    return _shown(database.read_sync(aliases.get, user_id, alias))


@router.put("/models/aliases/{alias:path}", summary="Make or change an alias")
def put_alias(
    alias: NewAlias, body: AliasTarget, user_id: CurrentUser, database: DatabaseDependency, names: NamesDependency
) -> Alias:
    """Let the alias mean another model, or make it."""
    row = database.write_sync(aliases.put, user_id, alias, _target(body.model))
    names.forget(user_id)
    return _shown(row)


@router.delete("/models/aliases/{alias:path}", status_code=204, summary="Delete an alias")
def delete_alias(alias: AnyAlias, user_id: CurrentUser, database: DatabaseDependency, names: NamesDependency) -> None:
    """Delete an alias; the model itself stays as it is."""
    database.write_sync(aliases.delete, user_id, alias)
    names.forget(user_id)


def _target(model: str) -> ModelName:
    provider, _, name = model.partition("/")
    return ModelName(provider, name)


def _shown(row: Any) -> Alias:
    return Alias(alias=row.alias, model=f"{row.provider}/{row.model}", created_at=row.created_at)
