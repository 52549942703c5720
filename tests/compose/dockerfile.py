"""The Dockerfile and .dockerignore, read as far as this project uses them."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

from tests.compose.definition import ROOT


class Instruction(NamedTuple):
    """One instruction with its arguments, on one line."""

    name: str
    text: str

    def words(self) -> list[str]:
        """Return the arguments: of the exec form its items, else the words."""
        if self.text.startswith("["):
            words: list[str] = json.loads(self.text)
            return words
        return shlex.split(self.text)

    def pairs(self) -> dict[str, str]:
        """Return the arguments of ENV or LABEL."""
        return dict(word.split("=", 1) for word in self.words())


def instructions() -> list[Instruction]:
    """Return the Dockerfile's instructions, the defaults of its ARGs put in after FROM."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", "", lines)
    found: list[Instruction] = []
    arguments: dict[str, str] = {}
    for line in filter(None, lines.splitlines()):
        name, _, rest = line.partition(" ")
        if name == "ARG":
            key, _, arguments[key] = rest.partition("=")
        elif name == "FROM":
            rest = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], rest)
        found.append(Instruction(name, rest.strip()))
    return found


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage, from its FROM on."""
    found: list[list[Instruction]] = []
    for instruction in instructions():
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def is_ignored(path: str) -> bool:
    """Return whether .dockerignore keeps a path out; the last pattern that matches it or a parent decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = [
            ".*/" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("/")
        ]
        regex = "/".join(parts).replace(".*//", "(.*/)?")
        if re.fullmatch(f"{regex}(/.*)?", path):
            ignored = not line.startswith("!")
    return ignored


def copy_context(folder: Path) -> None:
    """Copy what a build would be sent."""
    for top in ROOT.iterdir():
        if is_ignored(top.name):
            continue
        for path in (top, *top.rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.is_file() and not is_ignored(name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)
