// Times and durations for people.

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** Return a duration in seconds as few characters: 0.04 s, 12 s, 3 min 5 s. */
export function duration(seconds) {
  if (seconds < 0.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** Return the moment that the backend wrote in UTC; it leaves the zone out where the store has none. */
export function moment(text) {
  return new Date(/(Z|[+-]\d\d:\d\d)$/.test(text) ? text : `${text}Z`);
}

/** Return a moment as date and time of the reader's zone. */
export const dateAndTime = (date) => clock.format(date);

/** Return a number of things with its noun. */
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
