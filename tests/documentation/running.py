"""How a page is run: what is replaced in its commands, and what its outputs are held against.

Everything is run as it stands but for these replacements:

- A port that this project uses by default is a free one, in the commands, in the files that a page has people
  write, and in the copy's prometheus/.
- `make run` is the `aoss serve` at its end; tests/test_make_run.py runs the whole of it, in an empty folder.
- `aoss demo`, `aoss doctor` and `aoss top` are given the backend's address where they would ask the default.
- `aoss demo` without a number runs a dozen executions, not forty, to save time.
- What a page's own surroundings say, such as a stand-in for a vendor's host.
"""

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.documentation.pages import OUTPUT, Block
from tests.documentation.shell import CommandError, Shell, copy_of_the_tree
from tests.support.backend import environment_of_tests, free_port
from tests.support.stack.programs import program

PORTS = (3000, 4317, 4318, 8000, 8001, 8002, 8428, 8888, 9090, 9093, 13133)
PROGRAMS = ("otelcol", "prometheus")
ANYTHING = "…"


@dataclass
class Surroundings:
    """What a page finds when its first command is run."""

    folder: Path
    home: Path
    ports: dict[int, int] = field(default_factory=lambda: {port: free_port() for port in PORTS})
    environment: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None

    def localised(self, text: str) -> str:
        """Return commands or a file's content with what is replaced in them."""
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        text = re.sub(
            rf"\b({'|'.join(map(str, PORTS))})\b", lambda found: str(self.ports[int(found[1])]), text
        )
        backend = f"http://127.0.0.1:{self.ports[8000]}"
        text = re.sub(r"^make run$", "aoss serve", text, flags=re.MULTILINE)
        text = re.sub(r"\baoss demo\b(?!.*--executions)", "aoss demo --executions 12", text)
        text = re.sub(r"\baoss demo\b(?!.*--url)", f"aoss demo --url {backend}", text)
        text = re.sub(r"\baoss doctor\b(?!\s+http)", f"aoss doctor {backend}", text)
        return re.sub(r"\baoss top\b(?!\s+http)", f"aoss top {backend}", text)


Prepare = Callable[[Surroundings, ExitStack], None]


def run_page(blocks: tuple[Block, ...], folder: Path, prepare: Prepare) -> None:
    """Run a page's blocks in a fresh copy of the tree.

    Raises CommandError where a command fails, AssertionError where it prints something else than is shown.
    """
    here = Surroundings(folder / "aoss", folder / "home")
    for each in (here.folder, here.home, folder / "logs"):
        each.mkdir()
    copy_of_the_tree(here.folder)
    for path in (here.folder / "prometheus").rglob("*.yml"):
        path.write_text(here.localised(path.read_text(encoding="utf-8")), encoding="utf-8")
    with ExitStack() as around:
        prepare(here, around)
        environment = _environment(here) | here.environment
        shell = around.enter_context(Shell(here.folder, environment, folder / "logs"))
        printed = ""
        for block in blocks:
            try:
                printed = _run(block, here, shell, printed)
            except CommandError as error:
                raise CommandError(f"{block.place}: {error}") from None
        here.check()


def _run(block: Block, here: Surroundings, shell: Shell, printed: str) -> str:
    """Run one block and return what it printed; one of output is compared with what was printed before."""
    if block.mark == "file":
        path = here.folder / os.path.expandvars(block.word)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(here.localised(block.text), encoding="utf-8")
    elif block.mark == "stays":
        shell.serve(here.localised(block.text), here.localised(block.word))
    elif block.is_commands and block.mark != "not run":
        return shell.run(here.localised(block.text))
    elif block.language == OUTPUT:
        assert matches(here.localised(block.text), printed), f"{block.place}: this was printed:\n{printed}"
    return printed


def matches(shown: str, printed: str) -> bool:
    """Return whether an output is what a page shows: `…` is anything in a line, alone in a line any lines."""
    pattern = ""
    for line in shown.rstrip().splitlines():
        if line.strip() == ANYTHING:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.rstrip().split(ANYTHING)) + r"[ \t]*\n"
    return re.fullmatch(pattern, printed.rstrip() + "\n") is not None


def _environment(here: Surroundings) -> dict[str, str]:
    """Return the environment of who has this project's programs and those of `make stack` on the PATH."""
    folders = [here.folder / ".venv/bin", *dict.fromkeys(program(name).parent for name in PROGRAMS)]
    kept = {
        name: value for name, value in environment_of_tests().items() if not name.startswith("COLLECTOR_")
    }
    return kept | {
        "PATH": ":".join([*map(str, folders), os.environ["PATH"]]),
        "HOME": str(here.home),
        "NO_COLOR": "1",
        # Beside the copy's own `.venv`: nothing on a page may install into that of the tests.
        "PIP_DRY_RUN": "1",
        "AOSS_PORT": str(here.ports[8000]),
        "COLLECTOR_GRPC_PORT": str(here.ports[4317]),
        "COLLECTOR_HTTP_PORT": str(here.ports[4318]),
        "COLLECTOR_HEALTH_PORT": str(here.ports[13133]),
        "COLLECTOR_METRICS_PORT": str(here.ports[8888]),
        "COLLECTOR_STORAGE": str(here.home),
    }
