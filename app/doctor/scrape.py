"""A scrape of /metrics, asked for as the project's Prometheus asks, and read by Prometheus' own parser."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from app.doctor.web import Answer

ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
# Others end a scrape of Prometheus 3 with an error.
CONTENT_TYPES = ("application/openmetrics-text", "text/plain")
_COUNTS = ("_total", "_count", "_bucket")

Series = tuple[str, frozenset[tuple[str, str]]]


class ParseError(Exception):
    """Say why an exposition cannot be read."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """The samples of one scrape."""

    samples: dict[Series, float]

    @property
    def names(self) -> set[str]:
        """Return the names of the samples."""
        return {name for name, _ in self.samples}

    def total(self, name: str) -> float:
        """Return the sum of a name's samples, 0 where there are none."""
        return sum(value for (each, _), value in self.samples.items() if each == name)

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of a name's samples."""
        return [dict(labels) for each, labels in self.samples if each == name]

    def counts(self, names: Iterable[str]) -> dict[Series, float]:
        """Return the samples of these counters and histograms, none of which ever goes down."""
        wanted = tuple(names)
        return {
            series: value
            for series, value in self.samples.items()
            if series[0].startswith(wanted) and series[0].endswith(_COUNTS)
        }


def media_type(answer: Answer) -> str:
    """Return the media type of an answer, without parameters and in lower case."""
    return answer.content_type.partition(";")[0].strip().lower()


def parsed(answer: Answer) -> Scrape:
    """Return the samples of an answer; raises ParseError."""
    of_openmetrics = media_type(answer) == CONTENT_TYPES[0]
    read = openmetrics.text_string_to_metric_families if of_openmetrics else text_string_to_metric_families
    samples: dict[Series, float] = {}
    try:
        for family in read(answer.text):
            for sample in family.samples:
                series = (sample.name, frozenset(sample.labels.items()))
                if series in samples:
                    raise ParseError(f"the series {sample.name}{sample.labels} is there twice")
                samples[series] = sample.value
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ParseError(f"it cannot be parsed: {error}") from error
    return Scrape(samples)
