"""Where the language models are."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Where the language models are and how long to wait for them.

    `api_key` is None for servers that need none. `models` are those that may be asked, the first by default.
    `timeout_seconds` and `attempts` bound one plan or recovery, all its calls and waits together.
    Raises ValueError for settings that no call could work with.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    models: tuple[str, ...]
    timeout_seconds: float = 60
    attempts: int = 3

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("AOSS_LLM_MODEL is needed where AOSS_LLM_BASE_URL is set")
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("AOSS_LLM_API_KEY holds a character that no HTTP header can carry")
