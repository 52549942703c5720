"""The pipeline's settings: what each variable does, and what a bad value does."""

from pathlib import Path

import pytest

from telemetry.environment import SettingsError
from telemetry.settings import TelemetrySettings


@pytest.mark.parametrize(
    ("variables", "field", "expected"),
    [
        ({}, "disabled", False),
        ({"OTEL_SDK_DISABLED": "true"}, "disabled", True),
        ({"OTEL_SDK_DISABLED": "TRUE"}, "disabled", True),
        ({"OTEL_SDK_DISABLED": "false"}, "disabled", False),
        ({"OTEL_SDK_DISABLED": ""}, "disabled", False),
        ({}, "service_name", "aoss-backend"),
        ({"OTEL_SERVICE_NAME": "ops"}, "service_name", "ops"),
        ({"OTEL_SERVICE_NAME": " "}, "service_name", "aoss-backend"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a"}, "service_name", "a"),
        ({"OTEL_SERVICE_NAME": "b", "OTEL_RESOURCE_ATTRIBUTES": "service.name=a"}, "service_name", "b"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=1, b = x%20y"}, "resource_attributes", {"a": "1", "b": "x y"}),
        ({}, "exporters", ("prometheus",)),
        ({"OTEL_METRICS_EXPORTER": ""}, "exporters", ("prometheus",)),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, "exporters", ("otlp",)),
        ({"OTEL_METRICS_EXPORTER": "OTLP, prometheus,otlp"}, "exporters", ("otlp", "prometheus")),
        ({"OTEL_METRICS_EXPORTER": "console"}, "exporters", ("console",)),
        ({"OTEL_METRICS_EXPORTER": "none"}, "exporters", ()),
        ({}, "export_interval_millis", 60_000),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "500"}, "export_interval_millis", 500),
        ({"OTEL_METRIC_EXPORT_TIMEOUT": "700"}, "export_timeout_millis", 700),
        ({}, "otlp_protocol", "http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "otlp_protocol", "grpc"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf"},
            "otlp_protocol",
            "http/protobuf",
        ),
        ({"OTEL_METRICS_EXEMPLAR_FILTER": "always_off"}, "exemplar_filter", "always_off"),
        ({}, "cardinality_limit", 2_000),
        ({"AOSS_CARDINALITY_LIMIT": "50"}, "cardinality_limit", 50),
        ({}, "genai_metrics", False),
        ({"AOSS_GENAI_METRICS": "true"}, "genai_metrics", True),
        ({}, "provider", "shared_memory"),
        ({"OTEL_PYTHON_METER_PROVIDER": "sdk_meter_provider"}, "provider", "sdk_meter_provider"),
        ({}, "directory", None),
        ({"AOSS_METRICS_DIR": "/var/lib/metrics"}, "directory", "/var/lib/metrics"),
        ({"AOSS_METRICS_SCOPE_LABELS": "true"}, "scope_labels", True),
        ({"AOSS_METRICS_CREATED_TIMESTAMPS": "true"}, "created_timestamps", True),
        ({}, "scrape_port", None),
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": ""}, "scrape_port", None),
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "9500"}, "scrape_port", 9500),
        ({"OTEL_EXPORTER_PROMETHEUS_HOST": "::1"}, "scrape_port", 9464),
        ({}, "scrape_host", "localhost"),
    ],
)
def test_a_variable_sets_its_field(variables: dict[str, str], field: str, expected: object) -> None:
    """Item 32: a usable value, or none, gives the value that the specification says, and no warning."""
    settings = TelemetrySettings.from_environment(variables)
    assert getattr(settings, field) == expected
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("key", "bad", "field", "expected"),
    [
        ("OTEL_SDK_DISABLED", "1", "disabled", False),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b", "resource_attributes", {}),
        ("OTEL_METRICS_EXPORTER", "jaeger", "exporters", ("prometheus",)),
        ("OTEL_METRICS_EXPORTER", "none,prometheus", "exporters", ("prometheus",)),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "export_interval_millis", 60_000),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "http", "scrape_port", 9464),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "export_interval_millis", 60_000),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "nan", "export_timeout_millis", 30_000),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "otlp_protocol", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "ten", "exporters", ("prometheus",)),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "lzma", "exporters", ("prometheus",)),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "sometimes", "exemplar_filter", "trace_based"),
    ],
)
def test_a_bad_standard_value_is_ignored_with_a_warning(
    key: str, bad: str, field: str, expected: object
) -> None:
    """A bad OTEL_* value leaves the default, and one warning names the key and the value."""
    settings = TelemetrySettings.from_environment({key: bad})
    assert getattr(settings, field) == expected
    (warning,) = settings.warnings
    assert warning.startswith(f"{key}='")
    assert bad in warning
    assert key in settings.unusable


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("AOSS_CARDINALITY_LIMIT", "0"),
        ("AOSS_CARDINALITY_LIMIT", "2.5"),
        ("AOSS_CARDINALITY_LIMIT", "many"),
        ("AOSS_GENAI_METRICS", "yes"),
    ],
)
def test_a_bad_value_of_our_own_refuses_the_start(key: str, bad: str) -> None:
    """A bad AOSS_* value raises an error that names the key and the value."""
    with pytest.raises(SettingsError, match=f"{key}='{bad}'"):
        TelemetrySettings.from_environment({key: bad})


