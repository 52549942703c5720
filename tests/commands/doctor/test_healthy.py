"""A healthy stack: every check is made, and none complains."""

import json

import pytest

from tests.commands.doctor.conftest import Stack, doctor
from tests.commands.doctor.grafana_api import healthy_grafana
from tests.commands.doctor.test_page import CHECKS


def test_a_healthy_stack(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Every check of every section is ok, the numbers of the lines are true, and the exit code is 0."""
    with healthy_grafana() as address:
        code = doctor(
            *(stack.backend.url, f"--token-file={stack.token_file}", f"--prometheus={stack.prometheus.url}"),
            *(f"--collector={stack.collector.url}", f"--collector-metrics={stack.collector.metrics_url}"),
            *(f"--grafana={address}", "--json"),
        )
    report = json.loads(capsys.readouterr().out)
    findings = report["findings"]
    assert [each for each in findings if each["verdict"] != "ok"] == []
    assert (code, report["version"], report["result"]) == (0, 1, "ok")
    made = {name: {each["check"] for each in findings if each["section"] == name} for name in CHECKS}
    assert made == {name: set(checks) for name, checks in CHECKS.items()}
    reasons = " ".join(each["reason"] for each in findings)
    assert "workers: 2 live" in reasons
    assert f"{len(stack.prometheus.rules())} rules in 12 groups" in reasons
    assert [each["reason"].split(":")[0] for each in findings if each["check"] == "exporting"] == [
        "debug",
        "otlp_http/victoriametrics",
    ]
