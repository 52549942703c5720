"""The reference page is what the catalogue says."""

from pathlib import Path

from telemetry.catalogue import CATALOGUE
from telemetry.reference import as_markdown

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_page_is_up_to_date() -> None:
    """The committed page is the one that the catalogue makes."""
    assert PAGE.read_text(encoding="utf-8") == as_markdown()


def test_every_instrument_is_there() -> None:
    """The page names every instrument under both names."""
    page = as_markdown()
    assert [each.name for each in CATALOGUE if f"`{each.name}`" not in page] == []
    assert [each.name for each in CATALOGUE if f"`{each.prometheus_name}`" not in page] == []
