// The API key: asked for once, kept in the tab.

import { byId } from "./dom.js";

const NAME = "aoss-key";
const dialog = byId("key-dialog");
const input = byId("key");
const problem = byId("key-problem");

let waiting = null;
let declined = false;

export const currentKey = () => sessionStorage.getItem(NAME);

/** Ask for the key, all callers with one dialog; resolve to whether one was given. */
export function askForKey({ refused }) {
  // Who has declined is not asked again by every poll, only by the button.
  if (declined) return Promise.resolve(false);
  return open(refused ? "The backend refused this key." : "");
}

function open(why) {
  problem.textContent = why;
  input.setAttribute("aria-invalid", why ? "true" : "false");
  byId("key-forget").hidden = currentKey() === null;
  waiting ??= Promise.withResolvers();
  if (!dialog.open) {
    input.value = "";
    dialog.showModal();
    input.focus();
  }
  return waiting.promise;
}

function settle(given) {
  declined = !given;
  const { resolve } = waiting ?? {};
  waiting = null;
  dialog.close();
  resolve?.(given);
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = input.value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) {
    problem.textContent = key ? "A key has neither blanks nor accents." : "Enter the key.";
    input.setAttribute("aria-invalid", "true");
    input.focus();
    return;
  }
  sessionStorage.setItem(NAME, key);
  // Nobody waits where the dialog was opened by the button: what is shown is asked for again with the new key.
  if (waiting.byButton) location.reload();
  else settle(true);
});
byId("key-close").addEventListener("click", () => settle(false));
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  settle(false);
});
byId("key-forget").addEventListener("click", () => {
  sessionStorage.removeItem(NAME);
  location.reload();
});
byId("key-button").addEventListener("click", () => {
  open("");
  waiting.byButton = true;
});
