// The plan: every step can be changed, moved, removed and added before anything runs.

import { request } from "./api.js";
import { announce, byId, element, showProblem, whileBusy } from "./dom.js";
import { count } from "./format.js";

const MAX_STEPS = 100;

const panel = byId("plan");
const list = byId("plan-steps");
const run = byId("run-plan");
const problem = byId("plan-problem");

let asked = null;
let onStarted = () => {};

/** Call a function with each execution that is started here: `(execution, response that streams it)`. */
export function whenStarted(callback) {
  onStarted = callback;
}

/** Show a plan for editing; `request` is `{server, query, agentType}`. */
export function editPlan(newRequest, plan) {
  asked = newRequest;
  list.replaceChildren(...plan.map(step));
  showProblem(problem, "");
  panel.hidden = false;
  changed();
  for (const box of list.querySelectorAll("textarea")) fit(box);
  byId("plan-title").focus();
  panel.scrollIntoView({ block: "nearest" });
}

function step({ command, description, changes }) {
  const box = element("textarea", { class: "command-box", rows: 1, spellcheck: "false", autocapitalize: "off", oninput: () => fit(box) });
  box.value = command.trimEnd();
  const words = element("textarea", { class: "words-box", rows: 1, maxlength: 2000, placeholder: "What it is for (optional)", oninput: () => fit(words) });
  words.value = description ?? "";
  const alters = element("input", { type: "checkbox", onchange: changed });
  alters.checked = changes ?? false;
  const item = element(
    "li",
    { class: "plan-step" },
    element(
      "div",
      { class: "step-head" },
      element("span", { class: "number", "aria-hidden": "true" }),
      words,
    ),
    box,
    element(
      "div",
      { class: "row" },
      element("label", { class: "check" }, alters, " changes the server"),
      element("span", { class: "tools" },
        tool("↑", "Move up", () => move(item, -1)),
        tool("↓", "Move down", () => move(item, 1)),
        tool("✕", "Remove", () => remove(item)),
      ),
    ),
  );
  return item;
}

const tool = (sign, name, onclick) =>
  element("button", { type: "button", class: "tool", title: name, "data-name": name, onclick }, sign);

function changed() {
  const items = [...list.children];
  for (const [index, item] of items.entries()) {
    const number = index + 1;
    const [up, down] = item.querySelectorAll(".tool");
    item.querySelector(".number").textContent = number;
    item.querySelector(".command-box").setAttribute("aria-label", `Command of step ${number}`);
    item.querySelector(".words-box").setAttribute("aria-label", `Description of step ${number}`);
    for (const button of item.querySelectorAll(".tool")) {
      button.setAttribute("aria-label", `${button.dataset.name} step ${number}`);
    }
    up.disabled = index === 0;
    down.disabled = number === items.length;
    item.classList.toggle("changes", item.querySelector("[type=checkbox]").checked);
  }
  const altering = list.querySelectorAll(".changes").length;
  byId("plan-for").textContent = `“${asked.query}” · ${asked.agentType}. ` +
    (altering ? `${count(altering, "step")} marked as changing the server.` : "No step is marked as changing the server.");
  run.textContent = `Run ${count(items.length, "step")} on ${asked.server.serverTag}`;
  run.disabled = items.length === 0;
  byId("add-step").disabled = items.length >= MAX_STEPS;
}

function move(item, by) {
  const other = by < 0 ? item.previousElementSibling : item.nextElementSibling;
  if (!other) return;
  const button = document.activeElement;
  if (by < 0) other.before(item);
  else other.after(item);
  changed();
  // At the end of the list the button that was pressed is switched off; its sibling takes the focus.
  (button.disabled ? item.querySelector(".tool:not(:disabled)") : button).focus();
  announce(`Moved to place ${[...list.children].indexOf(item) + 1} of ${list.children.length}.`);
}

function remove(item) {
  const next = item.nextElementSibling ?? item.previousElementSibling;
  item.remove();
  changed();
  (next?.querySelector(".tool[data-name=Remove]") ?? byId("add-step")).focus();
  announce(`Removed; ${count(list.children.length, "step")} left.`);
}

/** Make a box as high as its text. */
function fit(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

function steps() {
  return [...list.children].map((item) => ({
    command: item.querySelector(".command-box").value,
    description: item.querySelector(".words-box").value.trim().replaceAll("\n", " "),
    changes: item.querySelector("[type=checkbox]").checked,
  }));
}

byId("add-step").addEventListener("click", () => {
  const item = step({ command: "" });
  list.append(item);
  changed();
  item.querySelector(".command-box").focus();
});

byId("drop-plan").addEventListener("click", () => {
  panel.hidden = true;
  byId("query").focus();
});

run.addEventListener("click", () =>
  whileBusy(run, async () => {
    const plan = steps();
    const empty = plan.findIndex(({ command }) => !command.trim());
    if (empty >= 0) {
      showProblem(problem, `Step ${empty + 1} has no command.`);
      list.children[empty].querySelector(".command-box").focus();
      return;
    }
    showProblem(problem, "");
    const { server, query, agentType } = asked;
    try {
      const response = await request("POST", "/api/chat/execute", {
        body: { serverId: server.id, query, agent_type: agentType, plan },
      });
      const execution = {
        id: response.headers.get("X-Execution-Id"),
        server_id: server.id,
        server_tag: server.serverTag,
        agent_type: agentType,
        query,
        plan,
        status: "Running",
        created_at: new Date().toISOString(),
        finished_at: null,
      };
      onStarted(execution, response);
    } catch (error) {
      const doubt = error.status === 0 ? " Whether the plan was started is not known: look at the history before you run it again." : "";
      showProblem(problem, error.message + doubt);
    }
  }),
);
