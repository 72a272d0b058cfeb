"""The settings: where they come from, what they refuse, and that the pages about them are complete."""

import os
from pathlib import Path

import pytest

from rini.settings import Settings, SettingsError, load_settings
from tests.support import settings_page


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in list(os.environ):
        if name in settings_page.fields():
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_an_option_goes_before_the_environment_before_the_file_before_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert load_settings().port == 8000
    (tmp_path / ".env").write_text("RINI_PORT=1\nRINI_HOST=0.0.0.0\n")
    assert load_settings().port == 1
    monkeypatch.setenv("RINI_PORT", "2")
    assert load_settings().port == 2
    assert load_settings(RINI_PORT="3").port == 3
    assert load_settings().host == "0.0.0.0"


def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RINI_PORT", "")
    monkeypatch.setenv("RINI_API_MASTER_KEY", "")
    assert (load_settings().port, load_settings().api_master_key) == (8000, None)


def test_every_mistake_is_named_and_no_value_is_told(monkeypatch: pytest.MonkeyPatch):
    wrong = {
        "RINI_PORT": "eighty",
        "RINI_DATABASE_URL": "mysql://me:hidden@host/x",
        "RINI_OPENAI_BASE_URL": "hidden.example",
        "JWT_ALGORITHM": "none",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    for name, value in wrong.items():
        assert f"{name}: " in str(caught.value)
        assert value not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_contexts_of_models_are_read():
    given = "openai_compatible/meta-llama/Llama-3.3-70B=32768, openai_compatible/*=8192"
    assert load_settings(RINI_CONTEXT_WINDOWS=given).context_windows == (
        ("openai_compatible", "meta-llama/Llama-3.3-70B", 32768),
        ("openai_compatible", "*", 8192),
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("llama=4096", "entry 1 must be provider/model=tokens"),
        ("openai/a=4096, openai_compatible/b", "entry 2 must be provider/model=tokens"),
        ("vllm/llama=4096", "entry 1 must begin with one of openai, anthropic, google, openai_compatible"),
        ("openai_compatible/l*a=4096", "entry 1 may have a * at the end"),
        ("openai_compatible/llama=4k", "entry 1 must end with a number of tokens from 256 to 100000000"),
        ("openai_compatible/llama=12", "from 256 to"),
    ],
)
def test_a_context_that_is_written_wrong_is_told(given: str, told: str):
    with pytest.raises(SettingsError, match=r"^RINI_CONTEXT_WINDOWS: ") as caught:
        load_settings(RINI_CONTEXT_WINDOWS=given)
    assert told in str(caught.value)


def test_secrets_are_not_shown():
    settings = load_settings(
        RINI_API_MASTER_KEY="hidden-1", RINI_API_MASTER_KEYS_OLD="hidden-2", JWT_SECRET_KEY="hidden-3"
    )
    assert "hidden" not in repr(settings) + str(settings.model_dump())
    assert [key.get_secret_value() for key in settings.api_master_keys_old] == ["hidden-2"]


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("", "sqlite:///data/rini.db"),
        ("sqlite:////var/rini.db", "sqlite:////var/rini.db"),
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
    ],
)
def test_the_database_in_sqlalchemys_form(given: str, used: str):
    assert load_settings(RINI_DATABASE_URL=given).database == used


def test_the_pages_have_every_setting():
    grouped = [name for names in settings_page.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(settings_page.fields()), (
        "put the setting into GROUPS of tests/support/settings_page.py"
    )
    assert all(field.description for field in settings_page.fields().values())


def test_the_pages_are_up_to_date():
    page = settings_page.PAGE.read_text(encoding="utf-8")
    assert page == settings_page.with_table(page), "docs/settings.md is out of date: run `make docs`"
    example = settings_page.EXAMPLE.read_text(encoding="utf-8")
    assert example == settings_page.example(), ".env.example is out of date: run `make docs`"


def test_the_example_without_its_marks_is_the_defaults(tmp_path: Path):
    lines = settings_page.EXAMPLE.read_text(encoding="utf-8").splitlines()
    names = tuple(f"# {name}=" for name in settings_page.fields())
    used = [line.removeprefix("# ") for line in lines if line.startswith(names)]
    assert len(used) == len(settings_page.fields())
    (tmp_path / ".env").write_text("\n".join(used))
    assert load_settings() == Settings(_env_file=None)
