"""What the page keeps of the samples: of one run, in the order of time, with a gap where there is none."""

from typing import Any

from playwright.async_api import Page

KEPT = """async (answers) => {
  const { Samples } = await import("/console/samples.js");
  const kept = new Samples();
  return answers.map(([run, samples]) => ({
    fresh: kept.add({ run, samples }).map(({ seq }) => seq),
    kept: kept.list.map(({ seq }) => seq),
    last: kept.last,
    known: [...kept.of("runs_total").values()],
  }));
}"""
DRAWN = """async (times) => {
  const { Chart } = await import("/console/chart.js");
  const at = (samples, time) => [{ labels: {}, value: time }];
  const query = { promql: "time()", at, named: () => "now" };
  const chart = new Chart({ title: "a test", unit: "count", queries: [query] });
  for (const time of times) chart.add(null, time);
  return [chart.times, chart.series.get("now")];
}"""

EMPTY = """async ([unit, value]) => {
  const { Chart } = await import("/console/chart.js");
  const query = { promql: "vector(0)", at: () => [{ labels: {}, value }], named: () => "now" };
  const chart = new Chart({ title: "a test", unit, queries: [query] });
  chart.add(null, 1);
  chart.draw();
  return !chart.empty.hidden;
}"""


def sample(seq: int, time: float, **values: float) -> dict[str, Any]:
    """Return a sample as the backend sends it."""
    return {
        "seq": seq,
        "time": time,
        "values": {f'runs_total{{name="{key}"}}': values[key] for key in values},
    }


async def test_samples_are_those_of_one_run(page: Page) -> None:
    """A sample is taken once, and another run forgets the one before."""
    first, again, other = await page.evaluate(
        KEPT,
        [
            ["one", [sample(1, 5, a=1), sample(2, 10, a=2)]],
            ["one", [sample(2, 10, a=2), sample(3, 15, b=1)]],
            ["two", [sample(1, 20, c=1)]],
        ],
    )
    assert first == {"fresh": [1, 2], "kept": [1, 2], "last": 2, "known": [{"name": "a"}]}
    assert again == {"fresh": [3], "kept": [1, 2, 3], "last": 3, "known": [{"name": "a"}, {"name": "b"}]}
    assert other == {"fresh": [1], "kept": [1], "last": 1, "known": [{"name": "c"}]}


async def test_samples_are_bounded(page: Page) -> None:
    """A page that stays open keeps 15 minutes."""
    answers = [["one", [sample(number, 5 * number)]] for number in range(1, 400)]
    *_, last = await page.evaluate(KEPT, answers)
    assert last["kept"] == list(range(220, 400))


async def test_labels_are_read_as_they_are_written(page: Page) -> None:
    """Quotes, backslashes, line ends, commas and braces in a label's value are read back."""
    written = {"seq": 1, "time": 5, "values": {r'runs_total{name="a\"b\\n\n,}{=",le="+Inf"}': 1, "up": 1}}
    (found,) = await page.evaluate(KEPT, [["one", [written]]])
    assert found["known"] == [{"name": 'a"b\\n\n,}{=', "le": "+Inf"}]


async def test_clock_set_back(page: Page) -> None:
    """What lies ahead of a clock that is set back is forgotten, and nothing is asked for twice."""
    before, after = await page.evaluate(
        KEPT,
        [
            ["one", [sample(1, 100), sample(2, 105), sample(3, 110)]],
            ["one", [sample(4, 105), sample(5, 110)]],
        ],
    )
    assert before["kept"] == [1, 2, 3]
    assert after == {"fresh": [4, 5], "kept": [1, 4, 5], "last": 5, "known": []}
    assert await page.evaluate(DRAWN, [100, 105, 110, 105, 108]) == [[100, 105, 108]] * 2


async def test_gap(page: Page) -> None:
    """The line is broken where nothing was sampled for more than a minute, and gone after 15 minutes."""
    times, values = await page.evaluate(DRAWN, [0, 5, 10, 300, 305, 905])
    assert times == [10, 70, 300, 305, 365, 905]
    assert values == [10, None, 300, 305, None, 905]


async def test_nothing_happened(page: Page) -> None:
    """A chart of what did not happen says so, but a share of 0 is shown."""
    charts = [("minute", 0), ("count", 0), ("minute", 0.1), ("count", 1), ("share", 0)]
    assert [await page.evaluate(EMPTY, each) for each in charts] == [True, True, False, False, False]
