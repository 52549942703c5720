"""The configurations in a real Prometheus, with a real backend and a real Collector behind them."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import yaml

from telemetry.catalogue import CATALOGUE, Kind
from tests.prometheus.files import RUNBOOKS, copy_of_configuration, found, replace, rules
from tests.prometheus.world import API_KEY, TOKEN, World, aoss_backend, wait_for_target, world
from tests.support.backend import BackendProcess, free_port, wait_for
from tests.support.stack.collector import running_collector
from tests.support.stack.prometheus import running_prometheus

# Its exporter cannot send and holds a single request: what comes after that is lost.
COLLECTOR = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}"}}}}}}}}
extensions: {{health_check: {{endpoint: "127.0.0.1:{health}"}}}}
exporters:
  otlp_http/store:
    metrics_endpoint: http://127.0.0.1:1/v1/metrics
    sending_queue: {{queue_size: 1, num_consumers: 1}}
service:
  extensions: [health_check]
  telemetry:
    metrics:
      readers:
        - pull:
            exporter:
              prometheus:
                host: 127.0.0.1
                port: {own}
                without_scope_info: true
                without_type_suffix: true
                without_units: true
  pipelines: {{metrics: {{receivers: [otlp], exporters: [otlp_http/store]}}}}
"""
POINTS = {
    "resourceMetrics": [
        {"scopeMetrics": [{"metrics": [{"name": "x", "gauge": {"dataPoints": [{"asDouble": 1}]}}]}]}
    ]
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The project's own configuration, which scrapes a backend that has executed something."""
    with world(tmp_path_factory.mktemp("scraping")) as each:
        each.wait_for_target("aoss-backend", "up")
        each.wait_for_target("prometheus", "up")
        each.backend.execute("true")
        each.backend.execute("false", agent_type="network")
        wait_for(
            lambda: each.prometheus.query('aoss_execution_duration_seconds_count{status="Failed"} > 0'), 30
        )
        yield each


def test_the_catalogue_arrives_under_its_names(running: World) -> None:
    """Prometheus stores every instrument that has counted under the catalogue's name, and none with dots."""
    stored = set(running.prometheus.label_values("__name__", '{job="aoss-backend"}'))
    suffixes = {Kind.HISTOGRAM: "_bucket"}
    missing = {each.prometheus_name + suffixes.get(each.kind, "") for each in CATALOGUE} - stored
    assert missing == set()
    assert [name for name in stored if "." in name] == []


def test_every_rule_is_evaluated(running: World) -> None:
    """Prometheus evaluates every rule without an error, and the rules of the quick windows have values."""

    def evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in running.prometheus.rules())

    wait_for(evaluated, 30)
    assert len(running.prometheus.rules()) == len(rules())
    short = [rule.record for rule in rules() if rule.record and not re.search(r"(1d|3d|30d)$", rule.record)]

    def empty() -> list[str]:
        return [name for name in short if not running.prometheus.query(name)]

    wait_for(lambda: empty() == [], 30)
    # Prometheus extrapolates each rate on its own.
    bad = running.prometheus.value("job:aoss_executions_bad:ratio_rate1h")
    assert bad == pytest.approx(0.5, rel=0.01)


def test_copies_equal_the_counters(running: World) -> None:
    """The two names of the first implementation's queries have the raw counters' values and labels."""
    for copy in ("aoss_executions_completed", "aoss_self_healing_attempts"):
        query = f"({copy} == ignoring () {copy}_total) unless ({copy}_total offset 5s != {copy}_total)"
        wait_for(
            lambda copy=copy, query=query: (
                len(running.prometheus.query(f"{copy}_total")) == len(running.prometheus.query(query)) > 0
            ),
            20,
        )


def test_exemplars_lead_to_the_execution(running: World) -> None:
    """The exemplar of a duration carries the id of an execution that the backend knows."""
    now = time.time()
    found_exemplars = running.prometheus.exemplars(
        "aoss_execution_duration_seconds_bucket", now - 300, now + 60
    )
    ids = {each["labels"]["execution_id"] for _, exemplars in found_exemplars for each in exemplars}
    assert len(ids) == 2
    for execution in ids:
        assert running.backend.status(execution) in ("Success", "Failed")


def test_first_events_count(running: World) -> None:
    """A series that begins with its first event is stored from zero, so that increase() sees that one."""
    (series,) = running.prometheus.samples('aoss_execution_duration_seconds_count{status="Failed"}[10m]')
    assert series.points[0][1] == 0
    assert series.points[-1][1] == 1


def test_limits_are_known(running: World) -> None:
    """The scrape's time limit and sample limit are series, which AossScrapeFailing compares with."""
    assert running.prometheus.value('scrape_timeout_seconds{job="aoss-backend"}') == 1
    assert running.prometheus.value('scrape_sample_limit{job="aoss-backend"}') == 100_000


def test_prometheus_serves_the_runbooks(running: World) -> None:
    """Each runbook is served as it is, as plain text: a template would change `<` and braces."""
    for path in RUNBOOKS.glob("*.md"):
        answer = running.prometheus.http.get(f"/consoles/{path.name}")
        assert answer.text == path.read_text()
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_wrong_token_is_a_target_down(running: World) -> None:
    """With another token the target is down with a 401, and up again when the file has the right one."""
    secret = running.copy / "secrets" / "aoss_metrics_token"
    secret.write_text("another token")
    try:
        assert "401" in running.wait_for_target("aoss-backend", "down")["lastError"]
        wait_for(lambda: running.prometheus.query('up{job="aoss-backend"} == 0') != [], 20)
    finally:
        secret.write_text(TOKEN)
    running.wait_for_target("aoss-backend", "up")


