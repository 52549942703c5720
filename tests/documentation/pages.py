"""The pages as tests read them: blocks of commands, files and outputs, links and headings.

A comment of HTML right before a fence, which no reader sees, says what to do with it:

    <!-- not run: REASON -->   the commands are not run, for one of the REASONS
    <!-- stays: URL -->        the commands run until the page ends; the next block waits until URL answers
    <!-- file: NAME -->        the fence is the content of a file, which is written before what follows is run

Fences of `sh` and `bash` are commands; one of `text` is what the commands before it print.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
SHELLS = ("sh", "bash")
OUTPUT = "text"
MARKS = ("not run", "stays", "file")
_MARK = re.compile(r"\s*<!--\s*([a-z ]+):\s*(.*?)\s*-->\s*")

REASONS = (
    "it is what runs this page",
    "needs a Docker daemon",
    "needs an account at a vendor",
    "needs root, and installs packages",
    "takes more than ten minutes",
    "downloads what is newest",
)


@dataclass(frozen=True)
class Block:
    """A fence; `mark` and `word` are those of the comment before it, empty where there is none."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    word: str = ""

    @property
    def is_commands(self) -> bool:
        """Return whether it is something to type."""
        return self.language in SHELLS

    @property
    def place(self) -> str:
        """Return where it stands."""
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Return the names of all pages, relative to the repository."""
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """Return a page's fences in their order."""
    return tuple(read((ROOT / page).read_text(encoding="utf-8"), page))


def read(text: str, page: str) -> Iterator[Block]:
    """Read the fences of a text; a comment that is no mark is passed over."""
    mark, word = "", ""
    for token in _tokens(text):
        if token.type == "fence":
            assert token.map is not None
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, mark, word)
        found = _MARK.fullmatch(token.content) if token.type == "html_block" else None
        mark, word = (found[1], found[2]) if found and found[1] in MARKS else ("", "")


def links(text: str) -> list[str]:
    """Return where the links and the pictures of a text lead."""
    inline = [child for token in _tokens(text) for child in token.children or ()]
    found = [str(each.attrs.get("href") or each.attrs.get("src") or "") for each in inline]
    # GitHub shows another picture in the dark by <picture>.
    raw = "".join(token.content for token in (*_tokens(text), *inline) if token.type.startswith("html"))
    return [link for link in (*found, *re.findall(r'(?:src|srcset|href)="([^"]+)"', raw)) if link]


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return what a link can name in a page, as GitHub makes it of the headings."""
    tokens = _tokens(path.read_text(encoding="utf-8"))
    seen: Counter[str] = Counter()
    found = set()
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            shown = "".join(child.content for child in inline.children or ())
            slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return frozenset(found)


def _tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)
