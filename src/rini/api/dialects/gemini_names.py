"""A model's name within the body of one of Gemini's calls, whose address names it too."""

from rini.errors import InvalidRequestError


def resource(model: str) -> str:
    """Return the name as Google writes it in bodies."""
    return f"models/{model}"


def check_same_model(named: str, written: str | None, where: str) -> None:
    """Raise InvalidRequestError where the body names another model (at ``where``) than the address, which says ``named``."""
    if written is not None and written.removeprefix("models/") != named.removeprefix("models/"):
        raise InvalidRequestError(
            f"{where}: names another model than the address, which says '{named}'; they must agree."
        )