def test_a_collector_that_loses_its_first_points_raises_an_alert(tmp_path: Path) -> None:
    """The Collector's first losses, in a series that begins with them, raise AossCollectorDropping.

    Changed in the copy, beside the pace: the alert's windows, from 10 minutes to 5 seconds.
    """
    found("otelcol")
    otlp, own, health = free_port(), free_port(), free_port()
    (tmp_path / "collector.yaml").write_text(COLLECTOR.format(otlp=otlp, own=own, health=health))

    def change(copy: Path) -> None:
        replace(copy / "prometheus.yml", ("otel-collector:8888", f"127.0.0.1:{own}"))
        replace(copy / "rules" / "alerts-pipeline.yml", ("offset 10m", "offset 5s"), ("[10m]", "[5s]"))

    collector = running_collector(
        tmp_path / "collector.yaml", health_port=health, log_path=tmp_path / "collector.log"
    )
    with collector, world(tmp_path, change) as each:
        each.wait_for_target("otel-collector", "up")
        wait_for(lambda: each.prometheus.query('up{job="otel-collector"} offset 6s == 1') != [], 30)
        assert each.prometheus.query("otelcol_exporter_enqueue_failed_metric_points") == []
        for _ in range(8):
            httpx.post(f"http://127.0.0.1:{otlp}/v1/metrics", json=POINTS, trust_env=False)

        def firing() -> list[dict[str, str]]:
            return [
                alert["labels"]
                for alert in each.prometheus.alerts()
                if alert["state"] == "firing" and alert["labels"].get("reason") == "queue_full"
            ]

        wait_for(firing, 20)
        assert firing() == [
            {
                "alertname": "AossCollectorDropping",
                "reason": "queue_full",
                "severity": "ticket",
                "job": "otel-collector",
                "instance": f"127.0.0.1:{own}",
                "exporter": "otlp_http/store",
            }
        ]


def test_a_prometheus_that_is_there_takes_the_snippet(tmp_path: Path) -> None:
    """The snippet works as its own comment says: two lines in the configuration, the token beside it."""
    found("prometheus")
    copy = copy_of_configuration(tmp_path, TOKEN)
    snippet = copy / "snippets" / "existing-prometheus.yml"
    lines = re.findall(r"^#   (\w+: \[aoss/.+\])$", snippet.read_text(), re.MULTILINE)
    assert [line.partition(":")[0] for line in lines] == ["scrape_config_files", "rule_files"]
    (tmp_path / "aoss").symlink_to(copy)
    snippet.rename(copy / snippet.name)
    (tmp_path / "prometheus.yml").write_text("\n".join(lines))
    with aoss_backend(tmp_path) as backend:
        replace(
            copy / snippet.name,
            ("interval: 15s", "interval: 1s"),
            ("localhost:8000", f"localhost:{backend.port}"),
        )
        with running_prometheus(tmp_path / "prometheus.yml", tmp_path / "data") as prometheus:
            wait_for(lambda: prometheus.query("sum(aoss_executions_total) >= 0") != [], 30)
            assert len(prometheus.rules()) == len(rules())
            wait_for_target(prometheus, "aoss-backend", "up")


class Proxy(BaseHTTPRequestHandler):
    """Bring a request for any host to `port`, as Docker's name for the machine would."""

    port: ClassVar[int] = 0
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Pass the request on with the Host that it names."""
        self.asked.append(self.path)
        path = "/" + self.path.split("/", 3)[3]
        answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=dict(self.headers), trust_env=False)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def proxy_to(backend: BackendProcess) -> Iterator[str]:
    """Run a proxy for the length of a block."""
    Proxy.port = backend.port
    Proxy.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("named", "health"), [(True, "up"), (False, "down")])
def test_prometheus_in_a_container_reaches_the_backend_on_the_machine(
    tmp_path: Path, *, named: bool, health: str
) -> None:
    """The snippet's target is reached with the settings of its comment, and refused without the allowed host.

    Not run: Docker, and so AOSS_HOST. A proxy stands for the container's name of the machine.
    """
    found("prometheus")
    copy = copy_of_configuration(tmp_path, TOKEN)
    (copy / "secrets" / "aoss_api_key").write_text(API_KEY)
    snippet = copy / "snippets" / "backend-on-host.yml"
    settings = dict(re.findall(r"^#   (AOSS_\w+)=(\S+)$", snippet.read_text(), re.MULTILINE))
    assert settings.pop("AOSS_HOST") == "0.0.0.0"  # noqa: S104 - read, not listened on
    settings = {key: value.replace("secrets/", f"{copy}/secrets/") for key, value in settings.items()}
    if not named:
        del settings["AOSS_ALLOWED_HOSTS"]
    with (
        aoss_backend(tmp_path, **{"AOSS_API_KEY": "", "AOSS_METRICS_TOKEN": ""} | settings) as backend,
        proxy_to(backend) as proxy,
    ):
        content = yaml.safe_load(snippet.read_text())
        (job,) = content["scrape_configs"]
        snippet.write_text(
            yaml.safe_dump({"scrape_configs": [job | {"proxy_url": proxy, "scrape_interval": "1s"}]})
        )
        with running_prometheus(snippet, tmp_path / "data") as prometheus:
            target = wait_for_target(prometheus, "aoss-backend", health)
            assert target["scrapeUrl"] == "http://host.docker.internal:8000/metrics"
            assert target["scrapeUrl"] in Proxy.asked
            if named:
                wait_for(lambda: prometheus.query("sum(aoss_executions_total) >= 0") != [], 30)
            else:
                assert "400" in target["lastError"]
