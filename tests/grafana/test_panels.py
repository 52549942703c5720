"""What every dashboard and every panel keeps to."""

import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest

from grafana.files import write
from grafana.panels import COLOURS
from tests.grafana.queries import FOLDER, dashboards, panels

COLUMNS = 24

Dashboard = dict[str, Any]
every_dashboard = pytest.mark.parametrize("dashboard", dashboards().values(), ids=dashboards())


def test_committed_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    """Generating again gives the committed files, byte by byte, and no other file is there."""
    write(tmp_path)
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == {
        path.name: path.read_bytes() for path in tmp_path.iterdir()
    }


def test_both_dashboards_are_seen() -> None:
    """The checks below see both dashboards with all their panels."""
    assert {uid: len(panels(each)) > 20 for uid, each in dashboards().items()} == {
        "aoss-overview": True,
        "aoss-pipeline": True,
    }


@every_dashboard
def test_a_dashboard_is_not_edited(dashboard: Dashboard) -> None:
    """A provisioned dashboard is read-only, says what it answers, refreshes itself and has the tag of all."""
    assert (dashboard["editable"], dashboard["refresh"], dashboard["tags"]) == (False, "15s", ["aoss"])
    assert dashboard["description"]


@every_dashboard
def test_links_to_the_others(dashboard: Dashboard) -> None:
    """A dashboard links to the others by their tag and hands on range and variables."""
    (link,) = dashboard["links"]
    assert (link["type"], link["tags"]) == ("dashboards", ["aoss"])
    assert (link["keepTime"], link["includeVars"]) == (True, True)


@every_dashboard
def test_ids_and_titles_are_unique(dashboard: Dashboard) -> None:
    """No two panels or rows have one id, and no two panels one title."""
    assert Counter(each["id"] for each in dashboard["panels"]).most_common(1)[0][1] == 1
    assert Counter(each["title"] for each in panels(dashboard)).most_common(1)[0][1] == 1


@every_dashboard
def test_the_grid_is_filled_once(dashboard: Dashboard) -> None:
    """Panels neither overlap nor leave holes."""
    taken: Counter[tuple[int, int]] = Counter()
    for panel in dashboard["panels"]:
        x, y, width, height = (panel["gridPos"][key] for key in "xywh")
        taken.update((column, line) for column in range(x, x + width) for line in range(y, y + height))
    lines = 1 + max(line for _, line in taken)
    assert taken == Counter({(column, line): 1 for column in range(COLUMNS) for line in range(lines)})


@every_dashboard
def test_variables_can_be_combined(dashboard: Dashboard) -> None:
    """The data source can be chosen; of everything else several values or all, which has its expression."""
    source, *others = dashboard["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [each["name"] for each in others][:2] == ["job", "instance"]
    assert {(each["multi"], each["includeAll"], each["refresh"]) for each in others} == {(True, True, 2)}
    assert {each["allValue"] for each in others} <= {".+", ".*"}


@every_dashboard
def test_restarts_and_alerts_are_marked(dashboard: Dashboard) -> None:
    """Every graph shows restarts and firing alerts, unless somebody switches them off."""
    annotations = dashboard["annotations"]["list"]
    assert [(each["name"], each["enable"], each["hide"]) for each in annotations] == [
        ("Restarts", True, False),
        ("Firing alerts", True, False),
    ]


@every_dashboard
def test_panels_explain_themselves(dashboard: Dashboard) -> None:
    """A panel has a title, a sentence about it, a unit and words for the case of no data."""
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["noValue"], panel["title"]


@every_dashboard
def test_panels_ask_the_chosen_data_source(dashboard: Dashboard) -> None:
    """Panels, queries, annotations and variables follow the variable; queries have ids of their own."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    asking = [*panels(dashboard), *dashboard["annotations"]["list"], *dashboard["templating"]["list"][1:]]
    for panel in panels(dashboard):
        asking += panel["targets"]
        refs = "".join(target["refId"] for target in panel["targets"])
        assert refs, panel["title"]
        assert ascii_uppercase.startswith(refs), panel["title"]
    assert [each for each in asking if each["datasource"] != chosen] == []


@every_dashboard
def test_graphs_name_their_series(dashboard: Dashboard) -> None:
    """A graph shows its legend, and every query of it says what its series are called."""
    graphs = [panel for panel in panels(dashboard) if panel["type"] == "timeseries"]
    assert graphs
    for panel in graphs:
        assert panel["options"]["legend"]["showLegend"], panel["title"]
        assert "__auto" not in [target["legendFormat"] for target in panel["targets"]], panel["title"]


@every_dashboard
def test_levels_ascend(dashboard: Dashboard) -> None:
    """A panel's levels ascend from one that holds below all others."""
    levels = [
        [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        for panel in panels(dashboard)
        if "thresholds" in panel["fieldConfig"]["defaults"]
    ]
    assert levels
    assert levels == [[None, *sorted(values[1:])] for values in levels]


@every_dashboard
def test_the_page_says_what_each_section_answers(dashboard: Dashboard) -> None:
    """docs/grafana.md has the dashboard, its sections in their order, and its variables."""
    page = (FOLDER.parents[1] / "docs" / "grafana.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("|")]
    begin = [first.strip() for first, _ in rows].index(dashboard["title"])
    sections = [each["title"] for each in dashboard["panels"] if each["type"] == "row"]
    assert [section.strip() for _, section in rows[begin : begin + len(sections)]] == sections
    _, variables = page.split("## Variables")
    assert all(each["label"] in variables for each in dashboard["templating"]["list"])


def test_the_module_writes_the_files(tmp_path: Path) -> None:
    """The page's command, given another folder, writes both files there."""
    command = [sys.executable, "-W", "error", "-m", "grafana", str(tmp_path)]
    subprocess.run(command, check=True, timeout=60, cwd=FOLDER.parents[1])
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FOLDER.iterdir()}


def seen(colour: str, matrix: list[list[float]]) -> list[float]:
    """Return a colour's linear red, green and blue as somebody sees them."""
    linear = [(int(colour[at : at + 2], 16) / 255) ** 2.2 for at in (1, 3, 5)]
    return [sum(factor * part for factor, part in zip(row, linear, strict=True)) for row in matrix]


# How red, green and blue look without the red or the green cones: Viénot, Brettel and Mollon, 1999.
VISIONS = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red cones": [[0.1121, 0.8853, -0.0005], [0.1127, 0.8897, -0.0001], [0.0045, 0.0001, 1.0019]],
    "no green cones": [[0.2920, 0.7054, -0.0003], [0.2934, 0.7089, 0.0000], [-0.0209, 0.0256, 1.0022]],
}


@pytest.mark.parametrize("matrix", VISIONS.values(), ids=VISIONS)
def test_status_colours_can_be_told_apart(matrix: list[list[float]]) -> None:
    """The colours of how executions end differ for colour-blind people, too."""
    for pair in combinations(COLOURS.values(), 2):
        one, other = (seen(colour, matrix) for colour in pair)
        distance = sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
        assert distance > 0.1, pair
