// Work and Pipeline: side by side where there is room, else two tabs.

import { byId } from "./dom.js";

const NAMES = ["work", "pipeline"];
const narrow = matchMedia("(max-width: 899.98px)");
let chosen = "work";

/** Show one of the two parts where only one has room. */
export function choose(name) {
  chosen = name;
  for (const each of NAMES) {
    const tab = byId(`tab-${each}`);
    const part = byId(each);
    tab.setAttribute("aria-selected", String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
    part.hidden = narrow.matches && each !== name;
    if (narrow.matches) part.setAttribute("role", "tabpanel");
    else part.removeAttribute("role");
  }
}

/** Follow the width of the window, the pointer and the arrow keys. */
export function startTabs() {
  narrow.addEventListener("change", () => choose(chosen));
  for (const name of NAMES) byId(`tab-${name}`).addEventListener("click", () => choose(name));
  byId("tabs").addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -NAMES.indexOf(chosen), End: 1 - NAMES.indexOf(chosen) };
    if (!(event.key in steps)) return;
    event.preventDefault();
    choose(NAMES[(NAMES.indexOf(chosen) + steps[event.key] + NAMES.length) % NAMES.length]);
    byId(`tab-${chosen}`).focus();
  });
  choose(chosen);
}
