"""The seed contract: the settings of 0.1, its pages, and its migrations from a checkout."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT, Client, Server, clean_environment

SECRET = "s" * 40


def _claims(token: str, part: int = 1) -> dict:
    text = token.split(".")[part]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


@pytest.mark.parametrize(("source", "encode"), [("environment", base64.b64encode), (".env", base64.urlsafe_b64encode)])
def test_the_settings_of_0_1(new_server, tmp_path: Path, source: str, encode):
    key = encode(b"\xfb\xff" * 16).decode()  # with the characters in which the two alphabets differ
    settings = {
        "RINI_API_MASTER_KEY": key,
        "JWT_SECRET_KEY": SECRET,
        "JWT_ALGORITHM": "HS384",
        "JWT_ACCESS_TOKEN_EXPIRE_MINUTES": "7",
    }
    data_dir = tmp_path / "data"
    if source == ".env":
        data_dir.mkdir()
        (data_dir / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        settings = {}
    server: Server = new_server(data_dir=data_dir, RINI_ENV="production", **settings)
    user = server.user()
    claims = _claims(user.token or "")
    assert _claims(user.token or "", 0)["alg"] == "HS384"
    assert claims["exp"] - claims["iat"] == 7 * 60
    assert user.ask().status == 200
    assert not (data_dir / "secrets.json").exists()


def test_a_token_is_good_for_a_day_by_default(server: Server):
    token = server.user().token or ""
    assert _claims(token, 0)["alg"] == "HS256"
    assert _claims(token)["exp"] - _claims(token)["iat"] == 1440 * 60


@pytest.mark.parametrize(
    ("path", "kind"), [("/docs", "text/html"), ("/redoc", "text/html"), ("/openapi.json", "application/json")]
)
def test_the_pages_are_served_to_everyone(server: Server, path: str, kind: str):
    for form in (path, f"{path}/"):
        answer = Client(server.url).get(form)
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, kind)


def test_alembic_upgrades_from_a_checkout(new_server, tmp_path: Path):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    environment = clean_environment(RINI_DATABASE_URL=f"sqlite:///{data_dir}/rini.db") | {"PYTHONPATH": ""}
    upgraded = subprocess.run(
        [os.fspath(Path(sys.executable).with_name("alembic")), "upgrade", "head"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert upgraded.returncode == 0, upgraded.stderr
    server = new_server(data_dir=data_dir)
    assert server.user().session()
    assert "Running upgrade" not in server.logged()
