"""The Collector: is it up, does the backend push, does what comes in go out?

Source: OpenTelemetry Collector documentation, "Internal telemetry".
"""

import time
from dataclasses import dataclass

from app.doctor.findings import Finding, Section
from app.doctor.scrape import ParseError, Scrape, parsed
from app.doctor.web import Web
from app.fetching import NoAnswerError
from telemetry.watching import EXPORTED

CHECKS = ("answers", "pushed", "receiving", "exporting")

# Longer than a batch waits, shorter than a person does.
BETWEEN_LOOKS_SECONDS = 2.0
# As the alert AossCollectorQueueFilling has it.
_FULL = 0.8

_START = "Start the Collector, or give the address of its health check with --collector"
_METRICS = "Give the address of its own metrics with --collector-metrics, such as http://HOST:8888/metrics"
_STORE = "See that the store is up and takes what is sent; the Collector's log names the error"


@dataclass(frozen=True, slots=True)
class _Exporter:
    """One exporter's own numbers at one time; sizes in the queue's own unit."""

    sent: float
    failed: float
    dropped: float
    waiting: float
    capacity: float


def examine_collector(
    web: Web, url: str | None, metrics_url: str | None, backend: Scrape | None
) -> list[Finding]:
    """Return the findings about a Collector; `backend` is a scrape of what pushes to it."""
    section = Section("collector", CHECKS)
    if url is not None and not _answers(section, web, url):
        section.skip_rest("the Collector does not answer")
        return section.findings
    _check_pushed(section, backend)
    if metrics_url is not None:
        try:
            first = _own(web, metrics_url)
            time.sleep(BETWEEN_LOOKS_SECONDS)
            second = _own(web, metrics_url)
        except (NoAnswerError, ParseError) as error:
            section.fail("exporting", f"its own metrics cannot be read: {error}", _METRICS)
        else:
            _check_receiving(section, second)
            _check_exporting(section, first, second)
    section.skip_rest(
        "not checked", "--collector URL is its health check, --collector-metrics URL its own metrics"
    )
    return section.findings


def _answers(section: Section, web: Web, url: str) -> bool:
    try:
        answer = web.get(url)
    except NoAnswerError as error:
        section.fail("answers", str(error), _START)
        return False
    if answer.status != 200 or "Server available" not in answer.text:
        section.fail("answers", f"{url} is not a healthy Collector: {answer.said()}", _START)
        return False
    section.ok("answers", f"the health check at {url} says that it is available")
    return True


def _check_pushed(section: Section, backend: Scrape | None) -> None:
    if backend is None:
        return
    name = EXPORTED.prometheus_name
    points = [(value, dict(labels)) for (each, labels), value in backend.samples.items() if each == name]
    good = sum(value for value, labels in points if not labels.get("error_type"))
    bad = sum(value for value, labels in points if labels.get("error_type"))
    if good:
        section.ok("pushed", f"the backend has exported {good:g} data points, and failed with {bad:g}")
    elif bad:
        section.fail(
            "pushed",
            f"every export of the backend has failed, {bad:g} data points",
            "Compare OTEL_EXPORTER_OTLP_ENDPOINT and its token with the Collector's; see the backend's log",
        )
    else:
        section.warn(
            "pushed",
            "the backend has exported nothing yet",
            "Set OTEL_METRICS_EXPORTER=prometheus,otlp at the backend, and wait OTEL_METRIC_EXPORT_INTERVAL",
        )


def _own(web: Web, url: str) -> Scrape:
    answer = web.get(url)
    if answer.status != 200:
        raise NoAnswerError(f"{url} answers {answer.said()}")
    scrape = parsed(answer)
    if not any(name.startswith("otelcol_") for name in scrape.names):
        raise NoAnswerError(f"{url} has no metrics of a Collector")
    return scrape


def _sum(scrape: Scrape, name: str, exporter: str | None = None) -> float:
    # The parser, and some Collectors, give a counter the suffix that others leave out.
    return sum(
        value
        for (each, labels), value in scrape.samples.items()
        if each.removesuffix("_total") == name and (exporter is None or ("exporter", exporter) in labels)
    )


def _check_receiving(section: Section, own: Scrape) -> None:
    accepted = _sum(own, "otelcol_receiver_accepted_metric_points")
    refused = _sum(own, "otelcol_receiver_refused_metric_points")
    if refused:
        section.warn(
            "receiving",
            f"{accepted:g} data points were accepted and {refused:g} refused since it started",
            "See docs/runbooks/AossCollectorDropping.md; senders try again",
        )
    elif accepted:
        section.ok("receiving", f"{accepted:g} data points were accepted since it started")
    else:
        section.warn(
            "receiving",
            "no data point has come in since it started",
            "See `pushed` above, and that the backend sends to this Collector",
        )


def _check_exporting(section: Section, first: Scrape, second: Scrape) -> None:
    names = sorted(
        {
            dict(labels)["exporter"]
            for name, labels in second.samples
            if name.startswith("otelcol_exporter_") and "exporter" in dict(labels)
        }
    )
    for name in names:
        _judge(section, name, _exporter(first, name), _exporter(second, name))
    if not names:
        section.warn("exporting", "no exporter has had anything to send", "See `receiving` above")


def _exporter(own: Scrape, name: str) -> _Exporter:
    return _Exporter(
        sent=_sum(own, "otelcol_exporter_sent_metric_points", name),
        failed=_sum(own, "otelcol_exporter_send_failed_metric_points", name),
        dropped=_sum(own, "otelcol_exporter_enqueue_failed_metric_points", name),
        waiting=_sum(own, "otelcol_exporter_queue_size", name),
        capacity=_sum(own, "otelcol_exporter_queue_capacity", name),
    )


def _judge(section: Section, name: str, before: _Exporter, now: _Exporter) -> None:
    lost = now.failed + now.dropped
    share = now.waiting / now.capacity if now.capacity else 0.0
    if share > _FULL:
        section.fail("exporting", f"{name}: its queue is {share:.0%} full", _STORE)
    elif before.waiting and now.waiting and now.sent == before.sent:
        section.fail(
            "exporting",
            f"{name}: its queue holds something, and nothing has gone out for {BETWEEN_LOOKS_SECONDS:g} s",
            _STORE,
        )
    elif lost and not now.sent:
        section.fail("exporting", f"{name}: nothing has gone out, {lost:g} data points are lost", _STORE)
    elif lost:
        section.warn(
            "exporting",
            f"{name}: {now.sent:g} data points have gone out and {lost:g} are lost since it started",
            "See docs/runbooks/AossCollectorDropping.md",
        )
    elif now.sent:
        section.ok("exporting", f"{name}: {now.sent:g} data points have gone out since it started")
    else:
        section.warn("exporting", f"{name}: nothing has gone out yet", "See `receiving` above")
