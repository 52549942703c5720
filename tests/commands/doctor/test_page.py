"""docs/doctor.md against the program."""

import json
import re
import shlex
from pathlib import Path

import pytest

from app.doctor import backend, collector, grafana, prometheus, workers
from app.doctor.findings import Verdict
from app.doctor.report import SCHEMA_VERSION
from tests.commands.doctor.conftest import Stack, doctor
from tests.commands.doctor.grafana_api import healthy_grafana

PAGE = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text(encoding="utf-8")
CHECKS = {
    "backend": backend.CHECKS,
    "workers": workers.CHECKS,
    "token": backend.TOKEN_CHECKS,
    "prometheus": prometheus.CHECKS,
    "collector": collector.CHECKS,
    "grafana": grafana.CHECKS,
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the Collector again sooner."""
    monkeypatch.setattr(collector, "BETWEEN_LOOKS_SECONDS", 0.3)


def test_every_check_is_described() -> None:
    """The page's table has every check, in the program's order, and no other."""
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == [(section, check) for section, checks in CHECKS.items() for check in checks]


def test_the_object_that_is_shown(capsys: pytest.CaptureFixture[str], nobody: str) -> None:
    """The page's JSON has the fields, the version and the verdicts that the program prints."""
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    shown = json.loads(block)
    assert doctor(nobody, "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert shown.keys() == printed.keys()
    assert shown["findings"][0].keys() == printed["findings"][0].keys()
    assert (shown["version"], printed["version"]) == (SCHEMA_VERSION, SCHEMA_VERSION)
    for verdict in Verdict:
        assert f"`{verdict}`" in PAGE


def test_the_commands(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the page finds a healthy stack healthy, with its addresses and files replaced."""
    grafana_token = tmp_path / "grafana"
    grafana_token.write_text("glsa_x\n")
    commands = [
        line
        for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    assert len(commands) == 3
    with healthy_grafana() as grafana_url:
        here = {
            "http://127.0.0.1:8000": stack.backend.url,
            "http://127.0.0.1:9090": stack.prometheus.url,
            "http://127.0.0.1:13133": stack.collector.url,
            "http://127.0.0.1:8888/metrics": stack.collector.metrics_url,
            "http://127.0.0.1:3000": grafana_url,
            "secrets/aoss_metrics_token": str(stack.token_file),
            "grafana_token": str(grafana_token),
        }
        for command in commands:
            words = [here.get(word, word) for word in shlex.split(command)]
            assert words[:2] == ["aoss", "doctor"]
            given = words[2:] if stack.backend.url in words else [stack.backend.url, *words[2:]]
            if "--token-file" not in given:
                given += ["--token-file", str(stack.token_file)]
            assert doctor(*given) == 0, capsys.readouterr().out
