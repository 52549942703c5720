"""Links and headings of the README and of docs/."""

import re
from urllib.parse import unquote

import pytest

from tests.documentation.pages import ROOT, anchors, links, pages

INDEX = ROOT / "docs/README.md"


@pytest.mark.parametrize("page", pages())
def test_links(page: str) -> None:
    """Each link within the repository leads to a file, and to a heading of it where it names one."""
    path = ROOT / page
    wrong = []
    for link in links(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / unquote(name)).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_the_index_has_every_page() -> None:
    """docs/README.md leads to every page of docs/ but runbooks and decisions, which it has as folders."""
    linked = {(INDEX.parent / link).resolve() for link in links(INDEX.read_text(encoding="utf-8"))}
    wanted = {path for path in INDEX.parent.glob("*.md") if path != INDEX}
    assert {path for path in (*wanted, *INDEX.parent.glob("*/")) if path.name != "pictures"} <= linked


def test_what_counts_as_a_link() -> None:
    """Pictures, HTML and links in tables are links; what stands in a fence is not."""
    text = '![a](b.svg) <img src="c.png">\n\n| d |\n|---|\n| [e](f.md#g) |\n\n```text\n[h](i)\n```\n'
    assert sorted(links(text)) == ["b.svg", "c.png", "f.md#g"]