def test_empty_variables_are_unusable_to_the_exporters() -> None:
    """An empty OTEL_* variable is listed, so that the exporters take it for unset."""
    settings = TelemetrySettings.from_environment({"OTEL_EXPORTER_OTLP_TIMEOUT": "", "AOSS_X": ""})
    assert settings.unusable == {"OTEL_EXPORTER_OTLP_TIMEOUT"}


def test_headers_that_cannot_be_read_are_not_shown() -> None:
    """Malformed headers are refused by name alone, and hidden from the exporter, which would log them."""
    settings = TelemetrySettings.from_environment(
        {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization: Bearer s3cr3t"}
    )
    assert settings.warnings == ("OTEL_EXPORTER_OTLP_HEADERS is not a list of name=value: ignored",)
    assert "OTEL_EXPORTER_OTLP_HEADERS" in settings.unusable


def test_headers_can_come_from_a_file(tmp_path: Path) -> None:
    """The OTLP headers, which hold a token, are read from a file and shown nowhere."""
    (tmp_path / "headers").write_text("Authorization=Bearer%20s3cr3t\n")
    settings = TelemetrySettings.from_environment(
        {"OTEL_EXPORTER_OTLP_HEADERS_FILE": str(tmp_path / "headers")}
    )
    assert settings.otlp_headers == "Authorization=Bearer%20s3cr3t"
    assert "s3cr3t" not in repr(settings)


@pytest.mark.parametrize("also", [{"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, {}])
def test_a_headers_file_that_cannot_be_used_refuses_the_start(also: dict[str, str]) -> None:
    """A file that is missing, or given beside the variable itself, is named."""
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_HEADERS_FILE"):
        TelemetrySettings.from_environment({"OTEL_EXPORTER_OTLP_HEADERS_FILE": "/nowhere/headers"} | also)


def test_malformed_headers_of_a_file_are_ignored_unseen(tmp_path: Path) -> None:
    """A file that holds no headers is named in a warning without its text, and nothing of it is sent."""
    (tmp_path / "headers").write_text("Bearer s3cr3t")
    settings = TelemetrySettings.from_environment(
        {"OTEL_EXPORTER_OTLP_HEADERS_FILE": str(tmp_path / "headers")}
    )
    assert settings.otlp_headers is None
    assert settings.warnings == ("OTEL_EXPORTER_OTLP_HEADERS is not a list of name=value: ignored",)


def test_patterns_that_cannot_be_compiled_are_ignored() -> None:
    """A bad regular expression for excluded addresses is named and ignored."""
    settings = TelemetrySettings.from_environment({"OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "["})
    assert "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS='['" in settings.warnings[0]
    assert settings.unusable == {"OTEL_PYTHON_FASTAPI_EXCLUDED_URLS"}
