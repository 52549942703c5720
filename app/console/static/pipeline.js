// The pipeline, live: totals, and charts of the last 15 minutes, from the samples of /metrics that the backend keeps.

import { Chart, short } from "./chart.js";
import { CHARTS, TOTALS } from "./charts.js";
import { isReachable, onChange } from "./connection.js";
import { element } from "./dom.js";
import { Samples } from "./samples.js";

const SOON_MS = 1000;
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** Draw into an element, for as long as the page is there. */
export function startPipeline(place, api) {
  const samples = new Samples();
  const charts = CHARTS.map((each) => new Chart(each));
  const state = element("p", { class: "hint", id: "pipeline-state" }, "Waiting for the first sample …");
  const totals = element("dl", { class: "totals", "aria-label": "Totals of this run" });
  place.replaceChildren(
    element("h1", {}, "Pipeline"),
    state,
    totals,
    element("div", { class: "charts" }, ...charts.map(({ root }) => root)),
  );

  function draw() {
    const { time } = samples.list.at(-1);
    const ever = TOTALS[0].parts[0].at(samples, time).some(({ value }) => value > 0);
    state.textContent = ever
      ? `Totals since the start of this run, charts of the last 15 minutes; sampled at ${clock.format(time * 1000)}.`
      : "Nothing has run yet: ask for something, or run “aoss demo”, and the numbers move within seconds.";
    totals.replaceChildren(...TOTALS.map((each) => shown(each, samples, time)));
    for (const chart of charts) chart.draw();
  }

  function take(answer) {
    const { run } = samples;
    const fresh = samples.add(answer);
    if (run !== null && run !== samples.run) for (const chart of charts) chart.clear();
    for (const { time } of fresh) for (const chart of charts) chart.add(samples, time);
    if (fresh.length) draw();
    return fresh.length > 0;
  }

  let timer = null;
  let asking = false;

  async function ask() {
    clearTimeout(timer);
    if (asking || document.hidden) return;
    asking = true;
    let delay = SOON_MS;
    try {
      const answer = await api.get(`/api/console/samples?after=${samples.last}`);
      // Of another run: what it has so far may have been left out.
      const complete = samples.run === null || answer.run === samples.run;
      const all = complete ? answer : await api.get("/api/console/samples");
      // Just after a sample, the next one is a whole interval away.
      if (take(all)) delay = all.interval * 1000;
    } catch (error) {
      if (isReachable()) state.textContent = `No samples: ${error.message}`;
      delay = 5 * SOON_MS;
    } finally {
      asking = false;
    }
    clearTimeout(timer);
    timer = setTimeout(ask, delay);
  }

  onChange((reachable) => {
    if (reachable) ask();
    else if (samples.list.length) {
      const last = clock.format(samples.list.at(-1).time * 1000);
      state.textContent = `The backend does not answer: the last sample is of ${last}.`;
    }
  });
  document.addEventListener("visibilitychange", ask);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const chart of charts) {
      chart.rebuild();
      chart.draw();
    }
  });
  ask();
}

function shown({ title, parts }, samples, time) {
  const numbers = parts.map((part) => part.at(samples, time)[0]?.value ?? 0);
  return element(
    "div",
    {},
    element("dt", {}, title),
    element("dd", {}, numbers.map(short).join(" of ")),
  );
}
