"""Output that attacks the page, or is too much for it: it stays text, and the page stays quick."""

from playwright.async_api import Page, expect

from tests.browser.support.work import ended, run, shown_execution, steps, title
from tests.support.backend import BackendProcess

MARKUP = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    "<a href=javascript:alert(1)>x</a><style>body{display:none}</style></pre></li>"
)
# ESC, BEL, CR, BS, DEL, a C1 control, NUL, a bidirectional override, a byte that is not UTF-8.
CONTROLS = r"\033[31mred\033]0;title\007 \r \b \177 \302\233 \000 \342\200\256 \377 end"
SHOWN_CONTROLS = "⟨ESC⟩[31mred⟨ESC⟩]0;title⟨BEL⟩ ⟨CR⟩ ⟨BS⟩ ⟨DEL⟩ ⟨U+009B⟩ \ufffd ⟨U+202E⟩ \ufffd end"
MEBIBYTE = 1024 * 1024


async def test_markup_stays_text(page: Page, backend: BackendProcess) -> None:
    """Markup in output, request, command and description is shown as it was written and does nothing."""
    command = f"cat <<'END'\n{MARKUP}\nEND\ncat <<'END' >&2\n{MARKUP}\nEND"
    await run(page, command, query=MARKUP)
    await ended(page, "Success")
    step = steps(page).nth(0)
    await expect(step.locator("pre.output")).to_have_text([MARKUP, MARKUP])
    await expect(step.locator(".command")).to_have_text(command)
    await page.get_by_role("link", name="History").click()
    await expect(page.get_by_role("link", name=MARKUP)).to_be_visible()
    assert await page.locator("main").locator("img, script, style, a[href^=javascript]").count() == 0
    assert await page.title() == "History · AOSS"


async def test_control_characters_are_shown(page: Page) -> None:
    """Control characters are made visible: none moves the cursor, colours, reorders or hides text."""
    await run(page, f"printf '{CONTROLS}'", query="controls")
    await ended(page, "Success")
    text = await steps(page).nth(0).locator("pre.output").text_content()
    assert text == SHOWN_CONTROLS


async def test_ten_megabytes(page: Page, backend: BackendProcess) -> None:
    """Of 10 MB the page shows 64 KB and says so; all that the backend kept is one click away."""
    await page.evaluate(
        """() => {
          window.worst = 0;
          let last = performance.now();
          setInterval(() => {
            const now = performance.now();
            window.worst = Math.max(window.worst, now - last);
            last = now;
          }, 20);
        }"""
    )
    many = "yes 'a line with <b>markup</b>' | head -c 10000000"
    one = "head -c 10000000 /dev/zero | tr '\\0' x"
    await run(page, many, one, query="ten megabytes")
    await ended(page, "Success")
    events = backend.events(shown_execution(page))
    kept = [event["result"]["stdout"] for event in events if event["type"] == "step_result"]
    assert all(MEBIBYTE - 200 < len(text) <= MEBIBYTE and " bytes cut ..." in text for text in kept)
    for number, text in enumerate(kept):
        step = steps(page).nth(number)
        box = step.locator("pre.output")
        shown = await box.text_content() or ""
        assert len(shown) < 70_000
        assert shown.startswith(text[:1000])
        assert shown.endswith(text[-1000:])
        assert "KB not shown" in shown
        await step.get_by_role("button", name="Show all 1.0 MB").click()
        await expect(box).to_be_focused()
        assert await box.text_content() == text
    await box.press("End")
    await page.get_by_role("link", name="Ask").click()
    await expect(title(page)).to_have_text("What should be done?")
    worst = await page.evaluate("() => window.worst")
    assert worst < 3000, "milliseconds without an answer to the reader; generous for a busy machine"
