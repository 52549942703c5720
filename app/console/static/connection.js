// Whether the backend answers. Every call reports here; while none is heard, /healthz is asked.

const QUIET_MS = 5000;
const FIRST_RETRY_MS = 2000;
const LAST_RETRY_MS = 5000;
const TIMEOUT_MS = 4000;

const listeners = new Set();
let reachable = true;
let retry = FIRST_RETRY_MS;
let timer = setTimeout(check, QUIET_MS);
let checking = false;

/** Call a listener with true or false whenever the backend comes back or goes away. */
export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const isReachable = () => reachable;

/** Note that the backend has answered something, whatever it was. */
export function answered() {
  retry = FIRST_RETRY_MS;
  plan(QUIET_MS);
  change(true);
}

/** Find out at once whether the backend is gone: a single connection may break when one worker dies. */
export function suspect() {
  check();
}

async function check() {
  if (checking) return;
  checking = true;
  try {
    await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    answered();
  } catch {
    change(false);
    plan(retry);
    retry = Math.min(retry * 1.5, LAST_RETRY_MS);
  } finally {
    checking = false;
  }
}

function plan(delay) {
  clearTimeout(timer);
  timer = setTimeout(check, delay);
}

function change(now) {
  if (now === reachable) return;
  reachable = now;
  for (const listener of listeners) listener(now);
}
