"""The pipeline's settings: OTEL_* and the AOSS_* that concern metrics, checked once, at start.

A bad OTEL_* value is ignored with a warning, as the specification asks; a bad AOSS_* value refuses the start.
Source: OpenTelemetry specification, "Environment Variable Specification".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from telemetry.environment import Environment

DEFAULT_SERVICE_NAME = "aoss-backend"
SHARED_MEMORY = "shared_memory"
OFFICIAL_SDK = "sdk_meter_provider"
OTLP_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
_EXPORTERS = ("prometheus", "otlp", "console", "none")
_PROTOCOLS = ("http/protobuf", "grpc")
_DAY_MILLIS = 86_400_000


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What the operator chose. Times are in milliseconds.

    `provider` names the entry point of the MeterProvider. `directory` is where the shared-memory one keeps
    its files, None for the run's own. `scrape_port` is a port of its own for the scrape, None for none.
    `otlp_headers` are those of OTEL_EXPORTER_OTLP_HEADERS, or of the file of OTEL_EXPORTER_OTLP_HEADERS_FILE.
    `warnings` says which OTEL_* values were ignored. `unusable` names the OTEL_* variables that are empty or
    were ignored: the official exporters read some by themselves and must take them for unset.
    """

    disabled: bool = False
    service_name: str = DEFAULT_SERVICE_NAME
    resource_attributes: Mapping[str, str] | None = None
    exporters: tuple[str, ...] = ("prometheus",)
    export_interval_millis: float = 60_000
    export_timeout_millis: float = 30_000
    otlp_protocol: str = "http/protobuf"
    exemplar_filter: str = "trace_based"
    cardinality_limit: int = 2_000
    genai_metrics: bool = False
    provider: str = SHARED_MEMORY
    directory: str | None = None
    scope_labels: bool = False
    created_timestamps: bool = False
    scrape_host: str = "localhost"
    scrape_port: int | None = None
    otlp_headers: str | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    unusable: frozenset[str] = frozenset()

    @classmethod
    def from_environment(cls, values: Mapping[str, str]) -> "TelemetrySettings":
        """Return the settings; raises SettingsError naming every AOSS_* key whose value cannot be used."""
        otel, aoss = Environment(values), Environment(values)
        attributes = _resource_attributes(otel)
        for signal in ("", "METRICS_"):
            # Read by the exporters themselves, which raise on what they cannot use.
            otel.number(f"OTEL_EXPORTER_OTLP_{signal}TIMEOUT", 10, minimum=0.001, maximum=_DAY_MILLIS)
            otel.choice(f"OTEL_EXPORTER_OTLP_{signal}COMPRESSION", "none", ("none", "gzip", "deflate"))
            otel.flag(f"OTEL_EXPORTER_OTLP_{signal}INSECURE", default=False)
        _check_headers(
            otel, "OTEL_EXPORTER_OTLP_METRICS_HEADERS", otel.text("OTEL_EXPORTER_OTLP_METRICS_HEADERS")
        )
        otlp_headers = aoss.secret(OTLP_HEADERS)
        _check_headers(otel, OTLP_HEADERS, otlp_headers or "")
        for key in ("OTEL_PYTHON_EXCLUDED_URLS", "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS"):
            _check_patterns(otel, key)
        protocol = otel.choice("OTEL_EXPORTER_OTLP_PROTOCOL", _PROTOCOLS[0], _PROTOCOLS)
        settings = cls(
            disabled=otel.flag("OTEL_SDK_DISABLED", default=False),
            service_name=otel.text("OTEL_SERVICE_NAME")
            or attributes.get("service.name")
            or DEFAULT_SERVICE_NAME,
            resource_attributes=attributes,
            exporters=_exporters(otel),
            export_interval_millis=otel.number(
                "OTEL_METRIC_EXPORT_INTERVAL", 60_000, minimum=1, maximum=_DAY_MILLIS
            ),
            export_timeout_millis=otel.number(
                "OTEL_METRIC_EXPORT_TIMEOUT", 30_000, minimum=1, maximum=_DAY_MILLIS
            ),
            otlp_protocol=otel.choice("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", protocol, _PROTOCOLS),
            exemplar_filter=otel.choice(
                "OTEL_METRICS_EXEMPLAR_FILTER", "trace_based", ("trace_based", "always_on", "always_off")
            ),
            cardinality_limit=aoss.integer("AOSS_CARDINALITY_LIMIT", 2_000, minimum=1, maximum=1_000_000),
            genai_metrics=aoss.flag("AOSS_GENAI_METRICS", default=False),
            provider=otel.text("OTEL_PYTHON_METER_PROVIDER") or SHARED_MEMORY,
            directory=aoss.text("AOSS_METRICS_DIR") or None,
            scope_labels=aoss.flag("AOSS_METRICS_SCOPE_LABELS", default=False),
            created_timestamps=aoss.flag("AOSS_METRICS_CREATED_TIMESTAMPS", default=False),
            scrape_host=otel.text("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost",
            scrape_port=_scrape_port(otel),
            otlp_headers=None if OTLP_HEADERS in otel.refused else otlp_headers,
            warnings=tuple(f"{problem}: ignored" for problem in otel.problems),
            unusable=frozenset(otel.refused)
            | {key for key, value in values.items() if key.startswith("OTEL_") and not value.strip()},
        )
        aoss.raise_problems()
        return settings


def _exporters(environment: Environment) -> tuple[str, ...]:
    key = "OTEL_METRICS_EXPORTER"
    chosen = []
    for word in dict.fromkeys(word.lower() for word in environment.words(key)):
        if word in _EXPORTERS:
            chosen.append(word)
        else:
            environment.refuse(key, word, f"is not one of {', '.join(_EXPORTERS)}")
    if chosen == ["none"]:
        return ()
    if "none" in chosen:
        environment.refuse(key, environment.text(key), "names none beside others")
        chosen.remove("none")
    return tuple(chosen) or ("prometheus",)


def _scrape_port(environment: Environment) -> int | None:
    key = "OTEL_EXPORTER_PROMETHEUS_PORT"
    if not environment.text(key) and not environment.text("OTEL_EXPORTER_PROMETHEUS_HOST"):
        return None
    return int(environment.number(key, 9464, minimum=1, maximum=65_535))


def _check_headers(environment: Environment, key: str, headers: str) -> None:
    """Refuse headers that the exporters would refuse with their whole text, which is a secret, in the log."""
    for item in filter(None, map(str.strip, headers.split(","))):
        name, equals, _ = item.partition("=")
        if not equals or not name.strip():
            environment.refuse_secret(key, "is not a list of name=value")
            return


def _check_patterns(environment: Environment, key: str) -> None:
    """Refuse regular expressions at which the instrumentations would raise."""
    for pattern in environment.words(key):
        try:
            re.compile(pattern)
        except re.error as error:
            environment.refuse(key, pattern, f"is not a regular expression: {error}")


def _resource_attributes(environment: Environment) -> dict[str, str]:
    """Return the attributes; one that cannot be read discards them all (Resource SDK specification)."""
    key = "OTEL_RESOURCE_ATTRIBUTES"
    attributes: dict[str, str] = {}
    for item in environment.words(key):
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            environment.refuse(key, environment.text(key), "is not a list of name=value")
            return {}
        attributes[unquote(name.strip())] = unquote(value.strip())
    return attributes
