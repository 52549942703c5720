"""docs/deployment.md against docker-compose.yml."""

import re

from app.backend import FLUSH_SECONDS
from app.commands.serve import GRACE_SECONDS
from app.main import EXPORT_SECONDS
from tests.compose.definition import ROOT, definition, services

PAGE = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_ports() -> None:
    """The page lists every published port with its service and its profile."""
    found = {
        (service.name, int(port), ",".join(service.profiles))
        for service in services().values()
        for _, _, port in service.ports
    }
    listed = {
        (service.strip("`"), int(port), profile.strip("`"))
        for service, ports, _, _, profile in rows("What listens where")
        for port in re.findall(r"\d+", ports)
    }
    assert found == listed


def test_secrets() -> None:
    """The page lists every secret."""
    assert set(definition()["secrets"]) == {row[0].strip("`") for row in rows("Secrets")}


def test_stop() -> None:
    """The page's times for stopping are those of the file and the code."""
    period = services()["backend"].raw["stop_grace_period"].removesuffix("s")
    assert f"gives the backend {period} seconds" in PAGE
    assert f"and {GRACE_SECONDS + FLUSH_SECONDS + EXPORT_SECONDS:g} for the rest" in PAGE


def test_links() -> None:
    """Every relative link of the page leads to a file."""
    targets = re.findall(r"\]\((?!http)([^)#]+)", PAGE)
    assert targets
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []
