// Follow an execution's events to its end, whatever happens to the connection.

import { ApiError, request } from "./api.js";
import { isReachable, onChange } from "./connection.js";

const FIRST_PAUSE_MS = 250;
const LAST_PAUSE_MS = 5000;

/**
 * Hand every event to `onEvent` exactly once and in order, attaching again whenever the stream breaks.
 *
 * `response` is an answer that streams already, if there is one; `onBroken(true or false)` tells of breaks.
 * Returns after `complete` or when `signal` is aborted; throws ApiError where the backend refuses.
 */
export async function follow(executionId, { response = null, onEvent, onBroken, signal }) {
  let seq = 0;
  let pause = FIRST_PAUSE_MS;
  let stream = response;
  while (!signal.aborted) {
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    signal.addEventListener("abort", stop);
    // A connection that hangs says nothing; that the backend is away is heard from elsewhere.
    const unlisten = onChange((reachable) => reachable || stop());
    try {
      stream ??= await request("GET", `/api/executions/${executionId}/events?after=${seq}`, {
        signal: attempt.signal,
      });
      const abandon = () => stream?.body.cancel().catch(() => {});
      for await (const event of eventsOf(stream, attempt.signal)) {
        if (event.seq <= seq) continue;
        if (event.seq > seq + 1) {
          await abandon();
          break;
        }
        seq = event.seq;
        pause = FIRST_PAUSE_MS;
        onBroken(false);
        onEvent(event);
        if (event.type === "complete") return;
      }
    } catch (error) {
      if (error instanceof ApiError && error.status !== 0 && error.status < 500) throw error;
      if (!(error instanceof ApiError || error instanceof TypeError || error.name === "AbortError")) throw error;
    } finally {
      signal.removeEventListener("abort", stop);
      unlisten();
      stream = null;
    }
    if (signal.aborted) return;
    onBroken(true);
    await whenWorthwhile(pause, signal);
    pause = Math.min(pause * 2, LAST_PAUSE_MS);
  }
}

/** Wait the given time, and, while the backend is away, until it is back. */
function whenWorthwhile(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = isReachable() ? setTimeout(done, milliseconds) : undefined;
    const unlisten = onChange((reachable) => reachable && done());
    signal.addEventListener("abort", done);
    function done() {
      clearTimeout(timer);
      unlisten();
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}

/** Yield the events of a response, one JSON object a line; a line that was cut off is left out. */
async function* eventsOf(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const cancel = () => reader.cancel().catch(() => {});
  signal.addEventListener("abort", cancel);
  try {
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) yield JSON.parse(line);
    }
  } finally {
    signal.removeEventListener("abort", cancel);
    cancel();
  }
}
