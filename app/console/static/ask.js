// The request: which server, which persona, which words.

import { api } from "./api.js";
import { byId, element, showProblem, whileBusy } from "./dom.js";
import { PERSONAS } from "./personas.js";
import { editPlan } from "./plan.js";
import { address, onServers, readServers, registry, testConnection } from "./registry.js";

const server = byId("server");
const query = byId("query");
const state = byId("server-state");
const problem = byId("ask-problem");

// Whether the problem that is shown is that the servers could not be read.
let unread = false;

export const view = {
  title: "Ask",
  show() {
    // Read again at each visit: another page may have registered one.
    readServers().then(
      () => {
        if (unread) showProblem(problem, "");
        unread = false;
      },
      (error) => {
        unread = true;
        showProblem(problem, error.message);
      },
    );
  },
  hide() {},
};

for (const { id, words } of PERSONAS) {
  const radio = element("input", { type: "radio", name: "persona", value: id, checked: id === "general", onchange: drawExamples });
  byId("personas").append(
    element("label", { class: "persona" }, radio, element("span", {}, element("b", {}, id), element("span", { class: "hint" }, words))),
  );
}
drawExamples();

onServers((servers) => {
  const chosen = server.value;
  server.replaceChildren(
    ...servers.map((each) => element("option", { value: each.id }, `${each.serverTag} (${address(each)})`)),
  );
  if (servers.some((each) => String(each.id) === chosen)) server.value = chosen;
  const none = servers.length === 0;
  for (const id of ["test-server", "make-plan", "own-plan"]) byId(id).disabled = none;
  if (none) state.replaceChildren("No server is registered yet. ", element("a", { href: "/?view=servers" }, "Register one"), ".");
  else if (state.querySelector("a")) state.replaceChildren();
});

server.addEventListener("change", () => state.replaceChildren());

byId("test-server").addEventListener("click", (event) =>
  whileBusy(event.currentTarget, async () => {
    const tested = server.value;
    state.textContent = "Connecting …";
    state.className = "hint";
    let said;
    try {
      said = await testConnection({ id: tested });
    } catch (error) {
      said = { online: false, words: error.message };
    }
    if (server.value !== tested) return;
    state.textContent = said.words;
    state.classList.add(said.online ? "good" : "bad");
  }),
);

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  whileBusy(byId("make-plan"), async () => {
    try {
      const asked = await request();
      if (!asked) return;
      showProblem(problem, "");
      const { plan } = await api.post("/api/chat/plan", {
        serverId: asked.server.id,
        query: asked.query,
        agent_type: asked.agentType,
      });
      editPlan(asked, plan);
    } catch (error) {
      showProblem(problem, error.message);
    }
  });
});

byId("own-plan").addEventListener("click", (event) =>
  whileBusy(event.currentTarget, async () => {
    try {
      const asked = await request();
      if (asked) editPlan(asked, [{ command: "", description: "", changes: false }]);
    } catch (error) {
      showProblem(problem, error.message);
    }
  }),
);

query.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("ask").requestSubmit();
});

/** Return what is asked for, or null where the words are missing, which is said. */
async function request() {
  const words = query.value.trim();
  if (!words) {
    showProblem(problem, "Say what should be done.");
    query.focus();
    return null;
  }
  // Who is quicker than the first answer waits for it.
  const servers = registry.servers ?? (await readServers());
  const chosen = servers.find((each) => String(each.id) === server.value);
  return chosen ? { server: chosen, query: words, agentType: persona() } : null;
}

function persona() {
  return document.querySelector("input[name=persona]:checked").value;
}

function drawExamples() {
  const { examples } = PERSONAS.find(({ id }) => id === persona());
  byId("examples").replaceChildren(
    ...examples.map((text) =>
      element("li", {}, element("button", { type: "button", class: "example", onclick: () => take(text) }, text)),
    ),
  );
}

function take(text) {
  query.value = text;
  query.focus();
}
