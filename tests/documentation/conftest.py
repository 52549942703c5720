"""What the commands of the guides need, and the list of those that were not run."""

import pytest

from tests.documentation.pages import blocks, pages
from tests.documentation.running import PROGRAMS
from tests.support.stack.programs import ProgramUnavailableError, program


@pytest.fixture(scope="session")
def programs() -> None:
    """Skip what needs a program that cannot be had."""
    try:
        for name in PROGRAMS:
            program(name)
    except ProgramUnavailableError as error:
        pytest.skip(str(error))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which commands of the guides nothing runs, and why."""
    terminalreporter.section("commands of the guides that are not run")
    for page in pages():
        for block in blocks(page):
            if block.mark == "not run":
                first, *more = block.text.strip().splitlines()
                terminalreporter.line(f"{block.place}: {first}{' …' if more else ''}: {block.word}")
