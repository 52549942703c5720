"""Column types that mean the same on SQLite and on PostgreSQL."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, Integer, String, Text
from sqlalchemy.types import TypeDecorator

_INT32 = 2**31 - 1


class UtcDateTime(TypeDecorator[datetime]):
    """Keep a moment, and give it back in UTC with its time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC; SQLite drops the zone. Raises ValueError for one without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the stored moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Number(TypeDecorator[int]):
    """Keep a 32-bit number.

    A larger one, which can only come from an address such as /api/server/99999999999, becomes the largest:
    it finds nothing, where PostgreSQL's driver would fail the query.
    """

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Return the number within 32 bits."""
        return None if value is None else max(-_INT32, min(value, _INT32))


class ShortText(TypeDecorator[str]):
    """Keep a bounded text.

    NUL and lone surrogates become U+FFFD: PostgreSQL refuses both, SQLite the latter, and one refused line
    would fail the whole batch that it is written with, each time that it is tried.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the text with what cannot be stored replaced."""
        return None if value is None else _storable(value)


class LongText(ShortText):
    """Keep a text of any length, likewise."""

    impl = Text
    cache_ok = True


def _storable(text: str) -> str:
    text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
