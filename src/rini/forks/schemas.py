"""What the endpoint of forks takes."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rini.kit.parameters import LARGEST_ID
from rini.kit.text import storable

Mode = Literal["path", "branches", "all"]


class ForkRequest(BaseModel):
    """What a fork is to have. ``files: false`` leaves the files out, and ``memory: false`` the session's own memory."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"mode": "path", "alias": "another way"}]})

    message_id: Annotated[
        int | None,
        Field(strict=True, ge=1, le=LARGEST_ID, description="Where to fork; without it at the session's head."),
    ] = None
    mode: Annotated[
        Mode,
        Field(description="The path to the message; that and all branches below it; or all messages of the session."),
    ] = "path"
    alias: Annotated[
        Annotated[str, Field(max_length=1000), AfterValidator(storable)] | None,
        Field(description="The fork's alias; without it the session's."),
    ] = None
    memory: bool = True
    files: bool = True
