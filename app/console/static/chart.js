// One chart: a plot, a legend of values that is its table too, and the query to copy.

import { element } from "./dom.js";
import { duration } from "./format.js";
import uPlot from "./vendor/uplot/uPlot.esm.js";

const HEIGHT = 130;
const SHOWN_SECONDS = 15 * 60;
const LEAST_SECONDS = 2 * 60;
const GAP_SECONDS = 60;
const COLOURS = 6;

const UNITS = {
  minute: { words: "per minute", text: (value) => short(value) },
  share: { words: "share", text: (value) => `${short(100 * value)} %`, top: 1 },
  count: { words: "now", text: (value) => short(value) },
  seconds: { words: "time", text: (value) => (value ? duration(value) : "0 s") },
};
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const minute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** A chart of one definition; `add` computes a point, `draw` shows all. */
export class Chart {
  constructor({ title, unit, queries }) {
    this.queries = queries;
    this.unit = UNITS[unit];
    this.times = [];
    this.series = new Map(); // values by name, as long as `times`
    this.rows = element("tbody");
    this.heading = element("th", { scope: "col" }, "now");
    this.hint = element("span", { class: "hint" }, this.unit.words);
    this.place = element("div", { class: "plot", "aria-hidden": "true" });
    this.empty = element("p", { class: "hint", hidden: true }, "Nothing in the last 15 minutes.");
    this.root = element(
      "figure",
      { class: "chart" },
      element("figcaption", {}, element("h2", {}, title), this.hint),
      this.place,
      this.empty,
      element(
        "table",
        { "aria-label": `${title}, ${this.unit.words}` },
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            element("th", { scope: "col" }, element("span", { class: "unseen" }, "Series")),
            this.heading,
            element("th", { scope: "col" }, "highest"),
          ),
        ),
        this.rows,
      ),
      query(title, queries.map(({ promql }) => promql).join("\n")),
    );
    this.plot = null;
    this.names = "";
    new ResizeObserver(() => this.#resize()).observe(this.place);
  }

  /** Compute the point of a sample's time. */
  add(samples, time) {
    // The clock may have been set back.
    while (this.times.at(-1) >= time) this.#each((values) => values.pop());
    // No line across what was not sampled.
    if (time - this.times.at(-1) > GAP_SECONDS) {
      this.times.push(this.times.at(-1) + GAP_SECONDS);
      this.#fill();
    }
    this.times.push(time);
    for (const query of this.queries) {
      for (const { labels, value } of query.at(samples, time)) {
        const name = query.named(labels) ?? "others";
        if (!this.series.has(name)) this.series.set(name, []);
        const values = this.series.get(name);
        while (values.length < this.times.length - 1) values.push(null);
        values.push(value);
      }
    }
    this.#fill();
    const old = this.times.findIndex((each) => each > time - SHOWN_SECONDS);
    this.#each((values) => values.splice(0, old));
  }

  /** Forget all points. */
  clear() {
    this.times = [];
    this.series.clear();
    this.rebuild();
  }

  /** Show what has been added. */
  draw() {
    const names = this.#names();
    if (!this.plot || names.join() !== this.names) this.rebuild();
    else this.plot.setData(this.#data());
    this.#legend();
  }

  /** Make the plot anew, as when the colours have changed. */
  rebuild() {
    this.plot?.destroy();
    this.plot = null;
    const names = this.#names();
    this.names = names.join();
    this.rows.replaceChildren(...names.map(row));
    this.empty.hidden = names.length > 0;
    this.place.hidden = names.length === 0;
    this.rows.parentElement.hidden = names.length === 0;
    if (names.length && this.place.clientWidth) this.plot = new uPlot(this.#options(names), this.#data(), this.place);
  }

  /** Return the names of what there is to show, in order: a share can be 0, but what never moved is nothing. */
  #names() {
    const shows = this.unit.top ? (value) => value !== null : (value) => value > 0;
    return [...this.series.keys()].filter((name) => this.series.get(name).some(shows)).sort();
  }

  #data() {
    return [this.times, ...this.#names().map((name) => this.series.get(name))];
  }

  #each(change) {
    change(this.times);
    for (const values of this.series.values()) change(values);
  }

  #fill() {
    for (const values of this.series.values()) while (values.length < this.times.length) values.push(null);
  }

  #resize() {
    const width = this.place.clientWidth;
    if (!width) return;
    if (this.plot) this.plot.setSize({ width, height: HEIGHT });
    else this.draw();
  }

  /** Tell the values of the moment that is pointed at, else the latest. */
  #legend() {
    const index = this.plot?.cursor.idx;
    const pointed = Number.isInteger(index) && index < this.times.length;
    const place = pointed ? index : this.times.length - 1;
    this.heading.textContent = pointed ? "then" : "now";
    this.hint.textContent = pointed ? clock.format(this.times[place] * 1000) : this.unit.words;
    const text = (value) => (value === null || value === undefined ? "–" : this.unit.text(value));
    this.#names().forEach((name, number) => {
      const values = this.series.get(name);
      const known = values.filter((value) => value !== null);
      const [, now, highest] = this.rows.children[number].children;
      now.textContent = text(values[place]);
      highest.textContent = text(known.length ? Math.max(...known) : null);
    });
  }

  #options(names) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour("muted"), font: "12px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: colour("border"), width: 1 };
    const { top, text } = this.unit;
    return {
      width: this.place.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 24, 0, 0],
      cursor: { sync: { key: "console" }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        // A young run fills the plot, rather than its right edge.
        x: { time: true, range: (_, low, high) => [Math.min(low, high - LEAST_SECONDS), high] },
        y: { range: (_, __, high) => [0, top ?? Math.max(1e-3, (high || 1) * 1.1)] },
      },
      axes: [
        { ...axis, grid: { show: false }, space: 60, size: 24, values: (_, times) => times.map((each) => minute.format(each * 1000)) },
        { ...axis, grid, space: 30, size: 58, values: (_, values) => values.map((each) => text(each)) },
      ],
      series: [
        {},
        ...names.map((name, number) => ({
          label: name,
          stroke: colour(`series-${(number % COLOURS) + 1}`),
          width: 1.5,
          dash: number < COLOURS ? undefined : [4, 3],
          points: { show: (plot, series) => isAlone(plot.data[series]), size: 5 },
        })),
      ],
      hooks: { setCursor: [() => this.#legend()] },
    };
  }
}

