"""Every command of the README and of docs/ is run, in the order in which a reader types them."""

import re
from pathlib import Path

import pytest

from tests.documentation import shell
from tests.documentation.pages import MARKS, REASONS, ROOT, Block, blocks, pages, read
from tests.documentation.running import matches, run_page
from tests.documentation.shell import CommandError
from tests.documentation.surroundings import SURROUNDINGS, nothing, prepare
from tests.support.processes import new_marker, wait_until_gone

# Pages whose commands another test runs, all that it finds in them.
ELSEWHERE = {
    "docs/doctor.md": "tests/commands/doctor/test_page.py::test_the_commands",
    "docs/runbooks/": "tests/prometheus/test_runbooks.py::test_every_command_works",
}


def elsewhere(page: str) -> bool:
    """Return whether another test runs a page."""
    return any(page == each or (each.endswith("/") and page.startswith(each)) for each in ELSEWHERE)


def commands(page: str) -> list[Block]:
    """Return what is to be run of a page."""
    return [block for block in blocks(page) if block.is_commands and block.mark != "not run"]


RUN = [page for page in pages() if commands(page) and not elsewhere(page)]


@pytest.mark.parametrize("page", RUN)
def test_commands(page: str, tmp_path: Path, programs: None) -> None:
    """Each command of the page succeeds and prints what the page shows."""
    run_page(blocks(page), tmp_path, prepare(page, blocks(page)))


def test_what_is_not_run_has_a_reason() -> None:
    """Commands that nothing runs are marked with one of the reasons that count."""
    unrun = [block for page in pages() for block in blocks(page) if block.mark == "not run"]
    assert [block.place for block in unrun if block.word not in REASONS] == []
    assert [block.place for block in unrun if not block.is_commands] == []


def test_every_mark_marks_something() -> None:
    """Each comment that looks like a mark stands right before a fence, and is one of the marks."""
    for page in pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        written = re.findall(rf"^ *<!-- ({'|'.join(MARKS)}):", text, re.MULTILINE)
        assert written == [block.mark for block in blocks(page) if block.mark], page


def test_what_runs_elsewhere_is_there() -> None:
    """The tests that run whole pages exist, and so do the pages with surroundings of their own."""
    for name, test in ELSEWHERE.items():
        path, _, function = test.partition("::")
        assert (ROOT / name).exists()
        assert f"def {function}(" in (ROOT / path).read_text(encoding="utf-8")
    assert set(SURROUNDINGS) <= set(RUN)


def page_of(text: str) -> tuple[Block, ...]:
    """Return the blocks of a page that a test makes up."""
    return tuple(read(text, "made-up.md"))


@pytest.mark.parametrize(
    "wrong",
    [
        "false",
        "false | true",
        "true; false; true",
        "cat; test -e README.md; test -e no-such-file",
        "echo one\n```\n\n```text\ntwo",
    ],
)
def test_a_command_that_fails_is_seen(wrong: str, tmp_path: Path, programs: None) -> None:
    """A page fails by a command that fails, wherever it stands, and by an output that is another."""
    page = page_of(f"```sh\nexport A=1\n```\n\n```sh\ntest $A = 1\n```\n\n```sh\n{wrong}\n```\n")
    with pytest.raises((CommandError, AssertionError), match=r"made-up\.md:9|made-up\.md:13"):
        run_page(page, tmp_path, nothing)


def test_what_stays_is_awaited_and_ended(tmp_path: Path, programs: None) -> None:
    """What stays answers when the next block is run, makes room for what takes its address, and ends."""
    marker = new_marker()
    serve = f"sleep {marker} & python -m http.server 8000 --bind 127.0.0.1 --directory"
    page = page_of(
        "<!-- file: a/name -->\n```text\none\n```\n<!-- file: b/name -->\n```text\ntwo\n```\n"
        f"<!-- stays: http://127.0.0.1:8000/name -->\n```sh\n{serve} a\n```\n"
        "```sh\ncurl -s http://127.0.0.1:8000/name\n```\n```text\none\n```\n"
        f"<!-- stays: http://127.0.0.1:8000/name -->\n```sh\n{serve} b\n```\n"
        "```sh\ncurl -s http://127.0.0.1:8000/name\n```\n"
        "```text\nt…o\n```\n"
    )
    run_page(page, tmp_path, nothing)
    assert wait_until_gone(marker) == {}


def test_what_does_not_stay_is_seen(tmp_path: Path, programs: None) -> None:
    """A page fails by a server that ends before it answers."""
    page = page_of("<!-- stays: http://127.0.0.1:8000/ -->\n```sh\necho gone >&2\n```\n")
    with pytest.raises(CommandError, match="gone"):
        run_page(page, tmp_path, nothing)


def test_no_page_can_harm_the_environment_of_the_tests(tmp_path: Path, programs: None) -> None:
    """`make` finds the copy's environment finished, and that is a folder of its own, which can be cleared."""
    rules = "make --dry-run run test stack bench > ../rules; test ! -L .venv -a ! -L .venv/bin"
    prefix = "python -c 'import sys, app; print(sys.prefix)'"
    run_page(page_of(f"```sh\n{rules}\n{prefix} > ../prefix\n```\n"), tmp_path, nothing)
    assert not re.findall(r".*(?:pip|uv|-m venv|touch).*", (tmp_path / "rules").read_text())
    assert (tmp_path / "prefix").read_text().strip() == str(tmp_path / "aoss/.venv")


def test_what_takes_too_long_is_ended(
    tmp_path: Path, programs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that does not end fails the page, and is ended with what it started."""
    monkeypatch.setattr(shell, "BLOCK_SECONDS", 0.5)
    marker = new_marker()
    with pytest.raises(CommandError, match="sleep"):
        run_page(page_of(f"```sh\nsleep {marker} &\nsleep {marker}\n```\n"), tmp_path, nothing)
    assert wait_until_gone(marker) == {}


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("one\n", "one\n", True),
        ("one\n", "one\ntwo\n", False),
        ("o…e\n…\nthree", "ooe\ntwo\ntwo\nthree\n", True),
        ("…\nthree", "three\n", True),
        ("a.c", "abc", False),
        ("one …", "one\ntwo", False),
    ],
)
def test_outputs(shown: str, printed: str, same: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    """`…` stands for anything in a line, alone for any lines, and everything else for itself."""
    assert matches(shown, printed) == same
