"""The pictures of the guides: legible on white and in the dark, and made by the commands that are named."""

import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import plot
from benchmarks.results import Run
from tests.browser import screenshot
from tests.browser.support.chromium import BrowserUnavailableError
from tests.documentation.pages import ROOT, links, pages

FOLDER = ROOT / "docs/pictures"
DRAWINGS = sorted(path for path in FOLDER.glob("*.svg") if path != plot.PATH)
CONTRAST = 4.5  # WCAG 2.2, AA, of text
SVG = "{http://www.w3.org/2000/svg}"


def luminance(colour: str) -> float:
    """Return a colour's relative luminance. Source: WCAG 2.2, "relative luminance"."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return sum(part * each for part, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Return how far two colours are apart, from 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def schemes(drawing: Path) -> list[dict[str, str]]:
    """Return the colours of a drawing by name, on white and in the dark."""
    light, dark = drawing.read_text(encoding="utf-8").split("prefers-color-scheme: dark", 1)
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part)) for part in (light, dark)]


def test_contrast_is_that_of_the_source() -> None:
    """Black on white has the largest contrast, and this grey just enough."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_is_legible(drawing: Path) -> None:
    """Every text has enough contrast with everything that it can stand on, on white and in the dark."""
    light, dark = schemes(drawing)
    assert light.keys() == dark.keys() == {"paper", "ink", "muted", "line", "box", "good", "bad", "accent"}
    for colours in (light, dark):
        for ground in ("paper", "box", "good", "bad", "accent"):
            for text in ("ink", "muted"):
                assert contrast(colours[text], colours[ground]) >= CONTRAST, (text, ground)


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_says_what_it_shows(drawing: Path) -> None:
    """A drawing has a title and a description, every colour from its style, and nothing from elsewhere."""
    root = ET.fromstring(drawing.read_text(encoding="utf-8"))  # noqa: S314 - a file of this repository
    assert root.get("aria-labelledby") == "title desc"
    assert {each.get("id") for each in root if each.tag in (f"{SVG}title", f"{SVG}desc")} == {"title", "desc"}
    used = {name for each in root.iter() for name in (each.get("class") or "").split()}
    style = root.findtext(f"{SVG}style") or ""
    assert used <= set(re.findall(r"\.(\w+) \{", style))
    assert [each.attrib for each in root.iter() if each.get("fill") or each.get("style")] == []
    assert "href" not in drawing.read_text(encoding="utf-8")


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_stays_on_its_paper(drawing: Path) -> None:
    """Boxes and text lie within the picture, with text as wide as a wide font makes it."""
    root = ET.fromstring(drawing.read_text(encoding="utf-8"))  # noqa: S314 - a file of this repository
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for box in root.iter(f"{SVG}rect"):
        right = float(box.get("x", 0)) + float(box.get("width", 0))
        assert right <= width
        assert float(box.get("y", 0)) + float(box.get("height", 0)) <= height
    for text in root.iter(f"{SVG}text"):
        classes = (text.get("class") or "").split()
        wide = len(text.text or "") * (6.8 if "small" in classes else 8.2)
        left = float(text.get("x", 0)) - (0 if "left" in classes else wide / 2)
        assert left >= 0, text.text
        assert left + wide <= width, text.text


def test_the_plot_is_that_of_the_last_run() -> None:
    """Drawn again from the newest run's file, the plot is the committed one, byte for byte."""
    assert plot.drawn(Run.load(plot.newest())) == plot.PATH.read_text(encoding="utf-8")


def test_the_plot_is_legible() -> None:
    """The plot has colours for the dark, and enough contrast in both."""
    text = plot.PATH.read_text(encoding="utf-8")
    for light, dark in plot.DARK.items():
        assert f"fill: {light}" in text or f"stroke: {light}" in text
        assert f'[style*="fill: {light}"] {{ fill: {dark} !important }}' in text
    for ink in (plot.INK, plot.MUTED):
        assert contrast(ink, plot.PAPER) >= CONTRAST
        assert contrast(plot.DARK[ink], plot.DARK[plot.PAPER]) >= CONTRAST
    for colour, _, _ in plot.PEERS.values():
        # WCAG 2.2 asks for 3 of what is no text.
        assert min(contrast(colour, plot.PAPER), contrast(colour, plot.DARK[plot.PAPER])) >= 3


def test_the_plot_shows_every_peer() -> None:
    """Whoever is not ours in the last run is in the plot, but for variants of the application's measuring."""
    run = Run.load(plot.newest())
    names = {name for _, _, names in plot.PEERS.values() for name in names}
    others = {peer.name for row in run.rows for peer in row.peers if not peer.name.startswith("ours")}
    variants = {"FastAPI's own and the official SDK", "the same, not scraped", "what was promised"}
    assert others - names == variants
    assert names <= others


def size(picture: Path) -> dict[str, int]:
    """Return the width and the height that a PNG says of itself."""
    header = picture.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return dict(zip(("width", "height"), struct.unpack(">II", header[16:]), strict=True))


async def test_the_screenshot_can_be_taken(tmp_path: Path) -> None:
    """The command takes a picture of the size of the committed one, with something on it."""
    picture = tmp_path / "console.png"
    try:
        await screenshot.take(picture, 1)
    except BrowserUnavailableError as error:
        pytest.skip(str(error))
    assert size(picture) == screenshot.SIZE == size(screenshot.PATH)
    # White paper of this size is 5 kB.
    assert min(picture.stat().st_size, screenshot.PATH.stat().st_size) > 50_000


def test_every_picture_is_shown() -> None:
    """Each file of docs/pictures is on a page."""
    shown = {
        (ROOT / page).parent.joinpath(link).resolve()
        for page in pages()
        for link in links((ROOT / page).read_text(encoding="utf-8"))
    }
    assert {path for path in FOLDER.iterdir() if path not in shown} == set()
