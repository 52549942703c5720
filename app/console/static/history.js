// What was run, newest first.

import { api } from "./api.js";
import { byId, element, showProblem, whileBusy } from "./dom.js";
import { badge } from "./execution.js";
import { dateAndTime, duration, moment } from "./format.js";
import { visible } from "./output.js";
import { onServers, readServers } from "./registry.js";

const PAGE = 30;
const REFRESH_MS = 3000;

const list = byId("history-list");
const older = byId("history-older");
const problem = byId("history-problem");
const server = byId("history-server");
const status = byId("history-status");

let next = null;
let timer = 0;
let running = new Set();
// Counts the filters chosen, so that an answer for an earlier one is dropped.
let turn = 0;

export const view = {
  title: "History",
  show() {
    readServers().catch(() => {});
    begin();
  },
  hide() {
    clearInterval(timer);
  },
};

onServers((servers) => {
  const chosen = server.value;
  server.replaceChildren(
    element("option", { value: "" }, "all"),
    ...servers.map((each) => element("option", { value: each.id }, each.serverTag)),
  );
  server.value = servers.some((each) => String(each.id) === chosen) ? chosen : "";
});

for (const box of [server, status]) box.addEventListener("change", begin);
byId("history-filter").addEventListener("submit", (event) => event.preventDefault());
older.addEventListener("click", () =>
  whileBusy(older, async () => {
    const had = list.children.length;
    await more();
    list.children[had]?.querySelector("a").focus();
  }),
);

async function begin() {
  clearInterval(timer);
  turn += 1;
  next = null;
  running = new Set();
  timer = setInterval(refresh, REFRESH_MS);
  await more({ anew: true });
}

/** Read the next page, or the first; the old list stays until then, so that it does not flicker. */
async function more({ anew = false } = {}) {
  const mine = turn;
  let page;
  try {
    page = await api.get(`/api/executions?${filter({ limit: PAGE, before: next })}`);
  } catch (error) {
    if (mine === turn) showProblem(problem, error.message);
    return;
  }
  if (mine !== turn) return;
  showProblem(problem, "");
  const rows = page.executions.map(row);
  if (anew) list.replaceChildren(...rows);
  else list.append(...rows);
  next = page.next;
  older.hidden = next === null;
  byId("history-empty").hidden = list.children.length > 0;
  byId("history-empty").textContent = server.value || status.value ? "Nothing was run that fits these filters." : "Nothing has been run yet.";
}

/** Ask again for those that were running, where anyone looks. */
async function refresh() {
  if (document.hidden) return;
  for (const id of [...running].slice(0, PAGE)) {
    const now = await api.get(`/api/executions/${id}`).catch(() => null);
    if (!now || now.status === "Running" || !running.delete(id)) continue;
    list.querySelector(`[data-id="${id}"]`)?.querySelector(".facts").replaceWith(facts(now));
  }
}

function filter(values) {
  const chosen = { ...values, server_id: server.value, status: status.value };
  return new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
}

function row(execution) {
  if (execution.status === "Running") running.add(execution.id);
  return element(
    "li",
    { "data-id": execution.id },
    element("a", { class: "row-link", href: `/?execution=${execution.id}` }, visible(execution.query)),
    facts(execution),
  );
}

function facts(execution) {
  const begun = moment(execution.created_at);
  const end = execution.finished_at && moment(execution.finished_at);
  return element(
    "p",
    { class: "facts" },
    badge(execution.status),
    element("span", {}, execution.server_tag),
    element("span", {}, execution.agent_type),
    element("time", { datetime: begun.toISOString() }, dateAndTime(begun)),
    end ? element("span", {}, duration(Math.max(0, (end - begun) / 1000))) : null,
  );
}
