"""Settings are checked once; every mistake is named by key and value, and no secret is shown."""

from pathlib import Path

import pytest

from app.settings import Settings
from telemetry.environment import SettingsError


def test_defaults(tmp_path: Path) -> None:
    """Without any variable the backend has its embedded defaults, on loopback."""
    settings = Settings.from_environment({"XDG_DATA_HOME": str(tmp_path)})
    assert settings.data_dir == tmp_path / "aoss"
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.max_active_executions == 64
    assert settings.drain_seconds == 20
    assert settings.retention_days == 30
    assert settings.api_key is None
    assert settings.models is None
    assert settings.local_runner is True


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("AOSS_PORT", "http"),
        ("AOSS_PORT", "0"),
        ("AOSS_PORT", "65536"),
        ("AOSS_WORKERS", "1.5"),
        ("AOSS_MAX_ACTIVE_EXECUTIONS", "0"),
        ("AOSS_DRAIN_SECONDS", "-1"),
        ("AOSS_DRAIN_SECONDS", "nan"),
        ("AOSS_COMMAND_TIMEOUT_SECONDS", "inf"),
        ("AOSS_RETENTION_DAYS", "0"),
        ("AOSS_LOCAL_RUNNER", "maybe"),
        ("AOSS_LOG_LEVEL", "loud"),
        ("AOSS_LLM_BASE_URL", "ftp://models"),
        ("AOSS_LLM_BASE_URL", "http://"),
        ("AOSS_LLM_MODEL", "gpt-unplaced"),
        ("AOSS_ALLOWED_HOSTS", "aoss.example:8000"),
    ],
)
def test_invalid_value(key: str, value: str) -> None:
    """A value that cannot be used is named with its key."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({key: value})
    assert key in str(caught.value)
    assert value in str(caught.value)


def test_passwords_in_addresses_are_not_shown() -> None:
    """An address that cannot be used is shown without what stands before its @."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"AOSS_LLM_BASE_URL": "htps://user:hush@models"})
    assert "hush" not in str(caught.value)
    assert "@models" in str(caught.value)


def test_all_mistakes_at_once() -> None:
    """One start shows every mistake."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"AOSS_PORT": "x", "AOSS_WORKERS": "y"})
    assert len(str(caught.value).splitlines()) == 2


def test_empty_is_unset() -> None:
    """An empty variable counts as unset."""
    assert Settings.from_environment({"AOSS_PORT": "", "AOSS_API_KEY": " "}).api_key is None


def test_secrets_from_files(tmp_path: Path) -> None:
    """Every secret may come from a file."""
    values = {}
    for name in ("AOSS_API_KEY", "AOSS_METRICS_TOKEN", "AOSS_DATABASE_URL", "AOSS_LLM_API_KEY"):
        path = tmp_path / name
        path.write_text(f"secret of {name}\n")
        values[f"{name}_FILE"] = str(path)
    values |= {"AOSS_LLM_BASE_URL": "http://localhost:1/v1/", "AOSS_LLM_MODEL": "small"}
    settings = Settings.from_environment(values)
    assert settings.api_key == "secret of AOSS_API_KEY"
    assert settings.metrics_token == "secret of AOSS_METRICS_TOKEN"
    assert settings.database_url == "secret of AOSS_DATABASE_URL"
    assert settings.models is not None
    assert settings.models.api_key == "secret of AOSS_LLM_API_KEY"
    assert settings.models.base_url == "http://localhost:1/v1"


def test_secret_given_twice_or_missing(tmp_path: Path) -> None:
    """A secret that is given twice, or whose file is empty or missing, is refused without showing it."""
    (tmp_path / "empty").write_text("\n")
    for values in (
        {"AOSS_API_KEY": "hush-hush", "AOSS_API_KEY_FILE": "/also"},
        {"AOSS_API_KEY_FILE": str(tmp_path / "missing")},
        {"AOSS_API_KEY_FILE": str(tmp_path / "empty")},
    ):
        with pytest.raises(SettingsError, match="AOSS_API_KEY_FILE") as caught:
            Settings.from_environment(values)
        assert "hush-hush" not in str(caught.value)


def test_models() -> None:
    """The default model comes first, and the others are those that requests may name."""
    endpoint = Settings.from_environment(
        {
            "AOSS_LLM_BASE_URL": "http://localhost:1/v1",
            "AOSS_LLM_MODEL": "small",
            "AOSS_LLM_MODELS": "large, small,huge",
        }
    ).models
    assert endpoint is not None
    assert endpoint.models == ("small", "large", "huge")
