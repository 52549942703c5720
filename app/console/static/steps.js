// The steps of an execution, drawn from its events.

import { announce, element } from "./dom.js";
import { count, duration } from "./format.js";
import { output, visible } from "./output.js";

const RECOVERY_STEP = 999;
const LONG_CHARACTERS = 1000;

const WORDS = {
  waiting: "waiting",
  running: "running",
  good: "done",
  bad: "failed",
  healed: "failed, then healed",
  skipped: "not run",
  lost: "no result",
};

const REASONS = {
  timeout_error: "ended by its time limit",
  compliance_violation: "denied by compliance, not run",
  connection_error: "no session with the server",
  authentication_error: "the server refused the login",
};

/** Draw events into a list; `apply` takes them one by one and in order. */
export class Steps {
  constructor(list) {
    this.list = list;
  }

  /** Begin anew with the plan, every step waiting. */
  reset(plan) {
    this.planned = plan.map((step, index) => new Command(`Step ${index + 1}`, step));
    this.list.replaceChildren(...this.planned.map((command) => command.item));
    this.current = null;
    this.failed = null;
    this.healing = null;
    this.healings = 0;
  }

  apply(event) {
    switch (event.type) {
      case "step_start":
        this.current = this.commandFor(event);
        this.current.start();
        break;
      case "step_result":
        this.current?.end(event.result);
        this.ended(event.result);
        break;
      case "healing_start":
        this.healings += 1;
        this.healing = new Healing(this.healings, this.failed);
        announce(`${this.failed?.name ?? "A step"} failed. Healing, attempt ${this.healings}.`);
        break;
      case "healing_plan":
        this.healing?.planned(event.stdout);
        break;
      case "healing_result":
        this.healing?.ended(event.success);
        if (event.success) this.failed?.set("healed");
        announce(event.success ? `${this.failed?.name} was healed.` : "The healing did not help.");
        this.healing = null;
        break;
      case "error":
        this.list.append(
          element("li", { class: "step bad" }, element("p", { class: "step-title" }, "The execution itself failed"),
            output("stderr", event.result?.stderr ?? "")),
        );
        break;
    }
  }

  /** Settle what has not ended: a step under way has no result, those after it were not run. */
  end() {
    const commands = [...this.planned, ...(this.healing?.commands ?? [])];
    for (const command of commands) {
      if (command.state === "running") command.set("lost");
      if (command.state === "waiting") command.set("skipped");
    }
    this.healing?.broken();
  }

  commandFor(event) {
    if (event.step === RECOVERY_STEP && this.healing) return this.healing.commandFor(event.command);
    const planned = this.planned[event.step - 1];
    if (planned) return planned;
    const made = new Command(`Step ${event.step}`, event);
    this.list.append(made.item);
    return made;
  }

  ended(result) {
    if (result.step !== RECOVERY_STEP && result.status === "Failed") this.failed = this.current;
  }
}

/** One command with its state and, once it has ended, its output. */
class Command {
  constructor(name, { command, description, changes }) {
    this.name = name;
    this.word = element("span", { class: "step-state" });
    this.item = element(
      "li",
      { class: "step" },
      element(
        "div",
        { class: "step-head" },
        element("span", { class: "mark", "aria-hidden": "true" }),
        element("span", { class: "step-title" }, description ? `${name}: ` : name, element("b", {}, visible(description ?? ""))),
        changes ? element("span", { class: "badge warn" }, "changes the server") : null,
        this.word,
      ),
      commandText(command),
    );
    this.command = command;
    this.set("waiting");
  }

  set(state, detail = "") {
    this.item.classList.remove(this.state);
    this.item.classList.add(state);
    this.state = state;
    if (state !== "healed") this.detail = detail;
    this.word.textContent = [WORDS[state], this.detail].filter(Boolean).join(" · ");
  }

  start() {
    this.set("running");
    this.item.setAttribute("aria-current", "step");
  }

  end(result) {
    this.item.removeAttribute("aria-current");
    const took = duration(result.duration ?? 0);
    if (result.status === "Success") this.set("good", took);
    else this.set("bad", [reason(result), took].join(" · "));
    if (result.stdout) this.item.append(output("stdout", result.stdout));
    if (result.stderr) this.item.append(output("stderr", result.stderr));
    if (!result.stdout && !result.stderr) this.item.append(element("p", { class: "hint" }, "It wrote nothing."));
  }
}

/** One attempt to heal a step, drawn inside that step. */
class Healing {
  constructor(number, failed) {
    this.failed = failed;
    this.commands = [];
    this.word = element("span", { class: "step-state" }, "looking for a remedy");
    this.list = element("ol", { class: "steps" });
    this.box = element(
      "section",
      { class: "healing", "aria-label": `Healing, attempt ${number}` },
      element(
        "div",
        { class: "step-head" },
        element("span", { class: "mark", "aria-hidden": "true" }),
        element("b", { class: "step-title" }, `Self-healing, attempt ${number}`),
        this.word,
      ),
      this.list,
    );
    failed?.item.append(this.box);
  }

  planned(text) {
    let recovery = [];
    try {
      recovery = JSON.parse(text);
    } catch {
      this.list.before(output("stdout", text));
    }
    if (!recovery.length) {
      this.word.textContent = "no remedy is known";
      return;
    }
    this.word.textContent = `trying ${count(recovery.length, "recovery step")}`;
    for (const step of recovery) this.add("Recovery", step);
    if (!recovery.some((step) => step.replaces)) {
      this.add("Again", { command: this.failed.command, description: "the step that failed" });
    }
  }

  add(name, step) {
    const made = new Command(name, step);
    this.commands.push(made);
    this.list.append(made.item);
    return made;
  }

  commandFor(command) {
    return (
      this.commands.find((each) => each.state === "waiting" && each.command === command) ??
      this.add("Recovery", { command })
    );
  }

  ended(success) {
    this.box.classList.add(success ? "good" : "bad");
    if (success) this.word.textContent = "healed";
    else if (this.commands.length) this.word.textContent = "did not help";
    for (const command of this.commands) if (command.state === "waiting") command.set("skipped");
  }

  broken() {
    this.word.textContent = "broke off";
  }
}

/** Return a command's text; one so long that it scrolls can be reached by keyboard. */
function commandText(command) {
  const long = command.length > LONG_CHARACTERS;
  const attributes = long ? { tabindex: 0, role: "group", "aria-label": "Command" } : {};
  return element(
    "pre",
    { class: long ? "command long" : "command", ...attributes },
    element("code", {}, visible(command.trimEnd())),
  );
}

function reason(result) {
  const known = REASONS[result.error_type];
  if (known) return known;
  if (result.signal) return `stopped by ${result.signal}`;
  return `exit code ${result.exit_code}`;
}
