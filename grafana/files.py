"""The dashboards as the files that Grafana is given."""

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import overview, pipeline

FOLDER = Path(__file__).parent / "dashboards"


def rendered() -> dict[str, str]:
    """Return the text of every dashboard by its file's name."""
    dashboards = [
        _cleaned(JSONEncoder().encode(module.dashboard().build())) for module in (overview, pipeline)
    ]
    return {f"{each['uid']}.json": json.dumps(each, indent=2, sort_keys=True) + "\n" for each in dashboards}


def write(folder: Path) -> None:
    """Write every dashboard into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (folder / name).write_text(text, encoding="utf-8")


def _cleaned(encoded: str) -> dict[str, Any]:
    """Return a dashboard without what the SDK always writes, wanted or not."""
    payload: dict[str, Any] = json.loads(encoded)
    for control in (*payload["links"], *payload["annotations"]["list"]):
        del control["placement"]  # would hide it in a menu
    for variable in payload["templating"]["list"]:
        for key in ("auto", "auto_count", "auto_min"):
            del variable[key]  # belongs to variables of type interval
    for panel in payload["panels"]:
        panel.get("options", {}).pop("footer", None)  # Grafana 13's tables have none
    return payload
