"""The kinds of panels: what each shows by default, so that a dashboard states only what is its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, statetimeline, table
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import timeseries as series_builders
from grafana_foundation_sdk.models import common as choices
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_choices
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from telemetry.labels import ExecutionStatus

DATASOURCE = choices.DataSourceRef(type_val="prometheus", uid="${datasource}")

# Okabe and Ito's colours, which people with any colour vision tell apart.
GOOD = "#009E73"
WARNING = "#E69F00"
BAD = "#D55E00"
NEUTRAL = "#56B4E9"
SET_ASIDE = "#999999"

COLOURS: Mapping[str, str] = {
    ExecutionStatus.SUCCESS: GOOD,
    ExecutionStatus.FAILED: BAD,
    ExecutionStatus.INTERRUPTED: WARNING,
    ExecutionStatus.CANCELLED: SET_ASIDE,
}

# A level begins at its value; the first one, without a value, holds below all others.
Levels = Sequence[tuple[float | None, str]]
PLAIN: Levels = ((None, NEUTRAL),)
NONE_IS_GOOD: Levels = ((None, GOOD), (1, BAD))

_SERIES_HEIGHT = 8
_STAT_HEIGHT = 4


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel; `now` asks for one value at the end of the range, not for a graph."""

    expression: str
    legend: str = ""
    now: bool = False
    exemplars: bool = False
    shape: PromQueryFormat = PromQueryFormat.TIME_SERIES


AnyPanel = (
    stat.Panel | series_builders.Panel | table.Panel | heatmap.Panel | bargauge.Panel | statetimeline.Panel
)

_P = TypeVar("_P", bound=AnyPanel)


def number(
    id_: int,
    title: str,
    says: str,
    query: str,
    *,
    unit: str,
    width: int = 4,
    height: int = _STAT_HEIGHT,
    levels: Levels = PLAIN,
    empty: str = "no data",
    decimals: int | None = None,
) -> stat.Panel:
    """Return a panel that shows one number for the visible range."""
    panel = _common(stat.Panel(), id_, title, says, [Query(query, now=True)], unit, width, height, empty)
    panel.thresholds(_thresholds(levels)).color_scheme(_by_threshold())
    panel.graph_mode(choices.BigValueGraphMode.NONE).color_mode(choices.BigValueColorMode.VALUE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel if decimals is None else panel.decimals(decimals)


def bars(
    id_: int, title: str, says: str, query: Query, *, unit: str, width: int = 6, empty: str = "no data"
) -> bargauge.Panel:
    """Return a panel that compares the numbers of the visible range as bars."""
    panel = _common(bargauge.Panel(), id_, title, says, [query], unit, width, _SERIES_HEIGHT, empty)
    panel.orientation(choices.VizOrientation.HORIZONTAL).display_mode(choices.BarGaugeDisplayMode.BASIC)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.thresholds(_thresholds(PLAIN)).color_scheme(_by_threshold()).decimals(0).min(0)


def graph(
    id_: int,
    title: str,
    says: str,
    *queries: Query,
    unit: str,
    width: int = 8,
    levels: Levels = (),
    empty: str = "no data",
    top: float | None = None,
    stacked: bool = False,
    colours: Mapping[str, str] | None = None,
    dashed: Sequence[str] = (),
) -> series_builders.Panel:
    """Return a graph over time. `levels` are drawn as lines; `colours` and `dashed` go by a series' name."""
    panel = _common(series_builders.Panel(), id_, title, says, queries, unit, width, _SERIES_HEIGHT, empty)
    panel.legend(
        common.VizLegendOptions()
        .show_legend(True)  # noqa: FBT003 - the SDK's own setters
        .display_mode(choices.LegendDisplayMode.TABLE)
        .placement(choices.LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
    )
    panel.tooltip(
        common.VizTooltipOptions().mode(choices.TooltipDisplayMode.MULTI).sort(choices.SortOrder.DESCENDING)
    )
    panel.color_scheme(builders.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    # A point without neighbours, as sparse ratios have, would be invisible as a line only.
    panel.line_width(2).fill_opacity(10).show_points(choices.VisibilityMode.AUTO).min(0)
    if stacked:
        panel.stacking(common.StackingConfig().mode(choices.StackingMode.NORMAL)).fill_opacity(40)
    if top is not None:
        panel.max(top)
    if levels:
        lines = common.GraphThresholdsStyleConfig().mode(choices.GraphThresholdsStyleMode.DASHED)
        panel.thresholds(_thresholds(levels)).thresholds_style(lines)
    for name, colour in (colours or {}).items():
        fixed = models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
        panel.override_by_name(name, [fixed])
    for name in dashed:
        style = models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]})
        panel.override_by_name(name, [style, models.DynamicConfigValue("custom.fillOpacity", 0)])
    return panel


