"""What the endpoints of aliases take and give."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rini.kit.text import storable
from rini.providers.catalog import PROVIDERS
from rini.providers.model_names import LONGEST_NAME, explicit_name

ALIAS_CHARACTERS = 200
ALIAS_PATTERN = r"^[A-Za-z0-9._:@-]+(/[A-Za-z0-9._:@-]+)*$"

_ONLY_DOTS = re.compile(r"(^|/)\.+(/|$)")
_LONGEST_TARGET = max(map(len, PROVIDERS)) + 1 + LONGEST_NAME


def _an_alias(alias: str) -> str:
    first = alias.partition("/")[0]
    if first in PROVIDERS or first in ("models", "tunedModels"):
        raise ValueError(f"must not begin with '{first}', which has a meaning of its own")
    if _ONLY_DOTS.search(alias):  # clients take such parts out of paths
        raise ValueError("must not have parts of dots alone")
    return alias


def _a_target(model: str) -> str:
    found = explicit_name(storable(model).strip())
    if found is None or len(found.model) > LONGEST_NAME or not found.model.isprintable():
        raise ValueError(
            f"must be provider/model, such as openai/gpt-4o-mini, with one of the providers {', '.join(PROVIDERS)}"
        )
    return str(found)


AliasName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=ALIAS_CHARACTERS,
        pattern=ALIAS_PATTERN,
        description="Letters, digits and `._:@-`, with `/` between parts. The first part is no provider.",
    ),
    AfterValidator(_an_alias),
]
Target = Annotated[
    str,
    Field(max_length=_LONGEST_TARGET, description="The model as provider/model; an alias of an alias is none."),
    AfterValidator(_a_target),
]


class AliasTarget(BaseModel):
    """What an alias is to mean."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "openai/gpt-4o-mini"}]})

    model: Target


class AliasCreate(AliasTarget):
    """A new alias, and what it is to mean."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"alias": "fast", "model": "openai/gpt-4o-mini"}]})

    alias: AliasName


class Alias(BaseModel):
    """A name of the user's own, and the model that it means."""

    alias: str
    model: str
    created_at: datetime
