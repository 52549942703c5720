"""The scraped path under load: simulated targets, and a Prometheus that scrapes them."""

import time
from pathlib import Path

import yaml

from benchmarks.fleet import Series, without
from benchmarks.targets import Targets
from tests.support.stack.prometheus import PrometheusServer, running_prometheus

# What Prometheus adds to each target.
ADDED = {
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
}
START_SECONDS = 30.0


def scraping_prometheus(folder: Path, targets: Targets, interval: float) -> PrometheusServer:
    """Return a Prometheus for a `with` block that scrapes the targets and nothing else.

    Raises ProgramUnavailableError where the program cannot be had.
    """
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"scrape_configs": [targets.scrape_config(interval)]}), encoding="utf-8")
    return running_prometheus(config, folder / "prometheus")


def wait_until_all_are_scraped(targets: Targets, interval: float) -> None:
    """Wait until Prometheus has scraped every target once; fail where it does not in time."""
    deadline = time.monotonic() + interval + START_SECONDS
    while not all(target.scrapes for target in targets.targets):
        assert time.monotonic() < deadline, "some targets were not scraped"
        time.sleep(0.1)


def settle(targets: Targets, interval: float) -> None:
    """Freeze the targets and wait until each has been scraped again."""
    targets.frozen = True
    time.sleep(interval + 1)


def check_scraped(prometheus: PrometheusServer, targets: Targets) -> None:
    """Check that no scrape failed or lost a series, and the last value of every series of frozen targets."""
    own = '{job="aoss-backend"}'
    assert prometheus.value(f"count(up{own})") == len(targets.targets)
    assert prometheus.value(f"min(min_over_time(up{own}[1h]))") == 1
    samples = {len(series) for series in targets.expected().values()}
    for extreme in ("min", "max"):
        query = f"{extreme}({extreme}_over_time(scrape_samples_post_metric_relabeling{own}[1h]))"
        assert {prometheus.value(query)} == samples, query
    found: dict[str, dict[Series, float]] = {name: {} for name in targets.expected()}
    for sample in prometheus.query(own):
        if sample.labels["__name__"] not in ADDED:
            found[sample.labels["instance"]][without(sample.labels, "job", "instance")] = sample.value
    assert targets.expected() == found, "some series have another value than was shown"
