// One execution: its steps as they come, its end, and what can be done with it.

import { api } from "./api.js";
import { announce, byId, element, showProblem, whileBusy } from "./dom.js";
import { dateAndTime, duration, moment } from "./format.js";
import { visible } from "./output.js";
import { follow } from "./stream.js";
import { Steps } from "./steps.js";

const ENDINGS = {
  Cancelled: "Someone cancelled it. Steps that had ended before keep their effect.",
  Interrupted:
    "The worker that ran it died or was shut down. A step without a result was under way then: whether it took " +
    "effect is not known.",
};

const steps = new Steps(byId("steps"));
const streamState = byId("stream-state");
const cancel = byId("cancel");
const again = byId("again");

let shown = null;
let ticking = 0;
let onAgain = () => {};
// Whoever scrolls is reading: the page then stays where it is.
let following = false;

for (const kind of ["wheel", "touchmove", "keydown"]) {
  addEventListener(kind, () => (following = false), { passive: true });
}

/** Call a function with an execution whose plan is to be edited and run again. */
export function whenAgain(callback) {
  onAgain = callback;
}

export const view = {
  title: "Execution",

  /** Show an execution; `started` is one that this page has just begun, with the response that streams it. */
  async show({ id, started }) {
    const abort = new AbortController();
    shown = { id, abort, status: "Running" };
    const mine = shown;
    clear();
    try {
      mine.execution = started?.execution ?? (await api.get(`/api/executions/${encodeURIComponent(id)}`));
      if (shown !== mine) return;
      begin(mine);
      await follow(id, {
        response: started?.response,
        signal: abort.signal,
        onEvent: (event) => shown === mine && apply(mine, event),
        onBroken: (broken) => {
          if (shown === mine) streamState.textContent = broken ? "The stream broke off. Attaching again …" : mine.doing;
        },
      });
    } catch (error) {
      if (shown !== mine) return;
      clearInterval(ticking);
      cancel.hidden = true;
      streamState.textContent = "";
      showProblem(byId("execution-problem"), error.message);
      mine.unread = error.status === 0;
      if (error.status === undefined) throw error;
    }
  },

  /** Return whether there is something to be shown again when the backend is back. */
  get stale() {
    return shown?.unread ?? false;
  },

  hide() {
    shown?.abort.abort();
    shown = null;
    clearInterval(ticking);
  },
};

function clear() {
  byId("execution-title").textContent = "Execution";
  byId("execution-facts").replaceChildren();
  byId("report").hidden = true;
  showProblem(byId("execution-problem"), "");
  streamState.textContent = "";
  cancel.hidden = true;
  again.hidden = true;
  steps.reset([]);
}

function begin(mine) {
  const { execution } = mine;
  mine.status = execution.status;
  mine.doing = "";
  following = execution.status === "Running";
  byId("execution-title").textContent = visible(execution.query);
  document.title = `${execution.query.slice(0, 60)} · AOSS`;
  steps.reset(execution.plan);
  cancel.hidden = !following;
  again.hidden = following;
  drawFacts(mine);
  clearInterval(ticking);
  if (following) ticking = setInterval(() => drawFacts(mine), 1000);
}

function apply(mine, event) {
  steps.apply(event);
  if (event.type === "step_start" && following) steps.current.item.scrollIntoView({ block: "nearest" });
  if (event.type === "summarizing") mine.doing = streamState.textContent = "Writing the report …";
  if (event.type === "agent_summary") {
    byId("report").hidden = false;
    byId("report-text").textContent = visible(event.content);
  }
  if (event.type === "complete") ended(mine, event.final_status);
}

async function ended(mine, status) {
  const live = mine.execution.status === "Running";
  mine.status = status;
  mine.doing = streamState.textContent = "";
  clearInterval(ticking);
  steps.end();
  if (document.activeElement === cancel) byId("execution-title").focus();
  cancel.hidden = true;
  again.hidden = false;
  drawFacts(mine);
  if (ENDINGS[status]) {
    byId("execution-problem").replaceChildren(element("p", { class: "notice warn" }, ENDINGS[status]));
  }
  if (!live) return;
  announce(`The execution has ended: ${status}.`);
  // What the store says of the duration; it may not have the end yet, and need not.
  const stored = await api.get(`/api/executions/${mine.id}`).catch(() => null);
  if (stored?.finished_at && shown === mine) {
    mine.execution = { ...stored, status };
    drawFacts(mine);
  }
}

function drawFacts(mine) {
  const { execution, status } = mine;
  const begun = moment(execution.created_at);
  const end = execution.finished_at ? moment(execution.finished_at) : (mine.end ??= status === "Running" ? undefined : new Date());
  const seconds = Math.max(0, ((end ?? Date.now()) - begun) / 1000);
  byId("execution-facts").replaceChildren(
    badge(status),
    element("span", {}, execution.server_tag),
    element("span", {}, execution.agent_type),
    element("time", { datetime: begun.toISOString() }, dateAndTime(begun)),
    element("span", {}, status === "Running" ? `for ${duration(Math.floor(seconds))}` : duration(seconds)),
  );
}

/** Return a status as a word in its colour. */
export const badge = (status) => element("span", { class: `badge ${status.toLowerCase()}` }, status);

cancel.addEventListener("click", () =>
  whileBusy(cancel, async () => {
    const mine = shown;
    mine.doing = streamState.textContent = "Cancelling …";
    try {
      await api.post(`/api/executions/${mine.id}/cancel`);
    } catch (error) {
      if (shown !== mine) return;
      mine.doing = streamState.textContent = "";
      // 409: it has ended by itself, which its stream is about to say.
      if (error.status !== 409) showProblem(byId("execution-problem"), `It was not cancelled: ${error.message}`);
    }
  }),
);

again.addEventListener("click", () => shown?.execution && onAgain(shown.execution));
