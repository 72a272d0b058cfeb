"""The wheel holds all that a server needs, and nothing else."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.server import ROOT, Client, clean_environment

PACKAGE = ROOT / "src"


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=clean_environment(PYTHONPATH=""),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel")
    run(*pip, ROOT, "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, cwd=folder)
    (made,) = folder.glob("rini-*.whl")
    return made


def test_the_wheel_is_the_package_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(PACKAGE).as_posix()
        for path in (PACKAGE / "rini").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert found == expected
    assert {
        "rini/py.typed",
        "rini/db/migrations/env.py",
        "rini/db/migrations/script.py.mako",
        "rini/db/migrations/versions/0001_first.py",
        "rini/providers/local/smollm2.jinja",
    } <= found


def test_an_installed_server_serves_from_an_empty_folder(wheel: Path, tmp_path: Path):
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    # What it depends on comes from here, without a network; rini itself does not: a .pth file is not read in such a folder.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    where = run(python, "-c", "import rini; print(rini.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(site)

    empty = tmp_path / "empty"
    empty.mkdir()
    with subprocess.Popen(
        [home / "bin" / "rini", "serve", "--port", "0"],
        cwd=empty,
        env=clean_environment(PYTHONPATH="", RINI_LOCAL_MODEL="off"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().partition("listens on ")[2].split(" ")[0]
        user = Client(address)
        try:
            user.token = user.post("/users/").json["access_token"]
            assert user.get("/users/me").json == {"id": 1}
        finally:
            server.terminate()
        assert server.wait(20) == 0
    assert (empty / "data" / "rini.db").exists()