/** Return whether some value has a gap on both sides, which a line does not show. */
function isAlone(values) {
  const missing = (value) => value === null || value === undefined;
  return values.some((value, place) => !missing(value) && missing(values[place - 1]) && missing(values[place + 1]));
}

function row(name, number) {
  const swatch = element("span", { class: `swatch series-${(number % COLOURS) + 1}`, "aria-hidden": "true" });
  // A long name is broken after an underscore.
  const parts = name.split(/(?<=_)/).flatMap((part) => [part, element("wbr")]);
  return element("tr", {}, element("th", { scope: "row" }, swatch, ...parts), element("td"), element("td"));
}

function query(title, text) {
  const code = element("code", {}, text);
  const state = element("span", { class: "hint", role: "status" });
  const copy = element("button", { type: "button", onclick: () => copied(code, state) }, "Copy");
  copy.setAttribute("aria-label", `Copy the PromQL of ${title}`);
  return element(
    "details",
    { class: "promql" },
    element("summary", {}, "PromQL"),
    element("pre", { tabindex: "0", "aria-label": `PromQL of ${title}` }, code),
    element("div", { class: "row" }, copy, state),
  );
}

async function copied(code, state) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    state.textContent = "Copied.";
  } catch {
    // No clipboard on a page that came over plain HTTP from another machine.
    getSelection().selectAllChildren(code);
    state.textContent = "Selected: copy it with the keyboard.";
  }
}

/** Return a number as few digits. */
export function short(value) {
  if (Number.isInteger(value)) return value.toLocaleString();
  const digits = Math.abs(value) < 1 ? 2 : 1;
  return value.toLocaleString(undefined, { minimumFractionDigits: 0, maximumFractionDigits: digits });
}
