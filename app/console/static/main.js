// The console: which view the address names, and the parts put together.

import { api } from "./api.js";
import * as ask from "./ask.js";
import { onChange } from "./connection.js";
import { announce, byId } from "./dom.js";
import * as execution from "./execution.js";
import * as history from "./history.js";
import { startPipeline } from "./pipeline.js";
import { editPlan, whenStarted } from "./plan.js";
import { readServers } from "./registry.js";
import * as servers from "./servers.js";
import { choose, startTabs } from "./tabs.js";

const VIEWS = { ask: ask.view, execution: execution.view, history: history.view, servers: servers.view };
const EXECUTION_ID = /^[0-9a-f]{32}$/;

let shown = null;

/** Show what the address names; `extra` goes to the view. */
function route(extra = {}) {
  const parameters = new URLSearchParams(location.search);
  const id = parameters.get("execution");
  const named = parameters.get("view");
  let name = "ask";
  if (EXECUTION_ID.test(id ?? "")) name = "execution";
  else if (named === "history" || named === "servers") name = named;

  if (shown) VIEWS[shown].hide();
  const before = shown;
  shown = name;
  for (const each of Object.keys(VIEWS)) byId(`view-${each}`).hidden = each !== name;
  for (const link of document.querySelectorAll(".views a")) {
    const current = link.dataset.view === name || (name === "execution" && link.dataset.view === "history");
    if (current) link.setAttribute("aria-current", link.dataset.view === name ? "page" : "true");
    else link.removeAttribute("aria-current");
  }
  document.title = `${VIEWS[name].title} · AOSS`;
  VIEWS[name].show({ id, ...extra });
  choose("work");
  // Not at the first: who has just opened the page begins at its top.
  if (before) {
    byId(`view-${name}`).querySelector("h1").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function navigate(address, extra) {
  window.history.pushState(null, "", address);
  route(extra);
}

addEventListener("popstate", () => route());

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/']");
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  navigate(link.getAttribute("href"));
});

whenStarted((started, response) =>
  navigate(`/?execution=${started.id}`, { started: { execution: started, response } }),
);

execution.whenAgain(async (earlier) => {
  const all = await readServers().catch(() => []);
  const server = all.find((each) => each.id === earlier.server_id);
  navigate("/");
  byId("query").value = earlier.query;
  document.querySelector(`input[name=persona][value="${earlier.agent_type}"]`).click();
  if (server) {
    byId("server").value = server.id;
    editPlan({ server, query: earlier.query, agentType: earlier.agent_type }, earlier.plan);
  } else {
    announce("The server is no longer registered: choose another.");
  }
});

onChange((reachable) => {
  drawConnection(reachable);
  const banner = byId("banner");
  banner.classList.toggle("away", !reachable);
  banner.textContent = reachable
    ? "The backend is back."
    : "The backend does not answer. What is shown may be out of date; this page tries again by itself.";
  if (reachable) {
    setTimeout(() => banner.textContent === "The backend is back." && (banner.textContent = ""), 8000);
    // A running execution attaches again by itself.
    if (shown !== "execution") VIEWS[shown].show({});
    else if (execution.view.stale) route();
  }
});

function drawConnection(reachable) {
  byId("connection").classList.toggle("away", !reachable);
  byId("connection-word").textContent = reachable ? "Connected" : "Not connected";
}

drawConnection(true);
startTabs();
route();
startPipeline(byId("pipeline"), api);
