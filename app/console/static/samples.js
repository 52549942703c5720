// The samples of the last 15 minutes, as the backend keeps them.

const CAPACITY = 180;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = { n: "\n", '"': '"', "\\": "\\" };

/** Return a series' name and labels from how /metrics writes it. */
export function parsed(series) {
  const brace = series.indexOf("{");
  if (brace < 0) return { name: series, labels: {} };
  const labels = {};
  for (const [, key, value] of series.slice(brace).matchAll(LABEL)) {
    labels[key] = value.replace(/\\(.)/g, (_, character) => ESCAPED[character] ?? character);
  }
  return { name: series.slice(0, brace), labels };
}

/** Samples of one run, oldest first; each has its time (Unix, in seconds) and a Map of values by series. */
export class Samples {
  constructor() {
    this.run = null;
    this.list = [];
    this.series = new Map(); // by name, each a Map of labels by series
  }

  /** The number after which new samples are wanted. */
  get last() {
    return this.list.at(-1)?.seq ?? 0;
  }

  /** Take an answer of the backend, and return the samples that are new; another run forgets the one before. */
  add({ run, samples }) {
    if (run !== this.run) {
      this.run = run;
      this.list = [];
      this.series.clear();
    }
    const fresh = samples.filter(({ seq }) => seq > this.last);
    for (const { seq, time, values } of fresh) {
      for (const series of Object.keys(values)) this.#know(series);
      // The clock may have been set back; a range of time must hold samples in their order.
      while (this.list.at(-1)?.time >= time) this.list.pop();
      this.list.push({ seq, time, values: new Map(Object.entries(values)) });
    }
    this.list.splice(0, this.list.length - CAPACITY);
    return fresh;
  }

  /** Return the labels by series of a metric. */
  of(name) {
    return this.series.get(name) ?? new Map();
  }

  /** Return the samples of a range that ends with a time, its start left out, as Prometheus does. */
  within(end, seconds) {
    return this.list.filter(({ time }) => time > end - seconds && time <= end);
  }

  #know(series) {
    const { name, labels } = parsed(series);
    if (!this.series.has(name)) this.series.set(name, new Map());
    this.series.get(name).set(series, labels);
  }
}
