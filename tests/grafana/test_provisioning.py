"""The files that provision Grafana, held against what they refer to. No Grafana server can be had here."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from telemetry.exemplars import EXECUTION_ID

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "grafana" / "provisioning"


def loaded(path: Path) -> dict[str, Any]:
    """Return a YAML file's content."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def expanded(value: str, environment: dict[str, str]) -> str:
    """Return a value as Grafana expands it: variables of the environment, unknown ones empty, `$$` as `$`."""
    parts = [
        re.sub(r"\$\{([^}]*)\}", lambda name: environment.get(name[1], ""), part)
        for part in value.split("$$")
    ]
    return "$".join(parts)


def data_source() -> dict[str, Any]:
    """Return the one data source."""
    file = loaded(PROVISIONING / "datasources" / "prometheus.yaml")
    (source,) = file["datasources"]
    assert file["apiVersion"] == 1
    found: dict[str, Any] = source
    return found


def test_the_data_source_keeps_its_uid() -> None:
    """The data source is a Prometheus that nobody edits, under the uid that links and bookmarks hold."""
    source = data_source()
    assert (source["uid"], source["type"], source["editable"]) == ("aoss-prometheus", "prometheus", False)
    assert (source["jsonData"]["httpMethod"], source["isDefault"]) == ("POST", True)


def test_the_interval_is_that_of_the_scrapes() -> None:
    """$__rate_interval is reckoned from the interval at which Prometheus scrapes."""
    prometheus = loaded(ROOT / "prometheus" / "prometheus.yml")
    assert data_source()["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_exemplars_link_to_the_execution() -> None:
    """An exemplar's label is the recorder's; its link is the console's address and Grafana's own variable."""
    (link,) = data_source()["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == EXECUTION_ID
    assert expanded(link["url"], {"AOSS_CONSOLE_URL": "http://localhost:8000"}) == (
        "http://localhost:8000/?execution=${__value.raw}"
    )


def test_the_dashboards_are_read_only_files() -> None:
    """Grafana takes dashboards from files, deletes none that is missing and lets nobody save over them."""
    file = loaded(PROVISIONING / "dashboards" / "aoss.yaml")
    (provider,) = file["providers"]
    assert file["apiVersion"] == 1
    assert (provider["type"], provider["disableDeletion"], provider["allowUiUpdates"]) == (
        "file",
        True,
        False,
    )
    assert provider["options"]["path"] == "/etc/grafana/dashboards"


def test_compose_gives_what_the_files_refer_to() -> None:
    """Compose mounts the dashboards where the provider looks, and sets every variable that is expanded."""
    services = loaded(ROOT / "docker-compose.yml")["services"]
    grafana = services["grafana"]
    (provider,) = loaded(PROVISIONING / "dashboards" / "aoss.yaml")["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in grafana["volumes"]
    source = data_source()
    text = json.dumps(source).replace("$$", "")
    assert set(re.findall(r"\$\{?(\w+)", text)) == {"AOSS_CONSOLE_URL"} <= set(grafana["environment"])
    assert urlsplit(source["url"]).hostname in services
