"""The overview's panels about HTTP requests and the database."""

from grafana.names import HTTP_DURATION
from grafana.panels import AnyPanel, Query, graph
from grafana.promql import per_minute, quantile, select
from telemetry.catalogue import API_REQUESTS, DB_OPERATIONS


def panels() -> list[AnyPanel]:
    """Return the panels in reading order."""
    return [
        graph(
            601,
            "API requests",
            "Finished requests by route and status code. Normal: no 5xx; 4xx are callers' mistakes.",
            Query(
                per_minute(select(API_REQUESTS), "method", "endpoint", "status_code"),
                "{{method}} {{endpoint}} {{status_code}}",
            ),
            unit="cpm",
            empty="no requests",
        ),
        graph(
            602,
            "API latency p95",
            "95% of a route's requests take no longer. Streams of executions last as long as the execution.",
            Query(
                quantile(0.95, HTTP_DURATION, by=("http_request_method", "http_route")),
                "{{http_request_method}} {{http_route}}",
            ),
            unit="s",
            empty="no requests",
        ),
        graph(
            603,
            "Database statements",
            "Statements by operation and table. Normal: follows the executions.",
            Query(per_minute(select(DB_OPERATIONS), "operation", "table"), "{{operation}} {{table}}"),
            unit="cpm",
            empty="no statements",
        ),
    ]
