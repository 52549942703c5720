// The forms of PromQL that the charts use: each is the query's text and its value from the samples, in one.
//
// `at(samples, end)` gives a vector, [{ labels, value }], at a time. What it computes is what Prometheus computes
// from the same samples; series that a sample leaves out are 0.

const WINDOW_SECONDS = 60;
const WINDOW = "1m";

/** Select series by equal labels; a list of values is an alternative of regular expression. */
function selector(name, matchers) {
  const texts = Object.entries(matchers).map(([key, wanted]) =>
    Array.isArray(wanted) ? `${key}=~"${wanted.join("|")}"` : `${key}="${wanted}"`,
  );
  const fits = (labels) =>
    Object.entries(matchers).every(([key, wanted]) => [wanted].flat().includes(labels[key]));
  return {
    promql: texts.length ? `${name}{${texts.join(",")}}` : name,
    series: (samples) => [...samples.of(name)].filter(([, labels]) => fits(labels)),
  };
}

/** Return the newest value of each series. */
export function value(name, matchers = {}) {
  const { promql, series } = selector(name, matchers);
  return {
    promql,
    at(samples, end) {
      const newest = samples.within(end, WINDOW_SECONDS).at(-1);
      if (!newest) return [];
      return series(samples).map(([key, labels]) => ({ labels, value: newest.values.get(key) ?? 0 }));
    },
  };
}

/** Return each counter's rate per second over the last minute. */
export function rate(name, matchers = {}) {
  const { promql, series } = selector(name, matchers);
  return {
    promql: `rate(${promql}[${WINDOW}])`,
    at(samples, end) {
      const window = samples.within(end, WINDOW_SECONDS);
      if (window.length < 2) return [];
      return series(samples).map(([key, labels]) => ({
        labels,
        value: increase(window, key, end) / WINDOW_SECONDS,
      }));
    },
  };
}

/** Return a counter's increase, extrapolated to the window's ends but not below 0, as Prometheus does. */
function increase(window, key, end) {
  const first = window[0];
  const last = window.at(-1);
  let before = first.values.get(key) ?? 0;
  const start = before;
  let grown = 0;
  for (const { values } of window.slice(1)) {
    const now = values.get(key) ?? 0;
    grown += now < before ? now : now - before;
    before = now;
  }
  const sampled = last.time - first.time;
  const apart = sampled / (window.length - 1);
  const limit = apart * 1.1;
  let toStart = first.time - (end - WINDOW_SECONDS);
  let toEnd = end - last.time;
  if (toStart >= limit) toStart = apart / 2;
  if (grown > 0) toStart = Math.min(toStart, (sampled * start) / grown);
  if (toEnd >= limit) toEnd = apart / 2;
  return (grown * (sampled + toStart + toEnd)) / sampled;
}

/** Return sums by labels, or the sum of all. */
export function sum(vector, ...by) {
  return {
    promql: by.length ? `sum by (${by.join(", ")}) (${vector.promql})` : `sum(${vector.promql})`,
    at(samples, end) {
      const groups = new Map();
      for (const { labels, value } of vector.at(samples, end)) {
        const kept = only(labels, by);
        const group = groups.get(key(kept)) ?? { labels: kept, value: 0 };
        group.value += value;
        groups.set(key(kept), group);
      }
      // None was ever above 0, and all are left out.
      if (!by.length && !groups.size && samples.within(end, WINDOW_SECONDS).length > 1) return [{ labels: {}, value: 0 }];
      return [...groups.values()];
    },
  };
}

/** Return events per minute. */
export function perMinute(name, matchers, ...by) {
  const summed = sum(rate(name, matchers), ...by);
  return {
    promql: `60 * ${summed.promql}`,
    at: (samples, end) => summed.at(samples, end).map((each) => ({ ...each, value: 60 * each.value })),
  };
}

/** Return shares of a whole, and nothing where the whole is nothing. */
export function ratio(part, whole) {
  return {
    promql: `${part.promql} / (${whole.promql} > 0)`,
    at(samples, end) {
      const parts = new Map(part.at(samples, end).map(({ labels, value }) => [key(labels), value]));
      return whole
        .at(samples, end)
        .filter(({ value }) => value > 0)
        .map(({ labels, value }) => ({ labels, value: (parts.get(key(labels)) ?? 0) / value }));
    },
  };
}

/** Return a quantile of a histogram over the last minute, and nothing where nothing was observed. */
export function quantile(share, name) {
  const buckets = sum(rate(`${name}_bucket`), "le");
  return {
    promql: `histogram_quantile(${share}, ${buckets.promql}) >= 0`,
    at(samples, end) {
      const found = quantileOf(share, buckets.at(samples, end));
      return found === null ? [] : [{ labels: {}, value: found }];
    },
  };
}

/** Return a quantile of cumulative buckets, taken to be filled evenly; null without observations. */
export function quantileOf(share, buckets) {
  const sorted = buckets
    .map(({ labels, value }) => ({ bound: labels.le === "+Inf" ? Infinity : Number(labels.le), value }))
    .sort((one, other) => one.bound - other.bound);
  const total = sorted.at(-1)?.value ?? 0;
  if (sorted.length < 2 || sorted.at(-1).bound !== Infinity || !(total > 0)) return null;
  const rank = share * total;
  const place = sorted.findIndex(({ value }) => value >= rank);
  if (place === sorted.length - 1) return sorted.at(-2).bound;
  const lower = place === 0 ? 0 : sorted[place - 1].bound;
  const below = place === 0 ? 0 : sorted[place - 1].value;
  const { bound, value } = sorted[place];
  return lower + ((bound - lower) * (rank - below)) / (value - below);
}

const only = (labels, by) => Object.fromEntries(by.filter((each) => each in labels).map((each) => [each, labels[each]]));
const key = (labels) => JSON.stringify(Object.entries(labels).sort());