def duration_map(id_: int, title: str, says: str, query: Query, *, width: int = 12) -> heatmap.Panel:
    """Return a heat map of a histogram's buckets over time."""
    panel = _common(heatmap.Panel(), id_, title, says, [query], "short", width, _SERIES_HEIGHT, "no data")
    panel.calculate(False).show_legend()  # noqa: FBT003 - the SDK's own setters
    panel.color(
        heatmap.HeatmapColorOptions()
        .mode(heatmap_choices.HeatmapColorMode.SCHEME)
        .scheme("Cividis")
        .steps(64)
    )
    panel.y_axis(heatmap.YAxisConfig().unit("s")).exemplars_color(BAD)
    return panel


def rows_of(
    id_: int,
    title: str,
    says: str,
    columns: Mapping[str, tuple[str, str]],
    *,
    width: int = 12,
    sort_by: str,
    names: Mapping[str, str],
    empty: str = "no data",
) -> table.Panel:
    """Return a table: `columns` gives query and unit by heading, `names` the headings of labels."""
    queries = [Query(query, now=True, shape=PromQueryFormat.TABLE) for query, _ in columns.values()]
    panel = _common(table.Panel(), id_, title, says, queries, "short", width, _SERIES_HEIGHT, empty)
    values = {f"Value #{ref}": heading for ref, heading in zip(ascii_uppercase, columns, strict=False)}
    panel.with_transformation(models.DataTransformerConfig("merge", options={}))
    panel.with_transformation(
        models.DataTransformerConfig(
            "organize", options={"excludeByName": {"Time": True}, "renameByName": {**names, **values}}
        )
    )
    for heading, (_, unit) in columns.items():
        decimals = 0 if unit == "short" else 2
        panel.override_by_name(
            heading,
            [models.DynamicConfigValue("unit", unit), models.DynamicConfigValue("decimals", decimals)],
        )
    panel.sort_by([common.TableSortByFieldState().display_name(sort_by).desc(True)])  # noqa: FBT003
    return panel.filterable(True)  # noqa: FBT003


def states(
    id_: int, title: str, says: str, query: Query, texts: Mapping[str, tuple[str, str]], *, width: int = 12
) -> statetimeline.Panel:
    """Return a panel of states over time: `texts` gives word and colour by value."""
    panel = _common(
        statetimeline.Panel(), id_, title, says, [query], "none", width, _SERIES_HEIGHT, "no data"
    )
    results = {value: models.ValueMappingResult(text, colour) for value, (text, colour) in texts.items()}
    panel.mappings([models.ValueMap(results)]).show_value(choices.VisibilityMode.NEVER)
    panel.legend(common.VizLegendOptions().show_legend(True).placement(choices.LegendPlacement.BOTTOM))  # noqa: FBT003
    return panel.thresholds(_thresholds(PLAIN)).color_scheme(_by_threshold())


def _common(  # noqa: PLR0917 - one caller for each kind
    panel: _P,
    id_: int,
    title: str,
    says: str,
    queries: Sequence[Query],
    unit: str,
    width: int,
    height: int,
    empty: str,
) -> _P:
    panel.id(id_).title(title).description(says).unit(unit).no_value(empty)
    panel.datasource(DATASOURCE).span(width).height(height)
    for ref, query in zip(ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().ref_id(ref).expr(query.expression).datasource(DATASOURCE)
        target.format(query.shape).legend_format(query.legend or "__auto")
        target = target.instant() if query.now else target.range()
        panel.with_target(target.exemplar(query.exemplars))
    return panel


def _thresholds(levels: Levels) -> builders.ThresholdsConfig:
    steps = [models.Threshold(value, colour) for value, colour in levels]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _by_threshold() -> builders.FieldColor:
    return builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS)
