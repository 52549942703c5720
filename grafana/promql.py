"""The forms of PromQL that the panels are made of; what can be filtered follows from the catalogue."""

from telemetry.catalogue import Instrument
from telemetry.watching import SelfMetric

SCRAPED = 'job=~"$job",instance=~"$instance"'
# A range around each point of a graph, long enough for a rate; and the whole visible range.
AROUND = "$__rate_interval"
RANGE = "$__range"
FILTERS = ("agent_type", "server_tag")


def select(metric: Instrument | SelfMetric | str, *matchers: str, suffix: str = "") -> str:
    """Return a selector of a scraped metric that obeys every variable for which the metric has a label."""
    if isinstance(metric, str):
        name, keys = metric, set[str]()
    else:
        name = metric.prometheus_name
        keys = {each.key for each in metric.attributes} if isinstance(metric, Instrument) else set()
    filters = [f'{key}=~"${key}"' for key in FILTERS if key in keys]
    return f"{name}{suffix}{{{','.join((SCRAPED, *filters, *matchers))}}}"


def rate(selector: str) -> str:
    """Return a counter's rate per second around each point of a graph."""
    return f"rate({selector}[{AROUND}])"


def increase(selector: str) -> str:
    """Return a counter's increase over the whole visible range."""
    return f"increase({selector}[{RANGE}])"


def increase_from_nothing(selector: str) -> str:
    """Return the increase over the visible range of counters that do not exist before their first event.

    `increase` alone would miss that event: it needs a sample from before. An hour is looked back from the
    range's start, so that a gap there, as a restart leaves it, does not make old events new.
    """
    return f"({selector} unless max_over_time({selector}[1h] offset {RANGE})) or {increase(selector)}"


def total(expression: str, *by: str) -> str:
    """Return the sum, by labels or over everything."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def per_minute(selector: str, *by: str) -> str:
    """Return events per minute."""
    return f"60 * {total(rate(selector), *by)}"


def ratio(part: str, whole: str) -> str:
    """Return a share, or nothing where the whole is nothing: 0 / 0 would be NaN."""
    return f"{part} / ({whole} > 0)"


def quantile(
    share: float, metric: Instrument | SelfMetric | str, by: tuple[str, ...] = (), over: str = AROUND
) -> str:
    """Return a quantile of a histogram.

    Buckets are added up before the quantile is taken: quantiles of parts cannot be. Without observations the
    quantile is NaN, which `>= 0` leaves out.
    """
    buckets = total(f"rate({select(metric, suffix='_bucket')}[{over}])", *by, "le")
    return f"histogram_quantile({share}, {buckets}) >= 0"


def average(metric: Instrument | SelfMetric | str, over: str = AROUND) -> str:
    """Return a histogram's average."""
    return ratio(*(total(f"rate({select(metric, suffix=part)}[{over}])") for part in ("_sum", "_count")))


def one_of(*values: str) -> str:
    """Return a regular expression that matches exactly these values."""
    return "|".join(values)
