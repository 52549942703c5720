"""The command around the checks: its arguments, its lines, its JSON, its exit codes."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from app.doctor.findings import Finding, Section, Verdict, result
from app.doctor.report import as_json, print_lines
from app.doctor.web import BOUNDS, Web
from app.fetching import Bounds, NoAnswerError
from tests.commands.doctor.conftest import Stack, doctor
from tests.commands.doctor.servers import JSON, Page, answering
from tests.support.backend import BackendProcess, environment_of_tests


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away settings that someone may have exported."""
    for name in ("AOSS_METRICS_TOKEN", "AOSS_API_KEY"):
        for suffix in ("", "_FILE"):
            monkeypatch.delenv(f"{name}{suffix}", raising=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["127.0.0.1:8000"], "URL: '127.0.0.1:8000' is not an http or https address"),
        (["--prometheus", "ftp://x"], "--prometheus: 'ftp://x' is not"),
        (["--grafana", "http://admin:hush@x"], "--grafana: an address with a password in it"),
        (["--token-file", "/nowhere/token"], "/nowhere/token"),
        (["--grafana-token-file", "/nowhere/token"], "/nowhere/token"),
    ],
)
def test_arguments_that_cannot_be_used(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in the arguments is told in one line, without secrets; the exit code is 2."""
    assert doctor(*arguments) == 2
    said = capsys.readouterr()
    last = said.err.splitlines()[-1]
    assert (said.out, last.startswith("aoss"), words in last, "hush" in said.err) == ("", True, True, False)


def test_the_token_comes_from_the_environment(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token is read as the backend reads its own; the other parts are skipped, and the exit code is 0."""
    monkeypatch.setenv("AOSS_API_KEY", "less than the token")
    monkeypatch.setenv("AOSS_METRICS_TOKEN_FILE", str(stack.token_file))
    assert doctor(stack.backend.url) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "ok      token.access             the token is accepted, and without it /metrics answers 401" in lines
    )
    assert "skipped prometheus               not checked: answers, target, rules, data, alertmanager" in lines
    assert re.fullmatch(r"10 ok, 0 warn, 0 fail, 12 skipped", lines[-1])


def test_a_failure_ends_with_1(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A check that fails makes the exit code 1; the remedy stands below the line, without colours."""
    assert doctor(nobody) == 1
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"fail    backend.alive            {nobody}/healthz cannot be reached: ")
    assert second.startswith("        -> Start it with `aoss serve`")


def test_as_a_program(plain_backend: BackendProcess) -> None:
    """`aoss doctor` prints plain lines into a pipe and ends with 0; --help names every section."""
    command = [sys.executable, "-m", "app.cli", "doctor"]
    environment = environment_of_tests()
    done = subprocess.run(
        [*command, plain_backend.url],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr, "\x1b" in done.stdout) == (0, "", False)
    shown = subprocess.run(
        [*command, "--help"], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert [
        word for word in ("--prometheus", "--collector", "--grafana", "--json") if word not in shown
    ] == []


def test_what_others_say_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and markup in an answer are shown, not obeyed."""
    print_lines([Finding("backend", "alive", Verdict.FAIL, "a\x1b[2J\nb [red]c", "d\r")], sys.stdout)
    said = capsys.readouterr().out
    assert "a\\x1b[2J\\nb [red]c" in said
    assert "-> d\\r\n" in said


def test_json() -> None:
    """The JSON has the fields that the page promises, and the worst verdict."""
    section = Section("backend", ("alive", "ready"))
    section.warn("alive", "it is slow", "Wait")
    section.skip_rest("not checked")
    assert json.loads(as_json(section.findings)) == {
        "version": 1,
        "result": "warn",
        "findings": [
            {
                "section": "backend",
                "check": "alive",
                "verdict": "warn",
                "reason": "it is slow",
                "remedy": "Wait",
            },
            {
                "section": "backend",
                "check": "ready",
                "verdict": "skipped",
                "reason": "not checked",
                "remedy": "",
            },
        ],
    }


def test_result() -> None:
    """A failure outweighs a warning, and what was skipped counts for nothing."""

    def of(*verdicts: Verdict) -> Verdict:
        return result([Finding("backend", "alive", verdict, "") for verdict in verdicts])

    assert of(Verdict.OK, Verdict.SKIPPED) is Verdict.OK
    assert of(Verdict.WARN, Verdict.OK) is Verdict.WARN
    assert of(Verdict.WARN, Verdict.FAIL) is Verdict.FAIL


def test_a_check_that_no_section_names() -> None:
    """A finding under a name that the page does not list is a mistake of the programmer."""
    with pytest.raises(ValueError, match="no check"):
        Section("backend", ("alive",)).ok("alvie", "")


def test_no_proxy(monkeypatch: pytest.MonkeyPatch, nobody: str) -> None:
    """A proxy of the environment is not asked: it would answer for addresses of this machine."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nobody)
    with Web() as client, answering({"/": Page(200, JSON, "{}")}) as url:
        assert client.get(f"{url}/").status == 200


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        (replace(BOUNDS, body_bytes=50_000), "sent more than"),
        (replace(BOUNDS, answer_seconds=-1.0), "was not done"),
    ],
    ids=["too large", "too slow"],
)
def test_an_answer_without_end(bounds: Bounds, said: str) -> None:
    """An answer that is too large, or not done in time, is given up."""
    with (
        answering({"/": Page(200, JSON, "x" * 100_000)}) as url,
        Web(bounds) as client,
        pytest.raises(NoAnswerError, match=said),
    ):
        client.get(f"{url}/")
