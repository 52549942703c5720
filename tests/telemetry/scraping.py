"""Read a pipeline's scrape the way Prometheus does."""

from prometheus_client.parser import text_string_to_metric_families

from telemetry.pipeline import Pipeline

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Series:
    """Return every sample by name and labels; a series that occurs twice fails."""
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # Prometheus takes an empty label for an absent one.
            key = (sample.name, frozenset((k, v) for k, v in sample.labels.items() if v))
            assert key not in series, f"{key} occurs twice"
            series[key] = sample.value
    return series


def scrape(pipeline: Pipeline) -> Series:
    """Return every sample of one scrape."""
    body, _ = pipeline.exposition()
    return parse(body.decode())


def value(series: Series, name: str, **labels: str) -> float | None:
    """Return one sample, None where it is absent."""
    return series.get((name, frozenset(labels.items())))


def total(series: Series, name: str, **labels: str) -> float:
    """Return the sum of the samples that carry these labels."""
    return sum(
        number
        for (sample, found), number in series.items()
        if sample == name and frozenset(labels.items()) <= found
    )


def nonzero(series: Series, prefix: str = "aoss_") -> Series:
    """Return the samples that have counted something, without buckets and sums."""
    return {
        key: number
        for key, number in series.items()
        if number and key[0].startswith(prefix) and not key[0].endswith(("_bucket", "_sum"))
    }
