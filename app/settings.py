"""The backend's settings: AOSS_* from the environment, checked once, before anything starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.planners.model_settings import ModelSettings
from app.security import host_name
from telemetry.environment import Environment


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator chose; times are in seconds unless the name says otherwise."""

    data_dir: Path
    database_url: str = field(repr=False)
    host: str
    port: int
    workers: int
    api_key: str | None = field(repr=False)
    metrics_token: str | None = field(repr=False)
    allowed_hosts: tuple[str, ...]
    max_active_executions: int
    drain_seconds: float
    command_timeout_seconds: float
    retention_days: int
    local_runner: bool
    ssh_key_dir: Path
    models: ModelSettings | None
    log_level: str
    log_format: str

    @classmethod
    def from_environment(cls, values: Mapping[str, str]) -> "Settings":
        """Return the settings, or raise SettingsError naming every key and value that cannot be used."""
        environment = Environment(values)
        data_dir = _data_dir(environment)
        settings = cls(
            data_dir=data_dir,
            database_url=environment.secret("AOSS_DATABASE_URL") or "",
            host=environment.text("AOSS_HOST", "127.0.0.1"),
            port=environment.integer("AOSS_PORT", 8000, minimum=1, maximum=65535),
            workers=environment.integer("AOSS_WORKERS", 1, minimum=1, maximum=256),
            api_key=environment.secret("AOSS_API_KEY"),
            metrics_token=environment.secret("AOSS_METRICS_TOKEN"),
            allowed_hosts=_allowed_hosts(environment),
            max_active_executions=environment.integer(
                "AOSS_MAX_ACTIVE_EXECUTIONS", 64, minimum=1, maximum=10_000
            ),
            drain_seconds=environment.number("AOSS_DRAIN_SECONDS", 20, minimum=0, maximum=3600),
            command_timeout_seconds=environment.number(
                "AOSS_COMMAND_TIMEOUT_SECONDS", 300, minimum=0.1, maximum=86_400
            ),
            retention_days=environment.integer("AOSS_RETENTION_DAYS", 30, minimum=1, maximum=36_500),
            local_runner=environment.flag("AOSS_LOCAL_RUNNER", default=True),
            ssh_key_dir=Path(environment.text("AOSS_SSH_KEY_DIR", "~/.ssh")).expanduser().absolute(),
            models=_models(environment),
            log_level=environment.choice("AOSS_LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
            log_format=environment.choice("AOSS_LOG_FORMAT", "auto", ("auto", "json", "text")),
        )
        environment.raise_problems()
        return settings


def _data_dir(environment: Environment) -> Path:
    base = environment.text("XDG_DATA_HOME", "~/.local/share")
    return Path(environment.text("AOSS_DATA_DIR", f"{base}/aoss")).expanduser().absolute()


def _allowed_hosts(environment: Environment) -> tuple[str, ...]:
    names = tuple(word.lower() for word in environment.words("AOSS_ALLOWED_HOSTS"))
    for name in names:
        if host_name(name) != name:
            environment.problems.append(f"AOSS_ALLOWED_HOSTS={name!r} is not a name without a port")
    return names


def _models(environment: Environment) -> ModelSettings | None:
    base_url = environment.url("AOSS_LLM_BASE_URL")
    api_key = environment.secret("AOSS_LLM_API_KEY")
    default = environment.text("AOSS_LLM_MODEL")
    others = environment.words("AOSS_LLM_MODELS")
    models = tuple(dict.fromkeys((default, *others) if default else others))
    if not base_url:
        if models and not environment.problems:
            environment.problems.append(f"AOSS_LLM_MODEL={models[0]!r} needs AOSS_LLM_BASE_URL")
        return None
    try:
        return ModelSettings(base_url, api_key, models)
    except ValueError as error:
        environment.problems.append(str(error))
        return None
